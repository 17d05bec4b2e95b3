//! What orchestrators pass on about a person: kept sealed, for each orchestrator apart, and demanded where the catalog
//! says so.

use portreeve::account;
use portreeve::ids::AccountId;
use portreeve::simulator::User;
use serde_json::{Value, json};

use crate::harness::app::{TestApp, fresh_key, user};
use crate::harness::tenant::{Tenant, id_of, refused};
use crate::harness::wire::WireAgent;

const ASK: &str = "/provisioning/account_requests";

/// Whose word it is, what it is about, its value, and whether it was verified.
async fn known(app: &TestApp, account: &str) -> Vec<(String, String, String, bool)> {
    let account: AccountId = account.parse().unwrap();
    let id = account.clone();
    let rows = app.app().db.read(move |conn| account::information(conn, &id)).await.unwrap();
    let open = |(orchestrator, fact): &(_, account::SealedFact)| {
        let opened = fact.open(&app.app().person_sealer, &account, orchestrator).unwrap();
        let value = String::from_utf8(opened.to_vec()).unwrap();
        // Two letters stand in any long text now and then.
        assert!(value.len() < 6 || !fact.sealed.contains(&value), "it is sealed");
        assert!(value.len() + 30 < fact.sealed.len(), "with a nonce and a tag");
        (orchestrator.to_string(), fact.field.as_str().to_owned(), value, fact.verified)
    };
    rows.iter().map(open).collect()
}

fn said(known: &[(String, String, String, bool)]) -> Vec<(&str, &str, bool)> {
    known.iter().map(|(_, field, value, verified)| (field.as_str(), value.as_str(), *verified)).collect()
}

/// The sandbox wants to know name and country from now on.
async fn sandbox_asks(app: &TestApp) {
    let was = "wire_categories = [\"compute\"]";
    app.publishes("services/sandbox.toml", was, &format!("{was}\nkyc = [\"name\", \"country\"]")).await;
}

fn sandbox(more: &Value) -> Value {
    json!({"service_id": "sandbox", "submitted_information": more})
}

/// What an answer asks for.
fn asked(answer: &Value) -> Value {
    assert_eq!(answer["status"], "needs_information", "{answer}");
    answer["needs_information"]["schema"]["required"].clone()
}

on_both! {
    async fn what_an_account_request_says_is_kept_sealed(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = WireAgent::register(&app).await;
        let mut request = agent.account_request(&User::ada());
        request["name"] = json!(" Ada Example ");
        request["phone"] = json!("+49 30 1234");
        request["country"] = json!("de");
        request["kyc"] = json!({"verified_fields": ["email", "name"]});
        let code = agent.post(ASK, &request).await.expect_status(200).json()["oauth"]["code"].clone();
        let fields = [("grant_type", "authorization_code"), ("code", code.as_str().unwrap())];
        let tokens = agent.token(&fields).await.expect_status(200).json();
        let account = tokens["account"]["id"].as_str().unwrap();
        let facts = known(&app, account).await;
        assert_eq!(said(&facts), [("country", "DE", false), ("name", "Ada Example", true), ("phone", "+49 30 1234", false)]);
        assert!(facts.iter().all(|fact| fact.0 == agent.orchestrator.as_str()));
        // What is said last counts; what has no form that we keep is passed over.
        let mut later = agent.account_request(&User::ada());
        later["name"] = json!("Ada Lovelace");
        later["country"] = json!("Germany");
        agent.post(ASK, &later).await.expect_status(200);
        let facts = known(&app, account).await;
        assert_eq!(said(&facts), [("country", "DE", false), ("name", "Ada Lovelace", false), ("phone", "+49 30 1234", false)]);
        app.stop().await;
    }

    async fn a_service_is_sold_only_to_somebody_who_is_known_as_it_says(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        sandbox_asks(&app).await;
        let answer = ada.sends(&json!({"service_id": "sandbox"})).await.expect_status(200).json();
        assert_eq!(asked(&answer), json!(["name", "country"]));
        assert!(answer["needs_information"]["schema"]["properties"]["country"]["pattern"].is_string());
        // Half of it is not kept: everything is asked for again.
        let half = ada.sends(&sandbox(&json!({"name": "Ada"}))).await.expect_status(200).json();
        assert_eq!((asked(&half), known(&app, &ada.agent.account).await.len()), (json!(["name", "country"]), 0));
        for wrong in [json!({"name": "Ada", "country": "Germany"}), json!({"name": 7, "country": "DE"})] {
            refused(&ada.sends(&sandbox(&wrong)).await, 400, "invalid_request", "");
        }
        assert_eq!(ada.count().await, 0);
        let whole = sandbox(&json!({"name": "Ada", "country": "DE"}));
        let made = ada.wire.post_once("k", "/provisioning/resources", &whole).await.expect_status(200).json();
        let again = ada.wire.post_once("k", "/provisioning/resources", &whole).await.expect_status(200).json();
        assert_eq!((id_of(&made, "complete"), ada.count().await), (id_of(&again, "complete"), 1));
        assert_eq!(said(&known(&app, &ada.agent.account).await), [("country", "DE", false), ("name", "Ada", false)]);
        // Known once is known, over `/v1` too.
        ada.gets("sandbox").await;
        ada.agent.buys("sandbox", "free").await.expect_status(201);
        app.stop().await;
    }

    async fn what_the_account_request_said_is_not_asked_again(db: TestDb) {
        let app = TestApp::start(&db).await;
        sandbox_asks(&app).await;
        let agent = WireAgent::register(&app).await;
        let mut request = agent.account_request(&User::ada());
        request["country"] = json!("DE");
        agent.post(ASK, &request).await.expect_status(200);
        let (ada, _) = agent.opens_account(&User::ada()).await;
        let made = ada.post_once(&fresh_key(), "/provisioning/resources", &json!({"service_id": "sandbox"})).await;
        id_of(&made.expect_status(200).json(), "complete");
        // Somebody else is somebody else.
        let (bob, _) = agent.opens_account(&user("bob")).await;
        let answer = bob.post("/provisioning/resources", &json!({"service_id": "sandbox"})).await.expect_status(200);
        assert_eq!(asked(&answer.json()), json!(["country"]), "his name came with his request");
        app.stop().await;
    }

    async fn one_question_names_everything_that_is_missing(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        let was = "irreversible = true";
        app.publishes("services/domain.toml", was, &format!("{was}\nkyc = [\"name\", \"email\"]")).await;
        let body = json!({"service_id": "domain", "payment_credentials": ada.pays()});
        let answer = ada.sends(&body).await.expect_status(200).json();
        assert_eq!(asked(&answer), json!(["domain_name", "name"]), "the address of the account is known");
        let mut body = body;
        body["submitted_information"] = json!({"domain_name": "example.dev", "name": "Ada"});
        let id = id_of(&ada.sends(&body).await.expect_status(200).json(), "complete");
        let found = app.app().db.read(move |conn| portreeve::resource::owner_of(conn, &id.parse().unwrap())).await;
        assert_eq!(found.unwrap().unwrap().configuration, json!({"domain_name": "example.dev"}).to_string());
        app.stop().await;
    }

    async fn a_change_to_a_service_that_asks_is_asked_too(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        let id = ada.gets("postgres:small").await;
        let was = "group = \"databases\"";
        app.publishes("services/postgres.toml", was, &format!("{was}\nkyc = [\"phone\"]")).await;
        let mut up = json!({"service_id": "postgres:medium", "payment_credentials": ada.pays()});
        let answer = ada.does("update_service", &id, &up).await.expect_status(200).json();
        assert_eq!((asked(&answer), &answer["id"]), (json!(["phone"]), &json!(id)));
        assert_eq!((ada.plan_and_state(&id).await, app.issuer_says()), (("postgres/small".to_owned(), "ready".to_owned()), (0, 900)));
        // What it is already may be configured anew without a question.
        let region = json!({"configuration": {"region": "us-east"}});
        id_of(&ada.does("update_service", &id, &region).await.expect_status(200).json(), "complete");
        up["submitted_information"] = json!({"phone": "+1 555"});
        id_of(&ada.does("update_service", &id, &up).await.expect_status(200).json(), "complete");
        assert_eq!(said(&known(&app, &ada.agent.account).await), [("phone", "+1 555", false)]);
        app.stop().await;
    }

    async fn the_native_api_asks_as_well(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        sandbox_asks(&app).await;
        let mut order = ada.order("sandbox", "free");
        let problem = ada.sends(&order).await.problem(422, "information_needed");
        assert_eq!(problem["needed"], json!(["name", "country"]));
        order["information"] = json!({"name": "Ada", "country": "D"});
        ada.sends(&order).await.problem(400, "invalid_request");
        order["information"] = json!({"name": "Ada", "shoe_size": "43"});
        ada.sends(&order).await.problem(400, "invalid_request");
        order["information"] = json!({"name": "Ada", "country": "de"});
        ada.sends(&order).await.expect_status(201);
        assert_eq!(said(&known(&app, &ada.account).await), [("country", "DE", false), ("name", "Ada", false)]);
        app.stop().await;
    }
}
