//! `GET /v1/budget` and `GET /v1/ledger`: every number on the dashboard is also here.

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::{Data, Query};
use serde::Serialize;
use utoipa::ToSchema;

use super::page::PageQuery;
use crate::app::App;
use crate::db::DbError;
use crate::http::caller::{BudgetRead, Caller};
use crate::http::problem::Problem;
use crate::payment;
use crate::payment::budget::{self, Budget, Ceiling};
use crate::payment::ledger_entry::LedgerEntry;

/// What may still be spent. Amounts are minor units of `currency`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BudgetView {
    currency: String,
    /// The cap for the period. It blocks, and is never passed.
    ceiling: i64,
    spent: i64,
    /// Reserved for what is being set up.
    held: i64,
    /// The ceiling less what is spent and held.
    remaining: i64,
    period: PeriodView,
    resets_at: String,
    /// Which ceiling has the least left: `budget` or `payment_token`.
    binding: &'static str,
    /// Every ceiling in force.
    ceilings: Vec<CeilingView>,
    /// Whether the owner has stopped new spending.
    spending_stopped: bool,
    as_of: String,
}

/// A half-open interval `[start, end)`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PeriodView {
    start: String,
    end: String,
}

/// One ceiling.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CeilingView {
    kind: &'static str,
    /// The last characters of a payment token's id; empty for the budget.
    label: String,
    currency: String,
    ceiling: i64,
    spent: i64,
    held: i64,
    remaining: i64,
    period: PeriodView,
}

impl From<&Ceiling> for CeilingView {
    fn from(one: &Ceiling) -> Self {
        Self {
            kind: one.kind.as_str(),
            label: one.label.clone(),
            currency: one.currency.to_string(),
            ceiling: one.ceiling.minor(),
            spent: one.spent.minor(),
            held: one.held.minor(),
            remaining: one.remaining().minor(),
            period: PeriodView { start: one.period.start.to_rfc3339(), end: one.period.end.to_rfc3339() },
        }
    }
}

impl From<&Budget> for BudgetView {
    fn from(budget: &Budget) -> Self {
        let own = CeilingView::from(&budget.own);
        let binding = budget::binding(budget).kind.as_str();
        let ceilings = std::iter::once(&budget.own).chain(&budget.tokens).map(CeilingView::from).collect();
        Self {
            currency: own.currency,
            ceiling: own.ceiling,
            spent: own.spent,
            held: own.held,
            remaining: own.remaining,
            resets_at: own.period.end.clone(),
            period: own.period,
            binding,
            ceilings,
            spending_stopped: budget.stopped_at.is_some(),
            as_of: budget.as_of.to_rfc3339(),
        }
    }
}

/// What was spent, is held, and is left.
#[utoipa::path(get, path = "/v1/budget", tag = "budget",
    responses((status = 200, body = BudgetView), (status = 401), (status = 403)),
    security(("access_token" = ["budget:read"])))]
pub(crate) async fn get_budget(app: Data<App>, caller: Caller<BudgetRead>) -> Result<HttpResponse, Problem> {
    let (account, orchestrator, now) =
        (caller.token.account_id.clone(), caller.token.orchestrator_id.clone(), caller.now);
    let budget = app.db.read(move |conn| budget::view(conn, &account, &orchestrator, now)).await?;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(BudgetView::from(&budget)))
}

/// A page of the ledger, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LedgerPage {
    data: Vec<LedgerEntryView>,
    /// For the next page; nothing on the last one.
    next_cursor: Option<String>,
}

/// One entry; the ledger only grows, and each entry names the hash of the one before.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LedgerEntryView {
    sequence: i64,
    id: String,
    /// `hold`, `capture`, `release`, `usage`.
    kind: String,
    hold_id: Option<String>,
    resource_id: Option<String>,
    currency: String,
    /// What was added to what is held (negative: given back).
    held_change: i64,
    /// What was added to what is spent.
    spent_change: i64,
    description: String,
    at: String,
    previous_hash: String,
    hash: String,
}

impl From<LedgerEntry> for LedgerEntryView {
    fn from(entry: LedgerEntry) -> Self {
        Self {
            sequence: entry.sequence,
            id: entry.id,
            kind: entry.kind,
            hold_id: entry.hold_id,
            resource_id: entry.resource_id,
            currency: entry.currency,
            held_change: entry.held_change,
            spent_change: entry.spent_change,
            description: entry.description,
            at: entry.at.to_rfc3339(),
            previous_hash: entry.previous_hash,
            hash: entry.hash,
        }
    }
}

/// Everything that moved money, newest first.
#[utoipa::path(get, path = "/v1/ledger", tag = "budget",
    params(PageQuery), responses((status = 200, body = LedgerPage), (status = 400), (status = 401), (status = 403)),
    security(("access_token" = ["budget:read"])))]
pub(crate) async fn list_ledger(
    app: Data<App>,
    caller: Caller<BudgetRead>,
    page: Query<PageQuery>,
) -> Result<HttpResponse, Problem> {
    let (limit, before) = (page.limit()?, page.cursor::<i64>()?.unwrap_or(i64::MAX));
    let account = caller.token.account_id.clone();
    let entries =
        app.db.read(move |conn| payment::entries_before(conn, &account, before, limit).map_err(DbError::from)).await?;
    let full = i64::try_from(entries.len()).is_ok_and(|count| count == limit);
    let next_cursor = entries.last().filter(|last| full && 1 < last.sequence).map(|last| last.sequence.to_string());
    let page = LedgerPage { data: entries.into_iter().map(LedgerEntryView::from).collect(), next_cursor };
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(page))
}
