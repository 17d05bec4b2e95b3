//! The migrations of both databases: they go up and down, they make what `src/db/schema.rs` says, and what is said to
//! be append-only is.

use diesel::connection::SimpleConnection as _;
use diesel::deserialize::QueryableByName;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use diesel_migrations::MigrationHarness;
use portreeve::db::{Backend, DbError};

use crate::harness::databases::{connect, empty_postgres, empty_sqlite, migrations, migrations_folder};

const SCHEMA: &str = include_str!("../../src/db/schema.rs");

/// Every column there is, ours in order, without the bookkeeping of the migrations.
const SQLITE_COLUMNS: &str = "SELECT t.name AS \"table\", c.name AS name, c.type AS kind, \
     c.\"notnull\" = 0 AS nullable, c.pk > 0 AS \"primary\" \
     FROM sqlite_schema t, pragma_table_info(t.name) c \
     WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND t.name <> '__diesel_schema_migrations' \
     ORDER BY t.name, c.cid";
const POSTGRES_COLUMNS: &str = "SELECT c.table_name::text AS \"table\", c.column_name::text AS name, \
     c.data_type::text AS kind, c.is_nullable = 'YES' AS nullable, \
     EXISTS (SELECT 1 FROM information_schema.table_constraints k \
        JOIN information_schema.key_column_usage u USING (constraint_schema, constraint_name, table_name) \
        WHERE k.constraint_type = 'PRIMARY KEY' AND k.table_schema = c.table_schema \
        AND k.table_name = c.table_name AND u.column_name = c.column_name) AS \"primary\" \
     FROM information_schema.columns c \
     WHERE c.table_schema = 'public' AND c.table_name <> '__diesel_schema_migrations' \
     ORDER BY c.table_name COLLATE \"C\", c.ordinal_position";

#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
struct Column {
    #[diesel(sql_type = Text)]
    table: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Bool)]
    nullable: bool,
    #[diesel(sql_type = Bool)]
    primary: bool,
}

/// What `schema.rs` promises, in the words of `backend`, by table name and then in order.
fn promised(schema: &str, backend: Backend) -> Vec<Column> {
    let mut tables: Vec<Vec<Column>> =
        schema.split("diesel::table!").skip(1).map(|text| table(text, backend)).collect();
    tables.sort_by(|left, right| left[0].table.cmp(&right[0].table));
    tables.concat()
}

/// One `{ name (keys) { column -> Type, … } }`.
fn table(text: &str, backend: Backend) -> Vec<Column> {
    let (name, rest) = text.split_once('(').expect("a table has a primary key");
    let (keys, rest) = rest.split_once(')').expect("a primary key ends");
    let (columns, _) = rest.split_once('}').expect("a table ends");
    let keys: Vec<&str> = keys.split(',').map(str::trim).collect();
    let columns = columns.trim().trim_start_matches('{').lines().filter(|line| line.contains("->"));
    let read = |line: &str| {
        let (column, kind) = line.trim().trim_end_matches(',').split_once(" -> ").expect("`column -> Type,`");
        let inner = kind.strip_prefix("Nullable<").and_then(|kind| kind.strip_suffix('>'));
        Column {
            table: name.trim().trim_start_matches('{').trim().to_owned(),
            name: column.to_owned(),
            kind: in_words_of(backend, inner.unwrap_or(kind)).to_owned(),
            nullable: inner.is_some(),
            primary: keys.contains(&column),
        }
    };
    columns.map(read).collect()
}

fn in_words_of(backend: Backend, kind: &str) -> &'static str {
    let (sqlite, postgres) = match kind {
        "Text" => ("TEXT", "text"),
        "BigInt" => ("BIGINT", "bigint"),
        "Bool" => ("BOOLEAN", "boolean"),
        "Binary" => ("BLOB", "bytea"),
        other => panic!("`{other}` in schema.rs: say here what it is called in both databases"),
    };
    match backend {
        Backend::Sqlite => sqlite,
        Backend::Postgres => postgres,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the catalogs of the databases are no tables of ours, and nothing here is hot"
)]
fn columns<Conn>(conn: &mut Conn, query: &str) -> Vec<Column>
where
    Conn: diesel::connection::LoadConnection,
    diesel::query_builder::SqlQuery: for<'q> diesel::query_dsl::LoadQuery<'q, Conn, Column>,
{
    diesel::sql_query(query).load(conn).expect("the columns can be read")
}

/// Up, down, up; and what is there after each.
fn up_down_up<Conn, DB>(conn: &mut Conn, backend: Backend, query: &str)
where
    DB: diesel::backend::Backend,
    Conn: MigrationHarness<DB> + diesel::connection::LoadConnection,
    diesel::query_builder::SqlQuery: for<'q> diesel::query_dsl::LoadQuery<'q, Conn, Column>,
    diesel_migrations::FileBasedMigrations: diesel::migration::MigrationSource<DB>,
{
    let promised = promised(SCHEMA, backend);
    assert!(promised.len() > 100, "schema.rs was read as {} columns", promised.len());
    conn.run_pending_migrations(migrations(backend)).expect("up");
    same(&columns(conn, query), &promised);
    conn.revert_all_migrations(migrations(backend)).expect("down");
    same(&columns(conn, query), &[]);
    conn.run_pending_migrations(migrations(backend)).expect("up again");
    same(&columns(conn, query), &promised);
}

/// Fails with what differs, not with two lists of two hundred columns.
#[track_caller]
fn same(found: &[Column], promised: &[Column]) {
    let surplus: Vec<_> = found.iter().filter(|column| !promised.contains(column)).collect();
    let missing: Vec<_> = promised.iter().filter(|column| !found.contains(column)).collect();
    assert!(
        surplus.is_empty() && missing.is_empty(),
        "only in the database: {surplus:#?}\nonly in schema.rs: {missing:#?}"
    );
    assert_eq!(found, promised, "the same columns, in another order");
}

#[test]
fn migrations_go_up_down_and_up_and_make_what_the_schema_says_on_sqlite() {
    let place = empty_sqlite();
    let mut conn = SqliteConnection::establish(&place.file().display().to_string()).unwrap();
    conn.batch_execute("PRAGMA foreign_keys = ON").unwrap();
    up_down_up(&mut conn, Backend::Sqlite, SQLITE_COLUMNS);
}

#[test]
fn migrations_go_up_down_and_up_and_make_what_the_schema_says_on_postgres() {
    if let Some(place) = empty_postgres() {
        up_down_up(&mut connect(&place.url()), Backend::Postgres, POSTGRES_COLUMNS);
    }
}

#[test]
fn the_schema_is_read_by_name_order_nullability_type_and_key() {
    let text = "diesel::table! {\n    things (owner, id) {\n        owner -> Text,\n        id -> BigInt,\n        \
                note -> Nullable<Binary>,\n    }\n}\n";
    let read = promised(text, Backend::Postgres);
    let column = |name: &str, kind: &str, nullable, primary| {
        let (table, name, kind) = ("things".to_owned(), name.to_owned(), kind.to_owned());
        Column { table, name, kind, nullable, primary }
    };
    let expected = [
        column("owner", "text", false, true),
        column("id", "bigint", false, true),
        column("note", "bytea", true, false),
    ];
    assert_eq!(read, expected);
}

on_both! {
    async fn the_program_carries_every_migration_and_applies_each_once(db: TestDb) {
        let mut folders: Vec<String> = std::fs::read_dir(migrations_folder(db.backend()))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        folders.sort();
        let empty = match db.backend() {
            Backend::Sqlite => Some(empty_sqlite()),
            Backend::Postgres => empty_postgres(),
        };
        let empty = empty.unwrap();
        let mut settings = db.settings().clone();
        settings.url = empty.url().into();
        let fresh = portreeve::db::Db::open(&settings).unwrap();
        assert_eq!(fresh.pending_migrations().await.unwrap(), folders);
        assert_eq!(fresh.migrate().await.unwrap().len(), folders.len());
        assert_eq!(fresh.migrate().await.unwrap(), Vec::<String>::new());
    }

    async fn the_database_itself_refuses_to_change_or_remove_what_is_append_only(db: TestDb) {
        let rows = [
            ("ledger_entries", "INSERT INTO ledger_entries VALUES ('acct_1', 1, 'ent_1', 'hold', NULL, NULL, '[]', \
              'USD', 100, 0, 'a plan', 1, '', 'h1')"),
            ("audit_facts", "INSERT INTO audit_facts VALUES ('fact_1', 1, 'system', 'thing.done', NULL, 'x', '{}')"),
            ("catalog_revisions", "INSERT INTO catalog_revisions VALUES (1, 'd', 'c', '', '', 1, 2)"),
        ];
        for (table, insert) in rows {
            execute(&db, insert.to_owned()).await.unwrap();
            let column = if table == "catalog_revisions" { "digest" } else { "id" };
            let mut refused = vec![format!("UPDATE {table} SET {column} = 'other'"), format!("DELETE FROM {table}")];
            match db.backend() {
                Backend::Postgres => refused.push(format!("TRUNCATE {table}")),
                // It deletes what is in its way.
                Backend::Sqlite => refused.push(insert.replace("INSERT", "INSERT OR REPLACE")),
            }
            for statement in refused {
                let error = execute(&db, statement.clone()).await.expect_err(&statement);
                let said = format!("{error:?}");
                assert!(said.contains(&format!("{table} is append-only")), "{statement}: {said}");
            }
        }
    }
}

async fn execute(db: &crate::harness::databases::TestDb, statement: String) -> Result<(), DbError> {
    db.db().write("test", move |conn| conn.batch_execute(&statement).map_err(DbError::from)).await
}
