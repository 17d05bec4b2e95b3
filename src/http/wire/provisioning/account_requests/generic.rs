//! Public clients: nobody signs for them, they prove themselves with PKCE, and nobody is matched with anybody.

use crate::app::App;
use crate::authorization::{DocumentError, is_document_url};
use crate::clock::Timestamp;
use crate::db::DbError;
use crate::http::wire::provisioning::envelope::{Refusal, Typed};
use crate::orchestrator::{self, Orchestrator, SignatureMode, WireSettings};
use actix_web::http::StatusCode;

fn unknown(message: &str) -> Refusal<Typed> {
    Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
}

/// The orchestrator through which a client without a signature comes: the one that has its name, or, for a client that is
/// the URL of its metadata, the one that is registered for such.
pub(super) async fn orchestrator_of(
    app: &App,
    client_id: &str,
    now: Timestamp,
) -> Result<(Orchestrator, WireSettings), Refusal<Typed>> {
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
            app.client_documents.client(client_id, now).await.map_err(disbelieved)?;
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

fn disbelieved(error: DocumentError) -> Refusal<Typed> {
    if error.is_passing() {
        let message = "The client's document cannot be fetched.";
        return Refusal::new(StatusCode::BAD_GATEWAY, "proxy_failed", message).because(error);
    }
    unknown(&format!("`client_id`: {error}.")).because(error)
}
