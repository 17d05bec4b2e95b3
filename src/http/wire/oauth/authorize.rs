//! `GET /oauth/authorize`: a browser brings a request. What is wrong with client or redirect URI is shown to the human, and
//! sent nowhere (RFC 6749 §4.1.2.1); anything else goes back to the client, with `iss` (RFC 9207), or, if nobody here knows
//! the client, waits for the human to go on by a link (RFC 9700 §4.11.2); what is right goes on to the page that asks the
//! human.

use actix_web::http::{StatusCode, header};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use url::Url;
use utoipa::{IntoParams, ToSchema};

use super::client::client_parts;
use crate::app::{App, HOUSE};
use crate::authorization::{
    self, Client, ClientError, Params, REQUEST_URI, Refusal, Target, TargetError, read_request, resolve_client,
};
use crate::http::dashboard::pages::{Frame, MessagePage, SentBackPage, respond};
use crate::http::limit::{Limit, Limits};
use crate::http::problem::Problem;
use crate::secret::Secret;

/// What a request says (RFC 6749 §4.1.1 and its extensions).
#[derive(Debug, Deserialize, ToSchema, IntoParams)]
#[expect(dead_code, reason = "names the form for the OpenAPI document; the strict reading stands in `authorization`")]
pub(crate) struct AuthorizeParameters {
    /// A registered client, or the URL of a client's metadata.
    client_id: String,
    /// A request that was pushed (RFC 9126): then everything else is passed over.
    request_uri: Option<String>,
    /// `code`.
    response_type: Option<String>,
    /// One of the client's own, byte for byte; the port of a loopback address may differ.
    redirect_uri: Option<String>,
    /// Given back.
    state: Option<String>,
    /// Parted by spaces; `resources:read budget:read` when absent.
    scope: Option<String>,
    /// The API (RFC 8707); the only one when absent.
    resource: Option<String>,
    /// PKCE (RFC 7636).
    code_challenge: Option<String>,
    /// `S256`.
    code_challenge_method: Option<String>,
    /// Limits (RFC 9396) of the types `spend` and `provision`, or a `plan`.
    authorization_details: Option<String>,
    /// `login`: the human logs in again; `consent`: they are asked whatever they decided before. Nothing is given without
    /// a human.
    prompt: Option<String>,
    /// The scopes without which the client works as well, parted by spaces: the human can untick these. A parameter of
    /// our own; without it the human can untick any.
    optional_scopes: Option<String>,
    /// How many seconds ago the human may have logged in.
    max_age: Option<String>,
    /// The thumbprint of the key that must be proven with the code (RFC 9449 §10).
    dpop_jkt: Option<String>,
}

/// Sends the browser on, by GET, telling nobody where it came from.
pub(crate) fn sent_on(to: &str) -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header((header::LOCATION, to))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .finish()
}

/// Nothing can be sent to anybody: the human hears why.
fn shown(app: &App, heading: &str, text: &str) -> HttpResponse {
    let page = MessagePage {
        frame: Frame::anonymous(app.provider_name()),
        heading: heading.to_owned(),
        text: text.to_owned(),
        steps: vec![
            "Go back to the program that sent you here, and begin again.".to_owned(),
            "If it happens again, the program is at fault: tell whoever made it.".to_owned(),
        ],
        request_id: None,
        log_in: None,
    };
    respond(&page, StatusCode::BAD_REQUEST)
}

/// The client's id, and the client.
async fn asker(app: &App, params: &Params) -> Result<Result<Client, HttpResponse>, Problem> {
    let heading = "We do not know the program that sent you here.";
    let Ok(Some(id)) = params.one("client_id") else {
        return Ok(Err(shown(
            app,
            heading,
            "The address does not say which program asks (`client_id`). Nothing was allowed.",
        )));
    };
    match resolve_client(client_parts(app), id, app.clock.now()).await {
        Ok(client) => Ok(Ok(client)),
        Err(ClientError::Db(error)) => Err(error.into()),
        Err(error) => {
            tracing::info!(error = "invalid_client", cause = %error, "authorization refused");
            let text = "It is not registered here, or what it says of itself cannot be read (`invalid_client`). Nothing \
                        was allowed, and nothing was sent to it.";
            Ok(Err(shown(app, heading, text)))
        }
    }
}

/// Asks a human to allow a client something. A browser brings the request, and takes the answer back.
#[utoipa::path(get, path = "/oauth/authorize", tag = "oauth", params(AuthorizeParameters),
    responses((status = 303, description = "To the page that asks the human, or back to the client with an error"),
        (status = 400, description = "A page: client or redirect URI are not known; or the request has a mistake, and the \
            human goes back by a link to a client that nobody checked"),
        (status = 401, description = "The page behind asks the human to log in"), (status = 429), (status = 503)))]
pub(crate) async fn authorize(
    app: Data<App>,
    limits: Data<Limits>,
    http: HttpRequest,
) -> Result<HttpResponse, Problem> {
    limits.take(&[(Limit::AddressRequests, &limits.address(&http))])?;
    let Some(params) = Params::parse(http.query_string().as_bytes()) else {
        return Ok(shown(&app, "That is too long.", "The request has more than 16 KiB. Nothing was allowed."));
    };
    let client = match asker(&app, &params).await? {
        Ok(client) => client,
        Err(page) => return Ok(page),
    };
    if let Ok(Some(handle)) = params.one("request_uri").map(|uri| uri.and_then(|uri| uri.strip_prefix(REQUEST_URI))) {
        return pushed(&app, handle, &client).await;
    }
    let target = match Target::of(&params, &client) {
        Ok(target) => target,
        Err(error) => return Ok(no_target(&app, &error)),
    };
    let read = read_request(&params, &client, &target, &app.audience);
    let request = match read.and_then(|request| request.priced(&**app)) {
        Ok(request) => request,
        Err(refusal) => {
            return Ok(sent_back(&app, &client, &target, refusal));
        }
    };
    let (handle, now) = (Secret::generate("oreq")?, app.clock.now());
    let hash = handle.hash();
    app.db.write(HOUSE, move |conn| authorization::keep(conn, &hash, &request, true, now)).await?;
    Ok(sent_on(&format!("/consent/{}", handle.expose())))
}

/// The client hears of its mistake. Nobody here has done anything yet, perhaps not even meant to come: to an address that
/// nobody checked, humans go by themselves.
fn sent_back(app: &App, client: &Client, target: &Target, refusal: Refusal) -> HttpResponse {
    let error = [("error", refusal.code), ("error_description", refusal.description.as_str())];
    let onward = target.with(&error, &app.base_url);
    if client.may_be_sent_to_unasked(&target.redirect_uri) {
        return sent_on(&onward);
    }
    tracing::info!(error = refusal.code, "authorization refused; nobody is sent on unasked");
    let host = target.redirect_uri.parse::<Url>().ok().and_then(|url| url.host_str().map(str::to_owned));
    let page = SentBackPage {
        frame: Frame::anonymous(app.provider_name()),
        host: host.unwrap_or_else(|| target.redirect_uri.clone()),
        error: refusal.code,
        description: refusal.description,
        onward,
    };
    respond(&page, StatusCode::BAD_REQUEST)
}

fn no_target(app: &App, error: &TargetError) -> HttpResponse {
    let text = match error {
        TargetError::Missing => "The address does not say where your answer goes (`redirect_uri`).",
        TargetError::Foreign => {
            "Your answer would go to an address that this program has not registered (`redirect_uri`). Somebody may be \
             trying to get at your account."
        }
    };
    shown(app, "We do not send you there.", &format!("{text} Nothing was allowed."))
}

/// A request that was pushed: shown once, to whoever comes with the name of its client.
async fn pushed(app: &App, handle: &str, client: &Client) -> Result<HttpResponse, Problem> {
    let (hash, id, now) = (Secret::presented(handle).hash(), client.id.clone(), app.clock.now());
    if app.db.write(HOUSE, move |conn| authorization::show(conn, &hash, &id, now)).await? {
        return Ok(sent_on(&format!("/consent/{handle}")));
    }
    let text =
        "The request was opened before, has expired, or is another program's (`request_uri`). Nothing was allowed.";
    Ok(shown(app, "This request cannot be opened.", text))
}
