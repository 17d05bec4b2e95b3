//! `/consent/{handle}`: a human is asked whether a program may act for their account, sees what it could then do, unticks
//! what they do not want, and answers once. Only somebody who logged in just now allows; a link of an agent never does.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpResponse, ResponseError as _};
use chrono::TimeDelta;
use serde::Deserialize;
use url::Url;

use super::consent::{cap_of, effects, name_of, shown};
use super::onward::Onward;
use super::pages::{ConsentPage, Frame, MessagePage, respond};
use crate::account::Account;
use crate::app::App;
use crate::authorization::{
    self, Answer, AnswerError, Asked, Client, ClientError, ClientOrigin, Limits, LogIn, Params, Scope, Scopes, Target,
    limits_of, resolve_client,
};
use crate::http::caller::{Form, FreshlyLoggedIn, LoggedIn, NotHuman, SameSite};
use crate::http::claim::claim_first;
use crate::http::problem::{Problem, table};
use crate::http::wire::oauth::authorize::sent_on;
use crate::http::wire::oauth::client::client_parts;
use crate::login::NotProven;
use crate::money::Money;
use crate::orchestrator;
use crate::resource::{self, Allowance};
use crate::secret::Secret;

/// The ticks; read from the bytes, because they have one name.
#[derive(Debug, Deserialize)]
pub(super) struct Ticks {}

/// The request behind an address, and who asks, as they are now.
struct Question {
    asked: Asked,
    client: Client,
}

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

/// The question, if it can be answered; else the page that says why not.
async fn find(app: &App, handle: &str) -> Result<Result<Question, HttpResponse>, Problem> {
    let (hash, now) = (Secret::presented(handle).hash(), app.clock.now());
    let Some(asked) = app.db.read(move |conn| authorization::asked(conn, &hash, now)).await? else {
        let text = "The address is not whole, or the question was asked long ago. Nothing was allowed.";
        return Ok(Err(told(app, StatusCode::NOT_FOUND, "There is no such question.", text)));
    };
    if !asked.open {
        return Ok(Err(closed(app)));
    }
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

fn page_of(handle: &str) -> Onward {
    format!("/consent/{handle}").parse().unwrap_or_default()
}

/// The log-in that is needed when this one is not as fresh as the client wants it.
fn too_old(app: &App, human: &FreshlyLoggedIn, asked: &Asked, handle: &str) -> Option<NotHuman> {
    let max_age = asked.request.max_age?;
    let since = if max_age == 0 { asked.created_at } else { human.now.minus(TimeDelta::seconds(max_age)) };
    if human.session.authentication.at >= since {
        return None;
    }
    let frame = Frame::anonymous(app.provider_name());
    let within = TimeDelta::seconds(max_age);
    Some(NotHuman::LogIn { frame, session: Some(NotProven::Stale), within, onward: page_of(handle) })
}

/// On to the log-in, and from there back: the human came to answer a program, and has nothing to read before.
pub(super) fn led_to_log_in(refused: &NotHuman) -> HttpResponse {
    match refused {
        NotHuman::LogIn { within, onward, .. } => sent_on(&onward.log_in(*within)),
        NotHuman::Broken(_) => refused.error_response(),
    }
}

/// Asks the human who logged in just now; everybody else is led to the log-in, and from there back.
pub(super) async fn show(
    app: Data<App>,
    handle: Path<String>,
    human: Result<FreshlyLoggedIn, NotHuman>,
) -> Result<HttpResponse, Problem> {
    let question = match find(&app, &handle).await? {
        Ok(question) => question,
        Err(page) => return Ok(page),
    };
    let human = match human {
        Ok(human) => human,
        Err(refused) => return Ok(led_to_log_in(&refused.back_to(page_of(&handle)))),
    };
    if let Some(refused) = too_old(&app, &human, &question.asked, &handle) {
        return Ok(led_to_log_in(&refused));
    }
    if let Some(claim) = claim_first(&human.session.account, &page_of(&handle)) {
        return Ok(claim);
    }
    ask(&app, &question, &human.session.account, &handle).await
}

/// The human allows what is ticked.
pub(super) async fn allow(
    app: Data<App>,
    _from: SameSite,
    handle: Path<String>,
    human: Result<FreshlyLoggedIn, NotHuman>,
    form: Form<Ticks>,
) -> Result<HttpResponse, Problem> {
    let Question { asked, .. } = match find(&app, &handle).await? {
        Ok(question) => question,
        Err(page) => return Ok(page),
    };
    let human = match human {
        Ok(human) => human,
        Err(refused) => return Ok(refused.back_to(page_of(&handle)).error_response()),
    };
    if let Some(refused) = too_old(&app, &human, &asked, &handle) {
        return Ok(refused.error_response());
    }
    if let Some(claim) = claim_first(&human.session.account, &page_of(&handle)) {
        return Ok(claim);
    }
    let scopes = ticked(&form, &asked.request.scopes);
    if scopes.is_empty() {
        let text = "You unticked everything. Go back and leave something ticked, or deny.";
        return Ok(told(&app, StatusCode::UNPROCESSABLE_ENTITY, "Nothing is left to allow.", text));
    }
    let (account, now) = (&human.session.account, human.now);
    let authentication = human.session.authentication;
    let log_in = LogIn { at: Some(authentication.at), acr: Some(authentication.method.as_str().to_owned()) };
    let (code, answer) = Answer::allow(&asked, account, scopes, log_in, now)?;
    let (lane, owner, allowance) = (account.id.to_string(), account.id.clone(), allowance(&asked)?);
    let written = app.db.write(&lane, move |conn| {
        authorization::allow_request(conn, &answer, now)?;
        match &allowance {
            Some(allowance) => Ok(resource::allow(conn, &owner, answer.consent_id().as_str(), allowance)?),
            None => Ok::<_, AnswerError>(()),
        }
    });
    match written.await {
        Ok(()) => Ok(carried(&app, &asked, &[("code", code.expose())])),
        Err(error) => not_answered(&app, error),
    }
}

/// What is asked for in numbers, as it will be held.
fn allowance(asked: &Asked) -> Result<Option<Allowance>, Problem> {
    if asked.request.details.is_empty() {
        return Ok(None);
    }
    let Limits { per_month, single, ends_at, offers, max_count } = limits_in(asked)?;
    Ok(Some(Allowance { per_month, single, ends_at, offers, max_count }))
}

fn limits_in(asked: &Asked) -> Result<Limits, Problem> {
    let broken = |error| Problem::new(&table::INTERNAL, "Something broke here.").because(error);
    limits_of(&asked.request.details).map_err(broken)
}

/// The human refuses.
pub(super) async fn deny(
    app: Data<App>,
    _from: SameSite,
    handle: Path<String>,
    human: Result<LoggedIn, NotHuman>,
) -> Result<HttpResponse, Problem> {
    let Question { asked, .. } = match find(&app, &handle).await? {
        Ok(question) => question,
        Err(page) => return Ok(page),
    };
    let human = match human {
        Ok(human) => human,
        Err(refused) => return Ok(refused.back_to(page_of(&handle)).error_response()),
    };
    let (account, now, written) = (human.session.account, human.now, asked.clone());
    let lane = account.id.to_string();
    match app.db.write(&lane, move |conn| authorization::deny_request(conn, &written, &account, now)).await {
        Ok(()) => Ok(carried(&app, &asked, &[("error", "access_denied")])),
        Err(error) => not_answered(&app, error),
    }
}

fn not_answered(app: &App, error: AnswerError) -> Result<HttpResponse, Problem> {
    match error {
        AnswerError::Closed | AnswerError::Unusable(_) => Ok(closed(app)),
        AnswerError::Db(error) => Err(error.into()),
        AnswerError::Random(error) => Err(error.into()),
    }
}

/// What is ticked of what was asked: never more.
fn ticked(form: &Form<Ticks>, asked: &Scopes) -> Scopes {
    let params = Params::parse(&form.1).unwrap_or_default();
    let words: Vec<&str> = params.all("scope").collect();
    Scopes::known_of(&words.join(" ")).intersection(asked)
}

/// Takes the answer to the client, by the human's browser.
fn carried(app: &App, asked: &Asked, answer: &[(&str, &str)]) -> HttpResponse {
    let request = &asked.request;
    let target = Target { redirect_uri: request.redirect_uri.clone(), state: request.state.clone() };
    sent_on(&target.with(answer, &app.base_url))
}

async fn ask(app: &App, question: &Question, account: &Account, handle: &str) -> Result<HttpResponse, Problem> {
    let Question { asked, client } = question;
    let (request, opened_by) = (&asked.request, account.opened_by.clone());
    let found = app.db.read(move |conn| orchestrator::by_id(conn, &opened_by)).await?;
    let gone =
        || Problem::new(&table::INTERNAL, "Something broke here.").because("an account without its orchestrator");
    let cap = cap_of(app, account, &found.ok_or_else(gone)?).await?;
    let limits = limits_in(asked)?;
    let target: Option<Url> = request.redirect_uri.parse().ok();
    let page = ConsentPage {
        frame: Frame { provider: app.provider_name(), user: Some(name_of(account)) },
        asker: client.called(),
        client: None,
        proven: client.proven_host(),
        warnings: warnings(client, &request.redirect_uri),
        email: None,
        account: name_of(account),
        monthly: request.scopes.contains(Scope::ResourcesWrite).then(|| lower(cap, &limits)),
        limits: in_words(&limits),
        effects: effects(&request.scopes, true),
        asked_at: asked.created_at,
        until: asked.expires_at,
        returns_to: target.as_ref().map(shown_target),
        action: format!("/consent/{handle}"),
        query: String::new(),
    };
    Ok(shown(&page, target.as_ref().map(origin).as_deref()))
}

/// The lower of the account's cap and what is asked for.
fn lower(cap: Money, limits: &Limits) -> Money {
    match limits.per_month {
        Some(asked) if asked.currency == cap.currency && asked.amount < cap.amount => asked,
        _ => cap,
    }
}

fn in_words(limits: &Limits) -> Vec<String> {
    let mut words = Vec::new();
    if let (Some(single), Some(month)) = (limits.single, limits.per_month) {
        words.push(format!("At most {} at once.", Money { amount: single, currency: month.currency }));
    }
    if let Some(end) = limits.ends_at {
        words.push(format!("Spending ends at {}.", end.to_rfc3339()));
    }
    match (&limits.offers, limits.max_count) {
        (Some(offers), count) => {
            let names: Vec<String> = offers.iter().map(|(service, plan)| format!("{service}/{plan}")).collect();
            let count = count.map(|count| format!(", {count} in all")).unwrap_or_default();
            words.push(format!("Create only: {}{count}.", names.join(", ")));
        }
        (None, Some(count)) => words.push(format!("Create at most {count} in all.")),
        (None, None) => {}
    }
    words
}

/// What a human should know before believing a name.
fn warnings(client: &Client, redirect_uri: &str) -> Vec<&'static str> {
    let mut warnings = Vec::new();
    match client.origin {
        ClientOrigin::Operator => {}
        ClientOrigin::Document => {
            warnings.push("The domain is proven. The name is what it calls itself; nobody checked it.");
        }
        ClientOrigin::Registration => warnings.push("It registered itself. Nobody checked its name."),
    }
    if client.is_local() || !redirect_uri.starts_with("https://") {
        warnings
            .push("The answer goes to a program on this computer. Allow it only if you started that program just now.");
    }
    warnings
}

fn shown_target(url: &Url) -> String {
    match url.host_str() {
        Some(host) => url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")),
        None => url.scheme().to_owned(),
    }
}

/// As a policy names it; an address of a private scheme has no origin but its scheme.
fn origin(url: &Url) -> String {
    match url.scheme() {
        "https" | "http" => url.origin().ascii_serialization(),
        scheme => format!("{scheme}:"),
    }
}
