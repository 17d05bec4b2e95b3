//! `portreeve account …`: what the provider's support does for somebody whom they have made sure of.

use clap::Subcommand;
use portreeve::account;
use portreeve::app;
use portreeve::clock::{Clock as _, SystemClock};
use portreeve::config::Config;
use portreeve::db::Db;
use portreeve::ids::{AccountId, HoldId};
use portreeve::payment::budget::{self, ResumedBy};
use portreeve::resource::{self, SettleError, Verdict};
use portreeve::takeover;
use serde_json::json;

use super::{Failure, open_db, say};

#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// Allow new spending again, for an owner who stopped it and cannot log in.
    AllowSpending {
        /// The account.
        account: AccountId,
    },
    /// Ask for no fresh log-in any more, and end the rest after a security event, for an owner of whom you made sure.
    LiftPrecautions {
        /// The account.
        account: AccountId,
    },
    /// Say what became of the money of a hold whose resource needs attention. The issuer is asked, and must confirm it.
    SettleHold {
        /// The account.
        account: AccountId,
        /// The hold: the reference at the issuer.
        hold: HoldId,
        /// The issuer took it: it is spent.
        #[arg(long, conflicts_with = "released", required_unless_present = "released")]
        captured: bool,
        /// The issuer did not take it: it is free again.
        #[arg(long)]
        released: bool,
        /// Do it although the issuer says otherwise or does not answer, and record why.
        #[arg(long, value_name = "REASON")]
        force: Option<String>,
    },
}

pub(crate) async fn run(command: AccountCommand, config: &Config, json: bool) -> Result<(), Failure> {
    let db = open_db(config)?;
    if !db.pending_migrations().await?.is_empty() {
        return Err(Failure::not_found("the database is not up to date: run `portreeve migrate` first"));
    }
    match command {
        AccountCommand::AllowSpending { account } => allow_spending(&db, account, json).await,
        AccountCommand::LiftPrecautions { account } => lift_precautions(&db, account, json).await,
        AccountCommand::SettleHold { account, hold, captured, force, .. } => {
            let verdict = if captured { Verdict::Captured } else { Verdict::Released };
            settle_hold(config, &db, (&account, &hold), verdict, force.as_deref(), json).await
        }
    }
}

async fn allow_spending(db: &Db, account: AccountId, json: bool) -> Result<(), Failure> {
    let (id, now) = (account.clone(), SystemClock.now());
    if db.read(move |conn| account::by_id(conn, &id)).await?.is_none() {
        return Err(Failure::not_found(format!("there is no account {account}")));
    }
    let id = account.clone();
    db.write(account.as_str(), move |conn| budget::resume_spending(conn, &id, ResumedBy::Operator, now)).await?;
    if json {
        say(&json!({"account": account, "spending": "allowed"}).to_string())
    } else {
        say("New spending is allowed.")
    }
}

async fn lift_precautions(db: &Db, account: AccountId, json: bool) -> Result<(), Failure> {
    let (id, now) = (account.clone(), SystemClock.now());
    let lifted = db.write(account.as_str(), move |conn| takeover::lift_precautions(conn, &id, "operator", now)).await?;
    if !lifted {
        return Err(Failure::not_found(format!("nothing is asked of {account}")));
    }
    if json {
        say(&json!({"account": account, "precautions": "lifted"}).to_string())
    } else {
        say("Nothing more is asked.")
    }
}

async fn settle_hold(
    config: &Config,
    db: &Db,
    (account, hold): (&AccountId, &HoldId),
    verdict: Verdict,
    force: Option<&str>,
    json: bool,
) -> Result<(), Failure> {
    if force.is_some_and(|reason| reason.trim().is_empty() || reason.chars().count() > 500) {
        return Err(Failure::invalid("`--force` takes a reason of 1 to 500 characters"));
    }
    let now = SystemClock.now();
    let cashier = app::open_cashier(config, db, now).await?;
    let state = resource::settle_hold(&cashier, (account, hold), verdict, force, now).await.map_err(refused)?;
    if json {
        say(&json!({"account": account, "hold": hold, "resource_state": state.as_str()}).to_string())
    } else {
        say(&format!("The hold is settled; its resource is `{}`.", state.as_str()))
    }
}

fn refused(error: SettleError) -> Failure {
    match error {
        SettleError::NoSuchHold => Failure::not_found(error.to_string()),
        SettleError::NotConfirmed(_) => {
            Failure::conflict(format!("{error}. `--force REASON` settles it all the same, and records why"))
        }
        SettleError::Settled(_) | SettleError::NotNeeded(_) | SettleError::Moved => {
            Failure::conflict(error.to_string())
        }
        SettleError::Cashier(_) | SettleError::Db(_) => Failure::failed(error),
    }
}
