//! Letters that nobody asked for: the first one to the human of an account, and the one about a thief. They say what is
//! so, hold no secret but the link that takes power away, and go only to addresses that an issuer calls verified.

use serde::Deserialize;
use serde_json::json;

use super::letters::{PostOffice, hand_over};
use crate::account::{self, Account, AccountState};
use crate::attestation::EmailTrust;
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::AccountId;
use crate::mail::{self, InvalidMail, Letter, Mail};
use crate::money::{Amount, Currency, Money};
use crate::outbox::Try;

/// An orchestrator says that its person was taken over.
const AT_RISK: &str = "mail.account_at_risk";

/// What the events say.
#[derive(Debug, Deserialize)]
struct Notice {
    account: AccountId,
    orchestrator: String,
    currency: Option<Currency>,
    ceiling: Option<Amount>,
}

/// Whether somebody here knows how to write it.
pub(super) fn is_one(kind: &str) -> bool {
    matches!(kind, account::OPENED_LETTER | AT_RISK)
}

/// Tells the human, by a channel that the orchestrator does not control, that it reports a thief. Call it inside the
/// transaction that acts on the report.
///
/// # Errors
/// When the database fails; the caller's transaction is then undone.
pub fn tell_at_risk(
    conn: &mut DbConnection,
    account: &AccountId,
    orchestrator: &str,
    now: Timestamp,
) -> diesel::QueryResult<()> {
    let notice = json!({"account": account, "orchestrator": orchestrator});
    mail::post(conn, AT_RISK, Some(account), &notice, now)
}

/// Writes one and sends it.
pub(super) async fn send(office: &PostOffice, letter: &Letter, now: Timestamp) -> Result<Try, DbError> {
    let Ok(notice) = serde_json::from_str::<Notice>(&letter.payload) else {
        return Ok(Try::Refused("the event says nothing".to_owned()));
    };
    let id = notice.account.clone();
    let found = office.db.read(move |conn| {
        let Some(account) = account::by_id(conn, &id)? else { return Ok::<_, DbError>(None) };
        Ok(account::reached_at(conn, &account)?.map(|address| (account, address)))
    });
    let Some((account, address)) = found.await? else { return Ok(Try::Nobody) };
    let Some(to) = reachable(&account).filter(|_| office.mailer.is_on()) else { return Ok(Try::Nobody) };
    let token = office.not_mine.token(&notice.account, &address, now);
    let link = format!("{}/not-mine/{}", office.base_url, token.expose());
    let written = if letter.kind == AT_RISK {
        at_risk(office, &notice, (to, &link))
    } else {
        opened(office, &notice, (to, &link))
    };
    match written {
        Ok(mail) => Ok(hand_over(office, mail, letter, now).await),
        Err(error) => Ok(Try::Refused(error.to_string())),
    }
}

/// Where the human of an account is told of it. An address that nobody vouches for may be anybody's.
fn reachable(account: &Account) -> Option<&str> {
    let vouched_for = account.email_trust.is_some_and(|trust| trust != EmailTrust::Unverified);
    let open = !matches!(account.state, AccountState::Closed { .. });
    account.email.as_deref().filter(|_| vouched_for && open)
}

fn opened(office: &PostOffice, notice: &Notice, (to, link): (&str, &str)) -> Result<Mail, InvalidMail> {
    let (provider, base, by) = (&office.provider, &office.base_url, &notice.orchestrator);
    let cap = match (notice.ceiling, notice.currency) {
        (Some(amount), Some(currency)) => {
            format!("Through it at most {} can be spent in a month.\r\n", Money { amount, currency })
        }
        _ => String::new(),
    };
    let text = format!(
        "An agent opened an account for you at {provider}.\r\n\r\n\
         It came through {by}, which says that you asked for it.\r\n\
         {cap}\r\n\
         If you know of it, there is nothing to do. What it holds and spends:\r\n\r\n\
         {base}/login\r\n\r\n\
         I DID NOT START THIS\r\n\r\n\
         If you did not ask for it, open this link and press the button there:\r\n\r\n\
         {link}\r\n\r\n\
         It needs no log-in. It stops all spending at once, ends what agents may\r\n\
         do, and tells {provider} and {by}. It works for as long as\r\n\
         nobody took the account over and it has this address, so keep this\r\n\
         mail. Whoever has the link can stop the account, and nothing else.\r\n"
    );
    Mail::new(to, &format!("An account was opened for you at {provider}"), text)
}

fn at_risk(office: &PostOffice, notice: &Notice, (to, link): (&str, &str)) -> Result<Mail, InvalidMail> {
    let (provider, by) = (&office.provider, &notice.orchestrator);
    let text = format!(
        "{by} tells us that somebody took over your account there.\r\n\r\n\
         We stopped what agents of {by} may do with your account at\r\n\
         {provider}, and hold back what was made since. Nothing was deleted.\r\n\
         {provider} looks into it, and gives back what is yours.\r\n\r\n\
         If nobody should have an account for you at {provider} at all, open this\r\n\
         link and press the button there. It needs no log-in:\r\n\r\n\
         {link}\r\n"
    );
    Mail::new(to, &format!("Your account at {provider} was stopped"), text)
}
