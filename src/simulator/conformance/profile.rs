//! Dated profiles: which shapes a provider is expected to send. One version string, many shapes; the dates are those
//! on which the shapes were first seen. `any` accepts every known shape. All of it is this table.

use std::fmt;
use std::str::FromStr;

/// Whether a member is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Member {
    /// Always.
    Needed,
    /// Never: the shape had no such member then.
    Absent,
    /// As the provider likes.
    Free,
}

/// How `allowed_updates` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Updates {
    /// Ids of services.
    Ids,
    /// `{service, direction}`.
    Directed,
    /// Either.
    Either,
}

/// How a deep link is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeepLink {
    /// `{"deep_link"}`.
    Bare,
    /// `{"purpose", "url", "expires_at"}`.
    Full,
    /// Either.
    Either,
}

/// The shapes that are expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// Its name: a date, `generic` or `any`.
    pub name: &'static str,
    /// What is special about it.
    pub summary: &'static str,
    /// Whether requests are signed. Without, the client is public and proves itself by PKCE.
    pub(super) signed: bool,
    /// `kind` of services.
    pub(super) kind: Member,
    /// `scope` and `constraints` of services.
    pub(super) scope: Member,
    /// Prices that depend on a parent.
    pub(super) component: Member,
    /// `paid` as an array.
    pub(super) price_list: Member,
    pub(super) updates: Updates,
    /// `update_service`.
    pub(super) update_service: Member,
    pub(super) pending: Member,
    pub(super) deep_link: DeepLink,
    /// How the runner spells the organization.
    pub(super) organization: &'static str,
}

const ANY: Profile = Profile {
    name: "any",
    summary: "every known shape is accepted",
    signed: true,
    kind: Member::Free,
    scope: Member::Free,
    component: Member::Free,
    price_list: Member::Free,
    updates: Updates::Either,
    update_service: Member::Free,
    pending: Member::Free,
    deep_link: DeepLink::Either,
    organization: "organization",
};

const FIRST: Profile = Profile {
    name: "2026-03-30",
    summary: "updates as ids, `organisation`, the link as one member, no kinds, no scope",
    kind: Member::Absent,
    scope: Member::Absent,
    component: Member::Absent,
    price_list: Member::Absent,
    updates: Updates::Ids,
    deep_link: DeepLink::Bare,
    organization: "organisation",
    ..ANY
};

const APRIL: Profile = Profile {
    name: "2026-04-01",
    summary: "kinds, several prices, component prices, `organization`, the link with purpose and end",
    kind: Member::Needed,
    component: Member::Free,
    price_list: Member::Free,
    deep_link: DeepLink::Full,
    organization: "organization",
    ..FIRST
};

const JUNE: Profile = Profile {
    name: "2026-06-25",
    summary: "scope, constraints, updates with a direction",
    scope: Member::Needed,
    updates: Updates::Directed,
    pending: Member::Free,
    update_service: Member::Needed,
    ..APRIL
};

impl Profile {
    /// All, oldest first; `any` is the last.
    pub const ALL: [Self; 7] = [
        FIRST,
        APRIL,
        Self {
            name: "2026-04-17",
            summary: "update_service appears, nothing is pending",
            update_service: Member::Needed,
            pending: Member::Absent,
            ..APRIL
        },
        Self {
            name: "2026-04-30",
            summary: "resources may be pending again",
            update_service: Member::Needed,
            pending: Member::Free,
            ..APRIL
        },
        JUNE,
        Self { name: "generic", summary: "unsigned public clients with PKCE, newest shapes", signed: false, ..JUNE },
        ANY,
    ];

    /// Whether known differences between providers are accepted, not only those of one date.
    pub(super) fn tolerant(&self) -> bool {
        self.name == ANY.name
    }
}

impl Default for Profile {
    fn default() -> Self {
        ANY
    }
}

/// No profile has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no profile; there are 2026-03-30, 2026-04-01, 2026-04-17, 2026-04-30, 2026-06-25, generic and any")]
pub struct UnknownProfile(String);

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Self, UnknownProfile> {
        Self::ALL.into_iter().find(|profile| profile.name == name).ok_or_else(|| UnknownProfile(name.to_owned()))
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
