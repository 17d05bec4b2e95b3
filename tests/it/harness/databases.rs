//! A migrated database for one test alone, gone afterwards.
//!
//! Migrations run once: SQLite tests copy a template file, PostgreSQL tests copy a template database. Where
//! PostgreSQL is, `TEST_DATABASE_URL` says (`tests/pg.sh` sets it); without it a PostgreSQL test fails, unless
//! `PORTREEVE_TEST_SQLITE_ONLY=1` says that its absence is wanted.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel_migrations::{FileBasedMigrations, MigrationHarness};
use portreeve::db::{Backend, Db, DbSettings};
use secrecy::SecretString;
use url::Url;

/// A database and where it is.
pub(crate) struct TestDb {
    db: Db,
    settings: DbSettings,
    place: Place,
}

impl TestDb {
    fn open(place: Place) -> Self {
        let settings = DbSettings { url: SecretString::from(place.url()), readers: 4, lanes: 2, queue: 256 };
        let db = Db::open(&settings).expect("the test's database opens");
        Self { db, settings, place }
    }

    /// The handle that the provider uses.
    pub(crate) fn db(&self) -> &Db {
        &self.db
    }

    /// How to open it once more, as a second process would.
    pub(crate) fn settings(&self) -> &DbSettings {
        &self.settings
    }

    /// Which of the two it is.
    pub(crate) fn backend(&self) -> Backend {
        match self.place {
            Place::Sqlite { .. } => Backend::Sqlite,
            Place::Postgres { .. } => Backend::Postgres,
        }
    }
}

/// Where a test's database is. Dropping it removes the database, whoever is still connected.
pub(crate) enum Place {
    /// A file in a folder of its own.
    Sqlite { folder: tempfile::TempDir },
    /// A database of its own on the server that `admin` names.
    Postgres { admin: Url, name: String },
}

impl Place {
    /// The address as the configuration has it.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite { .. } => format!("sqlite:{}", self.file().display()),
            Self::Postgres { admin, name } => with_database(admin, name).to_string(),
        }
    }

    /// The file of a SQLite database.
    pub(crate) fn file(&self) -> PathBuf {
        match self {
            Self::Sqlite { folder } => folder.path().join("test.db"),
            Self::Postgres { name, .. } => panic!("`{name}` is a PostgreSQL database, not a file"),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Self::Postgres { admin, name } = self {
            let dropped = connect(admin.as_str()).batch_execute(&format!("DROP DATABASE \"{name}\" WITH (FORCE)"));
            if let Err(error) = dropped {
                // Panicking here would hide why the test itself failed.
                eprintln!("the test database `{name}` stays behind: {error}");
            }
        }
    }
}

/// A migrated SQLite database.
pub(crate) fn sqlite() -> TestDb {
    static TEMPLATE: OnceLock<Vec<u8>> = OnceLock::new();
    let template = TEMPLATE.get_or_init(|| {
        let place = empty_sqlite();
        let mut conn = SqliteConnection::establish(&place.file().display().to_string()).expect("a new SQLite file");
        conn.run_pending_migrations(migrations(Backend::Sqlite)).expect("the SQLite migrations run");
        drop(conn);
        std::fs::read(place.file()).expect("the migrated file")
    });
    let place = empty_sqlite();
    std::fs::write(place.file(), template).expect("a copy of the migrated file");
    TestDb::open(place)
}

/// A migrated PostgreSQL database; `None` if PostgreSQL was said to be absent.
pub(crate) fn postgres() -> Option<TestDb> {
    static TEMPLATE: OnceLock<String> = OnceLock::new();
    let admin = admin_url()?;
    let template = TEMPLATE.get_or_init(|| template_database(&admin));
    Some(TestDb::open(new_postgres(admin, template)))
}

/// A SQLite place without tables.
pub(crate) fn empty_sqlite() -> Place {
    Place::Sqlite { folder: tempfile::Builder::new().prefix("portreeve-test-").tempdir().expect("a temporary folder") }
}

/// A PostgreSQL database without tables; `None` if PostgreSQL was said to be absent.
pub(crate) fn empty_postgres() -> Option<Place> {
    admin_url().map(|admin| new_postgres(admin, "template1"))
}

/// The migration tree as it stands in the repository, for going down as well as up.
pub(crate) fn migrations(backend: Backend) -> FileBasedMigrations {
    FileBasedMigrations::from_path(migrations_folder(backend)).expect("the migrations can be read")
}

/// Where the migrations of a database stand.
pub(crate) fn migrations_folder(backend: Backend) -> PathBuf {
    let tree = match backend {
        Backend::Sqlite => "migrations/sqlite",
        Backend::Postgres => "migrations/postgres",
    };
    Path::new(env!("CARGO_MANIFEST_DIR")).join(tree)
}

/// A connection outside of everything that the provider sets up.
pub(crate) fn connect(url: &str) -> PgConnection {
    PgConnection::establish(url).expect("the PostgreSQL server of `TEST_DATABASE_URL` answers")
}

#[expect(clippy::disallowed_methods, reason = "the tests are told where PostgreSQL is, and read no configuration")]
fn admin_url() -> Option<Url> {
    match std::env::var_os("TEST_DATABASE_URL") {
        Some(url) => Some(url.to_str().and_then(|url| url.parse().ok()).expect("`TEST_DATABASE_URL` is a URL")),
        None if std::env::var("PORTREEVE_TEST_SQLITE_ONLY").is_ok_and(|value| value == "1") => {
            println!("NOT RUN on PostgreSQL: PORTREEVE_TEST_SQLITE_ONLY=1");
            None
        }
        None => panic!(
            "this test needs PostgreSQL, and `TEST_DATABASE_URL` is not set. Run `tests/run`, or \
             `tests/pg.sh cargo test --release`, or set PORTREEVE_TEST_SQLITE_ONLY=1 to leave PostgreSQL out."
        ),
    }
}

fn new_postgres(admin: Url, template: &str) -> Place {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("portreeve_test_{}_{count}", std::process::id());
    connect(admin.as_str())
        .batch_execute(&format!("CREATE DATABASE \"{name}\" TEMPLATE \"{template}\""))
        .expect("the user of `TEST_DATABASE_URL` may create databases");
    Place::Postgres { admin, name }
}

/// The name of the migrated template, made if it is missing. It is named after the migrations' text, so that
/// another process, or the next run on the same server, finds it; it gets that name only when it is whole.
fn template_database(admin: &Url) -> String {
    let name = format!("portreeve_template_{:016x}", digest(&migrations_folder(Backend::Postgres)));
    let mut conn = connect(admin.as_str());
    // Held by the connection: one process makes the template, the others wait and find it.
    conn.batch_execute("SELECT pg_advisory_lock(7236274)").expect("an advisory lock");
    if PgConnection::establish(with_database(admin, &name).as_str()).is_err() {
        let unfinished = format!("{name}_unfinished");
        let run = |conn: &mut PgConnection, statement: &str| conn.batch_execute(statement).expect(statement);
        run(&mut conn, &format!("DROP DATABASE IF EXISTS \"{unfinished}\" WITH (FORCE)"));
        run(&mut conn, &format!("CREATE DATABASE \"{unfinished}\" TEMPLATE template1"));
        connect(with_database(admin, &unfinished).as_str())
            .run_pending_migrations(migrations(Backend::Postgres))
            .expect("the PostgreSQL migrations run");
        rename_when_idle(&mut conn, &unfinished, &name);
    }
    name
}

/// The server ends a closed connection a moment later, and renaming does not wait for it.
fn rename_when_idle(conn: &mut PgConnection, from: &str, to: &str) {
    let rename = format!("ALTER DATABASE \"{from}\" RENAME TO \"{to}\"");
    for _ in 0..100 {
        if conn.batch_execute(&rename).is_ok() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    conn.batch_execute(&rename).expect("the template database is idle");
}

fn digest(folder: &Path) -> u64 {
    let mut files: Vec<PathBuf> = walk(folder);
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.hash(&mut hasher);
        std::fs::read(&file).expect("a migration").hash(&mut hasher);
    }
    hasher.finish()
}

/// Every file below `folder`.
pub(crate) fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("a folder entry").path());
    paths.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

fn with_database(admin: &Url, name: &str) -> Url {
    let mut url = admin.clone();
    url.set_path(name);
    url
}

on_both! {
    async fn a_test_database_is_migrated_and_can_be_opened_twice(db: TestDb) {
        assert!(db.db().pending_migrations().await.unwrap().is_empty());
        let second = Db::open(db.settings()).unwrap();
        assert!(second.pending_migrations().await.unwrap().is_empty());
        let scheme = db.place.url();
        assert_eq!(scheme.starts_with("sqlite:"), db.backend() == Backend::Sqlite);
    }
}
