//! Plans that stand under others: a parent stays as long as something needs it, and its price is what is charged.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::app::{TestApp, fresh_key};
use crate::harness::client::Answer;
use crate::harness::tenant::{Tenant, UNLIMITED, refused};

const UPDATE: &str = "update_service";

/// Reports that a resource was used.
async fn uses(app: &TestApp, id: &str, quantity: u32) -> Answer {
    let event = json!({"specversion": "1.0", "id": fresh_key(), "source": "test", "type": "portreeve.usage",
        "subject": id, "data": {"meter": "requests", "quantity": quantity.to_string()}});
    app.meter().post_bytes("/v1/usage", "application/cloudevents+json", event.to_string().into_bytes()).await
}

async fn cost(app: &TestApp, id: &str, quantity: u32) -> Value {
    uses(app, id, quantity).await.expect_status(200).json()["cost"]["amount"].clone()
}

on_both! {
    async fn a_parent_is_not_removed_while_something_needs_it(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        let team = ada.gets("team:free").await;
        let bucket = ada.gets("bucket").await;
        let message = refused(&ada.does("remove", &team, &json!({})).await, 409, "invalid_state", &team);
        assert!(message.contains("bucket/standard") && message.contains("team/free"), "{message}");
        ada.agent.client.delete(&format!("/v1/resources/{team}")).await.problem(409, "plan_constraint");
        assert_eq!(ada.plan_and_state(&team).await.1, "ready");
        ada.does("remove", &bucket, &json!({})).await.expect_status(200);
        ada.does("remove", &team, &json!({})).await.expect_status(200);
        // Gone it is gone, whatever there is.
        assert_eq!(ada.does("remove", &team, &json!({})).await.expect_status(200).json()["status"], "removed");
        app.stop().await;
    }

    async fn a_parent_becomes_only_what_is_a_parent_too(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        let team = ada.gets("team:free").await;
        ada.gets("bucket").await;
        let pro = json!({"service_id": "team:pro", "payment_credentials": ada.pays()});
        app.publishes("services/bucket.toml", "    { plan = \"team/pro\" },\n", "").await;
        refused(&ada.does(UPDATE, &team, &pro).await, 409, "invalid_state", &team);
        assert_eq!(ada.plan_and_state(&team).await, ("team/free".to_owned(), "ready".to_owned()));
        assert_eq!((ada.agent.spent_and_held().await, app.issuer_says()), ((0, 0), (0, 0)));
        let free = "price = { kind = \"free\" }, default = true },\n";
        app.publishes("services/bucket.toml", free, &format!("{free}    {{ plan = \"team/pro\" }},\n")).await;
        ada.does(UPDATE, &team, &pro).await.expect_status(200);
        // What was sold under the other parent keeps its price, and its parent stays.
        refused(&ada.does("remove", &team, &json!({})).await, 409, "invalid_state", &team);
        assert_eq!(ada.agent.spent_and_held().await, (2000, 0));
        app.stop().await;
    }

    async fn of_a_removal_and_purchases_at_once_nothing_is_left_without_its_parent(db: TestDb) {
        let app = TestApp::start_with(&db, &UNLIMITED).await;
        let ada = Tenant::ada(&app).await;
        for _ in 0..4 {
            let team = ada.gets("team:free").await;
            let nothing = json!({});
            let (removed, bought) =
                tokio::join!(ada.does("remove", &team, &nothing), join_all((0..4).map(|_| ada.makes("bucket"))));
            let gone = removed.status() == 200;
            let there: Vec<Value> = bought.iter().filter(|one| one.status() == 200).map(Answer::json).collect();
            assert!(!gone || there.is_empty(), "{there:?}");
            for bucket in there {
                ada.does("remove", bucket["id"].as_str().unwrap(), &json!({})).await.expect_status(200);
            }
            ada.does("remove", &team, &json!({})).await.expect_status(200);
        }
        app.stop().await;
    }

    async fn usage_costs_what_it_costs_under_the_parent(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        let was = "credentials = [\"API_KEY\", \"URL\"]";
        let dear = "{ kind = \"metered\", max_exposure = \"10.00 USD\", meters = [{ id = \"requests\", unit = \"request\", amount = \"1.00 USD\", per = 1000 }] }";
        let parents = format!("parents = [{{ plan = \"team/free\", price = {dear}, default = true }}, {{ plan = \"team/pro\" }}]");
        app.publishes("services/weather.toml", was, &format!("{was}\n{parents}")).await;
        let team = ada.gets("team:free").await;
        let under_free = ada.gets("weather").await;
        assert_eq!(cost(&app, &under_free, 1000).await, 100);
        uses(&app, &under_free, 9100).await.problem(402, "cap_reached");
        assert_eq!(cost(&app, &under_free, 9000).await, 900, "the parent's own ceiling");
        let pro = json!({"service_id": "team:pro", "payment_credentials": ada.pays()});
        ada.does(UPDATE, &team, &pro).await.expect_status(200);
        let under_pro = ada.gets("weather").await;
        assert_eq!(cost(&app, &under_pro, 1000).await, 50, "its own price");
        app.stop().await;
    }

    async fn after_a_change_of_plan_the_ceiling_is_that_of_the_new_one(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        let big = "per = 1000\n\n[[plans]]\nid = \"big\"\ntitle = \"More of it\"\ncredentials = [\"API_KEY\", \"URL\"]\nupdates = [{ to = \"metered\", direction = \"down\" }]\n\n[plans.price]\nkind = \"metered\"\nmax_exposure = \"5.00 USD\"\n\n[[plans.price.meters]]\nid = \"requests\"\nunit = \"request\"\namount = \"1.00 USD\"\nper = 100";
        app.publishes("services/weather.toml", "per = 1000", big).await;
        let title = "title = \"Pay per request\"\n";
        let updates = format!("{title}updates = [{{ to = \"big\", direction = \"up\" }}]\n");
        app.publishes("services/weather.toml", title, &updates).await;
        app.publishes("services/weather.toml", "\"200.00 USD\"", "\"2.00 USD\"").await;
        let id = ada.sends(&json!({"service_id": "weather:metered", "payment_credentials": ada.pays()})).await;
        let id = id.expect_status(200).json()["id"].as_str().unwrap().to_owned();
        assert_eq!(cost(&app, &id, 4000).await, 200);
        uses(&app, &id, 20).await.problem(402, "cap_reached");
        ada.does(UPDATE, &id, &json!({"service_id": "weather:big"})).await.expect_status(200);
        // What this month cost already counts under the new ceiling.
        assert_eq!(cost(&app, &id, 300).await, 300);
        let full = uses(&app, &id, 1).await.problem(402, "cap_reached");
        assert_eq!((&full["ceiling"], &full["spent"]), (&json!(500), &json!(500)), "{full}");
        // And down again at once.
        ada.does(UPDATE, &id, &json!({"service_id": "weather:metered"})).await.expect_status(200);
        let full = uses(&app, &id, 20).await.problem(402, "cap_reached");
        assert_eq!((&full["ceiling"], &full["remaining"]), (&json!(200), &json!(0)), "{full}");
        app.stop().await;
    }
}
