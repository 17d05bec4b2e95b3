//! Plans: an agent shows everything that it wants to make, the provider says what it costs at the worst, the human allows
//! it on one page, and every purchase is held against it.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::consent_memory::{allows, claimed, is_asked, is_not_asked};
use crate::harness::app::{Agent, TestApp, fresh_key};
use crate::harness::browser::Browser;
use crate::harness::client::Answer;
use crate::harness::oauth::{CHALLENGE, OAuthClient, REDIRECT, answered, form, refused, text};

fn plan(lines: &[(&str, &str, u32)]) -> Value {
    let lines: Vec<Value> =
        lines.iter().map(|(service, plan, count)| json!({"service": service, "plan": plan, "count": count})).collect();
    json!({"type": "plan", "resources": lines})
}

/// Pushes a request with these details.
async fn pushes(client: &OAuthClient<'_>, scope: &str, details: &Value) -> Answer {
    let text = details.to_string();
    let fields = [
        ("response_type", "code"),
        ("redirect_uri", REDIRECT),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("scope", scope),
        ("authorization_details", text.as_str()),
    ];
    client.post("/oauth/par", &fields).await
}

/// Pushes, and opens what was pushed; the page.
async fn page_of(client: &OAuthClient<'_>, details: &Value) -> String {
    let pushed = pushes(client, "resources:read resources:write", details).await.expect_status(201).json();
    let query = form(&[("client_id", &client.id), ("request_uri", text(&pushed, "request_uri"))]);
    client.http.get(&format!("/oauth/authorize?{query}")).await.expect_status(303).header("location").to_owned()
}

/// The human allows all of it.
async fn token(client: &OAuthClient<'_>, browser: &Browser, details: &Value) -> Value {
    let page = page_of(client, details).await;
    is_asked(browser, &page).await;
    let answer = allows(browser, &page, &["resources:read", "resources:write"]).await;
    client.redeems(text(&answer, "code")).await.expect_status(200).json()
}

async fn buys(ada: &Agent<'_>, token: &Value, (service, plan): (&str, &str)) -> Answer {
    let agent = ada.app.stranger().with_token(text(token, "access_token"));
    agent.post_once(&fresh_key(), "/v1/resources", &ada.order(service, plan)).await
}

const DB: (&str, &str) = ("postgres", "small");

on_both! {
    async fn a_plan_is_priced_shown_and_held_line_by_line(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::confidential(&app).await;
        let browser = Browser::of_owner(&ada).await;
        let wanted = json!([plan(&[("postgres", "small", 2), ("sandbox", "free", 1)])]);
        let page = page_of(&client, &wanted).await;
        let html = is_asked(&browser, &page).await;
        for wanted in ["could spend up to $18.00 a month here, and create 3 resources", "2 × Postgres · Small", "$9.00 a month",
            "1 × Sandbox · Free", "<b>$18.00 a month</b>", "exactly the plan below", "signed catalog, revision"] {
            assert!(html.contains(wanted), "`{wanted}` is missing: {html}");
        }
        let answer = allows(&browser, &page, &["resources:write"]).await;
        let token = client.redeems(text(&answer, "code")).await.expect_status(200).json();
        let told = &token["authorization_details"][0];
        assert_eq!((&told["type"], &told["worst_case"]["max_per_month"]), (&json!("plan"), &json!("18.00")), "{told}");
        assert_eq!(told["resources"][0]["max_per_month_each"], "9.00", "{told}");
        let catalog = app.app().edition();
        assert_eq!(told["worst_case"]["catalog_digest"], json!(catalog.digest));
        buys(&ada, &token, DB).await.expect_status(201);
        buys(&ada, &token, DB).await.expect_status(201);
        let over = buys(&ada, &token, DB).await.problem(403, "outside_plan");
        assert_eq!((&over["reason"], &over["allowed"]), (&json!("used_up"), &json!(2)), "{over}");
        let other = buys(&ada, &token, ("weather", "metered")).await.problem(403, "outside_plan");
        assert_eq!(other["reason"], "not_planned", "{other}");
        assert!(text(&other["next"], "action").starts_with("Stop."), "{other}");
        buys(&ada, &token, ("postgres", "medium")).await.problem(403, "outside_plan");
        buys(&ada, &token, ("sandbox", "free")).await.expect_status(201);
        buys(&ada, &token, ("sandbox", "free")).await.problem(403, "outside_plan");
        // The account itself is not in the plan.
        ada.buys("sandbox", "free").await.expect_status(201);
        app.stop().await;
    }

    async fn a_plan_that_cannot_be_made_or_priced_is_refused_at_once(db: TestDb) {
        let app = TestApp::start(&db).await;
        let client = OAuthClient::confidential(&app).await;
        let write = "resources:write";
        let mut figures = plan(&[("postgres", "small", 1)]);
        figures["worst_case"] = json!({"max_per_month": "1.00", "catalog_version": 1, "catalog_digest": "x"});
        let spend = |currency: &str| json!({"type": "spend", "currency": currency, "max_per_month": "5.00"});
        for (scope, details) in [
            (write, json!([plan(&[("postgres", "huge", 1)])])),
            (write, json!([plan(&[("nothing", "small", 1)])])),
            (write, json!([plan(&[("postgres", "small", 0)])])),
            (write, json!([plan(&[])])),
            (write, json!([figures])),
            (write, json!([plan(&[("postgres", "small", 1)]), {"type": "provision", "max_count": 9}])),
            (write, json!([plan(&[("postgres", "small", 1)]), plan(&[("sandbox", "free", 1)])])),
            (write, json!([plan(&[("postgres", "small", 1)]), spend("EUR")])),
            ("resources:read", json!([plan(&[("postgres", "small", 1)])])),
        ] {
            refused(&pushes(&client, scope, &details).await, 400, "invalid_authorization_details");
        }
        let details = json!([plan(&[("postgres", "huge", 1)])]).to_string();
        let answer = answered(&client.authorize(&[("authorization_details", &details)]).await, REDIRECT);
        assert_eq!(text(&answer, "error"), "invalid_authorization_details");
        assert!(text(&answer, "error_description").contains("`postgres/huge` is not in the catalog"), "{answer}");
        app.stop().await;
    }

    async fn a_price_above_what_the_human_saw_is_refused_and_one_below_is_not(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::confidential(&app).await;
        let token = token(&client, &Browser::of_owner(&ada).await, &json!([plan(&[("postgres", "small", 3)])])).await;
        buys(&ada, &token, DB).await.expect_status(201);
        app.publishes("services/postgres.toml", "amount = \"9.00 USD\"", "amount = \"9.01 USD\"").await;
        let refusal = buys(&ada, &token, DB).await.problem(403, "outside_plan");
        assert_eq!(refusal["reason"], "dearer", "{refusal}");
        assert!(text(&refusal, "detail").contains("at most $9.00 a month"), "{refusal}");
        app.publishes("services/postgres.toml", "amount = \"9.01 USD\"", "amount = \"8.00 USD\"").await;
        buys(&ada, &token, DB).await.expect_status(201);
        app.stop().await;
    }

    async fn of_many_purchases_at_once_as_many_are_made_as_the_plan_has(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::confidential(&app).await;
        let token = token(&client, &Browser::of_owner(&ada).await, &json!([plan(&[("sandbox", "free", 3)])])).await;
        let answers = join_all((0..12).map(|_| buys(&ada, &token, ("sandbox", "free")))).await;
        let made = answers.iter().filter(|answer| answer.status() == 201).count();
        let refused = answers.iter().filter(|answer| answer.status() == 403).count();
        assert_eq!((made, refused), (3, 9));
        app.stop().await;
    }

    async fn a_retry_of_a_purchase_is_no_second_one(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::confidential(&app).await;
        let token = token(&client, &Browser::of_owner(&ada).await, &json!([plan(&[("sandbox", "free", 1)])])).await;
        let agent = app.stranger().with_token(text(&token, "access_token"));
        let (key, order) = (fresh_key(), ada.order("sandbox", "free"));
        let first = agent.post_once(&key, "/v1/resources", &order).await.expect_status(201).json();
        let again = agent.post_once(&key, "/v1/resources", &order).await.expect_status(201).json();
        assert_eq!(first["resource"]["id"], again["resource"]["id"]);
        app.stop().await;
    }

    async fn the_worst_case_is_the_dearest_that_a_plan_can_become(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::confidential(&app).await;
        // A bucket is free under one parent; the weather costs up to its maximum.
        let page = page_of(&client, &json!([plan(&[("bucket", "standard", 2), ("weather", "metered", 1)])])).await;
        let html = is_asked(&Browser::of_owner(&ada).await, &page).await;
        assert!(html.contains("<b>$210.00 a month</b>") && html.contains("could spend only $100.00 of that"), "{html}");
        assert!(html.contains("could spend up to $100.00 a month"), "the account's own cap is lower: {html}");
        app.stop().await;
    }

    async fn a_lower_limit_of_money_beside_a_plan_binds(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::confidential(&app).await;
        let browser = Browser::of_owner(&ada).await;
        let spend = json!({"type": "spend", "currency": "USD", "max_per_month": "10.00"});
        let wanted = json!([plan(&[("postgres", "small", 2)]), spend]);
        assert!(is_asked(&browser, &page_of(&client, &wanted).await).await.contains("up to $10.00 a month here"));
        app.pass(chrono::TimeDelta::minutes(11));
        let token = token(&client, &Browser::of_owner(&ada).await, &wanted).await;
        buys(&ada, &token, DB).await.expect_status(201);
        let refusal = buys(&ada, &token, DB).await.problem(402, "cap_reached");
        assert_eq!(refusal["binding"], "agent", "{refusal}");
        app.stop().await;
    }

    async fn the_same_plan_is_not_asked_again_and_counts_on_and_a_larger_one_is(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = claimed(app.agent().await).await;
        let client = OAuthClient::confidential(&app).await;
        let browser = Browser::of_owner(&ada).await;
        let wanted = json!([plan(&[("sandbox", "free", 2)])]);
        let first = token(&client, &browser, &wanted).await;
        buys(&ada, &first, ("sandbox", "free")).await.expect_status(201);
        // Another revision of the catalog with the same prices is the same plan.
        app.publishes("services/cache.toml", "Up to 1 GB of memory.", "Up to 1 GB of memory, shared.").await;
        let answer = is_not_asked(&browser, &page_of(&client, &wanted).await).await;
        let again = client.redeems(text(&answer, "code")).await.expect_status(200).json();
        buys(&ada, &again, ("sandbox", "free")).await.expect_status(201);
        buys(&ada, &again, ("sandbox", "free")).await.problem(403, "outside_plan");
        let html = is_asked(&browser, &page_of(&client, &json!([plan(&[("sandbox", "free", 3)])])).await).await;
        assert!(html.contains("It asks for more than before") && html.contains("create 3 × Sandbox · Free"), "{html}");
        app.stop().await;
    }
}
