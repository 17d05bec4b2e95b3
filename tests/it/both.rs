//! A database of its own for each test, on SQLite and on PostgreSQL.
//!
//! `TEST_DATABASE_URL` names a PostgreSQL server with the right to create databases. Without it the PostgreSQL half
//! fails, unless `PORTREEVE_TEST_SQLITE_ONLY=1` says that this is wanted.

use std::sync::atomic::{AtomicU32, Ordering};

use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection};
use portreeve::db::{Backend, Db, DbSettings};

/// A database that goes away with this value.
pub(crate) struct Place {
    pub(crate) backend: Backend,
    pub(crate) url: String,
    admin: Option<(String, String)>,
    _folder: Option<tempfile::TempDir>,
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("it.sqlite").display());
        Self { backend: Backend::Sqlite, url, admin: None, _folder: Some(folder) }
    }

    pub(crate) fn postgres(admin: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("portreeve_it_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut server =
            PgConnection::establish(admin).expect("TEST_DATABASE_URL names a PostgreSQL server that answers");
        server.batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
        let mut url = url::Url::parse(admin).unwrap();
        url.set_path(&name);
        Self { backend: Backend::Postgres, url: url.into(), admin: Some((admin.to_owned(), name)), _folder: None }
    }

    /// SQLite, and PostgreSQL.
    pub(crate) fn both() -> Vec<Self> {
        let mut places = vec![Self::sqlite()];
        places.extend(admin_url().map(|admin| Self::postgres(&admin)));
        places
    }

    pub(crate) fn settings(&self) -> DbSettings {
        DbSettings { url: self.url.clone().into(), readers: 4, lanes: 2, queue: 1_000 }
    }

    pub(crate) async fn open(&self) -> Db {
        let db = Db::open(&self.settings()).unwrap();
        db.migrate().await.unwrap();
        db
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((admin, name)) = &self.admin
            && let Ok(mut server) = PgConnection::establish(admin)
        {
            drop(server.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "tests are told by the environment where PostgreSQL is")]
fn admin_url() -> Option<String> {
    match std::env::var("TEST_DATABASE_URL") {
        Ok(url) => Some(url),
        Err(_) if std::env::var("PORTREEVE_TEST_SQLITE_ONLY").is_ok_and(|only| only == "1") => None,
        Err(missing) => panic!(
            "TEST_DATABASE_URL: {missing}. Name a PostgreSQL server (postgres://user@127.0.0.1:5432/postgres), or set \
             PORTREEVE_TEST_SQLITE_ONLY=1 to leave its half out"
        ),
    }
}
