//! The private listener for operators: `/healthz` (alive), `/readyz` (able to serve), `/metrics`.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::dev::Server;
use actix_web::web::{self, Data};
use actix_web::{App as Actix, HttpResponse, HttpServer};
use serde_json::json;

use crate::app::App;

/// The server of the private listener.
pub(super) fn server(app: Data<App>, draining: Arc<AtomicBool>, listener: TcpListener) -> std::io::Result<Server> {
    let draining = Data::from(draining);
    let server = HttpServer::new(move || {
        Actix::new()
            .app_data(app.clone())
            .app_data(draining.clone())
            .route("/healthz", web::get().to(|| async { HttpResponse::Ok().json(json!({"status": "alive"})) }))
            .route("/readyz", web::get().to(ready))
            .route("/metrics", web::get().to(metrics))
    });
    Ok(server.workers(1).disable_signals().listen(listener)?.run())
}

/// Names each check, so that a failing one is seen.
async fn ready(app: Data<App>, draining: Data<AtomicBool>) -> HttpResponse {
    let migrations = app.db.pending_migrations().await;
    let draining = draining.load(Ordering::SeqCst);
    let migrated = migrations.as_ref().is_ok_and(Vec::is_empty);
    let catalog = app.clock.now() < app.edition().expires_at;
    let good = migrated && catalog && !draining;
    let checks =
        json!({"draining": draining, "database": migrations.is_ok(), "migrations": migrated, "catalog": catalog});
    let mut builder = if good { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    builder.json(json!({"ready": good, "checks": checks}))
}

/// Prometheus text format.
async fn metrics(app: Data<App>) -> HttpResponse {
    let edition = app.edition();
    let age = app.clock.now().since(edition.issued_at).num_seconds();
    let text = format!(
        "# HELP portreeve_catalog_version The published catalog revision.\n\
         # TYPE portreeve_catalog_version gauge\nportreeve_catalog_version {}\n\
         # HELP portreeve_catalog_age_seconds Seconds since it was issued.\n\
         # TYPE portreeve_catalog_age_seconds gauge\nportreeve_catalog_age_seconds {age}\n",
        edition.version.number()
    );
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(text)
}
