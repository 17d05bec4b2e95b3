//! What each security event leads to: the least that stops a thief, and never more than the event's own issuer gave.
//!
//! | event | step |
//! | --- | --- |
//! | CAEP session-revoked, RISC sessions-revoked | tokens issued before it die |
//! | CAEP credential-change | removals need a log-in after it |
//! | CAEP assurance-level-change (decrease), RISC credential-compromise | changes need a log-in after it |
//! | CAEP risk-level-change | spending stops at HIGH, and goes on at MEDIUM and LOW |
//! | RISC account-disabled: hijacking | unclaimed accounts freeze; of claimed ones, what was made through it since is held back |
//! | RISC account-disabled: bulk-account | the same, since the beginning |
//! | RISC account-disabled, account-purged | tokens die, and the person is not believed any more |
//! | RISC account-enabled | the person is believed again and a frozen account thaws; all else stays held back |
//! | RISC identifier-changed, identifier-recycled | the address is not trusted; recycled: it leads nowhere any more; nothing, when its human proved it or did not keep the orchestrator |
//! | RISC account-credential-change-required, recovery-activated, recovery-information-changed | 72 hours of rest |
//! | CAEP token-claims-change, RISC opt-out-…, others | recorded |
//!
//! An event means the person whom it names, and nobody else whom its issuer knows in the same account. It never freezes what
//! its human claimed: there it ends tokens and holds back things that came through its issuer, and no more.
//!
//! What an event began is taken back only by one that tells of something later: events may come late, and out of order.

use chrono::TimeDelta;
use serde_json::Value;

use super::case::{self, CaseKind};
use super::precaution::Precautions;
use super::restore::{self, RestoreError};
use super::set::SecurityEvent;
use super::store::{self, ItemKind};
use crate::account;
use crate::authorization;
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, DistrustId};
use crate::login;
use crate::orchestrator::{self, BeginError, Depth, Distrust, NewDistrust, Orchestrator, WhoseDistrust};

/// How long an account rests after its recovery was touched.
const REST: TimeDelta = TimeDelta::hours(72);

const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";
const SSF: &str = "https://schemas.openid.net/secevent/ssf/event-type/";

/// An account that an event is about.
#[derive(Debug, Clone)]
pub(super) struct Meant {
    /// Which.
    pub(super) account: AccountId,
    /// By which names (tenant, subject) its issuer means the person; others whom it knows in the same account are not meant.
    pub(super) people: Vec<(String, String)>,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The stream works.
    Verified,
    /// It is only recorded.
    Nothing,
    /// Tokens issued before die.
    EndTokens,
    /// A fresh log-in before removals.
    AskBeforeRemoval,
    /// A fresh log-in before changes.
    AskBeforeChange,
    /// Nothing is spent.
    StopSpending,
    /// Spending goes on.
    AllowSpending,
    /// Freeze, and hold back what was made since.
    Freeze,
    /// The same with everything.
    FreezeAll,
    /// Tokens die, and the person is not believed.
    Unlink,
    /// Believed again.
    Thaw,
    /// The address is not trusted.
    DistrustAddress,
    /// The address never leads here again.
    ForgetAddress,
    /// Nothing is taken over or raised for a while.
    Rest,
}

impl Step {
    /// What an event leads to.
    pub(super) fn of(event: &SecurityEvent) -> Self {
        let says = |name: &str, word: &str| {
            event.detail.get(name).and_then(Value::as_str).is_some_and(|value| value.eq_ignore_ascii_case(word))
        };
        if let Some(name) = event.uri.strip_prefix(CAEP) {
            return match name {
                "session-revoked" => Self::EndTokens,
                "credential-change" => Self::AskBeforeRemoval,
                "assurance-level-change" if says("change_direction", "decrease") => Self::AskBeforeChange,
                "risk-level-change" if says("current_level", "high") => Self::StopSpending,
                // Silence, and a word that nobody knows, allow nothing.
                "risk-level-change" if says("current_level", "low") || says("current_level", "medium") => {
                    Self::AllowSpending
                }
                _ => Self::Nothing,
            };
        }
        if let Some(name) = event.uri.strip_prefix(RISC) {
            return match name {
                "sessions-revoked" => Self::EndTokens,
                "account-disabled" if says("reason", "hijacking") => Self::Freeze,
                "account-disabled" if says("reason", "bulk-account") => Self::FreezeAll,
                "account-disabled" | "account-purged" => Self::Unlink,
                "account-enabled" => Self::Thaw,
                "credential-compromise" => Self::AskBeforeChange,
                "identifier-changed" => Self::DistrustAddress,
                "identifier-recycled" => Self::ForgetAddress,
                "account-credential-change-required" | "recovery-activated" | "recovery-information-changed" => {
                    Self::Rest
                }
                _ => Self::Nothing,
            };
        }
        if event.uri.strip_prefix(SSF) == Some("verification") { Self::Verified } else { Self::Nothing }
    }

    /// The word that is recorded.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Nothing => "recorded",
            Self::EndTokens => "tokens_ended",
            Self::AskBeforeRemoval => "log_in_before_removal",
            Self::AskBeforeChange => "log_in_before_change",
            Self::StopSpending => "spending_stopped",
            Self::AllowSpending => "spending_allowed",
            Self::Freeze => "frozen",
            Self::FreezeAll => "frozen_entirely",
            Self::Unlink => "unlinked",
            Self::Thaw => "thawed",
            Self::DistrustAddress => "address_distrusted",
            Self::ForgetAddress => "address_forgotten",
            Self::Rest => "resting",
        }
    }
}

/// Does it to one account of the orchestrator's person. Answers what was begun and is to be finished; `None`: there was
/// nothing that this event may do there.
pub(super) fn climb(
    conn: &mut DbConnection,
    orchestrator: &Orchestrator,
    meant: &Meant,
    (step, event): (Step, &SecurityEvent),
    now: Timestamp,
) -> Result<Option<Vec<DistrustId>>, DbError> {
    let (account, person) = (&meant.account, (orchestrator, meant));
    let whose = (orchestrator, account);
    let begun = match step {
        Step::Verified | Step::Nothing => return Ok(None),
        Step::EndTokens => {
            // Their clock counts seconds.
            let until = event.at.plus(TimeDelta::milliseconds(999));
            authorization::withdraw(conn, (&orchestrator.id, std::slice::from_ref(account)), Some(until), now)?;
            Vec::new()
        }
        Step::AskBeforeRemoval => {
            ask(conn, whose, |asked| asked.remove_after = asked.remove_after.max(Some(event.at)))?
        }
        Step::AskBeforeChange => ask(conn, whose, |asked| asked.write_after = asked.write_after.max(Some(event.at)))?,
        Step::Rest => ask(conn, whose, |asked| asked.cooling_until = asked.cooling_until.max(Some(now.plus(REST))))?,
        Step::StopSpending => distrust(conn, person, (Depth::Spending, event.at), event, now)?,
        Step::Unlink => distrust(conn, person, (Depth::Tokens, event.at), event, now)?,
        Step::Freeze => {
            report(conn, whose, (CaseKind::Hijacked, event), now)?;
            distrust(conn, person, (Depth::Freeze, event.at), event, now)?
        }
        Step::FreezeAll => {
            report(conn, whose, (CaseKind::BulkAccount, event), now)?;
            distrust(conn, person, (Depth::Freeze, Timestamp::from_seconds(0)), event, now)?
        }
        Step::AllowSpending => return relax(conn, person, Depth::Spending, event, now),
        Step::Thaw => return relax(conn, person, Depth::Freeze, event, now),
        Step::DistrustAddress | Step::ForgetAddress => {
            if !is_its_address(conn, person)? {
                return Ok(None);
            }
            account::distrust_email(conn, account, step == Step::ForgetAddress)?;
            Vec::new()
        }
    };
    Ok(Some(begun))
}

/// Whether the address of the account is the orchestrator's word still: it opened the account, nobody proved since that they
/// read the mailbox, and whoever claimed the account kept the orchestrator.
fn is_its_address(conn: &mut DbConnection, (orchestrator, meant): (&Orchestrator, &Meant)) -> Result<bool, DbError> {
    let found = account::by_id(conn, &meant.account)?;
    if found.is_none_or(|found| found.opened_by != orchestrator.id) || account::is_mailbox_proved(conn, &meant.account)?
    {
        return Ok(false);
    }
    for (tenant, subject) in &meant.people {
        if account::allowed(conn, (&orchestrator.id, tenant, subject))?.is_none_or(|scopes| !scopes.is_empty()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The human is told out of band, because the orchestrator may be in a thief's hands, and the operator gets a case.
fn report(
    conn: &mut DbConnection,
    (orchestrator, account): (&Orchestrator, &AccountId),
    (kind, event): (CaseKind, &SecurityEvent),
    now: Timestamp,
) -> Result<(), DbError> {
    let (_, new) = case::open(conn, account, (kind, &cause(event)), now)?;
    if new {
        login::tell_at_risk(conn, account, orchestrator.name.as_str(), now)?;
    }
    Ok(())
}

fn ask(
    conn: &mut DbConnection,
    (orchestrator, account): (&Orchestrator, &AccountId),
    more: impl FnOnce(&mut Precautions),
) -> Result<Vec<DistrustId>, DbError> {
    let mut asked = store::precautions(conn, account, &orchestrator.id)?;
    more(&mut asked);
    store::set_precautions(conn, (account, &orchestrator.id), asked)?;
    Ok(Vec::new())
}

fn cause(event: &SecurityEvent) -> String {
    format!("event:{}", event.jti)
}

fn db_error(error: BeginError) -> DbError {
    match error {
        BeginError::Db(error) => error,
        // The orchestrator was read in this very transaction, and so was the distrust.
        _ => DbError::Query(diesel::result::Error::RollbackTransaction),
    }
}

fn distrust(
    conn: &mut DbConnection,
    (orchestrator, meant): (&Orchestrator, &Meant),
    (depth, since): (Depth, Timestamp),
    event: &SecurityEvent,
    now: Timestamp,
) -> Result<Vec<DistrustId>, DbError> {
    let mut begun = Vec::new();
    for (tenant, subject) in meant.people.clone() {
        let new = NewDistrust {
            orchestrator_id: orchestrator.id.clone(),
            since,
            whose: WhoseDistrust::Subject { tenant: Some(tenant), subject },
            depth,
            cause: cause(event),
            event_at: Some(event.at),
        };
        begun.push(orchestrator::begin(conn, &new, now).map_err(db_error)?.id);
    }
    Ok(begun)
}

/// Takes back what events began that tell of something earlier, up to `depth`: belief, and of what is held back only what an
/// event of this kind may give back. Never more than it was before.
fn relax(
    conn: &mut DbConnection,
    (orchestrator, meant): (&Orchestrator, &Meant),
    depth: Depth,
    event: &SecurityEvent,
    now: Timestamp,
) -> Result<Option<Vec<DistrustId>>, DbError> {
    let mut relaxed = false;
    let gives = if depth == Depth::Spending { ItemKind::Spending } else { ItemKind::Account };
    for (tenant, subject) in &meant.people {
        for one in orchestrator::distrusts_of_cause(conn, (&orchestrator.id, tenant, subject))? {
            let of_this_kind = (one.depth == Depth::Spending) == (depth == Depth::Spending);
            let earlier = one.event_at.unwrap_or(one.begun_at) < event.at;
            if !of_this_kind || !earlier || one.finished_at.is_none() {
                continue;
            }
            give_back(conn, &one, (&meant.account, gives), event, now)?;
            orchestrator::lift(conn, &one, &cause(event), now).map_err(db_error)?;
            relaxed = true;
        }
    }
    Ok(relaxed.then(Vec::new))
}

fn give_back(
    conn: &mut DbConnection,
    distrust: &Distrust,
    (account, kind): (&AccountId, ItemKind),
    event: &SecurityEvent,
    now: Timestamp,
) -> Result<(), DbError> {
    let held = store::items_of(conn, &distrust.id, account)?;
    for item in held.iter().filter(|item| item.kind == kind && item.restored_at.is_none()) {
        match restore::restore(conn, distrust, item, &cause(event), now) {
            Ok(_) | Err(RestoreError::NotHeld) => {}
            Err(RestoreError::Db(error)) => return Err(error),
            Err(other) => tracing::warn!(account = %account, error = %other, "an event could not give something back"),
        }
    }
    Ok(())
}
