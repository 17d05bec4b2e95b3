//! A refusal in the envelope of RFC 6749 §5.2, which every endpoint for programs shares.

use actix_web::HttpResponse;
use actix_web::http::header::HeaderName;
use actix_web::http::{StatusCode, header};
use serde_json::json;

use crate::account::Barred;
use crate::app::App;
use crate::authorization::{ClientError, ExchangeError, GrantError, Refusal};
use crate::http::caller::DPOP_NONCE;
use crate::http::limit::Limited;
use crate::http::problem::Problem;

/// A refusal in the envelope of RFC 6749 §5.2.
#[derive(Debug)]
pub(crate) struct TokenRefusal {
    status: StatusCode,
    error: &'static str,
    description: String,
    uri: Option<String>,
    nonce: Option<String>,
    headers: Vec<(HeaderName, String)>,
    cause: Option<String>,
}

impl std::fmt::Display for TokenRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.error, self.description)
    }
}

impl actix_web::ResponseError for TokenRefusal {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        if let Some(cause) = &self.cause {
            tracing::info!(error = self.error, cause, "token refused");
        }
        let mut body = json!({"error": self.error, "error_description": self.description});
        if let (Some(uri), Some(members)) = (&self.uri, body.as_object_mut()) {
            members.insert("error_uri".to_owned(), json!(uri));
        }
        let mut builder = HttpResponse::build(self.status);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            builder.insert_header((header::RETRY_AFTER, "2"));
        }
        if let Some(nonce) = &self.nonce {
            builder.insert_header((DPOP_NONCE, nonce.as_str()));
        }
        for (name, value) in &self.headers {
            builder.append_header((name, value.as_str()));
        }
        builder.insert_header((header::CACHE_CONTROL, "no-store")).json(body)
    }
}

impl TokenRefusal {
    pub(crate) fn new(status: StatusCode, error: &'static str, description: impl Into<String>) -> Self {
        let (uri, nonce, headers, cause) = (None, None, Vec::new(), None);
        Self { status, error, description: description.into(), uri, nonce, headers, cause }
    }

    pub(crate) fn because(self, cause: impl std::fmt::Display) -> Self {
        Self { cause: Some(cause.to_string()), ..self }
    }

    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// 401 `invalid_client` (RFC 6749 §5.2): which of many reasons is for the log.
    pub(crate) fn invalid_client(cause: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid_client", "The client is not who it says.").because(cause)
    }
}

impl From<Problem> for TokenRefusal {
    fn from(problem: Problem) -> Self {
        let status = match problem.doc.status {
            429 => StatusCode::TOO_MANY_REQUESTS,
            503 => StatusCode::SERVICE_UNAVAILABLE,
            500 => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        let error = match problem.doc.code {
            code @ ("use_dpop_nonce" | "invalid_dpop_proof") => code,
            "rate_limited" => "rate_limited",
            _ if status == StatusCode::BAD_REQUEST => "invalid_request",
            _ => "temporarily_unavailable",
        };
        let nonce = problem.header_value(&DPOP_NONCE).map(str::to_owned);
        Self { nonce, cause: problem.cause.map(String::from), ..Self::new(status, error, problem.detail) }
    }
}

impl From<Limited> for TokenRefusal {
    fn from(limited: Limited) -> Self {
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", limited.message());
        limited.headers().into_iter().fold(refusal, |refusal, (name, value)| refusal.header(name, &value))
    }
}

impl From<Refusal> for TokenRefusal {
    fn from(refusal: Refusal) -> Self {
        bad(refusal.code, &refusal.description)
    }
}

impl From<ClientError> for TokenRefusal {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Db(error) => Problem::from(error).into(),
            ClientError::Document(error) if error.is_passing() => {
                let refusal =
                    Self::new(StatusCode::UNAUTHORIZED, "invalid_client", "The client's metadata cannot be fetched.");
                refusal.because(error)
            }
            other => Self::invalid_client(other),
        }
    }
}

impl From<GrantError> for TokenRefusal {
    fn from(error: GrantError) -> Self {
        let used =
            "It does not work: it was used, has expired, is another client's, or does not fit what came with it.";
        match error {
            GrantError::Db(error) => Problem::from(error).into(),
            GrantError::Signing(error) => Problem::from(error).into(),
            GrantError::Random(error) => Problem::from(error).into(),
            GrantError::Grant(cause) => bad("invalid_grant", used).because(cause),
            error @ GrantError::CameBack => bad("invalid_grant", used).because(error),
            GrantError::Barred(barred) => barred.into(),
            GrantError::Unauthorized => bad("unauthorized_client", "The client may not use this grant."),
            GrantError::Scope => bad("invalid_scope", "None of the scopes can be given."),
            GrantError::Target => bad("invalid_target", "`resource` names another API."),
            GrantError::Proof(why) => bad("invalid_dpop_proof", why),
            GrantError::ClientReplayed => Self::invalid_client("the statement was used before"),
        }
    }
}

/// RFC 6749 §5.2 has no word for what a human holds back for a while. `invalid_grant` would make clients throw their refresh
/// token away and ask the human again, who has just said no.
impl From<Barred> for TokenRefusal {
    fn from(barred: Barred) -> Self {
        match barred {
            Barred::Paused => {
                bad("access_denied", "The owner of the account paused this agent. Stop, and ask your human.")
            }
            Barred::Revoked => bad("invalid_grant", "The owner of the account ended what this agent may do."),
        }
    }
}

pub(crate) fn bad(error: &'static str, description: &str) -> TokenRefusal {
    TokenRefusal::new(StatusCode::BAD_REQUEST, error, description)
}

/// What an exchange ends with.
pub(crate) fn not_exchanged(app: &App, error: ExchangeError) -> TokenRefusal {
    let uri = error.explained_at().map(|page| format!("{}{page}", app.base_url));
    match error {
        ExchangeError::ClientReplayed => TokenRefusal::invalid_client(error),
        error => match error.oauth() {
            Some(code) => {
                let cause = error.to_string();
                let problem = Problem::from(error);
                TokenRefusal { uri, ..bad(code.as_str(), &problem.detail).because(cause) }
            }
            None => Problem::from(error).into(),
        },
    }
}
