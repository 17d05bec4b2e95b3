//! What an account may have until somebody claims it, and where its refusals lead.

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::json;

use super::*;
use crate::harness::tenant::{Tenant, refused};

const FEW: [(&str, &str); 2] = [("claim.max_resources", "2"), ("claim.buys_for_days", "30")];

on_both! {
    async fn an_unclaimed_account_has_so_many_resources_also_when_many_are_bought_at_once(db: TestDb) {
        let app = TestApp::start_with(&db, &FEW).await;
        let ada = app.agent().await;
        let answers = join_all((0..8).map(|_| ada.buys("sandbox", "free"))).await;
        let with = |status| answers.iter().filter(|answer| answer.status() == status).count();
        assert_eq!((with(201), with(403)), (2, 6));
        let told = ada.buys("sandbox", "free").await.problem(403, "claim_needed");
        assert_eq!((&told["claim_url"], &told["retry"]), (&json!(format!("{}/claim", app.base)), &json!(false)));
        assert!(told["next"]["tell_human"].as_str().unwrap().contains("Claim the account"), "{told}");
        assert!(told["detail"].as_str().unwrap().contains("has 2 resources"), "{told}");
        // What is gone does not count.
        let made = answers.iter().find(|answer| answer.status() == 201).unwrap().json();
        ada.client.delete(&format!("/v1/resources/{}", made["resource"]["id"].as_str().unwrap())).await.expect_status(200);
        ada.buys("sandbox", "free").await.expect_status(201);
        ada.buys("sandbox", "free").await.problem(403, "claim_needed");
        // The page behind the code is served.
        app.stranger().get("/docs/problems/claim_needed").await.expect_status(200);
        app.stop().await;
    }

    async fn an_unclaimed_account_buys_nothing_new_after_its_time_and_what_it_has_goes_on(db: TestDb) {
        let app = TestApp::start_with(&db, &FEW).await;
        let mut ada = Tenant::ada(&app).await;
        let id = ada.gets("postgres:small").await;
        app.pass(TimeDelta::days(30).checked_sub(&TimeDelta::seconds(1)).unwrap());
        ada.agent.logs_in_again().await;
        ada.agent.buys("sandbox", "free").await.expect_status(201);
        app.pass(TimeDelta::seconds(1));
        let told = ada.agent.buys("sandbox", "free").await.problem(403, "claim_needed");
        assert!(told["detail"].as_str().unwrap().contains("more than 30 days ago"), "{told}");
        // Nor more of what there is, over the wire.
        let (wire, _) = crate::harness::wire::WireAgent::register(&app).await.opens_account(&ada.agent.user).await;
        ada.wire = wire;
        ada.agent.payment_token = app.pays(&crate::harness::app::usd(20_000).monthly().of(&ada.agent.user));
        let more = json!({"service_id": "postgres:medium", "payment_credentials": ada.pays()});
        let message = refused(&ada.does("update_service", &id, &more).await, 409, "invalid_state", &id);
        assert!(message.contains("/claim"), "{message}");
        // Down, and away, it can go.
        ada.does("remove", &id, &json!({})).await.expect_status(200);
        let page = Browser::of_human(&ada.agent).await.get("/dashboard").await.text();
        assert!(page.contains("at most 2 resources") && page.contains("href=\"/claim\">Claim this account</a>"), "{page}");
        app.stop().await;
    }

    async fn a_cap_that_cannot_be_raised_before_the_claim_leads_to_the_claim(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let mut last = ada.buys("domain", "dot-dev").await;
        for _ in 0..20 {
            if last.status() == 402 {
                break;
            }
            last = ada.buys("domain", "dot-dev").await;
        }
        let told = last.problem(402, "cap_reached");
        let claim = json!(format!("{}/claim", app.base));
        assert_eq!((&told["binding"], &told["claim_url"], &told["raise_url"]), (&json!("budget"), &claim, &claim));
        assert!(told["next"]["tell_human"].as_str().unwrap().contains("claim it at claim_url"), "{told}");
        // What is metered is refused in the same words.
        let (weather, _key) = ada.gets_the_weather().await;
        let metered = json!({"specversion": "1.0", "id": "over", "source": "/weather", "type": "portreeve.usage",
            "subject": weather, "data": {"meter": "requests", "quantity": "20000"}});
        let meter = app.meter();
        let body = metered.to_string().into_bytes();
        let refused = meter.post_bytes("/v1/usage", "application/cloudevents+json", body).await.problem(402, "cap_reached");
        assert_eq!((&refused["claim_url"], &refused["raise_url"], &refused["next"]), (&claim, &claim, &told["next"]));
        let human = Browser::of_human(&ada).await;
        let page = human.get("/dashboard").await.text();
        assert!(page.contains("Claim to raise the cap") && !page.contains("action=\"/dashboard/cap/raise\""), "{page}");
        // Below that, the human may raise it; and the refusal leads to the dashboard.
        human.submits("/dashboard/cap", &[("ceiling", "20"), ("sure", "2000")]).await.expect_status(303);
        let told = ada.buys("domain", "dot-dev").await.problem(402, "cap_reached");
        assert_eq!((&told["raise_url"], told.get("claim_url")), (&json!(format!("{}/dashboard", app.base)), None));
        let page = human.get("/dashboard").await.text();
        assert!(page.contains("action=\"/dashboard/cap/raise\"") && !page.contains("Claim to raise"), "{page}");
        app.stop().await;
    }
}
