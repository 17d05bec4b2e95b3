//! The letters of log-ins: asking for a link, and sending it.
//!
//! Whoever asks hears the same for every address, and the same work is done: a step is written, and a letter asked for.
//! Only when the letter's turn comes is it looked up whether there is an account, and only then is there a secret.

use std::sync::Arc;

use serde_json::json;

use super::not_mine::NotMine;
use super::notices;
use super::safety::{self, SafetyLinks};
use super::step::{self, NewStep, Step};
use super::store;
use super::who::{Proof, Proven};
use crate::account::{self, Account, Agent};
use crate::attestation::EmailTrust;
use crate::clock::{Clock, Timestamp};
use crate::db::{Db, DbConnection, DbError};
use crate::ids::{AgentId, LogInStepId};
use crate::mail::{self, Letter, Mail, MailError, Mailer};
use crate::outbox::Try;
use crate::secret::Secret;
use crate::signing::Sealer;

/// The kind of the event.
const LOG_IN: &str = "mail.log_in";
/// How many are sent at once.
const AT_ONCE: i64 = 16;
/// The lane of letters.
const LANE: &str = "mail";

/// What sending letters needs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PostOffice {
    /// The database.
    pub db: Db,
    /// Sends.
    pub mailer: Mailer,
    /// Signs links that can only take power away.
    pub safety: Arc<SafetyLinks>,
    /// Opens what steps know.
    pub sealer: Arc<Sealer>,
    /// The address that the outside uses.
    pub base_url: String,
    /// The provider's name.
    pub provider: String,
    /// Makes the links of those who did not start an account.
    pub not_mine: NotMine,
}

/// Somebody asks for a link by mail. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn ask(conn: &mut DbConnection, new: &NewStep, now: Timestamp) -> Result<(), DbError> {
    step::begin(conn, new, now)?;
    Ok(mail::post(conn, LOG_IN, None, &json!({"step": new.id}), now)?)
}

/// Sends what is due, and records how it ended. Answers how many were tried.
///
/// # Errors
/// When the database fails; what was sent and could not be recorded is sent again.
pub async fn deliver_due(office: &PostOffice, clock: &dyn Clock) -> Result<usize, DbError> {
    let now = clock.now();
    let due = office.db.read(move |conn| Ok::<_, DbError>(mail::due(conn, now, AT_ONCE)?)).await?;
    let mut tried = 0;
    for letter in due {
        let (now, seen) = (clock.now(), letter.clone());
        if !office.db.write(LANE, move |conn| Ok::<_, DbError>(mail::claim(conn, &seen, now)?)).await? {
            continue;
        }
        let ended = send(office, &letter, now).await?;
        if let Try::Failed(reason) | Try::Refused(reason) = &ended {
            tracing::warn!(event = %letter.event_id, reason, "a mail could not be sent");
        }
        let now = clock.now();
        office.db.write(LANE, move |conn| Ok::<_, DbError>(mail::record(conn, &letter, &ended, now)?)).await?;
        tried += 1;
    }
    Ok(tried)
}

async fn send(office: &PostOffice, letter: &Letter, now: Timestamp) -> Result<Try, DbError> {
    if notices::is_one(&letter.kind) {
        return notices::send(office, letter, now).await;
    }
    let payload = serde_json::from_str::<serde_json::Value>(&letter.payload).ok();
    let named = |name: &str| payload.as_ref()?.get(name)?.as_str().map(str::to_owned);
    if let Some(id) = named("agent").and_then(|id| id.parse().ok()).filter(|_| letter.kind == account::AGENT_NOTICE) {
        return tell_of_agent(office, letter, &id, now).await;
    }
    let id = named("step").and_then(|step| step.parse::<LogInStepId>().ok());
    let Some(id) = id.filter(|_| letter.kind == LOG_IN) else {
        return Ok(Try::Refused("nobody knows how to write it".to_owned()));
    };
    let step = office.db.read(move |conn| Ok::<_, DbError>(store::step_by_id(conn, &id, now)?)).await?;
    let Some(step) = step else { return Ok(Try::Nobody) };
    let proven: Proven = match step.facts(&office.sealer) {
        Ok(proven) => proven,
        Err(error) => return Ok(Try::Refused(error.to_string())),
    };
    let Proof::Mailbox(address) = proven.proof else { return Ok(Try::Refused("it is of no mailbox".to_owned())) };
    let proof = Proof::Mailbox(address.clone());
    let opened = office.db.read(move |conn| proof.accounts(conn)).await?;
    if opened.is_empty() {
        return Ok(Try::Nobody);
    }
    let to = spelling(&opened, address);
    let Ok(secret) = Secret::generate("ml") else { return Ok(Try::Failed("no randomness".to_owned())) };
    // Tried again, the link is another one: the newest mail is the one that works.
    let (id, hash) = (step.id.clone(), secret.hash());
    if !office.db.write(LANE, move |conn| Ok::<_, DbError>(store::set_step_token(conn, &id, &hash, now)?)).await? {
        return Ok(Try::Nobody);
    }
    let written = write(office, &to, &secret, &step);
    let mail = match written {
        Ok(mail) => mail,
        Err(error) => return Ok(Try::Refused(error.to_string())),
    };
    Ok(hand_over(office, mail, letter, now).await)
}

/// How the mailbox is written to. Whoever opens an account first chooses its spelling, and all spellings of one address
/// open all its accounts; so that of an account counts whose human claimed it, then one that an authority over the domain
/// gave, and else the canonical one.
fn spelling(opened: &[Account], canonical: String) -> String {
    let written = |counts: fn(&Account) -> bool| {
        let spellings = opened.iter().filter(|account| counts(account)).filter_map(|account| account.email.as_deref());
        spellings.into_iter().find(|spelling| mail::is_addressable(spelling)).map(str::to_owned)
    };
    let vouched_for = |account: &Account| account.email_trust == Some(EmailTrust::Verified);
    written(Account::is_claimed).or_else(|| written(vouched_for)).unwrap_or(canonical)
}

/// Gives it to the mail server.
pub(super) async fn hand_over(office: &PostOffice, mail: Mail, letter: &Letter, now: Timestamp) -> Try {
    match office.mailer.send(mail, &letter.event_id, now).await {
        Ok(()) => Try::Delivered,
        Err(MailError::Failed(reason)) => Try::Failed(reason),
        Err(error @ (MailError::Refused(_) | MailError::Off)) => Try::Refused(error.to_string()),
    }
}

/// Tells an owner of a new agent, with a link that can only take power away.
async fn tell_of_agent(office: &PostOffice, letter: &Letter, id: &AgentId, now: Timestamp) -> Result<Try, DbError> {
    if !office.mailer.is_on() {
        return Ok(Try::Nobody);
    }
    let wanted = id.clone();
    let found = office.db.read(move |conn| {
        let Some(agent) = account::agent_of_link(conn, &wanted)? else { return Ok::<_, DbError>(None) };
        let Some(owner) = account::by_id(conn, &agent.key.account_id)? else { return Ok(None) };
        // An address that became somebody else's is not written to.
        Ok(account::reached_at(conn, &owner)?.map(|_| (agent, owner)))
    });
    let Some((agent, owner)) = found.await? else { return Ok(Try::Nobody) };
    let Some(to) = owner.email.filter(|_| owner.state.is_usable() && agent.revoked_at.is_none()) else {
        return Ok(Try::Nobody);
    };
    match write_notice(office, &to, &agent, now) {
        Ok(mail) => Ok(hand_over(office, mail, letter, now).await),
        Err(error) => Ok(Try::Refused(error.to_string())),
    }
}

fn write_notice(office: &PostOffice, to: &str, agent: &Agent, now: Timestamp) -> Result<Mail, mail::InvalidMail> {
    let (provider, base, until) = (&office.provider, &office.base_url, now.plus(safety::LIFETIME));
    let link = office.safety.make(&agent.id, until);
    let day = until.to_rfc3339();
    let (day, at) = (day.get(..10).unwrap_or(""), agent.created_at.to_rfc3339());
    let at = at.get(..16).unwrap_or("").replace('T', " ");
    let text = format!(
        "A program may act for your account at {provider} since {at} UTC.\r\n\r\n\
         What it is and what it may do stands on your dashboard, after a log-in:\r\n\r\n\
         {base}/dashboard/agents/{id}\r\n\r\n\
         If you did not want this, open the next link. There you can pause it, end all\r\n\
         that it may do, or stop new spending, without a log-in:\r\n\r\n\
         {base}/safety/{link}\r\n\r\n\
         That link can only take power away: nobody can log in, buy or look at anything\r\n\
         with it. It works until {day}.\r\n",
        id = agent.id,
    );
    Mail::new(to, &format!("A new agent may act for you at {provider}"), text)
}

fn write(office: &PostOffice, to: &str, secret: &Secret, step: &Step) -> Result<Mail, mail::InvalidMail> {
    let until = step.expires_at.to_rfc3339();
    let until = until.get(11..16).unwrap_or("");
    let (provider, base, secret) = (&office.provider, &office.base_url, secret.expose());
    let text = format!(
        "Somebody asked to log in to {provider} with this address.\r\n\r\n\
         If it was you, open this link and press the button there:\r\n\r\n\
         {base}/login/link/{secret}\r\n\r\n\
         It works once, until {until} UTC. Give it to nobody, also not to an agent\r\n\
         of yours: whoever has it can log in as you.\r\n\r\n\
         If it was not you, do nothing: without this link nobody gets in.\r\n"
    );
    Mail::new(to, &format!("Log in to {provider}"), text)
}
