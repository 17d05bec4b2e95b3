//! `POST /provisioning/deep_links`: one-use links, in the orchestrator's shape, that lead nowhere but to our own pages.

use chrono::TimeDelta;
use futures_util::future::join_all;
use portreeve::fetch::Outgoing;
use portreeve::simulator::User;
use serde_json::{Value, json};

use crate::harness::app::TestApp;
use crate::harness::client::Answer;
use crate::harness::wire::WireAgent;

const PATH: &str = "/provisioning/deep_links";

#[track_caller]
fn status(answer: &Answer, http: u16, code: &str) {
    assert_eq!(answer.status(), http, "{}", answer.text());
    let body = answer.json();
    assert_eq!((&body["status"], &body["id"], &body["error"]["code"]), (&json!("error"), &json!(""), &json!(code)));
}

fn own<'a>(app: &TestApp, url: &'a Value) -> &'a str {
    url.as_str().unwrap().strip_prefix(&app.base).expect("our own page")
}

on_both! {
    async fn a_link_opens_the_dashboard_once_for_ten_minutes(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (agent, _) = WireAgent::register(&app).await.opens_account(&User::ada()).await;
        let answer = agent.post(PATH, &json!({"purpose": "dashboard", "actor": {"email": "a@b.example"}})).await;
        let answer = answer.expect_status(200);
        assert_eq!(answer.header("cache-control"), "no-store");
        let body = answer.json();
        assert_eq!((&body["purpose"], &body["expires_at"]), (&json!("dashboard"), &json!("2026-11-15T12:10:00Z")));
        let link = own(&app, &body["url"]);
        let anyone = app.stranger();
        anyone.get(link).await.expect_status(200);
        assert_eq!(anyone.post_form(link, &[]).await.expect_status(303).header("location"), "/dashboard");
        assert_eq!(anyone.post_form(link, &[]).await.status(), 410);
        let late = agent.post_once("late", PATH, &json!({"purpose": "dashboard"})).await.expect_status(200).json();
        app.pass(TimeDelta::seconds(600));
        assert_eq!(anyone.post_form(own(&app, &late["url"]), &[]).await.status(), 410);
        app.stop().await;
    }

    async fn each_profile_has_its_shape(db: TestDb) {
        let app = TestApp::start(&db).await;
        for (profile, members) in [("2026-03-30", vec!["deep_link"]), ("2026-04-01", vec!["expires_at", "purpose", "url"])] {
            let agent = WireAgent::register_with(&app, |wire| wire.profile = profile.parse().unwrap()).await;
            let (agent, _) = agent.opens_account(&User::ada()).await;
            let body = agent.post_once(profile, PATH, &json!({"purpose": "dashboard"})).await.expect_status(200).json();
            let mut names: Vec<&String> = body.as_object().unwrap().keys().collect();
            names.sort();
            assert_eq!(names, members, "{profile}");
        }
        app.stop().await;
    }

    async fn the_same_request_gets_the_same_link(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (agent, _) = WireAgent::register(&app).await.opens_account(&User::ada()).await;
        let body = json!({"purpose": "dashboard"});
        for key in [None, Some("k")] {
            let send = || async {
                match key {
                    Some(key) => agent.post_once(key, PATH, &body).await,
                    None => agent.post(PATH, &body).await,
                }
            };
            let mut links: Vec<Value> =
                join_all((0..16).map(|_| send())).await.into_iter().map(|one| one.expect_status(200).json()).collect();
            links.dedup();
            assert_eq!(links.len(), 1, "{key:?}");
        }
        let first = agent.post(PATH, &body).await.json();
        app.pass(TimeDelta::seconds(1));
        assert_ne!(agent.post(PATH, &body).await.json()["url"], first["url"], "signed anew it is a new request");
        let keyed = agent.post_once("k", PATH, &json!({"purpose": "dashboard", "path": "/dashboard?a=b"})).await;
        status(&keyed, 422, "invalid_request");
        app.stop().await;
    }

    async fn only_a_path_of_our_own_leads_on(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (agent, _) = WireAgent::register(&app).await.opens_account(&User::ada()).await;
        for bad in ["https://evil.example", "//evil.example", "/\\evil.example", "\\evil", "javascript:alert(1)", "dashboard",
            "/a\nb", "/%0d%0aset-cookie:x", "/%5cevil.example", "", "/a b"] {
            status(&agent.post(PATH, &json!({"purpose": "dashboard", "path": bad})).await, 400, "invalid_path");
        }
        let good = json!({"purpose": "dashboard", "path": "/dashboard?ledger_before=3&x=y"});
        let body = agent.post(PATH, &good).await.expect_status(200).json();
        let link = own(&app, &body["url"]);
        let page = app.stranger().get(link).await.expect_status(200).text();
        assert!(page.contains("to=%2Fdashboard%3Fledger_before%3D3%26x%3Dy"), "{page}");
        let used = app.stranger().post_form(link, &[]).await.expect_status(303);
        assert_eq!(used.header("location"), "/dashboard?ledger_before=3&x=y");
        // A link whose end was exchanged leads to the dashboard.
        let other = agent.post_once("x", PATH, &good).await.expect_status(200).json();
        let bare = own(&app, &other["url"]).split('?').next().unwrap().to_owned();
        let bent = format!("{bare}?to=https%3A%2F%2Fevil.example");
        assert_eq!(app.stranger().post_form(&bent, &[]).await.expect_status(303).header("location"), "/dashboard");
        app.stop().await;
    }

    async fn what_is_wrong_first_is_told_first(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = WireAgent::register(&app).await;
        let (holder, tokens) = agent.opens_account(&User::ada()).await;
        let bare = || Outgoing::post_json(agent.client.url(PATH), &json!({"purpose": "nonsense"}));
        status(&agent.client.send(bare()).await, 401, "unauthorized");
        for header in ["Basic YTpi", "Bearer", "Bearer a b", "Bearer nonsense"] {
            status(&agent.client.send(bare().header("authorization", header)).await, 401, "unauthorized");
        }
        let token = tokens["access_token"].as_str().unwrap();
        let unsigned = agent.client.send(bare().bearer(token)).await;
        assert_eq!((unsigned.status(), unsigned.json()), (401, unsigned.json()));
        assert_eq!((&unsigned.json()["error"]["code"], unsigned.json().get("status")), (&json!("invalid_signature"), None));
        let body = json!({"purpose": "nonsense"}).to_string();
        let signature = crate::harness::wire::stripe_signature(&agent.secret, app.now().seconds(), body.as_bytes());
        let versionless = agent.client.send(bare().bearer(token).header("stripe-signature", signature)).await;
        assert_eq!((versionless.status(), &versionless.json()["error"]["code"]), (400, &json!("invalid_api_version")));
        status(&holder.post(PATH, &json!({"purpose": "nonsense"})).await, 400, "unsupported_purpose");
        status(&holder.post(PATH, &json!({"purpose": "nonsense", "path": "//x"})).await, 400, "unsupported_purpose");
        for bad in [json!({}), json!({"purpose": null}), json!({"purpose": 7}), json!({"purpose": "dashboard", "path": 7})] {
            status(&holder.post(PATH, &bad).await, 400, "invalid_request");
        }
        app.stop().await;
    }
}
