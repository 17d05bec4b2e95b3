//! The only place where a refusal becomes an HTTP answer: RFC 9457 problem documents for `/v1`, from one table of codes.

mod from;
pub mod table;

use std::fmt;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName};
use actix_web::{HttpResponse, ResponseError};
use serde_json::{Map, Value, json};

use super::dashboard::pages::ProblemDoc;

/// A refusal: a code of the table, what is true in this case, and what a program needs to act on it.
#[derive(Debug)]
pub struct Problem {
    /// The code and all that always goes with it.
    pub doc: &'static ProblemDoc,
    /// What is true in this case, for whoever reads it.
    pub detail: String,
    members: Map<String, Value>,
    next: Map<String, Value>,
    headers: Vec<(HeaderName, String)>,
    /// The cause, for the log only.
    pub cause: Option<Box<str>>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.doc.code, self.detail)
    }
}

impl Problem {
    /// A problem with its detail.
    #[must_use]
    pub fn new(doc: &'static ProblemDoc, detail: impl Into<String>) -> Self {
        let next = Map::from_iter([("action".to_owned(), json!(doc.agent))]);
        Self { doc, detail: detail.into(), members: Map::new(), next, headers: Vec::new(), cause: None }
    }

    /// With another member. `raise_url`, `error_uri` and `claim_url` are paths of ours, and are completed when the answer is written.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// With another member of `next`: what the agent does.
    #[must_use]
    pub fn next(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.next.insert(name.to_owned(), value.into());
        self
    }

    /// With another `WWW-Authenticate` challenge.
    #[must_use]
    pub fn challenge(self, challenge: String) -> Self {
        self.header(header::WWW_AUTHENTICATE, challenge)
    }

    /// With another header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The value of a header that it carries.
    #[must_use]
    pub fn header_value(&self, name: &HeaderName) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// With its cause, which goes to the log and never to the client.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string().into());
        self
    }

    /// The document, for the answer to the request `request_id` at `base_url`.
    #[must_use]
    pub fn body(&self, base_url: &str, request_id: &str) -> Value {
        let mut body = self.members.clone();
        for link in ["raise_url", "error_uri", "claim_url"] {
            if let Some(Value::String(path)) = body.get_mut(link) {
                path.insert_str(0, base_url);
            }
        }
        body.insert("type".to_owned(), json!(format!("{base_url}/docs/problems/{}", self.doc.code)));
        body.insert("title".to_owned(), json!(self.doc.title));
        body.insert("status".to_owned(), json!(self.doc.status));
        body.insert("code".to_owned(), json!(self.doc.code));
        body.insert("detail".to_owned(), json!(self.detail));
        body.insert("next".to_owned(), Value::Object(self.next.clone()));
        body.insert("retry".to_owned(), json!(self.doc.retry));
        body.insert("request_id".to_owned(), json!(request_id));
        Value::Object(body)
    }

    /// The answer. The middleware in `request_log` writes it again with the request's own id and our address.
    #[must_use]
    pub fn answer(&self, base_url: &str, request_id: &str) -> HttpResponse<BoxBody> {
        let mut builder = HttpResponse::build(self.status_code());
        builder
            .insert_header((header::CONTENT_TYPE, "application/problem+json"))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .insert_header((header::LINK, "</openapi.json>; rel=\"service-desc\", </llms.txt>; rel=\"help\""));
        for (name, value) in &self.headers {
            builder.append_header((name, value.as_str()));
        }
        if self.doc.status == 503 {
            builder.insert_header((header::RETRY_AFTER, "2"));
        }
        builder.body(self.body(base_url, request_id).to_string())
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.doc.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        self.answer("", "")
    }
}
