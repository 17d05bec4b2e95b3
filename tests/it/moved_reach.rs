//! What was merged or moved out of a separate account is reached by a distrust where it is now; nothing else there is.

use portreeve::account::{self, LinkedBy};
use portreeve::app::HOUSE;
use portreeve::clock::Timestamp;
use portreeve::ids::AccountId;
use portreeve::orchestrator::{self, Depth, Distrust, NewDistrust, WhoseDistrust};
use portreeve::signing::Unverified;
use portreeve::simulator::{IdTokenSpec, User};
use portreeve::takeover::{self, Bounds, Scope, Whom};
use serde_json::json;

use crate::harness::app::{TestApp, fresh_key, usd};
use crate::harness::beside::{Beside, attests, pays};
use crate::harness::client::Client;

/// Somebody else whom Quay knows in the owner's account, with a thing of theirs there.
async fn other(beside: &Beside<'_>) -> (User, Client, String) {
    let app = beside.app;
    let user = User { subject: "quay_other".to_owned(), ..beside.user.clone() };
    let (id, quay, now) = (beside.ada.account.parse::<AccountId>().unwrap(), beside.orchestrator.clone(), app.now());
    let linked = app.app().db.write(HOUSE, move |conn| {
        account::link(conn, (&quay, ("", "quay_other")), (&id, None), (LinkedBy::Consent, "test"), now)
    });
    linked.await.unwrap();
    let given = attests(app, &beside.quay, &user).await.expect_status(200).json();
    assert_eq!(given["account"]["id"], json!(beside.ada.account));
    let client = app.stranger().with_token(given["access_token"].as_str().unwrap());
    let order = json!({"service": "weather", "plan": "metered",
        "payment_token": pays(&beside.quay, &usd(20_000).monthly(), &user)});
    let made = client.post_once(&fresh_key(), "/v1/resources", &order).await.expect_status(201).json();
    (user, client, made["resource"]["id"].as_str().unwrap().to_owned())
}

/// The operator distrusts somebody of Quay's.
async fn distrusts(beside: &Beside<'_>, whose: WhoseDistrust, since: Timestamp) -> Distrust {
    let app = beside.app;
    let new = NewDistrust {
        orchestrator_id: beside.orchestrator.id.clone(),
        since,
        whose,
        depth: Depth::Things,
        cause: "operator".to_owned(),
        event_at: None,
    };
    let now = app.now();
    let begun = app.app().db.write(HOUSE, move |conn| orchestrator::begin(conn, &new, now)).await.unwrap();
    let bounds = Bounds { tokens: 1, accounts: 1, resources: 1 };
    let done = takeover::run(&app.app().db, &begun.id, bounds, app.clock.as_ref()).await.unwrap();
    app.app().revocations.forget();
    done
}

fn ada() -> WhoseDistrust {
    WhoseDistrust::Subject { tenant: None, subject: "quay_ada".to_owned() }
}

/// How many resources and tokens a scope reaches in the owner's account, and what a distrust of it would hold back.
async fn listed(beside: &Beside<'_>, whom: Whom, since: Timestamp) -> Option<(i64, i64, i64)> {
    let scope = Scope { orchestrator_id: beside.orchestrator.id.clone(), whom, since: Some(since) };
    let now = beside.app.now();
    let all = beside.app.app().db.read(move |conn| takeover::blast_radius(conn, &scope, "", 10, now)).await.unwrap();
    let own = all.into_iter().find(|reach| reach.account_id.as_str() == beside.ada.account);
    own.map(|reach| (reach.resources, reach.resources_since, reach.tokens))
}

async fn held(app: &TestApp, id: &str) -> bool {
    app.resource(id).await.1
}

on_both! {
    async fn what_was_moved_is_held_back_with_the_person_behind_it_and_nothing_else_of_the_owners(db: TestDb) {
        let app = TestApp::start(&db).await;
        let since = app.now();
        let beside = Beside::start(&app).await;
        let sandbox = beside.gets("sandbox", "free").await;
        let (_, client, theirs) = other(&beside).await;
        let harbours = beside.ada.buys("postgres", "small").await.expect_status(201).json();
        let harbours = harbours["resource"]["id"].as_str().unwrap().to_owned();
        let whom = || Whom::Subject { tenant: Some(String::new()), subject: "quay_ada".to_owned() };
        assert_eq!(listed(&beside, whom(), since).await, None);
        beside.moves(&beside.owner().await, &[&sandbox]).await.expect_status(303);
        assert_eq!(listed(&beside, whom(), since).await, Some((1, 1, 0)));
        let done = distrusts(&beside, ada(), since).await;
        assert!(held(&app, &sandbox).await);
        assert!(!held(&app, &theirs).await && !held(&app, &harbours).await);
        // The other goes on, with tokens and money.
        let path = format!("/v1/resources/{theirs}");
        client.get(&path).await.expect_status(200);
        assert_eq!(app.account_state(&beside.ada.account).await, "active");
        client.delete(&path).await.expect_status(200);
        assert_eq!(beside.client.get("/v1/budget").await.status(), 401);
        let now = app.now();
        takeover::restore_all(&app.app().db, &done, "operator", now).await.unwrap();
        assert!(!held(&app, &sandbox).await);
        app.stop().await;
    }

    async fn what_was_merged_is_held_back_with_the_person_and_what_was_there_before_is_not(db: TestDb) {
        let app = TestApp::start(&db).await;
        let since = app.now();
        let beside = Beside::start(&app).await;
        let (sandbox, (_, _, theirs)) = (beside.gets("sandbox", "free").await, other(&beside).await);
        app.pass(chrono::TimeDelta::seconds(5));
        beside.merges(&beside.owner().await, &["resources:read", "resources:write"]).await.expect_status(303);
        app.pass(chrono::TimeDelta::seconds(5));
        let given = beside.comes_again().await.expect_status(200).json();
        let anew = app.stranger().with_token(given["access_token"].as_str().unwrap());
        let order = json!({"service": "postgres", "plan": "small", "payment_token": beside.payment_token});
        let made = anew.post_once(&fresh_key(), "/v1/resources", &order).await.expect_status(201).json();
        let whom = Whom::Subject { tenant: None, subject: "quay_ada".to_owned() };
        assert_eq!(listed(&beside, whom, since).await.map(|(_, since, _)| since), Some(2));
        distrusts(&beside, ada(), since).await;
        assert!(held(&app, &sandbox).await && held(&app, made["resource"]["id"].as_str().unwrap()).await);
        assert!(!held(&app, &theirs).await, "it was there before");
        anew.get("/v1/resources").await.problem(401, "invalid_token");
        app.stop().await;
    }

    async fn what_was_moved_is_held_back_with_the_key_behind_it(db: TestDb) {
        let app = TestApp::start(&db).await;
        let since = app.now();
        let beside = Beside::start(&app).await;
        let token = beside.quay.mint_id_token(&IdTokenSpec::of(&beside.user)).unwrap();
        let kid = Unverified::parse(&token).unwrap().kid().unwrap().to_owned();
        let sandbox = beside.gets("sandbox", "free").await;
        let harbours = beside.ada.buys("postgres", "small").await.expect_status(201).json();
        beside.moves(&beside.owner().await, &[&sandbox]).await.expect_status(303);
        assert_eq!(listed(&beside, Whom::Key(kid.clone()), since).await, Some((1, 1, 0)));
        assert_eq!(listed(&beside, Whom::Key("another".to_owned()), since).await, None);
        assert_eq!(listed(&beside, Whom::Key(kid.clone()), app.now().plus(chrono::TimeDelta::seconds(1))).await, None);
        distrusts(&beside, WhoseDistrust::Key(kid), since).await;
        assert!(held(&app, &sandbox).await);
        assert!(!held(&app, harbours["resource"]["id"].as_str().unwrap()).await);
        assert_eq!(app.account_state(&beside.ada.account).await, "active");
        app.stop().await;
    }
}
