//! An OpenID Connect issuer on loopback: discovery, keys that can change, and a count of who asked.

use std::sync::{Arc, Mutex};

use portreeve::fetch::{Fetch, FetchSettings};
use portreeve::signing::{Algorithm, KeyPurpose, SigningKey};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone)]
pub(crate) struct MockIssuer {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

struct State {
    keys: Vec<SigningKey>,
    documents: u32,
    sets: u32,
    down: bool,
    names: Option<String>,
    id_claims: Value,
    token_requests: Vec<String>,
    names_itself: bool,
    /// Other keys in its set.
    published: Vec<Value>,
}

impl MockIssuer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = State {
            keys: vec![new_key()],
            documents: 0,
            sets: 0,
            down: false,
            names: None,
            id_claims: Value::Null,
            token_requests: Vec::new(),
            names_itself: false,
            published: Vec::new(),
        };
        let issuer = Self { url, state: Arc::new(Mutex::new(state)) };
        let server = issuer.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(server.clone().answer(stream));
            }
        });
        issuer
    }

    async fn answer(self, mut stream: TcpStream) {
        let mut request = Vec::new();
        let mut chunk = [0_u8; 1024];
        while !is_whole(&request) {
            match stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(read) => request.extend_from_slice(&chunk[..read]),
            }
        }
        let (status, body) = self.page(&String::from_utf8_lossy(&request));
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let _ = stream.write_all(answer.as_bytes()).await;
    }

    fn page(&self, request: &str) -> (&'static str, String) {
        let mut state = self.state.lock().unwrap();
        if request.starts_with("GET /.well-known/openid-configuration ") {
            state.documents += 1;
            let issuer = state.names.clone().unwrap_or_else(|| self.url.clone());
            let status = if state.down { "503 Service Unavailable" } else { "200 OK" };
            let document = json!({
                "issuer": issuer,
                "authorization_endpoint": format!("{}/authorize", self.url),
                "token_endpoint": format!("{}/token", self.url),
                "authorization_response_iss_parameter_supported": state.names_itself,
                "jwks_uri": format!("{}/jwks", self.url),
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            });
            (status, document.to_string())
        } else if request.starts_with("GET /jwks ") {
            state.sets += 1;
            let keys = state.keys.iter().map(|key| json!(key.public()));
            let keys: Vec<Value> = keys.chain(state.published.clone()).collect();
            ("200 OK", json!({"keys": keys}).to_string())
        } else if request.starts_with("POST /token ") {
            state.token_requests.push(request.to_owned());
            let id_token = state.keys.last().unwrap().sign_compact("JWT", &state.id_claims).unwrap();
            ("200 OK", json!({"access_token": "opaque", "token_type": "Bearer", "id_token": id_token}).to_string())
        } else {
            ("404 Not Found", "{}".to_owned())
        }
    }

    /// Puts one more key into its set.
    pub(crate) fn publishes(&self, key: Value) {
        self.state.lock().unwrap().published.push(key);
    }

    /// What the next ID token of the token endpoint says.
    pub(crate) fn will_say(&self, claims: Value) {
        self.state.lock().unwrap().id_claims = claims;
    }

    /// Says that it names itself in its answers (RFC 9207).
    pub(crate) fn names_itself(&self) {
        self.state.lock().unwrap().names_itself = true;
    }

    /// What was sent to the token endpoint.
    pub(crate) fn token_requests(&self) -> Vec<String> {
        self.state.lock().unwrap().token_requests.clone()
    }

    /// A token signed with the newest key.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.state.lock().unwrap().keys.last().unwrap().sign_compact("JWT", claims).unwrap()
    }

    pub(crate) fn kid(&self) -> String {
        self.state.lock().unwrap().keys.last().unwrap().kid().to_owned()
    }

    /// Adds a key, which signs from now on.
    pub(crate) fn rotate(&self) {
        self.state.lock().unwrap().keys.push(new_key());
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.state.lock().unwrap().down = down;
    }

    /// Makes the discovery document name another issuer.
    pub(crate) fn claim_to_be(&self, issuer: &str) {
        self.state.lock().unwrap().names = Some(issuer.to_owned());
    }

    /// How often the document and the set were asked for.
    pub(crate) fn asked(&self) -> (u32, u32) {
        let state = self.state.lock().unwrap();
        (state.documents, state.sets)
    }
}

/// Head and body are there.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
    length.unwrap_or(0) <= body.len()
}

fn new_key() -> SigningKey {
    SigningKey::generate(KeyPurpose::AccessToken, Algorithm::Es256).unwrap().0
}

/// A client that may reach loopback.
pub(crate) fn fetch() -> Fetch {
    Fetch::new(&FetchSettings { special_hosts: vec!["127.0.0.1".to_owned()], ..FetchSettings::default() }).unwrap()
}
