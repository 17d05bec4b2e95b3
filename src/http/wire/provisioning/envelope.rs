//! The wire's envelopes for refusals. Each endpoint has one; codes are stable, messages are for people.

use std::fmt;
use std::marker::PhantomData;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName};
use actix_web::{HttpResponse, ResponseError};
use serde_json::{Value, json};

/// The form of a refusal.
pub(crate) trait Envelope: fmt::Debug + 'static {
    /// The body; `id` names the request or resource that it is about, as far as that is known.
    fn body(code: &str, message: &str, id: &str) -> Value;
}

/// `{"error": {"code", "message"}}`: signature, version, health, services, deep links.
#[derive(Debug)]
pub(crate) enum Flat {}
/// `{"id"?, "type": "error", "error": {…}}`: account requests.
#[derive(Debug)]
pub(crate) enum Typed {}
/// `{"status": "error", "id", "error": {…}}`: resources. `id` is there even when there is none to name.
#[derive(Debug)]
pub(crate) enum Status {}

impl Envelope for Flat {
    fn body(code: &str, message: &str, _id: &str) -> Value {
        json!({"error": {"code": code, "message": message}})
    }
}

impl Envelope for Typed {
    fn body(code: &str, message: &str, id: &str) -> Value {
        let mut body = json!({"type": "error", "error": {"code": code, "message": message}});
        if let (false, Some(members)) = (id.is_empty(), body.as_object_mut()) {
            members.insert("id".to_owned(), json!(id));
        }
        body
    }
}

impl Envelope for Status {
    fn body(code: &str, message: &str, id: &str) -> Value {
        json!({"status": "error", "id": id, "error": {"code": code, "message": message}})
    }
}

/// A refusal in the envelope `E`. Signature and version are refused in the flat one, wherever that happens.
#[derive(Debug)]
pub(crate) struct Refusal<E: Envelope> {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) id: String,
    /// Whether the flat envelope is used all the same.
    flat: bool,
    headers: Vec<(HeaderName, String)>,
    /// For the log only.
    cause: Option<Box<str>>,
    envelope: PhantomData<fn() -> E>,
}

impl<E: Envelope> Refusal<E> {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let (id, headers) = (String::new(), Vec::new());
        Self { status, code, message: message.into(), id, flat: false, headers, cause: None, envelope: PhantomData }
    }

    /// Signature and version.
    pub(crate) fn flat(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { flat: true, ..Self::new(status, code, message) }
    }

    /// 400 `invalid_request`.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    /// Ours: the cause goes to the log.
    pub(crate) fn broken(cause: impl fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "Something broke here.").because(cause)
    }

    pub(crate) fn about(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    pub(crate) fn because(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string().into());
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl<E: Envelope> fmt::Display for Refusal<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl<E: Envelope> ResponseError for Refusal<E> {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        if let Some(cause) = &self.cause {
            tracing::warn!(code = self.code, cause, "refused on the provisioning wire");
        }
        let mut builder = HttpResponse::build(self.status);
        builder.insert_header((header::CACHE_CONTROL, "no-store"));
        for (name, value) in &self.headers {
            builder.append_header((name, value.as_str()));
        }
        let body = if self.flat { Flat::body } else { E::body };
        builder.json(body(self.code, &self.message, &self.id))
    }
}

impl<E: Envelope> From<crate::db::DbError> for Refusal<E> {
    fn from(error: crate::db::DbError) -> Self {
        match error {
            crate::db::DbError::Busy | crate::db::DbError::Connection(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "Too busy: send the same request again.")
                    .header(header::RETRY_AFTER, "2".to_owned())
                    .because(error)
            }
            error => Self::broken(error),
        }
    }
}
