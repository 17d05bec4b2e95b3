//! Public clients: nobody signs for them, they prove themselves with PKCE, and nobody is matched with anybody.

use url::Url;

use crate::app::App;
use crate::db::DbError;
use crate::fetch::{FetchError, Outgoing};
use crate::http::wire::provisioning::envelope::{Refusal, Typed};
use crate::orchestrator::{self, Orchestrator, SignatureMode, WireSettings};
use actix_web::http::StatusCode;
use serde_json::{Map, Value};

/// The longest metadata document that is read, in bytes.
const MAX_METADATA: usize = 64 * 1024;
/// The longest name of a client, in bytes.
const MAX_CLIENT_ID: usize = 255;

fn unknown(message: &str) -> Refusal<Typed> {
    Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
}

/// The orchestrator through which a client without a signature comes: the one that has its name, or, for a client that is
/// the URL of its metadata, the one that is registered for such.
pub(super) async fn orchestrator_of(
    app: &App,
    client_id: &str,
) -> Result<(Orchestrator, WireSettings), Refusal<Typed>> {
    if client_id.is_empty() || client_id.len() > MAX_CLIENT_ID {
        return Err(Refusal::bad(format!("`client_id` must have 1 to {MAX_CLIENT_ID} bytes.")));
    }
    let name = client_id.to_owned();
    let (registered, unsigned) = app
        .db
        .read(move |conn| {
            Ok::<_, DbError>((orchestrator::wire_by_client_id(conn, &name)?, orchestrator::unsigned_wires(conn)?))
        })
        .await?;
    let is_url = client_id.starts_with("https://") || client_id.starts_with("http://");
    let by_name = registered.into_iter().find(|settings| settings.signature_mode == SignatureMode::Unsigned);
    let settings = match by_name {
        Some(settings) => Some(settings),
        None if is_url && app.wire.generic_cimd => {
            verify_metadata(app, client_id).await?;
            unsigned.into_iter().next()
        }
        None => None,
    };
    let settings = settings.ok_or_else(|| unknown("`client_id` is no client that we know."))?;
    let id = settings.orchestrator_id.clone();
    let found = app.db.read(move |conn| orchestrator::by_id(conn, &id)).await?;
    match found {
        Some(orchestrator) if orchestrator.suspended_at.is_none() => Ok((orchestrator, settings)),
        _ => Err(unknown("`client_id` is no client that we know.")),
    }
}

/// Client ID Metadata Documents (draft-ietf-oauth-client-id-metadata-document): the document must be where its client
/// says, say the same, and hold no shared secret.
async fn verify_metadata(app: &App, client_id: &str) -> Result<(), Refusal<Typed>> {
    let url = metadata_url(client_id).ok_or_else(|| {
        unknown("A `client_id` that is a URL has a path without `.` and `..`, no fragment and no credentials.")
    })?;
    let answer = app.fetch.send(Outgoing::get(url).header("accept", "application/json")).await.map_err(|error| {
        let message = "The metadata of the client cannot be fetched.";
        match error {
            FetchError::Refused(..) => unknown(message).because(error),
            error => Refusal::new(StatusCode::BAD_GATEWAY, "proxy_failed", message).because(error),
        }
    })?;
    let kind = answer.header("content-type").unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let is_json = kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"));
    if answer.status != 200 || !is_json || answer.body.len() > MAX_METADATA {
        return Err(unknown("The metadata of the client is not a JSON document of at most 64 KiB."));
    }
    let document: Map<String, Value> = crate::signing::parse_strict(&answer.body)
        .map_err(|error| unknown("The metadata of the client is not JSON.").because(error))?;
    if judge_metadata(&document, client_id) {
        Ok(())
    } else {
        Err(unknown("The metadata of the client names another client, or is not that of a public one."))
    }
}

fn metadata_url(client_id: &str) -> Option<Url> {
    let url: Url = client_id.parse().ok()?;
    // Reading a URL resolves dots and writes it anew: what is not the same afterwards had something to hide.
    let plain = url.as_str() == client_id && url.path() != "/" && url.fragment().is_none();
    (plain && url.username().is_empty() && url.password().is_none()).then_some(url)
}

fn judge_metadata(document: &Map<String, Value>, client_id: &str) -> bool {
    let same = document.get("client_id").and_then(Value::as_str) == Some(client_id);
    let secret = document.keys().any(|name| name.starts_with("client_secret"));
    let public = match document.get("token_endpoint_auth_method") {
        None => true,
        Some(method) => method == "none" || method == "private_key_jwt",
    };
    same && !secret && public
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_client_that_is_a_url_is_written_in_the_one_way() {
        assert!(metadata_url("https://agent.example/client.json").is_some());
        for bad in [
            "https://agent.example",
            "https://agent.example/",
            "https://agent.example/a/../b",
            "https://agent.example/./b",
            "https://agent.example/a#b",
            "https://user@agent.example/a",
            "https://AGENT.example/a",
            "https://agent.example:443/a",
            "https://agent.example/a b",
            "client",
        ] {
            assert!(metadata_url(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn metadata_says_the_same_and_holds_no_secret() {
        let judge = |document: Value| judge_metadata(document.as_object().unwrap(), "https://a.example/c");
        assert!(judge(json!({"client_id": "https://a.example/c", "client_name": "A"})));
        assert!(judge(json!({"client_id": "https://a.example/c", "token_endpoint_auth_method": "none"})));
        assert!(!judge(json!({"client_id": "https://a.example/c/"})) && !judge(json!({})));
        assert!(!judge(json!({"client_id": "https://a.example/c", "client_secret": "x"})));
        let shared = json!({"client_id": "https://a.example/c", "token_endpoint_auth_method": "client_secret_basic"});
        assert!(!judge(shared));
    }
}
