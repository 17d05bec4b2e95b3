//! A database of its own for each test, on both kinds.

use std::sync::atomic::{AtomicU32, Ordering};

use portreeve::db::{Db, DbSettings};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// One new database, and what keeps it alive.
pub(crate) struct Database {
    pub(crate) name: &'static str,
    url: String,
    _folder: Option<tempfile::TempDir>,
}

impl Database {
    /// Another handle, as another process would have it.
    pub(crate) fn open(&self) -> Db {
        Db::open(&DbSettings { url: self.url.clone().into(), readers: 4, lanes: 4, queue: 1024 }).unwrap()
    }
}

/// A new database of each kind. PostgreSQL is at `TEST_DATABASE_URL`; without it the test fails, unless
/// `PORTREEVE_TEST_SQLITE_ONLY=1`.
pub(crate) async fn both() -> Vec<Database> {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("test.sqlite").display());
    let mut databases = vec![Database { name: "SQLite", url, _folder: Some(folder) }];
    databases.extend(postgres());
    for database in &databases {
        database.open().migrate().await.unwrap();
    }
    databases
}

#[expect(clippy::disallowed_methods, reason = "tests are told by the environment where PostgreSQL is")]
fn postgres() -> Option<Database> {
    use diesel::Connection as _;
    use diesel::connection::SimpleConnection as _;
    if std::env::var("PORTREEVE_TEST_SQLITE_ONLY").is_ok_and(|value| value == "1") {
        return None;
    }
    let admin = std::env::var("TEST_DATABASE_URL").expect("TEST_DATABASE_URL, or PORTREEVE_TEST_SQLITE_ONLY=1");
    let name = format!("it_identity_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let mut conn = diesel::PgConnection::establish(&admin).unwrap();
    conn.batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
    let mut url: url::Url = admin.parse().unwrap();
    url.set_path(&name);
    Some(Database { name: "PostgreSQL", url: url.to_string(), _folder: None })
}
