//! The listeners, the workers beside them, and how they stop.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::web::Data;
use actix_web::{App as Actix, HttpServer, middleware};
use tokio::task::JoinHandle;

use super::limit::Limits;
use super::wire::well_known::Discovery;
use super::{private, request_log, routes};
use crate::app::App;
use crate::attestation::request_signature;
use crate::config::ServerConfig;
use crate::db::{DbConnection, DbError};
use crate::signing::SigningError;
use crate::{account, authorization, catalog, login, orchestrator, owner, resource, takeover};

/// How often the workers look for work.
const TURN: Duration = Duration::from_secs(1);

/// For how long security events are remembered: longer than they are taken.
const EVENT_MEMORY: chrono::TimeDelta = chrono::TimeDelta::days(45);
/// How often the mail's worker looks: somebody waits for it.
const MAIL_TURN: Duration = Duration::from_millis(500);

/// How often the catalog is looked at: is it due to be issued again, did another process publish?
const CATALOG_TURN: Duration = Duration::from_secs(15);

/// How many rows are forgotten at once.
const PIECE: i64 = 2_000;

/// Why the listeners do not listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address is taken or not ours.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The discovery documents cannot be signed.
    #[error(transparent)]
    Signing(#[from] SigningError),
}

/// A provider that is listening.
#[derive(Debug)]
pub struct Running {
    /// The public listener's address.
    pub address: SocketAddr,
    /// What every handler reaches.
    pub app: Data<App>,
    public: ServerHandle,
    private: Option<ServerHandle>,
    tasks: Vec<JoinHandle<()>>,
    draining: Arc<AtomicBool>,
}

impl Running {
    /// Stops: says so on the private listener, then lets open requests finish.
    pub async fn stop(self, drain: Duration) {
        self.draining.store(true, Ordering::SeqCst);
        tokio::time::sleep(drain).await;
        self.public.stop(true).await;
        if let Some(private) = self.private {
            private.stop(false).await;
        }
        for task in self.tasks {
            task.abort();
        }
    }
}

/// Listens on `public` (and, when given, privately), and starts the workers.
///
/// # Errors
/// When an address cannot be listened on, or the discovery documents cannot be signed.
pub fn serve(
    app: App,
    config: &ServerConfig,
    public: TcpListener,
    private_listener: Option<TcpListener>,
) -> Result<Running, ServeError> {
    let address = public.local_addr().map_err(|error| ServeError::Listen(config.listen, error))?;
    let discovery = Data::new(Discovery::new(&app)?);
    let app = Data::new(app);
    let draining = Arc::new(AtomicBool::new(false));
    let server = {
        let (app, discovery) = (app.clone(), discovery.clone());
        let limits = Data::new(Limits::new(&app));
        HttpServer::new(move || {
            Actix::new()
                .app_data(app.clone())
                .app_data(discovery.clone())
                .app_data(limits.clone())
                .wrap(middleware::from_fn(request_log::run))
                .configure(|config| routes(config, &app))
        })
        .workers(config.workers.max(1))
        .client_request_timeout(Duration::from_secs(10))
        .client_disconnect_timeout(Duration::from_secs(2))
        .max_connections(config.connections.max(1))
        .shutdown_timeout(config.drain_seconds)
        .disable_signals()
        .listen(public)
        .map_err(|error| ServeError::Listen(address, error))?
        .run()
    };
    let handle = server.handle();
    let mut tasks = vec![tokio::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(error = %error, "the public listener ended");
        }
    })];
    let mut private_handle = None;
    if let Some(listener) = private_listener {
        let server = private::server(app.clone(), draining.clone(), listener)
            .map_err(|error| ServeError::Listen(config.private_listen, error))?;
        private_handle = Some(server.handle());
        tasks.push(tokio::spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(error = %error, "the private listener ended");
            }
        }));
    }
    tasks.push(tokio::spawn(work(app.clone())));
    tasks.push(tokio::spawn(keep_catalog(app.clone())));
    tasks.push(tokio::spawn(tell(app.clone())));
    tasks.push(tokio::spawn(guard(app.clone())));
    tasks.push(tokio::spawn(keep_revocations(app.clone())));
    tasks.push(tokio::spawn(send_mail(app.clone())));
    Ok(Running { address, app, public: handle, private: private_handle, tasks, draining })
}

/// Looks at the catalog in its own time: nobody else's silence may let it expire.
async fn keep_catalog(app: Data<App>) {
    loop {
        refresh_catalog(&app).await;
        tokio::time::sleep(CATALOG_TURN).await;
    }
}

/// Reads which tokens ended, so that none outlives its revocation by a second, whichever process revoked it.
async fn keep_revocations(app: Data<App>) {
    loop {
        let (began, now) = (std::time::Instant::now(), app.clock.now());
        match app.db.read(move |conn| authorization::read_ended(conn, now)).await {
            Ok(ended) => app.revocations.take_up(ended, began),
            // What is remembered grows old, and then the database is asked about each token.
            Err(error) => tracing::error!(error = %error, "revocations could not be read"),
        }
        tokio::time::sleep(authorization::REVOCATION_TURN).await;
    }
}

/// Tells orchestrators of events, in its own time: a slow receiver holds up no operation.
async fn tell(app: Data<App>) {
    loop {
        match orchestrator::deliver_due(&app.courier, app.clock.as_ref()).await {
            // There may be more.
            Ok(tried) if tried > 0 => {}
            Ok(_) => tokio::time::sleep(TURN).await,
            Err(error) => {
                tracing::error!(error = %error, "notifications could not be delivered");
                tokio::time::sleep(TURN).await;
            }
        }
    }
}

/// Goes on with distrusts that nobody finished, and asks for security events, in its own time: neither waits for anything
/// else.
async fn guard(app: Data<App>) {
    let parts = takeover::PollParts {
        db: app.db.clone(),
        keys: app.keys.clone(),
        fetch: app.fetch.clone(),
        sealer: app.wire_sealer.clone(),
    };
    loop {
        match takeover::resume_unfinished(&app.db, app.clock.as_ref()).await {
            Ok(0) => {}
            Ok(_) => app.revocations.forget(),
            Err(error) => tracing::error!(error = %error, "a distrust could not go on"),
        }
        if let Err(error) = takeover::collect_evidence(&app.db, &app.ring, &app.base_url, app.clock.as_ref()).await {
            tracing::error!(error = %error, "evidence could not be collected");
        }
        if let Err(error) = takeover::poll_due(&parts, app.clock.as_ref()).await {
            tracing::error!(error = %error, "security events could not be polled");
        }
        tokio::time::sleep(TURN).await;
    }
}

/// Sends mails, in its own time: a slow mail server holds up nobody.
async fn send_mail(app: Data<App>) {
    loop {
        match login::deliver_due(&app.post, app.clock.as_ref()).await {
            Ok(tried) if tried > 0 => {}
            Ok(_) => tokio::time::sleep(MAIL_TURN).await,
            Err(error) => {
                tracing::error!(error = %error, "mails could not be sent");
                tokio::time::sleep(TURN).await;
            }
        }
    }
}

/// What nobody waits for: unfinished operations, old assertions and proofs.
async fn work(app: Data<App>) {
    let mut turn = 0_u64;
    loop {
        let now = app.clock.now();
        if let Err(error) = resource::resume_due(&app.desk, app.clock.as_ref()).await {
            tracing::error!(error = %error, "operations could not be taken up");
        }
        if let Err(error) = owner::undo_due(&app.db, now).await {
            tracing::error!(error = %error, "what is to be undone could not be looked at");
        }
        if let Err(error) = resource::remove_unwanted(&app.desk, &app.edition(), now).await {
            tracing::error!(error = %error, "what owners want gone could not be looked at");
        }
        if let Err(error) = owner::close_due(&app.db, now).await {
            tracing::error!(error = %error, "accounts that are closing could not be looked at");
        }
        if let Err(error) = resource::renew_due(&app.desk, app.clock.as_ref()).await {
            tracing::error!(error = %error, "credentials could not be renewed");
        }
        if turn % 3600 == 60 {
            forget(&app, "assertions and codes", move |conn| {
                account::forget_uses(conn, now)?;
                orchestrator::forget_events(conn, now.minus(EVENT_MEMORY))?;
                account::forget_openings(conn, now)?;
                login::forget_ended(conn, now)?;
                account::release_closed(conn, now, PIECE)?;
                let clients = authorization::forget_unused(conn, now, PIECE)?;
                Ok(clients.max(authorization::forget_ended(conn, now, PIECE)?))
            })
            .await;
        }
        if turn % 60 == 30 {
            forget(&app, "proofs and signatures", move |conn| {
                let proofs = authorization::forget_proofs(conn, now, PIECE)?;
                Ok(proofs.max(request_signature::forget_signatures(conn, now, PIECE)?))
            })
            .await;
        }
        turn = turn.wrapping_add(1);
        tokio::time::sleep(TURN).await;
    }
}

/// Forgets what is old in pieces, between which others write: again as long as there was a whole piece.
async fn forget<F>(app: &App, what: &'static str, piece: F)
where
    F: Fn(&mut DbConnection) -> Result<usize, DbError> + Clone + Send + 'static,
{
    loop {
        match app.db.write(crate::app::HOUSE, piece.clone()).await {
            Ok(forgotten) if i64::try_from(forgotten).is_ok_and(|forgotten| forgotten == PIECE) => {}
            Ok(_) => return,
            Err(error) => return tracing::error!(error = %error, what, "what is old could not be forgotten"),
        }
    }
}

async fn refresh_catalog(app: &App) {
    let known = app.edition().version;
    match app.db.read(move |conn| catalog::newer_than(conn, known)).await {
        Ok(Some(edition)) => app.take_up(edition),
        Ok(None) => match catalog::reissue_if_due(&app.db, &app.ring, app.clock.now()).await {
            Ok(Some(edition)) => app.take_up(edition),
            // Another process did it: the next turn takes it up.
            Ok(None) | Err(catalog::PublishError::SomebodyFirst(_)) => {}
            Err(error) => tracing::error!(error = %error, "the catalog could not be issued again"),
        },
        Err(error) => tracing::error!(error = %error, "the catalog could not be looked at"),
    }
}
