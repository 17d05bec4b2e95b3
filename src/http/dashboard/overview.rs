//! `GET /dashboard`: the money on one page.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Query};
use serde::Deserialize;

use super::facts;
use super::pages::respond;
use crate::app::App;
use crate::http::caller::User;
use crate::http::problem::Problem;

#[derive(Debug, Deserialize)]
pub(super) struct OverviewQuery {
    /// Shows the ledger before this sequence.
    ledger_before: Option<i64>,
}

pub(super) async fn show_overview(
    app: Data<App>,
    user: User,
    query: Query<OverviewQuery>,
) -> Result<HttpResponse, Problem> {
    let facts = facts::load(&app, &user.session.account, query.ledger_before, user.now).await?;
    Ok(respond(&facts.page(&app, &user.session.account, None), StatusCode::OK))
}
