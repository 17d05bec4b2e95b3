//! Buying: what is held, what is taken, what is given back, and that nothing is ever done twice or passes a ceiling.

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use futures_util::future::join_all;
use portreeve::clock::Timestamp;
use portreeve::db::DbError;
use portreeve::db::schema::{operations, resources};
use portreeve::fetch::Outgoing;
use portreeve::money::Amount;
use portreeve::payment::audit_chain::{self, Difference, VerifyError};
use portreeve::simulator::{AuthorizationStatus, Fault, PaymentTokenSpec, SettlementVerb, User};
use serde_json::{Value, json};

use crate::harness::app::{Agent, TestApp, fresh_key, usd, user};

on_both! {
    async fn parallel_purchases_fill_the_cap_and_never_pass_it(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let answers = join_all((0..64).map(|_| agent.buys("domain", "dot-dev"))).await;
        let bought = answers.iter().filter(|answer| answer.status() == 201).count();
        assert_eq!(bought, 8, "8 × 12.00 fit under 100.00");
        for answer in answers.iter().filter(|answer| answer.status() != 201) {
            let refusal = answer.problem(402, "cap_reached");
            assert_eq!((&refusal["binding"], &refusal["needed"]), (&json!("budget"), &json!(1200)));
            assert!(refusal["spent"].as_i64().unwrap() + refusal["held"].as_i64().unwrap() > 8800, "{refusal}");
        }
        assert_eq!(agent.spent_and_held().await, (9600, 0));
        assert_eq!(app.issuer_says(), (0, 9600));
        assert_eq!(list(&agent).await.len(), 8, "a refused purchase leaves nothing");
        app.stop().await;
    }

    async fn parallel_copies_of_one_purchase_buy_one_thing(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let order = agent.order("postgres", "small");
        let answers = join_all((0..64).map(|_| agent.client.post_once("one", "/v1/resources", &order))).await;
        let mut ids: Vec<Value> = Vec::new();
        for answer in answers {
            // 202: a copy that asked while the first was still being carried out.
            assert!([201, 202].contains(&answer.status()), "{}", answer.text());
            ids.push(answer.json()["resource"]["id"].clone());
        }
        ids.dedup();
        assert_eq!(ids.len(), 1);
        assert_eq!(agent.spent_and_held().await, (900, 0));
        assert_eq!((app.issuer_says(), app.simulator.books().authorizations.len()), ((0, 900), 1));
        app.stop().await;
    }

    async fn tampering_with_a_charge_or_the_resource_of_a_hold_is_found(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        agent.buys("postgres", "small").await.expect_status(201);
        app.fails(SettlementVerb::Authorize, Fault::Decline, 1);
        agent.buys("postgres", "small").await.problem(402, "payment_refused");
        app.fails(SettlementVerb::Authorize, Fault::TimeOutBeforeEffect, 1);
        agent.buys("domain", "dot-dev").await.expect_status(202);
        let change = async |sql: &str| {
            let sql = sql.to_owned();
            app.app().db.write("test", move |conn| Ok::<_, DbError>(conn.batch_execute(&sql)?)).await.unwrap();
        };
        let found = async || {
            let account = agent.account.parse().unwrap();
            let verified = app.app().db.read_snapshot(move |conn| Ok::<_, DbError>(audit_chain::verify(conn, &account)));
            verified.await.unwrap().map(|_| ()).map_err(|error| match error {
                VerifyError::Different(difference) => difference,
                VerifyError::Db(error) => panic!("{error}"),
            })
        };
        found().await.unwrap();
        for (tampered, good) in [
            ("state = 'voided' WHERE state = 'captured'", "state = 'captured' WHERE state = 'voided'"),
            ("state = 'captured' WHERE state = 'refused'", "state = 'refused' WHERE state = 'captured' AND reason IS NOT NULL"),
            ("state = 'captured' WHERE state = 'unknown'", "state = 'unknown' WHERE amount = 1200"),
            ("state = 'other' WHERE state = 'captured'", "state = 'captured' WHERE state = 'other'"),
            ("amount = 1 WHERE state = 'captured'", "amount = 900 WHERE amount = 1"),
            ("currency = 'EUR' WHERE state = 'captured'", "currency = 'USD'"),
        ] {
            change(&format!("UPDATE charges SET {tampered}")).await;
            let told = found().await;
            assert!(matches!(told, Err(Difference::Charge { .. })), "{tampered}: {told:?}");
            change(&format!("UPDATE charges SET {good}")).await;
            found().await.unwrap();
        }
        let captured = "(SELECT id FROM holds WHERE state = 'captured')";
        change(&format!("UPDATE holds SET resource_id = 'res_other' WHERE id = {captured}")).await;
        assert!(matches!(found().await, Err(Difference::HoldResource(_))));
        change("UPDATE holds SET resource_id = (SELECT id FROM resources WHERE hold_id = holds.id)").await;
        found().await.unwrap();
        change("DELETE FROM charges WHERE state = 'captured'").await;
        assert!(matches!(found().await, Err(Difference::NoCharge(_))));
        app.stop().await;
    }

    async fn a_retry_gets_the_same_answer_even_after_the_catalog_and_the_token_moved_on(db: TestDb) {
        let app = TestApp::start(&db).await;
        let mut agent = app.agent().await;
        let mut order = agent.order("postgres", "small");
        order["payment_token"] = json!(app.pays(&usd(5000).expires_at(app.now().plus(chrono::TimeDelta::minutes(5)))));
        let first = agent.client.post_once("k", "/v1/resources", &order).await.expect_status(201).json();
        assert!(first["credentials"]["DATABASE_URL"].as_str().unwrap().starts_with("postgres://"), "{first}");
        assert_eq!(first["cost"], json!({"currency": "USD", "amount": 900}));
        app.publishes("services/postgres.toml", "9.00 USD", "19.00 USD").await;
        app.pass(chrono::TimeDelta::minutes(11));
        agent.logs_in_again().await;
        let again = agent.client.post_once("k", "/v1/resources", &order).await.expect_status(201).json();
        assert_eq!((&again["resource"], &again["credentials"]), (&first["resource"], &first["credentials"]));
        assert_eq!(agent.spent_and_held().await, (900, 0));
        app.stop().await;
    }

    async fn a_key_belongs_to_one_request(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let order = json!({"service": "sandbox", "plan": "free"});
        agent.client.post("/v1/resources", &order).await.problem(400, "idempotency_key_required");
        let url = agent.client.url("/v1/resources");
        for bad in [String::new(), "two words".to_owned(), "k".repeat(256)] {
            let request = Outgoing::post_json(url.clone(), &order).header("idempotency-key", bad);
            agent.client.send(request).await.problem(400, "invalid_request");
        }
        let twice = Outgoing::post_json(url, &order).header("idempotency-key", "a").header("idempotency-key", "b");
        agent.client.send(twice).await.problem(400, "invalid_request");

        agent.client.post_once("k", "/v1/resources", &order).await.expect_status(201);
        let other = json!({"service": "sandbox", "plan": "free", "name": "another"});
        agent.client.post_once("k", "/v1/resources", &other).await.problem(422, "idempotency_key_reused");
        // Keys of another account are others.
        let bob = app.agent_of(&user("bob")).await;
        bob.client.post_once("k", "/v1/resources", &other).await.expect_status(201);
        assert_eq!((list(&agent).await.len(), list(&bob).await.len()), (1, 1));
        app.stop().await;
    }

    async fn only_a_payment_token_of_this_issuer_for_this_user_and_seller_pays(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let now = app.now();
        let good = app.pays(&usd(5000));
        let tampered = tampered(&good);
        let wrong: Vec<(&str, String)> = vec![
            ("another user", app.pays(&usd(5000).of(&user("bob")))),
            ("another seller", app.pays(&usd(5000).audience("another-client"))),
            ("another issuer", app.pays(&usd(5000).claim("iss", json!("https://elsewhere.example")))),
            ("expired", app.pays(&usd(5000).expires_at(now))),
            ("not yet", app.pays(&usd(5000).issued_at(now.plus(chrono::TimeDelta::minutes(5))))),
            ("a stranger's key", app.pays(&usd(5000).signed_by_a_stranger())),
            ("unsigned", app.pays(&usd(5000).header("alg", json!("none")))),
            ("the public key as a secret", app.pays(&usd(5000).header("alg", json!("HS256")))),
            ("another type", app.pays(&usd(5000).header("typ", json!("JWT")))),
            ("an ID token", app.id_token(&User::ada())),
            ("tampered", tampered),
            ("no id", app.pays(&usd(5000).claim("jti", json!("")))),
            ("an unknown recurrence", app.pays(&usd(5000).claim("recurring", json!("day")))),
            ("a negative limit", app.pays(&usd(5000).claim("max_amount", json!(-1)))),
            ("no token at all", "abc".to_owned()),
        ];
        for (why, token) in wrong {
            let mut order = agent.order("postgres", "small");
            order["payment_token"] = json!(token);
            let answer = agent.sends(&order).await;
            assert_eq!(answer.status(), 400, "{why}: {}", answer.text());
            answer.problem(400, "payment_token_invalid");
        }
        let mut order = agent.order("postgres", "small");
        order.as_object_mut().unwrap().remove("payment_token");
        agent.sends(&order).await.problem(402, "payment_token_required");
        assert_eq!((agent.spent_and_held().await, list(&agent).await.len()), ((0, 0), 0));
        assert!(app.simulator.books().authorizations.is_empty());
        app.stop().await;
    }

    async fn a_payment_token_pays_for_one_account(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (ada, bob) = (app.agent().await, app.agent_of(&user("bob")).await);
        let of = |owner: &User| app.pays(&usd(5000).of(owner).claim("jti", json!("ptok_shared")));
        let order = |token: String| json!({"service": "postgres", "plan": "small", "payment_token": token});
        ada.sends(&order(of(&User::ada()))).await.expect_status(201);
        bob.sends(&order(of(&user("bob")))).await.problem(409, "payment_token_taken");
        assert_eq!((bob.spent_and_held().await, list(&bob).await.len()), ((0, 0), 0));
        assert_eq!(app.issuer_says(), (0, 900));
        app.stop().await;
    }

    async fn the_smallest_ceiling_binds_and_says_so(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let mut order = agent.order("postgres", "small");
        order["payment_token"] = json!(app.pays(&usd(1500)));
        agent.sends(&order).await.expect_status(201);
        let refusal = agent.sends(&order).await.problem(402, "cap_reached");
        let expected = json!({
            "binding": "payment_token", "currency": "USD", "needed": 900, "held": 0, "spent": 900, "ceiling": 1500,
            "remaining": 600,
        });
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&refusal[name], value, "{name}: {refusal}");
        }
        Timestamp::parse_rfc3339(refusal["resets_at"].as_str().unwrap()).unwrap();
        assert_eq!(refusal["raise_url"], json!(format!("{}/dashboard", app.base)));
        assert_eq!((&refusal["retry"], refusal["next"]["tell_human"].is_string()), (&json!(false), true));
        let budget = agent.budget().await;
        assert_eq!((&budget["binding"], &budget["remaining"]), (&json!("payment_token"), &json!(9100)));
        assert_eq!(budget["ceilings"].as_array().unwrap().len(), 2, "{budget}");
        // The budget and the other token are untouched by the refusal.
        agent.buys("postgres", "small").await.expect_status(201);
        assert_eq!(agent.spent_and_held().await, (1800, 0));
        app.stop().await;
    }

    async fn nothing_is_converted_silently(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let euros = PaymentTokenSpec::new("EUR".parse().unwrap(), Amount::from_minor(5000).unwrap());
        let mut order = agent.order("postgres", "small");
        order["payment_token"] = json!(app.pays(&euros));
        agent.sends(&order).await.problem(422, "currency_mismatch");
        assert_eq!((agent.spent_and_held().await, list(&agent).await.len()), ((0, 0), 0));
        app.stop().await;
    }

    async fn the_offer_that_was_seen_is_the_offer_that_is_sold(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let seen = app.app().edition().digest.clone();
        let order = |service: &str, plan: &str| {
            let mut order = agent.order(service, plan);
            order["catalog_digest"] = json!(seen);
            order
        };
        agent.sends(&order("postgres", "small")).await.expect_status(201);
        app.publishes("services/postgres.toml", "9.00 USD", "11.00 USD").await;
        let refusal = agent.sends(&order("postgres", "small")).await.problem(409, "catalog_changed");
        let change = json!([{"field": "price.amount", "was": "$9.00", "now": "$11.00"}]);
        assert_eq!(refusal["changes"], change, "{refusal}");
        assert_eq!(refusal["catalog_version"], 2);
        // What did not change is sold; with the digest of the new catalog, so is what did.
        agent.sends(&order("domain", "dot-dev")).await.expect_status(201);
        let mut knowing = order("postgres", "small");
        knowing["catalog_digest"] = refusal["catalog_digest"].clone();
        agent.sends(&knowing).await.expect_status(201);
        let mut invented = order("domain", "dot-dev");
        invented["catalog_digest"] = json!(format!("sha256:{}", "0".repeat(64)));
        agent.sends(&invented).await.problem(409, "catalog_changed");
        assert_eq!(agent.spent_and_held().await, (900 + 1200 + 1100, 0));
        app.stop().await;
    }

    async fn what_the_catalog_does_not_have_is_not_sold(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        for (service, plan) in [("postgres", "huge"), ("rockets", "small"), ("", ""), ("../x", "small")] {
            agent.buys(service, plan).await.problem(422, "unknown_plan");
        }
        for wrong in [json!({}), json!({"domain_name": 7}), json!({"domain_name": "a.dev", "more": true})] {
            let mut order = agent.order("domain", "dot-dev");
            order["configuration"] = wrong;
            agent.sends(&order).await.problem(422, "invalid_configuration");
        }
        let mut order = agent.order("sandbox", "free");
        order["name"] = json!("a\u{7}b");
        agent.sends(&order).await.problem(400, "invalid_request");
        assert_eq!((agent.spent_and_held().await, list(&agent).await.len()), ((0, 0), 0));
        app.stop().await;
    }

    async fn a_declined_payment_holds_nothing_and_makes_nothing(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        app.fails(SettlementVerb::Authorize, Fault::Decline, 1);
        let order = agent.order("postgres", "small");
        let refusal = agent.client.post_once("k", "/v1/resources", &order).await.problem(402, "payment_refused");
        assert_eq!(refusal["reason"], "declined");
        assert_eq!((agent.spent_and_held().await, app.issuer_says()), ((0, 0), (0, 0)));
        let found = list(&agent).await;
        assert_eq!((&found[0]["state"], &found[0]["id"]), (&json!("failed"), &refusal["resource_id"]));
        // The same key says the same; a new one is a new purchase.
        let again = agent.client.post_once("k", "/v1/resources", &order).await.problem(402, "payment_refused");
        assert_eq!((&again["reason"], &again["resource_id"]), (&refusal["reason"], &refusal["resource_id"]));
        agent.sends(&order).await.expect_status(201);
        assert_eq!((agent.spent_and_held().await, app.issuer_says()), ((900, 0), (0, 900)));
        app.stop().await;
    }

    async fn a_revoked_payment_token_pays_nothing(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        app.simulator.revoke_payment_token("ptok_gone").unwrap();
        let mut order = agent.order("domain", "dot-dev");
        order["payment_token"] = json!(app.pays(&usd(5000).claim("jti", json!("ptok_gone"))));
        let refusal = agent.sends(&order).await.problem(402, "payment_refused");
        assert_eq!(refusal["reason"], "token_revoked");
        assert_eq!(agent.spent_and_held().await, (0, 0));
        app.stop().await;
    }

    async fn a_lost_authorization_is_found_again_and_charged_once(db: TestDb) {
        let app = TestApp::start(&db).await;
        for fault in [Fault::TimeOutAfterEffect, Fault::TimeOutBeforeEffect, Fault::ServerError] {
            lost(&app, SettlementVerb::Authorize, fault).await;
        }
        app.stop().await;
    }

    async fn a_lost_capture_is_found_again_and_charged_once(db: TestDb) {
        let app = TestApp::start(&db).await;
        for fault in [Fault::TimeOutAfterEffect, Fault::TimeOutBeforeEffect, Fault::ServerError] {
            lost(&app, SettlementVerb::Capture, fault).await;
        }
        app.stop().await;
    }

    async fn a_declined_capture_undoes_the_purchase_on_both_sides(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        app.fails(SettlementVerb::Capture, Fault::Decline, 1);
        agent.buys("postgres", "small").await.problem(402, "payment_refused");
        let id = list(&agent).await[0]["id"].clone();
        agent.waits_for(&id, "failed").await;
        assert_eq!(agent.spent_and_held().await, (0, 0));
        assert_eq!(app.issuer_says(), (0, 0), "what was authorized is given back");
        app.stop().await;
    }

    async fn what_cannot_be_undone_is_paid_before_it_is_made(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        // The capture's outcome stays open: a database exists by then, a domain name does not.
        app.fails(SettlementVerb::Capture, Fault::TimeOutBeforeEffect, 2);
        let database = agent.buys("postgres", "small").await.expect_status(202).json();
        let domain = agent.buys("domain", "dot-dev").await.expect_status(202).json();
        assert_eq!((database["credentials"].is_null(), domain["credentials"].is_null()), (true, true));
        assert_eq!(made_and_left(&agent, &database).await, (true, "capture".to_owned()));
        assert_eq!(made_and_left(&agent, &domain).await, (false, "capture create".to_owned()));
        agent.waits_for(&domain["resource"]["id"], "ready").await;
        agent.waits_for(&database["resource"]["id"], "ready").await;
        assert_eq!((agent.spent_and_held().await, app.issuer_says()), ((2100, 0), (0, 2100)));
        app.stop().await;
    }

    async fn a_new_month_is_a_new_period(db: TestDb) {
        let app = TestApp::start(&db).await;
        let mut agent = app.agent().await;
        for _ in 0..8 {
            agent.buys("domain", "dot-dev").await.expect_status(201);
        }
        let refusal = agent.buys("domain", "dot-dev").await.problem(402, "cap_reached");
        assert_eq!(refusal["resets_at"], "2026-12-01T00:00:00Z");
        app.pass(chrono::TimeDelta::days(16));
        agent.logs_in_again().await;
        assert_eq!((&agent.budget().await["spent"], &agent.budget().await["remaining"]), (&json!(0), &json!(10_000)));
        agent.buys("domain", "dot-dev").await.expect_status(201);
        assert_eq!(agent.budget().await["spent"], 1200);
        assert_eq!(app.issuer_says(), (0, 9 * 1200));
        app.stop().await;
    }
}

/// One settlement call's answer is lost: the money stays held, and a worker finds out, without charging twice.
async fn lost(app: &TestApp, on: SettlementVerb, fault: Fault) {
    let before = app.simulator.books().authorizations.len();
    let agent = app.agent_of(&user(&fresh_key())).await;
    app.fails(on, fault, 1);
    let order = agent.order("postgres", "small");
    let key = fresh_key();
    let answer = agent.client.post_once(&key, "/v1/resources", &order).await.expect_status(202).json();
    assert_eq!(answer["resource"]["state"], "provisioning", "{on:?} {fault:?}");
    assert!(answer["credentials"].is_null(), "{answer}");
    assert_eq!(answer["budget"]["held"], 900, "the hold stands: {answer}");
    agent.waits_for(&answer["resource"]["id"], "ready").await;
    let again = agent.client.post_once(&key, "/v1/resources", &order).await.expect_status(201).json();
    assert!(again["credentials"]["DATABASE_URL"].is_string(), "{again}");
    assert_eq!(agent.spent_and_held().await, (900, 0), "{on:?} {fault:?}");
    let books = app.simulator.books().authorizations.split_off(before);
    assert_eq!(books.len(), 1, "one authorization: {on:?} {fault:?}");
    assert_eq!(books[0].authorization.status, AuthorizationStatus::Captured);
    assert_eq!(books[0].authorization.captured.minor(), 900);
}

/// Whether the thing exists at the platform, and which steps are left.
async fn made_and_left(agent: &Agent<'_>, answer: &Value) -> (bool, String) {
    let id = answer["resource"]["id"].as_str().unwrap().to_owned();
    let read = agent.app.app().db.read(move |conn| {
        let sealed: Option<String> =
            resources::table.filter(resources::id.eq(&id)).select(resources::sealed_credentials).first(conn)?;
        let left: String =
            operations::table.filter(operations::resource_id.eq(&id)).select(operations::step).first(conn)?;
        Ok::<_, DbError>((sealed.is_some(), left))
    });
    read.await.unwrap()
}

/// The signature of another token.
fn tampered(token: &str) -> String {
    let (head, signature) = token.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { "B" } else { "A" };
    format!("{head}.{first}{}", &signature[1..])
}

async fn list(agent: &Agent<'_>) -> Vec<Value> {
    let page = agent.client.get("/v1/resources?limit=100").await.expect_status(200).json();
    page["data"].as_array().unwrap().clone()
}
