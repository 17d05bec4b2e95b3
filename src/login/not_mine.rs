//! Links for whoever did not start an account: each is of one account, works without a log-in for as long as there is the
//! account, and only ever takes power away. Nothing is stored: the link is signed with a key of its own.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

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

impl NotMine {
    /// Links under `key`.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The link's last part. Secret: for the account's human alone.
    #[must_use]
    pub fn token(&self, account: &AccountId) -> Secret {
        let tag = hmac::sign(&self.0, account.as_str().as_bytes());
        Secret::presented(&format!("{account}.{}", URL_SAFE_NO_PAD.encode(tag)))
    }

    /// Of which account it is; `None`: we did not make it.
    #[must_use]
    pub fn account(&self, presented: &str) -> Option<AccountId> {
        let (account, tag) = presented.split_once('.')?;
        let account: AccountId = account.parse().ok()?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        hmac::verify(&self.0, account.as_str().as_bytes(), &tag).ok()?;
        Some(account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn a_link_is_of_one_account_and_nobody_else_makes_one() {
        let (ours, theirs) = (NotMine::new(&[1; 32]), NotMine::new(&[2; 32]));
        let now = Timestamp::from_seconds(1_800_000_000);
        let (ann, bob) = (AccountId::new(now), AccountId::new(now));
        let link = ours.token(&ann);
        assert_eq!(ours.account(link.expose()), Some(ann.clone()));
        assert_eq!(ours.token(&ann).expose(), link.expose(), "a second mail has the same link");
        let tag = link.expose().split('.').nth(1).unwrap();
        for forged in [
            format!("{bob}.{tag}"),
            format!("{ann}.{}", &tag[1..]),
            format!("{ann}.{tag}="),
            format!("{ann}.{tag}."),
            format!("{ann}.{}", tag.to_uppercase()),
            format!("{ann}."),
            ann.to_string(),
            String::new(),
            theirs.token(&ann).expose().to_owned(),
        ] {
            assert_eq!(ours.account(&forged), None, "{forged}");
        }
    }
}
