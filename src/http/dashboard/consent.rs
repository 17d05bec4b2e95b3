//! `/link/{id}`: the owner of an account is asked whether an orchestrator may act for it, and answers once.

use actix_web::http::{StatusCode, header};
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpResponse, ResponseError as _};
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use super::effects::{Wishes, asks, difference, groups};
use super::onward::Onward;
use super::pages::{CONTENT_SECURITY_POLICY, ConsentPage, Frame, MessagePage, Voucher, respond};
use super::question::what_it_lifts;
use super::ticks::{Ticks, ticked};
use crate::account::{self, Account};
use crate::app::App;
use crate::authorization::{
    self, Answered, Before, ConsentError, Limits, NewCode, Question, RequestState, Scope, Scopes,
};
use crate::db::DbError;
use crate::http::caller::{Form, FreshlyLoggedIn, LoggedIn, NotHuman, SameSite, User};
use crate::http::problem::{Problem, table};
use crate::login::NotProven;
use crate::money::Money;
use crate::orchestrator::Orchestrator;
use crate::payment::budget;
use crate::secret::Secret;

/// The confirmation secret, where it may stand in a URL.
#[derive(Debug, Deserialize)]
pub(super) struct StateQuery {
    state: Option<String>,
}

/// A confirmation secret that stands in its URL must be there again: without it the id alone leads nowhere.
fn in_url(question: &Question) -> Option<&Secret> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let fits = |state: &&Secret| (1..=256).contains(&state.expose().len()) && state.expose().bytes().all(plain);
    question.state.as_ref().filter(fits)
}

/// The question behind an address, if the address is whole.
async fn find(app: &App, id: &str, query: &StateQuery) -> Result<Option<Question>, Problem> {
    let Ok(id) = id.parse() else { return Ok(None) };
    let found = authorization::question(&app.db, &app.answer_sealer, &id).await.map_err(broken)?;
    Ok(found.filter(|question| match (in_url(question), &query.state) {
        (Some(state), Some(given)) => state.expose().as_bytes().ct_eq(given.as_bytes()).into(),
        (Some(_), None) => false,
        (None, _) => true,
    }))
}

fn broken(error: ConsentError) -> Problem {
    match error {
        ConsentError::Db(error) => error.into(),
        error => Problem::new(&table::INTERNAL, "Something broke here. Nothing of it is your fault.").because(error),
    }
}

/// The page of a question: where a log-in on its way leads back to.
fn page(id: &str, query: &StateQuery) -> Onward {
    let state = query.state.as_ref().map(|state| format!("?state={state}")).unwrap_or_default();
    format!("/link/{id}{state}").parse().unwrap_or_default()
}

/// Shows the question to its owner, who logged in just now; tells everybody else why not. A link from an agent is no
/// log-in: the agent that asks could answer itself.
pub(super) async fn show_question(
    app: Data<App>,
    id: Path<String>,
    query: Query<StateQuery>,
    human: Result<FreshlyLoggedIn, NotHuman>,
) -> Result<HttpResponse, Problem> {
    let Some(question) = find(&app, &id, &query).await? else { return Ok(unknown(&app)) };
    let now = app.clock.now();
    let account = human.as_ref().ok().map(|human| &human.session.account);
    if !question.is_open(now) {
        return Ok(closed(&app, &question, account).await);
    }
    match &human {
        Err(refused) => Ok(log_in_first(&app, &question, refused)),
        Ok(human) if human.session.account.id != question.request.account_id => {
            Ok(mismatch(&app, &question, &human.session.account))
        }
        Ok(human) if !human.session.account.is_claimed() => Ok(claim_before(&app, &question)),
        Ok(human) => Ok(ask(&app, &question, &human.session.account, &query).await?),
    }
}

/// The owner allows it.
pub(super) async fn allow(
    app: Data<App>,
    _from: SameSite,
    id: Path<String>,
    query: Query<StateQuery>,
    human: Result<FreshlyLoggedIn, NotHuman>,
    form: Form<Ticks>,
) -> Result<HttpResponse, Problem> {
    let user: User = match human {
        Ok(human) => human.into(),
        Err(refused) => return Ok(refused.back_to(page(&id, &query)).error_response()),
    };
    let question = match answerable(&app, &id, &query, &user).await? {
        Ok(question) => question,
        Err(page) => return Ok(page),
    };
    if !user.session.account.is_claimed() {
        return Ok(claim_before(&app, &question));
    }
    let granted = ticked(&form, &question.request.scopes, &Scopes::default());
    if granted.is_empty() {
        let text = "You unticked everything. Nothing was linked, and the question is still open.";
        let step = "Go back and leave something ticked, or deny.".to_owned();
        let page = message(&app, "Nothing is left to allow.".to_owned(), text, &[step]);
        return Ok(respond(&page, StatusCode::UNPROCESSABLE_ENTITY));
    }
    let takes_code = question.settings.as_ref().is_some_and(|settings| app.confirmation.takes_code(settings));
    let code = takes_code
        .then(|| NewCode::generate(&question.holder(&granted), question.request.code_challenge.as_ref(), user.now))
        .transpose()?;
    let (secret, row) = code.unzip();
    let (written, now) = (question.clone(), user.now);
    let lane = lane(&question);
    let decided = app.db.write(&lane, move |conn| {
        authorization::allow(conn, (&written, &granted), row.as_ref(), now)?;
        // As in `authorize::allow`: the counter says what the page said.
        Ok::<_, ConsentError>(budget::follow_cap(conn, &written.agent(), now)?)
    });
    let decided = decided.await;
    match decided {
        Ok(()) => Ok(carried(&app, &question, secret.ok_or("no_code"), true).await),
        Err(ConsentError::Closed) => again(&app, &question, &user.session.account).await,
        Err(ConsentError::Link(error)) => Ok(respond(&not_linked(&app, &question, &error), StatusCode::CONFLICT)),
        Err(error) => Err(broken(error)),
    }
}

/// The owner refuses.
pub(super) async fn deny(
    app: Data<App>,
    _from: SameSite,
    id: Path<String>,
    query: Query<StateQuery>,
    human: Result<LoggedIn, NotHuman>,
) -> Result<HttpResponse, Problem> {
    let user: User = match human {
        Ok(human) => human.into(),
        Err(refused) => return Ok(refused.back_to(page(&id, &query)).error_response()),
    };
    let question = match answerable(&app, &id, &query, &user).await? {
        Ok(question) => question,
        Err(page) => return Ok(page),
    };
    let (written, now) = (question.clone(), user.now);
    let lane = lane(&question);
    match app.db.write(&lane, move |conn| authorization::deny(conn, &written, now)).await {
        Ok(()) => Ok(carried(&app, &question, Err("access_denied"), true).await),
        Err(ConsentError::Closed) => again(&app, &question, &user.session.account).await,
        Err(error) => Err(broken(error)),
    }
}

/// The lane of everything about one person of an orchestrator.
fn lane(question: &Question) -> String {
    let request = &question.request;
    format!("{}/{}/{}", request.orchestrator_id, request.tenant, request.subject)
}

/// The question, when this user may answer it now; else the page that says why not.
async fn answerable(
    app: &App,
    id: &str,
    query: &StateQuery,
    user: &User,
) -> Result<Result<Question, HttpResponse>, Problem> {
    let Some(question) = find(app, id, query).await? else { return Ok(Err(unknown(app))) };
    let account = &user.session.account;
    if !question.is_open(user.now) {
        return Ok(Err(closed(app, &question, Some(account)).await));
    }
    if account.id != question.request.account_id {
        return Ok(Err(mismatch(app, &question, account)));
    }
    Ok(Ok(question))
}

/// Somebody answered a moment ago: how it stands now.
async fn again(app: &App, question: &Question, account: &Account) -> Result<HttpResponse, Problem> {
    let found = authorization::question(&app.db, &app.answer_sealer, &question.request.id).await.map_err(broken)?;
    match found {
        Some(question) => Ok(closed(app, &question, Some(account)).await),
        None => Ok(unknown(app)),
    }
}

/// Too late: says so, to the orchestrator where it can be told.
async fn closed(app: &App, question: &Question, user: Option<&Account>) -> HttpResponse {
    let error = match question.request.state {
        RequestState::Denied => "access_denied",
        RequestState::Allowed => "already_decided",
        RequestState::Pending => "expired",
    };
    // What does not stand in the URL is told to nobody but the owner's browser.
    let owner = user.is_some_and(|account| account.id == question.request.account_id);
    carried(app, question, Err(error), owner || in_url(question).is_some()).await
}

/// Hands the answer to the orchestrator by the configured way; where there is none, the page says what comes next.
async fn carried(
    app: &App,
    question: &Question,
    outcome: Result<Secret, &'static str>,
    with_state: bool,
) -> HttpResponse {
    let said = outcome.as_ref().err().copied();
    let state = question.state.clone().filter(|_| with_state);
    let answered = Answered { request_id: question.request.id.clone(), outcome, state };
    let onward = match &question.settings {
        Some(settings) => app.confirmation.confirm(&question.orchestrator, settings, answered).await,
        None => authorization::Onward::Stay,
    };
    match onward {
        authorization::Onward::To(url) => HttpResponse::SeeOther()
            .insert_header((header::LOCATION, url.as_str()))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .insert_header((header::REFERRER_POLICY, "no-referrer"))
            .finish(),
        authorization::Onward::Stay => told(app, question, said),
    }
}

fn told(app: &App, question: &Question, error: Option<&str>) -> HttpResponse {
    let name = question.orchestrator.name.as_str();
    let (status, heading, text, step) = match error {
        None | Some("no_code") => (
            StatusCode::OK,
            format!("{name} may act for you now."),
            "The account is linked. Your agent can go on, within the cap that you saw.",
            "Go back to your agent: it asks again and continues.",
        ),
        Some("access_denied") => (
            StatusCode::OK,
            format!("{name} may not act for you."),
            "Nothing was linked, nothing was given.",
            "There is nothing more to do.",
        ),
        Some("already_decided") => (
            StatusCode::GONE,
            format!("You allowed {name} already."),
            "This question was answered before.",
            "Go back to your agent: it can go on.",
        ),
        Some(_) => (
            StatusCode::GONE,
            "This question is closed.".to_owned(),
            "It could be answered for ten minutes, and nobody did. Nothing was linked.",
            "Ask your agent to begin again.",
        ),
    };
    respond(&message(app, heading, text, &[step.to_owned()]), status)
}

fn message(app: &App, heading: String, text: &str, steps: &[String]) -> MessagePage {
    let frame = Frame::anonymous(app.provider_name());
    MessagePage { frame, heading, text: text.to_owned(), steps: steps.to_vec(), request_id: None, log_in: None }
}

fn unknown(app: &App) -> HttpResponse {
    let text = "The address is not whole, or the question was answered long ago. Nothing was linked.";
    let step = "Ask your agent to begin again, and open the whole address that it gives you.".to_owned();
    let page = message(app, "There is no such question.".to_owned(), text, &[step]);
    respond(&page, StatusCode::NOT_FOUND)
}

/// The address must not tell strangers whose account it is about.
fn log_in_first(app: &App, question: &Question, refused: &NotHuman) -> HttpResponse {
    let NotHuman::LogIn { within, onward, session, .. } = refused else { return refused.error_response() };
    let name = question.orchestrator.name.as_str();
    let why = match session {
        None => "this browser is not logged in",
        Some(NotProven::LinkOnly) => "you came by a link that an agent can make as well",
        Some(NotProven::Stale) => "you logged in a while ago",
        Some(NotProven::MailOnly(_)) => "you logged in by a link in a mail, and programs may read your mail",
    };
    let text = format!(
        "Only the owner of the account can answer, and {why}. The question stays open for ten minutes from when it was \
         asked."
    );
    let way = session.and_then(NotProven::wanted).map_or_else(String::new, |wanted| format!(" {wanted}"));
    let steps = [format!("Log in{way}. After that you are back here, and see what is asked.")];
    let mut page = message(app, format!("{name} asks to act for you. Please log in first."), &text, &steps);
    page.log_in = Some(onward.log_in(*within));
    let mut answer = respond(&page, refused.status_code());
    // The address carries the confirmation secret: it must not leave with the next click.
    answer.headers_mut().insert(header::REFERRER_POLICY, header::HeaderValue::from_static("no-referrer"));
    answer
}

pub(super) fn name_of(account: &Account) -> String {
    account.email.clone().unwrap_or_else(|| account.id.to_string())
}

fn mismatch(app: &App, question: &Question, account: &Account) -> HttpResponse {
    let (name, asked) = (question.orchestrator.name.as_str(), asked_email(question));
    let text = format!(
        "You are logged in as {}. {name} asks to act for {asked}. Only the owner of that account can answer; the \
         question stays open.",
        name_of(account)
    );
    let steps = [
        format!("If {asked} is you too: log out, log in to that account, and come back to this page."),
        format!("If it is not: close this page. {name} gets nothing."),
    ];
    let mut page = message(app, format!("{name} asks for another account."), &text, &steps);
    page.frame.user = Some(name_of(account));
    respond(&page, StatusCode::FORBIDDEN)
}

/// Somebody else's orchestrator is let in by the owner of an account, and nobody has proved yet to be that.
fn claim_before(app: &App, question: &Question) -> HttpResponse {
    let name = question.orchestrator.name.as_str();
    let text = "This account was opened for you, and you have not claimed it yet. Until then nobody else can be let in. \
                Nothing was linked.";
    let steps = [
        "Claim the account, under /claim or from your dashboard.".to_owned(),
        format!("Then ask your agent to begin again: {name} asks you once more."),
    ];
    let mut page = message(app, "Claim your account first.".to_owned(), text, &steps);
    page.frame.user = Some(name_of(&question.owner));
    respond(&page, StatusCode::FORBIDDEN)
}

fn not_linked(app: &App, question: &Question, error: &account::LinkError) -> MessagePage {
    tracing::warn!(request = %question.request.id, error = %error, "an account was not linked");
    let name = question.orchestrator.name.as_str();
    let text = "The person who asks there is linked to another account here, or this account cannot be used any more. \
                Nothing was changed.";
    message(app, format!("{name} could not be linked."), text, &["Ask the provider's support.".to_owned()])
}

fn asked_email(question: &Question) -> String {
    question.request.email.clone().unwrap_or_else(|| name_of(&question.owner))
}

/// The question itself. Its buttons may lead to the orchestrator's callback, which the policy of the page must say.
async fn ask(app: &App, question: &Question, account: &Account, query: &StateQuery) -> Result<HttpResponse, Problem> {
    let (request, settings) = (&question.request, question.settings.as_ref());
    let spends = request.scopes.contains(Scope::ResourcesWrite);
    let monthly = if spends { Some(ceiling(app, question).await?) } else { None };
    let callback = settings.and_then(|settings| settings.callback_url.as_ref());
    let origin = settings.and_then(|settings| app.confirmation.origin(settings));
    let issuer: Option<url::Url> = question.orchestrator.issuer.as_str().parse().ok();
    let wishes = Wishes {
        scopes: &request.scopes,
        required: &Scopes::default(),
        before: &Before { allowed: question.allowed.clone().unwrap_or_default(), ..Before::default() },
        limits: &Limits::default(),
        monthly,
        edition: &app.edition(),
    };
    let page = ConsentPage {
        frame: Frame { provider: app.provider_name(), user: Some(name_of(account)) },
        asker: question.orchestrator.name.to_string(),
        voucher: Voucher::Provider(issuer.as_ref().and_then(|url| url.host_str()).map(str::to_owned)),
        client: (request.client != request.orchestrator_id.as_str()).then(|| request.client.clone()),
        warnings: what_it_lifts(app, question.agent()).await?.into_iter().collect(),
        changed_since: None,
        email: Some(asked_email(question)),
        account: name_of(&question.owner),
        monthly,
        spends_until: None,
        creates: None,
        asks: asks(&request.scopes),
        groups: groups(&wishes),
        plan: None,
        difference: difference(&wishes, Vec::new(), Vec::new()),
        now: app.clock.now(),
        asked_at: request.created_at,
        until: request.expires_at,
        returns_to: callback.and_then(|url| url.host_str()).map(str::to_owned),
        action: format!("/link/{}", request.id),
        query: query
            .state
            .as_ref()
            .filter(|_| in_url(question).is_some())
            .map(|state| format!("?state={state}"))
            .unwrap_or_default(),
    };
    Ok(shown(&page, origin.as_deref()))
}

/// The page. Its form may lead to `origin`, which its policy must say: browsers apply it to what the form leads to.
pub(super) fn shown(page: &impl askama::Template, origin: Option<&str>) -> HttpResponse {
    let mut answer = respond(page, StatusCode::OK);
    let policy = origin
        .map(|origin| CONTENT_SECURITY_POLICY.replace("form-action 'self'", &format!("form-action 'self' {origin}")));
    if let Some(policy) = policy.and_then(|policy| header::HeaderValue::from_str(&policy).ok()) {
        answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    // The address carries a secret: it must not leave with the next click.
    let none = header::HeaderValue::from_static("no-referrer");
    answer.headers_mut().insert(header::REFERRER_POLICY, none);
    answer
}

/// The cap that it has already, or the one that it would get.
async fn ceiling(app: &App, question: &Question) -> Result<Money, Problem> {
    cap_of(app, &question.owner, &question.orchestrator).await
}

/// What `account` may spend through `orchestrator` in a month.
pub(super) async fn cap_of(app: &App, owner: &Account, orchestrator: &Orchestrator) -> Result<Money, Problem> {
    let (account, orchestrator_id) = (owner.id.clone(), orchestrator.id.clone());
    let now = app.clock.now();
    match app.db.read(move |conn| budget::view(conn, &account, &orchestrator_id, now)).await {
        Ok(budget) => Ok(Money { amount: budget.own.ceiling, currency: budget.own.currency }),
        Err(DbError::Query(diesel::result::Error::NotFound)) => {
            Ok(Money { amount: account::ceiling_of(owner, orchestrator), currency: orchestrator.currency })
        }
        Err(error) => Err(error.into()),
    }
}
