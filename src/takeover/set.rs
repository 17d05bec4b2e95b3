//! Reading a security event token (SET, RFC 8417): its type first, then who it says it is from, then that issuer's key, then
//! its claims. Nothing of it is acted upon here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::db::{Db, DbError};
use crate::ids::OrchestratorId;
use crate::orchestrator::{self, KeyCache, KeyError, Orchestrator, StreamSettings};
use crate::secret::Secret;
use crate::signing::{JwsError, Unverified};

/// How far two clocks may differ.
const SKEW: TimeDelta = TimeDelta::seconds(60);
/// How old an event may be: SETs do not expire, and we forget their names some time after this.
pub(super) const OLDEST: TimeDelta = TimeDelta::days(30);
/// The longest name in it, in bytes.
const MAX_NAME: usize = 255;

/// How a SET came.
#[derive(Debug, Clone)]
pub enum Presented {
    /// It was pushed, with this bearer token or none (RFC 8935).
    Pushed(Option<Secret>),
    /// It was an answer to our question to this orchestrator's stream (RFC 8936).
    Polled(OrchestratorId),
}

/// Whom an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SubjectId {
    /// A person of the issuer.
    Person { tenant: String, subject: String },
    /// Whoever has this address; in this tenant, if one is named.
    Email { address: String, tenant: Option<String> },
    /// Something that the issuer names without more: a stream.
    Opaque,
    /// A form that we do not know.
    Unknown,
}

/// An event that its issuer signed for us.
#[derive(Debug, Clone)]
pub(super) struct SecurityEvent {
    pub(super) jti: String,
    /// The event's identifier.
    pub(super) uri: String,
    pub(super) subject: SubjectId,
    /// When it happened.
    pub(super) at: Timestamp,
    pub(super) detail: Map<String, Value>,
}

/// Why an event is not taken.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// It is not a SET as it should be.
    #[error("{0}")]
    Invalid(String),
    /// Nobody of this name sends us events.
    #[error("the issuer sends no events here")]
    Issuer,
    /// It is for somebody else.
    #[error("the event is for another audience")]
    Audience,
    /// Its key or its signature.
    #[error("the signature cannot be verified")]
    Key,
    /// The push carries no token, or another.
    #[error("the push is not authenticated")]
    Unauthenticated,
    /// It is about somebody else's people, or its issuer may say nothing here.
    #[error("{0}")]
    Denied(&'static str),
    /// The issuer's keys cannot be had now.
    #[error("the issuer's keys cannot be had")]
    Unavailable,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl SetError {
    /// The code of RFC 8935 §2.4; `None` when the same event may be sent again.
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::Invalid(_) => Some("invalid_request"),
            Self::Issuer => Some("invalid_issuer"),
            Self::Audience => Some("invalid_audience"),
            Self::Key => Some("invalid_key"),
            Self::Unauthenticated => Some("authentication_failed"),
            Self::Denied(_) => Some("access_denied"),
            Self::Unavailable | Self::Db(_) => None,
        }
    }
}

impl From<JwsError> for SetError {
    fn from(error: JwsError) -> Self {
        match error {
            JwsError::Signature | JwsError::Key | JwsError::Algorithm => Self::Key,
            other => Self::Invalid(format!("not a security event token: {other}")),
        }
    }
}

#[derive(Deserialize)]
struct Claims {
    aud: Value,
    iat: i64,
    jti: String,
    toe: Option<i64>,
    exp: Option<Value>,
    sub: Option<Value>,
    sub_id: Option<Value>,
    events: Map<String, Value>,
}

/// When the event happened, if that is said.
fn stated(detail: &Map<String, Value>, toe: Option<i64>) -> Result<Option<i64>, SetError> {
    let invalid = || SetError::Invalid("`event_timestamp`".to_owned());
    let named = detail.get("event_timestamp").map(|at| at.as_i64().ok_or_else(invalid)).transpose()?;
    Ok(named.or(toe))
}

/// What puts several SETs in order.
#[derive(Deserialize)]
struct Times {
    iat: i64,
    toe: Option<i64>,
    events: Map<String, Value>,
}

/// When something happened and when it was told, as a SET says without being believed: to take several in order, and for
/// nothing else. What cannot be read comes last.
pub(super) fn claimed_times(text: &str) -> (i64, i64) {
    let payload = text.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let Some(times) = payload.and_then(|json| serde_json::from_slice::<Times>(&json).ok()) else {
        return (i64::MAX, i64::MAX);
    };
    let detail = times.events.values().next().and_then(Value::as_object);
    let at = detail.map_or(Ok(times.toe), |detail| stated(detail, times.toe)).ok().flatten();
    (at.unwrap_or(times.iat), times.iat)
}

/// Believes a SET, or says why not.
///
/// # Errors
/// See [`SetError`].
pub(super) async fn read(
    db: &Db,
    keys: &KeyCache,
    text: &str,
    presented: &Presented,
    now: Timestamp,
) -> Result<(Orchestrator, SecurityEvent), SetError> {
    let jws = Unverified::parse(text)?;
    jws.expect_type(&["secevent+jwt"])?;
    let issuer = jws.issuer().ok_or(SetError::Issuer)?.to_owned();
    let found = db.read(move |conn| {
        let Some(known) = orchestrator::by_issuer(conn, &issuer)? else { return Ok(None) };
        Ok::<_, DbError>(orchestrator::stream_of(conn, &known.id)?.map(|stream| (known, stream)))
    });
    let (orchestrator, stream) = found.await?.ok_or(SetError::Issuer)?;
    admit(&orchestrator, &stream, presented)?;
    if !orchestrator.algorithms.contains(&jws.algorithm()) {
        return Err(SetError::Key);
    }
    let key = keys.find(&orchestrator, jws.kid(), now).await.map_err(|error| match error {
        KeyError::Unavailable(_) => SetError::Unavailable,
        KeyError::Unknown | KeyError::Distrusted => SetError::Key,
    })?;
    let claims: Claims = jws.verify(&key, &orchestrator.algorithms)?.claims;
    let event = judge(claims, &orchestrator, &stream, now)?;
    Ok((orchestrator, event))
}

/// Whether the stream is open this way.
fn admit(orchestrator: &Orchestrator, stream: &StreamSettings, presented: &Presented) -> Result<(), SetError> {
    if orchestrator.suspended_at.is_some() {
        return Err(SetError::Denied("the orchestrator is suspended"));
    }
    let token = match presented {
        Presented::Pushed(token) => token,
        Presented::Polled(of) if *of == orchestrator.id => return Ok(()),
        // Nobody hands over what another says: whoever is asked speaks for themselves.
        Presented::Polled(_) => return Err(SetError::Issuer),
    };
    if !stream.accepts_push {
        return Err(SetError::Denied("this stream is not pushed"));
    }
    match &stream.push_token_hash {
        Some(hash) if !token.as_ref().is_some_and(|token| hash.matches(token.expose())) => {
            Err(SetError::Unauthenticated)
        }
        _ => Ok(()),
    }
}

fn judge(
    claims: Claims,
    orchestrator: &Orchestrator,
    stream: &StreamSettings,
    now: Timestamp,
) -> Result<SecurityEvent, SetError> {
    let invalid = |why: &str| SetError::Invalid(why.to_owned());
    let ours = match &claims.aud {
        Value::String(one) => *one == stream.audience,
        Value::Array(all) => all.iter().any(|one| one.as_str() == Some(&stream.audience)),
        _ => false,
    };
    if !ours {
        return Err(SetError::Audience);
    }
    if claims.exp.is_some() || claims.sub.is_some() {
        return Err(invalid("a security event has neither `exp` nor `sub`"));
    }
    if !(1..=MAX_NAME).contains(&claims.jti.len()) {
        return Err(invalid("`jti` has 1 to 255 bytes"));
    }
    let issued = Timestamp::from_seconds(claims.iat);
    if now.plus(SKEW) < issued || issued < now.minus(OLDEST) {
        return Err(invalid("`iat` lies in the future, or too long ago"));
    }
    let mut events = claims.events.into_iter();
    let (Some((uri, Value::Object(detail))), None) = (events.next(), events.next()) else {
        return Err(invalid("`events` has one member, an object"));
    };
    // RISC 1.0 §2.7.
    if uri.ends_with("/credential-compromise") && !detail.get("credential_type").is_some_and(Value::is_string) {
        return Err(invalid("`credential_type` is missing"));
    }
    let at = stated(&detail, claims.toe)?.map_or(issued, Timestamp::from_seconds);
    let subject = match &claims.sub_id {
        Some(id) => subject_of(id, orchestrator)?,
        None => return Err(invalid("`sub_id` is missing")),
    };
    Ok(SecurityEvent { jti: claims.jti, uri, subject, at: at.min(now), detail })
}

/// RFC 9493, as far as CAEP and RISC need it. Another issuer's person is nobody that this issuer may speak of.
fn subject_of(id: &Value, orchestrator: &Orchestrator) -> Result<SubjectId, SetError> {
    let text = |name: &str| {
        let value = id.get(name).and_then(Value::as_str).filter(|text| (1..=MAX_NAME).contains(&text.len()));
        value.ok_or_else(|| SetError::Invalid(format!("`sub_id` has no good `{name}`")))
    };
    match text("format")? {
        "iss_sub" => {
            if text("iss")? != orchestrator.issuer.as_str() {
                return Err(SetError::Denied("the event is about another issuer's person"));
            }
            Ok(SubjectId::Person { tenant: String::new(), subject: text("sub")?.to_owned() })
        }
        "email" => Ok(SubjectId::Email { address: text("email")?.to_owned(), tenant: None }),
        "opaque" => text("id").map(|_| SubjectId::Opaque),
        "complex" => complex(id, orchestrator),
        _ => Ok(SubjectId::Unknown),
    }
}

/// A person, perhaps in a tenant. No complex subject stands in another.
fn complex(id: &Value, orchestrator: &Orchestrator) -> Result<SubjectId, SetError> {
    let Some(user) = id.get("user").filter(|user| user.get("format").and_then(Value::as_str) != Some("complex")) else {
        return Ok(SubjectId::Unknown);
    };
    let user = subject_of(user, orchestrator)?;
    let Some(tenant) = id.get("tenant") else { return Ok(user) };
    let tenant = tenant.get("id").and_then(Value::as_str).map(str::to_owned);
    let tenant = tenant.ok_or_else(|| SetError::Invalid("the tenant has no `id`".to_owned()))?;
    Ok(match user {
        SubjectId::Person { subject, .. } => SubjectId::Person { tenant, subject },
        SubjectId::Email { address, .. } => SubjectId::Email { address, tenant: Some(tenant) },
        nobody => nobody,
    })
}
