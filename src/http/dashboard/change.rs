//! What the user can change: lower the cap, stop new spending, allow it again.

use actix_web::http::{StatusCode, header};
use actix_web::web::Data;
use actix_web::{HttpResponse, post};
use serde::Deserialize;

use super::facts;
use super::pages::respond;
use crate::app::App;
use crate::http::caller::{Form, SameSite, User};
use crate::http::problem::Problem;
use crate::money::{Amount, Currency, Money, Rate};
use crate::payment::budget::{self, ChangeBudgetError};

#[derive(Debug, Deserialize)]
pub(super) struct CapForm {
    ceiling: String,
}

fn back() -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header((header::LOCATION, "/dashboard"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .finish()
}

/// What was typed, in major units: `60`, `$60.00`, `1,000.50`.
fn typed_amount(text: &str, currency: Currency) -> Option<Amount> {
    let plain: String = text.trim().trim_start_matches(currency.symbol().unwrap_or("")).trim().replace(',', "");
    let rate: Rate = format!("{plain} {currency}").parse().ok()?;
    rate.exact().ok()
}

/// Lowers the cap; works with the next decision.
#[post("/dashboard/cap")]
pub(super) async fn lower_cap(
    app: Data<App>,
    _from: SameSite,
    user: User,
    form: Form<CapForm>,
) -> Result<HttpResponse, Problem> {
    let (account, now) = (user.session.account.clone(), user.now);
    let typed = form.0.ceiling;
    let facts = facts::load(&app, &account, None, now).await?;
    let currency = facts.budget.own.currency;
    let Some(ceiling) = typed_amount(&typed, currency) else {
        let example = Money { amount: facts.budget.own.ceiling, currency };
        let problem = format!("Write an amount like {}.", example.major());
        return Ok(respond(&facts.page(&app, &account, Some((typed, problem))), StatusCode::UNPROCESSABLE_ENTITY));
    };
    let (id, orchestrator) = (account.id.clone(), account.opened_by.clone());
    let lowered =
        app.db.write(account.id.as_str(), move |conn| budget::lower(conn, &id, &orchestrator, ceiling, now)).await;
    match lowered {
        Ok(()) => Ok(back()),
        Err(ChangeBudgetError::WouldRaise(present)) => {
            let problem =
                format!("The cap is {present} and can only be lowered here. Raising it needs a fresh log-in.");
            Ok(respond(&facts.page(&app, &account, Some((typed, problem))), StatusCode::UNPROCESSABLE_ENTITY))
        }
        Err(ChangeBudgetError::Db(error)) => Err(error.into()),
    }
}

async fn turn(app: &App, user: User, stopped: bool) -> Result<HttpResponse, Problem> {
    let (id, now) = (user.session.account.id.clone(), user.now);
    let lane = id.to_string();
    let turned = app.db.write(&lane, move |conn| {
        if stopped { budget::stop_spending(conn, &id, now) } else { budget::resume_spending(conn, &id, now) }
    });
    match turned.await {
        Ok(()) => Ok(back()),
        Err(ChangeBudgetError::Db(error)) => Err(error.into()),
        Err(other @ ChangeBudgetError::WouldRaise(_)) => {
            Err(Problem::new(&crate::http::problem::table::INTERNAL, "The switch.").because(other))
        }
    }
}

/// Stops new spending at once.
#[post("/dashboard/stop")]
pub(super) async fn stop(app: Data<App>, _from: SameSite, user: User) -> Result<HttpResponse, Problem> {
    turn(&app, user, true).await
}

/// Allows new spending again, up to the cap.
#[post("/dashboard/resume")]
pub(super) async fn resume(app: Data<App>, _from: SameSite, user: User) -> Result<HttpResponse, Problem> {
    turn(&app, user, false).await
}
