//! Bodies: bounded, of one content type, saying each thing once, without members that nobody knows.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{FromRequest, HttpRequest, web};
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::form_urlencoded;

use crate::http::problem::{Problem, table};
use crate::signing::parse_strict;

/// The longest body that is read, in bytes.
pub(crate) const MAX_BODY: usize = 64 * 1024;

/// How long a whole body may take: a caller that stalls holds a connection.
const MAX_WAIT: std::time::Duration = std::time::Duration::from_secs(10);

/// A JSON body, and the bytes it was read from.
#[derive(Debug)]
pub(crate) struct Body<T> {
    pub(crate) value: T,
    pub(crate) bytes: Vec<u8>,
}

/// The body of a CloudEvent in JSON format (CloudEvents 1.0, HTTP binding §3.2); plain JSON is understood as well.
#[derive(Debug)]
pub(crate) struct Event<T>(pub(crate) T);

/// A security event token (RFC 8417), as text.
#[derive(Debug)]
pub(crate) struct SecurityEventToken(pub(crate) String);

/// A form body.
#[derive(Debug)]
pub(crate) struct Form<T>(pub(crate) T, pub(crate) Vec<u8>);

async fn read(request: &HttpRequest, payload: web::Payload, accepted: &[&str]) -> Result<Vec<u8>, Problem> {
    let given = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let kind = given.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if !accepted.contains(&kind.as_str()) {
        return Err(Problem::new(&table::MEDIA_TYPE, format!("Send the body as `{}`.", accepted.join("` or `"))));
    }
    tokio::time::timeout(MAX_WAIT, collect(payload)).await.unwrap_or_else(|_elapsed| {
        Err(Problem::new(&table::TIMED_OUT, format!("The body did not arrive within {} s.", MAX_WAIT.as_secs())))
    })
}

async fn collect(mut payload: web::Payload) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| Problem::new(&table::BAD_REQUEST, "The body broke off.").because(error))?;
        if bytes.len() + chunk.len() > MAX_BODY {
            return Err(Problem::new(&table::TOO_LARGE, format!("The body is longer than {MAX_BODY} bytes.")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let value: Value = parse_strict(bytes).map_err(|error| {
        Problem::new(&table::BAD_REQUEST, format!("The body is not JSON as it should be: {error}."))
    })?;
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let at = if path == "." { String::new() } else { format!("`{path}`: ") };
        let problem = Problem::new(&table::BAD_REQUEST, format!("{at}{}.", error.inner()));
        match place(&path, &error.inner().to_string()) {
            Some(field) => problem.with("field", field),
            None => problem,
        }
    })
}

/// Where in a body the mistake is; `None`: it is the body itself. A member that is missing is named in serde's text alone.
fn place(path: &str, said: &str) -> Option<String> {
    let missing = said.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    match (path, missing) {
        (".", missing) => missing.map(str::to_owned),
        (path, Some(missing)) => Some(format!("{path}.{missing}")),
        (path, None) => Some(path.to_owned()),
    }
}

type Reading<T> = Pin<Box<dyn Future<Output = Result<T, Problem>>>>;

/// The bytes of a body of one of the `accepted` kinds.
fn bytes(request: &HttpRequest, payload: &mut Payload, accepted: &'static [&'static str]) -> Reading<Vec<u8>> {
    let (request, payload) = (request.clone(), web::Payload::from_request(request, payload));
    Box::pin(async move {
        let payload = payload.await.map_err(|error| Problem::new(&table::BAD_REQUEST, error.to_string()))?;
        read(&request, payload, accepted).await
    })
}

impl<T: DeserializeOwned + 'static> FromRequest for Body<T> {
    type Error = Problem;
    type Future = Reading<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bytes = bytes(request, payload, &["application/json"]);
        Box::pin(async move {
            let bytes = bytes.await?;
            Ok(Self { value: parse(&bytes)?, bytes })
        })
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for Event<T> {
    type Error = Problem;
    type Future = Reading<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bytes = bytes(request, payload, &["application/cloudevents+json", "application/json"]);
        Box::pin(async move { Ok(Self(parse(&bytes.await?)?)) })
    }
}

impl FromRequest for SecurityEventToken {
    type Error = Problem;
    type Future = Reading<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bytes = bytes(request, payload, &["application/secevent+jwt"]);
        Box::pin(async move { Ok(Self(String::from_utf8_lossy(&bytes.await?).trim().to_owned())) })
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for Form<T> {
    type Error = Problem;
    type Future = Reading<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bytes = bytes(request, payload, &["application/x-www-form-urlencoded"]);
        Box::pin(async move {
            let bytes = bytes.await?;
            // Not every database can look for such a text, and none that means something holds one.
            if form_urlencoded::parse(&bytes).any(|(name, value)| name.contains('\0') || value.contains('\0')) {
                return Err(Problem::new(&table::BAD_REQUEST, "The form holds the character U+0000."));
            }
            let value = serde_urlencoded::from_bytes(&bytes)
                .map_err(|error| Problem::new(&table::BAD_REQUEST, format!("The form: {error}.")))?;
            Ok(Self(value, bytes))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_in_a_body_names_its_place() {
        #[derive(Debug, serde::Deserialize)]
        #[expect(dead_code, reason = "only read")]
        struct Order {
            plan: String,
            part: Option<Part>,
        }
        #[derive(Debug, serde::Deserialize)]
        #[expect(dead_code, reason = "only read")]
        struct Part {
            size: u32,
        }
        let place = |body: &str| parse::<Order>(body.as_bytes()).unwrap_err().body("", "").get("field").cloned();
        assert_eq!(place("{}"), Some("plan".into()));
        assert_eq!(place(r#"{"plan": 1}"#), Some("plan".into()));
        assert_eq!(place(r#"{"plan": "a", "part": {}}"#), Some("part.size".into()));
        assert_eq!(place("[]"), None);
    }
}
