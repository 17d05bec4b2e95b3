//! To the provider's own OpenID provider, and back.

use actix_web::http::{StatusCode, header};
use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;

use super::{Wanted, log_in_problem, logged_in, step_problem, told, unreferred};
use crate::app::{App, HOUSE};
use crate::http::caller::{BrowserMark, Present, SameSite};
use crate::http::dashboard::onward::Onward;
use crate::http::dashboard::pages::{Frame, MessagePage, respond};
use crate::http::limit::{Limit, Limits};
use crate::http::problem::{Problem, table};
use crate::login::{
    self, Journey, LogInError, NewStep, Proof, Proven, SESSION_LIFETIME, StepError, StepKind, Upstream,
};
use crate::secret::{Secret, SecretHash};

/// The answer of the issuer (RFC 6749 §4.1.2, RFC 9207 §2).
#[derive(Debug, Deserialize)]
pub(super) struct Back {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

fn issuer(app: &App) -> Result<&(Upstream, String), Problem> {
    app.upstream.as_ref().ok_or_else(|| Problem::new(&table::NOT_FOUND, "There is nothing at this path."))
}

fn failed(app: &App, text: &str, onward: &str, status: StatusCode) -> HttpResponse {
    let onward: Onward = onward.parse().unwrap_or_default();
    let frame = Frame::anonymous(app.provider_name());
    unreferred(respond(&MessagePage::log_in_failed(frame, text, &onward.log_in(SESSION_LIFETIME)), status))
}

/// Sends the browser to the issuer, bound to come back with `state` in this browser.
pub(super) async fn depart(
    app: Data<App>,
    _from: SameSite,
    limits: Data<Limits>,
    request: HttpRequest,
    browser: BrowserMark,
    query: Query<Wanted>,
) -> Result<HttpResponse, Problem> {
    let (upstream, _) = issuer(&app)?;
    limits.take(&[(Limit::AddressLogIns, &limits.address(&request))])?;
    let (state, now, onward) = (Secret::generate("st")?, app.clock.now(), query.onward().to_string());
    let (url, journey) = match upstream.depart(&state, query.within(), &onward, now).await {
        Ok(begun) => begun,
        Err(error) => {
            tracing::warn!(error = %error, "nobody can log in at the upstream issuer");
            return Ok(failed(&app, told(&error), &onward, StatusCode::BAD_GATEWAY));
        }
    };
    let step = NewStep::new((StepKind::Upstream, Some(&state)), &browser.secret, &journey, &app.log_in_sealer, now);
    let step = step.map_err(step_problem)?;
    app.db.write(HOUSE, move |conn| login::begin_step(conn, &step, now)).await?;
    Ok(HttpResponse::SeeOther()
        .cookie(browser.cookie())
        .insert_header((header::LOCATION, url.as_str()))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .finish())
}

/// The way back, if it began in this browser; it can be gone once.
async fn way_back(app: &App, state: &str, browser: &BrowserMark) -> Result<Option<Journey>, Problem> {
    let (hash, now) = (SecretHash::of(state), app.clock.now());
    let looked = hash.clone();
    let step = match app.db.read(move |conn| login::look(conn, &looked, StepKind::Upstream, now)).await {
        Ok(step) if step.began_in(&browser.secret) => step,
        Ok(_) | Err(StepError::Gone) => return Ok(None),
        Err(error) => return Err(step_problem(error)),
    };
    let journey: Journey = step.facts(&app.log_in_sealer).map_err(step_problem)?;
    match app.db.write(HOUSE, move |conn| login::take(conn, &hash, StepKind::Upstream, now)).await {
        Ok(()) => Ok(Some(journey)),
        Err(StepError::Gone) => Ok(None),
        Err(error) => Err(step_problem(error)),
    }
}

/// Who came back; logs them in to their account, or asks to which.
pub(super) async fn arrive(
    app: Data<App>,
    browser: BrowserMark,
    present: Present,
    back: Query<Back>,
) -> Result<HttpResponse, Problem> {
    let (upstream, _) = issuer(&app)?;
    let journey = match &back.state {
        Some(state) => way_back(&app, state, &browser).await?,
        None => None,
    };
    let Some(journey) = journey else {
        let text = "This answer does not belong to a log-in that began in this browser a moment ago.";
        return Ok(failed(&app, text, "", StatusCode::BAD_REQUEST));
    };
    let onward = journey.onward.as_str();
    let (Some(code), None) = (&back.code, &back.error) else {
        return Ok(failed(&app, "You were not logged in there.", onward, StatusCode::FORBIDDEN));
    };
    let now = app.clock.now();
    let person = match upstream.arrive(&journey, code, back.iss.as_deref(), now).await {
        Ok(person) => person,
        Err(error) => {
            tracing::warn!(error = %error, "an answer of the upstream issuer was not believed");
            return Ok(failed(&app, told(&error), onward, StatusCode::BAD_GATEWAY));
        }
    };
    let proof = Proof::Upstream(person);
    let looked = proof.clone();
    let accounts = app.db.read(move |conn| looked.accounts(conn)).await?;
    match accounts.as_slice() {
        [] => {
            let text = "There is no account here that belongs to the person who logged in there.";
            Ok(failed(&app, text, onward, StatusCode::FORBIDDEN))
        }
        [only] => {
            let (account, session) = (only.id.clone(), Secret::generate("ses")?);
            let hash = session.hash();
            let entered = app.db.write(HOUSE, move |conn| {
                login::log_in(conn, (&proof, &account), None, (&hash, present.0.as_ref()), now)
            });
            match entered.await {
                Ok(()) => Ok(logged_in(&app, &session, onward)),
                Err(LogInError::NotTheirs) => {
                    Ok(failed(&app, "That account cannot be opened any more.", onward, StatusCode::FORBIDDEN))
                }
                Err(error) => Err(log_in_problem(error)),
            }
        }
        _ => choose(&app, &browser, Proven { proof, onward: onward.to_owned() }).await,
    }
}

/// Several accounts: which one is asked on the page of a link that ends in this browser.
async fn choose(app: &App, browser: &BrowserMark, proven: Proven) -> Result<HttpResponse, Problem> {
    let (token, now) = (Secret::generate("ch")?, app.clock.now());
    let step = NewStep::new((StepKind::Choice, Some(&token)), &browser.secret, &proven, &app.log_in_sealer, now);
    let step = step.map_err(step_problem)?;
    app.db.write(HOUSE, move |conn| login::begin_step(conn, &step, now)).await?;
    Ok(HttpResponse::SeeOther()
        .insert_header((header::LOCATION, format!("/login/link/{}", token.expose())))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .finish())
}
