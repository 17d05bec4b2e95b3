//! `/safety/{link}`: the link of the mail about a new agent. Without a log-in it pauses the agent, ends it, or stops new
//! spending; there is nothing else that it can do, and nothing of the account to see. Looking changes nothing.

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use actix_web::web::{Data, Path};

use super::agent_facts;
use super::pages::{Frame, MessagePage, Notice, SafetyPage, respond};
use crate::account::{self, Agent};
use crate::app::App;
use crate::authorization;
use crate::db::{DbConnection, DbError};
use crate::http::caller::SameSite;
use crate::http::problem::{Problem, table};
use crate::login;
use crate::payment::budget::{self, ChangeBudgetError};

fn gone(app: &App) -> HttpResponse {
    let text =
        "The address is not whole, the link is older than 30 days, or the account is closed. Nothing was changed.";
    let steps = vec!["Log in. On your dashboard, under Agents, you can do the same.".to_owned()];
    let page = MessagePage {
        frame: Frame::anonymous(app.provider_name()),
        heading: "This link does not work.".to_owned(),
        text: text.to_owned(),
        steps,
        request_id: None,
        log_in: Some("/login?to=/dashboard/agents".to_owned()),
    };
    unreferred(respond(&page, StatusCode::GONE))
}

/// The address is the key: it must not leave with the next click.
fn unreferred(mut answer: HttpResponse) -> HttpResponse {
    answer.headers_mut().insert(header::REFERRER_POLICY, header::HeaderValue::from_static("no-referrer"));
    answer
}

/// The agent of a link of ours, on an account that can be used.
async fn agent_of(app: &App, link: &str) -> Result<Option<Agent>, Problem> {
    let Some((id, until)) = app.post.safety.read(link, app.clock.now()) else { return Ok(None) };
    let made_at = until.minus(login::SAFETY_LIFETIME);
    let found = app.db.read(move |conn| {
        let Some(agent) = account::agent_of_link(conn, &id)? else { return Ok::<_, DbError>(None) };
        let owner = account::by_id(conn, &agent.key.account_id)?;
        // As with "I did not start this": who had the address before the claim has no word any more.
        let claimed = account::claimed_without_mailbox_at(conn, &agent.key.account_id)?;
        if claimed.is_some_and(|claimed| made_at.seconds() < claimed.seconds()) {
            return Ok(None);
        }
        Ok(Some(agent).filter(|_| owner.is_some_and(|owner| owner.state.is_usable())))
    });
    Ok(found.await?)
}

async fn page(app: &App, link: &str, agent: Agent, notice: Option<Notice>) -> Result<HttpResponse, Problem> {
    let found = app.db.read(move |conn| {
        let orchestrator = agent_facts::orchestrator_of(conn, &agent)?;
        let face = agent_facts::face(conn, &agent, &orchestrator)?;
        let stopped = budget::is_stopped(conn, &agent.key.account_id)?;
        Ok::<_, DbError>((face, agent, stopped))
    });
    let (face, agent, stopped) = found.await?;
    let page = SafetyPage {
        frame: Frame::anonymous(app.provider_name()),
        name: face.name,
        host: face.host,
        unverified: face.unverified,
        standing: agent_facts::standing(&agent),
        stopped,
        action: format!("/safety/{link}"),
        notice,
    };
    Ok(unreferred(respond(&page, StatusCode::OK)))
}

/// Shows what can be taken away.
pub(super) async fn show(app: Data<App>, link: Path<String>) -> Result<HttpResponse, Problem> {
    match agent_of(&app, &link).await? {
        Some(agent) => page(&app, &link, agent, None).await,
        None => Ok(gone(&app)),
    }
}

/// What a link can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Pause,
    Revoke,
    Stop,
}

impl Deed {
    fn of(word: &str) -> Option<Self> {
        match word {
            "pause" => Some(Self::Pause),
            "revoke" => Some(Self::Revoke),
            "stop" => Some(Self::Stop),
            _ => None,
        }
    }

    fn told(self) -> &'static str {
        match self {
            Self::Pause => "The agent is paused. Only you can let it go on, after a log-in.",
            Self::Revoke => {
                "The agent gets nothing on your account any more. What it bought runs on, and what is used there still costs."
            }
            Self::Stop => "New spending is stopped, for every agent. Only you can allow it again, after a log-in.",
        }
    }
}

fn perform(conn: &mut DbConnection, agent: &Agent, deed: Deed, now: crate::clock::Timestamp) -> Result<(), Problem> {
    let (account, id) = (&agent.key.account_id, &agent.id);
    if deed != Deed::Stop {
        login::end_opened_by_links(conn, account, None, now)?;
    }
    match deed {
        Deed::Pause => account::pause(conn, account, id, "link", now).map(drop)?,
        Deed::Revoke => authorization::revoke_agent(conn, (account, id), "link", now).map(drop)?,
        Deed::Stop => match budget::stop_spending(conn, account, "link", now) {
            Ok(()) => {}
            Err(ChangeBudgetError::Db(error)) => return Err(error.into()),
            Err(other) => return Err(Problem::new(&table::INTERNAL, "The switch.").because(other)),
        },
    }
    Ok(())
}

/// Takes it away.
pub(super) async fn take(
    app: Data<App>,
    _from: SameSite,
    path: Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let (link, word) = path.into_inner();
    let Some(deed) = Deed::of(&word) else { return Ok(gone(&app)) };
    let Some(agent) = agent_of(&app, &link).await? else { return Ok(gone(&app)) };
    let (lane, written, now) = (agent.key.account_id.to_string(), agent.clone(), app.clock.now());
    app.db.write(&lane, move |conn| perform(conn, &written, deed, now)).await?;
    app.revocations.forget();
    match agent_of(&app, &link).await? {
        Some(agent) => page(&app, &link, agent, Some(Notice::Done(deed.told().to_owned()))).await,
        None => Ok(gone(&app)),
    }
}
