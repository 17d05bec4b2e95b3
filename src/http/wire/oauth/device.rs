//! `POST /oauth/device`: a program without a browser begins to wait for its human (RFC 8628 §3.1). Off unless the operator
//! turns it on.

use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::client::{ClientFields, authenticated};
use super::par::use_up;
use super::refusal::{TokenRefusal, bad};
use crate::app::{App, HOUSE};
use crate::authorization::{
    self, DEVICE_LIFETIME, DeviceAskError, DeviceFlow, NewDevice, POLL_SECONDS, Params, PollError,
};
use crate::http::caller::Form;
use crate::http::limit::{Limit, Limits};
use crate::http::problem::Problem;

/// What a device says (RFC 8628 §3.1). The client proves who it is as at the token endpoint.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "names the form for the OpenAPI document; the strict reading stands below")]
pub(crate) struct DeviceParameters {
    /// Which client.
    client_id: String,
    /// Parted by spaces. Only scopes that look are given to devices.
    scope: Option<String>,
    /// The API (RFC 8707); the only one when absent.
    resource: Option<String>,
}

/// What the device shows, and keeps (RFC 8628 §3.2).
#[derive(Serialize, ToSchema)]
pub(crate) struct DeviceResponse {
    /// With which it asks at the token endpoint. Secret.
    device_code: String,
    /// What its human types.
    user_code: String,
    /// Where. There is no `verification_uri_complete`: whoever follows a link of somebody else's has read no code.
    verification_uri: String,
    /// Seconds.
    expires_in: i64,
    /// Seconds between two questions, at least.
    interval: i64,
}

/// Begins to wait for a human who types a code on another machine.
#[utoipa::path(post, path = "/oauth/device", tag = "oauth",
    request_body(content = DeviceParameters, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = DeviceResponse), (status = 400, description = "RFC 6749 §5.2 error"),
        (status = 401, description = "`invalid_client`"), (status = 404, description = "The device flow is off"),
        (status = 429), (status = 503)))]
pub(crate) async fn begin(
    app: Data<App>,
    limits: Data<Limits>,
    http: HttpRequest,
    form: Result<Form<ClientFields>, Problem>,
) -> Result<HttpResponse, TokenRefusal> {
    let Form(fields, bytes) = form?;
    let address = limits.address(&http);
    limits.take(&[(Limit::AddressRequests, &address)])?;
    let now = app.clock.now();
    let client = authenticated(&app, &http, fields, now).await?;
    let params = Params::parse(&bytes).ok_or_else(|| bad("invalid_request", "The request is longer than 16 KiB."))?;
    if params.all("resource").any(|resource| resource != app.audience) {
        return Err(bad("invalid_target", &format!("`resource` is `{}`.", app.audience)));
    }
    if params.one("authorization_details")?.is_some() {
        return Err(bad("invalid_authorization_details", "A device is given nothing that spends."));
    }
    use_up(&app, client.proof).await?;
    let new = NewDevice::prepare(flow(&app)?, &client.client, params.one("scope")?, &address, now)?;
    let answer = DeviceResponse {
        device_code: new.device_code.expose().to_owned(),
        user_code: new.user_code.expose(),
        verification_uri: format!("{}/device", app.base_url),
        expires_in: DEVICE_LIFETIME.num_seconds(),
        interval: POLL_SECONDS,
    };
    app.db.write(HOUSE, move |conn| authorization::keep_device(conn, &new)).await.map_err(Problem::from)?;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(answer))
}

/// The flow, where it is on: elsewhere the route is not there either.
#[expect(clippy::result_large_err, reason = "a refusal ends the request; it is made once")]
fn flow(app: &App) -> Result<&DeviceFlow, TokenRefusal> {
    app.device.as_ref().ok_or_else(|| bad("invalid_request", "The device flow is off."))
}

impl From<DeviceAskError> for TokenRefusal {
    fn from(error: DeviceAskError) -> Self {
        match error {
            DeviceAskError::Unauthorized => bad("unauthorized_client", "The client may not use this grant."),
            DeviceAskError::Scope => bad("invalid_scope", "None of the scopes can be given to a device."),
            DeviceAskError::Random(error) => Problem::from(error).into(),
        }
    }
}

/// RFC 8628 §3.5.
impl From<PollError> for TokenRefusal {
    fn from(error: PollError) -> Self {
        match error {
            PollError::Pending => bad("authorization_pending", "Your human has not answered yet. Ask again."),
            PollError::SlowDown => bad("slow_down", "Ask less often: from now on, wait 5 seconds longer."),
            PollError::Expired => bad("expired_token", "Your human did not answer in time. Begin again."),
            PollError::Denied => bad("access_denied", "Your human refused."),
            PollError::Grant(error) => error.into(),
        }
    }
}
