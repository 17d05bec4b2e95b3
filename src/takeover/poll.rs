//! Asking orchestrators for security events (RFC 8936): a few at a time, each acknowledged once it was taken.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::TimeDelta;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::receive::{EventParts, receive};
use super::set::{self, Presented};
use crate::clock::Clock;
use crate::db::{Db, DbError};
use crate::fetch::{Fetch, Outgoing};
use crate::orchestrator::{self, KeyCache, StreamSettings, StreamToken};
use crate::signing::Sealer;

/// How often a stream is asked.
const EVERY: TimeDelta = TimeDelta::seconds(60);
/// How many events are taken at once.
const AT_ONCE: usize = 20;
/// How often one turn asks again because there is more.
const ROUNDS: usize = 10;
/// How many streams one turn looks at.
const STREAMS: i64 = 16;

/// What polling reaches.
#[derive(Debug, Clone)]
pub struct PollParts {
    /// The database.
    pub db: Db,
    /// The keys of orchestrators.
    pub keys: KeyCache,
    /// The outgoing client.
    pub fetch: Fetch,
    /// Opens tokens.
    pub sealer: Arc<Sealer>,
}

/// RFC 8936 §2.3.
#[derive(Deserialize)]
struct Batch {
    #[serde(default)]
    sets: BTreeMap<String, String>,
    #[serde(default, rename = "moreAvailable")]
    more_available: bool,
}

/// Asks every stream that is due. Answers how many events were taken.
///
/// # Errors
/// When the database fails. What goes wrong with one stream is logged and keeps no other waiting.
pub async fn poll_due(parts: &PollParts, clock: &dyn Clock) -> Result<usize, DbError> {
    let now = clock.now();
    let due = parts.db.read(move |conn| orchestrator::due_polls(conn, now, STREAMS)).await?;
    let polled = due.into_iter().map(|stream| poll(parts, stream, clock));
    let polled = futures_util::future::join_all(polled).await;
    polled.into_iter().sum()
}

async fn poll(parts: &PollParts, stream: StreamSettings, clock: &dyn Clock) -> Result<usize, DbError> {
    let until = clock.now().plus(EVERY);
    let (lane, seen) = (stream.orchestrator_id.clone(), stream.clone());
    let claim =
        parts.db.write(lane.as_str(), move |conn| Ok::<_, DbError>(orchestrator::claim_poll(conn, &seen, until)?));
    if !claim.await? {
        return Ok(0);
    }
    let (mut taken, mut report) = (0, Report::default());
    for _ in 0..ROUNDS {
        let batch = match ask(parts, &stream, &report).await {
            Ok(batch) => batch,
            Err(reason) => {
                tracing::warn!(orchestrator = %stream.orchestrator_id, reason, "a stream of events cannot be polled");
                return Ok(taken);
            }
        };
        report = Report::default();
        for (jti, set) in in_order(&batch.sets).into_iter().take(AT_ONCE) {
            taken += usize::from(take(parts, &stream, (jti, set), &mut report, clock).await);
        }
        if report.is_empty() && !batch.more_available {
            break;
        }
    }
    Ok(taken)
}

/// As things happened, whatever the events are called: by the time that each tells of, then when it was issued. A map has no
/// order, and what is taken later may take back what was taken before.
fn in_order(sets: &BTreeMap<String, String>) -> Vec<(&String, &String)> {
    let mut ordered: Vec<_> = sets.iter().collect();
    // Stable: those of one time stay in the order of their `jti`.
    ordered.sort_by_cached_key(|(_, set)| set::claimed_times(set));
    ordered
}

/// What the transmitter hears of the events before.
#[derive(Default)]
struct Report {
    taken: Vec<String>,
    refused: Map<String, Value>,
}

impl Report {
    fn is_empty(&self) -> bool {
        self.taken.is_empty() && self.refused.is_empty()
    }
}

/// Takes one. What fails for a passing reason is not acknowledged, and so comes again.
async fn take(
    parts: &PollParts,
    stream: &StreamSettings,
    (jti, set): (&str, &str),
    report: &mut Report,
    clock: &dyn Clock,
) -> bool {
    let presented = Presented::Polled(stream.orchestrator_id.clone());
    let reach = EventParts { db: &parts.db, keys: &parts.keys };
    match receive(reach, set, &presented, clock).await {
        Ok(received) if received.jti == jti => {
            report.taken.push(jti.to_owned());
            !received.duplicate
        }
        Ok(_) => {
            let why = json!({"err": "invalid_request", "description": "listed under another jti"});
            report.refused.insert(jti.to_owned(), why);
            false
        }
        Err(error) => {
            if let Some(code) = error.code() {
                report.refused.insert(jti.to_owned(), json!({"err": code, "description": error.to_string()}));
            }
            tracing::warn!(jti, error = %error, "a polled event was not taken");
            false
        }
    }
}

async fn ask(parts: &PollParts, stream: &StreamSettings, report: &Report) -> Result<Batch, String> {
    let url = stream.poll_url.clone().ok_or("the stream has no address")?;
    let token = stream.open_token(&parts.sealer, StreamToken::Poll).map_err(|error| error.to_string())?;
    let mut question = json!({"maxEvents": AT_ONCE, "returnImmediately": true});
    if let Some(members) = question.as_object_mut() {
        if !report.taken.is_empty() {
            members.insert("ack".to_owned(), json!(report.taken));
        }
        if !report.refused.is_empty() {
            members.insert("setErrs".to_owned(), Value::Object(report.refused.clone()));
        }
    }
    let mut outgoing = Outgoing::post_json(url, &question).header("accept", "application/json");
    if let Some(token) = token {
        outgoing = outgoing.bearer(&token);
    }
    let answer = parts.fetch.send(outgoing).await.map_err(|error| error.to_string())?;
    if answer.status != 200 {
        return Err(format!("it answered {}", answer.status));
    }
    answer.json().map_err(|error| error.to_string())
}
