//! An assertion about somebody whom the process knows from an earlier one leads to what is so now, and not to what was so
//! then.

use chrono::TimeDelta;
use diesel::prelude::*;
use futures_util::future::join_all;
use portreeve::account::{self, FreezeError};
use portreeve::app::HOUSE;
use portreeve::db::DbError;
use portreeve::db::schema::{agents, identity_links};
use portreeve::ids::AccountId;
use serde_json::Value;

use crate::agents::{does, pages_of};
use crate::harness::app::{Agent, TestApp};
use crate::harness::browser::Browser;
use crate::harness::client::Answer;
use crate::harness::oauth::{OAuthClient, refused, text};
use crate::id_jag::{GRANT, client, counts, jag, mint, presents};

async fn comes(ada: &Agent<'_>, client: &OAuthClient<'_>) -> Answer {
    presents(client, &mint(ada.app, &jag(ada.app, client, &ada.user))).await
}

async fn gets(ada: &Agent<'_>, client: &OAuthClient<'_>) -> Value {
    comes(ada, client).await.expect_status(200).json()
}

async fn scopes(ada: &Agent<'_>, client: &OAuthClient<'_>) -> String {
    text(&gets(ada, client).await, "scope").to_owned()
}

/// Another process writes what was allowed with the only link.
async fn allows(app: &TestApp, scopes: Option<&'static str>) {
    let written = app.app().db.write(HOUSE, move |conn| {
        let linked = diesel::update(identity_links::table).set(identity_links::scopes.eq(scopes));
        linked.execute(conn).map_err(DbError::from)
    });
    assert_eq!(written.await.unwrap(), 1);
}

on_both! {
    async fn somebody_familiar_gets_what_their_owner_allows_now(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (ada, client) = (app.agent().await, client(&app).await);
        let everything = scopes(&ada, &client).await;
        assert_eq!(scopes(&ada, &client).await, everything);
        let owner = Browser::of_owner(&ada).await;
        let pages = pages_of(&owner).await;
        assert_eq!(pages.len(), 2, "the orchestrator's and the client's");
        // Taken from the one and from the other.
        for (page, scope) in pages.iter().zip(["resources:write", "budget:read"]) {
            owner.submits(&format!("{page}/scope"), &[("scope", scope)]).await.expect_status(303);
            assert!(!scopes(&ada, &client).await.contains(scope));
            assert!(!scopes(&ada, &client).await.contains(scope));
        }
        // Given back.
        let back = app.app().db.write(HOUSE, |conn| {
            diesel::update(agents::table).set(agents::scope.eq(None::<String>)).execute(conn).map_err(DbError::from)
        });
        assert_eq!(back.await.unwrap(), 2);
        assert_eq!(scopes(&ada, &client).await, everything);
        // Allowed with the link.
        for (allowed, gives) in [(Some("resources:read"), Some("resources:read")), (Some(""), None), (None, Some(&*everything))] {
            allows(&app, allowed).await;
            match gives {
                Some(gives) => assert_eq!(scopes(&ada, &client).await, gives),
                None => refused(&comes(&ada, &client).await, 400, "invalid_scope"),
            }
            if allowed == Some("resources:read") {
                // What was remembered allows nothing of this.
                allows(&app, None).await;
                let assertion = mint(&app, &jag(&app, &client, &ada.user));
                let asked = [("grant_type", GRANT), ("assertion", &*assertion), ("scope", "budget:read")];
                assert_eq!(client.token(&asked).await.expect_status(200).json()["scope"], "budget:read");
            }
        }
        // Paused and let go on, the one and the other.
        for page in &pages {
            does(&owner, page, "pause").await;
            refused(&comes(&ada, &client).await, 400, "access_denied");
            does(&owner, page, "resume").await;
            assert_eq!(scopes(&ada, &client).await, everything);
        }
        app.stop().await;
    }

    async fn somebody_familiar_whose_account_is_frozen_gets_nothing_until_it_is_thawed(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (ada, client) = (app.agent().await, client(&app).await);
        let before = gets(&ada, &client).await;
        let id: AccountId = text(&before, "account_id").parse().unwrap();
        let now = app.now();
        let frozen = id.clone();
        let work = move |conn: &mut _| account::freeze(conn, &frozen, "operator", "test", now);
        app.app().db.write::<_, FreezeError>(HOUSE, work).await.unwrap();
        refused(&comes(&ada, &client).await, 400, "invalid_grant");
        let work = move |conn: &mut _| account::thaw(conn, &id, false, "operator", now);
        app.app().db.write::<_, FreezeError>(HOUSE, work).await.unwrap();
        assert_eq!(gets(&ada, &client).await["account_id"], before["account_id"]);
        app.stop().await;
    }

    async fn of_many_submits_of_an_assertion_about_somebody_familiar_one_grant_comes(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (ada, client) = (app.agent().await, client(&app).await);
        gets(&ada, &client).await;
        let (accounts, grants, replays) = counts(&app).await;
        let assertion = mint(&app, &jag(&app, &client, &ada.user));
        let answers = join_all((0..16).map(|_| presents(&client, &assertion))).await;
        let given = answers.into_iter().map(|answer| text(&answer.expect_status(200).json(), "access_token").to_owned());
        let mut tokens: Vec<String> = given.collect();
        tokens.dedup();
        assert_eq!((tokens.len(), counts(&app).await), (1, (accounts, grants + 1, replays)));
        // Another request with it, and the same one too late.
        let asked = [("grant_type", GRANT), ("assertion", &*assertion), ("scope", "budget:read")];
        refused(&client.token(&asked).await, 400, "invalid_grant");
        app.pass(TimeDelta::seconds(31));
        refused(&presents(&client, &assertion).await, 400, "invalid_grant");
        assert_eq!(counts(&app).await, (accounts, grants + 1, replays + 2));
        app.stop().await;
    }
}
