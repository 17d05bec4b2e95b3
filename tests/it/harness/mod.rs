//! What every integration test stands on: its own database on both kinds, the provider, and a client with verbs.

/// Makes of one test two, `NAME::sqlite` and `NAME::postgres`, each with a migrated database of its own.
///
/// ```ignore
/// on_both! {
///     async fn a_fresh_database_needs_no_migration(db: TestDb) {
///         assert!(db.db().pending_migrations().await.unwrap().is_empty());
///     }
/// }
/// ```
macro_rules! on_both {
    ($($(#[$meta:meta])* async fn $name:ident($db:ident: TestDb) $body:block)+) => {$(
        $(#[$meta])*
        async fn $name($db: $crate::harness::databases::TestDb) $body

        mod $name {
            use $crate::harness::databases;

            #[actix_web::test]
            async fn sqlite() {
                super::$name(databases::sqlite()).await;
            }

            #[actix_web::test]
            async fn postgres() {
                if let Some(db) = databases::postgres() {
                    super::$name(db).await;
                }
            }
        }
    )+};
}

pub(crate) mod app;
pub(crate) mod authenticator;
pub(crate) mod beside;
pub(crate) mod browser;
pub(crate) mod client;
pub(crate) mod databases;
pub(crate) mod driver;
pub(crate) mod oauth;
pub(crate) mod program;
pub(crate) mod receiver;
pub(crate) mod tenant;
pub(crate) mod wire;

/// Runs `test` on four threads of its own, for what must hold when callers really run at once.
pub(crate) async fn on_four_threads(test: impl Future<Output = ()> + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
    let runtime = runtime.expect("threads can be started");
    let told = runtime.spawn(test).await;
    runtime.shutdown_background();
    if let Err(failed) = told {
        std::panic::resume_unwind(failed.into_panic());
    }
}
