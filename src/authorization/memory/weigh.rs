//! What is remembered, weighed against what is asked.

use chrono::TimeDelta;

use super::cover::covers;
use super::store::{self, RefusalRow};
use crate::account::{Account, AccountState};
use crate::authorization::agent;
use crate::authorization::client::Trust;
use crate::authorization::consent_grant::Consent;
use crate::authorization::consent_store;
use crate::authorization::oauth_grant::CONSENT_LIFETIME;
use crate::authorization::request::{AuthorizationRequest, Detail, details_digest};
use crate::authorization::scope::{Scope, Scopes};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, ConsentId};

/// For how long what was refused is refused again without a page.
pub(super) const REFUSED_FOR: TimeDelta = TimeDelta::hours(24);
/// How many consents of one client are looked at; older ones are asked anew.
const MAX_CONSENTS: i64 = 32;

/// Who decides about whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// How far decisions about the client are kept.
    pub trust: Trust,
    /// Whether the account has its human.
    pub claimed: bool,
}

impl Standing {
    /// Of `account` and a client.
    #[must_use]
    pub fn of(account: &Account, trust: Trust) -> Self {
        Self { trust, claimed: matches!(account.state, AccountState::Active { .. }) }
    }

    /// Whether a yes of earlier is good for `scopes`: that takes a client that somebody checked, and for more than looking
    /// a human who is known to be the owner.
    fn keeps_a_yes(self, scopes: &Scopes) -> bool {
        self.trust == Trust::Known && (self.claimed || scopes.iter().all(Scope::only_looks))
    }
}

/// What is remembered of a client on an account.
#[derive(Debug, Clone)]
pub struct Recalled {
    /// What stands, newest first.
    consents: Vec<Consent>,
    refusals: Vec<RefusalRow>,
}

/// What follows.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// It is allowed already.
    Allowed(Reuse),
    /// It was refused a moment ago, and is refused until then.
    Refused {
        /// When the human may be asked again.
        until: Timestamp,
    },
    /// The human is asked, and told what was before.
    Ask(Before),
}

/// By which right a request is answered without a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reuse {
    /// The consent that covers it, whose counts go on; `None`: no single one does, and what is asked is one of its own.
    pub under: Option<ConsentId>,
    /// What is given.
    pub scopes: Scopes,
    /// When the oldest of what it rests on was allowed.
    pub since: Timestamp,
}

/// What a human decided before, for their eyes.
#[derive(Debug, Clone, Default)]
pub struct Before {
    /// What the client may do now.
    pub allowed: Scopes,
    /// Within which limits, by the newest consent.
    pub details: Vec<Detail>,
    /// Whether the limits that are asked for go beyond those of every consent.
    pub beyond: bool,
    /// What was refused the last time.
    pub refused: Scopes,
    /// Since the human allowed it something, when they did, the client changed what it says of itself.
    pub changed_since: Option<Timestamp>,
}

/// What is remembered of the client that asks.
///
/// # Errors
/// When the database fails.
pub fn recall(
    conn: &mut DbConnection,
    account: &AccountId,
    request: &AuthorizationRequest,
    now: Timestamp,
) -> Result<Recalled, DbError> {
    recall_at(conn, (account, request.client.as_str(), request.resource.as_str()), now)
}

/// The same of a client at a resource.
pub(super) fn recall_at(
    conn: &mut DbConnection,
    place: (&AccountId, &str, &str),
    now: Timestamp,
) -> Result<Recalled, DbError> {
    let since = now.minus(CONSENT_LIFETIME);
    let mut consents = consent_store::standing_of(conn, place, since, MAX_CONSENTS)?;
    for consent in &mut consents {
        // What its owner took from the agent since is asked for anew.
        let agent = (place.0, &consent.orchestrator_id, consent.client.as_str());
        consent.scopes = agent::narrowed(conn, agent, consent.scopes.clone())?;
    }
    Ok(Recalled { consents, refusals: store::refusals(conn, place, since)? })
}

impl Recalled {
    /// What follows for `request`.
    #[must_use]
    pub fn weigh(&self, request: &AuthorizationRequest, standing: Standing, now: Timestamp) -> Verdict {
        if standing.trust == Trust::Local {
            return Verdict::Ask(Before::default());
        }
        if !request.prompt_consent {
            let (again, until) = self.refused_again(request, now);
            let wanted = request.scopes.without(&again);
            if let Some(until) = until.filter(|_| wanted.is_empty() || !wanted.contains_all(&request.required())) {
                return Verdict::Refused { until };
            }
            let reuse = standing.keeps_a_yes(&wanted).then(|| self.reuse(request, &wanted, now)).flatten();
            if let Some(reuse) = reuse {
                return Verdict::Allowed(reuse);
            }
        }
        Verdict::Ask(self.before(request, now))
    }

    /// What a refusal of all that is asked refuses: not what is allowed within these limits already.
    pub(super) fn newly_refused(&self, request: &AuthorizationRequest, now: Timestamp) -> Scopes {
        let covering = self.same(request).filter(|consent| covers(&consent.details, &request.details, now));
        let allowed = covering.fold(Scopes::default(), |all, consent| all.union(&self.left_of(consent, request)));
        request.scopes.without(&allowed)
    }

    /// Consents of the client as it is now.
    fn same<'a>(&'a self, request: &'a AuthorizationRequest) -> impl Iterator<Item = &'a Consent> {
        self.consents.iter().filter(|consent| consent.client_digest == request.client_digest)
    }

    fn refusals<'a>(&'a self, request: &'a AuthorizationRequest) -> impl Iterator<Item = &'a RefusalRow> {
        let asked = |row: &&RefusalRow| row.scope().is_some_and(|scope| request.scopes.contains(scope));
        self.refusals.iter().filter(|row| row.client_digest == request.client_digest).filter(asked)
    }

    /// What was refused in this very form within a day, and when the first of it may be asked again.
    fn refused_again(&self, request: &AuthorizationRequest, now: Timestamp) -> (Scopes, Option<Timestamp>) {
        let digest = details_digest(&request.details);
        let fresh = self.refusals(request).filter(|row| row.details_digest == digest);
        let fresh: Vec<_> = fresh.filter(|row| now < row.refused_at.plus(REFUSED_FOR)).collect();
        let refused = |scope| fresh.iter().any(|row| row.scope() == Some(scope));
        (request.scopes.filtered(refused), fresh.iter().map(|row| row.refused_at.plus(REFUSED_FOR)).min())
    }

    /// What stands without limits of its own still allows all of `scopes` to this client, whatever was refused since.
    pub(super) fn frees(&self, client_digest: &str, scopes: &Scopes) -> bool {
        let refused_since = |consent: &Consent, scope: Scope| {
            let same = |row: &&RefusalRow| row.client_digest == client_digest && row.scope() == Some(scope);
            self.refusals.iter().filter(same).any(|row| consent.created_at < row.refused_at)
        };
        let free = self.consents.iter().filter(|one| one.client_digest == client_digest && one.details.is_empty());
        let left = free.fold(Scopes::default(), |all, consent| {
            all.union(&consent.scopes.filtered(|scope| !refused_since(consent, scope)))
        });
        left.contains_all(scopes)
    }

    /// What a consent still allows of what is asked: the human may have refused a part of it since, within whatever limits.
    fn left_of(&self, consent: &Consent, request: &AuthorizationRequest) -> Scopes {
        let since = |row: &&RefusalRow| consent.created_at < row.refused_at;
        let refused: Vec<Scope> = self.refusals(request).filter(since).filter_map(RefusalRow::scope).collect();
        consent.scopes.filtered(|scope| !refused.contains(&scope))
    }

    fn reuse(&self, request: &AuthorizationRequest, wanted: &Scopes, now: Timestamp) -> Option<Reuse> {
        let counted = |consent: &Consent| !consent.details.is_empty() || request.details.is_empty();
        let mut whole = self.same(request).filter(|consent| {
            covers(&consent.details, &request.details, now) && self.left_of(consent, request).contains_all(wanted)
        });
        let under = |consent: &Consent| Reuse {
            under: Some(consent.id.clone()),
            scopes: wanted.clone(),
            since: consent.created_at,
        };
        if let Some(consent) = whole.find(|consent| counted(consent)) {
            return Some(under(consent));
        }
        // What has no limits of its own covers any: several such consents count as one, and a request with limits gets
        // counters of its own.
        let free = || self.same(request).filter(|consent| consent.details.is_empty());
        let all = free().fold(Scopes::default(), |all, consent| all.union(&self.left_of(consent, request)));
        let since = free().map(|consent| consent.created_at).min()?;
        all.contains_all(wanted).then(|| Reuse { under: None, scopes: wanted.clone(), since })
    }

    fn before(&self, request: &AuthorizationRequest, now: Timestamp) -> Before {
        let allowed = self.same(request).fold(Scopes::default(), |all, consent| all.union(&consent.scopes));
        let refused = |scope| self.refusals(request).any(|row| row.scope() == Some(scope));
        let changed = self.same(request).next().is_none();
        Before {
            allowed,
            details: self.same(request).next().map(|consent| consent.details.clone()).unwrap_or_default(),
            beyond: !self.same(request).any(|consent| covers(&consent.details, &request.details, now)),
            refused: request.scopes.filtered(refused),
            changed_since: self.consents.first().filter(|_| changed).map(|consent| consent.created_at),
        }
    }
}
