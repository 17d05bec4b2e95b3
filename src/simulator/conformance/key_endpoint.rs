//! `GET /v2/provisioning/public_keys`: where a provider finds the key of the second signature scheme, if it presents
//! the token that the orchestrator gave it.

use actix_web::dev::ServerHandle;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::{Value, json};

use super::RunError;
use super::session::Session;
use crate::clock::Timestamp;
use crate::secret::{Secret, SecretHash};

struct Published {
    token: SecretHash,
    keys: Value,
}

/// Serves the run's key where the options say so.
pub(super) fn serve(session: &Session) -> Result<Option<ServerHandle>, RunError> {
    let (Some(v2), Some(key)) = (&session.options.v2, &session.v2_key) else {
        return Ok(None);
    };
    let Some(address) = v2.listen else {
        return Ok(None);
    };
    let expires_at = Timestamp::from_seconds(session.now().seconds() + 24 * 3600);
    let published = Published { token: v2.token.hash(), keys: json!({"public_keys": [key.published(expires_at)]}) };
    let data = web::Data::new(published);
    let server = HttpServer::new(move || {
        App::new().app_data(data.clone()).route("/v2/provisioning/public_keys", web::get().to(keys))
    });
    let server = server.workers(1).disable_signals().shutdown_timeout(1).bind(address);
    let server = server.map_err(|error| RunError::Listen(address, error))?.run();
    let handle = server.handle();
    tokio::spawn(server);
    Ok(Some(handle))
}

async fn keys(published: web::Data<Published>, request: HttpRequest) -> HttpResponse {
    let sent = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = sent.and_then(|value| value.strip_prefix("Bearer ")).map(Secret::presented);
    if token.is_some_and(|token| published.token == token.hash()) {
        HttpResponse::Ok().json(&published.keys)
    } else {
        HttpResponse::Unauthorized().json(json!({"error": {"code": "unauthorized", "message": "Present your token."}}))
    }
}
