//! What a lane runs: one closure, or all waiting items of one verb. It keeps its result until the commit has spoken.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use diesel::QueryResult;
use tokio::sync::oneshot::Sender;

use super::transaction::Failure;
use super::{DbConnection, DbError, SetVerb};

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ran {
    /// It belongs into the commit.
    Keep,
    /// It must be undone.
    Undo,
    /// It must be undone, and then each of its parts run alone.
    Split,
}

/// One part of a batch, run in its own savepoint.
pub(super) trait Piece: Send {
    /// Does the work and keeps its result. Never panics. May be called again after what it did was undone.
    fn run(&mut self, conn: &mut DbConnection) -> Ran;
    /// Replaces the kept result: the work was undone after all.
    fn fail(&mut self, error: DbError);
    /// The parts that can be run again, each alone.
    fn split(self: Box<Self>) -> Vec<Box<dyn Piece>>;
    /// Tells whoever waits: the kept result, or that the whole batch failed.
    fn answer(self: Box<Self>, batch: Option<&Failure>);
}

/// A piece of work given as a closure.
pub(super) struct Closure<F, T, E> {
    work: F,
    result: Option<Result<T, E>>,
    answer: Sender<Result<T, E>>,
}

impl<F, T, E> Closure<F, T, E> {
    pub(super) fn new(work: F, answer: Sender<Result<T, E>>) -> Self {
        Self { work, result: None, answer }
    }

    /// Keeps a result instead of the one before. What a caller's own types do while they are dropped is not ours to trust.
    fn put(&mut self, result: Result<T, E>) {
        let before = self.result.replace(result);
        drop(catch_unwind(AssertUnwindSafe(|| drop(before))));
    }
}

impl<F, T, E> Piece for Closure<F, T, E>
where
    F: Fn(&mut DbConnection) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: From<DbError> + Send + 'static,
{
    fn run(&mut self, conn: &mut DbConnection) -> Ran {
        let result =
            catch_unwind(AssertUnwindSafe(|| (self.work)(conn))).unwrap_or_else(|_panic| Err(DbError::Panicked.into()));
        let ran = if result.is_ok() { Ran::Keep } else { Ran::Undo };
        self.put(result);
        ran
    }

    fn fail(&mut self, error: DbError) {
        self.put(Err(error.into()));
    }

    fn split(self: Box<Self>) -> Vec<Box<dyn Piece>> {
        vec![self]
    }

    fn answer(self: Box<Self>, batch: Option<&Failure>) {
        let Self { work, result, answer } = *self;
        // Whoever is answered finds that what the work held was given back.
        drop(catch_unwind(AssertUnwindSafe(|| drop(work))));
        let result = match (batch, result) {
            (None, Some(result)) => result,
            (Some(failure), _) => Err(failure.error().into()),
            (None, None) => Err(DbError::Panicked.into()),
        };
        // Whoever asked may have stopped waiting.
        drop(answer.send(result));
    }
}

/// One item of a verb on its way through the queue.
pub(super) struct Item<S: SetVerb> {
    pub(super) item: S,
    pub(super) answer: Sender<Result<S::Outcome, DbError>>,
}

/// All items of one verb in a batch.
struct Set<S: SetVerb> {
    items: Vec<S>,
    answers: Vec<Sender<Result<S::Outcome, DbError>>>,
    result: Option<Result<Vec<S::Outcome>, DbError>>,
    again: bool,
}

/// Makes one piece of queued items. Each is an [`Item`] of `S`: whoever queued it named this very function.
pub(super) fn gather<S: SetVerb>(queued: Vec<Box<dyn Any + Send>>) -> Box<dyn Piece> {
    let items = queued.into_iter().filter_map(|item| item.downcast::<Item<S>>().ok());
    let (items, answers) = items.map(|item| (item.item, item.answer)).unzip();
    Box::new(Set { items, answers, result: None, again: true })
}

impl<S: SetVerb> Set<S> {
    /// Like [`Closure::put`].
    fn put(&mut self, result: Result<Vec<S::Outcome>, DbError>) {
        let before = self.result.replace(result);
        drop(catch_unwind(AssertUnwindSafe(|| drop(before))));
    }
}

impl<S: SetVerb> Piece for Set<S> {
    fn run(&mut self, conn: &mut DbConnection) -> Ran {
        let ran = catch_unwind(AssertUnwindSafe(|| S::run(conn, &self.items)));
        let result = match ran {
            Ok(QueryResult::Ok(outcomes)) if outcomes.len() == self.items.len() => Ok(outcomes),
            Ok(QueryResult::Err(error)) => Err(error.into()),
            // A verb that answers too few or too many is as broken as one that panics.
            Ok(QueryResult::Ok(_)) | Err(_) => Err(DbError::Panicked),
        };
        let ran = match (&result, self.again) {
            (Ok(_), _) => Ran::Keep,
            (Err(_), true) => Ran::Split,
            (Err(_), false) => Ran::Undo,
        };
        self.put(result);
        ran
    }

    fn fail(&mut self, error: DbError) {
        self.put(Err(error));
    }

    fn split(self: Box<Self>) -> Vec<Box<dyn Piece>> {
        let alone = |(item, answer)| -> Box<dyn Piece> {
            Box::new(Self { items: vec![item], answers: vec![answer], result: None, again: false })
        };
        self.items.into_iter().zip(self.answers).map(alone).collect()
    }

    fn answer(self: Box<Self>, batch: Option<&Failure>) {
        match (batch, self.result) {
            (None, Some(Ok(outcomes))) => {
                for (outcome, answer) in outcomes.into_iter().zip(self.answers) {
                    drop(answer.send(Ok(outcome)));
                }
            }
            // Only a set that was split, and so has one item, ends with an error of its own.
            (None, Some(Err(error))) => {
                let mut error = Some(error);
                for answer in self.answers {
                    drop(answer.send(Err(error.take().unwrap_or(DbError::Panicked))));
                }
            }
            (Some(failure), _) => self.answers.into_iter().for_each(|answer| drop(answer.send(Err(failure.error())))),
            (None, None) => self.answers.into_iter().for_each(|answer| drop(answer.send(Err(DbError::Panicked)))),
        }
    }
}
