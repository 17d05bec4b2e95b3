//! The pages of agents: which there are, what each may do, did and spent, and taking that away.

use askama::Template;

use super::ceiling::CapForm;
use super::format;
use super::frame::{Frame, Notice};
use crate::clock::Timestamp;
use crate::money::Money;

/// Whether an agent may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentStanding {
    /// It may.
    Going,
    /// Not until the owner lets it go on.
    Paused(Timestamp),
    /// Not until the owner allows it anew.
    Ended(Timestamp),
}

/// One thing that an agent may do.
#[derive(Debug, Clone, Copy)]
pub struct Power {
    /// In words: `see the budget`.
    pub text: &'static str,
    /// As it is named when it is taken away.
    pub scope: &'static str,
}

impl Power {
    fn title(&self) -> String {
        let mut letters = self.text.chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
    }
}

/// An agent, as its owner reads it.
#[derive(Debug, Clone)]
pub struct AgentView {
    /// Its id: the addresses of its pages are made of it.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// The domain that is proven to be its own.
    pub host: Option<String>,
    /// Whether nobody checked the name.
    pub unverified: bool,
    /// The orchestrator through which it acts.
    pub orchestrator: String,
    /// Whether it may act.
    pub standing: AgentStanding,
    /// What it may do.
    pub powers: Vec<Power>,
    /// The most that it may spend in a calendar month, where its owner said so.
    pub cap: Option<Money>,
    /// What it spent this month; each currency apart.
    pub spent_month: Vec<Money>,
    /// What it spent in all.
    pub spent_ever: Vec<Money>,
    /// What is held for it now.
    pub held: Vec<Money>,
    /// How many resources it bought.
    pub made: i64,
    /// What else it did to resources.
    pub changes: i64,
    /// When it first got anything.
    pub since: Timestamp,
    /// When it last got a token or bought something.
    pub used_at: Timestamp,
}

impl AgentView {
    fn tone(&self) -> &'static str {
        match self.standing {
            AgentStanding::Going => "good",
            AgentStanding::Paused(_) => "amber",
            AgentStanding::Ended(_) => "red",
        }
    }

    fn word(&self) -> &'static str {
        match self.standing {
            AgentStanding::Going => "may act",
            AgentStanding::Paused(_) => "paused",
            AgentStanding::Ended(_) => "ended",
        }
    }

    fn stopped(&self) -> Option<format::Moment> {
        match self.standing {
            AgentStanding::Going => None,
            AgentStanding::Paused(at) | AgentStanding::Ended(at) => Some(format::day_and_time(at)),
        }
    }

    fn is_going(&self) -> bool {
        self.standing == AgentStanding::Going
    }

    fn is_ended(&self) -> bool {
        matches!(self.standing, AgentStanding::Ended(_))
    }

    fn used(&self) -> format::Moment {
        format::day_and_time(self.used_at)
    }

    fn began(&self) -> format::Moment {
        format::day(self.since)
    }

    /// `create and remove resources, see the budget`.
    fn powers_text(&self) -> String {
        if self.powers.is_empty() {
            return "Nothing".to_owned();
        }
        let each: Vec<&str> = self.powers.iter().map(|power| power.text).collect();
        each.join(", ")
    }

    fn month_text(&self) -> String {
        sums(&self.spent_month)
    }

    fn ever_text(&self) -> String {
        sums(&self.spent_ever)
    }

    fn held_text(&self) -> String {
        sums(&self.held)
    }

    fn did(&self) -> String {
        let count = |count: i64, one: &str| format::plural(usize::try_from(count).unwrap_or(0), one);
        match (self.made, self.changes) {
            (0, 0) => "Nothing yet".to_owned(),
            (made, 0) => format!("Bought {}", count(made, "resource")),
            (made, changes) => format!("Bought {}, {}", count(made, "resource"), count(changes, "other change")),
        }
    }
}

fn sums(money: &[Money]) -> String {
    if money.is_empty() {
        return "nothing".to_owned();
    }
    let each: Vec<String> = money.iter().map(ToString::to_string).collect();
    each.join(" and ")
}

/// `GET /dashboard/agents`.
#[derive(Debug, Clone, Template)]
#[template(path = "agents.html")]
pub struct AgentsPage {
    /// Whose page.
    pub frame: Frame,
    /// The agents of this page, newest first.
    pub rows: Vec<AgentView>,
    /// The id before which older ones come, when there are any.
    pub older: Option<String>,
    /// Whether this is the page of the newest.
    pub newest: bool,
}

/// One thing that an agent did.
#[derive(Debug, Clone)]
pub struct Act {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: String,
}

/// `GET /dashboard/agents/{id}`.
#[derive(Debug, Clone, Template)]
#[template(path = "agent.html")]
pub struct AgentPage {
    /// Whose page.
    pub frame: Frame,
    /// The agent.
    pub agent: AgentView,
    /// The limits that the human saw when they allowed it, in words.
    pub limits: Vec<String>,
    /// What it did, newest first.
    pub acts: Vec<Act>,
    /// The name before which older acts come, when there are any.
    pub older: Option<String>,
    /// Whether this is the page of the newest acts.
    pub newest: bool,
    /// Whether whoever looks logged in: only then can they let it go on.
    pub can_resume: bool,
    /// The form that lowers its cap.
    pub cap_form: CapForm,
    /// In which currency.
    pub currency: String,
    /// What came of the last action.
    pub notice: Option<Notice>,
}

impl AgentPage {
    fn can_drop(&self) -> bool {
        !self.agent.is_ended() && self.agent.powers.len() > 1
    }

    fn act_time(act: &Act) -> format::Moment {
        format::day_and_time(act.at)
    }
}

/// One thing that would be undone.
#[derive(Debug, Clone)]
pub struct UndoRow {
    /// The resource's name.
    pub name: String,
    /// Its service and plan.
    pub plan: String,
    /// When it was bought.
    pub bought_at: Timestamp,
    /// What becomes of it, as a sentence.
    pub becomes: &'static str,
    /// What becomes of its money, as a sentence; empty when there is none.
    pub money: String,
}

/// `GET /dashboard/agents/{id}/undo`.
#[derive(Debug, Clone, Template)]
#[template(path = "agent_undo.html")]
pub struct UndoPage {
    /// Whose page.
    pub frame: Frame,
    /// The agent's id.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// What would be undone.
    pub rows: Vec<UndoRow>,
    /// Whether there is more than is listed.
    pub more: bool,
    /// From when on.
    pub since: Timestamp,
}

impl UndoPage {
    fn from(&self) -> format::Moment {
        format::time_of_day(self.since)
    }

    fn bought(row: &UndoRow) -> format::Moment {
        format::time_of_day(row.bought_at)
    }
}

/// `GET /safety/{link}`: for whoever has the link of a mail, logged in or not.
#[derive(Debug, Clone, Template)]
#[template(path = "safety.html")]
pub struct SafetyPage {
    /// Without a user: nobody is logged in by this.
    pub frame: Frame,
    /// What the agent is called.
    pub name: String,
    /// The domain that is proven to be its own.
    pub host: Option<String>,
    /// Whether nobody checked the name.
    pub unverified: bool,
    /// Whether it may act.
    pub standing: AgentStanding,
    /// Whether new spending is stopped already.
    pub stopped: bool,
    /// The address that the buttons post below.
    pub action: String,
    /// What was done.
    pub notice: Option<Notice>,
}

impl SafetyPage {
    fn going(&self) -> bool {
        self.standing == AgentStanding::Going
    }

    fn ended(&self) -> bool {
        matches!(self.standing, AgentStanding::Ended(_))
    }
}
