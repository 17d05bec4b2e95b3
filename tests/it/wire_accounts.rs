//! `POST /provisioning/account_requests`: who gets an account, who is asked, and who is refused, in which order and with
//! which envelope.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use actix_web::{App, HttpResponse, HttpServer, web};
use chrono::TimeDelta;
use diesel::prelude::*;
use futures_util::future::join_all;
use portreeve::app::HOUSE;
use portreeve::db::DbError;
use portreeve::db::schema::{accounts, audit_facts, budgets, identity_links, outbox_events};
use portreeve::fetch::Outgoing;
use portreeve::orchestrator::{self, AccountAnswer, ExistingAccount, NewOrchestrator, Orchestrator, SignatureMode};
use portreeve::simulator::User;
use portreeve::{account, secret};
use serde_json::{Value, json};

use crate::harness::app::{TestApp, fresh_key, user};
use crate::harness::client::Answer;
use crate::harness::wire::{WireAgent, stripe_signature};

const PATH: &str = "/provisioning/account_requests";

/// No limits: what is tested is not how often.
pub(crate) const UNLIMITED: [(&str, &str); 3] = [
    ("wire.account_requests_per_hour", "0"),
    ("wire.token_exchanges_per_hour", "0"),
    ("limits.address_tokens_per_hour", "0"),
];

/// Another orchestrator that vouches for `example.test`, registered with this policy for existing accounts.
pub(crate) async fn another(app: &TestApp, name: &str, policy: ExistingAccount, domains: &[&str]) -> Orchestrator {
    let issuer = format!("https://{}.example", name.to_lowercase()).parse().unwrap();
    let mut new = NewOrchestrator::new(name.parse().unwrap(), issuer, "us");
    new.email_domains = domains.iter().map(|domain| domain.parse().unwrap()).collect();
    new.existing_account = policy;
    let now = app.now();
    app.app().db.write(HOUSE, move |conn| orchestrator::add(conn, &new, now)).await.unwrap()
}

/// A PKCE verifier and its challenge.
pub(crate) fn pkce() -> (&'static str, String) {
    let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    (verifier, secret::sha256_base64url(verifier.as_bytes()))
}

/// What the tables hold.
#[derive(Debug, PartialEq, Eq)]
struct Counts {
    accounts: i64,
    links: i64,
    budgets: i64,
}

async fn counts(app: &TestApp) -> Counts {
    let counted = app.app().db.read(|conn| {
        Ok::<_, DbError>(Counts {
            accounts: accounts::table.count().get_result(conn)?,
            links: identity_links::table.count().get_result(conn)?,
            budgets: budgets::table.count().get_result(conn)?,
        })
    });
    counted.await.unwrap()
}

async fn told(app: &TestApp, kind: &'static str) -> i64 {
    let counted = app.app().db.read(move |conn| {
        Ok::<_, DbError>(outbox_events::table.filter(outbox_events::kind.eq(kind)).count().get_result(conn)?)
    });
    counted.await.unwrap()
}

async fn recorded(app: &TestApp, action: &'static str) -> i64 {
    let counted = app.app().db.read(move |conn| {
        Ok::<_, DbError>(audit_facts::table.filter(audit_facts::action.eq(action)).count().get_result(conn)?)
    });
    counted.await.unwrap()
}

/// A refusal in the typed envelope.
#[track_caller]
fn typed(answer: &Answer, status: u16, code: &str, id: Option<&str>) {
    assert_eq!(answer.status(), status, "{}", answer.text());
    let body = answer.json();
    assert_eq!((&body["type"], &body["error"]["code"]), (&json!("error"), &json!(code)), "{body}");
    assert!(body["error"]["message"].is_string() && body["id"].as_str() == id, "{body}");
    assert_eq!(answer.header("cache-control"), "no-store");
}

/// A refusal in the flat envelope.
#[track_caller]
fn flat(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status(), status, "{}", answer.text());
    let body = answer.json();
    assert_eq!((&body["error"]["code"], body.as_object().unwrap().len()), (&json!(code), 1), "{body}");
}

fn with(body: &Value, name: &str, value: Value) -> Value {
    let mut body = body.clone();
    body[name] = value;
    body
}

fn without(body: &Value, name: &str) -> Value {
    let mut body = body.clone();
    body.as_object_mut().unwrap().remove(name);
    body
}

/// The code of an `oauth` answer.
pub(crate) fn code_of(answer: &Value) -> String {
    assert_eq!(answer["type"], "oauth", "{answer}");
    answer["oauth"]["code"].as_str().unwrap().to_owned()
}

/// The path of a `requires_auth` answer.
pub(crate) fn page_of(app: &TestApp, answer: &Value) -> String {
    assert_eq!(answer["type"], "requires_auth", "{answer}");
    assert_eq!(answer["requires_auth"]["type"], "redirect");
    let url = answer["requires_auth"]["redirect"]["url"].as_str().unwrap();
    url.strip_prefix(&app.base).expect("our own page").to_owned()
}

on_both! {
    async fn a_new_person_gets_an_account_and_its_orchestrator_a_code(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = WireAgent::register(&app).await;
        let request = agent.account_request(&User::ada());
        let answer = agent.post(PATH, &request).await.expect_status(200);
        assert_eq!(answer.header("cache-control"), "no-store");
        let body = answer.json();
        assert_eq!((&body["id"], body.as_object().unwrap().len()), (&request["id"], 3), "{body}");
        assert!(code_of(&body).len() > 40);
        assert_eq!(counts(&app).await, Counts { accounts: 1, links: 1, budgets: 1 });
        assert_eq!((told(&app, "account.opened").await, recorded(&app, "account.opened").await), (1, 1));
        let again = agent.asks_for_account(&User::ada()).await.expect_status(200).json();
        assert_ne!(code_of(&again), code_of(&body));
        assert_eq!((counts(&app).await.accounts, told(&app, "account.opened").await), (1, 1));
        app.stop().await;
    }

    async fn the_same_person_is_the_same_account_here_and_on_v1(db: TestDb) {
        let app = TestApp::start(&db).await;
        let v1 = app.agent().await;
        let agent = WireAgent::register(&app).await;
        let (_, tokens) = agent.opens_account(&User::ada()).await;
        assert_eq!(tokens["account"]["id"].as_str(), Some(v1.account.as_str()));
        app.stop().await;
    }

    async fn null_is_absence_unknown_members_are_passed_over_and_both_spellings_are_read(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = WireAgent::register(&app).await;
        let mut bare = json!({"email": "null@example.test"});
        for name in ["id", "object", "name", "phone", "country", "kyc", "scopes", "client_capabilities", "actor",
            "configuration", "confirmation_secret", "expires_at", "code_challenge", "code_challenge_method", "client_id"] {
            bare[name] = Value::Null;
        }
        for (count, spelling) in ["organization", "organisation", "neither"].into_iter().enumerate() {
            let block = json!({"account": format!("acct_{count}"), spelling: "org_1"});
            let mut body = with(&bare, "orchestrator", json!({"type": "stripe", "stripe": block, "new": [1]}));
            body["email"] = json!(format!("null{count}@example.test"));
            body["something_new"] = json!({"deep": [null]});
            body["configuration"] = json!({"region": "EU", "unknown": 1});
            let answer = agent.post(PATH, &body).await.expect_status(200).json();
            code_of(&answer);
            assert!(answer.get("id").is_none(), "there is none to echo: {answer}");
        }
        app.stop().await;
    }

    async fn what_is_wrong_first_is_told_first(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = WireAgent::register(&app).await;
        let good = agent.account_request(&User::ada());
        let id = good["id"].as_str();
        let past = with(&good, "expires_at", json!("2020-01-01T00:00:00Z"));
        let challenged = with(&with(&good, "code_challenge", json!("short")), "configuration", json!("x"));
        let send = |body: &Value, headers: &[(&'static str, String)]| {
            let bytes = body.to_string().into_bytes();
            let outgoing = Outgoing::post(agent.client.url(PATH), "application/json", bytes);
            let outgoing = headers.iter().fold(outgoing, |out, (name, value)| out.header(name, value.clone()));
            agent.client.send(outgoing)
        };
        let version = ("api-version", "0.1d".to_owned());
        let signed = |body: &Value, secret: &str| {
            ("stripe-signature", stripe_signature(secret, app.now().seconds(), body.to_string().as_bytes()))
        };
        // No version: nothing else is looked at.
        for headers in [vec![], vec![("api-version", "0.1c".to_owned())]] {
            flat(&send(&without(&past, "email"), &headers).await, 400, "invalid_api_version");
        }
        // The address, then the end, then whether it is signed at all.
        typed(&send(&without(&past, "email"), std::slice::from_ref(&version)).await, 400, "invalid_request", id);
        typed(&send(&past, std::slice::from_ref(&version)).await, 400, "expired", id);
        typed(&send(&good, std::slice::from_ref(&version)).await, 401, "unauthorized", id);
        // Then the signature, then the orchestrator's account, then PKCE, then the configuration.
        let bad = without(&challenged, "orchestrator");
        flat(&send(&bad, &[version.clone(), signed(&bad, "whsec_wrong")]).await, 401, "invalid_signature");
        typed(&send(&bad, &[version.clone(), signed(&bad, &agent.secret)]).await, 400, "invalid_request", id);
        let answer = agent.post(PATH, &bad).await;
        assert!(answer.text().contains("orchestrator"), "{}", answer.text());
        let answer = agent.post(PATH, &challenged).await;
        assert!(answer.text().contains("code_challenge") && answer.status() == 400, "{}", answer.text());
        let answer = agent.post(PATH, &with(&good, "configuration", json!("x"))).await;
        assert!(answer.text().contains("configuration") && answer.status() == 400, "{}", answer.text());
        assert_eq!(counts(&app).await.accounts, 0);
        app.stop().await;
    }

    async fn a_bad_member_is_refused_by_name_and_opens_nothing(db: TestDb) {
        let app = TestApp::start_with(&db, &UNLIMITED).await;
        let agent = WireAgent::register(&app).await;
        let good = agent.account_request(&User::ada());
        let long = "a".repeat(129);
        for (name, value) in [
            ("email", json!("")), ("email", json!(null)), ("email", json!(7)), ("email", json!(["ada@example.test"])),
            ("email", json!("not an address")), ("expires_at", json!("2026-13-03T12:10:00Z")),
            ("expires_at", json!(1_790_000_000)), ("expires_at", json!("soon")), ("id", json!(7)), ("id", json!("")),
            ("orchestrator", json!(null)), ("orchestrator", json!("stripe")), ("orchestrator", json!({})),
            ("orchestrator", json!({"type": "stripe"})), ("orchestrator", json!({"type": "stripe", "stripe": {}})),
            ("orchestrator", json!({"type": "stripe", "stripe": {"account": ""}})),
            ("orchestrator", json!({"type": "stripe", "stripe": {"account": 7}})),
            ("orchestrator", json!({"type": "stripe", "stripe": {"account": "a\nb"}})),
            ("orchestrator", json!({"type": "stripe", "stripe": {"account": "a".repeat(256)}})),
            ("orchestrator", json!({"type": "other", "other": {"account": "acct_1"}})),
            ("orchestrator", json!({"type": "stripe", "stripe": {"account": "a", "organization": 7}})),
            ("code_challenge_method", json!("plain")), ("code_challenge_method", json!("s256")),
            ("code_challenge", json!("a".repeat(42))), ("code_challenge", json!(long)),
            ("code_challenge", json!(format!("{}=", "a".repeat(43)))), ("code_challenge", json!(7)),
            ("configuration", json!([])), ("scopes", json!("resources:read")), ("scopes", json!([7])),
            ("scopes", json!(["project:read"])), ("client_capabilities", json!({})), ("actor", json!("ada")),
            ("actor", json!({"email": 7})), ("kyc", json!([])), ("kyc", json!({"verified_fields": "email"})),
            ("name", json!(7)), ("country", json!([])), ("confirmation_secret", json!(7)),
            ("confirmation_secret", json!("a".repeat(1025))), ("object", json!(1)),
        ] {
            let answer = agent.post(PATH, &with(&good, name, value.clone())).await;
            assert_eq!(answer.status(), 400, "{name} {value}: {}", answer.text());
            assert_eq!(answer.json()["error"]["code"], "invalid_request", "{name} {value}");
            assert_eq!(answer.json()["type"], "error");
        }
        for body in ["", "{", "[]", "null", "7", "{\"email\":\"a@b.example\",\"email\":\"c@d.example\"}"] {
            let answer = agent.post_bytes(PATH, "application/json", body.as_bytes()).await;
            typed(&answer, 400, "invalid_request", None);
        }
        let answer = agent.post_bytes(PATH, "text/plain", good.to_string().as_bytes()).await;
        typed(&answer, 415, "invalid_request", None);
        assert_eq!(counts(&app).await.accounts, 0);
        code_of(&agent.post(PATH, &good).await.expect_status(200).json());
        app.stop().await;
    }

    async fn an_end_is_read_in_three_forms_and_a_past_one_is_expired(db: TestDb) {
        let app = TestApp::start_with(&db, &UNLIMITED).await;
        let agent = WireAgent::register(&app).await;
        // It is 12:00:00 UTC.
        for (end, status) in [
            ("2026-11-15T12:00:01Z", 200), ("2026-11-15T13:00:01+01:00", 200), ("2026-11-15T12:00:01", 200),
            ("2026-11-15T12:00:00Z", 400), ("2026-11-15T12:59:59+01:00", 400), ("2026-11-15T11:59:59", 400),
        ] {
            let answer = agent.post(PATH, &with(&agent.account_request(&User::ada()), "expires_at", json!(end))).await;
            assert_eq!(answer.status(), status, "{end}: {}", answer.text());
            if status == 400 {
                assert_eq!(answer.json()["error"]["code"], "expired", "{end}");
            }
        }
        app.stop().await;
    }

    async fn tokens_come_at_once_where_the_operator_set_it_so(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = WireAgent::register_with(&app, |wire| wire.account_answer = AccountAnswer::Credentials).await;
        let request = agent.account_request(&User::ada());
        let answer = agent.post(PATH, &request).await.expect_status(200).json();
        assert_eq!((&answer["type"], &answer["credentials"]["type"]), (&json!("credentials"), &json!("bearer")));
        let bearer = &answer["credentials"]["bearer"];
        assert_eq!((&bearer["expires_in"], &bearer["account"]["payment_credentials"]), (&json!(3600), &json!("orchestrator")));
        assert!(bearer["account"]["id"].as_str().unwrap().starts_with("acct_"));
        assert_eq!(agent.post(PATH, &request).await.json(), answer, "a retry gets the same answer");
        let works = agent.with_bearer(bearer["access_token"].as_str().unwrap());
        works.post("/provisioning/deep_links", &json!({"purpose": "dashboard"})).await.expect_status(200);
        // Whoever promises a proof must give it.
        let challenged = with(&agent.account_request(&User::ada()), "code_challenge", json!(pkce().1));
        code_of(&agent.post(PATH, &challenged).await.expect_status(200).json());
        app.stop().await;
    }

    async fn what_must_be_known_about_a_person_is_asked_for_and_may_be_sent_under_the_same_id(db: TestDb) {
        let app = TestApp::start(&db).await;
        let required = vec!["name".to_owned(), "country".to_owned()];
        let agent = WireAgent::register_with(&app, |wire| wire.required_information = required).await;
        let request = agent.account_request(&User::ada());
        let asked = agent.post(PATH, &request).await.expect_status(200).json();
        assert_eq!((&asked["type"], &asked["id"]), (&json!("needs_information"), &request["id"]), "{asked}");
        let schema = &asked["needs_information"]["schema"];
        assert_eq!((&schema["type"], &schema["required"]), (&json!("object"), &json!(["country"])));
        assert!(schema["properties"]["country"]["pattern"].is_string());
        assert_eq!(counts(&app).await.accounts, 0);
        let more = with(&request, "submitted_information", json!({"country": "Germany"}));
        typed(&agent.post(PATH, &more).await, 400, "invalid_request", request["id"].as_str());
        let more = with(&request, "submitted_information", json!({"country": "DE"}));
        code_of(&agent.post(PATH, &more).await.expect_status(200).json());
        code_of(&agent.post(PATH, &with(&agent.account_request(&user("bob")), "country", json!("DE"))).await.json());
        app.stop().await;
    }

    async fn the_same_request_is_answered_once_however_many_copies_arrive(db: TestDb) {
        let app = TestApp::start_with(&db, &UNLIMITED).await;
        let agent = WireAgent::register(&app).await;
        let request = agent.account_request(&User::ada());
        let answers = join_all((0..64).map(|_| agent.post(PATH, &request))).await;
        let mut bodies: Vec<Value> = answers.into_iter().map(|answer| answer.expect_status(200).json()).collect();
        bodies.dedup();
        assert_eq!(bodies.len(), 1);
        assert_eq!(counts(&app).await, Counts { accounts: 1, links: 1, budgets: 1 });
        // Signed anew and written anew it is still the same request; another under its id is none.
        app.pass(TimeDelta::seconds(299));
        let reordered = request.as_object().unwrap().iter().rev().map(|(name, value)| format!("\"{name}\": {value}"));
        let text = format!("{{ {} }}", reordered.collect::<Vec<_>>().join(" ,"));
        let answer = agent.post_bytes(PATH, "application/json", text.as_bytes()).await.expect_status(200).json();
        assert_eq!(answer, bodies[0]);
        let other = agent.post(PATH, &with(&request, "name", json!("Eve"))).await;
        typed(&other, 422, "invalid_request", request["id"].as_str());
        app.pass(TimeDelta::seconds(2));
        typed(&agent.post(PATH, &request).await, 400, "expired", request["id"].as_str());
        app.stop().await;
    }

    async fn of_many_people_with_one_address_one_gets_it_and_the_others_need_consent(db: TestDb) {
        let app = TestApp::start_with(&db, &UNLIMITED).await;
        let agent = WireAgent::register(&app).await;
        let people: Vec<User> =
            (0..32).map(|count| User { subject: format!("acct_{count}"), ..User::ada() }).collect();
        let answers = join_all(people.iter().map(|person| agent.asks_for_account(person))).await;
        let kinds: Vec<Value> = answers.into_iter().map(|answer| answer.expect_status(200).json()["type"].clone()).collect();
        let of = |kind: &str| kinds.iter().filter(|one| *one == kind).count();
        assert_eq!((of("oauth"), of("requires_auth")), (1, 31), "{kinds:?}");
        assert_eq!(counts(&app).await, Counts { accounts: 1, links: 1, budgets: 1 });
        app.stop().await;
    }

    async fn an_address_that_exists_is_asked_for_and_never_linked(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let second = another(&app, "Second", ExistingAccount::UserConsent, &["example.test"]).await;
        let agent = WireAgent::register_as(&app, &second.id, |_| ()).await;
        let request = agent.account_request(&User::ada());
        let answers = join_all((0..16).map(|_| agent.post(PATH, &request))).await;
        let mut bodies: Vec<Value> = answers.into_iter().map(|answer| answer.json()).collect();
        bodies.dedup();
        let [body] = bodies.as_slice() else { panic!("{bodies:?}") };
        let page = page_of(&app, body);
        let secret = request["confirmation_secret"].as_str().unwrap();
        assert!(page.starts_with("/link/areq_") && page.ends_with(&format!("?state={secret}")), "{page}");
        assert_eq!(body["id"], request["id"]);
        assert_eq!(counts(&app).await, Counts { accounts: 1, links: 1, budgets: 1 });
        assert_eq!(told(&app, "account.link_wanted").await, 1, "the owner is told once");
        // What may not stand in a URL does not.
        for odd in [json!("a b"), json!("ä"), json!("x".repeat(257)), json!("a/../b?c=d"), json!(null)] {
            let odd = with(&agent.account_request(&User::ada()), "confirmation_secret", odd);
            let page = page_of(&app, &agent.post(PATH, &odd).await.expect_status(200).json());
            assert!(page.strip_prefix("/link/").is_some_and(|id| id.len() == 31), "{page}");
        }
        assert_eq!(ada.budget().await["ceiling"], 10_000);
        let other = agent.post(PATH, &with(&request, "name", json!("Eve"))).await;
        typed(&other, 422, "invalid_request", request["id"].as_str());
        app.stop().await;
    }

    async fn a_separate_account_is_opened_where_the_operator_set_it_so_or_nobody_vouches(db: TestDb) {
        let app = TestApp::start(&db).await;
        app.agent().await;
        let sidecar = another(&app, "Sidecar", ExistingAccount::Sidecar, &["example.test"]).await;
        let stranger = another(&app, "Stranger", ExistingAccount::LinkSilently, &[]).await;
        for (count, known) in [sidecar, stranger].into_iter().enumerate() {
            let agent = WireAgent::register_as(&app, &known.id, |_| ()).await;
            let (_, tokens) = agent.opens_account(&User::ada()).await;
            assert!(tokens["account"]["id"].is_string());
            assert_eq!(counts(&app).await.accounts, i64::try_from(count).unwrap() + 2);
        }
        app.stop().await;
    }

    async fn an_account_is_linked_silently_only_by_an_orchestrator_that_is_set_so_and_vouches(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let own = another(&app, "Own", ExistingAccount::LinkSilently, &["example.test"]).await;
        let agent = WireAgent::register_as(&app, &own.id, |_| ()).await;
        // Whoever does not call the address verified gets a separate account.
        let mut unverified = agent.account_request(&User { subject: "acct_x".to_owned(), ..User::ada() });
        unverified["kyc"] = json!({"verified_fields": ["name"]});
        code_of(&agent.post(PATH, &unverified).await.expect_status(200).json());
        assert_eq!(counts(&app).await, Counts { accounts: 2, links: 2, budgets: 2 });
        let requests: Vec<Value> = (0..16).map(|_| agent.account_request(&User::ada())).collect();
        for answer in join_all(requests.iter().map(|request| agent.post(PATH, request))).await {
            code_of(&answer.expect_status(200).json());
        }
        let (_, tokens) = agent.opens_account(&User::ada()).await;
        assert_eq!(tokens["account"]["id"].as_str(), Some(ada.account.as_str()));
        assert_eq!(counts(&app).await, Counts { accounts: 2, links: 3, budgets: 3 });
        assert_eq!((recorded(&app, "account.linked").await, told(&app, "account.linked").await), (1, 1));
        // The same orchestrator naming the same address for somebody else is another person.
        let twin = agent.asks_for_account(&User { subject: "acct_twin".to_owned(), ..User::ada() }).await;
        page_of(&app, &twin.expect_status(200).json());
        app.stop().await;
    }

    async fn an_address_that_nobody_proved_is_never_linked_silently(db: TestDb) {
        let app = TestApp::start(&db).await;
        // Mallory's orchestrator vouches for nothing: the account that it opened does not own the address.
        let mallory = another(&app, "Mallory", ExistingAccount::UserConsent, &[]).await;
        let first = WireAgent::register_as(&app, &mallory.id, |_| ()).await;
        code_of(&first.asks_for_account(&User::ada()).await.expect_status(200).json());
        let own = another(&app, "Own", ExistingAccount::LinkSilently, &["example.test"]).await;
        let agent = WireAgent::register_as(&app, &own.id, |_| ()).await;
        page_of(&app, &agent.asks_for_account(&User::ada()).await.expect_status(200).json());
        assert_eq!((counts(&app).await.links, recorded(&app, "account.linked").await), (1, 0));
        app.stop().await;
    }

    async fn a_frozen_account_and_an_orchestrator_that_may_not_open_are_forbidden(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = WireAgent::register(&app).await;
        let (_, tokens) = agent.opens_account(&User::ada()).await;
        let (id, now) = (tokens["account"]["id"].as_str().unwrap().parse().unwrap(), app.now());
        app.app().db.write(HOUSE, move |conn| account::freeze(conn, &id, "operator", "test", now)).await.unwrap();
        let request = agent.account_request(&User::ada());
        typed(&agent.post(PATH, &request).await, 403, "forbidden", request["id"].as_str());
        let (id, now) = (agent.orchestrator.clone(), app.now());
        app.app().db.write(HOUSE, move |conn| orchestrator::suspend(conn, &id, now)).await.unwrap();
        flat(&agent.asks_for_account(&user("bob")).await, 401, "invalid_signature");
        app.stop().await;
    }

    async fn account_requests_about_one_person_are_counted(db: TestDb) {
        let app = TestApp::start_with(&db, &[("wire.account_requests_per_hour", "2")]).await;
        let agent = WireAgent::register(&app).await;
        for _ in 0..2 {
            assert!(agent.asks_for_account(&User::ada()).await.expect_status(200).has_header("ratelimit"));
        }
        let refused = agent.asks_for_account(&User::ada()).await;
        assert_eq!((refused.status(), &refused.json()["error"]["code"]), (429, &json!("rate_limited")));
        assert_eq!((&refused.json()["type"], refused.has_header("retry-after")), (&json!("error"), true));
        agent.asks_for_account(&user("bob")).await.expect_status(200);
        app.stop().await;
    }

    async fn a_public_client_opens_an_account_with_nothing_but_a_proof(db: TestDb) {
        let app = TestApp::start_with(&db, &[("wire.generic_clients", "true")]).await;
        let open = another(&app, "Open", ExistingAccount::LinkSilently, &["example.test"]).await;
        WireAgent::register(&app).await;
        let agent = WireAgent::register_as(&app, &open.id, |wire| {
            wire.signature_mode = SignatureMode::Unsigned;
            wire.profile = "generic".parse().unwrap();
            wire.client_id = Some("cli".to_owned());
            wire.callback_url = None;
        })
        .await;
        app.agent().await;
        let (verifier, challenge) = pkce();
        let request = json!({"id": "r1", "email": "ada@example.test", "client_id": "cli", "code_challenge": challenge,
            "code_challenge_method": "S256"});
        let send = |body: Value| {
            let outgoing = Outgoing::post_json(agent.client.url(PATH), &body).header("api-version", "0.1d");
            agent.client.send(outgoing)
        };
        typed(&send(without(&request, "code_challenge")).await, 400, "invalid_request", Some("r1"));
        typed(&send(with(&request, "client_id", json!("nobody"))).await, 401, "unauthorized", Some("r1"));
        typed(&send(with(&request, "client_id", json!("https://agent.example/c"))).await, 401, "unauthorized", Some("r1"));
        let answers = join_all((0..8).map(|_| send(request.clone()))).await;
        let mut codes: Vec<String> = answers.into_iter().map(|one| code_of(&one.expect_status(200).json())).collect();
        codes.dedup();
        let [code] = codes.as_slice() else { panic!("{codes:?}") };
        // The address is Ada's, whose account exists: nobody is told, nothing is linked, nothing is hers.
        assert_eq!(counts(&app).await, Counts { accounts: 2, links: 2, budgets: 2 });
        // Whoever guesses the id comes to nobody's account.
        let (_, other) = (verifier, secret::sha256_base64url(b"mallory's own verifier, long enough for it"));
        typed(&send(with(&request, "code_challenge", json!(other))).await, 422, "invalid_request", Some("r1"));
        let fields = [("grant_type", "authorization_code"), ("code", code), ("client_id", "cli")];
        let unproven = agent.client.post_form("/oauth/token", &fields).await;
        assert_eq!((unproven.status(), &unproven.json()["error"]), (401, &json!("invalid_request")));
        let fields = [fields[0], fields[1], fields[2], ("code_verifier", verifier)];
        let tokens = agent.client.post_form("/oauth/token", &fields).await.expect_status(200).json();
        let bearer = tokens["access_token"].as_str().unwrap();
        let third = Outgoing::post_json(agent.client.url("/provisioning/resources"), &json!({"service_id": "sandbox"}));
        let third = third.header("api-version", "0.1d").header("idempotency-key", fresh_key()).bearer(bearer);
        let made = agent.client.send(third).await.expect_status(200).json();
        assert_eq!((&made["status"], &made["service_id"]), (&json!("complete"), &json!("sandbox")), "{made}");
        app.stop().await;
    }

    async fn a_token_of_a_public_client_does_not_work_in_a_request_that_somebody_else_signed(db: TestDb) {
        let app = TestApp::start_with(&db, &[("wire.generic_clients", "true")]).await;
        let open = another(&app, "Open", ExistingAccount::Sidecar, &[]).await;
        let signer = WireAgent::register(&app).await;
        WireAgent::register_as(&app, &open.id, |wire| {
            wire.signature_mode = SignatureMode::Unsigned;
            wire.profile = "generic".parse().unwrap();
            wire.client_id = Some("cli".to_owned());
        })
        .await;
        let (verifier, challenge) = pkce();
        let request = json!({"email": "ada@example.test", "client_id": "cli", "code_challenge": challenge});
        let outgoing = Outgoing::post_json(signer.client.url(PATH), &request).header("api-version", "0.1d");
        let code = code_of(&signer.client.send(outgoing).await.expect_status(200).json());
        let fields = [("grant_type", "authorization_code"), ("code", code.as_str()), ("code_verifier", verifier)];
        let by_other = signer.token(&fields).await;
        assert_eq!((by_other.status(), &by_other.json()["error"]), (400, &json!("invalid_grant")));
        let tokens = signer.client.post_form("/oauth/token", &fields).await.expect_status(200).json();
        let bearer = tokens["access_token"].as_str().unwrap();
        let body = json!({"service_id": "sandbox"});
        flat(&signer.with_bearer(bearer).post("/provisioning/resources", &body).await, 401, "invalid_signature");
        let unsigned = Outgoing::post_json(signer.client.url("/provisioning/resources"), &body);
        signer.client.send(unsigned.header("api-version", "0.1d").bearer(bearer)).await.expect_status(200);
        app.stop().await;
    }

    async fn a_text_with_a_null_character_is_refused_before_anybody_looks_for_it(db: TestDb) {
        let app = TestApp::start_with(&db, &[("wire.generic_clients", "true")]).await;
        let agent = WireAgent::register(&app).await;
        let (holder, _) = agent.opens_account(&User::ada()).await;
        let mut request = agent.account_request(&user("bob"));
        request["orchestrator"]["stripe"]["account"] = json!("a\u{0}b");
        assert_eq!(agent.post(PATH, &request).await.status(), 400);
        let unsigned = json!({"email": "ada@example.test", "client_id": "a\u{0}b", "code_challenge": pkce().1});
        let outgoing = Outgoing::post_json(agent.client.url(PATH), &unsigned).header("api-version", "0.1d");
        assert_eq!(agent.client.send(outgoing).await.status(), 400);
        for body in [json!({"service_id": "a\u{0}b"}), json!({"service_id": "sandbox", "project_id": "a\u{0}b"})] {
            assert_eq!(holder.post("/provisioning/resources", &body).await.status(), 400, "{body}");
        }
        let refresh = [("grant_type", "refresh_token"), ("refresh_token", "rt_x")];
        for name in ["client_id", "code", "scope", "resource"] {
            let fields = [refresh[0], refresh[1], (name, "a\u{0}b"), ("client_secret", "x")];
            let answer = agent.token(&fields).await;
            assert_eq!((answer.status(), &answer.json()["error"]), (400, &json!("invalid_request")), "{name}");
        }
        let body = "grant_type=refresh_token&refresh_token=rt_x";
        let basic = Outgoing::post(agent.client.url("/oauth/token"), "application/x-www-form-urlencoded", body.into())
            .header("authorization", "Basic YSUwMGI6eA==");
        let answer = agent.client.send(basic).await;
        assert_eq!((answer.status(), &answer.json()["error"]), (401, &json!("invalid_client")), "`a%00b:x`");
        let bob = app.agent_of(&user("bob")).await;
        let digest = json!({"service": "sandbox", "plan": "free", "catalog_digest": "a\u{0}b"});
        bob.sends(&digest).await.problem(400, "invalid_request");
        for path in ["/d/a%00b", "/link/a%00b", "/v1/resources/a%00b", "/v1/ledger?cursor=a%00b", "/catalog/revisions/%00"] {
            let status = bob.client.get(path).await.status();
            assert!((400..500).contains(&status), "{path}: {status}");
        }
        app.stop().await;
    }

    async fn public_clients_are_off_unless_set(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = WireAgent::register_with(&app, |wire| {
            wire.signature_mode = SignatureMode::Unsigned;
            wire.client_id = Some("cli".to_owned());
        })
        .await;
        let body = json!({"email": "ada@example.test", "client_id": "cli", "code_challenge": pkce().1});
        let outgoing = Outgoing::post_json(agent.client.url(PATH), &body).header("api-version", "0.1d");
        typed(&agent.client.send(outgoing).await, 401, "unauthorized", None);
        app.stop().await;
    }

    async fn a_public_client_may_be_the_address_of_its_metadata(db: TestDb) {
        let app = TestApp::start_with(&db, &CIMD_HERE).await;
        let agent = WireAgent::register_with(&app, |wire| {
            wire.signature_mode = SignatureMode::Unsigned;
            wire.profile = "generic".parse().unwrap();
        })
        .await;
        let (base, looks) = metadata_server();
        for (name, status) in
            [("good", 200), ("other", 401), ("secret", 401), ("text", 401), ("moved", 401), ("gone", 401), ("long", 401)]
        {
            let client = format!("{base}/{name}");
            let body = json!({"email": "ada@example.test", "client_id": client, "code_challenge": pkce().1});
            let outgoing = Outgoing::post_json(agent.client.url(PATH), &body).header("api-version", "0.1d");
            let answer = agent.client.send(outgoing).await;
            assert_eq!(answer.status(), status, "{name}: {}", answer.text());
        }
        // A good one is kept for as long as its server says, a bad one for a moment.
        app.pass(TimeDelta::seconds(6));
        let asks = async |name: &str| {
            let (before, client) = (looks.load(Ordering::SeqCst), format!("{base}/{name}"));
            let body = json!({"email": "ada@example.test", "client_id": client, "code_challenge": pkce().1});
            let outgoing = Outgoing::post_json(agent.client.url(PATH), &body).header("api-version", "0.1d");
            let status = agent.client.send(outgoing).await.status();
            (status, looks.load(Ordering::SeqCst) - before)
        };
        assert_eq!((asks("good").await, asks("other").await, asks("gone").await), ((200, 0), (401, 1), (401, 1)));
        assert_eq!((asks("never-kept").await, asks("never-kept").await), ((200, 1), (200, 0)), "a minute at least");
        app.pass(TimeDelta::seconds(60));
        assert_eq!((asks("good").await, asks("good").await), ((200, 1), (200, 0)));
        app.stop().await;
    }

    async fn a_strangers_address_leads_nowhere_inside(db: TestDb) {
        // The operator reaches loopback itself; a client's address still does not, unless that is set apart.
        let settings = [("wire.generic_clients", "true"), ("wire.generic_cimd", "true")];
        let app = TestApp::start_with(&db, &settings).await;
        let agent = WireAgent::register_with(&app, |wire| {
            wire.signature_mode = SignatureMode::Unsigned;
            wire.profile = "generic".parse().unwrap();
        })
        .await;
        let (base, looks) = metadata_server();
        let https = base.replace("http://", "https://");
        for client in [format!("{base}/good"), format!("{https}/good"), "https://10.0.0.1/c".to_owned()] {
            let body = json!({"email": "ada@example.test", "client_id": client, "code_challenge": pkce().1});
            let outgoing = Outgoing::post_json(agent.client.url(PATH), &body).header("api-version", "0.1d");
            typed(&agent.client.send(outgoing).await, 401, "unauthorized", None);
        }
        assert_eq!((looks.load(Ordering::SeqCst), counts(&app).await.accounts), (0, 0));
        app.stop().await;
    }
}

/// Public clients may be documents on this machine.
const CIMD_HERE: [(&str, &str); 3] =
    [("wire.generic_clients", "true"), ("wire.generic_cimd", "true"), ("wire.generic_cimd_loopback", "true")];

/// Metadata documents, good and bad, on 127.0.0.1, and how often anybody looked.
fn metadata_server() -> (String, Arc<AtomicU32>) {
    async fn document(request: actix_web::HttpRequest, looks: web::Data<Arc<AtomicU32>>) -> HttpResponse {
        looks.fetch_add(1, Ordering::SeqCst);
        let path = request.path().to_owned();
        let own = format!("http://{}{path}", request.connection_info().host());
        match path.as_str() {
            "/good" => HttpResponse::Ok()
                .insert_header(("cache-control", "max-age=60"))
                .json(json!({"client_id": own, "client_name": "Agent"})),
            "/never-kept" => {
                HttpResponse::Ok().insert_header(("cache-control", "no-store")).json(json!({"client_id": own}))
            }
            "/other" => HttpResponse::Ok().json(json!({"client_id": format!("{own}/x")})),
            "/secret" => HttpResponse::Ok().json(json!({"client_id": own, "client_secret": "s"})),
            "/text" => HttpResponse::Ok().content_type("text/html").body(json!({"client_id": own}).to_string()),
            "/moved" => HttpResponse::Found().insert_header(("location", "/good")).finish(),
            "/long" => HttpResponse::Ok().json(json!({"client_id": own, "x": "y".repeat(70_000)})),
            _ => HttpResponse::NotFound().json(json!({"client_id": own})),
        }
    }
    let looks = Arc::new(AtomicU32::new(0));
    let data = web::Data::new(looks.clone());
    let server = HttpServer::new(move || App::new().app_data(data.clone()).default_service(web::to(document)))
        .workers(1)
        .disable_signals()
        .bind("127.0.0.1:0")
        .unwrap();
    let base = format!("http://{}", server.addrs()[0]);
    actix_web::rt::spawn(server.run());
    (base, looks)
}
