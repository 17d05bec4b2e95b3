//! PLACEHOLDER of the write lanes: one plain transaction each. The real group commit replaces this file.
use super::{DbConnection, DbError, DbSettings, connection};
use diesel::Connection;
use std::sync::{Arc, Mutex};

/// A verb whose waiting items are decided and written together.
pub trait SetVerb: Send + Sized + 'static {
    /// What one item is answered.
    type Outcome: Send + 'static;
    /// Runs all items in the open transaction, and answers each, in order.
    fn run(conn: &mut DbConnection, items: &[Self]) -> diesel::QueryResult<Vec<Self::Outcome>>;
}

#[derive(Clone)]
pub(super) struct Lanes(Arc<Mutex<DbConnection>>);
impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lanes")
    }
}
enum Out<E> {
    Work(E),
    Db(diesel::result::Error),
}
impl<E> From<diesel::result::Error> for Out<E> {
    fn from(e: diesel::result::Error) -> Self {
        Self::Db(e)
    }
}
impl Lanes {
    pub(super) fn start(settings: &DbSettings, _lanes: usize) -> Result<Self, DbError> {
        Ok(Self(Arc::new(Mutex::new(connection::connect(&settings.url)?))))
    }
    pub(super) async fn exclusive<T: Send + 'static>(
        &self,
        work: fn(&mut DbConnection) -> Result<T, DbError>,
    ) -> Result<T, DbError> {
        let me = self.0.clone();
        tokio::task::spawn_blocking(move || work(&mut me.lock().unwrap())).await.unwrap()
    }
    pub(super) async fn write<T, E>(
        &self,
        _key: &str,
        work: impl FnOnce(&mut DbConnection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let me = self.0.clone();
        tokio::task::spawn_blocking(move || {
            me.lock().unwrap().transaction::<T, Out<E>, _>(|c| work(c).map_err(Out::Work)).map_err(|e| match e {
                Out::Work(e) => e,
                Out::Db(e) => DbError::Query(e).into(),
            })
        })
        .await
        .unwrap()
    }
    pub(super) async fn submit<S: SetVerb>(&self, key: &str, item: S) -> Result<S::Outcome, DbError> {
        self.write(key, move |conn| Ok(S::run(conn, &[item])?.pop().unwrap())).await
    }
}
