//! How often anybody may ask: the refusal's code in the endpoint's own envelope, and how long to wait.

use chrono::TimeDelta;
use futures_util::future::join_all;
use portreeve::account::CountError;
use portreeve::authorization::{self, ExchangeError, ExchangeParts, ExchangeRequest};
use portreeve::fetch::Outgoing;
use serde_json::json;

use crate::harness::app::{TestApp, user};
use crate::harness::client::Answer;
use crate::harness::wire::WireAgent;
use crate::wire_accounts::pkce;

#[track_caller]
fn says_when(answer: &Answer, policy: &str, wait: &str) {
    assert_eq!(answer.status(), 429, "{}", answer.text());
    assert_eq!(answer.header("retry-after"), wait);
    assert_eq!(answer.header("ratelimit-policy"), policy);
    let name = policy.split(';').next().unwrap();
    assert_eq!(answer.header("ratelimit"), format!("{name};r=0;t={wait}"));
    assert_eq!(answer.header("cache-control"), "no-store");
}

on_both! {
    async fn an_address_opens_so_many_accounts_an_hour(db: TestDb) {
        let app = TestApp::start_with(&db, &[("limits.address_accounts_per_hour", "2")]).await;
        let open = |name: &str| {
            let (token, stranger) = (app.id_token(&user(name)), app.stranger());
            async move { stranger.post("/v1/accounts", &json!({"id_token": token})).await }
        };
        let first = open("ada").await.expect_status(201);
        assert_eq!(first.header("ratelimit"), "\"address-accounts\";r=1;t=1800");
        open("bob").await.expect_status(201);
        let refused = open("cyd").await;
        says_when(&refused, "\"address-accounts\";q=2;w=3600", "1800");
        refused.problem(429, "rate_limited");
        // A refused request opened nothing and used nothing up.
        app.pass(TimeDelta::seconds(1800));
        open("cyd").await.expect_status(201);
        app.stop().await;
    }

    async fn an_orchestrator_opens_so_many_accounts_an_hour_in_all_processes_together(db: TestDb) {
        let app = TestApp::start_with(&db, &[("limits.orchestrator_accounts_per_hour", "3")]).await;
        let agent = WireAgent::register(&app).await;
        let other = app.another_process().await;
        let there = async |name: &str| {
            let parts = ExchangeParts {
                db: &other.db,
                keys: &other.keys,
                ring: &other.ring,
                sealer: &other.answer_sealer,
                issuer: &other.base_url,
                audience: &other.audience,
                accounts_per_hour: other.limits.orchestrator_accounts_per_hour,
                prices: &other,
                familiar: &other.familiar,
            };
            let (assertion, request_hash) = (app.id_token(&user(name)), format!("there {name}"));
            let request = ExchangeRequest { assertion, scope: None, resource: None, request_hash, proof: None, client: None };
            authorization::exchange(parts, request, app.now()).await
        };
        let here = async |name: &str| {
            let body = json!({"id_token": app.id_token(&user(name))});
            app.stranger().post("/v1/accounts", &body).await
        };
        here("ada").await.expect_status(201);
        assert!(there("bob").await.unwrap().opened);
        agent.asks_for_account(&user("cyd")).await.expect_status(200);
        let policy = "\"orchestrator-accounts\";q=3;w=3600";
        let refused = here("dan").await;
        says_when(&refused, policy, "3600");
        refused.problem(429, "rate_limited");
        let refused = agent.asks_for_account(&user("dan")).await;
        says_when(&refused, policy, "3600");
        assert_eq!((&refused.json()["type"], &refused.json()["error"]["code"]), (&json!("error"), &json!("rate_limited")));
        let refused = there("dan").await.unwrap_err();
        assert!(matches!(refused, ExchangeError::Count(CountError::TooMany { at_most: 3, wait: 3600 })), "{refused:?}");
        // Whoever has an account is not counted, and the next hour is another count.
        here("bob").await.expect_status(200);
        app.pass(TimeDelta::minutes(59));
        says_when(&here("dan").await, policy, "60");
        app.pass(TimeDelta::minutes(1));
        here("dan").await.expect_status(201);
        app.stop().await;
    }

    async fn of_many_at_once_as_many_accounts_are_opened_as_may_be(db: TestDb) {
        let app = TestApp::start_with(&db, &[("limits.orchestrator_accounts_per_hour", "5")]).await;
        let agent = WireAgent::register(&app).await;
        let people: Vec<_> = (0..24).map(|number| user(&format!("person-{number}"))).collect();
        let answers = join_all(people.iter().map(|person| agent.asks_for_account(person))).await;
        let opened = answers.iter().filter(|answer| answer.status() == 200).count();
        assert!(answers.iter().all(|answer| [200, 429].contains(&answer.status())));
        assert_eq!(opened, 5);
        app.stop().await;
    }

    async fn the_token_endpoint_refuses_each_grant_in_the_envelope_that_its_callers_read(db: TestDb) {
        let app = TestApp::start_with(&db, &[("limits.address_tokens_per_hour", "1")]).await;
        let ask = |grant: &'static str| {
            let stranger = app.stranger();
            async move { stranger.post_form("/oauth/token", &[("grant_type", grant), ("assertion", "a.b.c")]).await }
        };
        ask("urn:ietf:params:oauth:grant-type:jwt-bearer").await.expect_status(400);
        let refused = ask("urn:ietf:params:oauth:grant-type:jwt-bearer").await;
        says_when(&refused, "\"address-tokens\";q=1;w=3600", "3600");
        assert_eq!(refused.json()["error"], "rate_limited");
        for grant in ["authorization_code", "refresh_token"] {
            let refused = ask(grant).await;
            says_when(&refused, "\"address-tokens\";q=1;w=3600", "3600");
            assert_eq!((&refused.json()["type"], &refused.json()["error"]["code"]), (&json!("error"), &json!("rate_limited")));
        }
        app.stop().await;
    }

    async fn behind_a_proxy_the_last_address_it_names_counts_and_without_one_none(db: TestDb) {
        let limit = ("limits.address_accounts_per_hour", "1");
        let (behind, status) = ("true", 401);
        {
            let app = TestApp::start_with(&db, &[limit, ("server.behind_tls_proxy", behind)]).await;
            let from = |addresses: &'static str| {
                let outgoing = Outgoing::post_json(app.stranger().url("/v1/accounts"), &json!({"id_token": "a.b.c"}));
                let client = app.stranger();
                async move { client.send(outgoing.header("x-forwarded-for", addresses)).await }
            };
            from("198.51.100.1").await.expect_status(401);
            from("198.51.100.2").await.expect_status(status);
            // What the caller itself wrote stands first and counts for nothing.
            from("198.51.100.9, 198.51.100.1").await.expect_status(429);
            app.stop().await;
        }
    }

    async fn a_person_and_an_orchestrator_ask_for_accounts_so_often_and_the_longest_wait_is_told(db: TestDb) {
        let limits = [("wire.account_requests_per_hour", "2"), ("wire.orchestrator_requests_per_hour", "3")];
        let app = TestApp::start_with(&db, &limits).await;
        let agent = WireAgent::register(&app).await;
        for _ in 0..2 {
            let answer = agent.asks_for_account(&user("dana")).await.expect_status(200);
            assert!(answer.header("ratelimit").starts_with("\"account-requests\";r="), "{}", answer.header("ratelimit"));
        }
        let refused = agent.asks_for_account(&user("dana")).await;
        says_when(&refused, "\"account-requests\";q=2;w=3600", "1800");
        let body = refused.json();
        assert_eq!((&body["type"], &body["error"]["code"]), (&json!("error"), &json!("rate_limited")), "{body}");
        // The refused request counted for its orchestrator: somebody else is held up by that, for less long.
        says_when(&agent.asks_for_account(&user("eve")).await, "\"orchestrator\";q=3;w=3600", "1200");
        let both = agent.asks_for_account(&user("dana")).await;
        says_when(&both, "\"account-requests\";q=2;w=3600", "1800");
        app.pass(TimeDelta::seconds(1800));
        agent.asks_for_account(&user("dana")).await.expect_status(200);
        app.stop().await;
    }

    async fn an_account_gets_so_many_tokens_and_resources_an_hour(db: TestDb) {
        let limits = [("wire.token_exchanges_per_hour", "1"), ("wire.resource_creates_per_hour", "1")];
        let app = TestApp::start_with(&db, &limits).await;
        let agent = WireAgent::register(&app).await;
        let (caller, _) = agent.opens_account(&user("dana")).await;
        let again = agent.asks_for_account(&user("dana")).await.expect_status(200).json();
        let code = again["oauth"]["code"].as_str().unwrap();
        let refused = agent.token(&[("grant_type", "authorization_code"), ("code", code)]).await;
        says_when(&refused, "\"token-exchanges\";q=1;w=3600", "3600");
        assert_eq!((&refused.json()["type"], &refused.json()["error"]["code"]), (&json!("error"), &json!("rate_limited")));
        let free = json!({"service_id": "sandbox", "project_id": "proj_1", "orchestrator_resource_id": "fres_1"});
        caller.post("/provisioning/resources", &free).await.expect_status(200);
        let refused = caller.post("/provisioning/resources", &free).await;
        says_when(&refused, "\"resource-creates\";q=1;w=3600", "3600");
        let body = refused.json();
        assert_eq!((&body["status"], &body["id"], &body["error"]["code"]), (&json!("error"), &json!(""), &json!("rate_limited")));
        app.stop().await;
    }

    async fn a_stranger_with_many_names_is_counted_by_address_and_holds_up_nobody_who_signs(db: TestDb) {
        let limits = [("wire.generic_clients", "true"), ("limits.address_accounts_per_hour", "3"),
            ("wire.account_requests_per_hour", "2")];
        let app = TestApp::start_with(&db, &limits).await;
        let agent = WireAgent::register(&app).await;
        let send = async |client: String| {
            let body = json!({"email": "a@example.test", "client_id": client, "code_challenge": pkce().1});
            let outgoing = Outgoing::post_json(agent.client.url("/provisioning/account_requests"), &body);
            let answer = agent.client.send(outgoing.header("api-version", "0.1d")).await;
            (answer.status(), answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
        };
        // What cannot be a name is refused before it is counted.
        for bad in ["x".repeat(256), "x".repeat(1000), String::new(), "a\u{0}b".to_owned()] {
            assert_eq!(send(bad).await, (400, "invalid_request".to_owned()));
        }
        for number in 0..3 {
            assert_eq!(send(format!("client-{number}")).await, (401, "unauthorized".to_owned()));
        }
        for number in 3..6 {
            assert_eq!(send(format!("client-{number}")).await, (429, "rate_limited".to_owned()));
        }
        agent.asks_for_account(&user("dana")).await.expect_status(200);
        app.stop().await;
    }

    async fn a_limit_of_none_is_no_limit(db: TestDb) {
        let app = TestApp::start_with(&db, &[("limits.address_accounts_per_hour", "0")]).await;
        for _ in 0..30 {
            let answer = app.stranger().post("/v1/accounts", &json!({"id_token": "a.b.c"})).await.expect_status(401);
            assert!(!answer.has_header("ratelimit"));
        }
        app.stop().await;
    }
}
