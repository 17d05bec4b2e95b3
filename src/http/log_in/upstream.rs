//! To the provider's own OpenID provider, and back.

use actix_web::http::{StatusCode, header};
use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use serde::Deserialize;

use super::{Wanted, log_in_problem, logged_in, step_problem, told, unreferred};
use crate::app::{App, HOUSE};
use crate::http::caller::{BrowserMark, FreshlyLoggedIn, NotHuman, Present, SameSite, User};
use crate::http::dashboard::onward::Onward;
use crate::http::dashboard::pages::{Frame, MessagePage, respond};
use crate::http::limit::{Limit, Limits};
use crate::http::problem::{Problem, table};
use crate::ids::AccountId;
use crate::login::{
    self, ConnectError, Journey, LogInError, NewStep, Proof, Proven, SESSION_LIFETIME, StepError, StepKind, Upstream,
    Upstreamer,
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
    limits.take(&[(Limit::AddressLogIns, &limits.address(&request))])?;
    leave(&app, &browser, &query, None).await
}

/// The same for the human of a claimed account, who logged in just now: whoever comes back is connected to it.
pub(super) async fn connect(
    app: Data<App>,
    _from: SameSite,
    limits: Data<Limits>,
    request: HttpRequest,
    browser: BrowserMark,
    human: Result<FreshlyLoggedIn, NotHuman>,
) -> Result<HttpResponse, Problem> {
    let account = match human {
        Ok(human) => human.session.account,
        Err(refused) => return Ok(refused.error_response()),
    };
    if !account.is_claimed() {
        return Ok(not_connected(&app, &ConnectError::NotClaimed));
    }
    limits.take(&[(Limit::AddressLogIns, &limits.address(&request))])?;
    let seconds = u32::try_from(FreshlyLoggedIn::WITHIN.num_seconds()).unwrap_or(0);
    let wanted = Wanted { to: Some(METHODS.to_owned()), max_age: Some(seconds) };
    leave(&app, &browser, &wanted, Some(account.id)).await
}

async fn leave(
    app: &App,
    browser: &BrowserMark,
    wanted: &Wanted,
    connects: Option<AccountId>,
) -> Result<HttpResponse, Problem> {
    let (upstream, _) = issuer(app)?;
    let (state, now, onward) = (Secret::generate("st")?, app.clock.now(), wanted.onward().to_string());
    let (url, journey) = match upstream.depart(&state, wanted.within(), &onward, now).await {
        Ok((url, mut journey)) => {
            journey.connects = connects;
            (url, journey)
        }
        Err(error) => {
            tracing::warn!(error = %error, "nobody can log in at the upstream issuer");
            return Ok(failed(app, told(&error), &onward, StatusCode::BAD_GATEWAY));
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
    user: Option<User>,
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
    if let Some(account) = &journey.connects {
        return connected(&app, account, &person, user).await;
    }
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

/// The page of the ways in.
const METHODS: &str = "/dashboard/log-in";

/// Connects who came back, if the human of the account still is who logged in just now.
async fn connected(
    app: &App,
    account: &AccountId,
    person: &Upstreamer,
    user: Option<User>,
) -> Result<HttpResponse, Problem> {
    let own = user.filter(|user| user.session.account.id == *account);
    let Some(user) = own.filter(|user| FreshlyLoggedIn::is(&user.session, user.now).is_ok()) else {
        return Ok(failed(app, "That took too long: log in and connect once more.", METHODS, StatusCode::FORBIDDEN));
    };
    let (id, person, now, lane) = (account.clone(), person.clone(), user.now, account.to_string());
    match app.db.write(&lane, move |conn| login::connect(conn, &id, &person, now)).await {
        Ok(()) => Ok(HttpResponse::SeeOther()
            .insert_header((header::LOCATION, format!("{METHODS}?done=connected")))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .finish()),
        Err(ConnectError::Db(error)) => Err(error.into()),
        Err(refused) => Ok(not_connected(app, &refused)),
    }
}

fn not_connected(app: &App, why: &ConnectError) -> HttpResponse {
    let text = match why {
        ConnectError::NotClaimed => "A way to log in can be added when you have claimed the account.",
        _ => "Another person there is connected to this account. Disconnect them first.",
    };
    let page = MessagePage {
        frame: Frame::anonymous(app.provider_name()),
        heading: "Nobody was connected.".to_owned(),
        text: text.to_owned(),
        steps: vec!["Go back to your ways to log in.".to_owned()],
        request_id: None,
        log_in: None,
    };
    unreferred(respond(&page, StatusCode::CONFLICT))
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
