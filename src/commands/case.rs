//! `portreeve case`: what somebody says is wrong with an account, the evidence, and how it ends.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use portreeve::clock::{Clock as _, SystemClock};
use portreeve::config::Config;
use portreeve::db::Db;
use portreeve::ids::CaseId;
use portreeve::signing::VerifyingKey;
use portreeve::takeover::{self, Case, CloseError, MAX_NOTE};
use serde_json::{Value, json};

use super::{Failure, open_db, say};

/// How many are read at once.
const PAGE: i64 = 100;
/// Who is said to have done it.
const OPERATOR: &str = "operator";

#[derive(Debug, Subcommand)]
pub(crate) enum CaseCommand {
    /// Cases that wait for you, newest first.
    List {
        /// Closed ones too.
        #[arg(long)]
        all: bool,
    },
    /// One case, and what was distrusted because of it.
    Show {
        /// The case.
        case: CaseId,
        /// Write the evidence to this file, or, with `-`, to standard output.
        #[arg(long, value_name = "FILE")]
        evidence: Option<PathBuf>,
    },
    /// End a case. What it stopped stays stopped, unless you give it back.
    Close(CloseArgs),
    /// Check an evidence file, with nothing but the provider's published keys.
    Verify {
        /// The file.
        file: PathBuf,
        /// The key set, as `/oauth/jwks` gives it.
        #[arg(long, value_name = "FILE")]
        keys: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CloseArgs {
    /// The case.
    case: CaseId,
    /// What came out.
    #[arg(long, value_name = "TEXT")]
    note: String,
    /// Nothing was wrong: give back everything that it stopped, and believe the person again.
    #[arg(long)]
    give_back: bool,
}

pub(crate) async fn run(
    command: CaseCommand,
    config: impl FnOnce() -> Result<Config, Failure>,
    json: bool,
) -> Result<(), Failure> {
    if let CaseCommand::Verify { file, keys } = command {
        return verify(&file, &keys, json);
    }
    let db = open_db(&config()?)?;
    if !db.pending_migrations().await?.is_empty() {
        return Err(Failure::not_found("the database is not up to date: run `portreeve migrate` first"));
    }
    match command {
        CaseCommand::List { all } => list(&db, all, json).await,
        CaseCommand::Show { case, evidence } => show(&db, &case, evidence.as_deref(), json).await,
        CaseCommand::Close(args) => close(args, &db, json).await,
        CaseCommand::Verify { .. } => Ok(()),
    }
}

async fn find(db: &Db, id: &CaseId) -> Result<Case, Failure> {
    let wanted = id.clone();
    let found = db.read(move |conn| takeover::case_by_id(conn, &wanted)).await?;
    found.ok_or_else(|| Failure::not_found(format!("there is no case {id}")))
}

async fn list(db: &Db, all: bool, json: bool) -> Result<(), Failure> {
    let mut before: Option<CaseId> = None;
    loop {
        let from = before.clone();
        let page = db.read(move |conn| takeover::cases(conn, !all, from.as_ref(), PAGE)).await?;
        if before.is_none() && page.is_empty() && !json {
            return say(if all { "There is no case." } else { "No case is open." });
        }
        for case in &page {
            describe(case, json)?;
        }
        match page.last() {
            Some(last) if i64::try_from(page.len()).is_ok_and(|length| length == PAGE) => {
                before = Some(last.id.clone());
            }
            _ => return Ok(()),
        }
    }
}

fn told(case: &Case) -> Value {
    json!({
        "id": case.id, "account": case.account_id, "kind": case.kind.as_str(), "cause": case.cause,
        "opened_at": case.opened_at, "evidence": case.evidence.is_some(), "closed_at": case.closed_at,
        "closed_by": case.closed_by, "note": case.note,
    })
}

fn describe(case: &Case, json: bool) -> Result<(), Failure> {
    if json {
        return say(&told(case).to_string());
    }
    let state = match (&case.closed_at, &case.closed_by) {
        (Some(at), by) => format!("closed {at} by {}", by.as_deref().unwrap_or("nobody")),
        (None, _) => "open".to_owned(),
    };
    say(&format!("{}  {:<12}  {}  {}  {state}", case.id, case.kind.as_str(), case.account_id, case.opened_at))
}

async fn show(db: &Db, id: &CaseId, file: Option<&Path>, json: bool) -> Result<(), Failure> {
    let case = find(db, id).await?;
    if let Some(file) = file {
        let Some(evidence) = &case.evidence else {
            return Err(Failure::conflict("the evidence is not collected yet: `serve` does it within a second"));
        };
        if file == Path::new("-") {
            return say(evidence);
        }
        std::fs::write(file, evidence).map_err(|error| Failure::at(file, &error))?;
    }
    describe(&case, json)?;
    if let (Some(note), false) = (&case.note, json) {
        say(&format!("  {note}"))?;
    }
    let seen = case.clone();
    for distrust in db.read(move |conn| takeover::distrusts_of_case(conn, &seen)).await? {
        let (whose, since) = (distrust.whose.describe(), distrust.since);
        let told = json!({"distrust": distrust.id, "orchestrator_id": distrust.orchestrator_id, "whose": whose,
            "since": since, "finished_at": distrust.finished_at});
        say(&if json { told.to_string() } else { format!("  {}  {whose} since {since}", distrust.id) })?;
    }
    Ok(())
}

async fn close(args: CloseArgs, db: &Db, json: bool) -> Result<(), Failure> {
    if args.note.trim().is_empty() || args.note.chars().count() > MAX_NOTE {
        return Err(Failure::invalid(format!("--note takes 1 to {MAX_NOTE} characters")));
    }
    let (case, now) = (find(db, &args.case).await?, SystemClock.now());
    let closed = if args.give_back {
        takeover::give_case_back(db, &case, (OPERATOR, &args.note), now).await
    } else {
        let lane = case.account_id.to_string();
        db.write(&lane, move |conn| takeover::close_case(conn, &case, (OPERATOR, &args.note), now)).await
    };
    closed.map_err(|error| match error {
        CloseError::Closed | CloseError::Lift(_) => Failure::conflict(error.to_string()),
        error => error.into(),
    })?;
    describe(&find(db, &args.case).await?, json)
}

fn verify(file: &Path, keys: &Path, json: bool) -> Result<(), Failure> {
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| Failure::at(path, &error));
    let set: Value =
        serde_json::from_str(&read(keys)?).map_err(|error| Failure::invalid(format!("{}: {error}", keys.display())))?;
    let listed = set.get("keys").and_then(Value::as_array).cloned().unwrap_or_default();
    // A key of a kind that we do not know signs nothing here.
    let keys: Vec<VerifyingKey> = listed.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect();
    let evidence =
        takeover::verify_evidence(&read(file)?, &keys).map_err(|error| Failure::findings(error.to_string()))?;
    let case = evidence.get("case").cloned().unwrap_or_default();
    if json {
        return say(&json!({"verified": true, "iss": evidence.get("iss"), "case": case}).to_string());
    }
    let text = |name: &str| case.get(name).and_then(Value::as_str).unwrap_or("?");
    say(&format!("The signature holds: {} about {}, opened {}.", text("id"), text("kind"), text("opened_at")))
}
