//! `POST /provisioning/deep_links`: a one-use link to the human's dashboard, or to a page of it.

use actix_web::http::{StatusCode, header};
use actix_web::web::{Data, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, post};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::bearer::{WireCaller, caller};
use super::envelope::{Refusal, Status};
use super::resources::key;
use super::signed::{content_type, parse_json};
use crate::app::App;
use crate::authorization::Scope;
use crate::http::dashboard::onward::Onward;
use crate::idempotency::{Keyed, lost_race};
use crate::login::{self, DeepLinkError, LINK_LIFETIME, NewLink};
use crate::orchestrator::{DeepLinkShape, Profile};
use crate::secret::Secret;

/// The one purpose that there is.
const DASHBOARD: &str = "dashboard";

/// Routes.
pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(make_deep_link);
}

/// Where the link shall lead.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct DeepLinkBody {
    /// `dashboard`.
    purpose: Option<String>,
    /// A path on the provider's own site, from its root: `/dashboard`.
    path: Option<String>,
}

/// A link that works once. Older profiles: `{"deep_link"}`.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct WireDeepLink {
    /// `dashboard`.
    purpose: String,
    /// Opens it; for the human and for nobody else.
    url: String,
    /// Ten minutes from now.
    expires_at: String,
}

/// Makes a one-use log-in link. The same request again gets the same link.
#[utoipa::path(tag = "provisioning", operation_id = "provisioning_deep_links", request_body = DeepLinkBody,
    security(("stripe_signature" = [], "access_token" = [])),
    params(("API-Version" = String, Header, description = "0.1d"),
        ("Idempotency-Key" = Option<String>, Header, description = "Names the request; else its signed bytes do.")),
    responses((status = 200, body = WireDeepLink), (status = 400), (status = 401), (status = 403), (status = 422),
        (status = 500), (status = 503)))]
#[post("/provisioning/deep_links")]
pub(crate) async fn make_deep_link(
    app: Data<App>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Refusal<Status>> {
    let caller = caller(&app, &request, payload).await?;
    if !caller.access.scopes.contains(Scope::DashboardLink) {
        let message = format!("The access token does not allow `{}`.", Scope::DashboardLink);
        return Err(Refusal::new(StatusCode::FORBIDDEN, "deep_links_not_enabled", message));
    }
    let body: DeepLinkBody = parse_json(content_type(&request), &caller.body)?;
    let onward = judged(&body)?;
    let content = json!({"purpose": body.purpose, "path": body.path});
    // Two orchestrators of one account may choose the same key.
    let operation = format!("provisioning.deep_link/{}", caller.access.orchestrator.id);
    let key = key::of(&caller, &operation, key::header(&request)?.as_ref(), &content)?;
    let link = link(&app, &caller, key.keyed, &onward).await?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(written(&caller.settings.profile, &link)))
}

fn judged(body: &DeepLinkBody) -> Result<Onward, Refusal<Status>> {
    match body.purpose.as_deref() {
        Some(DASHBOARD) => {}
        None => return Err(Refusal::bad("`purpose` is missing.")),
        Some(_) => {
            let message = format!("`purpose` must be `{DASHBOARD}`.");
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "unsupported_purpose", message));
        }
    }
    body.path
        .as_deref()
        .map_or(Ok(Onward::default()), str::parse)
        .map_err(|invalid| Refusal::new(StatusCode::BAD_REQUEST, "invalid_path", format!("`path`: {invalid}.")))
}

async fn link(app: &App, caller: &WireCaller, keyed: Keyed, onward: &Onward) -> Result<WireDeepLink, Refusal<Status>> {
    let (account, now) = (caller.access.account.id.clone(), caller.now);
    let secret = Secret::generate("dl").map_err(Refusal::broken)?;
    let answer = WireDeepLink {
        purpose: DASHBOARD.to_owned(),
        url: format!("{}/d/{}{}", app.base_url, secret.expose(), onward.query()),
        expires_at: now.plus(LINK_LIFETIME).to_rfc3339(),
    };
    let place = format!("deep_links/{account}");
    let bytes = serde_json::to_vec(&answer).map_err(Refusal::broken)?;
    let link = NewLink {
        agent: caller.agent(),
        hash: secret.hash(),
        keyed,
        sealed_answer: app.answer_sealer.seal(&place, &bytes).map_err(Refusal::broken)?,
    };
    let (lane, again) = (account.to_string(), link.clone());
    let known = match app.db.write(&lane, move |conn| login::make(conn, &link, now)).await {
        // The same request won a moment ago: its answer is there now.
        Err(DeepLinkError::Db(error)) if lost_race(&error) => {
            app.db.write(&lane, move |conn| login::make(conn, &again, now)).await
        }
        other => other,
    };
    match known.map_err(refused)? {
        Some(sealed) => {
            let opened = app.answer_sealer.open(&place, &sealed).map_err(Refusal::broken)?;
            serde_json::from_slice(&opened).map_err(Refusal::broken)
        }
        None => Ok(answer),
    }
}

fn refused(error: DeepLinkError) -> Refusal<Status> {
    match error {
        DeepLinkError::KeyReused(reused) => {
            Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", format!("{reused}."))
        }
        DeepLinkError::Barred(barred) => barred.into(),
        DeepLinkError::Db(error) => error.into(),
        error @ DeepLinkError::Spent => Refusal::broken(error),
    }
}

fn written(profile: &Profile, link: &WireDeepLink) -> Value {
    match profile.deep_link {
        DeepLinkShape::Bare => json!({"deep_link": link.url}),
        DeepLinkShape::Full => json!({"purpose": link.purpose, "url": link.url, "expires_at": link.expires_at}),
    }
}
