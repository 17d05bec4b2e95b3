//! `portreeve audit verify`: recomputes every chain, counter and hold from the ledger, and compares the charges.

use clap::Subcommand;
use portreeve::account;
use portreeve::config::Config;
use portreeve::db::{Db, DbError};
use portreeve::ids::AccountId;
use portreeve::payment::audit_chain::{self, Verified, VerifyError};
use serde_json::json;

use super::{Failure, open_db, say};

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Recompute the hash chain, the counters, the holds and the charges of one account, or of all.
    ///
    /// Money is compared with the ledger, and the ledger with its own hashes. What limits money is not: the ceilings of
    /// counters and budgets stand in no entry.
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
    let db = open_db(config)?;
    if !db.pending_migrations().await?.is_empty() {
        return Err(Failure::not_found("the database is not up to date: run `portreeve migrate` first"));
    }
    if let Some(id) = account.clone() {
        let found = db.read(move |conn| account::by_id(conn, &id)).await?;
        found.ok_or_else(|| Failure::not_found("there is no such account"))?;
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

/// Read as of one moment, so that money that moves meanwhile is no difference.
async fn check(db: &Db, id: &AccountId) -> Result<Checked, Failure> {
    let account = id.clone();
    let checked = db.read_snapshot(move |conn| match audit_chain::verify(conn, &account) {
        Ok(good) => Ok(Checked::Good(good)),
        Err(VerifyError::Different(difference)) => Ok(Checked::Differs(difference.to_string())),
        Err(VerifyError::Db(error)) => Err(DbError::from(error)),
    });
    Ok(checked.await?)
}
