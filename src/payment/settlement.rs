//! Getting the money from whoever issued the payment token: authorize, capture, void, look up, at the issuer's
//! settlement endpoint. Its contract is `openapi/settlement.json`.
//!
//! Each call carries an assertion of its own (`jti`): one is good for one request.
//!
//! Every answer is one of three: done, refused for good, or unknown. Unknown is never taken for either of the others.

use chrono::TimeDelta;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;

use crate::clock::Timestamp;
use crate::fetch::{Fetch, FetchError, Incoming, Outgoing};
use crate::ids::{ChargeId, HoldId};
use crate::money::{Amount, Currency};
use crate::secret::Secret;
use crate::signing::{Algorithm, KeyPurpose, KeyRing, parse_strict};

/// How long one of our client assertions may be used.
const ASSERTION_LIFE: TimeDelta = TimeDelta::seconds(60);

/// Whose settlement endpoint, and who we are there.
#[derive(Debug, Clone)]
pub struct Party {
    /// The issuer: the audience of our assertions.
    pub issuer: String,
    /// Our client id there.
    pub client_id: String,
    /// The base of the settlement endpoints.
    pub url: Url,
}

/// What is to be authorized.
#[derive(Debug, Clone)]
pub struct Order {
    /// The payment token, in clear.
    pub token: Secret,
    /// The hold: the reference under which the charge is found again.
    pub hold_id: HoldId,
    /// Which attempt for this hold: with it, the idempotency key. Grows only after a recorded, definitive failure.
    pub attempt: i64,
    /// How much.
    pub amount: Amount,
    /// Of what.
    pub currency: Currency,
    /// What the human reads.
    pub description: String,
}

/// An authorization at the issuer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Authorization {
    /// The issuer's id.
    pub id: String,
    /// Our reference: the hold id.
    pub reference: String,
    /// What became of it.
    pub status: AuthorizationStatus,
    /// How much may be captured.
    pub amount: Amount,
    /// How much was captured.
    pub captured: Amount,
    /// Of what.
    pub currency: Currency,
}

/// What became of an authorization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthorizationStatus {
    /// Money is set aside.
    Authorized,
    /// Money was taken.
    Captured,
    /// Money was given back before it was taken.
    Voided,
    /// Nobody took it in time.
    Expired,
}

/// The answer of the issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled<T> {
    /// It happened.
    Done(T),
    /// It did not and will not happen: the issuer's code.
    Refused(String),
    /// Nobody here knows: why. Look it up later under the same reference.
    Unknown(String),
}

/// The client of settlement endpoints.
#[derive(Debug, Clone)]
pub struct Settlement {
    fetch: Fetch,
    keys: std::sync::Arc<KeyRing>,
}

#[derive(Deserialize)]
struct Found {
    data: Vec<Authorization>,
}

#[derive(Deserialize)]
struct Refusal {
    code: String,
}

impl Settlement {
    /// A client that signs its assertions with `keys`.
    #[must_use]
    pub fn new(fetch: Fetch, keys: std::sync::Arc<KeyRing>) -> Self {
        Self { fetch, keys }
    }

    /// Sets money aside. Repeating it with the same hold and attempt is the same call.
    pub async fn authorize(&self, party: &Party, order: &Order, now: Timestamp) -> Settled<Authorization> {
        let body = json!({
            "payment_token": order.token.expose(),
            "reference": order.hold_id,
            "amount": order.amount,
            "currency": order.currency,
            "description": order.description,
        });
        let outgoing = endpoint(&party.url, &["authorizations"])
            .map(|url| Outgoing::post_json(url, &body).header("idempotency-key", idempotency_key(order)));
        let settled = self.call(party, outgoing, now).await;
        expect(settled, |found| {
            found.reference == order.hold_id.as_str()
                && found.amount == order.amount
                && found.currency == order.currency
        })
    }

    /// Takes `amount` of what was authorized. Repeating it with the same amount is the same call.
    pub async fn capture(&self, party: &Party, id: &str, amount: Amount, now: Timestamp) -> Settled<Authorization> {
        let outgoing = endpoint(&party.url, &["authorizations", id, "capture"])
            .map(|url| Outgoing::post_json(url, &json!({"amount": amount})));
        let settled = self.call(party, outgoing, now).await;
        expect(settled, |found| found.status == AuthorizationStatus::Captured && found.captured == amount)
    }

    /// Gives back what was authorized and not taken. May be repeated.
    pub async fn void(&self, party: &Party, id: &str, now: Timestamp) -> Settled<Authorization> {
        let outgoing =
            endpoint(&party.url, &["authorizations", id, "void"]).map(|url| Outgoing::post_json(url, &json!({})));
        let settled = self.call(party, outgoing, now).await;
        expect(settled, |found| found.status == AuthorizationStatus::Voided && found.captured == Amount::ZERO)
    }

    /// What the issuer has under this hold.
    pub async fn look_up(&self, party: &Party, hold: &HoldId, now: Timestamp) -> Settled<Option<Authorization>> {
        let outgoing = endpoint(&party.url, &["authorizations"]).map(|mut url| {
            url.query_pairs_mut().append_pair("reference", hold.as_str());
            Outgoing::get(url)
        });
        match self.answer(party, outgoing, now).await {
            Ok(answer) if answer.status == 200 => match read::<Found>(&answer) {
                Ok(found) => Settled::Done(found.data.into_iter().find(|one| one.reference == hold.as_str())),
                Err(error) => Settled::Unknown(error.to_string()),
            },
            Ok(answer) => Settled::Unknown(format!("the look-up answered {}", answer.status)),
            Err(error) => Settled::Unknown(error.to_string()),
        }
    }

    async fn call(&self, party: &Party, outgoing: Option<Outgoing>, now: Timestamp) -> Settled<Authorization> {
        match self.answer(party, outgoing, now).await {
            Ok(answer) => judge(&answer),
            Err(error) => Settled::Unknown(error.to_string()),
        }
    }

    async fn answer(&self, party: &Party, outgoing: Option<Outgoing>, now: Timestamp) -> Result<Incoming, CallError> {
        let outgoing = outgoing.ok_or(CallError::Url)?;
        let assertion = self.assertion(party, now)?;
        Ok(self.fetch.send(outgoing.bearer(&assertion)).await?)
    }

    /// RFC 7523 §2.2, with the type of its revision.
    fn assertion(&self, party: &Party, now: Timestamp) -> Result<String, CallError> {
        let claims = json!({
            "iss": party.client_id,
            "sub": party.client_id,
            "aud": party.issuer,
            "iat": now.seconds(),
            "exp": now.plus(ASSERTION_LIFE).seconds(),
            "jti": ChargeId::new(now),
        });
        let key = self.keys.key(KeyPurpose::ClientAssertion, Algorithm::Es256)?;
        Ok(key.sign_compact("client-authentication+jwt", &claims)?)
    }
}

#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("the settlement URL cannot be extended")]
    Url,
    #[error(transparent)]
    Signing(#[from] crate::signing::SigningError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

/// Names the attempt, never the token: a token minted anew for a retry cannot charge twice.
fn idempotency_key(order: &Order) -> String {
    format!("{}-{}", order.hold_id, order.attempt)
}

fn endpoint(base: &Url, path: &[&str]) -> Option<Url> {
    let mut url = base.clone();
    url.path_segments_mut().ok()?.pop_if_empty().extend(path);
    Some(url)
}

/// As strictly as everything that others say: what cannot be stored must not be believed.
fn read<T: DeserializeOwned>(answer: &Incoming) -> Result<T, serde_json::Error> {
    parse_strict(&answer.body)
}

/// 400, 402, 404 and 422 are the issuer's definitive no. Everything else that is no success leaves the outcome open.
fn judge(answer: &Incoming) -> Settled<Authorization> {
    match answer.status {
        200 | 201 => match read(answer) {
            Ok(authorization) => Settled::Done(authorization),
            Err(error) => Settled::Unknown(error.to_string()),
        },
        400 | 402 | 404 | 422 => match read::<Refusal>(answer) {
            Ok(refusal) => Settled::Refused(refusal.code.chars().take(64).collect()),
            Err(_no_problem_body) => Settled::Unknown(format!("status {} without a code", answer.status)),
        },
        status => Settled::Unknown(format!("status {status}")),
    }
}

/// A success that says something else than what was asked is not believed.
fn expect(settled: Settled<Authorization>, fits: impl Fn(&Authorization) -> bool) -> Settled<Authorization> {
    match settled {
        Settled::Done(found) if !fits(&found) => Settled::Unknown("the answer does not fit the request".to_owned()),
        settled => settled,
    }
}
