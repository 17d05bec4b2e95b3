use std::sync::Arc;

use actix_web::{App, HttpServer};
use serde_json::Value;

use super::*;
use crate::clock::{Clock as _, ManualClock, SystemClock};
use crate::fetch::{Fetch, Incoming, Outgoing};
use crate::money::Currency;
use crate::signing::{Algorithm, KeyPurpose, KeyRing};
use crate::simulator::state::loopback_client;
use crate::simulator::{
    Fault, FaultOrder, IdTokenSpec, JwksState, NextFault, PaymentTokenSpec, Simulator, SimulatorSettings, User,
};

const CLIENT: &str = "portreeve-client";

/// A simulator and a stand-in for the provider, of which only the keys are served.
struct Both {
    simulator: Simulator,
    ring: KeyRing,
    clock: Arc<ManualClock>,
    fetch: Fetch,
}

fn start() -> Both {
    let ring = KeyRing::generate().unwrap();
    let jwks = ring.jwks().to_string();
    let provider = HttpServer::new(move || {
        let jwks = jwks.clone();
        App::new().route("/oauth/jwks", web::get().to(move || std::future::ready(jwks.clone())))
    })
    .workers(1)
    .disable_signals()
    .bind("127.0.0.1:0")
    .unwrap();
    let provider_base = format!("http://{}/", provider.addrs()[0]).parse().unwrap();
    tokio::spawn(provider.run());
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let settings = SimulatorSettings {
        provider_base,
        client_id: CLIENT.into(),
        bind: "127.0.0.1:0".parse().unwrap(),
        clock: clock.clone(),
    };
    let simulator = Simulator::start(settings).unwrap();
    Both { simulator, ring, clock, fetch: loopback_client(&[]).unwrap() }
}

impl Both {
    fn assertion_with(&self, change: impl FnOnce(&mut Value)) -> String {
        let now = self.clock.now().seconds();
        let jti = crate::simulator::tokens::unique("jti").unwrap();
        let mut claims = json!({"iss": CLIENT, "sub": CLIENT, "aud": self.simulator.issuer_url, "iat": now, "exp": now + 60, "jti": jti});
        change(&mut claims);
        let key = self.ring.key(KeyPurpose::ClientAssertion, Algorithm::Es256).unwrap();
        key.sign_compact("client-authentication+jwt", &claims).unwrap()
    }

    fn assertion(&self) -> String {
        self.assertion_with(|_| ())
    }

    fn payment_token(&self, max: i64) -> String {
        let max = Amount::from_minor(max).unwrap();
        self.simulator.mint_payment_token(&PaymentTokenSpec::new(Currency::USD, max)).unwrap()
    }

    fn url(&self, path: &str) -> url::Url {
        format!("{}{path}", self.simulator.settlement_url).parse().unwrap()
    }

    async fn post(&self, path: &str, key: &str, body: &Value) -> Incoming {
        self.try_post(path, key, body).await.unwrap()
    }

    async fn try_post(&self, path: &str, key: &str, body: &Value) -> Result<Incoming, crate::fetch::FetchError> {
        let ask = Outgoing::post_json(self.url(path), body).bearer(&self.assertion()).header("idempotency-key", key);
        self.fetch.send(ask).await
    }

    fn fail(&self, fault: Fault, on: SettlementVerb) {
        let next = Some(NextFault { fault, count: 1, delay_ms: 0, on });
        self.simulator.order(FaultOrder { next, ..FaultOrder::default() }).unwrap();
    }
}

fn asked(token: &str, reference: &str, amount: i64) -> Value {
    json!({"payment_token": token, "reference": reference, "amount": amount, "currency": "USD", "description": "x"})
}

fn code(answer: &Incoming) -> String {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    answer.json::<Value>().unwrap()["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn money_is_authorized_captured_and_found_again_over_http() {
    let both = start();
    let token = both.payment_token(1_000);
    let made = both.post("/authorizations", "hold_1-1", &asked(&token, "hold_1", 900)).await;
    assert_eq!(made.status, 201);
    let made: Authorization = made.json().unwrap();
    let over = both.post("/authorizations", "hold_2-1", &asked(&token, "hold_2", 101)).await;
    assert_eq!((over.status, code(&over).as_str()), (402, "limit_exceeded"));
    let captured = both.post(&format!("/authorizations/{}/capture", made.id), "", &json!({"amount": 900})).await;
    assert_eq!(captured.json::<Value>().unwrap()["status"], "captured");
    let voided = both.post(&format!("/authorizations/{}/void", made.id), "", &json!({})).await;
    assert_eq!((voided.status, code(&voided).as_str()), (409, "already_captured"));
    let found = Outgoing::get(both.url("/authorizations?reference=hold_1")).bearer(&both.assertion());
    let found: Value = both.fetch.send(found).await.unwrap().json().unwrap();
    assert_eq!(found["data"][0]["captured"], 900);
    assert_eq!(both.simulator.books().totals["USD"].captured, 900);
}

#[tokio::test]
async fn a_lost_answer_leaves_the_effect_or_none_as_ordered() {
    let both = start();
    let token = both.payment_token(1_000);
    for (fault, effects) in [(Fault::TimeOutAfterEffect, 1), (Fault::TimeOutBeforeEffect, 0)] {
        let reference = format!("hold_{effects}");
        both.fail(fault, SettlementVerb::Authorize);
        let body = asked(&token, &reference, 10);
        let lost = both.try_post("/authorizations", &reference, &body).await;
        assert!(matches!(lost, Err(crate::fetch::FetchError::AnswerLost(..))), "{lost:?}");
        let lookup =
            || both.simulator.books().authorizations.iter().filter(|e| e.authorization.reference == reference).count();
        assert_eq!(lookup(), effects);
        assert_eq!(both.post("/authorizations", &reference, &body).await.status, 201);
        assert_eq!(lookup(), 1);
    }
    both.fail(Fault::Decline, SettlementVerb::Authorize);
    let declined = both.post("/authorizations", "d-1", &asked(&token, "d", 10)).await;
    assert_eq!((declined.status, code(&declined).as_str()), (402, "declined"));
    both.fail(Fault::ServerError, SettlementVerb::Authorize);
    assert_eq!(both.post("/authorizations", "d-2", &asked(&token, "d", 10)).await.status, 500);
}

#[tokio::test]
async fn only_the_provider_is_answered_and_each_assertion_once() {
    let both = start();
    let now = both.clock.now().seconds();
    let bad = [
        both.assertion_with(|claims| claims["aud"] = json!("http://other")),
        both.assertion_with(|claims| claims["sub"] = json!("other")),
        both.assertion_with(|claims| claims["iss"] = json!("other")),
        both.assertion_with(|claims| claims["exp"] = json!(now)),
        both.assertion_with(|claims| claims["exp"] = json!(now + 301)),
        both.payment_token(1),
        String::new(),
    ];
    let ask =
        |assertion: &str| both.fetch.send(Outgoing::get(both.url("/authorizations?reference=a")).bearer(assertion));
    for assertion in &bad {
        let refused = ask(assertion).await.unwrap();
        assert_eq!((refused.status, code(&refused).as_str()), (401, "client_assertion_invalid"));
    }
    let good = both.assertion();
    assert_eq!(ask(&good).await.unwrap().status, 200);
    assert_eq!(ask(&good).await.unwrap().status, 401);
}

#[tokio::test]
async fn payment_tokens_that_are_not_ours_or_not_for_this_seller_are_refused() {
    let both = start();
    let spec = || PaymentTokenSpec::new(Currency::USD, Amount::from_minor(1_000).unwrap());
    let mint = |spec: PaymentTokenSpec| both.simulator.mint_payment_token(&spec).unwrap();
    let id_token = both.simulator.mint_id_token(&IdTokenSpec::of(&User::ada())).unwrap();
    let bad = [
        mint(spec().audience("other")),
        mint(spec().claim("iss", json!("http://other"))),
        mint(spec().signed_by_a_stranger()),
        mint(spec().header("alg", json!("none"))),
        mint(spec().header("alg", json!("HS256"))),
        mint(spec().header("typ", json!("JWT"))),
        id_token,
    ];
    for (number, token) in bad.iter().enumerate() {
        let refused = both.post("/authorizations", &format!("k{number}"), &asked(token, "a", 1)).await;
        assert_eq!((refused.status, code(&refused).as_str()), (400, "token_invalid"), "{number}");
    }
    let old = mint(spec().expires_at(both.clock.now()));
    let refused = both.post("/authorizations", "old", &asked(&old, "a", 1)).await;
    assert_eq!((refused.status, code(&refused).as_str()), (402, "token_expired"));
}

#[tokio::test]
async fn a_rotated_key_is_published_beside_the_old_until_that_is_forgotten() {
    let both = start();
    let jwks: url::Url = format!("{}/jwks", both.simulator.issuer_url).parse().unwrap();
    let token = both.payment_token(1_000);
    both.simulator.rotate_keys().unwrap();
    let keys: Value = both.fetch.send(Outgoing::get(jwks.clone())).await.unwrap().json().unwrap();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 4);
    assert_eq!(both.post("/authorizations", "1", &asked(&token, "a", 1)).await.status, 201);
    both.simulator.forget_old_keys().unwrap();
    assert_eq!(both.post("/authorizations", "2", &asked(&token, "b", 1)).await.status, 400);
    both.simulator.order(FaultOrder { jwks: Some(JwksState::Down), ..FaultOrder::default() }).unwrap();
    assert_eq!(both.fetch.send(Outgoing::get(jwks)).await.unwrap().status, 503);
}

#[tokio::test]
async fn the_issuer_is_one_for_an_unmodified_oidc_client() {
    use openidconnect::core::{CoreIdToken, CoreIdTokenVerifier, CoreJsonWebKeySet, CoreProviderMetadata};
    use openidconnect::{ClientId, Nonce};

    let both = start();
    let get = async |url: String| both.fetch.send(Outgoing::get(url.parse().unwrap())).await.unwrap();
    let discovery = get(format!("{}/.well-known/openid-configuration", both.simulator.issuer_url)).await;
    let metadata: CoreProviderMetadata = discovery.json().unwrap();
    let keys: CoreJsonWebKeySet = get(metadata.jwks_uri().to_string()).await.json().unwrap();
    let ask = Outgoing::post_json(
        format!("{}/agent/id-token", both.simulator.issuer_url).parse().unwrap(),
        &json!({"sub": "user_grace", "email": "grace@example.test"}),
    );
    let answer: Value = both.fetch.send(ask).await.unwrap().json().unwrap();
    let token: CoreIdToken = answer["id_token"].as_str().unwrap().parse().unwrap();
    let verifier =
        CoreIdTokenVerifier::new_public_client(ClientId::new(CLIENT.into()), metadata.issuer().clone(), keys)
            .set_allowed_algs([openidconnect::core::CoreJwsSigningAlgorithm::EcdsaP256Sha256]);
    let claims = token.claims(&verifier, |_: Option<&Nonce>| Ok(())).unwrap();
    assert_eq!(claims.subject().as_str(), "user_grace");
    assert_eq!(claims.email().unwrap().as_str(), "grace@example.test");
}

#[tokio::test]
async fn every_operation_of_the_contract_is_served_and_refuses_strangers() {
    let both = start();
    let served: Value = both.fetch.send(Outgoing::get(both.url("/openapi.json"))).await.unwrap().json().unwrap();
    let mut operations = 0;
    for (path, methods) in served["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let url = both.url(&path.replace("{id}", "auth_00000000000000000000000000"));
            let ask = if method == "post" { Outgoing::post_json(url, &json!({})) } else { Outgoing::get(url) };
            assert_eq!(both.fetch.send(ask).await.unwrap().status, 401, "{method} {path}");
            operations += 1;
        }
    }
    assert_eq!(operations, 4);
}

#[test]
fn every_refusal_has_its_code_in_the_contract() {
    let contract: Value = serde_json::from_str(CONTRACT).unwrap();
    let codes = &contract["components"]["schemas"]["Problem"]["properties"]["code"]["enum"];
    for refused in [
        Refused::LimitExceeded { left: 0 },
        Refused::TokenExpired,
        Refused::TokenRevoked,
        Refused::Declined,
        Refused::TokenInvalid(""),
        Refused::CurrencyMismatch,
        Refused::AmountInvalid,
        Refused::KeyReused,
        Refused::NotFound,
        Refused::CaptureExceedsAuthorization,
        Refused::AlreadyCaptured,
        Refused::AlreadyVoided,
        Refused::AuthorizationExpired,
    ] {
        assert!(codes.as_array().unwrap().contains(&json!(refused.wire().1)), "{refused:?}");
    }
}
