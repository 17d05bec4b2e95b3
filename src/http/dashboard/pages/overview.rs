//! The page that answers: what was spent, what is held, what is left, and how do I stop it.

use std::borrow::Borrow;
use std::ops::Deref;

use askama::Template;
use chrono::NaiveDate;

use super::activity::Activity;
use super::bar::{self, CapBar};
use super::ceiling::{CapForm, Ceiling, CeilingKind, Control};
use super::chart::Chart;
use super::days::{self, Day, DaySpend};
use super::format;
use super::frame::{Frame, Notice};
use super::ledger::{Ledger, Place};
use super::resources::Resources;
use crate::clock::{Period, Timestamp};
use crate::money::{Amount, Currency};

/// The account was opened by attestation and nobody has claimed it yet.
#[derive(Debug, Clone)]
pub struct Provisional {
    /// The name of the orchestrator that opened it.
    pub opened_by: String,
    /// When.
    pub opened_at: Timestamp,
    /// Whether its ceiling is lower than that of a claimed account.
    pub lower_cap: bool,
    /// To what the cap may be raised until then.
    pub highest: Amount,
    /// Until when anything can be bought.
    pub buys_until: Option<Timestamp>,
    /// How many resources there may be.
    pub max_resources: Option<u32>,
}

impl Provisional {
    fn until(&self) -> Option<format::Moment> {
        self.buys_until.map(format::day)
    }
}

/// `GET /dashboard`. The sentence tells of the ceiling that binds, with that ceiling's own figures, so that it adds up.
#[derive(Debug, Clone, Template)]
#[template(path = "overview.html")]
pub struct OverviewPage {
    /// Whose page.
    pub frame: Frame,
    /// The instant at which all figures were read.
    pub now: Timestamp,
    /// The period of the budget.
    pub period: Period,
    /// Of every amount on the page.
    pub currency: Currency,
    /// The budget of the account.
    pub budget: Ceiling,
    /// Every other ceiling that spending must pass.
    pub ceilings: Vec<Ceiling>,
    /// Since when new spending is stopped.
    pub stopped_at: Option<Timestamp>,
    /// Whether whoever looks logged in: only then can they allow spending again.
    pub can_resume: bool,
    /// Set while nobody has claimed the account.
    pub provisional: Option<Provisional>,
    /// How many separate accounts wait for the human to decide on them.
    pub sidecars: usize,
    /// What came of the last action.
    pub notice: Option<Notice>,
    /// What the user just used without leaving the page: the keyboard stays there.
    pub used: Option<Control>,
    /// The form that lowers the cap.
    pub cap_form: CapForm,
    /// The form that raises it.
    pub raise_form: CapForm,
    /// What the account has.
    pub resources: Resources,
    /// Spend by day in the period, in any order.
    pub days: Vec<DaySpend>,
    /// One page of the ledger.
    pub ledger: Ledger,
    /// What happened lately, newest first.
    pub activity: Vec<Activity>,
}

/// What stands between the header and the footer of the page, alone: a script puts parts of it in place.
#[derive(Debug, Clone, Copy, Template)]
#[template(path = "overview.html", block = "main")]
pub struct MainPart<'a>(pub &'a OverviewPage);

/// The ledger of the page, alone.
#[derive(Debug, Clone, Copy, Template)]
#[template(path = "overview.html", block = "ledger")]
pub struct LedgerPart<'a>(pub &'a OverviewPage);

impl Deref for MainPart<'_> {
    type Target = OverviewPage;

    fn deref(&self) -> &OverviewPage {
        self.0
    }
}

impl Deref for LedgerPart<'_> {
    type Target = OverviewPage;

    fn deref(&self) -> &OverviewPage {
        self.0
    }
}

impl OverviewPage {
    /// The ceiling under which the least is left; the budget when several are equal.
    #[must_use]
    pub fn binding(&self) -> &Ceiling {
        self.ceilings.iter().fold(&self.budget, |least, other| if other.left() < least.left() { other } else { least })
    }

    fn budget_binds(&self) -> bool {
        self.binding().kind == CeilingKind::Budget
    }

    fn all_ceilings(&self) -> impl Iterator<Item = (&Ceiling, bool)> {
        let binding: *const Ceiling = self.binding();
        std::iter::once(&self.budget)
            .chain(&self.ceilings)
            .map(move |ceiling| (ceiling, std::ptr::eq(ceiling, binding)))
    }

    fn money(&self, amount: impl Borrow<Amount>) -> String {
        format::money(*amount.borrow(), self.currency)
    }

    /// The cap is as high as it can be before the account is claimed: only claiming leads further.
    fn must_be_claimed(&self) -> bool {
        self.provisional.as_ref().is_some_and(|provisional| provisional.highest <= self.budget.limit)
    }

    /// Spent and held are at or over the cap: nothing more can be bought.
    fn is_full(&self) -> bool {
        self.binding().left() == Amount::ZERO
    }

    fn days_filled(&self) -> Vec<Day> {
        days::fill(&self.days, self.period, self.now)
    }

    fn course(&self) -> Option<Amount> {
        days::course(&self.days_filled(), self.period)
    }

    fn course_text(&self) -> Option<String> {
        self.course().map(|course| format::about(course, self.currency))
    }

    fn reaches_cap(&self) -> Option<String> {
        let day: Option<NaiveDate> = days::reaches(&self.days_filled(), self.period, self.budget.limit);
        day.filter(|_| !self.is_full()).map(format::short_day)
    }

    fn bar(&self) -> CapBar {
        let binding = self.binding();
        let course = if self.budget_binds() { self.course() } else { None };
        CapBar::of(binding.spent, binding.held, binding.limit, course)
    }

    fn bar_text(&self) -> String {
        let binding = self.binding();
        let whole = |part| bar::share(part, binding.limit) / 10;
        format!("{} percent of the cap spent, {} percent held", whole(binding.spent), whole(binding.held))
    }

    fn month(&self) -> Option<String> {
        format::month(self.period)
    }

    fn starts(&self) -> format::Moment {
        format::boundary(self.period.start, self.period.end)
    }

    fn ends(&self) -> format::Moment {
        format::boundary(self.period.end, self.period.start)
    }

    fn as_of(&self) -> format::Moment {
        format::time_of_day(self.now)
    }

    fn left_until(&self) -> format::Moment {
        format::end_of(self.binding().period)
    }

    fn chart(&self) -> Chart {
        Chart::of(self.days_filled(), days::days_of(self.period), self.budget.limit, self.course())
    }

    fn chart_text(&self) -> String {
        let so_far = self.days_filled().last().map_or(Amount::ZERO, |day| day.total);
        let course = self.course_text().map(|course| format!(", on course for about {course}")).unwrap_or_default();
        let (so_far, cap) = (self.money(so_far), self.money(self.budget.limit));
        format!("Spend by day: {so_far} so far{course}, cap {cap}")
    }

    fn chart_label(&self, index: impl Borrow<usize>) -> String {
        let day =
            self.period.start.date().and_then(|first| {
                first.checked_add_days(chrono::Days::new(u64::try_from(*index.borrow()).unwrap_or(0)))
            });
        day.map(format::short_day).unwrap_or_default()
    }

    fn spending_days(&self) -> Vec<Day> {
        self.days_filled().into_iter().filter(|day| day.spent > Amount::ZERO).collect()
    }

    fn has_spend(&self) -> bool {
        self.days.iter().any(|day| day.spent > Amount::ZERO)
    }

    fn keeps_focus(&self, control: Control) -> bool {
        self.used == Some(control) && self.cap_form.problem.is_none() && self.raise_form.problem.is_none()
    }

    fn cap_value(&self) -> String {
        self.cap_form.typed.clone()
    }

    fn cap_example(&self) -> String {
        super::ceiling::example_below(self.budget.limit, self.currency)
    }

    /// How far the budget is over the cap, when the cap was lowered below what is spent and held.
    fn over(&self) -> Option<String> {
        let binding = self.binding();
        let taken = binding.spent.checked_add(binding.held)?;
        taken.checked_sub(binding.limit).filter(|over| Amount::ZERO < *over).map(|over| self.money(over))
    }

    fn stopped_since(&self) -> Option<format::Moment> {
        self.stopped_at.map(format::day_and_time)
    }

    fn resource_count(&self) -> String {
        format::plural(self.resources.rows.len() + self.resources.more, "resource")
    }
}
