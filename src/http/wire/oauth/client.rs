//! Which client asks: by HTTP Basic, in the form, or by a signed statement; never by two of them (RFC 6749 §2.3).

use actix_web::HttpRequest;
use actix_web::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use serde::Deserialize;

use super::refusal::{TokenRefusal, bad};
use crate::app::App;
use crate::authorization::{self, Authenticated, ClientError, ClientParts, PresentedClient, SentClient};
use crate::clock::Timestamp;

/// RFC 7523 §2.2.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What a form says of its client.
#[derive(Debug, Default, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names of the parameters (RFC 6749 §2.3.1, RFC 7521 §4.2)")]
pub(crate) struct ClientFields {
    pub(crate) client_id: Option<String>,
    pub(crate) client_secret: Option<SecretString>,
    pub(crate) client_assertion_type: Option<String>,
    pub(crate) client_assertion: Option<String>,
}

/// What authenticating clients reaches.
pub(crate) fn client_parts(app: &App) -> ClientParts<'_> {
    let documents = app.oauth.client_documents.then_some(&app.client_documents);
    ClientParts { db: &app.db, documents, issuer: &app.base_url }
}

/// What was sent, in one place.
#[expect(clippy::result_large_err, reason = "a refusal ends the request; it is made once")]
fn sent(http: &HttpRequest, fields: ClientFields) -> Result<SentClient, TokenRefusal> {
    let basic = http.headers().get(AUTHORIZATION);
    let ClientFields { client_id, client_secret, client_assertion_type, client_assertion } = fields;
    let ways = [basic.is_some(), client_secret.is_some(), client_assertion.is_some()];
    if ways.into_iter().filter(|used| *used).count() > 1 {
        return Err(bad("invalid_request", "Say who you are in one way."));
    }
    if client_assertion.is_some() && client_assertion_type.as_deref() != Some(JWT_BEARER) {
        return Err(bad("invalid_request", &format!("`client_assertion_type` is `{JWT_BEARER}`.")));
    }
    if client_secret.is_some() && client_id.is_none() {
        return Err(bad("invalid_request", "`client_id` is missing."));
    }
    let Some(basic) = basic else {
        return Ok(SentClient { id: client_id, secret: client_secret, assertion: client_assertion });
    };
    let unreadable = || challenged(TokenRefusal::invalid_client("`Authorization` is no HTTP Basic"));
    let (id, secret) = basic.to_str().ok().and_then(basic_credentials).ok_or_else(unreadable)?;
    if client_id.is_some_and(|named| named != id) {
        return Err(bad("invalid_request", "`client_id` is another than that of the header."));
    }
    Ok(SentClient { id: Some(id), secret: Some(secret), assertion: None })
}

fn challenged(refusal: TokenRefusal) -> TokenRefusal {
    refusal.header(WWW_AUTHENTICATE, "Basic realm=\"token\"")
}

/// Who the client is, as far as it says so; what it says is true.
pub(crate) async fn presented(
    app: &App,
    http: &HttpRequest,
    fields: ClientFields,
    now: Timestamp,
) -> Result<PresentedClient, TokenRefusal> {
    let by_header = http.headers().contains_key(AUTHORIZATION);
    let sent = sent(http, fields)?;
    authorization::authenticate_client(client_parts(app), sent, now).await.map_err(|error| match error {
        ClientError::Db(error) => ClientError::Db(error).into(),
        error if by_header => challenged(error.into()),
        error => error.into(),
    })
}

/// The OAuth client that asks.
pub(crate) async fn authenticated(
    app: &App,
    http: &HttpRequest,
    fields: ClientFields,
    now: Timestamp,
) -> Result<Authenticated, TokenRefusal> {
    let presented = presented(app, http, fields, now).await?;
    Ok(presented.into_client(client_parts(app), now).await?)
}

/// RFC 6749 §2.3.1: both halves are form-encoded before they are joined.
fn basic_credentials(header: &str) -> Option<(String, SecretString)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let joined = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = joined.split_once(':')?;
    let decoded = |half: &str| {
        let pair = format!("v={half}");
        url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned())
    };
    Some((decoded(id)?, decoded(secret)?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    #[test]
    fn basic_credentials_are_form_encoded_halves() {
        let read = |text: &str| basic_credentials(&format!("Basic {}", STANDARD.encode(text)));
        let (id, secret) = read("a%3Ab:s%2Bt+u").unwrap();
        assert_eq!((id.as_str(), secret.expose_secret()), ("a:b", "s+t u"));
        assert!(read("nothing").is_none() && basic_credentials("Bearer YTpi").is_none());
        assert!(basic_credentials("Basic !").is_none() && basic_credentials("Basic").is_none());
    }
}
