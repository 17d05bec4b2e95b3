//! A request for an account on the provisioning wire, as an attestation: what a signature vouches for, and what nothing
//! does.
//!
//! Signed: the person is the orchestrator's own `account`, and the word about the address goes as far as the operator
//! registered. Unsigned: the person is the request itself, so that nobody is ever taken for somebody else.

use chrono::TimeDelta;

use super::id_token::named;
use super::{AssertedEmail, Attestation, AttestationError, CanonicalEmail, EmailTrust};
use crate::clock::Timestamp;
use crate::orchestrator::Orchestrator;
use crate::secret::sha256_base64url;

/// How long the use of a request is remembered at least: longer than its signature is accepted.
const REMEMBERED: TimeDelta = TimeDelta::minutes(15);

/// What a request says, read strictly.
#[derive(Debug, Clone)]
pub struct AccountRequestFacts {
    /// The caller's own name of the request; `None`: it is named by its hash.
    pub id: Option<String>,
    /// The address as it was written.
    pub email: String,
    /// Its one spelling.
    pub canonical: CanonicalEmail,
    /// Whether the caller calls the address verified.
    pub email_verified: bool,
    /// Until when the request may be answered.
    pub expires_at: Option<Timestamp>,
    /// SHA-256 of the request's canonical form.
    pub hash: String,
}

impl AccountRequestFacts {
    /// The name by which the request is found again.
    fn name(&self) -> String {
        self.id.as_ref().map_or_else(|| format!("hash:{}", self.hash), |id| format!("request:{id}"))
    }

    fn attest(
        &self,
        orchestrator: &Orchestrator,
        (tenant, subject): (String, String),
        (trust, assertion_key): (EmailTrust, String),
        now: Timestamp,
    ) -> Result<Attestation, AttestationError> {
        if orchestrator.suspended_at.is_some() {
            return Err(AttestationError::Suspended);
        }
        Ok(Attestation {
            orchestrator_id: orchestrator.id.clone(),
            tenant,
            subject,
            email: AssertedEmail::new(&self.email, self.canonical.clone(), trust),
            auth_time: None,
            acr: None,
            assertion_key,
            assertion_hash: self.hash.clone(),
            issued_at: now,
            refused_from: self.expires_at.unwrap_or(now).max(now.plus(REMEMBERED)),
            key_id: None,
        })
    }
}

/// The attestation of a request that `orchestrator` signed about its `account`. The signature was verified before.
///
/// # Errors
/// When the account is no name, or the orchestrator is suspended.
pub fn attest_signed(
    orchestrator: &Orchestrator,
    account: &str,
    request: &AccountRequestFacts,
    now: Timestamp,
) -> Result<Attestation, AttestationError> {
    let subject = named(account.to_owned(), "orchestrator account")?;
    let trust = match request.email_verified {
        true if orchestrator.vouches_for(request.canonical.domain().as_str()) => EmailTrust::Verified,
        true => EmailTrust::Asserted,
        false => EmailTrust::Unverified,
    };
    request.attest(orchestrator, (String::new(), subject), (trust, request.name()), now)
}

/// The attestation of a request that nobody signed: its client is a name, its address a hint, its person nobody known.
///
/// # Errors
/// When the client or the request has no good name, or the orchestrator is suspended.
pub fn attest_unsigned(
    orchestrator: &Orchestrator,
    client_id: &str,
    request: &AccountRequestFacts,
    now: Timestamp,
) -> Result<Attestation, AttestationError> {
    let client = named(client_id.to_owned(), "client_id")?;
    let subject = named(request.name(), "id")?;
    let key = format!("client:{}:{subject}", sha256_base64url(client.as_bytes()));
    request.attest(orchestrator, (client, subject), (EmailTrust::Unverified, key), now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attestation::attacks::{now, orchestrator};

    fn facts(email: &str) -> AccountRequestFacts {
        AccountRequestFacts {
            id: Some("acctreq_1".to_owned()),
            email: email.to_owned(),
            canonical: email.parse().unwrap(),
            email_verified: true,
            expires_at: None,
            hash: "h".to_owned(),
        }
    }

    fn trust(attestation: &Attestation) -> EmailTrust {
        attestation.email.as_ref().unwrap().trust
    }

    #[test]
    fn an_address_is_trusted_as_far_as_the_orchestrator_is_an_authority() {
        let known = orchestrator();
        let told = attest_signed(&known, "acct_1", &facts("ada@example.com"), now()).unwrap();
        assert_eq!((told.tenant.as_str(), told.subject.as_str(), trust(&told)), ("", "acct_1", EmailTrust::Verified));
        assert_eq!(told.assertion_key, "request:acctreq_1");
        let elsewhere = attest_signed(&known, "acct_1", &facts("ada@elsewhere.example"), now()).unwrap();
        assert_eq!(trust(&elsewhere), EmailTrust::Asserted);
        let unverified = AccountRequestFacts { email_verified: false, ..facts("ada@example.com") };
        let told = attest_signed(&known, "acct_1", &unverified, now()).unwrap();
        assert_eq!(trust(&told), EmailTrust::Unverified);
    }

    #[test]
    fn an_unsigned_request_is_nobody_known_whatever_it_says() {
        let known = orchestrator();
        let told = attest_unsigned(&known, "cli", &facts("ada@example.com"), now()).unwrap();
        assert_eq!((told.tenant.as_str(), told.subject.as_str()), ("cli", "request:acctreq_1"));
        assert_eq!(trust(&told), EmailTrust::Unverified);
        let other = attest_unsigned(&known, "cli2", &facts("ada@example.com"), now()).unwrap();
        assert_ne!(told.assertion_key, other.assertion_key);
        let nameless = AccountRequestFacts { id: None, ..facts("ada@example.com") };
        assert_eq!(attest_unsigned(&known, "cli", &nameless, now()).unwrap().subject, "hash:h");
    }

    #[test]
    fn names_have_bounds_and_a_suspended_orchestrator_is_not_believed() {
        let mut known = orchestrator();
        let long = "a".repeat(256);
        for bad in ["", "a\nb", &long] {
            assert!(attest_signed(&known, bad, &facts("ada@example.com"), now()).is_err(), "{bad:?}");
            assert!(attest_unsigned(&known, bad, &facts("ada@example.com"), now()).is_err(), "{bad:?}");
        }
        known.suspended_at = Some(now());
        let refused = attest_signed(&known, "acct_1", &facts("ada@example.com"), now()).unwrap_err();
        assert_eq!(refused, AttestationError::Suspended);
    }
}
