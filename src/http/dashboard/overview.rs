//! `GET /dashboard`: the money on one page.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Query};
use serde::Deserialize;

use super::facts::{self, NEWEST};
use super::pages::{LedgerPart, OverviewPage, Place, respond};
use super::part::{Asked, varied};
use crate::app::App;
use crate::http::caller::User;
use crate::http::problem::Problem;

#[derive(Debug, Deserialize)]
pub(super) struct OverviewQuery {
    /// Shows the ledger before this sequence.
    ledger_before: Option<i64>,
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
    let facts = facts::load(&app, &user.session.account, ledger, user.now).await?;
    let page: OverviewPage = facts.page(&app, &user.session.account);
    Ok(varied(match ledger {
        (Place::Below, _) => respond(&LedgerPart(&page), StatusCode::OK),
        (Place::Newest | Place::Older, _) => respond(&page, StatusCode::OK),
    }))
}
