//! The operator's local API: users, providers, tokens for tests, and what was seen. Guarded by one token that only the file
//! beside the data holds.

use actix_web::http::header::AUTHORIZATION;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::app_wire::Wire;
use super::registry::{BadProvider, Kept, Member, NewProvider, Provider};
use super::settlement::problem;
use super::state::State;
use super::store::StoreError;
use super::tokens::{IdTokenSpec, PaymentTokenSpec, User, mint_id_token, mint_payment_token, unique};
use crate::money::{Amount, Currency};
use crate::secret::Secret;
use crate::signing::SigningError;

/// Lets the operator pass; everybody, where nothing is guarded (the demo and tests of one process).
pub(super) fn operator(state: &State, request: &HttpRequest) -> Result<(), Box<HttpResponse>> {
    use subtle::ConstantTimeEq as _;
    let sent = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = sent.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    let held = bool::from(state.world().operator.expose().as_bytes().ct_eq(token.as_bytes()));
    if held || !state.guarded {
        return Ok(());
    }
    let mut answer = problem(401, "operator_only", "This needs the operator's token as Bearer.");
    let challenge = actix_web::http::header::HeaderValue::from_static("Bearer");
    answer.headers_mut().insert(actix_web::http::header::WWW_AUTHENTICATE, challenge);
    Err(Box::new(answer))
}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/users", web::post().to(add_user))
        .route("/users", web::get().to(list_users))
        .route("/users/{subject}/agent-token", web::post().to(new_agent_token))
        .route("/users/{subject}/id-token", web::post().to(id_token))
        .route("/providers", web::post().to(add_provider))
        .route("/providers", web::get().to(list_providers))
        .route("/providers/{name}/signing-secret", web::post().to(new_signing_secret))
        .route("/providers/{name}/health", web::get().to(health))
        .route("/test/payment_tokens", web::post().to(payment_token))
        .route("/test/calls", web::get().to(calls));
}

/// Why the operator's wish was not done.
enum Refused {
    Guard(Box<HttpResponse>),
    NotFound(&'static str),
    Invalid(String),
    Conflict(String),
    Broken(String),
}

impl Refused {
    fn answer(self) -> HttpResponse {
        match self {
            Self::Guard(answer) => *answer,
            Self::NotFound(what) => problem(404, "not_found", &format!("There is no such {what}.")),
            Self::Invalid(why) => problem(400, "invalid", &why),
            Self::Conflict(why) => problem(409, "conflict", &why),
            Self::Broken(why) => problem(500, "internal", &why),
        }
    }
}

impl From<Box<HttpResponse>> for Refused {
    fn from(guard: Box<HttpResponse>) -> Self {
        Self::Guard(guard)
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<SigningError> for Refused {
    fn from(error: SigningError) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<BadProvider> for Refused {
    fn from(error: BadProvider) -> Self {
        match error {
            BadProvider::NoRandomness => Self::Broken(error.to_string()),
            BadProvider::ClientIdTaken(_) => Self::Conflict(error.to_string()),
            other => Self::Invalid(other.to_string()),
        }
    }
}

fn answer(status: u16, outcome: Result<Value, Refused>) -> HttpResponse {
    match outcome {
        Ok(body) => HttpResponse::build(actix_web::http::StatusCode::from_u16(status).unwrap_or_default())
            .insert_header(("cache-control", "no-store"))
            .json(body),
        Err(refused) => refused.answer(),
    }
}

/// A user to be.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUser {
    pub(super) email: String,
    #[serde(default)]
    pub(super) subject: Option<String>,
    #[serde(default = "yes")]
    pub(super) email_verified: bool,
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) phone: Option<String>,
    #[serde(default)]
    pub(super) country: Option<String>,
    #[serde(default)]
    pub(super) tenant: Option<String>,
}

fn yes() -> bool {
    true
}

async fn add_user(state: web::Data<State>, request: HttpRequest, new: web::Json<NewUser>) -> HttpResponse {
    let outcome = operator(&state, &request).map_err(Refused::from).and_then(|()| enrol(&state, new.into_inner()));
    answer(201, outcome.map(|(member, token)| told(&member, Some(&token))))
}

/// A new user and the token of her agent.
pub(super) fn begin_user(state: &State, new: NewUser) -> Result<(Member, Secret), String> {
    enrol(state, new).map_err(|refused| match refused {
        Refused::Invalid(why) | Refused::Conflict(why) | Refused::Broken(why) => why,
        Refused::NotFound(_) | Refused::Guard(_) => "it is not allowed".to_owned(),
    })
}

fn enrol(state: &State, new: NewUser) -> Result<(Member, Secret), Refused> {
    let (local, domain) = new.email.split_once('@').unwrap_or_default();
    let visible = new.email.len() <= 254 && !new.email.chars().any(|c| c.is_whitespace() || c.is_control());
    if local.is_empty() || domain.is_empty() || !visible {
        return Err(Refused::Invalid("`email` is not an e-mail address".to_owned()));
    }
    let subject = match new.subject {
        Some(subject) if (1..=255).contains(&subject.len()) && subject.bytes().all(|b| b.is_ascii_graphic()) => subject,
        Some(_) => return Err(Refused::Invalid("`subject` is 1 to 255 visible ASCII characters".to_owned())),
        None => unique("acct")?,
    };
    let token = Secret::generate("agt").map_err(|error| Refused::Broken(error.to_string()))?;
    let member = Member {
        subject,
        email: new.email,
        email_verified: new.email_verified,
        name: new.name,
        phone: new.phone,
        country: new.country,
        tenant: new.tenant,
        agent: token.hash().as_str().to_owned(),
        created_at: state.clock.now(),
    };
    let mut world = state.world();
    if world.members.contains_key(&member.subject) {
        return Err(Refused::Conflict("there is a user with this subject".to_owned()));
    }
    world.keep_member(member.clone())?;
    Ok((member, token))
}

fn told(member: &Member, token: Option<&Secret>) -> Value {
    json!({"subject": member.subject, "email": member.email, "email_verified": member.email_verified,
        "name": member.name, "phone": member.phone, "country": member.country, "tenant": member.tenant,
        "created_at": member.created_at, "agent_token": token.map(Secret::expose)})
}

async fn list_users(state: web::Data<State>, request: HttpRequest) -> HttpResponse {
    let outcome = operator(&state, &request).map_err(Refused::from).map(|()| {
        let world = state.world();
        json!({"data": world.members.values().map(|member| told(member, None)).collect::<Vec<_>>()})
    });
    answer(200, outcome)
}

fn member(state: &State, subject: &str) -> Result<Member, Refused> {
    state.world().members.get(subject).cloned().ok_or(Refused::NotFound("user"))
}

async fn new_agent_token(state: web::Data<State>, request: HttpRequest, subject: web::Path<String>) -> HttpResponse {
    let work = || -> Result<Value, Refused> {
        operator(&state, &request)?;
        let token = Secret::generate("agt").map_err(|error| Refused::Broken(error.to_string()))?;
        let changed = Member { agent: token.hash().as_str().to_owned(), ..member(&state, &subject)? };
        state.world().keep_member(changed.clone())?;
        Ok(told(&changed, Some(&token)))
    };
    answer(200, work())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Audience {
    provider: Option<String>,
}

/// An ID token about a user for a provider: what a provider's `/v1` wants to see.
async fn id_token(
    state: web::Data<State>,
    request: HttpRequest,
    subject: web::Path<String>,
    audience: web::Json<Audience>,
) -> HttpResponse {
    let work = || -> Result<Value, Refused> {
        operator(&state, &request)?;
        let client = audience_of(&state, audience.provider.as_deref())?;
        let spec = IdTokenSpec::of(&member(&state, &subject)?.user()).audience(&client);
        Ok(json!({"id_token": mint_id_token(&state, &spec)?}))
    };
    answer(200, work())
}

/// The client id of the named provider, of the only one, or the usual one.
fn audience_of(state: &State, named: Option<&str>) -> Result<String, Refused> {
    let world = state.world();
    match (named, world.providers.len()) {
        (Some(name), _) => {
            world.providers.get(name).map(|known| known.client_id.clone()).ok_or(Refused::NotFound("provider"))
        }
        (None, 1) => Ok(world.providers.values().map(|known| known.client_id.clone()).collect()),
        (None, _) if !state.client_id.is_empty() => Ok(state.client_id.clone()),
        (None, _) => Err(Refused::Invalid("say which `provider`".to_owned())),
    }
}

/// Registers a provider, or changes the settings of a known one.
pub(super) fn introduce(state: &State, new: NewProvider) -> Result<(Value, bool), BadProvider> {
    let mut world = state.world();
    let before = world.providers.get(&new.name).cloned();
    let (provider, introduced) = Provider::register(new, before.as_ref())?;
    let taken = world.provider_of(&provider.client_id).is_some_and(|other| other.name != provider.name);
    if taken {
        return Err(BadProvider::ClientIdTaken(provider.client_id));
    }
    let mut shown = described(state, &provider);
    if let Some(members) = shown.as_object_mut() {
        let kept = |kept: &Option<Kept>| json!(kept.as_ref().map(Kept::expose));
        members.insert("signing_secret".to_owned(), kept(&introduced.signing_secret));
        members.insert("notification_secret".to_owned(), kept(&introduced.notification_secret));
        let keys = introduced.keys_token.as_ref().map(Secret::expose);
        members.insert("public_keys_token".to_owned(), json!(keys));
    }
    world.keep_provider(provider).map_err(|_not_kept| BadProvider::NoRandomness)?;
    Ok((shown, before.is_none()))
}

async fn add_provider(state: web::Data<State>, request: HttpRequest, new: web::Json<NewProvider>) -> HttpResponse {
    if let Err(refusal) = operator(&state, &request) {
        return *refusal;
    }
    match introduce(&state, new.into_inner()) {
        Ok((shown, is_new)) => answer(if is_new { 201 } else { 200 }, Ok(shown)),
        Err(bad) => Refused::from(bad).answer(),
    }
}

/// Everything that the provider must be told, but the secrets.
fn described(state: &State, provider: &Provider) -> Value {
    let issuer = &state.issuer;
    json!({
        "name": provider.name, "base_url": provider.base_url, "wire_url": provider.wire_url,
        "token_url": provider.token_url, "client_id": provider.client_id, "issuer": issuer,
        "settlement_url": state.settlement_url(),
        "public_keys_url": format!("{issuer}/v2/provisioning/public_keys"),
        "callback_url": format!("{issuer}/callback"),
        "notification_url": format!("{issuer}/notifications/{}", provider.name),
        "orchestrator_type": provider.orchestrator_type, "organization": provider.organization,
        "scopes": provider.scopes, "sign_v2": provider.sign_v2, "pkce": provider.pkce, "shapes": provider.shapes,
        "signed_catalog": provider.signed_catalog, "caps": provider.caps,
        "catalog_version": provider.seen.as_ref().map(|seen| seen.version),
    })
}

async fn list_providers(state: web::Data<State>, request: HttpRequest) -> HttpResponse {
    let outcome = operator(&state, &request).map_err(Refused::from).map(|()| {
        let known: Vec<Provider> = state.world().providers.values().cloned().collect();
        json!({"data": known.iter().map(|provider| described(&state, provider)).collect::<Vec<_>>()})
    });
    answer(200, outcome)
}

async fn new_signing_secret(state: web::Data<State>, request: HttpRequest, name: web::Path<String>) -> HttpResponse {
    let work = || -> Result<Value, Refused> {
        operator(&state, &request)?;
        let mut world = state.world();
        let mut provider = world.providers.get(name.as_str()).cloned().ok_or(Refused::NotFound("provider"))?;
        let made = provider.new_signing_secret()?;
        world.keep_provider(provider)?;
        Ok(json!({"signing_secret": made.expose()}))
    };
    answer(200, work())
}

/// Calls the provider's health endpoint and shows what it says.
async fn health(state: web::Data<State>, request: HttpRequest, name: web::Path<String>) -> HttpResponse {
    if let Err(refusal) = operator(&state, &request) {
        return *refusal;
    }
    let Some(provider) = state.world().providers.get(name.as_str()).cloned() else {
        return Refused::NotFound("provider").answer();
    };
    match Wire::to(&state, &provider).health().await {
        Ok(said) => HttpResponse::Ok().json(said),
        Err(error) => problem(502, "provider_failure", &error.to_string()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenAsked {
    currency: Currency,
    max_amount: Amount,
    #[serde(default)]
    subject: Option<String>,
    #[serde(default)]
    recurring: Option<String>,
    #[serde(default)]
    provider: Option<String>,
    /// Seconds from now; may be negative.
    #[serde(default)]
    expires_in: Option<i64>,
}

/// A payment token for a test: any subject, any limit.
async fn payment_token(state: web::Data<State>, request: HttpRequest, asked: web::Json<TokenAsked>) -> HttpResponse {
    let work = || -> Result<Value, Refused> {
        operator(&state, &request)?;
        let client = audience_of(&state, asked.provider.as_deref())?;
        let id = unique("ptok")?;
        let subject = asked.subject.clone().unwrap_or(User::ada().subject);
        let mut spec = PaymentTokenSpec::new(asked.currency, asked.max_amount)
            .claim("jti", json!(id))
            .claim("sub", json!(subject))
            .audience(&client);
        match asked.recurring.as_deref() {
            None => {}
            Some("month") => spec = spec.monthly(),
            Some(_) => return Err(Refused::Invalid("`recurring` is `month` or absent".to_owned())),
        }
        if let Some(seconds) = asked.expires_in {
            spec = spec.claim("exp", json!(state.clock.now().seconds().saturating_add(seconds)));
        }
        Ok(json!({"payment_token": mint_payment_token(&state, &spec)?, "id": id}))
    };
    answer(200, work())
}

/// The latest calls to providers, oldest first.
async fn calls(state: web::Data<State>, request: HttpRequest) -> HttpResponse {
    let outcome = operator(&state, &request)
        .map_err(Refused::from)
        .map(|()| json!({"data": state.world().calls.iter().collect::<Vec<_>>()}));
    answer(200, outcome)
}
