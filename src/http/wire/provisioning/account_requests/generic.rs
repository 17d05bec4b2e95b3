//! Public clients: nobody signs for them, they prove themselves with PKCE, and nobody is matched with anybody.

use crate::app::App;
use crate::authorization::{DocumentError, is_document_url};
use crate::db::DbError;
use crate::http::wire::provisioning::envelope::{Refusal, Typed};
use crate::orchestrator::{self, Orchestrator, SignatureMode, WireSettings};
use actix_web::http::StatusCode;

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
    let by_name = registered.into_iter().find(|settings| settings.signature_mode == SignatureMode::Unsigned);
    let settings = match by_name {
        Some(settings) => Some(settings),
        None if is_document_url(client_id) && app.wire.generic_cimd => {
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

/// Client ID Metadata Documents: the document must be where its client says, say the same, and hold no shared secret.
async fn verify_metadata(app: &App, client_id: &str) -> Result<(), Refusal<Typed>> {
    match app.documents.client(client_id, app.clock.now()).await {
        Ok(_) => Ok(()),
        Err(error @ DocumentError::Unavailable(_)) => {
            let message = "The metadata of the client cannot be fetched.";
            Err(Refusal::new(StatusCode::BAD_GATEWAY, "proxy_failed", message).because(error))
        }
        Err(error) => Err(unknown("The metadata of the client cannot be used.").because(error)),
    }
}
