//! ID-JAGs at the token endpoint, in the order in which they are judged, as an attacker would have them.

use chrono::TimeDelta;
use diesel::prelude::*;
use futures_util::future::join_all;
use portreeve::db::DbError;
use portreeve::db::schema::{accounts, audit_facts, grants};
use portreeve::orchestrator::ExistingAccount;
use portreeve::simulator::{IdTokenSpec, User};
use serde_json::{Value, json};

use crate::harness::app::{TestApp, fresh_key, user};
use crate::harness::browser::Browser;
use crate::harness::client::Answer;
use crate::harness::oauth::{OAuthClient, refused, text, works};
use crate::proofs::Holder;

pub(crate) const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A good ID-JAG about `user`, for `client`.
pub(crate) fn jag(app: &TestApp, client: &OAuthClient<'_>, user: &User) -> IdTokenSpec {
    IdTokenSpec::of(user)
        .header("typ", json!("oauth-id-jag+jwt"))
        .audience(&app.base)
        .claim("client_id", json!(client.id))
        .claim("jti", json!(fresh_key()))
        .claim("resource", json!(format!("{}/v1", app.base)))
        .expires_at(app.now().plus(TimeDelta::seconds(300)))
}

pub(crate) async fn client(app: &TestApp) -> OAuthClient<'_> {
    let said =
        json!({"token_endpoint_auth_method": "client_secret_basic", "grant_types": [GRANT], "redirect_uris": []});
    OAuthClient::register(app, said).await
}

pub(crate) fn mint(app: &TestApp, spec: &IdTokenSpec) -> String {
    app.simulator.mint_id_token(spec).unwrap()
}

pub(crate) async fn presents(client: &OAuthClient<'_>, assertion: &str) -> Answer {
    client.token(&[("grant_type", GRANT), ("assertion", assertion)]).await
}

pub(crate) async fn counts(app: &TestApp) -> (i64, i64, i64) {
    let counted = app.app().db.read(|conn| {
        let replays = audit_facts::table.filter(audit_facts::action.eq("attestation.replayed"));
        Ok::<_, DbError>((
            accounts::table.count().get_result(conn)?,
            grants::table.count().get_result(conn)?,
            replays.count().get_result(conn)?,
        ))
    });
    counted.await.unwrap()
}

on_both! {
    async fn an_id_jag_opens_an_account_without_a_browser_and_without_a_refresh_token(db: TestDb) {
        let app = TestApp::start(&db).await;
        let client = client(&app).await;
        let given = presents(&client, &mint(&app, &jag(&app, &client, &User::ada()))).await.expect_status(200).json();
        assert!(given.get("refresh_token").is_none(), "{given}");
        assert_eq!(works(&app, text(&given, "access_token")).await, 200);
        // The same person by an ID token is the same account.
        let ada = app.stranger().post("/v1/accounts", &json!({"id_token": app.id_token(&User::ada())})).await.expect_status(200).json();
        assert_eq!(ada["account"]["id"], given["account_id"]);
        app.stop().await;
    }

    async fn of_64_submits_of_one_assertion_one_grant_comes(db: TestDb) {
        let app = TestApp::start(&db).await;
        let client = client(&app).await;
        let assertion = mint(&app, &jag(&app, &client, &User::ada()));
        let answers = join_all((0..64).map(|_| presents(&client, &assertion))).await;
        let mut tokens: Vec<String> = Vec::new();
        for answer in answers {
            if answer.status() == 200 {
                tokens.push(text(&answer.json(), "access_token").to_owned());
            } else {
                assert_eq!(answer.status(), 503, "{}", answer.text());
            }
        }
        tokens.dedup();
        assert_eq!((tokens.len(), counts(&app).await), (1, (1, 1, 0)));
        // A lost answer is found again for half a minute, by the same request alone.
        app.pass(TimeDelta::seconds(30));
        assert_eq!(text(&presents(&client, &assertion).await.expect_status(200).json(), "access_token"), tokens[0]);
        let narrower = client.token(&[("grant_type", GRANT), ("assertion", &assertion), ("scope", "budget:read")]).await;
        refused(&narrower, 400, "invalid_grant");
        app.pass(TimeDelta::seconds(1));
        refused(&presents(&client, &assertion).await, 400, "invalid_grant");
        assert_eq!(counts(&app).await, (1, 1, 2), "replays are recorded");
        app.stop().await;
    }

    async fn what_does_not_hold_is_refused_and_burns_nothing(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (client, other) = (client(&app).await, client(&app).await);
        let now = app.now();
        let jti = json!("the-one");
        let good = || jag(&app, &client, &User::ada()).claim("jti", jti.clone());
        let many = json!([app.base, "https://elsewhere.example"]);
        for (why, spec) in [
            ("another kind", good().header("typ", json!("at+jwt"))),
            ("a kind of its own making", good().header("typ", json!("oauth-id-jag"))),
            ("none", good().header("alg", json!("none"))),
            ("a shared key", good().header("alg", json!("HS256"))),
            ("crit", good().header("crit", json!(["x"]))),
            ("an unknown key", good().header("kid", json!("../../keys"))),
            ("a stranger's signature", good().signed_by_a_stranger()),
            ("an unknown issuer", good().claim("iss", json!("https://unknown.example"))),
            ("an issuer with a slash", good().claim("iss", json!(format!("{}/", app.simulator.issuer_url)))),
            ("another audience", good().audience("https://elsewhere.example")),
            ("our token endpoint", good().audience(&format!("{}/oauth/token", app.base))),
            ("our client id there", good().audience("portreeve-test")),
            ("two audiences", good().claim("aud", many)),
            ("no audience", good().claim("aud", json!([]))),
            ("expired", good().expires_at(now.minus(TimeDelta::seconds(61)))),
            ("of tomorrow", good().issued_at(now.plus(TimeDelta::seconds(61)))),
            ("good for an hour", good().expires_at(now.plus(TimeDelta::hours(1)))),
            ("begins later", good().claim("nbf", json!(now.seconds() + 61))),
            ("of somebody who will log in later", good().claim("auth_time", json!(now.seconds() + 61))),
            ("another client's", good().claim("client_id", json!(other.id))),
            ("no client", good().claim("client_id", Value::Null)),
            ("no jti", good().claim("jti", Value::Null)),
            ("no subject", good().claim("sub", json!(""))),
            ("bound to an unproven key", good().claim("cnf", json!({"jkt": "x"}))),
            ("bound in another way", good().claim("cnf", json!({"x5t#S256": "x"}))),
        ] {
            let answer = presents(&client, &mint(&app, &spec)).await;
            assert_eq!((answer.status(), answer.json()["error"].as_str()), (400, Some("invalid_grant")), "{why}: {}", answer.text());
        }
        refused(&presents(&client, &mint(&app, &good().claim("resource", json!("https://elsewhere.example")))).await, 400, "invalid_target");
        refused(&presents(&client, &mint(&app, &good().claim("scope", json!("admin")))).await, 400, "invalid_scope");
        assert_eq!(counts(&app).await, (0, 0, 0));
        presents(&client, &mint(&app, &good().claim("aud", json!([app.base])))).await.expect_status(200);
        app.stop().await;
    }

    async fn a_log_in_of_tomorrow_is_believed_of_no_assertion(db: TestDb) {
        let app = TestApp::start(&db).await;
        let client = client(&app).await;
        let at = |seconds: i64| json!(app.now().seconds() + seconds);
        for (seconds, status) in [(61, 400), (86_400, 400), (i64::MAX / 2, 400), (60, 200), (-60, 200)] {
            let about = user(&format!("u{seconds}"));
            let of_client = presents(&client, &mint(&app, &jag(&app, &client, &about).claim("auth_time", at(seconds)))).await;
            let id_token = mint(&app, &IdTokenSpec::of(&user(&format!("v{seconds}"))).claim("jti", json!(fresh_key())).claim("auth_time", at(seconds)));
            let of_itself = app.stranger().post_form("/oauth/token", &[("grant_type", GRANT), ("assertion", &id_token)]).await;
            for answer in [of_client, of_itself] {
                assert_eq!(answer.status(), status, "{seconds}: {}", answer.text());
                if status == 400 {
                    refused(&answer, 400, "invalid_grant");
                }
            }
        }
        app.stop().await;
    }

    async fn only_a_client_that_proves_itself_and_is_registered_for_it_presents_one(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (mine, public) = (client(&app).await, OAuthClient::public(&app).await);
        let assertion = mint(&app, &jag(&app, &mine, &User::ada()));
        let nobody = app.stranger().post_form("/oauth/token", &[("grant_type", GRANT), ("assertion", &assertion)]).await;
        refused(&nobody, 400, "invalid_grant");
        refused(&presents(&public, &mint(&app, &jag(&app, &public, &User::ada()))).await, 400, "invalid_grant");
        let without = OAuthClient::confidential(&app).await;
        refused(&presents(&without, &mint(&app, &jag(&app, &without, &User::ada()))).await, 400, "unauthorized_client");
        // It is no ID token, and an ID token is none.
        app.stranger().post("/v1/accounts", &json!({"id_token": assertion})).await.problem(401, "invalid_attestation");
        presents(&mine, &assertion).await.expect_status(200);
        app.stop().await;
    }

    async fn what_is_given_is_what_assertion_request_and_client_all_allow(db: TestDb) {
        let app = TestApp::start(&db).await;
        let client = client(&app).await;
        let spec = jag(&app, &client, &User::ada()).claim("scope", json!("resources:read budget:read other"));
        let fields = |assertion: &str| vec![("grant_type".to_owned(), GRANT.to_owned()), ("assertion".to_owned(), assertion.to_owned()),
            ("scope".to_owned(), "budget:read resources:write".to_owned())];
        let assertion = mint(&app, &spec);
        let fields = fields(&assertion);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let given = client.token(&fields).await.expect_status(200).json();
        assert_eq!(given["scope"], "budget:read");
        app.stop().await;
    }

    async fn an_assertion_that_is_bound_to_a_key_takes_its_proof(db: TestDb) {
        let app = TestApp::start(&db).await;
        let client = client(&app).await;
        let (holder, thief) = (Holder::es256(), Holder::es256());
        let spec = || jag(&app, &client, &User::ada()).claim("cnf", json!({"jkt": holder.thumbprint()}));
        let assertion = mint(&app, &spec());
        refused(&presents(&client, &assertion).await, 400, "invalid_grant");
        for grant in [GRANT, "urn:ietf:params:oauth:grant-type:jwt-dpop"] {
            let assertion = mint(&app, &spec());
            let fields = [("grant_type", grant), ("assertion", assertion.as_str())];
            let with = async |holder: &Holder| {
                let proof = holder.proof_for(&app, "POST", "/oauth/token", None);
                client.http.send(client.outgoing("/oauth/token", &fields).header("dpop", proof)).await
            };
            refused(&with(&thief).await, 400, "invalid_grant");
            assert_eq!(with(&holder).await.expect_status(200).json()["token_type"], "DPoP");
        }
        app.stop().await;
    }

    async fn an_orchestrator_that_was_narrowed_or_ended_does_not_come_back_as_another_client(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let owner = Browser::of_owner(&ada).await;
        let harbour = crate::agents::only_page(&owner).await;
        let scope = [("scope", "resources:write")];
        owner.submits(&format!("{harbour}/scope"), &scope).await.expect_status(303);
        let known = client(&app).await;
        let given = presents(&known, &mint(&app, &jag(&app, &known, &ada.user))).await.expect_status(200).json();
        assert!(!text(&given, "scope").contains("resources:write"), "{given}");
        for verb in ["pause", "revoke"] {
            owner.submits(&format!("{harbour}/{verb}"), &[]).await.expect_status(303);
            let other = client(&app).await;
            let answer = presents(&other, &mint(&app, &jag(&app, &other, &ada.user))).await;
            assert_eq!(answer.status(), 400, "{}", answer.text());
        }
        app.stop().await;
    }

    async fn a_person_who_has_an_account_elsewhere_is_sent_to_consent(db: TestDb) {
        let app = TestApp::start(&db).await;
        let client = client(&app).await;
        app.agent_of(&user("owner")).await;
        assert_eq!(app.orchestrator.existing_account, ExistingAccount::UserConsent);
        let mut same = user("owner");
        same.subject = "somebody_else".to_owned();
        let answer = presents(&client, &mint(&app, &jag(&app, &client, &same))).await;
        refused(&answer, 400, "invalid_grant");
        assert_eq!(answer.json()["error_uri"], json!(format!("{}/consent/needed", app.base)));
        app.stop().await;
    }
}
