//! `POST /v1/deep-links`: a one-use link to the human's dashboard.

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Data;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::http::caller::{Caller, DashboardLink, Key};
use crate::http::problem::{Problem, table};
use crate::idempotency::Keyed;
use crate::login::{self, LINK_LIFETIME, NewLink};
use crate::secret::Secret;

/// A link that works once.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct DeepLinkResponse {
    /// Opens the dashboard; hand it to the human and to nobody else.
    url: String,
    /// Ten minutes from now.
    expires_at: String,
}

/// Makes a one-use log-in link. A retry with the same key answers the same link.
#[utoipa::path(post, path = "/v1/deep-links", tag = "dashboard",
    params(("Idempotency-Key" = String, Header)),
    responses((status = 201, body = DeepLinkResponse), (status = 400), (status = 401), (status = 403), (status = 422)),
    security(("access_token" = ["dashboard:link"])))]
pub(crate) async fn create_deep_link(
    app: Data<App>,
    caller: Caller<DashboardLink>,
    key: Key,
) -> Result<HttpResponse, Problem> {
    let (account, now) = (caller.token.account_id.clone(), caller.now);
    let secret = Secret::generate("dl")?;
    let answer = DeepLinkResponse {
        url: format!("{}/d/{}", app.base_url, secret.expose()),
        expires_at: now.plus(LINK_LIFETIME).to_rfc3339(),
    };
    let place = format!("deep_links/{account}");
    let link = NewLink {
        agent: caller.token.agent(),
        hash: secret.hash(),
        keyed: Keyed::new(&caller.operation("create_deep_link"), &key.0, b""),
        sealed_answer: app.answer_sealer.seal(&place, &serde_json::to_vec(&answer)?)?,
    };
    let lane = account.to_string();
    let again = link.clone();
    let known = match app.db.write(&lane, move |conn| login::make(conn, &link, now)).await {
        // The same request won a moment ago: its answer is there now.
        Err(login::DeepLinkError::Db(error)) if crate::idempotency::lost_race(&error) => {
            app.db.write(&lane, move |conn| login::make(conn, &again, now)).await?
        }
        other => other?,
    };
    let answer = match known {
        Some(sealed) => serde_json::from_slice(&app.answer_sealer.open(&place, &sealed)?)
            .map_err(|error| Problem::new(&table::INTERNAL, "A kept answer cannot be read.").because(error))?,
        None => answer,
    };
    Ok(HttpResponse::Created().insert_header((header::CACHE_CONTROL, "no-store")).json(answer))
}
