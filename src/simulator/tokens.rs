//! The tokens of the issuer: right by default, and wrong in any way that a test asks for.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::issuer::IssuerKey;
use super::state::State;
use crate::clock::Timestamp;
use crate::money::{Amount, Currency};
use crate::secret::Secret;
use crate::signing::{SignatureAlgorithm, SigningError, Unverified};

/// Seconds that an ID token is good for.
const ID_TOKEN_SECONDS: i64 = 300;
/// Seconds that a payment token is good for: a quarter.
const PAYMENT_TOKEN_SECONDS: i64 = 90 * 24 * 3600;
/// The `typ` of a payment token.
const PAYMENT_TOKEN_TYPE: &str = "payment-token+jwt";

/// Who is signed in at the orchestrator.
#[derive(Debug, Clone)]
pub struct User {
    /// `sub`: stable at this issuer.
    pub subject: String,
    /// E-mail address, as the issuer knows it.
    pub email: String,
    /// Whether the issuer has verified it.
    pub email_verified: bool,
    /// The organisation, at a multi-tenant issuer.
    pub tenant: Option<String>,
}

impl User {
    /// The user of the demo.
    #[must_use]
    pub fn ada() -> Self {
        Self {
            subject: "user_ada".to_owned(),
            email: "ada@example.test".to_owned(),
            email_verified: true,
            tenant: None,
        }
    }
}

/// What is said differently from a right token.
#[derive(Debug, Clone, Default)]
struct Differently {
    claims: Map<String, Value>,
    header: Map<String, Value>,
    by_a_stranger: bool,
}

/// `null` takes a member away.
fn merge(into: &mut Map<String, Value>, changes: &Map<String, Value>) {
    for (name, value) in changes {
        if value.is_null() {
            into.remove(name);
        } else {
            into.insert(name.clone(), value.clone());
        }
    }
}

impl Differently {
    fn sign(&self, key: &IssuerKey, typ: &str, claims: Value) -> Result<String, SigningError> {
        let mut header = object(json!({"alg": "ES256", "kid": key.kid(), "typ": typ}));
        let mut claims = object(claims);
        merge(&mut header, &self.header);
        merge(&mut claims, &self.claims);
        if self.by_a_stranger {
            return IssuerKey::generate()?.sign(&header, &claims);
        }
        key.sign(&header, &claims)
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

macro_rules! changeable {
    ($spec:ty) => {
        impl $spec {
            /// With this claim instead; `Value::Null` takes it away.
            #[must_use]
            pub fn claim(mut self, name: &str, value: Value) -> Self {
                self.differently.claims.insert(name.to_owned(), value);
                self
            }

            /// With this header member (`alg`, `kid`, `typ`, `crit` …) instead; `Value::Null` takes it away. `none` is
            /// not signed, `HS256` is signed with the public key as secret.
            #[must_use]
            pub fn header(mut self, name: &str, value: Value) -> Self {
                self.differently.header.insert(name.to_owned(), value);
                self
            }

            /// Signed by a key that is not the issuer's, under the issuer's `kid`.
            #[must_use]
            pub fn signed_by_a_stranger(mut self) -> Self {
                self.differently.by_a_stranger = true;
                self
            }

            /// Made at `at` instead of now (`iat` only).
            #[must_use]
            pub fn issued_at(self, at: Timestamp) -> Self {
                self.claim("iat", json!(at.seconds()))
            }

            /// Good until `at`.
            #[must_use]
            pub fn expires_at(self, at: Timestamp) -> Self {
                self.claim("exp", json!(at.seconds()))
            }

            /// For somebody else.
            #[must_use]
            pub fn audience(self, audience: &str) -> Self {
                self.claim("aud", json!(audience))
            }
        }
    };
}

/// An OIDC ID token to be minted.
#[derive(Debug, Clone)]
pub struct IdTokenSpec {
    user: User,
    differently: Differently,
}

changeable!(IdTokenSpec);

impl IdTokenSpec {
    /// A right token about `user`.
    #[must_use]
    pub fn of(user: &User) -> Self {
        Self { user: user.clone(), differently: Differently::default() }
    }
}

/// A payment token to be minted.
#[derive(Debug, Clone)]
pub struct PaymentTokenSpec {
    currency: Currency,
    max_amount: Amount,
    recurring: bool,
    differently: Differently,
}

changeable!(PaymentTokenSpec);

impl PaymentTokenSpec {
    /// A right token of Ada's for `max_amount` in all.
    #[must_use]
    pub fn new(currency: Currency, max_amount: Amount) -> Self {
        Self { currency, max_amount, recurring: false, differently: Differently::default() }
    }

    /// Of another user.
    #[must_use]
    pub fn of(self, user: &User) -> Self {
        self.claim("sub", json!(user.subject))
    }

    /// `max_amount` counts per calendar month (UTC).
    #[must_use]
    pub fn monthly(mut self) -> Self {
        self.recurring = true;
        self
    }
}

pub(super) fn unique(prefix: &str) -> Result<String, SigningError> {
    Secret::generate(prefix).map(|secret| secret.expose().to_owned()).map_err(|_no_randomness| SigningError::Key)
}

pub(super) fn mint_id_token(state: &State, spec: &IdTokenSpec) -> Result<String, SigningError> {
    let now = state.clock.now().seconds();
    let mut claims = json!({
        "iss": state.issuer,
        "aud": state.client_id,
        "sub": spec.user.subject,
        "email": spec.user.email,
        "email_verified": spec.user.email_verified,
        "iat": now,
        "exp": now + ID_TOKEN_SECONDS,
        "auth_time": now - 60,
        "jti": unique("idt")?,
    });
    if let (Some(tenant), Some(members)) = (&spec.user.tenant, claims.as_object_mut()) {
        members.insert("tenant".to_owned(), json!(tenant));
    }
    let key = state.world().issuer_keys.id_token.clone();
    spec.differently.sign(&key, "JWT", claims)
}

pub(super) fn mint_payment_token(state: &State, spec: &PaymentTokenSpec) -> Result<String, SigningError> {
    let now = state.clock.now().seconds();
    let mut claims = json!({
        "iss": state.issuer,
        "aud": state.client_id,
        "sub": User::ada().subject,
        "jti": unique("ptok")?,
        "iat": now,
        "exp": now + PAYMENT_TOKEN_SECONDS,
        "currency": spec.currency,
        "max_amount": spec.max_amount,
    });
    if let (true, Some(members)) = (spec.recurring, claims.as_object_mut()) {
        members.insert("recurring".to_owned(), json!("month"));
    }
    let key = state.world().issuer_keys.payment_token.clone();
    spec.differently.sign(&key, PAYMENT_TOKEN_TYPE, claims)
}

/// How often the limit of a payment token begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Recurring {
    /// Each calendar month (UTC).
    Month,
}

/// What the issuer itself promised in a payment token.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Promised {
    pub(super) iss: String,
    pub(super) aud: String,
    pub(super) sub: String,
    pub(super) jti: String,
    pub(super) exp: i64,
    pub(super) currency: Currency,
    pub(super) max_amount: Amount,
    pub(super) recurring: Option<Recurring>,
}

/// Reads a payment token back. Says why it is none of ours, or not for this client; its expiry is judged elsewhere.
pub(super) fn read_payment_token(state: &State, client_id: &str, token: &str) -> Result<Promised, &'static str> {
    let unverified = Unverified::parse(token).map_err(|_malformed| "The payment token is not a compact JWS.")?;
    unverified.expect_type(&[PAYMENT_TOKEN_TYPE]).map_err(|_other| "The token is no payment token.")?;
    let kid = unverified.kid().ok_or("The payment token names no key.")?.to_owned();
    let key = state.world().issuer_keys.published().find(|key| key.common.key_id.as_ref() == Some(&kid)).cloned();
    let key = key.ok_or("The payment token is signed with a key that is not ours.")?;
    let promised = unverified
        .verify::<Promised>(&key, &[SignatureAlgorithm::Es256])
        .map_err(|_false| "The payment token does not verify.")?
        .claims;
    if promised.iss != state.issuer {
        return Err("The payment token is of another issuer.");
    }
    if promised.aud != client_id {
        return Err("The payment token was issued for another seller.");
    }
    Ok(promised)
}
