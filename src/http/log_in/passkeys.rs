//! What the script of the pages exchanges with us about passkeys: JSON, each answer once.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use webauthn_rs::prelude::{PublicKeyCredential, RegisterPublicKeyCredential};

use super::{Wanted, step_problem};
use crate::app::{App, HOUSE};
use crate::http::caller::{Body, BrowserMark, FreshlyLoggedIn, Present, SameSite, session_cookie};
use crate::http::dashboard::onward::Onward;
use crate::http::limit::{Limit, Limits};
use crate::http::problem::{Problem, table};
use crate::login::{self, Adding, Asking, NewStep, PasskeyError, RelyingParty, StepError, StepKind};
use crate::secret::{Secret, SecretHash};

/// What the browser made or presents.
#[derive(Debug, Deserialize)]
pub(super) struct Finished<Credential> {
    step: String,
    name: Option<String>,
    credential: Credential,
}

pub(in crate::http) fn relying_party(app: &App) -> Result<&RelyingParty, Problem> {
    app.relying_party.as_ref().ok_or_else(|| Problem::new(&table::NOT_FOUND, "There are no passkeys here."))
}

pub(in crate::http) fn passkey_problem(error: PasskeyError) -> Problem {
    match error {
        PasskeyError::Db(error) => error.into(),
        PasskeyError::Stored(error) => error.into(),
        PasskeyError::Step(error) => step_problem(error),
        told => Problem::new(&table::BAD_REQUEST, sentence(&told.to_string())),
    }
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).chain(['.']).collect()).unwrap_or_default()
}

/// The page that the log-in methods are on.
const METHODS: &str = "/dashboard/log-in";

/// Writes the step, and tells the browser what it is asked.
pub(in crate::http) async fn asked(
    app: &App,
    browser: &BrowserMark,
    kind: StepKind,
    options: Value,
    facts: &impl Serialize,
) -> Result<HttpResponse, Problem> {
    let (token, now) = (Secret::generate("pk")?, app.clock.now());
    let step = NewStep::new((kind, Some(&token)), &browser.secret, facts, &app.log_in_sealer, now);
    let step = step.map_err(step_problem)?;
    app.db.write(HOUSE, move |conn| login::begin_step(conn, &step, now)).await?;
    Ok(HttpResponse::Ok()
        .cookie(browser.cookie())
        .insert_header(("cache-control", "no-store"))
        .json(json!({"step": token.expose(), "options": options})))
}

/// What the step knows, if it began in this browser.
pub(in crate::http) async fn begun<Facts: DeserializeOwned>(
    app: &App,
    browser: &BrowserMark,
    (token, kind): (&SecretHash, StepKind),
) -> Result<Facts, Problem> {
    let (token, now) = (token.clone(), app.clock.now());
    let step = app.db.read(move |conn| login::look(conn, &token, kind, now)).await.map_err(step_problem)?;
    if !step.began_in(&browser.secret) {
        return Err(step_problem(StepError::Gone));
    }
    step.facts(&app.log_in_sealer).map_err(step_problem)
}

/// Begins a log-in with a passkey. Names no account: the browser knows which passkeys it has.
pub(super) async fn begin_asking(
    app: Data<App>,
    _from: SameSite,
    limits: Data<Limits>,
    request: HttpRequest,
    browser: BrowserMark,
    wanted: Body<Wanted>,
) -> Result<HttpResponse, Problem> {
    let party = relying_party(&app)?;
    limits.take(&[(Limit::AddressLogIns, &limits.address(&request))])?;
    let onward = wanted.value.onward().to_string();
    let (options, asking) = party.begin_asking(&onward).map_err(passkey_problem)?;
    asked(&app, &browser, StepKind::Passkey, serde_json::to_value(options)?, &asking).await
}

/// Logs in whoever presents a passkey of theirs.
pub(super) async fn finish_asking(
    app: Data<App>,
    _from: SameSite,
    browser: BrowserMark,
    present: Present,
    body: Body<Finished<PublicKeyCredential>>,
) -> Result<HttpResponse, Problem> {
    let party = relying_party(&app)?;
    let Finished { step, credential, .. } = body.value;
    let token = SecretHash::of(&step);
    let asking: Asking = begun(&app, &browser, (&token, StepKind::Passkey)).await?;
    let onward: Onward = asking.onward.parse().unwrap_or_default();
    let id = login::stored_id(&credential);
    let wanted = id.clone();
    let stored = app.db.read(move |conn| login::find_passkey(conn, &wanted)).await?;
    let (account, moved) = party.finish_asking(asking, &credential, stored).map_err(passkey_problem)?;
    let (session, now) = (Secret::generate("ses")?, app.clock.now());
    let hash = session.hash();
    let entered = app.db.write(HOUSE, move |conn| {
        let sessions = (&hash, present.0.as_ref());
        login::log_in_with_passkey(conn, (&account, &id, moved.as_ref()), &token, sessions, now)
    });
    entered.await.map_err(passkey_problem)?;
    Ok(HttpResponse::Ok()
        .cookie(session_cookie(&app, Some(&session)))
        .insert_header(("cache-control", "no-store"))
        .json(json!({"onward": onward.as_str()})))
}

/// Begins to add a passkey to the account of whoever logged in just now.
pub(super) async fn begin_adding(
    app: Data<App>,
    _from: SameSite,
    browser: BrowserMark,
    human: FreshlyLoggedIn,
) -> Result<HttpResponse, Problem> {
    let party = relying_party(&app)?;
    let account = human.session.account;
    let id = account.id.clone();
    let present = app.db.read(move |conn| login::passkeys(conn, &id)).await?;
    let (options, adding) = party.begin_adding(&account, &present).map_err(passkey_problem)?;
    asked(&app, &browser, StepKind::NewPasskey, options, &adding).await
}

/// Adds it.
pub(super) async fn finish_adding(
    app: Data<App>,
    _from: SameSite,
    browser: BrowserMark,
    human: FreshlyLoggedIn,
    body: Body<Finished<RegisterPublicKeyCredential>>,
) -> Result<HttpResponse, Problem> {
    let party = relying_party(&app)?;
    let Finished { step, name, credential } = body.value;
    let token = SecretHash::of(&step);
    let adding: Adding = begun(&app, &browser, (&token, StepKind::NewPasskey)).await?;
    let (account, now) = (human.session.account.id, human.now);
    let passkey = party.finish_adding(&account, &adding, &credential).map_err(passkey_problem)?;
    let name = name.unwrap_or_default();
    let lane = account.to_string();
    let added = app.db.write(&lane, move |conn| login::add_passkey(conn, &account, (&name, &passkey), &token, now));
    added.await.map_err(passkey_problem)?;
    Ok(HttpResponse::Ok()
        .insert_header(("cache-control", "no-store"))
        .json(json!({"onward": format!("{METHODS}?done=added")})))
}
