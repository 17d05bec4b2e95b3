//! What a case is, and what can come of it.

use futures_util::future::BoxFuture;
use serde::Serialize;

use super::session::Session;

/// What came of a case: nothing to say, or why it stopped.
pub(super) type Verdict = Result<(), Stop>;
/// How a case is run.
pub(super) type Run = for<'s> fn(&'s Session) -> BoxFuture<'s, Verdict>;

/// One question to a provider.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Group and name, e.g. `signature.skew-future`. Stable.
    pub id: &'static str,
    /// Where it belongs.
    pub group: Group,
    /// The sentence that should be true.
    pub title: &'static str,
    /// Where the rule comes from.
    pub origin: &'static str,
    pub(super) run: Run,
}

/// A row of a group's table.
pub(super) const fn case(group: Group, id: &'static str, title: &'static str, origin: &'static str, run: Run) -> Case {
    Case { id, group, title, origin, run }
}

/// Why a case ended early.
#[derive(Debug, Clone)]
pub(super) enum Stop {
    /// The provider does otherwise.
    Finding(Box<Finding>),
    /// The case cannot be asked here, and why.
    NotApplicable(String),
}

impl Stop {
    /// Nothing was wrong yet: the case only could not begin.
    pub(super) fn preparing(self) -> Self {
        match self {
            Self::Finding(mut finding) => {
                finding.preparing = true;
                Self::Finding(finding)
            }
            other @ Self::NotApplicable(_) => other,
        }
    }
}

/// The case does not apply, because of `why`.
pub(super) fn not_applicable<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::NotApplicable(why.into()))
}

/// What a provider did otherwise than expected. Secrets are hidden in all texts.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// Whether this happened while the case was still being prepared (e.g. no account could be opened for it).
    pub preparing: bool,
    /// What should have been true.
    pub expected: String,
    /// What was true instead.
    pub found: String,
    /// The last request, as text.
    pub request: String,
    /// The answer to it, as text, cut at some thousand characters. It is whatever the provider sent: hostile text.
    pub answer: String,
}

/// What a case is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// Request signatures, both schemes.
    Signature,
    /// `API-Version`.
    Version,
    /// Health and services.
    Catalog,
    /// Account requests.
    Accounts,
    /// What happens when the user must be asked.
    Consent,
    /// The token endpoint.
    Token,
    /// Making and reading resources.
    Resources,
    /// `update_service`.
    Update,
    /// `rotate_credentials`.
    Rotation,
    /// `remove`.
    Removal,
    /// Log-in links.
    DeepLinks,
    /// Payment credentials.
    Payment,
    /// The same request twice.
    Idempotency,
    /// The same request at once.
    Races,
    /// Malformed and malicious requests.
    Hostile,
    /// Rates and sizes.
    Limits,
}

impl Group {
    /// All, in the order in which they run. Limits come last: they use up what the others need.
    pub const ALL: [Self; 16] = [
        Self::Signature,
        Self::Version,
        Self::Catalog,
        Self::Accounts,
        Self::Consent,
        Self::Token,
        Self::Resources,
        Self::Update,
        Self::Rotation,
        Self::Removal,
        Self::DeepLinks,
        Self::Payment,
        Self::Idempotency,
        Self::Races,
        Self::Hostile,
        Self::Limits,
    ];

    /// The word before the dot of a case's id, and for `--only`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Version => "version",
            Self::Catalog => "catalog",
            Self::Accounts => "accounts",
            Self::Consent => "consent",
            Self::Token => "token",
            Self::Resources => "resources",
            Self::Update => "update",
            Self::Rotation => "rotation",
            Self::Removal => "removal",
            Self::DeepLinks => "deep_links",
            Self::Payment => "payment",
            Self::Idempotency => "idempotency",
            Self::Races => "races",
            Self::Hostile => "hostile",
            Self::Limits => "limits",
        }
    }

    /// For people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Signature => "Signature",
            Self::Version => "Version",
            Self::Catalog => "Catalog",
            Self::Accounts => "Account requests",
            Self::Consent => "Consent",
            Self::Token => "Token",
            Self::Resources => "Resources",
            Self::Update => "Update",
            Self::Rotation => "Rotation",
            Self::Removal => "Removal",
            Self::DeepLinks => "Deep links",
            Self::Payment => "Payment",
            Self::Idempotency => "Idempotency",
            Self::Races => "Races",
            Self::Hostile => "Hostile input",
            Self::Limits => "Limits",
        }
    }
}
