//! What an attestation leads to. One pure function, asked twice with the same rules: before the transaction, to prepare
//! the answer, and inside it, to see that nothing changed.
//!
//! | link | address | outcome |
//! | --- | --- | --- |
//! | exists, account usable | any | use it |
//! | exists, account frozen or closed | any | refuse |
//! | none | nobody has it | new provisional account, if the orchestrator may open |
//! | none | somebody has it; vouched for by an authority | never link: consent, or a separate account (`sidecar`) |
//! | none | it is somebody's own; vouched for; the operator set `link_silently` | link, and tell the owner |
//! | none | somebody has it; only asserted or unverified | separate account that shows the address and is never found by it: the same answer, and the same pages, as for an unknown address, so that nobody learns who is a customer |
//! | none | looks like somebody's, is not | new account, flagged |
//!
//! "Somebody has it" asks for the exact canonical form on any account, whatever the trust in it. Somebody who has it under
//! another subject of the same issuer is another person all the same, and the collision is recorded.

use super::{Account, AccountState};
use crate::attestation::{Attestation, EmailTrust};
use crate::ids::AccountId;
use crate::orchestrator::{ExistingAccount, Orchestrator};

/// What the database knows about the person of an attestation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The account that the identity link leads to.
    pub linked: Option<Account>,
    /// What its owner allowed the person's orchestrator, as it is written with the link; `None`: nobody was asked.
    pub allowed: Option<String>,
    /// An account with the same canonical address: the one whose own it is, else the oldest.
    pub same_email: Option<AccountId>,
    /// The state of that account, when the address is its own: an authority over the domain vouched for it there too.
    pub proven_owner: Option<AccountState>,
    /// Whether one with the same address is linked to the same issuer, under another subject.
    pub same_issuer: bool,
    /// Whether somebody has an address that only looks the same.
    pub look_alike: bool,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The link leads to this account.
    Use(AccountId),
    /// The link leads to an account that is frozen or closed.
    Unusable(AccountId, AccountState),
    /// The orchestrator may not open accounts, and there is no link.
    MayNotOpen,
    /// The address is this account's own, and the operator lets this orchestrator link without asking.
    Link(AccountId),
    /// The address has an account: its owner must be asked.
    NeedsConsent {
        /// Whose consent is needed.
        owner: AccountId,
        /// Whether the same issuer knows the owner under another subject.
        collision: bool,
    },
    /// A new provisional account.
    Open {
        /// What becomes of the address.
        email: EmailUse,
        /// What a reviewer should know.
        flags: Flags,
    },
}

/// What becomes of the asserted address on a new account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmailUse {
    /// It becomes this account's own: nobody else's will.
    Own,
    /// It is kept with the trust that it came with.
    Keep,
    /// It stands there for people to read, as on any account; nothing finds the account by it.
    Leave,
}

/// What a reviewer should know about an opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// Somebody has an address that only looks the same.
    pub look_alike: bool,
    /// The same issuer knows the address under another subject.
    pub collision: bool,
    /// A separate account beside one with the same address.
    pub sidecar: bool,
}

/// Decides. Links by address only where the operator said so, and only what is proven on both sides: the address is the
/// owner's own, an authority vouches for it now, and the same orchestrator does not know the owner as somebody else.
#[must_use]
pub fn decide(attestation: &Attestation, orchestrator: &Orchestrator, facts: &Facts) -> Decision {
    if let Some(account) = &facts.linked {
        return if account.state.is_usable() {
            Decision::Use(account.id.clone())
        } else {
            Decision::Unusable(account.id.clone(), account.state)
        };
    }
    if !orchestrator.may_open_accounts {
        return Decision::MayNotOpen;
    }
    let verified = attestation.email.as_ref().is_some_and(|email| email.trust == EmailTrust::Verified);
    let taken = facts.same_email.is_some();
    let flags = Flags { look_alike: facts.look_alike, collision: taken && facts.same_issuer, sidecar: taken };
    let email = match (&facts.same_email, verified, orchestrator.existing_account) {
        (Some(owner), true, ExistingAccount::LinkSilently) if !facts.same_issuer && facts.proven_owner.is_some() => {
            return match facts.proven_owner {
                Some(state) if !state.is_usable() => Decision::Unusable(owner.clone(), state),
                _ => Decision::Link(owner.clone()),
            };
        }
        (Some(owner), true, ExistingAccount::UserConsent | ExistingAccount::LinkSilently) => {
            return Decision::NeedsConsent { owner: owner.clone(), collision: facts.same_issuer };
        }
        (Some(_), true, ExistingAccount::Sidecar) | (None, false, _) => EmailUse::Keep,
        (Some(_), false, _) => EmailUse::Leave,
        (None, true, _) => EmailUse::Own,
    };
    Decision::Open { email, flags }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attestation::attacks::{claims, now, orchestrator, told, with};
    use serde_json::json;

    /// The attestation of `ada@example.com`, with each trust.
    fn attestations() -> [(Attestation, EmailTrust); 3] {
        let mut asserted = told(&claims());
        asserted.email.as_mut().unwrap().trust = EmailTrust::Asserted;
        [
            (told(&claims()), EmailTrust::Verified),
            (asserted, EmailTrust::Asserted),
            (told(&with("email_verified", json!(false))), EmailTrust::Unverified),
        ]
    }

    #[test]
    fn an_address_never_links_and_only_an_authority_learns_that_it_is_taken() {
        let owner = AccountId::new(now());
        for (attestation, trust) in attestations() {
            for policy in [ExistingAccount::UserConsent, ExistingAccount::Sidecar] {
                for same_issuer in [false, true] {
                    let mut known = orchestrator();
                    known.existing_account = policy;
                    let facts = Facts { same_email: Some(owner.clone()), same_issuer, ..Facts::default() };
                    let decision = decide(&attestation, &known, &facts);
                    let asks = Decision::NeedsConsent { owner: owner.clone(), collision: same_issuer };
                    let email = if trust == EmailTrust::Verified { EmailUse::Keep } else { EmailUse::Leave };
                    let flags = Flags { look_alike: false, collision: same_issuer, sidecar: true };
                    if trust == EmailTrust::Verified && policy == ExistingAccount::UserConsent {
                        assert_eq!(decision, asks);
                    } else {
                        assert_eq!(decision, Decision::Open { email, flags });
                    }
                }
            }
        }
    }

    #[test]
    fn only_what_is_proven_on_both_sides_links_silently_and_only_where_the_operator_said_so() {
        let owner = AccountId::new(now());
        let states = [None, Some(AccountState::Provisional), Some(AccountState::Frozen { since: now() })];
        for (attestation, trust) in attestations() {
            for policy in [ExistingAccount::UserConsent, ExistingAccount::Sidecar, ExistingAccount::LinkSilently] {
                for (proven_owner, same_issuer) in states.iter().flat_map(|state| [(*state, false), (*state, true)]) {
                    let mut known = orchestrator();
                    known.existing_account = policy;
                    let facts =
                        Facts { same_email: Some(owner.clone()), proven_owner, same_issuer, ..Facts::default() };
                    let links = policy == ExistingAccount::LinkSilently
                        && trust == EmailTrust::Verified
                        && proven_owner == Some(AccountState::Provisional)
                        && !same_issuer;
                    let decision = decide(&attestation, &known, &facts);
                    assert_eq!(decision == Decision::Link(owner.clone()), links, "{decision:?}");
                }
            }
        }
    }

    #[test]
    fn a_look_alike_is_somebody_else_and_is_flagged() {
        for (attestation, trust) in attestations() {
            let facts = Facts { look_alike: true, ..Facts::default() };
            let email = if trust == EmailTrust::Verified { EmailUse::Own } else { EmailUse::Keep };
            let flags = Flags { look_alike: true, ..Flags::default() };
            assert_eq!(decide(&attestation, &orchestrator(), &facts), Decision::Open { email, flags });
        }
    }

    #[test]
    fn who_may_not_open_learns_nothing_about_addresses() {
        let mut known = orchestrator();
        known.may_open_accounts = false;
        for same_email in [None, Some(AccountId::new(now()))] {
            let facts = Facts { same_email, ..Facts::default() };
            assert_eq!(decide(&told(&claims()), &known, &facts), Decision::MayNotOpen);
        }
    }
}
