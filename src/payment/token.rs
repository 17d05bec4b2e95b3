//! Payment tokens of the orchestrator profile: a JWS of a registered issuer that says how much may be spent, by whom,
//! at whose shop, until when. Verified before it is believed; settled online at the issuer.

use serde::Deserialize;

use crate::clock::{Period, Timestamp};
use crate::ids::OrchestratorId;
use crate::money::{Amount, Currency};
use crate::orchestrator::{KeyCache, KeyError, Orchestrator};
use crate::secret::{Secret, SecretHash};
use crate::signing::{JwsError, Unverified};

/// The `typ` of a payment token.
pub const TOKEN_TYPE: &str = "payment-token+jwt";

/// How far two clocks may differ.
const SKEW_SECONDS: i64 = 60;

/// How a token's limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recurrence {
    /// In all, until the token expires.
    Once,
    /// Anew in every calendar month, UTC.
    Monthly,
}

impl Recurrence {
    /// The word that is stored and carried in the claim; nothing for [`Recurrence::Once`].
    #[must_use]
    pub fn as_claim(self) -> Option<&'static str> {
        match self {
            Self::Once => None,
            Self::Monthly => Some("month"),
        }
    }

    /// Reads the claim.
    #[must_use]
    pub fn from_claim(claim: Option<&str>) -> Option<Self> {
        match claim {
            None => Some(Self::Once),
            Some("month") => Some(Self::Monthly),
            Some(_) => None,
        }
    }

    /// The period of the limit in which `now` falls.
    #[must_use]
    pub fn period(self, created_at: Timestamp, expires_at: Timestamp, now: Timestamp) -> Period {
        match self {
            Self::Once => Period::once(created_at, expires_at),
            Self::Monthly => Period::month_of(now),
        }
    }
}

/// A payment token that its issuer signed for us and for this user.
#[derive(Debug, Clone)]
pub struct PaymentToken {
    /// Who issued it, and settles it.
    pub orchestrator_id: OrchestratorId,
    /// The issuer's id of it; unique per issuer.
    pub jti: String,
    /// The token itself, needed to settle.
    pub plain: Secret,
    /// What we compare.
    pub hash: SecretHash,
    /// What people see of it.
    pub last4: String,
    /// Of what.
    pub currency: Currency,
    /// The most it pays in its period.
    pub max_amount: Amount,
    /// How the limit counts.
    pub recurrence: Recurrence,
    /// From then on it pays nothing.
    pub expires_at: Timestamp,
}

/// Why a payment token is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum PaymentTokenError {
    /// The form or the signature is wrong.
    #[error("the payment token cannot be verified")]
    Jws(#[from] JwsError),
    /// The issuer's keys could not be had.
    #[error("the keys of the payment token's issuer could not be had")]
    Keys(#[from] KeyError),
    /// Signed by another issuer than the one that opened the account.
    #[error("the payment token is of another issuer")]
    WrongIssuer,
    /// For another seller.
    #[error("the payment token is for another seller")]
    WrongSeller,
    /// For another user.
    #[error("the payment token is for another user")]
    WrongUser,
    /// No longer valid.
    #[error("the payment token expired")]
    Expired,
    /// Not yet valid.
    #[error("the payment token is not valid yet")]
    NotYet,
    /// A claim says something that is not understood.
    #[error("the payment token's `{0}` is not understood")]
    Claim(&'static str),
}

#[derive(Debug, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    tenant: Option<String>,
    jti: String,
    iat: i64,
    exp: i64,
    nbf: Option<i64>,
    currency: String,
    max_amount: i64,
    recurring: Option<String>,
}

/// Verifies a payment token that one of the users `subjects` (the account's identities at `orchestrator`) hands over.
///
/// # Errors
/// See [`PaymentTokenError`]; nothing is stored.
pub async fn verify(
    presented: &Secret,
    orchestrator: &Orchestrator,
    subjects: &[(String, String)],
    keys: &KeyCache,
    now: Timestamp,
) -> Result<PaymentToken, PaymentTokenError> {
    let unverified = Unverified::parse(presented.expose())?;
    unverified.expect_type(&[TOKEN_TYPE])?;
    if unverified.issuer() != Some(orchestrator.issuer.as_str()) {
        return Err(PaymentTokenError::WrongIssuer);
    }
    let key = keys.find(orchestrator, unverified.kid(), now).await?;
    let claims = unverified.verify::<Claims>(&key, &orchestrator.algorithms)?.claims;
    judge(&claims, orchestrator, subjects, now)?;
    believe(&claims, orchestrator, presented)
}

fn judge(
    claims: &Claims,
    orchestrator: &Orchestrator,
    subjects: &[(String, String)],
    now: Timestamp,
) -> Result<(), PaymentTokenError> {
    if claims.iss != orchestrator.issuer.as_str() {
        return Err(PaymentTokenError::WrongIssuer);
    }
    if claims.aud != orchestrator.client_id {
        return Err(PaymentTokenError::WrongSeller);
    }
    let tenant = claims.tenant.as_deref().unwrap_or("");
    if !subjects.iter().any(|(at, subject)| at == tenant && *subject == claims.sub) {
        return Err(PaymentTokenError::WrongUser);
    }
    if claims.exp <= now.seconds() {
        return Err(PaymentTokenError::Expired);
    }
    let begins = claims.nbf.unwrap_or(claims.iat).max(claims.iat);
    if begins > now.seconds().saturating_add(SKEW_SECONDS) {
        return Err(PaymentTokenError::NotYet);
    }
    Ok(())
}

fn believe(
    claims: &Claims,
    orchestrator: &Orchestrator,
    presented: &Secret,
) -> Result<PaymentToken, PaymentTokenError> {
    if claims.jti.is_empty() || claims.jti.len() > 255 {
        return Err(PaymentTokenError::Claim("jti"));
    }
    let last4 = claims.jti.chars().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect();
    Ok(PaymentToken {
        orchestrator_id: orchestrator.id.clone(),
        jti: claims.jti.clone(),
        plain: presented.clone(),
        hash: presented.hash(),
        last4,
        currency: claims.currency.parse().map_err(|_unknown| PaymentTokenError::Claim("currency"))?,
        max_amount: Amount::from_minor(claims.max_amount)
            .map_err(|_negative| PaymentTokenError::Claim("max_amount"))?,
        recurrence: Recurrence::from_claim(claims.recurring.as_deref()).ok_or(PaymentTokenError::Claim("recurring"))?,
        expires_at: Timestamp::from_seconds(claims.exp),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestrator::{ExistingAccount, Origin};

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    type Change = fn(&mut Claims);

    fn orchestrator() -> Orchestrator {
        Orchestrator {
            id: OrchestratorId::new(NOW),
            name: "Example".parse().unwrap(),
            issuer: "https://issuer.example".parse().unwrap(),
            client_id: "us".to_owned(),
            algorithms: Vec::new(),
            existing_account: ExistingAccount::UserConsent,
            may_open_accounts: true,
            email_domains: Vec::new(),
            settlement_url: None,
            currency: Currency::USD,
            monthly_ceiling: Amount::ZERO,
            provisional_ceiling: Amount::ZERO,
            origin: Origin::Operator,
            created_at: NOW,
            suspended_at: None,
            distrusted_keys: Vec::new(),
        }
    }

    fn claims() -> Claims {
        Claims {
            iss: "https://issuer.example".to_owned(),
            aud: "us".to_owned(),
            sub: "user-1".to_owned(),
            tenant: None,
            jti: "token-4242".to_owned(),
            iat: NOW.seconds(),
            exp: NOW.seconds() + 600,
            nbf: None,
            currency: "USD".to_owned(),
            max_amount: 5_000,
            recurring: None,
        }
    }

    fn judged(change: impl FnOnce(&mut Claims)) -> Result<(), PaymentTokenError> {
        let mut claims = claims();
        change(&mut claims);
        judge(
            &claims,
            &orchestrator(),
            &[
                (String::new(), "user-0".to_owned()),
                (String::new(), "user-1".to_owned()),
                ("t".to_owned(), "user-2".to_owned()),
            ],
            NOW,
        )
    }

    fn believed(change: impl FnOnce(&mut Claims)) -> Result<PaymentToken, PaymentTokenError> {
        let mut claims = claims();
        change(&mut claims);
        believe(&claims, &orchestrator(), &Secret::presented("the.token.itself"))
    }

    #[test]
    fn a_token_of_this_issuer_for_us_and_this_user_in_its_time_is_accepted() {
        assert!(judged(|_| {}).is_ok());
        assert!(judged(|claims| claims.exp = NOW.seconds() + 1).is_ok());
        assert!(judged(|claims| claims.iat = NOW.seconds() + SKEW_SECONDS).is_ok(), "clocks may differ a little");
        assert!(judged(|claims| claims.nbf = Some(NOW.seconds() - 5)).is_ok());
    }

    #[test]
    fn each_claim_that_does_not_hold_is_refused_by_name() {
        use PaymentTokenError as Error;
        for issuer in ["https://issuer.example/", "https://ISSUER.example", "https://other.example", ""] {
            let refused = judged(|claims| claims.iss = issuer.to_owned());
            assert!(matches!(refused, Err(Error::WrongIssuer)), "{issuer}");
        }
        for audience in ["", "US", "us ", "https://issuer.example"] {
            assert!(matches!(judged(|claims| claims.aud = audience.to_owned()), Err(Error::WrongSeller)), "{audience}");
        }
        for subject in ["", "user-2", "USER-1", "user-1 "] {
            assert!(matches!(judged(|claims| claims.sub = subject.to_owned()), Err(Error::WrongUser)), "{subject}");
        }
        for expiry in [NOW.seconds(), NOW.seconds() - 1, 0, i64::MIN] {
            assert!(matches!(judged(|claims| claims.exp = expiry), Err(Error::Expired)), "{expiry}");
        }
        let late = NOW.seconds() + SKEW_SECONDS + 1;
        assert!(matches!(judged(|claims| claims.iat = late), Err(Error::NotYet)));
        assert!(matches!(judged(|claims| claims.nbf = Some(late)), Err(Error::NotYet)));
        assert!(matches!(judged(|claims| (claims.iat, claims.nbf) = (late, Some(0))), Err(Error::NotYet)));
    }

    #[test]
    fn a_subject_counts_in_its_own_tenant_only() {
        let refused = |tenant: Option<&str>, subject: &str| {
            let (tenant, subject) = (tenant.map(str::to_owned), subject.to_owned());
            judged(move |claims| (claims.tenant, claims.sub) = (tenant, subject)).is_err()
        };
        assert!(!refused(Some("t"), "user-2"));
        assert!(refused(None, "user-2") && refused(Some("u"), "user-2") && refused(Some("t"), "user-1"));
    }

    #[test]
    fn what_a_token_says_is_read_or_refused_by_the_name_of_its_claim() {
        let token = believed(|_| {}).unwrap();
        assert_eq!(
            (token.last4.as_str(), token.max_amount.minor(), token.recurrence),
            ("4242", 5_000, Recurrence::Once)
        );
        assert_eq!(token.expires_at, NOW.plus(chrono::TimeDelta::seconds(600)));
        assert_eq!(believed(|claims| claims.jti = "äö".to_owned()).unwrap().last4, "äö");
        let monthly = believed(|claims| claims.recurring = Some("month".to_owned())).unwrap();
        assert_eq!(monthly.recurrence, Recurrence::Monthly);
        let changes: [(&str, Change); 6] = [
            ("jti", |claims| claims.jti.clear()),
            ("jti", |claims| claims.jti = "j".repeat(256)),
            ("currency", |claims| claims.currency = "usd".to_owned()),
            ("currency", |claims| claims.currency = "XQX".to_owned()),
            ("max_amount", |claims| claims.max_amount = -1),
            ("recurring", |claims| claims.recurring = Some("year".to_owned())),
        ];
        for (name, change) in changes {
            assert!(matches!(believed(change), Err(PaymentTokenError::Claim(claim)) if claim == name), "{name}");
        }
    }

    #[test]
    fn a_single_limit_counts_until_the_token_expires_and_a_monthly_one_in_the_month() {
        let expires = NOW.plus(chrono::TimeDelta::days(90));
        assert_eq!(Recurrence::Once.period(NOW, expires, NOW), Period::once(NOW, expires));
        assert_eq!(Recurrence::Monthly.period(NOW, expires, NOW), Period::month_of(NOW));
        for recurrence in [Recurrence::Once, Recurrence::Monthly] {
            assert_eq!(Recurrence::from_claim(recurrence.as_claim()), Some(recurrence));
        }
        assert_eq!(Recurrence::from_claim(Some("")), None);
    }
}
