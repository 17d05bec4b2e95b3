//! `portreeve account …`: what the provider's support does for somebody whom they have made sure of.

use clap::Subcommand;
use portreeve::account;
use portreeve::clock::{Clock as _, SystemClock};
use portreeve::config::Config;
use portreeve::ids::AccountId;
use portreeve::payment::budget;
use serde_json::json;

use super::{Failure, open_db, say};

#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// Allow new spending again, for an owner who stopped it and no longer has that session.
    AllowSpending {
        /// The account.
        account: AccountId,
    },
}

pub(crate) async fn run(command: AccountCommand, config: &Config, json: bool) -> Result<(), Failure> {
    let AccountCommand::AllowSpending { account } = command;
    let (db, now) = (open_db(config)?, SystemClock.now());
    let id = account.clone();
    if db.read(move |conn| account::by_id(conn, &id)).await?.is_none() {
        return Err(Failure::not_found(format!("there is no account {account}")));
    }
    let id = account.clone();
    db.write(account.as_str(), move |conn| budget::resume_spending(conn, &id, None, now)).await?;
    if json {
        say(&json!({"account": account, "spending": "allowed"}).to_string())
    } else {
        say("New spending is allowed.")
    }
}
