//! `portreeve audit verify`: recomputes every chain, counter and hold from the ledger.

use clap::Subcommand;
use portreeve::account;
use portreeve::app::{self, HOUSE};
use portreeve::config::Config;
use portreeve::db::{Db, DbError};
use portreeve::ids::AccountId;
use portreeve::payment::audit_chain::{self, Verified, VerifyError};
use serde_json::json;

use super::{Failure, say};

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Recompute the hash chain, the counters and the holds of one account, or of all.
    Verify {
        /// Only this account.
        #[arg(long, value_name = "ID")]
        account: Option<AccountId>,
    },
}

/// A difference is an answer; everything else is a failure.
enum Checked {
    Good(Verified),
    Differs(String),
}

pub(crate) async fn run(command: AuditCommand, config: &Config, json: bool) -> Result<(), Failure> {
    let AuditCommand::Verify { account } = command;
    let db = app::open_db(config)?;
    if !db.pending_migrations().await?.is_empty() {
        return Err(Failure::not_found("the database is not up to date: run `portreeve migrate` first"));
    }
    let (mut after, mut checked, mut differs) = (None, 0_u64, Vec::new());
    loop {
        let page = if let Some(one) = &account {
            vec![one.clone()]
        } else {
            let from = after.clone();
            db.read(move |conn| account::ids_after(conn, from.as_ref(), 500)).await?
        };
        for id in &page {
            checked += 1;
            match check(&db, id).await? {
                Checked::Good(found) if json => {
                    say(&json!({"account": id, "entries": found.entries, "hash": found.hash}).to_string())?;
                }
                Checked::Good(_) => {}
                Checked::Differs(why) => differs.push(format!("{id}: {why}")),
            }
        }
        match page.last() {
            Some(last) if account.is_none() => after = Some(last.clone()),
            _ => break,
        }
    }
    if differs.is_empty() {
        return if json { Ok(()) } else { say(&format!("{checked} accounts, no difference")) };
    }
    Err(Failure::findings(format!("{} of {checked} accounts differ\n{}", differs.len(), differs.join("\n"))))
}

/// Read in one transaction, so that money that moves meanwhile is no difference.
async fn check(db: &Db, id: &AccountId) -> Result<Checked, Failure> {
    let account = id.clone();
    let checked = db.write(HOUSE, move |conn| match audit_chain::verify(conn, &account) {
        Ok(good) => Ok(Checked::Good(good)),
        Err(VerifyError::Different(difference)) => Ok(Checked::Differs(difference.to_string())),
        Err(VerifyError::Db(error)) => Err(DbError::from(error)),
    });
    Ok(checked.await?)
}
