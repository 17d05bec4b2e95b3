//! Links for whoever did not start an account: each is of one account and of the address that it had when the mail was
//! written, works without a log-in, and only ever takes power away. Nothing is stored: the link is signed with a key of its
//! own. What it says about the address nobody can read without the key.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::clock::Timestamp;
use crate::ids::AccountId;
use crate::secret::Secret;

/// Makes the links and knows them again. Every process of an installation has the same key.
#[derive(Clone)]
pub struct NotMine(hmac::Key);

impl std::fmt::Debug for NotMine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NotMine")
    }
}

/// A link that we made, as somebody presents it.
#[derive(Debug, Clone)]
pub struct NotMineLink {
    /// Of which account.
    pub account: AccountId,
    /// When the mail was written.
    pub written_at: Timestamp,
    mark: String,
    key: NotMine,
}

impl NotMineLink {
    /// Whether it was sent to this canonical address.
    #[must_use]
    pub fn is_of(&self, address: &str) -> bool {
        let Ok(mark) = URL_SAFE_NO_PAD.decode(&self.mark) else { return false };
        hmac::verify(&self.key.0, &addressed(&self.account, address), &mark).is_ok()
    }
}

/// What is signed of an address. No account's id holds a space, and neither does what [`signed`] begins with.
fn addressed(account: &AccountId, address: &str) -> Vec<u8> {
    format!("address {account} {address}").into_bytes()
}

/// What is signed of a link.
fn signed(rest: &str) -> Vec<u8> {
    format!("link {rest}").into_bytes()
}

impl NotMine {
    /// Links under `key`.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The last part of the link in a mail that is written now to the account's canonical address. Secret: for the
    /// account's human alone.
    #[must_use]
    pub fn token(&self, account: &AccountId, address: &str, now: Timestamp) -> Secret {
        let mark = URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, &addressed(account, address)));
        let rest = format!("{account}.{}.{mark}", now.micros());
        let tag = URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, &signed(&rest)));
        Secret::presented(&format!("{rest}.{tag}"))
    }

    /// What somebody presents; `None`: we did not make it.
    #[must_use]
    pub fn open(&self, presented: &str) -> Option<NotMineLink> {
        let (rest, tag) = presented.rsplit_once('.')?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        hmac::verify(&self.0, &signed(rest), &tag).ok()?;
        let mut parts = rest.split('.');
        let account: AccountId = parts.next()?.parse().ok()?;
        let written_at = Timestamp::from_micros(parts.next()?.parse().ok()?);
        Some(NotMineLink { account, written_at, mark: parts.next()?.to_owned(), key: self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: &str = "ann@example.test";

    #[test]
    fn a_link_is_of_one_account_one_address_and_one_mail_and_nobody_else_makes_one() {
        let (ours, theirs) = (NotMine::new(&[1; 32]), NotMine::new(&[2; 32]));
        let now = Timestamp::from_seconds(1_800_000_000);
        let (ann, bob) = (AccountId::new(now), AccountId::new(now));
        let link = ours.token(&ann, ANN, now);
        let opened = ours.open(link.expose()).unwrap();
        assert_eq!((&opened.account, opened.written_at), (&ann, now));
        assert!(opened.is_of(ANN) && !opened.is_of("bob@example.test") && !opened.is_of(""));
        assert!(!link.expose().contains("ann@"), "the address does not stand in it");
        let parts: Vec<&str> = link.expose().split('.').collect();
        let [_, at, mark, tag] = parts[..] else { panic!("{parts:?}") };
        for forged in [
            format!("{bob}.{at}.{mark}.{tag}"),
            format!("{ann}.0.{mark}.{tag}"),
            format!("{ann}.{at}.{tag}.{mark}"),
            format!("{ann}.{at}.{mark}.{mark}"),
            format!("{ann}.{at}.{mark}.{}", &tag[1..]),
            format!("{ann}.{at}.{mark}.{tag}="),
            format!("{ann}.{at}.{mark}.{tag}."),
            format!("{ann}.{at}.{mark}.{}", tag.to_uppercase()),
            format!("{ann}.{tag}"),
            format!("{ann}."),
            ann.to_string(),
            String::new(),
            theirs.token(&ann, ANN, now).expose().to_owned(),
        ] {
            assert!(ours.open(&forged).is_none(), "{forged}");
        }
    }
}
