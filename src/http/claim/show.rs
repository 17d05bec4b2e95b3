//! The pages: what is missing, or everything at once.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Query};

use super::{ClaimQuery, claimed_already, name_of, page, standing};
use crate::account::Account;
use crate::app::App;
use crate::attestation::{CanonicalEmail, EmailTrust};
use crate::authorization::{Scope, Scopes};
use crate::claim::{self, Agent, By, Missing, Standing, View};
use crate::clock::Timestamp;
use crate::http::caller::{FreshlyLoggedIn, User};
use crate::http::dashboard::onward::Onward;
use crate::http::dashboard::pages::{ClaimAgent, ClaimPage, ClaimResource, ClaimStartPage, Frame, Second, respond};
use crate::http::problem::Problem;
use crate::orchestrator;

/// The screen for whoever proved enough; for everybody else, how to.
pub(super) async fn show(
    app: Data<App>,
    query: Query<ClaimQuery>,
    user: Option<User>,
) -> Result<HttpResponse, Problem> {
    let onward = query.onward();
    let Some(user) = user else {
        return Ok(respond(&start(&app, None, Missing::default(), &onward).await?, StatusCode::OK));
    };
    let account = &user.session.account;
    if account.is_claimed() {
        return Ok(claimed_already(&app, account, StatusCode::OK));
    }
    let is_fresh = FreshlyLoggedIn::is(&user.session, user.now).is_ok();
    match standing(&app, &user.session, user.now).await? {
        Standing::Missing(missing) => Ok(respond(&start(&app, Some(account), missing, &onward).await?, StatusCode::OK)),
        // The last log-in is a while ago: once more.
        _ if !is_fresh => Ok(respond(&start(&app, Some(account), Missing::default(), &onward).await?, StatusCode::OK)),
        standing => Ok(respond(&screen(&app, account, &standing, &onward, user.now).await?, StatusCode::OK)),
    }
}

/// How to prove what is missing.
pub(super) async fn start(
    app: &App,
    account: Option<&Account>,
    missing: Missing,
    onward: &Onward,
) -> Result<ClaimStartPage, Problem> {
    let here = page(onward);
    let opener = match account {
        Some(account) => {
            let id = account.opened_by.clone();
            app.db.read(move |conn| orchestrator::by_id(conn, &id)).await?
        }
        None => None,
    };
    let issuer = opener.as_ref().map(|opener| opener.issuer.as_str());
    let second = match &app.upstream {
        Some((upstream, name)) => Second::Upstream {
            name: name.clone(),
            opened: issuer == Some(upstream.issuer()),
            another: missing.another,
            done: missing.upstream,
        },
        None if app.claims_by_passkey() => Second::Passkey,
        None => Second::Nothing,
    };
    let log_in = here.log_in(FreshlyLoggedIn::WITHIN);
    Ok(ClaimStartPage {
        frame: Frame { provider: app.provider_name(), user: account.map(name_of) },
        opened_by: opener.map(|opener| opener.name.to_string()),
        email: account.and_then(|account| account.email.clone()).unwrap_or_default(),
        mail: app.post.mailer.is_on(),
        mail_done: missing.mail,
        elsewhere: missing.mail && !missing.here && app.claims_by_passkey(),
        second,
        to: here.to_string(),
        query: log_in.trim_start_matches("/login").to_owned(),
        max_age: FreshlyLoggedIn::WITHIN.num_seconds(),
    })
}

/// Everything that the human sees before they press.
pub(super) async fn screen(
    app: &App,
    account: &Account,
    standing: &Standing,
    onward: &Onward,
    now: Timestamp,
) -> Result<ClaimPage, Problem> {
    let seen = account.clone();
    let view = app.db.read(move |conn| claim::view(conn, &seen, now)).await?;
    let View { agents, clients, resources, budget, .. } = view;
    let opened_by = agents.iter().find(|agent| agent.opened).map(|agent| agent.name.clone()).unwrap_or_default();
    let resources = resources.into_iter().map(|(one, spent)| ClaimResource {
        name: if one.name.is_empty() { one.id.to_string() } else { one.name },
        plan: format!("{} / {}", one.service, one.plan),
        spent,
    });
    Ok(ClaimPage {
        frame: Frame { provider: app.provider_name(), user: Some(name_of(account)) },
        opened_by,
        opened_at: account.created_at,
        spent: budget.own.spent,
        cap: budget.own.ceiling,
        currency: budget.own.currency,
        period: budget.own.period,
        agents: agents.into_iter().map(row).collect(),
        clients,
        resources: resources.collect(),
        loses: loses(account, standing),
        passkey: matches!(standing, Standing::NeedsPasskey),
        to: onward.to_string(),
        problem: None,
    })
}

/// The address that the account loses.
fn loses(account: &Account, standing: &Standing) -> Option<String> {
    let Standing::Proven(By::Issuer(person)) = standing else { return None };
    let address = account.email.clone().filter(|_| account.email_trust != Some(EmailTrust::Verified))?;
    let own = address.parse::<CanonicalEmail>().ok().map(|own| own.as_str().to_owned());
    (own != person.email).then_some(address)
}

fn row(agent: Agent) -> ClaimAgent {
    ClaimAgent {
        id: agent.orchestrator_id.to_string(),
        name: agent.name,
        opened: agent.opened,
        since: agent.since,
        programs: agent.programs,
        last_token_at: agent.last_token_at,
        effects: effects(&agent.scopes),
        resources: agent.resources,
        spent: agent.spent,
    }
}

fn effects(scopes: &Scopes) -> Vec<String> {
    let known = [
        (Scope::ResourcesWrite, "create and remove resources, and spend"),
        (Scope::ResourcesRead, "see them"),
        (Scope::BudgetRead, "see the budget and the ledger"),
        (Scope::DashboardLink, "make links to your dashboard that can look, lower and stop"),
    ];
    let allowed = known.into_iter().filter(|(scope, _)| scopes.contains(*scope));
    allowed.map(|(_, words)| words.to_owned()).collect()
}
