//! The money of one hold, step by step: authorize, capture, void. Each step may be repeated: it looks at what is
//! recorded, asks the issuer, and writes the charge and the ledger in one transaction.

use std::sync::Arc;

use super::budget;
use super::charge::{self, Charge, ChargeState};
use super::hold::{CaptureRequest, Movement, Outcome, ReleaseRequest};
use super::hold_store;
use super::settlement::{Authorization, AuthorizationStatus, Order, Party, Settled, Settlement};
use crate::clock::Timestamp;
use crate::db::{Db, DbConnection, DbError};
use crate::ids::{AccountId, HoldId, LedgerEntryId, OrchestratorId, PaymentTokenId};
use crate::money::Amount;
use crate::orchestrator;
use crate::secret::Secret;
use crate::signing::{SealError, Sealer};

/// What the cashier needs to reach.
#[derive(Clone, Debug)]
pub struct Cashier {
    /// The database.
    pub db: Db,
    /// The issuers' settlement endpoints.
    pub settlement: Settlement,
    /// Seals payment tokens.
    pub sealer: Arc<Sealer>,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cash {
    /// Done, now or before.
    Done,
    /// It will not be done, for good: the issuer's code.
    Refused(String),
    /// The issuer's answer is missing. The hold stands; ask again later.
    Unknown,
}

/// What became of giving money back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GivenBack {
    /// It is free, at the issuer and here, now or before.
    Done,
    /// It was taken, and the ledger says so.
    Taken,
    /// It is still set aside, and the issuer does not give it back: its code.
    Refused(String),
    /// The issuer's answer is missing. Ask again later.
    Unknown,
}

/// Why a step could not even be tried.
#[derive(Debug, thiserror::Error)]
pub enum CashierError {
    /// The orchestrator has no settlement endpoint.
    #[error("the orchestrator has no settlement endpoint")]
    NoSettlement,
    /// The sealed token cannot be opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The ledger and the charge contradict each other.
    #[error("the ledger does not take what the issuer did: {0:?}")]
    Inconsistent(Box<Outcome>),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Why the issuer's word about a charge is not known.
#[derive(Debug, thiserror::Error)]
pub enum LookUpError {
    /// It does not answer: why.
    #[error("the issuer does not answer: {0}")]
    Silent(String),
    /// It tells of other money.
    #[error("the issuer tells of another amount or currency than was held")]
    Untrue,
    /// It cannot be asked.
    #[error(transparent)]
    Cashier(#[from] CashierError),
}

impl From<diesel::result::Error> for CashierError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// Where a sealed payment token stands.
#[must_use]
pub fn token_place(account: &AccountId, token: &PaymentTokenId) -> String {
    format!("payment_tokens/{account}/{token}")
}

impl Cashier {
    /// Sets the money of a hold aside at the issuer.
    ///
    /// # Errors
    /// When the database fails or the issuer cannot be addressed at all.
    pub async fn authorize(&self, account: &AccountId, hold: &HoldId, now: Timestamp) -> Result<Cash, CashierError> {
        let Some((charge, party)) = self.known(account, hold, now).await? else { return Ok(Cash::Unknown) };
        match charge.state {
            ChargeState::Authorized | ChargeState::Captured => Ok(Cash::Done),
            ChargeState::Refused | ChargeState::Voided => Ok(refusal(&charge)),
            ChargeState::Unknown if charge.authorization_id.is_some() => Ok(Cash::Unknown),
            ChargeState::Unknown | ChargeState::Authorizing => {
                let order = self.order(&charge).await?;
                match self.settlement.authorize(&party, &order, now).await {
                    Settled::Done(found) => self.learn(charge, &found, now).await,
                    Settled::Refused(code) => self.write(charge, ChargeState::Refused, None, Some(code), now).await,
                    Settled::Unknown(why) => self.write(charge, ChargeState::Unknown, None, Some(why), now).await,
                }
            }
        }
    }

    /// Takes the whole amount of a hold's charge. A refusal changes nothing: the money is still set aside, and
    /// [`Cashier::void`] gives it back.
    ///
    /// # Errors
    /// Like [`Cashier::authorize`].
    pub async fn capture(&self, account: &AccountId, hold: &HoldId, now: Timestamp) -> Result<Cash, CashierError> {
        let Some((charge, party)) = self.known(account, hold, now).await? else { return Ok(Cash::Unknown) };
        match (charge.state, charge.authorization_id.clone()) {
            (ChargeState::Captured, _) => Ok(Cash::Done),
            (ChargeState::Refused | ChargeState::Voided, _) => Ok(refusal(&charge)),
            (ChargeState::Authorized, Some(id)) => {
                match self.settlement.capture(&party, &id, charge.amount, now).await {
                    Settled::Done(found) => self.learn(charge, &found, now).await,
                    Settled::Refused(code) => Ok(Cash::Refused(code)),
                    Settled::Unknown(why) => self.write(charge, ChargeState::Unknown, None, Some(why), now).await,
                }
            }
            _ => Ok(Cash::Unknown),
        }
    }

    /// Gives the money of a hold back, at the issuer and here; here alone, when the issuer says that it no longer has it
    /// set aside. An issuer may have taken what it said it would not: then that is what the ledger learns.
    ///
    /// # Errors
    /// Like [`Cashier::authorize`].
    pub async fn void(&self, account: &AccountId, hold: &HoldId, now: Timestamp) -> Result<GivenBack, CashierError> {
        let Some((charge, party)) = self.known(account, hold, now).await? else { return Ok(GivenBack::Unknown) };
        match (charge.state, charge.authorization_id.clone()) {
            (ChargeState::Refused | ChargeState::Voided, _) => Ok(GivenBack::Done),
            (ChargeState::Captured, _) => Ok(GivenBack::Taken),
            (ChargeState::Authorized, Some(id)) => match self.settlement.void(&party, &id, now).await {
                Settled::Done(_) => {
                    self.write(charge, ChargeState::Voided, None, None, now).await?;
                    Ok(GivenBack::Done)
                }
                Settled::Refused(code) => self.kept(charge, &party, GivenBack::Refused(code), now).await,
                Settled::Unknown(_) => self.kept(charge, &party, GivenBack::Unknown, now).await,
            },
            // Nobody knows yet whether there is anything to give back.
            _ => Ok(GivenBack::Unknown),
        }
    }

    /// What could not be given back may have lapsed by itself, or have been given back before: then it is free here too.
    /// Or it was taken: then it is paid here too. An issuer that says neither still has it set aside.
    async fn kept(
        &self,
        charge: Charge,
        party: &Party,
        otherwise: GivenBack,
        now: Timestamp,
    ) -> Result<GivenBack, CashierError> {
        let found = match self.settlement.look_up(party, &charge.hold_id, now).await {
            Settled::Done(Some(found)) => found,
            Settled::Done(None) => return Ok(otherwise),
            Settled::Refused(_) | Settled::Unknown(_) => return Ok(GivenBack::Unknown),
        };
        match believed(&charge, &found) {
            Some(ChargeState::Voided) => {
                self.learn(charge, &found, now).await?;
                Ok(GivenBack::Done)
            }
            Some(ChargeState::Captured) => Ok(match self.learn(charge, &found, now).await? {
                Cash::Done => GivenBack::Taken,
                Cash::Refused(_) | Cash::Unknown => GivenBack::Unknown,
            }),
            Some(_) => Ok(otherwise),
            None => Ok(GivenBack::Unknown),
        }
    }

    /// What the issuer says now about a hold's charge: where it believably stands. `None`: it has nothing of it.
    ///
    /// # Errors
    /// When the issuer does not answer, says what cannot be true of this charge, or cannot be addressed at all.
    pub async fn look_up(&self, charge: &Charge, now: Timestamp) -> Result<Option<(ChargeState, String)>, LookUpError> {
        let id = charge.orchestrator_id.clone();
        let party = self.db.read(move |conn| party(conn, &id)).await?;
        match self.settlement.look_up(&party, &charge.hold_id, now).await {
            Settled::Done(None) => Ok(None),
            Settled::Done(Some(found)) => {
                let state = believed(charge, &found).ok_or(LookUpError::Untrue)?;
                Ok(Some((state, found.id)))
            }
            Settled::Refused(why) | Settled::Unknown(why) => Err(LookUpError::Silent(why)),
        }
    }

    /// The charge of a hold. One whose outcome is unknown is looked up at the issuer first, under the hold's id.
    /// `None`: the look-up gave no answer either, or none that can be true.
    async fn known(
        &self,
        account: &AccountId,
        hold: &HoldId,
        now: Timestamp,
    ) -> Result<Option<(Charge, Party)>, CashierError> {
        let (charge, party) = self.load(account, hold).await?;
        if charge.state != ChargeState::Unknown {
            return Ok(Some((charge, party)));
        }
        match self.settlement.look_up(&party, hold, now).await {
            Settled::Done(Some(found)) => {
                self.learn(charge, &found, now).await?;
                let learned = self.load(account, hold).await?;
                Ok(Some(learned).filter(|(charge, _)| charge.state != ChargeState::Unknown))
            }
            Settled::Done(None) => Ok(Some((charge, party))),
            Settled::Refused(_) | Settled::Unknown(_) => Ok(None),
        }
    }

    async fn load(&self, account: &AccountId, hold: &HoldId) -> Result<(Charge, Party), CashierError> {
        let (account, hold) = (account.clone(), hold.clone());
        self.db
            .read(move |conn| {
                let charge = charge::of_hold(conn, &account, &hold)?;
                let party = party(conn, &charge.orchestrator_id)?;
                Ok((charge, party))
            })
            .await
    }

    async fn order(&self, charge: &Charge) -> Result<Order, CashierError> {
        let (account, id) = (charge.account_id.clone(), charge.payment_token_id.clone());
        let (token, description) = {
            let (account, id, hold) = (account.clone(), id.clone(), charge.hold_id.clone());
            let read = move |conn: &mut DbConnection| -> Result<_, CashierError> {
                Ok((budget::find_token(conn, &account, &id)?, hold_store::description(conn, &account, &hold)?))
            };
            self.db.read(read).await?
        };
        let plain = self.sealer.open(&token_place(&account, &id), &token.sealed)?;
        let plain = str::from_utf8(&plain).map_err(|_not_text| SealError::Unreadable)?;
        Ok(Order {
            token: Secret::presented(plain),
            hold_id: charge.hold_id.clone(),
            attempt: charge.attempt,
            amount: charge.amount,
            currency: charge.currency,
            description,
        })
    }

    /// Records what the issuer says it has, as far as it can be true: the rest stays unknown.
    async fn learn(&self, charge: Charge, found: &Authorization, now: Timestamp) -> Result<Cash, CashierError> {
        let Some(to) = believed(&charge, found) else {
            let why = "the issuer tells of another amount or currency".to_owned();
            return self.write(charge, ChargeState::Unknown, None, Some(why), now).await;
        };
        self.write(charge, to, Some(found.id.clone()), None, now).await
    }

    /// The charge's new state and what it means for the ledger, in one transaction.
    async fn write(
        &self,
        charge: Charge,
        to: ChargeState,
        id: Option<String>,
        reason: Option<String>,
        now: Timestamp,
    ) -> Result<Cash, CashierError> {
        let account = charge.account_id.clone();
        let cash = match to {
            ChargeState::Unknown | ChargeState::Authorizing => Cash::Unknown,
            ChargeState::Refused | ChargeState::Voided => {
                Cash::Refused(reason.clone().unwrap_or_else(|| to.as_str().to_owned()))
            }
            ChargeState::Authorized | ChargeState::Captured => Cash::Done,
        };
        let work = move |conn: &mut DbConnection| {
            if !charge::record(conn, &charge, to, (id.as_deref(), reason.as_deref()), now)? {
                // Another worker learned it first; whoever asks next reads what it wrote.
                return Ok(Cash::Unknown);
            }
            move_ledger(conn, &charge, to, now)?;
            Ok(cash.clone())
        };
        self.db.write(account.as_str(), work).await
    }
}

/// Where a charge stands when the issuer tells this of it. `None`: it tells of other money, so it tells nothing.
fn believed(charge: &Charge, found: &Authorization) -> Option<ChargeState> {
    let same = found.amount == charge.amount && found.currency == charge.currency;
    match found.status {
        AuthorizationStatus::Authorized => (same && found.captured == Amount::ZERO).then_some(ChargeState::Authorized),
        AuthorizationStatus::Captured => (same && found.captured == charge.amount).then_some(ChargeState::Captured),
        AuthorizationStatus::Voided | AuthorizationStatus::Expired => {
            (found.captured == Amount::ZERO).then_some(ChargeState::Voided)
        }
    }
}

/// Records how the operator settled a charge, with the ledger, in the open transaction of a [`Db::write`]. `false`: the
/// charge moved since it was read.
///
/// # Errors
/// When the ledger does not take it, or the database fails.
pub fn settle(
    conn: &mut DbConnection,
    charge: &Charge,
    to: ChargeState,
    (id, reason): (Option<&str>, &str),
    now: Timestamp,
) -> Result<bool, CashierError> {
    if !charge::record(conn, charge, to, (id, Some(reason)), now)? {
        return Ok(false);
    }
    move_ledger(conn, charge, to, now)?;
    Ok(true)
}

fn refusal(charge: &Charge) -> Cash {
    Cash::Refused(charge.reason.clone().unwrap_or_else(|| charge.state.as_str().to_owned()))
}

fn move_ledger(conn: &mut DbConnection, charge: &Charge, to: ChargeState, now: Timestamp) -> Result<(), CashierError> {
    let (account_id, hold_id, entry_id) = (charge.account_id.clone(), charge.hold_id.clone(), LedgerEntryId::new(now));
    let movement = match to {
        ChargeState::Captured => {
            Movement::Capture(CaptureRequest { account_id, hold_id, amount: charge.amount, entry_id, now })
        }
        ChargeState::Refused | ChargeState::Voided => {
            Movement::Release(ReleaseRequest { account_id, hold_id, entry_id, now })
        }
        ChargeState::Authorizing | ChargeState::Authorized | ChargeState::Unknown => return Ok(()),
    };
    match hold_store::apply(conn, &[movement])?.pop() {
        Some(Outcome::Captured(..) | Outcome::Released(..)) => Ok(()),
        Some(other) => Err(CashierError::Inconsistent(Box::new(other))),
        None => Err(CashierError::Inconsistent(Box::new(Outcome::NoSuchHold))),
    }
}

fn party(conn: &mut DbConnection, id: &OrchestratorId) -> Result<Party, CashierError> {
    let found = orchestrator::by_id(conn, id)?.ok_or(CashierError::NoSettlement)?;
    let url = found.settlement_url.ok_or(CashierError::NoSettlement)?;
    Ok(Party { issuer: found.issuer.as_str().to_owned(), client_id: found.client_id, url })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ChargeId;
    use crate::money::Currency;

    fn charge() -> Charge {
        let now = Timestamp::from_seconds(1_800_000_000);
        Charge {
            account_id: AccountId::new(now),
            id: ChargeId::new(now),
            hold_id: HoldId::new(now),
            attempt: 1,
            orchestrator_id: OrchestratorId::new(now),
            payment_token_id: PaymentTokenId::new(now),
            currency: Currency::USD,
            amount: Amount::from_minor(900).unwrap(),
            state: ChargeState::Unknown,
            authorization_id: None,
            reason: None,
            created_at: now,
        }
    }

    #[test]
    fn an_issuer_is_believed_when_it_tells_of_the_money_that_was_asked_for() {
        use AuthorizationStatus::{Authorized, Captured, Expired, Voided};
        let charge = charge();
        for (status, amount, captured, currency, expected) in [
            (Authorized, 900, 0, "USD", Some(ChargeState::Authorized)),
            (Authorized, 1, 0, "USD", None),
            (Authorized, 901, 0, "USD", None),
            (Authorized, 900, 900, "USD", None),
            (Authorized, 900, 0, "JPY", None),
            (Captured, 900, 900, "USD", Some(ChargeState::Captured)),
            (Captured, 900, 0, "USD", None),
            (Captured, 900, 899, "USD", None),
            (Captured, 1, 1, "USD", None),
            (Captured, 901, 900, "USD", None),
            (Captured, 900, 900, "EUR", None),
            (Voided, 900, 0, "USD", Some(ChargeState::Voided)),
            (Voided, 900, 900, "USD", None),
            (Expired, 900, 0, "USD", Some(ChargeState::Voided)),
            (Expired, 900, 1, "USD", None),
        ] {
            let found = Authorization {
                id: "auth".to_owned(),
                reference: charge.hold_id.to_string(),
                status,
                amount: Amount::from_minor(amount).unwrap(),
                captured: Amount::from_minor(captured).unwrap(),
                currency: currency.parse().unwrap(),
            };
            assert_eq!(believed(&charge, &found), expected, "{found:?}");
        }
    }
}
