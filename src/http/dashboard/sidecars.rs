//! `/dashboard/sidecars`: what becomes of separate accounts that were opened with the human's address. Only somebody who
//! logged in just now, to an account that they claimed, sees that there is one.

use std::collections::BTreeSet;

use actix_web::http::{StatusCode, header};
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpResponse, ResponseError as _};
use serde::Deserialize;

use super::consent::name_of;
use super::effects::{Wishes, groups};
use super::onward::Onward;
use super::pages::{Frame, Group, MessagePage, Notice, SidecarPage, SidecarRow, SidecarThing, SidecarsPage, respond};
use crate::account::{self, AccountState, Owner};
use crate::app::App;
use crate::authorization::{Before, Limits, Params, Scopes};
use crate::catalog::Edition;
use crate::clock::Timestamp;
use crate::http::caller::{Form, FreshlyLoggedIn, NotHuman, SameSite};
use crate::http::problem::{Problem, table};
use crate::ids::{AccountId, ResourceId};
use crate::login::Session;
use crate::money::Money;
use crate::resource::RehomeError;
use crate::sidecar::{self, Bring, DecideError, Deciding, Found};

/// The ticks; read from the bytes, because several have one name.
#[derive(Debug, Deserialize)]
pub(super) struct Ticks {
    sure: Option<String>,
}

/// What was done. The way back to the list names it, so that a page without script can say so. Anybody can write an
/// address: nothing is claimed that could hurt when it is not so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Done {
    Merged,
    Moved,
    Discarded,
}

#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    done: Option<Done>,
}

/// Whether the human of a session proved just now that they read the account's mailbox.
pub(super) fn reads_mailbox(session: &Session, now: Timestamp) -> bool {
    session.reads_mailbox(FreshlyLoggedIn::WITHIN, now)
}

fn deciding(human: &FreshlyLoggedIn, sidecar: AccountId) -> Deciding {
    Deciding {
        owner: human.session.account.id.clone(),
        reads_mailbox: reads_mailbox(&human.session, human.now),
        sidecar,
    }
}

fn frame(app: &App, human: &FreshlyLoggedIn) -> Frame {
    Frame { provider: app.provider_name(), user: Some(name_of(&human.session.account)) }
}

fn page_of(id: &str) -> Onward {
    format!("/dashboard/sidecars/{id}").parse().unwrap_or_default()
}

/// Those that wait for the human.
pub(super) async fn list(
    app: Data<App>,
    query: Query<ListQuery>,
    human: Result<FreshlyLoggedIn, NotHuman>,
) -> Result<HttpResponse, Problem> {
    let human = match human {
        Ok(human) => human,
        Err(refused) => return Ok(refused.error_response()),
    };
    let (id, reads_mailbox, now) =
        (human.session.account.id.clone(), reads_mailbox(&human.session, human.now), human.now);
    let found = app.db.read(move |conn| {
        let owner = Owner { account: &id, reads_mailbox };
        let proven = account::address_is_proven(conn, owner)?;
        Ok::<_, DecideError>((proven, sidecar::look(conn, owner, None, now)?))
    });
    let (proven, found) = found.await.map_err(broken)?;
    let rows = found.iter().map(|one| SidecarRow {
        id: one.account.id.to_string(),
        orchestrator: one.orchestrator.name.to_string(),
        opened_at: one.sidecar.opened_at,
        things: one.resources.len(),
        spent: Money { amount: one.budget.own.spent, currency: one.budget.own.currency },
    });
    let page = SidecarsPage {
        frame: frame(&app, &human),
        claimed: matches!(human.session.account.state, AccountState::Active { .. }),
        proven,
        rows: rows.collect(),
        notice: query.done.map(|done| Notice::Done(told(done).to_owned())),
    };
    Ok(respond(&page, StatusCode::OK))
}

fn told(done: Done) -> &'static str {
    match done {
        Done::Merged => "It is merged. What was there is in this account now, and the agent starts anew.",
        Done::Moved => "It is moved. What you chose is in this account now, and costs here.",
        Done::Discarded => "It is discarded. Nothing more is spent there; what was in it is being removed.",
    }
}

/// One of them: what is in it, and what can be done.
pub(super) async fn show(
    app: Data<App>,
    id: Path<String>,
    human: Result<FreshlyLoggedIn, NotHuman>,
) -> Result<HttpResponse, Problem> {
    match human {
        Ok(human) => page(&app, &human, &id, (StatusCode::OK, None, &BTreeSet::new())).await,
        Err(refused) => Ok(refused.error_response()),
    }
}

/// The page as it is now, with what came of the last try; the same 404 for every other account.
async fn page(
    app: &App,
    human: &FreshlyLoggedIn,
    id: &str,
    (status, notice, ticked): (StatusCode, Option<Notice>, &BTreeSet<ResourceId>),
) -> Result<HttpResponse, Problem> {
    let Ok(sidecar) = id.parse() else { return Ok(none(app, human)) };
    let (deciding, now) = (deciding(human, sidecar), human.now);
    let found = app.db.read(move |conn| {
        let owner = Owner { account: &deciding.owner, reads_mailbox: deciding.reads_mailbox };
        sidecar::look(conn, owner, Some(&deciding), now)
    });
    let found = match found.await {
        Ok(found) => found.into_iter().next(),
        Err(DecideError::Gone) => None,
        Err(error) => return Err(broken(error)),
    };
    let Some(found) = found else { return Ok(none(app, human)) };
    let mut page = written(&found, frame(app, human), (ticked, &app.edition()));
    page.notice = notice;
    Ok(respond(&page, status))
}

/// All that an agent can be allowed, each for itself.
fn everything(edition: &Edition) -> Vec<Group> {
    let (scopes, nothing) = (Scopes::all(), Scopes::default());
    let (before, limits) = (Before::default(), Limits::default());
    let (scopes, required, before, limits) = (&scopes, &nothing, &before, &limits);
    groups(&Wishes { scopes, required, before, limits, monthly: None, edition })
}

fn written(found: &Found, frame: Frame, (ticked, edition): (&BTreeSet<ResourceId>, &Edition)) -> SidecarPage {
    let own = &found.budget.own;
    let money = |amount| Money { amount, currency: own.currency };
    let things = found.resources.iter().map(|(resource, spent)| SidecarThing {
        id: resource.id.to_string(),
        name: resource.name.clone(),
        service: resource.service.clone(),
        plan: resource.plan.clone(),
        state: resource.state.as_str().replace('_', " "),
        created_at: resource.created_at,
        spent: *spent,
        ticked: ticked.contains(&resource.id),
    });
    SidecarPage {
        frame,
        id: found.account.id.to_string(),
        orchestrator: found.orchestrator.name.to_string(),
        email: name_of(&found.account),
        opened_at: found.sidecar.opened_at,
        spent: money(own.spent),
        held: money(own.held),
        cap: money(own.ceiling),
        own_cap: found.own_cap,
        things: things.collect(),
        groups: everything(edition),
        notice: None,
    }
}

/// Not the human's, decided on, or never there: one answer.
fn none(app: &App, human: &FreshlyLoggedIn) -> HttpResponse {
    let page = MessagePage {
        frame: frame(app, human),
        heading: "There is no such account for you to decide on.".to_owned(),
        text: "Somebody decided on it a moment ago, or it was never here. Nothing was changed by this.".to_owned(),
        steps: vec!["Go back to the list of separate accounts.".to_owned()],
        request_id: None,
        log_in: None,
    };
    respond(&page, StatusCode::NOT_FOUND)
}

/// Everything comes to the human's account.
pub(super) async fn merge(
    app: Data<App>,
    _from: SameSite,
    id: Path<String>,
    human: Result<FreshlyLoggedIn, NotHuman>,
    form: Form<Ticks>,
) -> Result<HttpResponse, Problem> {
    let words: Vec<String> = ticked(&form, "scope");
    let scopes = Scopes::known_of(&words.join(" "));
    brings(&app, &id, human, Bring::Everything(scopes), Done::Merged).await
}

/// Chosen things do.
pub(super) async fn move_some(
    app: Data<App>,
    _from: SameSite,
    id: Path<String>,
    human: Result<FreshlyLoggedIn, NotHuman>,
    form: Form<Ticks>,
) -> Result<HttpResponse, Problem> {
    let words = ticked(&form, "resource");
    let chosen: Result<BTreeSet<ResourceId>, _> = words.iter().map(|word| word.parse()).collect();
    let chosen = chosen.map_err(|_no_id| Problem::new(&table::BAD_REQUEST, "A ticked thing has no good id."))?;
    brings(&app, &id, human, Bring::Chosen(chosen), Done::Moved).await
}

fn ticked(form: &Form<Ticks>, name: &str) -> Vec<String> {
    let params = Params::parse(&form.1).unwrap_or_default();
    params.all(name).map(str::to_owned).collect()
}

async fn brings(
    app: &App,
    id: &str,
    human: Result<FreshlyLoggedIn, NotHuman>,
    what: Bring,
    done: Done,
) -> Result<HttpResponse, Problem> {
    let human = match human {
        Ok(human) => human,
        Err(refused) => return Ok(refused.back_to(page_of(id)).error_response()),
    };
    let Ok(sidecar) = id.parse() else { return Ok(none(app, &human)) };
    let deciding = deciding(&human, sidecar);
    match sidecar::bring(&app.desk, app.edition(), &deciding, &what, human.now).await {
        Ok(_) => Ok(done_with(app, done)),
        Err(error) => {
            let chosen = if let Bring::Chosen(chosen) = &what { chosen } else { &BTreeSet::new() };
            not_done(app, &human, id, error, chosen).await
        }
    }
}

/// It ends.
pub(super) async fn discard(
    app: Data<App>,
    _from: SameSite,
    id: Path<String>,
    human: Result<FreshlyLoggedIn, NotHuman>,
    form: Form<Ticks>,
) -> Result<HttpResponse, Problem> {
    let human = match human {
        Ok(human) => human,
        Err(refused) => return Ok(refused.back_to(page_of(&id)).error_response()),
    };
    let Ok(sidecar) = id.parse() else { return Ok(none(&app, &human)) };
    if form.0.sure.as_deref() != Some("yes") {
        let text = "Nothing was discarded. Tick that you want it gone for good, and press once more.";
        let notice = Some(Notice::Refused(text.to_owned()));
        return page(&app, &human, &id, (StatusCode::UNPROCESSABLE_ENTITY, notice, &BTreeSet::new())).await;
    }
    let deciding = deciding(&human, sidecar);
    match sidecar::discard(&app.db, &deciding, human.now).await {
        Ok(_) => Ok(done_with(&app, Done::Discarded)),
        Err(error) => not_done(&app, &human, &id, error, &BTreeSet::new()).await,
    }
}

/// Done: this process forgets what it remembered of tokens, so that those of the ended account end at once.
fn done_with(app: &App, done: Done) -> HttpResponse {
    app.revocations.forget();
    let list = match done {
        Done::Merged => "/dashboard/sidecars?done=merged",
        Done::Moved => "/dashboard/sidecars?done=moved",
        Done::Discarded => "/dashboard/sidecars?done=discarded",
    };
    HttpResponse::SeeOther()
        .insert_header((header::LOCATION, list))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .finish()
}

/// The page again, with why nothing was done.
async fn not_done(
    app: &App,
    human: &FreshlyLoggedIn,
    id: &str,
    error: DecideError,
    chosen: &BTreeSet<ResourceId>,
) -> Result<HttpResponse, Problem> {
    let (status, text) = match error {
        DecideError::Gone => return Ok(none(app, human)),
        DecideError::NothingChosen => {
            let text = "Nothing is ticked. Tick what the agent may do, or what is to be moved.".to_owned();
            (StatusCode::UNPROCESSABLE_ENTITY, text)
        }
        DecideError::MoneyHeld => {
            let text = "Money is held there for something that is not settled yet. Nothing was changed: try again when it \
                        is, mostly in a minute.";
            (StatusCode::CONFLICT, text.to_owned())
        }
        DecideError::Suspended => {
            let text = "The platform of this agent is not trusted at the moment, or something in the account is held back \
                        because of a risk. Nothing comes over from it. You can discard the account, or ask the \
                        provider's support.";
            (StatusCode::CONFLICT, text.to_owned())
        }
        DecideError::Link(error) => {
            tracing::warn!(sidecar = id, error = %error, "a sidecar's person was not linked");
            (StatusCode::CONFLICT, "The agent could not be linked to this account. Nothing was changed.".to_owned())
        }
        DecideError::Contended => (
            StatusCode::CONFLICT,
            "The agent is at work there at this moment. Nothing was changed: try again.".to_owned(),
        ),
        DecideError::Resource(error) => (StatusCode::CONFLICT, in_the_way(&error)?),
        error @ (DecideError::Seal(_) | DecideError::Db(_)) => return Err(broken(error)),
    };
    page(app, human, id, (status, Some(Notice::Refused(text)), chosen)).await
}

/// Which thing is in the way, and what to do.
fn in_the_way(error: &RehomeError) -> Result<String, Problem> {
    Ok(match error {
        RehomeError::Busy(name) => {
            format!("{name} is being made, changed or removed. Nothing was changed: try again when that is done.")
        }
        RehomeError::NeedsAttention(name) => {
            format!(
                "{name} needs the provider's support first. Nothing was changed: ask them, or move the other things."
            )
        }
        RehomeError::PaidTogether(name) => {
            format!("{name} is paid with the same payment token. Nothing was changed: move both, or neither.")
        }
        RehomeError::Constraint(error) => format!("The catalog does not allow it: {error}. Nothing was changed."),
        RehomeError::TooMany => {
            "There is more in it than can come at once. Nothing was changed: move some of the things first.".to_owned()
        }
        RehomeError::Changed => "It changed at the same moment. Nothing was changed by you: look again.".to_owned(),
        RehomeError::Inconsistent(_) | RehomeError::Db(_) => {
            return Err(Problem::new(&table::INTERNAL, "Something broke here. Nothing was changed.").because(error));
        }
    })
}

fn broken(error: DecideError) -> Problem {
    match error {
        DecideError::Db(error) => error.into(),
        error => Problem::new(&table::INTERNAL, "Something broke here. Nothing was changed.").because(error),
    }
}
