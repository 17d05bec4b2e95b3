//! What the user can change: lower the cap, stop new spending, allow it again.

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use actix_web::web::Data;
use serde::Deserialize;

use super::facts::{self, NEWEST};
use super::pages::{self, Control, Frame, MainPart, MessagePage, Notice, respond};
use super::part::{Asked, varied};
use crate::app::App;
use crate::http::caller::{Form, SameSite, User};
use crate::http::problem::Problem;
use crate::money::{Amount, Currency, Money, Rate};
use crate::payment::budget::{self, ChangeBudgetError};

#[derive(Debug, Deserialize)]
pub(super) struct CapForm {
    ceiling: String,
}

/// After a change: the way back to the page; or, for a script, the page as it is now, with what was done.
async fn done(app: &App, user: &User, asked: Asked, control: Control, text: &str) -> Result<HttpResponse, Problem> {
    if asked == Asked::Part {
        return changed(app, user, control, Notice::Done(text.to_owned()), StatusCode::OK).await;
    }
    Ok(varied(
        HttpResponse::SeeOther()
            .insert_header((header::LOCATION, "/dashboard"))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .finish(),
    ))
}

/// The page as it is now, for a script, and what came of the last action.
async fn changed(
    app: &App,
    user: &User,
    control: Control,
    notice: Notice,
    status: StatusCode,
) -> Result<HttpResponse, Problem> {
    let account = &user.session.account;
    let mut page = facts::load(app, account, NEWEST, user.now).await?.page(app, account);
    (page.notice, page.used) = (Some(notice), Some(control));
    Ok(varied(respond(&MainPart(&page), status)))
}

/// The form again, with what was typed and why it was refused.
fn form_again(app: &App, user: &User, asked: Asked, facts: &facts::Facts, form: pages::CapForm) -> HttpResponse {
    let mut page = facts.page(app, &user.session.account);
    page.cap_form = form;
    varied(match asked {
        Asked::Page => respond(&page, StatusCode::UNPROCESSABLE_ENTITY),
        Asked::Part => respond(&MainPart(&page), StatusCode::UNPROCESSABLE_ENTITY),
    })
}

/// What was typed, in major units: `60`, `$60.00`, `1,000.50`. A comma stands between thousands or not at all: whoever
/// writes `60,00` for sixty must not get six thousand.
fn typed_amount(text: &str, currency: Currency) -> Option<Amount> {
    let text = text.trim();
    let number = currency.symbol().and_then(|symbol| text.strip_prefix(symbol)).unwrap_or(text).trim_start();
    let mut groups = number.split('.').next()?.split(',');
    let first = groups.next()?;
    let thousands = groups.all(|group| group.len() == 3 && first.len() <= 3);
    let fraction = number.split_once('.').map_or("", |(_, fraction)| fraction);
    if !thousands || fraction.contains(',') {
        return None;
    }
    let rate: Rate = format!("{} {currency}", number.replace(',', "")).parse().ok()?;
    rate.exact().ok()
}

/// Lowers the cap; works with the next decision.
pub(super) async fn lower_cap(
    app: Data<App>,
    _from: SameSite,
    user: User,
    asked: Asked,
    form: Form<CapForm>,
) -> Result<HttpResponse, Problem> {
    let (account, now) = (user.session.account.clone(), user.now);
    let typed = form.0.ceiling;
    let facts = facts::load(&app, &account, NEWEST, now).await?;
    let currency = facts.budget.own.currency;
    let again =
        |typed, problem| form_again(&app, &user, asked, &facts, pages::CapForm { typed, problem: Some(problem) });
    let Some(ceiling) = typed_amount(&typed, currency) else {
        let example = Money { amount: facts.budget.own.ceiling, currency };
        return Ok(again(typed, format!("Write an amount like {}.", example.major())));
    };
    let (id, orchestrator) = (account.id.clone(), account.opened_by.clone());
    let lowered =
        app.db.write(account.id.as_str(), move |conn| budget::lower(conn, &id, &orchestrator, ceiling, now)).await;
    match lowered {
        Ok(()) => {
            let text = format!("The cap is {} now.", Money { amount: ceiling, currency });
            done(&app, &user, asked, Control::Cap, &text).await
        }
        Err(ChangeBudgetError::WouldRaise(present)) => Ok(again(
            typed,
            format!("The cap is {present} and can only be lowered here. Raising it needs a fresh log-in."),
        )),
        Err(ChangeBudgetError::Db(error)) => Err(error.into()),
        Err(other @ ChangeBudgetError::NotWhoStopped) => {
            Err(Problem::new(&crate::http::problem::table::INTERNAL, "The cap.").because(other))
        }
    }
}

/// Agents can make links to this dashboard: a link must not undo the stop.
async fn stopped_elsewhere(app: &App, user: &User, asked: Asked) -> Result<HttpResponse, Problem> {
    let heading = "Spending stays stopped";
    let text = "New spending was stopped in another session. Agents can make links to this dashboard, so a link is not \
                enough to allow spending again.";
    let step = "Go back to the browser in which you stopped it, and allow spending there.";
    if asked == Asked::Part {
        let notice = Notice::Refused(format!("{heading}. {text} {step}"));
        return changed(app, user, Control::Switch, notice, StatusCode::FORBIDDEN).await;
    }
    let page = MessagePage {
        frame: Frame::anonymous(app.provider_name()),
        heading: heading.to_owned(),
        text: text.to_owned(),
        steps: vec![step.to_owned(), "Or ask the provider's support.".to_owned()],
        request_id: None,
    };
    Ok(varied(respond(&page, StatusCode::FORBIDDEN)))
}

async fn turn(app: &App, user: User, asked: Asked, stopped: bool) -> Result<HttpResponse, Problem> {
    let (id, now) = (user.session.account.id.clone(), user.now);
    let lane = id.to_string();
    let by = user.session.hash.clone();
    let turned = app.db.write(&lane, move |conn| {
        if stopped {
            budget::stop_spending(conn, &id, &by, now)
        } else {
            budget::resume_spending(conn, &id, Some(&by), now)
        }
    });
    match turned.await {
        Ok(()) => {
            let text = if stopped {
                "New spending is stopped. Every purchase is refused from now on."
            } else {
                "Spending is allowed again, up to the cap."
            };
            done(app, &user, asked, Control::Switch, text).await
        }
        Err(ChangeBudgetError::Db(error)) => Err(error.into()),
        Err(ChangeBudgetError::NotWhoStopped) => stopped_elsewhere(app, &user, asked).await,
        Err(other @ ChangeBudgetError::WouldRaise(_)) => {
            Err(Problem::new(&crate::http::problem::table::INTERNAL, "The switch.").because(other))
        }
    }
}

/// Stops new spending at once.
pub(super) async fn stop(app: Data<App>, _from: SameSite, user: User, asked: Asked) -> Result<HttpResponse, Problem> {
    turn(&app, user, asked, true).await
}

/// Allows new spending again, up to the cap.
pub(super) async fn resume(app: Data<App>, _from: SameSite, user: User, asked: Asked) -> Result<HttpResponse, Problem> {
    turn(&app, user, asked, false).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_read_as_people_write_it() {
        for (typed, minor) in [
            ("60", 6_000),
            (" $60.00 ", 6_000),
            ("$ 60.5", 6_050),
            ("0", 0),
            ("0.01", 1),
            ("1,000.50", 100_050),
            ("12,345,678", 1_234_567_800),
            ("1000", 100_000),
        ] {
            assert_eq!(typed_amount(typed, Currency::USD).map(Amount::minor), Some(minor), "{typed:?}");
        }
        let yen: Currency = "JPY".parse().unwrap();
        assert_eq!(typed_amount("¥1,000", yen).map(Amount::minor), Some(1_000));
    }

    #[test]
    fn what_could_mean_two_amounts_or_none_is_refused() {
        for typed in [
            "",
            " ",
            "$",
            "$$60",
            "-5",
            "+5",
            "60,00",
            "1,0",
            "1000,000",
            ",5",
            "5,",
            ".5",
            "5.",
            "60.001",
            "1.000,50",
            "1e3",
            "€60",
            "60 USD",
            "sixty",
            "6 0",
            "99999999999999999999",
            "0.0000000000000000000000000001",
        ] {
            assert_eq!(typed_amount(typed, Currency::USD), None, "{typed:?}");
        }
        assert_eq!(typed_amount("10.50", "JPY".parse().unwrap()), None, "there is no half yen");
    }
}
