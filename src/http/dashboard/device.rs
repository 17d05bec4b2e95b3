//! `/device`: a human types the code that a program without a browser shows (RFC 8628 §3.3), sees who asks, from where and
//! since when, and then gets the same question as for every other program. No address carries the code: a link could be
//! somebody else's.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use serde::Deserialize;

use super::authorize::led_to_log_in;
use super::consent::name_of;
use super::effects::words;
use super::pages::{DevicePage, DeviceQuestion, Frame, MessagePage, respond};
use crate::app::App;
use crate::authorization::{
    self, Client, ClientError, ClientOrigin, DeviceAnswered, DeviceAsked, DeviceFlow, UserCode, resolve_client,
};
use crate::http::caller::{Form, JustLoggedIn, NotHuman, SameSite};
use crate::http::dashboard::onward::Onward;
use crate::http::limit::{Limit, Limited, Limits};
use crate::http::problem::{Problem, table};
use crate::http::wire::oauth::authorize::sent_on;
use crate::http::wire::oauth::client::client_parts;
use crate::secret::SecretHash;

const NO_SUCH_CODE: &str = "There is no such code, or it is too old. Read it once more; if it stays so, let the program \
                            show a new one.";

/// What was typed.
#[derive(Debug, Deserialize)]
pub(super) struct Typed {
    code: String,
}

/// A request behind a typed code, and who asks.
struct Found {
    name: SecretHash,
    code: UserCode,
    asked: DeviceAsked,
    client: Client,
}

fn home() -> Onward {
    "/device".parse().unwrap_or_default()
}

fn page(app: &App, human: &JustLoggedIn) -> DevicePage {
    let frame = Frame { provider: app.provider_name(), user: Some(name_of(&human.session.account)) };
    DevicePage { frame, question: None, typed: String::new(), problem: None }
}

/// The place to type a code, for somebody who logged in just now.
pub(super) async fn show(app: Data<App>, human: Result<JustLoggedIn, NotHuman>) -> HttpResponse {
    match human {
        Ok(human) => respond(&page(&app, &human), StatusCode::OK),
        Err(refused) => led_to_log_in(&refused, &home()),
    }
}

/// Who a code is of; each typed code counts, right or wrong.
async fn find(
    app: &App,
    (limits, http): (&Limits, &HttpRequest),
    human: &JustLoggedIn,
    typed: &str,
) -> Result<Result<Found, HttpResponse>, Problem> {
    let (caller, account) = (limits.address(http), human.session.account.id.to_string());
    if let Err(limited) = limits.take(&[(Limit::DeviceCodes, &caller), (Limit::DeviceCodes, &account)]) {
        return Ok(Err(too_often(app, &limited)));
    }
    let unknown = || {
        let mut page = page(app, human);
        page.problem = Some(NO_SUCH_CODE);
        page.typed = typed.chars().take(64).collect();
        Ok(Err(respond(&page, StatusCode::UNPROCESSABLE_ENTITY)))
    };
    let Ok(code) = typed.parse::<UserCode>() else { return unknown() };
    let (name, now) = (flow(app)?.name_of(&code), human.now);
    let named = name.clone();
    let Some(asked) = app.db.read(move |conn| authorization::device_asked(conn, &named, now)).await? else {
        return unknown();
    };
    match resolve_client(client_parts(app), &asked.client, now).await {
        Ok(client) => Ok(Ok(Found { name, code, asked, client })),
        Err(ClientError::Db(error)) => Err(error.into()),
        Err(_gone) => unknown(),
    }
}

fn flow(app: &App) -> Result<&DeviceFlow, Problem> {
    app.device.as_ref().ok_or_else(|| Problem::new(&table::NOT_FOUND, "There is nothing at this path."))
}

fn too_often(app: &App, limited: &Limited) -> HttpResponse {
    let steps = vec![format!("Wait {} minutes, then try again.", limited.seconds().div_ceil(60))];
    limited.told_in(told(
        app,
        StatusCode::TOO_MANY_REQUESTS,
        "That was too often.",
        "Many codes were typed here lately.",
        steps,
    ))
}

fn told(app: &App, status: StatusCode, heading: &str, text: &str, steps: Vec<String>) -> HttpResponse {
    let frame = Frame::anonymous(app.provider_name());
    let (heading, text) = (heading.to_owned(), text.to_owned());
    respond(&MessagePage { frame, heading, text, steps, request_id: None, log_in: None }, status)
}

/// Somebody answered at this moment, or it is too late.
fn gone(app: &App) -> HttpResponse {
    let steps = vec!["Let the program show a new code.".to_owned()];
    told(
        app,
        StatusCode::GONE,
        "This code was used.",
        "Each code is typed once, within ten minutes. Nothing more was allowed.",
        steps,
    )
}

/// Shows who asks.
pub(super) async fn look(
    app: Data<App>,
    _from: SameSite,
    limits: Data<Limits>,
    http: HttpRequest,
    human: Result<JustLoggedIn, NotHuman>,
    form: Form<Typed>,
) -> Result<HttpResponse, Problem> {
    let human = match human {
        Ok(human) => human,
        Err(refused) => return Ok(refused.back_to(home()).error_response()),
    };
    let found = match find(&app, (&limits, &http), &human, &form.0.code).await? {
        Ok(found) => found,
        Err(page) => return Ok(page),
    };
    let question = DeviceQuestion {
        asker: found.client.called(),
        proven: found.client.proven_host(),
        checked: found.client.origin == ClientOrigin::Operator,
        address: found.asked.address,
        effects: words(&found.asked.scopes),
        asked_at: found.asked.created_at,
        now: human.now,
        code: found.code.expose(),
    };
    Ok(respond(&DevicePage { question: Some(question), ..page(&app, &human) }, StatusCode::OK))
}

/// Goes on to the question, which is answered as every other.
pub(super) async fn go_on(
    app: Data<App>,
    _from: SameSite,
    limits: Data<Limits>,
    http: HttpRequest,
    human: Result<JustLoggedIn, NotHuman>,
    form: Form<Typed>,
) -> Result<HttpResponse, Problem> {
    let human = match human {
        Ok(human) => human,
        Err(refused) => return Ok(refused.back_to(home()).error_response()),
    };
    let Found { name, asked, client, .. } = match find(&app, (&limits, &http), &human, &form.0.code).await? {
        Ok(found) => found,
        Err(page) => return Ok(page),
    };
    let back = format!("{}/device/answered", app.base_url);
    let (handle, question) = DeviceAnswered::prepare(&asked, &client, (&app.audience, &back))?;
    let now = human.now;
    let lane = human.session.account.id.to_string();
    if app.db.write(&lane, move |conn| authorization::ask_for_device(conn, &name, &question, now)).await? {
        return Ok(sent_on(&format!("/consent/{}", handle.expose())));
    }
    Ok(gone(&app))
}

/// The human says that it is not theirs.
pub(super) async fn deny(
    app: Data<App>,
    _from: SameSite,
    limits: Data<Limits>,
    http: HttpRequest,
    human: Result<JustLoggedIn, NotHuman>,
    form: Form<Typed>,
) -> Result<HttpResponse, Problem> {
    let human = match human {
        Ok(human) => human,
        Err(refused) => return Ok(refused.back_to(home()).error_response()),
    };
    let Found { name, asked, .. } = match find(&app, (&limits, &http), &human, &form.0.code).await? {
        Ok(found) => found,
        Err(page) => return Ok(page),
    };
    let (account, now) = (human.session.account, human.now);
    let lane = account.id.to_string();
    if app.db.write(&lane, move |conn| authorization::deny_device(conn, &name, (&asked, &account), now)).await? {
        return Ok(sent_on("/device/answered?error=access_denied"));
    }
    Ok(gone(&app))
}

/// Where the answer of a device's human leads: there is nothing more to do in this browser.
pub(super) async fn answered(app: Data<App>, http: HttpRequest) -> HttpResponse {
    let steps = vec!["Go back to the program. It learns of your answer within seconds.".to_owned()];
    let denied = http.query_string().split('&').any(|pair| pair == "error=access_denied");
    let (heading, text) = if denied {
        ("You denied it.", "Nothing was allowed.")
    } else {
        ("You have answered.", "The program gets what you allowed, and nothing more.")
    };
    told(&app, StatusCode::OK, heading, text, steps)
}
