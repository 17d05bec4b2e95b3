//! Write lanes: group commit. One lane is one thread, one connection and one bounded queue.
//!
//! A lane takes what is waiting, runs it in one transaction (each piece in its own savepoint), commits once, and only
//! then answers. Order: pieces that wait together have none, except that closures of one key keep theirs among
//! themselves, and items of one verb keep theirs. Closures run before set items (which lock the hottest rows, for
//! the shortest time), sorted by key, so that two processes lock in the same order.
//!
//! Work that locks what belongs to two keys cannot keep that order, and what a lane locked for one piece it keeps until it
//! commits the next ones: so PostgreSQL may find two lanes that wait for each other. Then what was done is committed, the
//! piece that was ended is run again by itself, and those after it follow.

use std::any::{Any, TypeId};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use diesel::QueryResult;
use tokio::sync::oneshot;

use super::piece::{Closure, Item, Piece};
use super::transaction::Link;
use super::{Backend, DbConnection, DbError, DbSettings};

/// How much is taken from a queue for one transaction.
const BATCH: usize = 256;

/// How many closures of it on PostgreSQL: each takes a savepoint, and beyond 64 of those in one transaction
/// (`PGPROC_MAX_CACHED_SUBXIDS`) every other session pays for looking them up.
const POSTGRES_CLOSURES: usize = 60;

/// A verb whose waiting items are decided and written together.
///
/// When `run` fails or panics, everything it did is undone and each item is run alone, once, in its own savepoint: so
/// one bad item (a duplicate key, say) fails alone, and a duplicate that another process wrote is seen by the second run. What
/// PostgreSQL ends in a deadlock is run again as it was, a few times.
pub trait SetVerb: Send + Sized + 'static {
    /// What one item is answered.
    type Outcome: Send + 'static;
    /// Runs all items in the open transaction, and answers each, in order.
    ///
    /// # Errors
    /// When a statement fails. Everything is then undone.
    fn run(conn: &mut DbConnection, items: &[Self]) -> QueryResult<Vec<Self::Outcome>>;
}

/// Makes one piece of all items of a verb.
type Gather = fn(Vec<AnyItem>) -> Box<dyn Piece>;

/// An item of one of the verbs.
type AnyItem = Box<dyn Any + Send>;

/// What waits in a lane.
enum Queued {
    Closure { key: u64, piece: Box<dyn Piece> },
    Item { verb: TypeId, item: AnyItem, gather: Gather },
}

/// The handle to all lanes. When the last one is dropped, each lane finishes what is queued and ends.
#[derive(Clone)]
pub(super) struct Lanes(Arc<Running>);

struct Running {
    senders: Vec<SyncSender<Queued>>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Running {
    /// Waits, but not for ever, until the lanes have closed their connections: libpq must not be at it while the process
    /// ends.
    fn drop(&mut self) {
        self.senders.clear();
        let here = std::thread::current().id();
        for _ in 0..100 {
            if self.threads.iter().all(|lane| lane.is_finished() || lane.thread().id() == here) {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lanes({})", self.0.senders.len())
    }
}

/// The lane's thread is gone. It never panics by what it runs, so this is a fault of ours.
#[derive(Debug, thiserror::Error)]
#[error("a write lane has ended")]
struct LaneGone;

impl Lanes {
    /// Connects and starts `lanes` lanes.
    pub(super) fn start(settings: &DbSettings, backend: Backend, lanes: usize) -> Result<Self, DbError> {
        let closures = match backend {
            Backend::Sqlite => BATCH,
            Backend::Postgres => POSTGRES_CLOSURES,
        };
        let started = (0..lanes).map(|number| {
            let mut link = Link::open(settings.url.clone())?;
            let (sender, receiver) = sync_channel(settings.queue.max(1));
            let thread = std::thread::Builder::new()
                .name(format!("write-lane-{number}"))
                .spawn(move || {
                    while let Some(batch) = drain(&receiver, closures) {
                        link.run(assemble(batch));
                    }
                })
                .map_err(|error| DbError::Connection(error.into()))?;
            Ok((sender, thread))
        });
        let (senders, threads) = started.collect::<Result<Vec<_>, DbError>>()?.into_iter().unzip();
        Ok(Self(Arc::new(Running { senders, threads })))
    }

    pub(super) async fn write<T, E>(
        &self,
        key: &str,
        work: impl Fn(&mut DbConnection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let key = hash(key);
        self.send(key, Queued::Closure { key, piece: Box::new(Closure::new(work, answer)) })?;
        answered.await.unwrap_or_else(|_gone| Err(DbError::Unknown(LaneGone.into()).into()))
    }

    pub(super) async fn submit<S: SetVerb>(&self, key: &str, item: S) -> Result<S::Outcome, DbError> {
        let (answer, answered) = oneshot::channel();
        let item: Box<dyn Any + Send> = Box::new(Item { item, answer });
        self.send(hash(key), Queued::Item { verb: TypeId::of::<S>(), item, gather: super::piece::gather::<S> })?;
        answered.await.unwrap_or_else(|_gone| Err(DbError::Unknown(LaneGone.into())))
    }

    fn send(&self, key: u64, queued: Queued) -> Result<(), DbError> {
        let lanes = u64::try_from(self.0.senders.len()).unwrap_or(1);
        let lane = usize::try_from(key % lanes).unwrap_or(0);
        let gone = || DbError::Connection(LaneGone.into());
        self.0.senders.get(lane).ok_or_else(gone)?.try_send(queued).map_err(|refused| match refused {
            TrySendError::Full(_) => DbError::Busy,
            TrySendError::Disconnected(_) => gone(),
        })
    }
}

/// The same in every process, so that all of them sort alike.
fn hash(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// Waits for one piece, then takes what else is there. `None` when nobody can send any more.
fn drain(receiver: &Receiver<Queued>, closures: usize) -> Option<Vec<Queued>> {
    let mut batch = vec![receiver.recv().ok()?];
    let mut closures_left = closures;
    loop {
        if matches!(batch.last(), Some(Queued::Closure { .. })) {
            closures_left = closures_left.saturating_sub(1);
        }
        if batch.len() >= BATCH || closures_left == 0 {
            return Some(batch);
        }
        match receiver.try_recv() {
            Ok(queued) => batch.push(queued),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => return Some(batch),
        }
    }
}

/// Closures by key, then one piece for all items of each verb.
fn assemble(batch: Vec<Queued>) -> Vec<Box<dyn Piece>> {
    let mut closures = Vec::new();
    let mut sets: Vec<(TypeId, Gather, Vec<AnyItem>)> = Vec::new();
    for queued in batch {
        match queued {
            Queued::Closure { key, piece } => closures.push((key, piece)),
            Queued::Item { verb, item, gather } => match sets.iter_mut().find(|(known, ..)| *known == verb) {
                Some((_, _, items)) => items.push(item),
                None => sets.push((verb, gather, vec![item])),
            },
        }
    }
    closures.sort_by_key(|(key, _)| *key);
    let sets = sets.into_iter().map(|(_, gather, items)| gather(items));
    closures.into_iter().map(|(_, piece)| piece).chain(sets).collect()
}
