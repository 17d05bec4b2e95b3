//! The OIDC issuer: discovery, keys, and what the agent of a signed-in user may ask for.

use actix_web::{HttpRequest, HttpResponse, web};
use jsonwebtoken::EncodingKey;
use jsonwebtoken::jwk::Jwk;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::faults::JwksState;
use super::operator::operator;
use super::settlement::problem;
use super::state::State;
use super::tokens::{self, IdTokenSpec, PaymentTokenSpec, User};
use crate::money::{Amount, Currency};
use crate::signing::{Algorithm, KeyPurpose, SigningError, SigningKey};

/// One key of the issuer. Unlike the provider's own signing it can be told to write any header, also a wrong one.
#[derive(Clone)]
pub(super) struct IssuerKey {
    kid: String,
    private: EncodingKey,
    public: Jwk,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl IssuerKey {
    pub(super) fn generate() -> Result<Self, SigningError> {
        // The purposes are those of the provider's ring, in which this key never is.
        let (key, pkcs8) = SigningKey::generate(KeyPurpose::AccessToken, Algorithm::Es256)?;
        Ok(Self::of(&key, pkcs8))
    }

    fn of(key: &SigningKey, pkcs8: Zeroizing<Vec<u8>>) -> Self {
        let private = EncodingKey::from_ec_der(&pkcs8);
        Self { kid: key.kid().to_owned(), private, public: key.public().clone(), pkcs8 }
    }

    fn restore(kept: &str) -> Result<Self, SigningError> {
        let pkcs8 = Zeroizing::new(URL_SAFE_NO_PAD.decode(kept).map_err(|_bad| SigningError::Key)?);
        Ok(Self::of(&SigningKey::from_pkcs8(KeyPurpose::AccessToken, Algorithm::Es256, &pkcs8)?, pkcs8))
    }

    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    /// Signs as the header's `alg` says: `ES256` well; `none` not at all; `HS256` with the public key as the shared
    /// secret (the classic confusion); anything else with an ES256 signature that cannot fit.
    pub(super) fn sign(
        &self,
        header: &Map<String, Value>,
        claims: &Map<String, Value>,
    ) -> Result<String, SigningError> {
        let header_text = URL_SAFE_NO_PAD.encode(serde_json::to_vec(header)?);
        let message = format!("{header_text}.{}", URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims)?));
        let signature = match header.get("alg").and_then(Value::as_str) {
            Some("none") => String::new(),
            Some("HS256") => {
                let shared = EncodingKey::from_secret(&serde_json::to_vec(&self.public)?);
                jsonwebtoken::crypto::sign(message.as_bytes(), &shared, jsonwebtoken::Algorithm::HS256)?
            }
            _ => jsonwebtoken::crypto::sign(message.as_bytes(), &self.private, jsonwebtoken::Algorithm::ES256)?,
        };
        Ok(format!("{message}.{signature}"))
    }
}

/// The keys that sign, one for each kind of token, and the older public ones.
pub(super) struct IssuerKeys {
    pub(super) id_token: IssuerKey,
    pub(super) payment_token: IssuerKey,
    old: Vec<Jwk>,
}

/// The keys as they are kept: private halves in PKCS #8.
#[derive(Serialize, Deserialize)]
pub(super) struct KeptKeys {
    id_token: String,
    payment_token: String,
    old: Vec<Jwk>,
}

impl IssuerKeys {
    pub(super) fn generate() -> Result<Self, SigningError> {
        Ok(Self { id_token: IssuerKey::generate()?, payment_token: IssuerKey::generate()?, old: Vec::new() })
    }

    /// Reads what [`Self::kept`] wrote.
    pub(super) fn restore(kept: KeptKeys) -> Result<Self, SigningError> {
        let (id_token, payment_token) = (IssuerKey::restore(&kept.id_token)?, IssuerKey::restore(&kept.payment_token)?);
        Ok(Self { id_token, payment_token, old: kept.old })
    }

    pub(super) fn kept(&self) -> KeptKeys {
        KeptKeys {
            id_token: URL_SAFE_NO_PAD.encode(&self.id_token.pkcs8),
            payment_token: URL_SAFE_NO_PAD.encode(&self.payment_token.pkcs8),
            old: self.old.clone(),
        }
    }

    pub(super) fn rotate(&mut self) -> Result<(), SigningError> {
        let fresh = Self::generate()?;
        self.old.extend([self.id_token.public.clone(), self.payment_token.public.clone()]);
        (self.id_token, self.payment_token) = (fresh.id_token, fresh.payment_token);
        Ok(())
    }

    pub(super) fn forget_old(&mut self) {
        self.old.clear();
    }

    /// Every published key.
    pub(super) fn published(&self) -> impl Iterator<Item = &Jwk> {
        [&self.id_token.public, &self.payment_token.public].into_iter().chain(&self.old)
    }
}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/.well-known/openid-configuration", web::get().to(discovery))
        .route("/jwks", web::get().to(jwks))
        .route("/agent/id-token", web::post().to(id_token))
        .route("/agent/payment-tokens", web::post().to(payment_token));
}

/// OpenID Connect Discovery 1.0 §3. The two endpoints of the log-in are named because the document must name them;
/// the simulated user is signed in already, and her agent asks at `/agent/…`.
async fn discovery(state: web::Data<State>) -> HttpResponse {
    let issuer = &state.issuer;
    HttpResponse::Ok().json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "scopes_supported": ["openid", "email"],
        "claims_supported": ["iss", "aud", "sub", "email", "email_verified", "iat", "exp", "jti", "auth_time", "tenant"],
    }))
}

async fn jwks(state: web::Data<State>) -> HttpResponse {
    let world = state.world();
    match world.faults.jwks {
        JwksState::Working => {
            let keys: Vec<&Jwk> = world.issuer_keys.published().collect();
            HttpResponse::Ok().json(json!({"keys": keys}))
        }
        JwksState::Broken => HttpResponse::Ok().content_type("application/json").body("{\"keys\": [{\"kty\":"),
        JwksState::Down => HttpResponse::ServiceUnavailable().finish(),
    }
}

/// What the agent may say about the user; by default she is Ada.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct IdTokenAsked {
    sub: Option<String>,
    email: Option<String>,
    email_verified: Option<bool>,
    tenant: Option<String>,
}

async fn id_token(
    state: web::Data<State>,
    request: HttpRequest,
    asked: Option<web::Json<IdTokenAsked>>,
) -> HttpResponse {
    if let Err(refusal) = operator(&state, &request) {
        return *refusal;
    }
    let asked = asked.map(web::Json::into_inner).unwrap_or_default();
    let ada = User::ada();
    let user = User {
        subject: asked.sub.unwrap_or(ada.subject),
        email: asked.email.unwrap_or(ada.email),
        email_verified: asked.email_verified.unwrap_or(ada.email_verified),
        tenant: asked.tenant.or(ada.tenant),
    };
    match tokens::mint_id_token(&state, &IdTokenSpec::of(&user)) {
        Ok(token) => HttpResponse::Ok().insert_header(("cache-control", "no-store")).json(json!({"id_token": token})),
        Err(error) => problem(500, "signing_failed", &error.to_string()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PaymentTokenAsked {
    sub: Option<String>,
    currency: Currency,
    max_amount: Amount,
    recurring: Option<String>,
}

async fn payment_token(
    state: web::Data<State>,
    request: HttpRequest,
    asked: web::Json<PaymentTokenAsked>,
) -> HttpResponse {
    if let Err(refusal) = operator(&state, &request) {
        return *refusal;
    }
    let asked = asked.into_inner();
    let id = match tokens::unique("ptok") {
        Ok(id) => id,
        Err(error) => return problem(500, "signing_failed", &error.to_string()),
    };
    let mut spec = PaymentTokenSpec::new(asked.currency, asked.max_amount).claim("jti", json!(id));
    if let Some(subject) = asked.sub {
        spec = spec.claim("sub", json!(subject));
    }
    match asked.recurring.as_deref() {
        None => {}
        Some("month") => spec = spec.monthly(),
        Some(_) => return problem(400, "recurring_unknown", "`recurring` is `month` or absent."),
    }
    match tokens::mint_payment_token(&state, &spec) {
        Ok(token) => HttpResponse::Ok()
            .insert_header(("cache-control", "no-store"))
            .json(json!({"payment_token": token, "id": id})),
        Err(error) => problem(500, "signing_failed", &error.to_string()),
    }
}
