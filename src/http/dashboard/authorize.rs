//! `/consent/{handle}`: a human is asked whether a program may act for their account, sees what it could then do, unticks
//! what they do not want, and answers once. Only somebody who logged in just now allows; a link of an agent never does.
//! What was decided before is not asked again.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpResponse, ResponseError as _};
use chrono::TimeDelta;

use super::consent::name_of;
use super::onward::Onward;
use super::pages::{ConsentWaitsPage, Frame, MessagePage, respond};
use super::question::{Question, ask};
use super::ticks::{Ticks, ticked};
use crate::account::Account;
use crate::app::App;
use crate::authorization::{
    self, Answer, AnswerError, Asked, Before, ClientError, LogIn, Reuse, Standing, Target, Turn, Verdict, Waiting,
    resolve_client,
};
use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::http::caller::{Empowered, Form, FreshlyLoggedIn, LoggedIn, NotHuman, SameSite};
use crate::http::claim::claim_first;
use crate::http::problem::{Problem, table};
use crate::http::wire::oauth::authorize::sent_on;
use crate::http::wire::oauth::client::client_parts;
use crate::ids::AccountId;
use crate::login::{NotProven, Session};
use crate::payment::budget;
use crate::resource::{self, Allowance};
use crate::secret::Secret;

/// How often a lost race is run again.
const TRIES: u32 = 3;

fn told(app: &App, status: StatusCode, heading: &str, text: &str) -> HttpResponse {
    let frame = Frame::anonymous(app.provider_name());
    let steps = vec!["Go back to the program that sent you here, and begin again.".to_owned()];
    let (heading, text) = (heading.to_owned(), text.to_owned());
    respond(&MessagePage { frame, heading, text, steps, request_id: None, log_in: None }, status)
}

fn closed(app: &App) -> HttpResponse {
    let text = "It was answered before, or nobody answered it for ten minutes. Nothing more was allowed.";
    told(app, StatusCode::GONE, "This question is closed.", text)
}

/// The question, answered or not; else the page that says why there is none.
async fn find(app: &App, handle: &str) -> Result<Result<Question, HttpResponse>, Problem> {
    let (hash, now) = (Secret::presented(handle).hash(), app.clock.now());
    let Some(asked) = app.db.read(move |conn| authorization::asked(conn, &hash, now)).await? else {
        let text = "The address is not whole, or the question was asked long ago. Nothing was allowed.";
        return Ok(Err(told(app, StatusCode::NOT_FOUND, "There is no such question.", text)));
    };
    let client = match resolve_client(client_parts(app), &asked.request.client, now).await {
        Ok(client) if client.digest() == asked.request.client_digest => client,
        Err(ClientError::Db(error)) => return Err(error.into()),
        _ => {
            let text =
                "What it says of itself has changed since it asked, or cannot be read any more. Nothing was allowed.";
            return Ok(Err(told(app, StatusCode::GONE, "The program is not what it was.", text)));
        }
    };
    Ok(Ok(Question { asked, client }))
}

/// The page that says why this human cannot answer the question now, if they cannot.
fn not_theirs(app: &App, asked: &Asked, account: &AccountId) -> Option<HttpResponse> {
    if !asked.open {
        return Some(closed(app));
    }
    if asked.account_id.as_ref().is_some_and(|owner| owner != account) {
        let text = "It was shown to somebody who is logged in to another account, and only they can answer it.";
        return Some(told(app, StatusCode::FORBIDDEN, "This question is for another account.", text));
    }
    None
}

fn page_of(handle: &str) -> Onward {
    format!("/consent/{handle}").parse().unwrap_or_default()
}

/// The log-in that is needed when this one is not as fresh as the client wants it.
fn too_old(app: &App, session: &Session, (asked, handle): (&Asked, &str), now: Timestamp) -> Option<NotHuman> {
    let max_age = asked.request.max_age?;
    let since = if max_age == 0 { asked.created_at } else { now.minus(TimeDelta::seconds(max_age)) };
    if session.authentication.at >= since {
        return None;
    }
    Some(log_in_again(app, TimeDelta::seconds(max_age), handle))
}

fn log_in_again(app: &App, within: TimeDelta, handle: &str) -> NotHuman {
    let frame = Frame::anonymous(app.provider_name());
    NotHuman::LogIn { frame, session: Some(NotProven::Stale), within, onward: page_of(handle) }
}

/// On to the log-in, and from there back: the human came to answer a program, and has nothing to read before.
pub(super) fn led_to_log_in(refused: &NotHuman, back: &Onward) -> HttpResponse {
    match refused {
        // Whoever logs in because of a question may well have to answer it.
        NotHuman::LogIn { within, .. } => sent_on(&back.log_in((*within).min(FreshlyLoggedIn::WITHIN))),
        NotHuman::Broken(_) => refused.error_response(),
    }
}

fn log_in_of(session: &Session) -> LogIn {
    LogIn { at: Some(session.authentication.at), acr: Some(session.authentication.method.as_str().to_owned()) }
}

/// Answers from what is remembered, or asks the human who logged in just now; everybody else is led to the log-in, and from
/// there back.
pub(super) async fn show(
    app: Data<App>,
    handle: Path<String>,
    human: Result<Empowered, NotHuman>,
) -> Result<HttpResponse, Problem> {
    let question = match find(&app, &handle).await? {
        Ok(question) => question,
        Err(page) => return Ok(page),
    };
    let human = match human {
        Ok(human) => human,
        Err(_) if !question.asked.open => return Ok(closed(&app)),
        Err(refused) => return Ok(led_to_log_in(&refused, &page_of(&handle))),
    };
    if !question.asked.open {
        return answered(&app, &question.asked, (&handle, &human.session.account.id), human.now).await;
    }
    if let Some(page) = not_theirs(&app, &question.asked, &human.session.account.id) {
        return Ok(page);
    }
    if let Some(refused) = too_old(&app, &human.session, (&question.asked, &handle), human.now) {
        return Ok(led_to_log_in(&refused, &page_of(&handle)));
    }
    if let Some(claim) = claim_first(&human.session.account, &page_of(&handle)) {
        return Ok(claim);
    }
    match weighed(&app, &question, &human).await? {
        Verdict::Allowed(reuse) => remembered(&app, &question.asked, &human, (&reuse, &handle)).await,
        Verdict::Refused { until } => {
            let why = "The human refused this a short time ago.";
            Ok(refused(&app, &question.asked, (why, until), human.now))
        }
        Verdict::Ask(before) => prompt(&app, &question, &human, (&handle, &before)).await,
    }
}

async fn weighed(app: &App, question: &Question, human: &Empowered) -> Result<Verdict, Problem> {
    let (account, request, now) = (&human.session.account, question.asked.request.clone(), human.now);
    let (standing, id) = (Standing::of(account, question.trust()), account.id.clone());
    let recalled = app.db.read(move |conn| {
        let recalled = authorization::recall(conn, &id, &request, now)?;
        Ok::<_, crate::db::DbError>(recalled.weigh(&request, standing, now))
    });
    Ok(recalled.await?)
}

/// What was answered without a page is answered again while its code waits: browsers ask twice.
async fn answered(
    app: &App,
    asked: &Asked,
    (handle, account): (&str, &AccountId),
    now: Timestamp,
) -> Result<HttpResponse, Problem> {
    let code = app.successors.code_of(&Secret::presented(handle));
    let (hash, account) = (code.hash(), account.clone());
    let waits = app.db.read(move |conn| authorization::answer_again(conn, &hash, &account, now)).await?;
    Ok(if waits { carried(app, asked, &[("code", code.expose())]) } else { closed(app) })
}

/// Answers with a code at once: the human allowed it before.
async fn remembered(
    app: &App,
    asked: &Asked,
    human: &Empowered,
    (reuse, handle): (&Reuse, &str),
) -> Result<HttpResponse, Problem> {
    let (account, now) = (&human.session.account, human.now);
    let code = app.successors.code_of(&Secret::presented(handle));
    let answer = Answer::again(asked, account, (reuse, &code), log_in_of(&human.session), now);
    let allowance = allowance(asked)?;
    let (lane, owner) = (account.id.to_string(), account.id.clone());
    let written = app.db.write(&lane, move |conn| {
        authorization::answer_remembered(conn, &answer, now)?;
        limit(conn, &owner, &answer, allowance.as_ref())
    });
    match written.await {
        Ok(()) => Ok(carried(app, asked, &[("code", code.expose())])),
        // The same browser asked twice at this moment, or what was allowed was taken back.
        Err(AnswerError::Closed) => answered(app, asked, (handle, &account.id), now).await,
        Err(error) => not_answered(app, asked, error, (handle, account), now),
    }
}

/// Writes the limits of a consent down, if it is new and has some.
fn limit(
    conn: &mut DbConnection,
    owner: &AccountId,
    answer: &Answer,
    allowance: Option<&Allowance>,
) -> Result<(), AnswerError> {
    match (answer.new_consent(), allowance) {
        (Some(consent), Some(allowance)) => Ok(resource::allow(conn, owner, consent.as_str(), allowance)?),
        _ => Ok(()),
    }
}

/// Shows the question, if it is its turn and its program has not asked too often.
async fn prompt(
    app: &App,
    question: &Question,
    human: &Empowered,
    (handle, before): (&str, &Before),
) -> Result<HttpResponse, Problem> {
    let (account, now) = (&human.session.account, human.now);
    if FreshlyLoggedIn::is(&human.session, now).is_err() {
        return Ok(led_to_log_in(&log_in_again(app, FreshlyLoggedIn::WITHIN, handle), &page_of(handle)));
    }
    let (turn, patience) = (turn(app, question, handle, account)?, app.patience());
    let work = move |conn: &mut DbConnection| authorization::take_turn(conn, &turn, patience, now);
    match written(app, account, work).await {
        Ok(()) => ask(app, question, account, (handle, before)).await,
        Err(error) => not_answered(app, &question.asked, error, (handle, account), now),
    }
}

fn turn(app: &App, question: &Question, handle: &str, account: &Account) -> Result<Turn, Problem> {
    Ok(Turn::of((&question.asked, &question.client), &Secret::presented(handle), &account.id, &app.answer_sealer)?)
}

/// Does the work in the account's lane; again when another process made one of its rows at the same moment.
async fn written<F>(app: &App, account: &Account, work: F) -> Result<(), AnswerError>
where
    F: Fn(&mut DbConnection) -> Result<(), AnswerError> + Clone + Send + 'static,
{
    let mut tries = TRIES;
    loop {
        match app.db.write(account.id.as_str(), work.clone()).await {
            Err(AnswerError::Db(error)) if error.is_unique_violation() && tries > 0 => tries -= 1,
            other => return other,
        }
    }
}

/// The human allows what is ticked.
pub(super) async fn allow(
    app: Data<App>,
    _from: SameSite,
    handle: Path<String>,
    human: Result<FreshlyLoggedIn, NotHuman>,
    form: Form<Ticks>,
) -> Result<HttpResponse, Problem> {
    let question = match find(&app, &handle).await? {
        Ok(question) if question.asked.open => question,
        Ok(_) => return Ok(closed(&app)),
        Err(page) => return Ok(page),
    };
    let (human, asked) = match human {
        Ok(human) => (human, &question.asked),
        Err(refused) => return Ok(refused.back_to(page_of(&handle)).error_response()),
    };
    let (account, now) = (&human.session.account, human.now);
    if let Some(page) = not_theirs(&app, asked, &account.id) {
        return Ok(page);
    }
    if let Some(refused) = too_old(&app, &human.session, (asked, &handle), now) {
        return Ok(refused.error_response());
    }
    if let Some(claim) = claim_first(account, &page_of(&handle)) {
        return Ok(claim);
    }
    let scopes = ticked(&form, &asked.request.scopes, &asked.request.required());
    if scopes.is_empty() {
        let text = "You unticked everything. Go back and leave something ticked, or deny.";
        return Ok(told(&app, StatusCode::UNPROCESSABLE_ENTITY, "Nothing is left to allow.", text));
    }
    let (code, answer) = Answer::allow(asked, account, scopes, log_in_of(&human.session), now)?;
    let (turn, trust, patience) = (turn(&app, &question, &handle, account)?, question.trust(), app.patience());
    let (owner, allowance, question) = (account.id.clone(), allowance(asked)?, asked.clone());
    let work = move |conn: &mut DbConnection| {
        authorization::allow_asked(conn, (&question, &answer), (&turn, trust), patience, now)?;
        budget::follow_cap(conn, &answer.agent(), now)?;
        limit(conn, &owner, &answer, allowance.as_ref())
    };
    match written(&app, account, work).await {
        Ok(()) => Ok(carried(&app, asked, &[("code", code.expose())])),
        Err(error) => not_answered(&app, asked, error, (&handle, account), now),
    }
}

/// What is asked for in numbers, as it will be held.
fn allowance(asked: &Asked) -> Result<Option<Allowance>, Problem> {
    if asked.request.details.is_empty() {
        return Ok(None);
    }
    let broken = |error| Problem::new(&table::INTERNAL, "Something broke here.").because(error);
    Ok(Some(Allowance::of(&asked.request.details).map_err(broken)?))
}

/// The human refuses.
pub(super) async fn deny(
    app: Data<App>,
    _from: SameSite,
    handle: Path<String>,
    human: Result<LoggedIn, NotHuman>,
) -> Result<HttpResponse, Problem> {
    let question = match find(&app, &handle).await? {
        Ok(question) if question.asked.open => question,
        Ok(_) => return Ok(closed(&app)),
        Err(page) => return Ok(page),
    };
    let (human, asked) = match human {
        Ok(human) => (human, &question.asked),
        Err(refused) => return Ok(refused.back_to(page_of(&handle)).error_response()),
    };
    let (account, now) = (&human.session.account, human.now);
    if let Some(page) = not_theirs(&app, asked, &account.id) {
        return Ok(page);
    }
    let (turn, trust, patience) = (turn(&app, &question, &handle, account)?, question.trust(), app.patience());
    let (owner, question) = (account.clone(), asked.clone());
    let work = move |conn: &mut DbConnection| {
        authorization::deny_asked(conn, (&question, &owner), (&turn, trust), patience, now)
    };
    match written(&app, account, work).await {
        Ok(()) => Ok(carried(&app, asked, &[("error", "access_denied")])),
        Err(error) => not_answered(&app, asked, error, (&handle, account), now),
    }
}

/// The human wants to answer this question before the other one of the same program.
pub(super) async fn answer_instead(
    app: Data<App>,
    _from: SameSite,
    handle: Path<String>,
    human: Result<LoggedIn, NotHuman>,
) -> Result<HttpResponse, Problem> {
    let question = match find(&app, &handle).await? {
        Ok(question) => question,
        Err(page) => return Ok(page),
    };
    let (human, asked) = match human {
        Ok(human) => (human, &question.asked),
        Err(refused) => return Ok(refused.back_to(page_of(&handle)).error_response()),
    };
    let account = &human.session.account;
    if let Some(page) = not_theirs(&app, asked, &account.id) {
        return Ok(page);
    }
    let turn = turn(&app, &question, &handle, account)?;
    let work = move |conn: &mut DbConnection| Ok(authorization::take_over(conn, &turn)?);
    match written(&app, account, work).await {
        Ok(()) => Ok(sent_on(&format!("/consent/{}", handle.as_str()))),
        Err(error) => not_answered(&app, asked, error, (&handle, account), human.now),
    }
}

fn not_answered(
    app: &App,
    asked: &Asked,
    error: AnswerError,
    (handle, account): (&str, &Account),
    now: Timestamp,
) -> Result<HttpResponse, Problem> {
    match error {
        AnswerError::Closed | AnswerError::Unusable(_) => Ok(closed(app)),
        AnswerError::Waits(other) => waits(app, asked, &other, (handle, account), now),
        AnswerError::TooOften { until } => {
            Ok(refused(app, asked, ("The human was asked too often, or said no too often.", until), now))
        }
        AnswerError::Db(error) => Err(error.into()),
        AnswerError::Random(error) => Err(error.into()),
    }
}

/// Another question of the same program is open: this one waits.
fn waits(
    app: &App,
    asked: &Asked,
    other: &Waiting,
    (handle, account): (&str, &Account),
    now: Timestamp,
) -> Result<HttpResponse, Problem> {
    let first = other.handle(&app.answer_sealer)?;
    let page = ConsentWaitsPage {
        frame: Frame { provider: app.provider_name(), user: Some(name_of(account)) },
        asker: asked.request.client_name.clone(),
        now,
        asked_at: asked.created_at,
        other_asked_at: other.asked_at,
        other: format!("/consent/{}", first.expose()),
        action: format!("/consent/{handle}"),
    };
    Ok(super::consent::shown(&page, None))
}

/// Refuses without a page, and says when it can be asked again, in seconds.
fn refused(app: &App, asked: &Asked, (why, until): (&str, Timestamp), now: Timestamp) -> HttpResponse {
    let seconds = until.since(now).num_seconds().saturating_add(1).max(1).to_string();
    let text = format!("{why} Ask again after {seconds} seconds.");
    carried(app, asked, &[("error", "access_denied"), ("error_description", &text), ("retry_after", &seconds)])
}

/// Takes the answer to the client, by the human's browser.
fn carried(app: &App, asked: &Asked, answer: &[(&str, &str)]) -> HttpResponse {
    let request = &asked.request;
    let target = Target { redirect_uri: request.redirect_uri.clone(), state: request.state.clone() };
    sent_on(&target.with(answer, &app.base_url))
}
