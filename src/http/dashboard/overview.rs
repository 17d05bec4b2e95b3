//! `GET /dashboard`: the money on one page.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Query};
use serde::Deserialize;

use super::change::Done;
use super::facts::{self, NEWEST};
use super::pages::{LedgerPart, Notice, OverviewPage, Place, respond};
use super::part::{Asked, varied};
use crate::app::App;
use crate::http::caller::User;
use crate::http::problem::Problem;

/// After a claim.
const CLAIMED_NOW: &str = "This account is yours now. Everything from before ended; what you ticked goes on.";

#[derive(Debug, Deserialize)]
pub(super) struct OverviewQuery {
    /// Shows the ledger before this sequence.
    ledger_before: Option<i64>,
    /// What was just done, for a page without script. Told only while it is true.
    done: Option<Done>,
}

/// The page; or, for a script that shows the newer entries already, the next part of the ledger.
pub(super) async fn show_overview(
    app: Data<App>,
    user: User,
    asked: Asked,
    query: Query<OverviewQuery>,
) -> Result<HttpResponse, Problem> {
    let ledger = match (query.ledger_before, asked) {
        (None, _) => NEWEST,
        (Some(sequence), Asked::Page) => (Place::Older, sequence),
        (Some(sequence), Asked::Part) => (Place::Below, sequence),
    };
    let facts = facts::load(&app, &user, ledger).await?;
    let mut page: OverviewPage = facts.page(&app, &user.session.account);
    page.notice = query.done.and_then(|done| done.told(&facts.budget)).map(Notice::Done);
    if query.done == Some(Done::Claimed) && user.session.account.is_claimed() {
        page.notice = Some(Notice::Done(CLAIMED_NOW.to_owned()));
    }
    Ok(varied(match ledger {
        (Place::Below, _) => respond(&LedgerPart(&page), StatusCode::OK),
        (Place::Newest | Place::Older, _) => respond(&page, StatusCode::OK),
    }))
}
