//! What the user can change: lower the cap, stop new spending, allow it again.

use actix_web::http::{StatusCode, header};
use actix_web::web::Data;
use actix_web::{HttpResponse, ResponseError as _};
use serde::Deserialize;

use super::facts::{self, NEWEST};
use super::pages::{self, Control, MainPart, Notice, OverviewPage, respond};
use super::part::{Asked, varied};
use crate::app::App;
use crate::http::caller::{Empowered, Form, FreshlyLoggedIn, NotHuman, SameSite, User};
use crate::http::problem::{Problem, table};
use crate::money::{Amount, Currency, Money, Rate};
use crate::payment::budget::{self, Budget, ChangeBudgetError, ResumedBy};
use crate::takeover::{self, CloseError, RaiseError};

#[derive(Debug, Deserialize)]
pub(super) struct CapForm {
    ceiling: String,
    /// The amount, in minor units, of which the user was told that it is below what is spent.
    sure: Option<String>,
}

/// Where a claim leads to.
pub(in crate::http) const CLAIMED: &str = "/dashboard?done=claimed";

/// What was done. The way back to the page names it, so that a page without script can say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Done {
    Cap,
    Stopped,
    Resumed,
    Claimed,
}

impl Done {
    fn control(self) -> Control {
        if self == Self::Cap { Control::Cap } else { Control::Switch }
    }

    fn back(self) -> &'static str {
        match self {
            Self::Cap => "/dashboard?done=cap",
            Self::Stopped => "/dashboard?done=stopped",
            Self::Resumed => "/dashboard?done=resumed",
            Self::Claimed => CLAIMED,
        }
    }

    /// What the page says. Anybody can write an address: what is not so (any more) is not said.
    pub(super) fn told(self, budget: &Budget) -> Option<String> {
        let Money { amount, currency } = Money { amount: budget.own.ceiling, currency: budget.own.currency };
        match (self, budget.stopped_at.is_some()) {
            (Self::Cap, _) => Some(format!("The cap is {} now.", Money { amount, currency })),
            (Self::Stopped, true) => Some("New spending is stopped. Every purchase is refused from now on.".to_owned()),
            (Self::Resumed, false) => Some("Spending is allowed again, up to the cap.".to_owned()),
            (Self::Stopped, false) | (Self::Resumed, true) | (Self::Claimed, _) => None,
        }
    }
}

/// After a change: the way back to the page; or, for a script, the page as it is now, with what was done.
async fn done(app: &App, user: &User, asked: Asked, done: Done) -> Result<HttpResponse, Problem> {
    if asked == Asked::Part {
        let facts = facts::load(app, user, NEWEST).await?;
        let notice = done.told(&facts.budget).map(Notice::Done);
        return Ok(part(app, user, &facts, done.control(), notice, StatusCode::OK));
    }
    Ok(varied(
        HttpResponse::SeeOther()
            .insert_header((header::LOCATION, done.back()))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .finish(),
    ))
}

/// The page as it is now, for a script, and what came of the last action.
fn part(
    app: &App,
    user: &User,
    facts: &facts::Facts,
    control: Control,
    notice: Option<Notice>,
    status: StatusCode,
) -> HttpResponse {
    let mut page = facts.page(app, &user.session.account);
    (page.notice, page.used) = (notice, Some(control));
    varied(respond(&MainPart(&page), status))
}

/// The form again, with what was typed and why it was refused.
fn form_again(app: &App, user: &User, asked: Asked, facts: &facts::Facts, form: pages::CapForm) -> HttpResponse {
    let mut page = facts.page(app, &user.session.account);
    page.cap_form = form;
    shown_again(asked, page)
}

fn shown_again(asked: Asked, mut page: OverviewPage) -> HttpResponse {
    varied(match asked {
        Asked::Page => respond(&page, StatusCode::UNPROCESSABLE_ENTITY),
        Asked::Part => {
            page.used = Some(Control::Cap);
            respond(&MainPart(&page), StatusCode::UNPROCESSABLE_ENTITY)
        }
    })
}

/// What was typed, in major units: `60`, `$60.00`, `1,000.50`. A comma stands between thousands or not at all: whoever
/// writes `60,00` for sixty must not get six thousand.
pub(super) fn typed_amount(text: &str, currency: Currency) -> Option<Amount> {
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

/// What to write instead. A comma before the cents is common, and could mean thousands.
pub(super) fn not_an_amount(typed: &str, cap: Amount, currency: Currency) -> String {
    let pointed = typed.trim().replace(',', ".");
    if typed.matches(',').count() == 1 && typed_amount(&pointed, currency).is_some() {
        return format!("Write the amount with a point: {pointed}.");
    }
    format!("Write an amount like {}.", pages::example_below(cap, currency))
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
    let CapForm { ceiling: typed, sure } = form.0;
    let facts = facts::load(&app, &user, NEWEST).await?;
    let (own, currency) = (&facts.budget.own, facts.budget.own.currency);
    let again = |typed, problem, sure| {
        form_again(&app, &user, asked, &facts, pages::CapForm { typed, problem: Some(problem), sure })
    };
    let Some(ceiling) = typed_amount(&typed, currency) else {
        let problem = not_an_amount(&typed, own.ceiling, currency);
        return Ok(again(typed, problem, None));
    };
    let taken = own.spent.checked_add(own.held).unwrap_or(own.spent);
    let minor = ceiling.minor().to_string();
    if ceiling < taken && ceiling < own.ceiling && sure.as_ref() != Some(&minor) {
        let [new, taken] = [ceiling, taken].map(|amount| Money { amount, currency });
        let problem = format!(
            "{taken} is spent or held already. With a cap of {new} nothing new can be bought in this period, and only \
             you can raise it again, after a log-in. If that is what you want, press once more."
        );
        return Ok(again(typed, problem, Some(minor)));
    }
    let (id, orchestrator) = (account.id.clone(), account.opened_by.clone());
    let lowered =
        app.db.write(account.id.as_str(), move |conn| budget::lower(conn, &id, &orchestrator, ceiling, now)).await;
    match lowered {
        Ok(()) => done(&app, &user, asked, Done::Cap).await,
        Err(ChangeBudgetError::WouldRaise(present)) => Ok(again(
            typed,
            format!("The cap is {present}, and this form only lowers it. To raise it, log in and use the other form."),
            None,
        )),
        Err(ChangeBudgetError::Db(error)) => Err(error.into()),
        Err(other) => Err(Problem::new(&table::INTERNAL, "The cap.").because(other)),
    }
}

/// Raises the cap, for whoever logged in just now; works with the next decision.
pub(super) async fn raise_cap(
    app: Data<App>,
    _from: SameSite,
    human: Result<FreshlyLoggedIn, NotHuman>,
    asked: Asked,
    form: Form<CapForm>,
) -> Result<HttpResponse, Problem> {
    let user: User = match human {
        Ok(human) => human.into(),
        Err(refused) => return Ok(refused.error_response()),
    };
    let (account, now) = (user.session.account.clone(), user.now);
    let facts = facts::load(&app, &user, NEWEST).await?;
    let (own, currency) = (&facts.budget.own, facts.budget.own.currency);
    let again = |typed, problem| {
        let form = pages::CapForm { typed, problem: Some(problem), sure: None };
        let mut page = facts.page(&app, &user.session.account);
        page.raise_form = form;
        shown_again(asked, page)
    };
    let typed = form.0.ceiling;
    let Some(ceiling) = typed_amount(&typed, currency) else {
        let problem = not_an_amount(&typed, own.ceiling, currency);
        return Ok(again(typed, problem));
    };
    let highest = facts.highest_cap(&account);
    let (id, orchestrator) = (account.id.clone(), account.opened_by.clone());
    let raised = app.db.write(account.id.as_str(), move |conn| {
        takeover::raise_cap(conn, (&id, &orchestrator), (ceiling, highest), now)
    });
    match raised.await {
        Ok(()) => done(&app, &user, asked, Done::Cap).await,
        Err(error) => Ok(again(typed, not_raised(error)?)),
    }
}

/// What the owner is told.
fn not_raised(error: RaiseError) -> Result<String, Problem> {
    match error {
        RaiseError::Budget(ChangeBudgetError::WouldLower(present)) => {
            Ok(format!("The cap is {present} already. To lower it, use the other form."))
        }
        RaiseError::Budget(ChangeBudgetError::TooHigh(highest)) => {
            Ok(format!("Until the account is claimed, its cap is at most {highest}."))
        }
        RaiseError::Cooling(until) => Ok(format!(
            "Somebody changed how this account is recovered, so no cap is raised until {until}. If that was not you, stop \
             spending, and ask the provider."
        )),
        RaiseError::Budget(ChangeBudgetError::Db(error)) => Err(error.into()),
        RaiseError::Budget(other) => Err(Problem::new(&table::INTERNAL, "The cap.").because(other)),
    }
}

async fn turn(app: &App, user: User, asked: Asked, stopped: bool) -> Result<HttpResponse, Problem> {
    let (account, now) = (user.session.account.clone(), user.now);
    let lane = account.id.to_string();
    let turned = app.db.write(&lane, move |conn| {
        if stopped {
            budget::stop_spending(conn, &account.id, "owner", now)?;
        } else if !takeover::take_back(conn, &account, now)? {
            budget::resume_spending(conn, &account.id, ResumedBy::Owner, now)?;
        }
        Ok::<_, CloseError>(())
    });
    match turned.await {
        Ok(()) => done(app, &user, asked, if stopped { Done::Stopped } else { Done::Resumed }).await,
        Err(CloseError::Db(error) | CloseError::Budget(ChangeBudgetError::Db(error))) => Err(error.into()),
        // What was begun with it is not done yet, or somebody else closed the case: worth trying again.
        Err(other @ (CloseError::Lift(_) | CloseError::Closed)) => {
            Err(Problem::new(&table::UNAVAILABLE, "Not yet: try again in a moment.").because(other))
        }
        Err(other) => Err(Problem::new(&table::INTERNAL, "The switch.").because(other)),
    }
}

/// Stops new spending at once.
pub(super) async fn stop(app: Data<App>, _from: SameSite, user: User, asked: Asked) -> Result<HttpResponse, Problem> {
    turn(&app, user, asked, true).await
}

/// Allows new spending again, up to the cap. Agents can make links to this dashboard: a link must not undo the stop.
pub(super) async fn resume(
    app: Data<App>,
    _from: SameSite,
    human: Result<Empowered, NotHuman>,
    asked: Asked,
) -> Result<HttpResponse, Problem> {
    match human {
        Ok(human) => turn(&app, human.into(), asked, false).await,
        Err(refused) => Ok(refused.error_response()),
    }
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
    fn whoever_writes_a_comma_is_told_of_the_point_and_examples_can_be_used() {
        let said = |typed| not_an_amount(typed, Amount::from_minor(10_000).unwrap(), Currency::USD);
        assert_eq!(said("80,50"), "Write the amount with a point: 80.50.");
        assert_eq!(said("$80,5"), "Write the amount with a point: $80.5.");
        for other in ["much", "1,2,3", "80,505", "1.000,50"] {
            assert_eq!(said(other), "Write an amount like 80.00.", "{other}");
        }
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
