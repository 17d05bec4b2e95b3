//! `portreeve outbox …`: what orchestrators were told, and what they could not be told.

use clap::Subcommand;
use portreeve::app;
use portreeve::clock::{Clock as _, SystemClock};
use portreeve::config::Config;
use portreeve::db::DbError;
use portreeve::ids::OutboxEventId;
use portreeve::outbox::{self, DeliveryState};
use serde_json::json;

use super::{Failure, open_db, say};

/// The most that one call lists or replays.
const MOST: i64 = 500;

#[derive(Debug, Subcommand)]
pub(crate) enum OutboxCommand {
    /// Deliveries, newest first.
    List {
        /// Only those in this state: pending, delivered, dead, dropped.
        #[arg(long, value_name = "STATE")]
        state: Option<DeliveryState>,
        /// How many.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=MOST))]
        limit: i64,
    },
    /// Deliver again: one event, or everything that was given up.
    Replay {
        /// The event.
        #[arg(required_unless_present = "dead", conflicts_with = "dead")]
        event: Option<OutboxEventId>,
        /// Everything that was given up.
        #[arg(long)]
        dead: bool,
    },
}

pub(crate) async fn run(command: OutboxCommand, config: &Config, json: bool) -> Result<(), Failure> {
    let (db, now) = (open_db(config)?, SystemClock.now());
    match command {
        OutboxCommand::List { state, limit } => {
            let found = db.read(move |conn| outbox::list(conn, state, limit)).await?;
            if found.is_empty() && !json {
                return say("There is nothing to list.");
            }
            for one in found {
                let described = json!({
                    "event": one.event_id, "orchestrator_id": one.orchestrator_id, "type": one.kind,
                    "state": one.state.as_str(), "attempts": one.attempts, "next_try_at": one.next_try_at,
                    "last_error": one.last_error, "created_at": one.created_at,
                });
                if json {
                    say(&described.to_string())?;
                } else {
                    let error = one.last_error.as_deref().unwrap_or("");
                    let (state, tries) = (one.state.as_str(), one.attempts);
                    say(&format!("{}  {:<18} {state:<9} {tries:>2} tries  {error}", one.event_id, one.kind))?;
                }
            }
            Ok(())
        }
        OutboxCommand::Replay { event, .. } => {
            let wanted = event.clone();
            let write = db.write(app::HOUSE, move |conn| Ok::<_, DbError>(outbox::replay(conn, wanted.as_ref(), now)?));
            let again = write.await?;
            if let (0, Some(event)) = (again, &event) {
                return Err(Failure::not_found(format!("nobody was to be told of {event}")));
            }
            if json {
                say(&json!({"replayed": again}).to_string())
            } else {
                say(&format!("{again} will be delivered again"))
            }
        }
    }
}
