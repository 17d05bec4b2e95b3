//! The question to the owner of an account: may this orchestrator, or this program, act for it? Numbers first; yes and no
//! equally near, and what is not wanted can be unticked.

use askama::Template;

use super::format;
use super::frame::Frame;
use crate::clock::Timestamp;
use crate::money::Money;

/// What should be known about one effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// The asker says that it does not work without it.
    Needed,
    /// It was not asked for before.
    New,
    /// It is allowed already.
    Before,
    /// It was refused the last time.
    Refused,
    /// It begins unticked.
    Off,
    /// It goes with another effect.
    With(&'static str),
}

impl Note {
    fn words(self) -> String {
        match self {
            Self::Needed => "needed: it does not work without".to_owned(),
            Self::New => "new".to_owned(),
            Self::Before => "allowed before".to_owned(),
            Self::Refused => "you refused this earlier".to_owned(),
            Self::Off => "off unless you tick it".to_owned(),
            Self::With(other) => format!("goes with “{other}”"),
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::New => "chip good",
            Self::Refused => "chip amber",
            Self::Needed | Self::Before | Self::Off | Self::With(_) => "chip plain",
        }
    }
}

/// One thing that could then be done.
#[derive(Debug, Clone)]
pub struct Effect {
    /// To what, after the verb of its group.
    pub text: String,
    /// The scope that can be unticked; `None`: it cannot be refused alone.
    pub scope: Option<&'static str>,
    /// Whether it is ticked at first.
    pub ticked: bool,
    /// What should be known about it.
    pub note: Option<Note>,
}

/// Effects of one verb.
#[derive(Debug, Clone)]
pub struct Group {
    /// The verb.
    pub title: &'static str,
    /// Never empty.
    pub effects: Vec<Effect>,
}

/// One line of a plan.
#[derive(Debug, Clone)]
pub struct PlanRow {
    /// How many.
    pub count: u32,
    /// Of what.
    pub name: String,
    /// What one costs, in words.
    pub price: String,
    /// The most that all of the line cost in a month.
    pub most: String,
}

/// A plan with its bill.
#[derive(Debug, Clone)]
pub struct PlanTable {
    /// What is made.
    pub rows: Vec<PlanRow>,
    /// The most that everything costs in a month.
    pub total: String,
    /// The most that could be spent, where that is less.
    pub lower: Option<Money>,
    /// The revision of the catalog that says so.
    pub catalog_version: i64,
}

/// More is asked than before.
#[derive(Debug, Clone)]
pub struct Difference {
    /// What was not allowed before.
    pub new: Vec<String>,
    /// What was.
    pub before: Vec<String>,
}

/// Who vouches for the asker's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Voucher {
    /// The domain is proven; the name is the asker's own word.
    Domain(String),
    /// The provider registered the asker; its domain, where one is known.
    Provider(Option<String>),
    /// Nobody.
    Nobody,
}

/// `GET /link/{id}` or `GET /consent/{handle}` for the owner, while the question is open.
#[derive(Debug, Clone, Template)]
#[template(path = "consent.html")]
pub struct ConsentPage {
    /// Whose page.
    pub frame: Frame,
    /// Who asks.
    pub asker: String,
    /// Who vouches for that.
    pub voucher: Voucher,
    /// A public client that asks through it, by its own name.
    pub client: Option<String>,
    /// What the owner should know before they believe who asks.
    pub warnings: Vec<&'static str>,
    /// When it was allowed something, before it changed what it says of itself.
    pub changed_since: Option<Timestamp>,
    /// Which address the request named.
    pub email: Option<String>,
    /// Who is asked, as the owner knows the account.
    pub account: String,
    /// The most that could be spent in a month; `None`: nothing can be spent.
    pub monthly: Option<Money>,
    /// Until when it could be spent.
    pub spends_until: Option<Timestamp>,
    /// How many resources could be created.
    pub creates: Option<String>,
    /// What it asks for when it spends nothing.
    pub asks: &'static str,
    /// What could be done.
    pub groups: Vec<Group>,
    /// The plan, if it is one.
    pub plan: Option<PlanTable>,
    /// What is new, if anything was allowed before.
    pub difference: Option<Difference>,
    /// The instant of the page.
    pub now: Timestamp,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// Until when it can be answered.
    pub until: Timestamp,
    /// Where the answer is carried to, by host name; `None`: nowhere, the agent asks again.
    pub returns_to: Option<String>,
    /// The address of the page: the buttons post below it.
    pub action: String,
    /// What stands behind it: empty, or `?state=…`.
    pub query: String,
}

impl ConsentPage {
    fn can_untick(&self) -> bool {
        self.groups.iter().flat_map(|group| &group.effects).any(|effect| effect.scope.is_some())
    }

    fn needs_something(&self) -> bool {
        self.groups.iter().flat_map(|group| &group.effects).any(|effect| effect.note == Some(Note::Needed))
    }

    fn age(&self) -> String {
        format::age(self.asked_at, self.now)
    }

    fn ends(&self) -> format::Moment {
        format::time_of_day(self.until)
    }

    fn spend_end(&self) -> Option<format::Moment> {
        self.spends_until.map(format::day)
    }

    fn allowed_on(&self) -> Option<format::Moment> {
        self.changed_since.map(format::day)
    }
}

/// `GET /consent/{handle}` while another question of the same program is open.
#[derive(Debug, Clone, Template)]
#[template(path = "consent_waits.html")]
pub struct ConsentWaitsPage {
    /// Whose page.
    pub frame: Frame,
    /// Who asks.
    pub asker: String,
    /// The instant of the page.
    pub now: Timestamp,
    /// When this was asked.
    pub asked_at: Timestamp,
    /// When the other was asked.
    pub other_asked_at: Timestamp,
    /// The page of the other.
    pub other: String,
    /// The address of this page.
    pub action: String,
}

impl ConsentWaitsPage {
    fn age(&self) -> String {
        format::age(self.asked_at, self.now)
    }

    fn other_age(&self) -> String {
        format::age(self.other_asked_at, self.now)
    }

    fn is_newer(&self) -> bool {
        self.other_asked_at <= self.asked_at
    }
}
