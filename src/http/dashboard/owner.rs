//! What an owner does with the account as a whole, after a fresh log-in: taking everything out, removing a resource, ending
//! it.

use actix_web::http::{StatusCode, header};
use actix_web::web::{Bytes, Data, Path, Query};
use actix_web::{HttpResponse, ResponseError as _};
use serde::Deserialize;

use super::agent_facts;
use super::agents::frame;
use super::onward::Onward;
use super::pages::{
    AccountPage, ClosePage, ExportPage, Frame, MessagePage, Notice, ResourceCharge, ResourcePage, ResourceRow, respond,
};
use crate::account::{self, AgentKey, CloseError};
use crate::app::App;
use crate::db::DbError;
use crate::http::caller::{Form, FreshlyLoggedIn, NotHuman, SameSite, User, session_cookie};
use crate::http::problem::{Problem, table};
use crate::ids::ResourceId;
use crate::orchestrator;
use crate::owner::export::{Export, ExportError};
use crate::owner::{self, CloseAccountError};
use crate::payment::budget::ChangeBudgetError;
use crate::payment::charge::ChargeState;
use crate::resource::{self, By, RemoveError, Resource, ResourceState};

/// What has to be typed to close an account.
const WORD: &str = "close";

/// The page that leads to the others.
pub(super) async fn show_account(app: Data<App>, user: User) -> Result<HttpResponse, Problem> {
    let account = user.session.account;
    let opened_by = account.opened_by.clone();
    let found = app.db.read(move |conn| orchestrator::by_id(conn, &opened_by)).await?;
    let page = AccountPage {
        frame: frame(&app, &account),
        id: account.id.to_string(),
        state: account.state.as_str(),
        opened_by: found.map(|found| found.name.to_string()).unwrap_or_default(),
        opened_at: account.created_at,
    };
    Ok(respond(&page, StatusCode::OK))
}

/// Says what is in the document.
pub(super) async fn show_export(
    app: Data<App>,
    human: Result<FreshlyLoggedIn, NotHuman>,
) -> Result<HttpResponse, Problem> {
    match human {
        Ok(human) => Ok(respond(&ExportPage { frame: frame(&app, &human.session.account) }, StatusCode::OK)),
        Err(refused) => Ok(refused.error_response()),
    }
}

/// Writes the document, piece by piece. When a piece cannot be read, the answer breaks off.
pub(super) async fn export(
    app: Data<App>,
    _from: SameSite,
    human: Result<FreshlyLoggedIn, NotHuman>,
) -> Result<HttpResponse, Problem> {
    let human = match human {
        Ok(human) => human,
        Err(refused) => return Ok(refused.back_to(path("/dashboard/export")).error_response()),
    };
    let account = human.session.account.id;
    let name = format!("attachment; filename=\"{account}.json\"");
    let (owner, by, now) = (account.clone(), human.session.authentication.method, human.now);
    app.db.write(account.as_str(), move |conn| owner::note_export(conn, &owner, by, now)).await?;
    let export = Export::new(app.db.clone(), app.person_sealer.clone(), account, human.now);
    let pieces = futures_util::stream::try_unfold(export, |export| async move {
        let next = export.next().await.inspect_err(|error: &ExportError| {
            tracing::error!(error = %error, "an export broke off");
        })?;
        Ok::<_, ExportError>(next.map(|(text, rest)| (Bytes::from(text), rest)))
    });
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "application/json"))
        .insert_header((header::CONTENT_DISPOSITION, name))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .streaming(Box::pin(pieces)))
}

fn path(text: &str) -> Onward {
    text.parse().unwrap_or_default()
}

async fn close_page(app: &App, user: &User, typed: Option<String>) -> Result<ClosePage, Problem> {
    let account = user.session.account.id.clone();
    let ending = app.db.read(move |conn| owner::ending(conn, &account)).await?;
    Ok(ClosePage {
        frame: frame(app, &user.session.account),
        resources: ending.resources,
        agents: ending.agents,
        holds: ending.holds,
        days: account::KEPT_LINKS.num_days(),
        typed,
    })
}

/// Says exactly what ends.
pub(super) async fn show_close(
    app: Data<App>,
    human: Result<FreshlyLoggedIn, NotHuman>,
) -> Result<HttpResponse, Problem> {
    let user: User = match human {
        Ok(human) => human.into(),
        Err(refused) => return Ok(refused.error_response()),
    };
    Ok(respond(&close_page(&app, &user, None).await?, StatusCode::OK))
}

#[derive(Debug, Deserialize)]
pub(super) struct CloseForm {
    word: String,
}

/// Ends the account.
pub(super) async fn close(
    app: Data<App>,
    _from: SameSite,
    human: Result<FreshlyLoggedIn, NotHuman>,
    form: Form<CloseForm>,
) -> Result<HttpResponse, Problem> {
    let user: User = match human {
        Ok(human) => human.into(),
        Err(refused) => return Ok(refused.back_to(path("/dashboard/close")).error_response()),
    };
    if form.0.word.trim() != WORD {
        let page = close_page(&app, &user, Some(form.0.word)).await?;
        return Ok(respond(&page, StatusCode::UNPROCESSABLE_ENTITY));
    }
    let (account, now) = (user.session.account.id.clone(), user.now);
    let lane = account.to_string();
    let closed = app.db.write(&lane, move |conn| owner::close(conn, &account, now)).await;
    app.revocations.forget();
    match closed {
        Ok(()) => {}
        // Whoever pressed twice sees the same.
        Err(CloseAccountError::Close(CloseError::State(step))) if ["closing", "closed"].contains(&step.from) => {}
        Err(CloseAccountError::Close(error @ (CloseError::State(_) | CloseError::Changed))) => {
            let why =
                "The account was changed at the same moment, or is frozen. Nothing was closed: load the page again.";
            return Err(Problem::new(&table::ACCOUNT_UNUSABLE, why).because(error));
        }
        Err(
            CloseAccountError::Close(CloseError::Db(error))
            | CloseAccountError::Budget(ChangeBudgetError::Db(error))
            | CloseAccountError::Db(error),
        ) => return Err(error.into()),
        Err(other) => return Err(Problem::new(&table::INTERNAL, "The account.").because(other)),
    }
    let text = "Nothing works on it any more: no log-in, no agent, no purchase. What it had is being removed, and what is \
                held is settled. When that is done, the account is closed.";
    let page = MessagePage {
        frame: Frame::anonymous(app.provider_name()),
        heading: "Your account is closing.".to_owned(),
        text: text.to_owned(),
        steps: Vec::new(),
        request_id: None,
        log_in: None,
    };
    let mut answer = respond(&page, StatusCode::OK);
    let forgotten = answer.add_cookie(&session_cookie(&app, None));
    forgotten.map_err(|error| Problem::new(&table::INTERNAL, "The cookie.").because(error))?;
    Ok(answer)
}

#[derive(Debug, Deserialize)]
pub(super) struct ResourceQuery {
    done: Option<String>,
}

/// A resource of the account with everything that its page shows.
async fn resource_page(app: &App, user: &User, id: &str) -> Result<Option<ResourcePage>, Problem> {
    let Ok(id) = id.parse::<ResourceId>() else { return Ok(None) };
    let account = user.session.account.clone();
    let (owner, opened_by) = (account.id.clone(), account.opened_by.clone());
    let found = app.db.read(move |conn| {
        let Some(resource) = resource::by_id(conn, &owner, &id)? else { return Ok::<_, DbError>(None) };
        let charge = resource::charge_of(conn, &resource)?;
        let currency = orchestrator::by_id(conn, &opened_by)?.ok_or(diesel::result::Error::NotFound)?.currency;
        let agent = match &resource.client {
            Some(client) => {
                let key = AgentKey {
                    account_id: owner,
                    orchestrator_id: resource.orchestrator_id.clone(),
                    client: client.clone(),
                };
                account::agent_by_key(conn, &key)?
            }
            None => None,
        };
        let bought_by = match agent {
            Some(agent) => {
                let orchestrator = agent_facts::orchestrator_of(conn, &agent)?;
                Some(agent_facts::face(conn, &agent, &orchestrator)?.name)
            }
            None => None,
        };
        let spent = crate::payment::spent_on(conn, &resource.account_id, &resource.id)?;
        Ok(Some((resource, charge, currency, bought_by, spent)))
    });
    let Some((resource, charge, currency, bought_by, spent)) = found.await? else { return Ok(None) };
    let charge = match charge {
        Some((ChargeState::Unknown, held)) => ResourceCharge::BeingConfirmed { spent, held: held.amount },
        _ => ResourceCharge::Spent(spent),
    };
    let removable = matches!(resource.state, ResourceState::Ready | ResourceState::Suspended);
    let row = row(resource, charge);
    Ok(Some(ResourcePage { frame: frame(app, &account), row, currency, bought_by, removable, notice: None }))
}

fn row(resource: Resource, charge: ResourceCharge) -> ResourceRow {
    ResourceRow {
        id: resource.id.to_string(),
        name: resource.name,
        service: resource.service,
        plan: resource.plan,
        state: resource.state.as_str().to_owned(),
        reason: resource.state_reason,
        charge,
        created_at: resource.created_at,
    }
}

fn no_such(app: &App, user: &User) -> HttpResponse {
    respond(&MessagePage::not_found(frame(app, &user.session.account)), StatusCode::NOT_FOUND)
}

/// One resource.
pub(super) async fn show_resource(
    app: Data<App>,
    user: User,
    id: Path<String>,
    query: Query<ResourceQuery>,
) -> Result<HttpResponse, Problem> {
    let Some(mut page) = resource_page(&app, &user, &id).await? else { return Ok(no_such(&app, &user)) };
    let gone = matches!(page.row.state.as_str(), "removing" | "removed");
    if query.done.as_deref() == Some("removed") && gone {
        page.notice =
            Some(Notice::Done("It is removed, or will be in a moment. Its credentials no longer work.".into()));
    }
    Ok(respond(&page, StatusCode::OK))
}

/// Removes a resource, for its owner who logged in just now.
pub(super) async fn remove_resource(
    app: Data<App>,
    _from: SameSite,
    human: Result<FreshlyLoggedIn, NotHuman>,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let user: User = match human {
        Ok(human) => human.into(),
        Err(refused) => return Ok(refused.back_to(path(&format!("/dashboard/resources/{id}"))).error_response()),
    };
    let Some(mut page) = resource_page(&app, &user, &id).await? else { return Ok(no_such(&app, &user)) };
    let id: ResourceId = page.row.id.parse().map_err(|_bad| Problem::new(&table::INTERNAL, "Something broke here."))?;
    let account = user.session.account.id.clone();
    let removed = resource::remove(&app.desk, app.edition(), (&account, &id), &By::Owner, user.now).await;
    let refused = match removed {
        Ok(()) => {
            return Ok(HttpResponse::SeeOther()
                .insert_header((header::LOCATION, format!("/dashboard/resources/{id}?done=removed")))
                .insert_header((header::CACHE_CONTROL, "no-store"))
                .finish());
        }
        Err(RemoveError::Constraint(why)) => format!("It cannot be removed: {why}."),
        Err(RemoveError::Busy(_)) => "Work on it is not finished, or a human has to look at it first.".to_owned(),
        Err(RemoveError::NotFound) => return Ok(no_such(&app, &user)),
        Err(error) => return Err(error.into()),
    };
    page.notice = Some(Notice::Refused(refused));
    Ok(respond(&page, StatusCode::CONFLICT))
}
