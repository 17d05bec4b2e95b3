//! Somebody else's server: it records what it is sent and answers what it is told to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::{Value, json};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// The server. It listens on 127.0.0.1 until the test ends.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) url: url::Url,
    state: Arc<Mutex<State>>,
}

struct State {
    seen: Vec<Seen>,
    status: u16,
    body: Value,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(State { seen: Vec::new(), status: 200, body: json!({}) }));
        let shared = web::Data::from(state.clone());
        let server = HttpServer::new(move || App::new().app_data(shared.clone()).default_service(web::to(answer)))
            .workers(1)
            .disable_signals()
            .bind("127.0.0.1:0")
            .expect("a free port");
        let url = format!("http://{}/hook", server.addrs()[0]).parse().expect("a URL");
        actix_web::rt::spawn(server.run());
        Self { url, state }
    }

    /// What it answers from now on.
    pub(crate) fn answers(&self, status: u16, body: &Value) {
        let mut state = self.state.lock().unwrap();
        (state.status, state.body) = (status, body.clone());
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// What it has seen, as soon as that is `count` requests.
    pub(crate) async fn waits_for(&self, count: usize) -> Vec<Seen> {
        for _ in 0..200 {
            let seen = self.seen();
            if seen.len() >= count {
                assert_eq!(seen.len(), count, "more than was expected");
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{count} requests were expected; there are {}", self.seen().len());
    }
}

async fn answer(request: HttpRequest, body: web::Bytes, state: web::Data<Mutex<State>>) -> HttpResponse {
    let header = |(name, value): (&actix_web::http::header::HeaderName, &actix_web::http::header::HeaderValue)| {
        (name.as_str().to_owned(), value.to_str().unwrap_or("").to_owned())
    };
    let seen = Seen { headers: request.headers().iter().map(header).collect(), body: body.to_vec() };
    let mut state = state.lock().unwrap();
    state.seen.push(seen);
    HttpResponse::build(StatusCode::from_u16(state.status).unwrap()).json(&state.body)
}
