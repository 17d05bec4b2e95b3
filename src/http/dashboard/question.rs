//! The page of a program's question: who asks, what it could do, what it could cost, and what was decided before.

use actix_web::HttpResponse;
use url::Url;

use super::consent::{cap_of, name_of, shown};
use super::effects::{Wishes, asks, difference, groups, limit_words, offer, things};
use super::pages::{ConsentPage, Difference, Frame, PlanRow, PlanTable, Voucher};
use crate::account::{self, Account, AgentKey, Barred};
use crate::app::App;
use crate::authorization::{Asked, Before, Client, ClientOrigin, Detail, Limits, PlanLine, Scope, Trust, limits_of};
use crate::catalog::Edition;
use crate::http::problem::{Problem, table};
use crate::money::{Amount, Money};
use crate::orchestrator;

/// The request behind an address, and who asks, as they are now.
pub(super) struct Question {
    pub(super) asked: Asked,
    pub(super) client: Client,
}

impl Question {
    /// How far a decision about it can be kept.
    pub(super) fn trust(&self) -> Trust {
        self.client.trust(&self.asked.request.redirect_uri)
    }

    /// What is asked for in numbers.
    pub(super) fn limits(&self) -> Result<Limits, Problem> {
        limits_in(&self.asked.request.details)
    }
}

fn limits_in(details: &[Detail]) -> Result<Limits, Problem> {
    limits_of(details).map_err(|error| Problem::new(&table::INTERNAL, "Something broke here.").because(error))
}

/// The page, for the human of `account`.
pub(super) async fn ask(
    app: &App,
    question: &Question,
    account: &Account,
    (handle, before): (&str, &Before),
) -> Result<HttpResponse, Problem> {
    let Question { asked, client } = question;
    let (request, edition) = (&asked.request, app.edition());
    let limits = question.limits()?;
    let spends = request.scopes.contains(Scope::ResourcesWrite);
    let monthly = if spends { Some(lower(cap(app, account).await?, &limits)) } else { None };
    let required = request.required();
    let scopes = &request.scopes;
    let wishes = Wishes { scopes, required: &required, before, limits: &limits, monthly, edition: &edition };
    let mut warnings = warnings(question);
    let key = AgentKey {
        account_id: account.id.clone(),
        orchestrator_id: account.opened_by.clone(),
        client: request.client.clone(),
    };
    warnings.extend(what_it_lifts(app, key).await?);
    let target: Option<Url> = request.redirect_uri.parse().ok();
    let page = ConsentPage {
        frame: Frame { provider: app.provider_name(), user: Some(name_of(account)) },
        asker: client.called(),
        voucher: voucher(client),
        client: None,
        warnings,
        changed_since: before.changed_since,
        email: None,
        account: name_of(account),
        monthly,
        spends_until: limits.ends_at,
        creates: creates(&limits).filter(|_| spends),
        asks: asks(scopes),
        groups: groups(&wishes),
        plan: plan_table(&limits, &request.details, monthly, &edition),
        difference: more(&wishes, before, &edition)?,
        now: app.clock.now(),
        asked_at: asked.created_at,
        until: asked.expires_at,
        returns_to: target.as_ref().map(shown_target),
        action: format!("/consent/{handle}"),
        query: String::new(),
    };
    Ok(shown(&page, target.as_ref().map(origin).as_deref()))
}

/// What its owner took from the whole agent, and would give back by allowing it anything.
pub(super) async fn what_it_lifts(app: &App, agent: AgentKey) -> Result<Option<&'static str>, Problem> {
    let known = app.db.read(move |conn| account::agent_by_key(conn, &agent)).await?;
    Ok(known.and_then(|agent| agent.barred()).map(|barred| match barred {
        Barred::Paused => "You paused it. If you allow this, all that it may do works again, not only this.",
        Barred::Revoked => "You ended it. If you allow this, it comes back, with this and nothing from before.",
    }))
}

/// What the account may spend in a month.
async fn cap(app: &App, account: &Account) -> Result<Money, Problem> {
    let opened_by = account.opened_by.clone();
    let found = app.db.read(move |conn| orchestrator::by_id(conn, &opened_by)).await?;
    let gone =
        || Problem::new(&table::INTERNAL, "Something broke here.").because("an account without its orchestrator");
    cap_of(app, account, &found.ok_or_else(gone)?).await
}

/// The lower of the account's cap and what is asked for.
fn lower(cap: Money, limits: &Limits) -> Money {
    match limits.per_month {
        Some(asked) if asked.currency == cap.currency && asked.amount < cap.amount => asked,
        _ => cap,
    }
}

fn creates(limits: &Limits) -> Option<String> {
    if limits.plan.is_empty() {
        return limits.max_count.map(|count| format!("up to {}", things(count)));
    }
    Some(things(limits.plan.iter().fold(0, |sum, line| sum.saturating_add(line.count))))
}

/// What is asked beyond what was allowed: scopes, and numbers when they are higher.
fn more(wishes: &Wishes<'_>, before: &Before, edition: &Edition) -> Result<Option<Difference>, Problem> {
    if !before.allowed.contains(Scope::ResourcesWrite) {
        // Nothing could be bought before: all numbers are new.
        return Ok(difference(wishes, limit_words(wishes.limits, edition), Vec::new()));
    }
    let had = limit_words(&limits_in(&before.details)?, edition);
    if !before.beyond {
        return Ok(difference(wishes, Vec::new(), had));
    }
    let said =
        |words: Vec<String>| if words.is_empty() { vec!["no limit but the account's cap".to_owned()] } else { words };
    Ok(difference(wishes, said(limit_words(wishes.limits, edition)), said(had)))
}

fn plan_table(limits: &Limits, details: &[Detail], monthly: Option<Money>, edition: &Edition) -> Option<PlanTable> {
    let worst = details.iter().find_map(|detail| match detail {
        Detail::Plan { worst_case, .. } => worst_case.as_ref(),
        _ => None,
    })?;
    Some(PlanTable {
        rows: limits.plan.iter().map(|line| row(line, edition)).collect(),
        lower: monthly.filter(|most| worst.money().is_some_and(|worst| most.amount < worst.amount)),
        total: worst.money().map_or_else(|| "nothing".to_owned(), |money| money.to_string()),
        catalog_version: worst.catalog_version,
    })
}

fn row(line: &PlanLine, edition: &Edition) -> PlanRow {
    let offer = offer(edition, &line.service, &line.plan);
    let each = line.most_each().ok().flatten();
    let all = each.and_then(|each| {
        let minor = each.amount.minor().checked_mul(i64::from(line.count))?;
        Some(Money { amount: Amount::from_minor(minor).ok()?, currency: each.currency? })
    });
    PlanRow {
        count: line.count,
        name: offer.map_or_else(
            || format!("{}/{}", line.service, line.plan),
            |offer| format!("{} · {}", offer.service_title, offer.plan.title),
        ),
        price: offer.map(|offer| offer.plan.price.to_string()).unwrap_or_default(),
        most: all.map_or_else(|| "free".to_owned(), |money| money.to_string()),
    }
}

fn voucher(client: &Client) -> Voucher {
    match (client.origin, client.proven_host()) {
        (ClientOrigin::Operator, _) => Voucher::Provider(None),
        (ClientOrigin::Document, Some(host)) => Voucher::Domain(host),
        (ClientOrigin::Document | ClientOrigin::Registration, _) => Voucher::Nobody,
    }
}

/// What a human should know before believing a name.
fn warnings(question: &Question) -> Vec<&'static str> {
    let mut warnings = Vec::new();
    match question.client.origin {
        ClientOrigin::Operator => {}
        ClientOrigin::Document => {
            warnings.push("The domain is proven. The name is what it calls itself; nobody checked it.");
        }
        ClientOrigin::Registration => warnings.push("It registered itself. Nobody checked its name."),
    }
    if question.trust() == Trust::Local {
        warnings.push(
            "The answer goes to a program on this computer, and any program here can take this name. Allow it only if you \
             started that program just now. Your answer is not remembered: it asks each time.",
        );
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
