//! `/dashboard/agents`: what each agent may do, did and spent; and taking that away. Whoever came by a link of an agent may
//! take away, and nothing else.

use actix_web::http::{StatusCode, header};
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpResponse, ResponseError as _};
use serde::Deserialize;

use super::agent_facts::{self, act, actor};
use super::change::{not_an_amount, typed_amount};
use super::effects::limit_words;
use super::onward::Onward;
use super::pages::{AgentPage, AgentStanding, AgentsPage, CapForm, Frame, MessagePage, Notice, respond};
use crate::account::{self, Account, Agent};
use crate::app::App;
use crate::audit;
use crate::authorization::{self, NarrowError, Scope, limits_of};
use crate::db::{DbConnection, DbError};
use crate::http::caller::{Empowered, Form, NotHuman, SameSite, User};
use crate::http::problem::{Problem, table};
use crate::idempotency;
use crate::ids::{AccountId, AgentId};
use crate::login;
use crate::money::Money;
use crate::orchestrator;
use crate::payment::budget::{self, ChangeBudgetError};

const ROWS: i64 = 20;
const ACTS: i64 = 20;

#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    /// Shows agents before this one.
    before: Option<String>,
}

/// What was done, told once and only while it is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Done {
    Paused,
    Resumed,
    Revoked,
    Narrowed,
    Capped,
    Undone,
}

#[derive(Debug, Deserialize)]
pub(super) struct PageQuery {
    before: Option<String>,
    done: Option<Done>,
}

pub(super) fn frame(app: &App, account: &Account) -> Frame {
    Frame { provider: app.provider_name(), user: Some(super::consent::name_of(account)) }
}

pub(super) fn no_such(app: &App, account: &Account) -> HttpResponse {
    respond(&MessagePage::not_found(frame(app, account)), StatusCode::NOT_FOUND)
}

/// Lists them, newest first.
pub(super) async fn list(app: Data<App>, user: User, query: Query<ListQuery>) -> Result<HttpResponse, Problem> {
    let (account, now) = (user.session.account, user.now);
    let before: Option<AgentId> = query.before.as_deref().and_then(|id| id.parse().ok());
    let newest = before.is_none();
    let id = account.id.clone();
    let rows = app.db.read(move |conn| {
        let agents = account::agents_of(conn, &id, before.as_ref(), ROWS)?;
        agent_facts::views(conn, &agents, now)
    });
    let rows = rows.await?;
    let full = i64::try_from(rows.len()).is_ok_and(|count| count == ROWS);
    let older = rows.last().filter(|_| full).map(|last| last.id.clone());
    Ok(respond(&AgentsPage { frame: frame(&app, &account), rows, older, newest }, StatusCode::OK))
}

/// The page of one agent. `None`: the account has no such agent.
async fn page(app: &App, user: &User, id: &str, before: Option<String>) -> Result<Option<AgentPage>, Problem> {
    let Ok(id) = id.parse::<AgentId>() else { return Ok(None) };
    let (account, now) = (user.session.account.clone(), user.now);
    let can_resume = Empowered::is(&user.session, now).is_ok();
    let owner = account.id.clone();
    let newest = before.is_none();
    let found = app.db.read(move |conn| {
        let Some(agent) = account::agent_by_id(conn, &owner, &id)? else { return Ok::<_, DbError>(None) };
        let acts = audit::by_actor(conn, (&owner, &actor(&id)), before.as_deref().unwrap_or(""), ACTS)?;
        let consent = authorization::consent_of(conn, &agent)?;
        // It spends under the budget of its own orchestrator, in that one's currency.
        let currency = orchestrator::by_id(conn, &agent.key.orchestrator_id)?.map(|found| found.currency);
        let view = agent_facts::views(conn, &[agent], now)?.pop();
        Ok(view.map(|view| (view, acts, consent, currency)))
    });
    let Some((agent, acts, consent, currency)) = found.await? else { return Ok(None) };
    let limits = consent
        .map(|consent| limits_of(&consent.details))
        .transpose()
        .map_err(|error| Problem::new(&table::INTERNAL, "Something broke here.").because(error))?;
    let full = i64::try_from(acts.len()).is_ok_and(|count| count == ACTS);
    let words = limits.as_ref().map(|limits| limit_words(limits, &app.edition())).unwrap_or_default();
    Ok(Some(AgentPage {
        frame: frame(app, &account),
        limits: words,
        older: acts.last().filter(|_| full).map(|(id, ..)| id.clone()),
        acts: acts.iter().map(|(.., fact)| act(fact)).collect(),
        newest,
        can_resume,
        cap_form: CapForm::default(),
        currency: currency.map(|currency| currency.to_string()).unwrap_or_default(),
        agent,
        notice: None,
    }))
}

fn told(done: Done, page: &AgentPage) -> Option<String> {
    let name = &page.agent.name;
    match (done, page.agent.standing) {
        (Done::Paused, AgentStanding::Paused(_)) => {
            Some(format!("{name} is paused. No token of it works; keys of what it bought do."))
        }
        (Done::Resumed, AgentStanding::Going) => Some(format!("{name} may act again.")),
        (Done::Revoked, AgentStanding::Ended(_)) => Some(format!(
            "{name} gets nothing here any more. Keys of what it bought still work, and what is used with them still costs: \
             remove what you do not need, or stop new spending."
        )),
        (Done::Undone, AgentStanding::Ended(_)) => Some(format!(
            "{name} may do nothing here any more, and what it bought within the hour is being undone. What became of it \
             stands on your dashboard."
        )),
        (Done::Narrowed, AgentStanding::Going) => Some("It may do less now; the rest stands below.".to_owned()),
        (Done::Capped, _) => page.agent.cap.map(|cap| format!("It may spend at most {cap} in a calendar month now.")),
        _ => None,
    }
}

/// Shows one agent.
pub(super) async fn show(
    app: Data<App>,
    user: User,
    id: Path<String>,
    query: Query<PageQuery>,
) -> Result<HttpResponse, Problem> {
    let Some(mut page) = page(&app, &user, &id, query.before.clone()).await? else {
        return Ok(no_such(&app, &user.session.account));
    };
    page.notice = query.done.and_then(|done| told(done, &page)).map(Notice::Done);
    Ok(respond(&page, StatusCode::OK))
}

pub(super) fn back(id: &AgentId, done: &str) -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header((header::LOCATION, format!("/dashboard/agents/{id}?done={done}")))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .finish()
}

/// The agent that a form is about, if it is this account's.
pub(super) async fn own(app: &App, user: &User, id: &str) -> Result<Option<Agent>, Problem> {
    let Ok(id) = id.parse::<AgentId>() else { return Ok(None) };
    let account = user.session.account.id.clone();
    Ok(app.db.read(move |conn| account::agent_by_id(conn, &account, &id)).await?)
}

/// How often a lost race is run again: purchases of the agent may be under way in other processes.
const TRIES: u32 = 5;

/// Writes what an owner decided about an agent; every process hears of it within a second, this one now.
pub(super) async fn decided<T: Send + 'static>(
    app: &App,
    agent: &Agent,
    work: impl Fn(&mut DbConnection, &AccountId, &AgentId) -> Result<T, DbError> + Clone + Send + 'static,
) -> Result<T, Problem> {
    let lane = agent.key.account_id.to_string();
    let mut tries = TRIES;
    let written = loop {
        let (account, id, work) = (agent.key.account_id.clone(), agent.id.clone(), work.clone());
        match app.db.write(&lane, move |conn| work(conn, &account, &id)).await {
            Err(error) if idempotency::lost_race(&error) && tries > 0 => tries -= 1,
            other => break other,
        }
    };
    app.revocations.forget();
    Ok(written?)
}

/// Pauses an agent, at once and everywhere.
pub(super) async fn pause(
    app: Data<App>,
    _from: SameSite,
    user: User,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let Some(agent) = own(&app, &user, &id).await? else { return Ok(no_such(&app, &user.session.account)) };
    let (now, own) = (user.now, user.session.hash.clone());
    decided(&app, &agent, move |conn, account, id| {
        login::end_opened_by_links(conn, account, Some(&own), now)?;
        account::pause(conn, account, id, "owner", now)
    })
    .await?;
    Ok(back(&agent.id, "paused"))
}

/// Lets an agent go on, or come back: for somebody who logged in.
pub(super) async fn resume(
    app: Data<App>,
    _from: SameSite,
    human: Result<Empowered, NotHuman>,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let user: User = match human {
        Ok(human) => human.into(),
        Err(refused) => return Ok(refused.back_to(page_of(&id)).error_response()),
    };
    let Some(agent) = own(&app, &user, &id).await? else { return Ok(no_such(&app, &user.session.account)) };
    let now = user.now;
    decided(&app, &agent, move |conn, account, id| account::resume(conn, account, id, now)).await?;
    Ok(back(&agent.id, "resumed"))
}

fn page_of(id: &str) -> Onward {
    format!("/dashboard/agents/{id}").parse().unwrap_or_default()
}

/// Ends all that an agent may do.
pub(super) async fn revoke(
    app: Data<App>,
    _from: SameSite,
    user: User,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let Some(agent) = own(&app, &user, &id).await? else { return Ok(no_such(&app, &user.session.account)) };
    let (now, own) = (user.now, user.session.hash.clone());
    decided(&app, &agent, move |conn, account, id| {
        login::end_opened_by_links(conn, account, Some(&own), now)?;
        authorization::revoke_agent(conn, (account, id), "owner", now)
    })
    .await?;
    Ok(back(&agent.id, "revoked"))
}

#[derive(Debug, Deserialize)]
pub(super) struct ScopeForm {
    scope: String,
}

/// Takes one scope from an agent.
pub(super) async fn drop_scope(
    app: Data<App>,
    _from: SameSite,
    user: User,
    id: Path<String>,
    form: Form<ScopeForm>,
) -> Result<HttpResponse, Problem> {
    let Some(agent) = own(&app, &user, &id).await? else { return Ok(no_such(&app, &user.session.account)) };
    let unknown = |error| Problem::new(&table::BAD_REQUEST, format!("`scope`: {error}.")).with("field", "scope");
    let scope: Scope = form.0.scope.parse().map_err(unknown)?;
    let (account, id, now) = (agent.key.account_id, agent.id.clone(), user.now);
    let lane = account.to_string();
    let own = user.session.hash.clone();
    let dropped = app.db.write(&lane, move |conn| {
        if scope == Scope::DashboardLink {
            login::end_opened_by_links(conn, &account, Some(&own), now)?;
        }
        authorization::drop_scope(conn, (&account, &id), scope, now)
    });
    let dropped = dropped.await;
    app.revocations.forget();
    match dropped {
        Ok(()) => Ok(back(&agent.id, "narrowed")),
        Err(NarrowError::Db(error)) => Err(error.into()),
        Err(error) => {
            let Some(mut page) = page(&app, &user, agent.id.as_str(), None).await? else {
                return Ok(no_such(&app, &user.session.account));
            };
            page.notice = Some(Notice::Refused(match error {
                NarrowError::Nothing => "Nothing would be left for it to do. End it instead.".to_owned(),
                _ => "Somebody else changed it at this moment. Look again.".to_owned(),
            }));
            Ok(respond(&page, StatusCode::CONFLICT))
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct AmountForm {
    ceiling: String,
}

/// Lowers what an agent may spend in a month; works with the next decision.
pub(super) async fn lower_cap(
    app: Data<App>,
    _from: SameSite,
    user: User,
    id: Path<String>,
    form: Form<AmountForm>,
) -> Result<HttpResponse, Problem> {
    let (Some(mut page), Some(agent)) = (page(&app, &user, &id, None).await?, own(&app, &user, &id).await?) else {
        return Ok(no_such(&app, &user.session.account));
    };
    let account = &user.session.account;
    let (owner, through, now) = (account.id.clone(), agent.key.orchestrator_id.clone(), user.now);
    let own = app.db.read(move |conn| budget::view(conn, &owner, &through, now)).await?.own;
    let typed = form.0.ceiling;
    let again = |page: &mut AgentPage, problem: String| {
        page.cap_form = CapForm { typed: typed.clone(), problem: Some(problem), sure: None };
        respond(page, StatusCode::UNPROCESSABLE_ENTITY)
    };
    let Some(amount) = typed_amount(&typed, own.currency) else {
        return Ok(again(&mut page, not_an_amount(&typed, own.ceiling, own.currency)));
    };
    let cap = Money { amount, currency: own.currency };
    if own.ceiling <= amount {
        let most = Money { amount: own.ceiling, currency: own.currency };
        let problem =
            format!("What can be spent through its platform is {most}: for this agent it can only be lower than that.");
        return Ok(again(&mut page, problem));
    }
    let id: AgentId = page.agent.id.parse().map_err(|_bad| Problem::new(&table::INTERNAL, "Something broke here."))?;
    let (owner, agent) = (account.id.clone(), id.clone());
    let lowered = app.db.write(account.id.as_str(), move |conn| budget::lower_agent(conn, &owner, &agent, cap, now));
    match lowered.await {
        Ok(()) => Ok(back(&id, "capped")),
        Err(ChangeBudgetError::WouldRaise(known)) => {
            Ok(again(&mut page, format!("Its cap is {known}, and it can only be lowered.")))
        }
        Err(ChangeBudgetError::Db(error)) => Err(error.into()),
        Err(other) => Err(Problem::new(&table::INTERNAL, "The cap.").because(other)),
    }
}
