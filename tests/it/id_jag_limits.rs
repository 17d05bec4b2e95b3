//! Limits that an ID-JAG states (`authorization_details`, RFC 9396): they are read, priced, told and kept like those that a
//! human allows, whoever presents the assertion and however often.

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::app::{Agent, TestApp, fresh_key, user};
use crate::harness::client::Answer;
use crate::harness::oauth::{OAuthClient, refused, text};
use crate::id_jag::{client, counts, jag, mint, presents};

/// An ID-JAG about `ada` with these limits, for a token.
async fn asks(ada: &Agent<'_>, client: &OAuthClient<'_>, details: &Value) -> Answer {
    let spec = jag(ada.app, client, &ada.user).claim("authorization_details", details.clone());
    presents(client, &mint(ada.app, &spec)).await
}

async fn token(ada: &Agent<'_>, client: &OAuthClient<'_>, details: &Value) -> Value {
    asks(ada, client, details).await.expect_status(200).json()
}

async fn buys(ada: &Agent<'_>, token: &Value, (service, plan): (&str, &str)) -> Answer {
    let agent = ada.app.stranger().with_token(text(token, "access_token"));
    agent.post_once(&fresh_key(), "/v1/resources", &ada.order(service, plan)).await
}

const FREE: (&str, &str) = ("sandbox", "free");
const DB: (&str, &str) = ("postgres", "small");

fn at_most(count: u32) -> Value {
    json!([
        {"type": "spend", "currency": "USD", "max_per_month": "10.00"},
        {"type": "provision", "actions": ["create"], "offers": ["postgres/small", "sandbox/free"], "max_count": count},
    ])
}

on_both! {
    async fn what_an_id_jag_states_in_numbers_is_told_and_holds_at_every_purchase(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent_of(&user("stated")).await;
        let client = client(&app).await;
        let given = token(&ada, &client, &at_most(2)).await;
        assert_eq!(given["authorization_details"], at_most(2), "{given}");
        buys(&ada, &given, ("weather", "metered")).await.problem(403, "not_allowed");
        buys(&ada, &given, DB).await.expect_status(201);
        let over = buys(&ada, &given, DB).await.problem(402, "cap_reached");
        assert_eq!((&over["binding"], &over["remaining"]), (&json!("agent"), &json!(100)), "{over}");
        buys(&ada, &given, FREE).await.expect_status(201);
        buys(&ada, &given, FREE).await.problem(403, "not_allowed");
        // The account itself has its own budget still.
        ada.buys("sandbox", "free").await.expect_status(201);
        app.stop().await;
    }

    async fn another_assertion_with_the_same_limits_is_no_new_allowance(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent_of(&user("again")).await;
        let (mine, other) = (client(&app).await, client(&app).await);
        let (first, second) = (token(&ada, &mine, &at_most(2)).await, token(&ada, &mine, &at_most(2)).await);
        let bought = join_all((0..8).map(|turn| buys(&ada, [&first, &second][turn % 2], FREE))).await;
        assert_eq!(bought.iter().filter(|answer| answer.status() == 201).count(), 2);
        let later = token(&ada, &mine, &at_most(2)).await;
        buys(&ada, &later, FREE).await.problem(403, "not_allowed");
        // Nor is another order or spelling, or another end.
        let said_otherwise = json!([
            {"type": "provision", "offers": ["sandbox/free", "postgres/small", "sandbox/free"], "max_count": 2, "locations": [format!("{}/v1", app.base)]},
            {"type": "spend", "currency": "USD", "max_per_month": "10", "expires_at": "2199-01-01T00:00:00Z"},
        ]);
        buys(&ada, &token(&ada, &mine, &said_otherwise).await, FREE).await.problem(403, "not_allowed");
        // Whoever has other limits, or is another program, counts for itself.
        buys(&ada, &token(&ada, &mine, &at_most(3)).await, FREE).await.expect_status(201);
        buys(&ada, &token(&ada, &other, &at_most(2)).await, FREE).await.expect_status(201);
        app.stop().await;
    }

    async fn a_plan_in_an_id_jag_is_priced_by_the_catalog_and_held_line_by_line(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent_of(&user("planned")).await;
        let client = client(&app).await;
        let plan = json!([{"type": "plan", "resources": [{"service": "postgres", "plan": "small", "count": 1}, {"service": "sandbox", "plan": "free"}]}]);
        let given = token(&ada, &client, &plan).await;
        let told = &given["authorization_details"][0];
        assert_eq!((&told["worst_case"]["max_per_month"], &told["worst_case"]["catalog_digest"]),
            (&json!("9.00"), &json!(app.app().edition().digest)), "{given}");
        buys(&ada, &given, DB).await.expect_status(201);
        let over = buys(&ada, &given, DB).await.problem(403, "outside_plan");
        assert_eq!(over["reason"], "used_up", "{over}");
        buys(&ada, &given, ("weather", "metered")).await.problem(403, "outside_plan");
        // Another price makes no other plan of it.
        app.publishes("services/postgres.toml", "amount = \"9.00 USD\"", "amount = \"8.00 USD\"").await;
        let cheaper = token(&ada, &client, &plan).await;
        assert_eq!(cheaper["authorization_details"][0]["worst_case"]["max_per_month"], "8.00", "{cheaper}");
        let over = buys(&ada, &cheaper, DB).await.problem(403, "outside_plan");
        assert_eq!(over["reason"], "used_up", "{over}");
        app.stop().await;
    }

    async fn limits_end_when_their_assertion_says_and_a_newer_one_prolongs_them(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent_of(&user("ends")).await;
        let client = client(&app).await;
        let until = |minutes: i64| {
            let end = app.now().plus(TimeDelta::minutes(minutes)).to_rfc3339();
            json!([{"type": "spend", "currency": "USD", "max_per_month": "30.00", "expires_at": end}])
        };
        let first = token(&ada, &client, &until(5)).await;
        buys(&ada, &first, FREE).await.expect_status(201);
        app.pass(TimeDelta::minutes(5));
        buys(&ada, &first, FREE).await.problem(403, "not_allowed");
        let second = token(&ada, &client, &until(5)).await;
        buys(&ada, &second, DB).await.expect_status(201);
        app.stop().await;
    }

    async fn limits_that_nobody_here_knows_are_refused_and_open_nothing(db: TestDb) {
        let app = TestApp::start(&db).await;
        let client = client(&app).await;
        let priced = json!([{"type": "plan", "resources": [{"service": "postgres", "plan": "small", "max_per_month_each": "0.01"}]}]);
        for details in [
            json!([{"type": "root"}]),
            json!([{"type": "spend"}]),
            json!({"type": "spend", "currency": "USD", "max_per_month": "1.00"}),
            json!("spend"),
            json!([{"type": "spend", "currency": "USD", "max_per_month": "1.00", "unless": "asked"}]),
            json!([{"type": "provision", "locations": ["https://elsewhere.example"]}]),
            json!([{"type": "plan", "resources": [{"service": "postgres", "plan": "huge"}]}]),
            priced,
        ] {
            let spec = jag(&app, &client, &user("unread")).claim("jti", json!("one")).claim("authorization_details", details);
            refused(&presents(&client, &mint(&app, &spec)).await, 400, "invalid_authorization_details");
        }
        assert_eq!(counts(&app).await, (0, 0, 0));
        // An empty list is no limit, and the assertion was not used up.
        let spec = jag(&app, &client, &user("unread")).claim("jti", json!("one")).claim("authorization_details", json!([]));
        let given = presents(&client, &mint(&app, &spec)).await.expect_status(200).json();
        assert!(given.get("authorization_details").is_none(), "{given}");
        app.stop().await;
    }

    async fn a_lost_answer_and_an_introspection_tell_the_same_limits(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent_of(&user("told")).await;
        let client = client(&app).await;
        let spec = jag(&app, &client, &ada.user).claim("authorization_details", at_most(1));
        let assertion = mint(&app, &spec);
        let first = presents(&client, &assertion).await.expect_status(200).json();
        assert_eq!(presents(&client, &assertion).await.expect_status(200).json(), first);
        let told = client.post("/oauth/introspect", &[("token", text(&first, "access_token"))]).await.expect_status(200).json();
        assert_eq!(told["authorization_details"], at_most(1), "{told}");
        app.stop().await;
    }
}
