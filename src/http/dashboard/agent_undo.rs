//! `/dashboard/agents/{id}/undo`: ends an agent and undoes what it bought within the hour, after a list of exactly that.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpResponse, ResponseError as _};
use serde::Deserialize;

use super::agent_facts;
use super::agents::{back, decided, frame, no_such, own};
use super::onward::Onward;
use super::pages::{UndoPage, UndoRow, respond};
use crate::app::App;
use crate::clock::Timestamp;
use crate::db::DbError;
use crate::http::caller::{Form, FreshlyLoggedIn, NotHuman, SameSite, User};
use crate::http::problem::Problem;
use crate::owner;
use crate::resource::Unmaking;

fn page_of(id: &str) -> Onward {
    format!("/dashboard/agents/{id}/undo").parse().unwrap_or_default()
}

fn row(reach: owner::Reach) -> UndoRow {
    let resource = reach.resource;
    let becomes = match reach.becomes {
        Unmaking::Removed => "It is removed, and its credentials stop working.",
        Unmaking::TakenBack => {
            "Its purchase is taken back if its money is not taken yet; else it is finished and removed."
        }
        Unmaking::Nothing => "It is being removed already.",
        Unmaking::Stuck => "It cannot be undone from here: a human at the provider has to look at it.",
    };
    let money = match reach.paid {
        Some((money, true)) => format!("{money} was taken for it and is not given back by this."),
        Some((money, false)) => format!("{money} is held for it, and is set free if it was not taken meanwhile."),
        None => String::new(),
    };
    let plan = format!("{} / {}", resource.service, resource.plan);
    let name = if resource.name.is_empty() { plan.clone() } else { resource.name };
    UndoRow { name, plan, bought_at: resource.created_at, becomes, money }
}

/// Lists what undoing the last hour would reach.
pub(super) async fn show(
    app: Data<App>,
    human: Result<FreshlyLoggedIn, NotHuman>,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let user: User = match human {
        Ok(human) => human.into(),
        Err(refused) => return Ok(refused.back_to(page_of(&id)).error_response()),
    };
    let Some(agent) = own(&app, &user, &id).await? else { return Ok(no_such(&app, &user.session.account)) };
    let now = user.now;
    let found = app.db.read(move |conn| {
        let orchestrator = agent_facts::orchestrator_of(conn, &agent)?;
        let name = agent_facts::face(conn, &agent, &orchestrator)?.name;
        Ok::<_, DbError>((name, owner::undo_preview(conn, agent, now)?))
    });
    let (name, undo) = found.await?;
    let page = UndoPage {
        frame: frame(&app, &user.session.account),
        id: undo.agent.id.to_string(),
        name,
        rows: undo.reach.into_iter().map(row).collect(),
        more: undo.more,
        since: now.minus(owner::UNDO_REACH),
    };
    Ok(respond(&page, StatusCode::OK))
}

#[derive(Debug, Deserialize)]
pub(super) struct UndoForm {
    /// From when on the page listed, in microseconds; nothing where no page was shown.
    since: Option<i64>,
}

/// Ends the agent, and undoes what it bought within the hour.
pub(super) async fn undo(
    app: Data<App>,
    _from: SameSite,
    human: Result<FreshlyLoggedIn, NotHuman>,
    id: Path<String>,
    form: Form<UndoForm>,
) -> Result<HttpResponse, Problem> {
    let user: User = match human {
        Ok(human) => human.into(),
        Err(refused) => return Ok(refused.back_to(page_of(&id)).error_response()),
    };
    let Some(agent) = own(&app, &user, &id).await? else { return Ok(no_such(&app, &user.session.account)) };
    let now = user.now;
    // What the page listed is undone, though reading it took a while: no longer than its log-in is fresh.
    let hour = now.minus(owner::UNDO_REACH);
    let listed = form.0.since.map_or(hour, Timestamp::from_micros);
    let from = listed.max(hour.minus(FreshlyLoggedIn::WITHIN)).min(hour);
    decided(&app, &agent, move |conn, account, id| owner::revoke_and_undo(conn, (account, id), from, now)).await?;
    // It is decided; what fails here is taken up by a worker.
    if let Err(error) = owner::undo_due(&app.db, now).await {
        tracing::error!(error = %error, "an undoing is left to a worker");
    }
    Ok(back(&agent.id, "undone"))
}
