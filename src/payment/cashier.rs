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
    /// set aside. Refused once it was taken.
    ///
    /// # Errors
    /// Like [`Cashier::authorize`].
    pub async fn void(&self, account: &AccountId, hold: &HoldId, now: Timestamp) -> Result<Cash, CashierError> {
        let Some((charge, party)) = self.known(account, hold, now).await? else { return Ok(Cash::Unknown) };
        match (charge.state, charge.authorization_id.clone()) {
            (ChargeState::Refused | ChargeState::Voided, _) => Ok(Cash::Done),
            (ChargeState::Captured, _) => Ok(Cash::Refused("captured".to_owned())),
            (ChargeState::Authorized, Some(id)) => match self.settlement.void(&party, &id, now).await {
                Settled::Done(_) => {
                    self.write(charge, ChargeState::Voided, None, None, now).await?;
                    Ok(Cash::Done)
                }
                Settled::Refused(code) => self.lapsed(charge, &party, Cash::Refused(code), now).await,
                Settled::Unknown(_) => self.lapsed(charge, &party, Cash::Unknown, now).await,
            },
            // Nobody knows yet whether there is anything to give back.
            _ => Ok(Cash::Unknown),
        }
    }

    /// What could not be given back may have lapsed by itself, or have been given back before: then it is free here too.
    async fn lapsed(
        &self,
        charge: Charge,
        party: &Party,
        otherwise: Cash,
        now: Timestamp,
    ) -> Result<Cash, CashierError> {
        match self.settlement.look_up(party, &charge.hold_id, now).await {
            Settled::Done(Some(found))
                if matches!(found.status, AuthorizationStatus::Voided | AuthorizationStatus::Expired) =>
            {
                self.learn(charge, &found, now).await?;
                Ok(Cash::Done)
            }
            _ => Ok(otherwise),
        }
    }

    /// The charge of a hold. One whose outcome is unknown is looked up at the issuer first, under the hold's id.
    /// `None`: the look-up gave no answer either.
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
                self.load(account, hold).await.map(Some)
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

    /// Records what the issuer says it has.
    async fn learn(&self, charge: Charge, found: &Authorization, now: Timestamp) -> Result<Cash, CashierError> {
        let to = match found.status {
            AuthorizationStatus::Authorized => ChargeState::Authorized,
            AuthorizationStatus::Captured => ChargeState::Captured,
            AuthorizationStatus::Voided | AuthorizationStatus::Expired => ChargeState::Voided,
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
            Ok(cash)
        };
        self.db.write(account.as_str(), work).await
    }
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
