//! Scopes: what a token allows.

use std::fmt;
use std::str::FromStr;

/// One thing that a token can allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// See resources.
    ResourcesRead,
    /// Create and change resources, which spends money.
    ResourcesWrite,
    /// Remove resources.
    ResourcesDelete,
    /// See the budget and the ledger.
    BudgetRead,
    /// Make one-use links to the dashboard.
    DashboardLink,
}

/// Not a scope that we know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a scope that is known here")]
pub struct InvalidScope(pub String);

impl Scope {
    /// All, in the order in which they are written.
    pub const ALL: [Self; 5] =
        [Self::ResourcesRead, Self::ResourcesWrite, Self::ResourcesDelete, Self::BudgetRead, Self::DashboardLink];

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ResourcesRead => "resources:read",
            Self::ResourcesWrite => "resources:write",
            Self::ResourcesDelete => "resources:delete",
            Self::BudgetRead => "budget:read",
            Self::DashboardLink => "dashboard:link",
        }
    }

    /// Whether it only looks.
    #[must_use]
    pub fn only_looks(self) -> bool {
        matches!(self, Self::ResourcesRead | Self::BudgetRead)
    }

    /// Whether no client can make it a condition: its human says yes to it by itself, or not.
    #[must_use]
    pub fn is_always_optional(self) -> bool {
        matches!(self, Self::ResourcesDelete | Self::DashboardLink)
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let known = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        known.ok_or_else(|| InvalidScope(text.chars().take(40).collect()))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of scopes. Written in one order, parted by single spaces (RFC 6749 §3.3).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    /// Every scope.
    #[must_use]
    pub fn all() -> Self {
        Self(Scope::ALL.to_vec())
    }

    /// What a client asked for, as far as we know it: scopes of other servers are left out (RFC 6749 §3.3), and the
    /// answer says what was granted. May be empty.
    #[must_use]
    pub fn known_of(requested: &str) -> Self {
        Self(Scope::ALL.into_iter().filter(|scope| requested.split(' ').any(|word| word == scope.as_str())).collect())
    }

    /// What both allow.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.0.iter().copied().filter(|scope| other.contains(*scope)).collect())
    }

    /// What one of both allows.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self(Scope::ALL.into_iter().filter(|scope| self.contains(*scope) || other.contains(*scope)).collect())
    }

    /// What these allow and `other` does not.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        self.filtered(|scope| !other.contains(scope))
    }

    /// Those that are `wanted`.
    #[must_use]
    pub fn filtered(&self, wanted: impl Fn(Scope) -> bool) -> Self {
        Self(self.iter().filter(|scope| wanted(*scope)).collect())
    }

    /// Each, in the order in which they are written.
    pub fn iter(&self) -> impl Iterator<Item = Scope> + '_ {
        self.0.iter().copied()
    }

    /// Whether all of `other` is among them.
    #[must_use]
    pub fn contains_all(&self, other: &Self) -> bool {
        other.0.iter().all(|scope| self.contains(*scope))
    }

    /// Whether `scope` is among them.
    #[must_use]
    pub fn contains(&self, scope: Scope) -> bool {
        self.0.contains(&scope)
    }

    /// Whether nothing is allowed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Scopes {
    type Err = InvalidScope;

    /// Reads what we wrote: every word must be known.
    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let mut scopes = text.split(' ').map(str::parse).collect::<Result<Vec<Scope>, _>>()?;
        scopes.sort_unstable();
        scopes.dedup();
        Ok(Self(scopes))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_scopes_are_granted_and_in_one_order() {
        assert_eq!(Scopes::known_of("budget:read admin resources:read").to_string(), "resources:read budget:read");
        assert!(Scopes::known_of("admin").is_empty() && Scopes::known_of("").is_empty());
        assert!("resources:read admin".parse::<Scopes>().is_err() && "".parse::<Scopes>().is_err());
        assert_eq!(Scopes::all().to_string().parse::<Scopes>().unwrap(), Scopes::all());
        let both = Scopes::known_of("budget:read").intersection(&Scopes::known_of("resources:read budget:read"));
        assert_eq!(both.to_string(), "budget:read");
        let more = both.union(&Scopes::known_of("resources:read"));
        assert_eq!(more.to_string(), "resources:read budget:read");
        assert!(more.contains_all(&both) && !both.contains_all(&more));
    }
}
