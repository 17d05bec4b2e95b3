//! Dated profiles of the provisioning wire: one version string, many shapes. Which shapes we emit stands here and nowhere
//! else; what we accept is every shape that was ever seen.
//!
//! | profile | what changed then |
//! | --- | --- |
//! | `2026-03-30` | updates as plain ids, `organisation`, the deep link as one member, no plans |
//! | `2026-04-01` | `kind`, several prices, component prices, `organization`, the deep link with purpose and end |
//! | `2026-06-25` | `scope`, `constraints`, updates with a direction |
//! | `generic` | the newest shapes, for public clients that sign nothing and prove themselves with PKCE |

use std::fmt;
use std::str::FromStr;

use chrono::TimeDelta;

/// How `allowed_updates` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdatesShape {
    /// Ids of services.
    Ids,
    /// `{service, direction}`.
    Directed,
}

/// How `paid` is written when there is one price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaidShape {
    /// The price itself.
    One,
    /// An array of prices.
    Many,
}

/// What stands for "no further page".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextCursor {
    /// The member is left out.
    Absent,
    /// An empty text.
    Empty,
}

/// How the answer to a deep-link request is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeepLinkShape {
    /// `{"deep_link": URL}`.
    Bare,
    /// `{"purpose", "url", "expires_at"}`.
    Full,
}

/// How the orchestrator's organization is spelled where we write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrganizationSpelling {
    /// `organisation`.
    British,
    /// `organization`.
    American,
}

/// What answers about resources and accounts repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceEcho {
    /// `service_id` in resource answers.
    pub service_id: bool,
    /// `id` in account answers.
    pub request_id: bool,
}

/// The shapes of a catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogShape {
    /// Whether services say `kind` and `group`.
    pub kind: bool,
    /// Whether services say `scope` and `constraints`.
    pub scope: bool,
    /// Whether a price may depend on a parent; else the price of the default parent is written.
    pub component: bool,
    /// How updates are written.
    pub updates: UpdatesShape,
    /// How prices are written.
    pub paid: PaidShape,
    /// How the last page ends.
    pub next_cursor: NextCursor,
}

/// A profile: pure data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: &'static str,
    /// The catalog's shapes.
    pub catalog: CatalogShape,
    /// What is repeated.
    pub echo: ResourceEcho,
    /// The deep link's shape.
    pub deep_link: DeepLinkShape,
    /// The spelling.
    pub organization: OrganizationSpelling,
    /// How long an access token works.
    pub access_token_lifetime: TimeDelta,
    /// Whether requests are signed. A profile without signatures is for public clients with PKCE.
    pub signed: bool,
}

const NEWEST: CatalogShape = CatalogShape {
    kind: true,
    scope: true,
    component: true,
    updates: UpdatesShape::Directed,
    paid: PaidShape::One,
    next_cursor: NextCursor::Absent,
};
const ECHO: ResourceEcho = ResourceEcho { service_id: true, request_id: true };
const NEWEST_PROFILE: Profile = Profile {
    name: "2026-06-25",
    catalog: NEWEST,
    echo: ECHO,
    deep_link: DeepLinkShape::Full,
    organization: OrganizationSpelling::American,
    access_token_lifetime: TimeDelta::hours(1),
    signed: true,
};

impl Profile {
    /// All, oldest first.
    pub const ALL: [Self; 4] = [
        Self {
            name: "2026-03-30",
            catalog: CatalogShape {
                kind: false,
                scope: false,
                component: false,
                updates: UpdatesShape::Ids,
                paid: PaidShape::One,
                next_cursor: NextCursor::Empty,
            },
            deep_link: DeepLinkShape::Bare,
            organization: OrganizationSpelling::British,
            ..NEWEST_PROFILE
        },
        Self {
            name: "2026-04-01",
            catalog: CatalogShape { scope: false, updates: UpdatesShape::Ids, paid: PaidShape::Many, ..NEWEST },
            echo: ResourceEcho { service_id: false, request_id: true },
            ..NEWEST_PROFILE
        },
        NEWEST_PROFILE,
        Self { name: "generic", signed: false, ..NEWEST_PROFILE },
    ];
}

/// No profile has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no profile; there are 2026-03-30, 2026-04-01, 2026-06-25 and generic")]
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
