//! A small provider of the provisioning wire, in memory, right by default and wrong in one way at a time. It is written
//! from the protocol, and shares nothing with Portreeve.

#![expect(clippy::result_large_err, reason = "a refusal is an answer: the double need not be fast")]

mod accounts;
mod catalog;
mod fault;
mod links;
mod payment;
mod resources;
mod signature;
mod world;

use std::sync::{Arc, Mutex, MutexGuard};

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use futures_util::StreamExt as _;
use portreeve::fetch::{Fetch, FetchSettings, Outgoing};
use serde_json::{Value, json};

pub(crate) use fault::Fault;
use world::World;

/// The bearer token with which the double asks for keys.
pub(crate) const KEYS_TOKEN: &str = "keys_token_of_the_double";
pub(crate) const SECRETS: [&str; 2] = ["whsec_double_new", "whsec_double_old"];
/// How long somebody dawdles alone: longer than two requests at once lie apart on a busy machine.
const DAWDLE: std::time::Duration = std::time::Duration::from_millis(200);
/// More than any request needs.
const LARGEST: usize = 1024 * 1024;

/// A running provider.
pub(crate) struct Provider {
    pub(crate) url: String,
    handle: ServerHandle,
}

pub(super) struct State {
    pub(super) fault: Option<Fault>,
    pub(super) url: String,
    /// Where the keys of the second signature scheme are, if it is required.
    v2: Option<String>,
    pub(super) keys: tokio::sync::OnceCell<Value>,
    world: Mutex<World>,
    /// Somebody dawdles.
    arrived: tokio::sync::Notify,
}

impl State {
    pub(super) fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Where that is the fault: waits between a check and what follows it until somebody else comes too, but not for long.
    pub(super) async fn dawdle(&self, fault: Fault) {
        if self.has(fault) {
            self.arrived.notify_waiters();
            // Nobody came, if the time is over.
            let _ = tokio::time::timeout(DAWDLE, self.arrived.notified()).await;
        }
    }
}

/// A request with its whole body.
pub(super) struct Asked {
    pub(super) head: HttpRequest,
    pub(super) body: Vec<u8>,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers().get(name)?.to_str().ok()
    }
}

/// The four envelopes.
#[derive(Clone)]
pub(super) enum Form {
    Flat,
    Typed,
    Status(String),
    OAuth,
}

pub(super) type Reply = Result<HttpResponse, HttpResponse>;

pub(super) fn refuse(form: &Form, status: u16, code: &str) -> HttpResponse {
    let error = json!({"code": code, "message": "No. The supported version is 0.1d."});
    let body = match form {
        Form::Flat => json!({"error": error}),
        Form::Typed => json!({"type": "error", "error": error}),
        Form::Status(id) => json!({"status": "error", "id": id, "error": error}),
        Form::OAuth => json!({"error": code, "error_description": "No."}),
    };
    HttpResponse::build(StatusCode::from_u16(status).unwrap()).json(body)
}

pub(super) fn page(status: u16, text: &str) -> HttpResponse {
    HttpResponse::build(StatusCode::from_u16(status).unwrap()).content_type("text/html").body(text.to_owned())
}

impl Provider {
    /// Starts one; with `v2` it requires the second signature scheme, and fetches the keys from there.
    pub(crate) fn start(fault: Option<Fault>, v2: Option<String>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            fault,
            url: url.clone(),
            v2,
            keys: tokio::sync::OnceCell::new(),
            world: Mutex::default(),
            arrived: tokio::sync::Notify::new(),
        });
        let server = HttpServer::new(move || {
            App::new().app_data(web::Data::from(state.clone())).default_service(web::to(serve))
        });
        let server = server.workers(1).disable_signals().shutdown_timeout(1).listen(listener).unwrap().run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { url, handle }
    }

    pub(crate) async fn stop(&self) {
        self.handle.stop(false).await;
    }
}

async fn serve(state: web::Data<State>, head: HttpRequest, mut payload: web::Payload) -> HttpResponse {
    let (mut body, mut large) = (Vec::new(), false);
    // Read to the end whatever comes, so that the refusal is heard.
    while let Some(Ok(chunk)) = payload.next().await {
        large |= body.len() + chunk.len() > LARGEST;
        if !large {
            body.extend_from_slice(&chunk);
        }
    }
    if let Some(url) = &state.v2 {
        state.keys.get_or_init(|| fetch_keys(url)).await;
    }
    let asked = Asked { head, body };
    if large {
        return if state.has(Fault::LargePlain) {
            HttpResponse::PayloadTooLarge().body("Payload too large")
        } else {
            refuse(&form_of(asked.head.path()), 413, "invalid_request")
        };
    }
    route(&state, &asked).await.unwrap_or_else(|refusal| refusal)
}

async fn fetch_keys(url: &str) -> Value {
    let special_hosts = vec!["127.0.0.1".to_owned()];
    let timeout = std::time::Duration::from_secs(30);
    let settings = FetchSettings { special_hosts, timeout, ..FetchSettings::default() };
    let asked = Outgoing::get(url.parse().unwrap()).bearer(KEYS_TOKEN);
    Fetch::new(&settings).unwrap().send(asked).await.unwrap().json().unwrap()
}

/// The envelope of whatever stands at `path`.
fn form_of(path: &str) -> Form {
    match path {
        "/oauth/token" => Form::OAuth,
        path if path.starts_with("/provisioning/account_requests") => Form::Typed,
        path if path.starts_with("/provisioning/resources") => Form::Status(String::new()),
        _ => Form::Flat,
    }
}

async fn route(state: &State, asked: &Asked) -> Reply {
    let path = asked.head.path().to_owned();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match (asked.head.method().as_str(), parts.as_slice()) {
        ("GET", ["provisioning", "health"]) => catalog::health(state, asked),
        ("GET", ["provisioning", "services"]) => catalog::services(state, asked),
        ("POST", ["provisioning", "account_requests"]) => accounts::request(state, asked).await,
        ("POST", ["oauth", "token"]) => accounts::token(state, asked).await,
        ("POST", ["provisioning", "deep_links"]) => links::make(state, asked),
        ("POST", ["provisioning", "resources"]) => resources::create(state, asked).await,
        ("POST", ["provisioning", "resources", "link"]) => resources::link(state, asked),
        ("GET", ["provisioning", "resources", id]) => resources::read(state, asked, id),
        ("POST", ["provisioning", "resources", id, "update_service"]) => resources::update(state, asked, id),
        ("POST", ["provisioning", "resources", id, "rotate_credentials"]) => resources::rotate(state, asked, id),
        ("POST", ["provisioning", "resources", id, "remove"]) => resources::remove(state, asked, id),
        ("GET", ["login"]) => Ok(links::open(state, asked)),
        ("GET" | "POST", ["link"]) => Ok(links::consent(state, asked)),
        ("POST", ["test", "payment_tokens"]) => payment::mint(state, asked),
        (
            _,
            ["provisioning", "health" | "services" | "account_requests" | "deep_links" | "resources"]
            | ["oauth", "token"]
            | ["provisioning", "resources", _],
        ) => Err(if state.has(Fault::MethodPage) {
            page(405, "<h1>Method not allowed</h1>")
        } else {
            refuse(&form_of(&path), 405, "invalid_request")
        }),
        _ => Err(if state.has(Fault::NotFoundPage) {
            page(404, "<script>alert(1)</script><h1>Not found</h1>")
        } else {
            refuse(&form_of(&path), 404, "not_found")
        }),
    }
}

/// The body as a JSON object.
pub(super) fn object(state: &State, asked: &Asked, form: &Form) -> Result<Value, HttpResponse> {
    let parsed: Option<Value> = serde_json::from_slice(&asked.body).ok();
    match parsed.filter(Value::is_object) {
        Some(body) => Ok(body),
        None if state.has(Fault::MalformedPlain) => Err(HttpResponse::BadRequest().body("Json deserialize error")),
        None => Err(refuse(form, 400, "invalid_request")),
    }
}
