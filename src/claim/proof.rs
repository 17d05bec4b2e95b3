//! What has to be proved to claim an account, decided in one place without the world.
//!
//! | proved | enough? |
//! | --- | --- |
//! | to be the person whom the asserting issuer named, logged in there just now | yes |
//! | the mailbox, and a fresh log-in at the provider's own OpenID provider with the same verified address | yes |
//! | the mailbox, from the browser that asked for the mail | with a passkey that is made in the claim itself, where that counts |
//! | anything else | no |
//!
//! Why one proof is not enough: an agent may read its human's mail, and whoever opened the account chose the address.
//! A pre-hijacker has neither the mailbox nor the human's log-in. An agent that reads the mailbox has not the human's
//! log-in at the OpenID provider; a passkey asks for the human's device and for the human (user verification), but a
//! program can pretend to be a device: where there is an OpenID provider, a passkey therefore does not count unless the
//! operator says so.

use chrono::TimeDelta;

use crate::account::Account;
use crate::attestation::CanonicalEmail;
use crate::clock::Timestamp;
use crate::login::{self, Mailbox, Proofs, Upstreamer};
use crate::secret::SecretHash;

/// How long ago a log-in at an OpenID provider may be.
pub const FRESH: TimeDelta = TimeDelta::minutes(5);
/// How long ago the link of a mail may have been taken.
pub const MAIL_FRESH: TimeDelta = TimeDelta::minutes(15);
/// How far the issuer's clock may be ahead.
const SKEW: TimeDelta = TimeDelta::seconds(60);

/// The passkey with which an account is claimed, as the browser made it; it holds.
#[derive(Debug, Clone)]
pub struct FirstPasskey {
    /// What its owner calls it.
    pub name: String,
    /// The passkey.
    pub passkey: login::NewPasskey,
    /// Of the step that asked for it.
    pub step: SecretHash,
}

/// By what an account is claimed.
#[derive(Debug, Clone)]
pub enum By {
    /// A fresh log-in at the issuer that named the human.
    Issuer(Upstreamer),
    /// The mailbox, and a fresh log-in at the provider's own OpenID provider.
    MailAndUpstream(Upstreamer),
    /// The mailbox, and a passkey that is made in the claim.
    MailAndPasskey(Box<FirstPasskey>),
}

impl By {
    /// The word that is stored.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Issuer(_) => "issuer",
            Self::MailAndUpstream(_) => "mail_and_oidc",
            Self::MailAndPasskey(_) => "mail_and_passkey",
        }
    }
}

/// What is there of the proofs, when they are not enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is there or not, by itself")]
pub struct Missing {
    /// The mailbox is proved, by a link that was taken just now.
    pub mail: bool,
    /// The same, in the browser that asked for it.
    pub here: bool,
    /// Somebody is logged in at the OpenID provider just now.
    pub upstream: bool,
    /// That person has another verified address, or none.
    pub another: bool,
}

/// Where a claim stands.
#[derive(Debug, Clone)]
pub enum Standing {
    /// It can be made.
    Proven(By),
    /// It can be made with a passkey.
    NeedsPasskey,
    /// Something is missing.
    Missing(Missing),
}

/// The canonical address of an account.
pub(super) fn address_of(account: &Account) -> Option<String> {
    let address: CanonicalEmail = account.email.as_deref()?.parse().ok()?;
    Some(address.as_str().to_owned())
}

fn is_fresh(at: Timestamp, within: TimeDelta, now: Timestamp) -> bool {
    now.minus(within) <= at && at <= now.plus(SKEW)
}

/// Decides. `asserted`: the upstream person is the one whom that issuer named for the account.
#[must_use]
pub fn standing(
    account: &Account,
    proofs: &Proofs,
    (asserted, passkey_counts): (bool, bool),
    now: Timestamp,
) -> Standing {
    let own = address_of(account);
    let mailbox = proofs.mailbox.as_ref().filter(|mailbox: &&Mailbox| {
        own.as_deref() == Some(&mailbox.address) && is_fresh(Timestamp::from_micros(mailbox.at), MAIL_FRESH, now)
    });
    let upstream = proofs
        .upstream
        .as_ref()
        .filter(|person: &&Upstreamer| is_fresh(Timestamp::from_seconds(person.auth_time), FRESH, now));
    let same = upstream.is_some_and(|person| own.is_some() && person.email == own);
    let here = mailbox.is_some_and(|mailbox| mailbox.here);
    match (mailbox, upstream) {
        (_, Some(person)) if asserted => Standing::Proven(By::Issuer(person.clone())),
        (Some(_), Some(person)) if same => Standing::Proven(By::MailAndUpstream(person.clone())),
        (Some(_), _) if here && passkey_counts => Standing::NeedsPasskey,
        _ => Standing::Missing(Missing {
            mail: mailbox.is_some(),
            here,
            upstream: upstream.is_some(),
            another: upstream.is_some() && !same,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::AccountState;
    use crate::ids::{AccountId, OrchestratorId};

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn account() -> Account {
        Account {
            id: AccountId::new(NOW),
            state: AccountState::Provisional,
            opened_by: OrchestratorId::new(NOW),
            email: Some("Ada@Example.test".to_owned()),
            email_trust: None,
            created_at: NOW,
            spending_stopped_at: None,
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "as it stands in `Proofs`")]
    fn mail(seconds: i64, here: bool) -> Option<Mailbox> {
        let at = NOW.minus(TimeDelta::seconds(seconds)).micros();
        Some(Mailbox { address: "ada@example.test".to_owned(), at, here })
    }

    #[expect(clippy::unnecessary_wraps, reason = "as it stands in `Proofs`")]
    fn person(seconds: i64, email: Option<&str>) -> Option<Upstreamer> {
        Some(Upstreamer {
            issuer: "https://id.example".to_owned(),
            subject: "1001".to_owned(),
            email: email.map(str::to_owned),
            auth_time: NOW.seconds() - seconds,
        })
    }

    fn of(mailbox: Option<Mailbox>, upstream: Option<Upstreamer>, asserted: bool, passkey: bool) -> Standing {
        standing(&account(), &Proofs { mailbox, upstream }, (asserted, passkey), NOW)
    }

    fn is_missing(standing: &Standing) -> bool {
        word(standing).is_empty()
    }

    fn word(standing: &Standing) -> &'static str {
        match standing {
            Standing::Proven(by) => by.as_str(),
            Standing::NeedsPasskey => "passkey",
            Standing::Missing(_) => "",
        }
    }

    #[test]
    fn one_proof_is_enough_only_for_the_person_whom_the_issuer_named_and_only_while_it_is_fresh() {
        assert_eq!(word(&of(None, person(300, None), true, false)), "issuer");
        assert!(is_missing(&of(None, person(301, None), true, true)));
        assert!(is_missing(&of(None, person(-61, None), true, true)), "from the future");
        assert!(is_missing(&of(None, person(0, Some("ada@example.test")), false, true)));
        assert!(is_missing(&of(mail(0, true), None, false, false)));
        assert!(is_missing(&of(None, None, true, true)));
    }

    #[test]
    fn a_mailbox_needs_a_second_proof_of_the_same_address_or_a_passkey_in_the_same_browser() {
        let ada = || person(0, Some("ada@example.test"));
        for here in [true, false] {
            assert_eq!(word(&of(mail(900, here), ada(), false, false)), "mail_and_oidc");
            assert!(is_missing(&of(mail(901, here), ada(), false, true)), "too old");
        }
        for other in [None, Some("eve@example.test")] {
            let Standing::Missing(missing) = of(mail(0, false), person(0, other), false, true) else {
                panic!("{other:?}")
            };
            assert!(missing.mail && missing.upstream && missing.another);
        }
        assert!(is_missing(&of(mail(0, true), person(301, Some("ada@example.test")), false, false)));
        assert_eq!(word(&of(mail(0, true), None, false, true)), "passkey");
        assert!(is_missing(&of(mail(0, false), None, false, true)), "another browser");
        let mut of_eve = mail(0, true).unwrap();
        of_eve.address = "eve@example.test".to_owned();
        assert!(is_missing(&of(Some(of_eve), ada(), false, true)), "another mailbox");
    }

    #[test]
    fn an_account_without_an_address_is_claimed_at_its_issuer_alone() {
        let nameless = Account { email: None, ..account() };
        let all = Proofs { mailbox: mail(0, true), upstream: person(0, None) };
        assert!(is_missing(&standing(&nameless, &all, (false, true), NOW)));
        assert_eq!(word(&standing(&nameless, &all, (true, false), NOW)), "issuer");
    }
}
