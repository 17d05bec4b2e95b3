//! Agents, each on one line to the provider, each at its next journey when its last is done.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use portreeve::clock::{Clock as _, SystemClock};
use portreeve::simulator::stripe_signature;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::provider::Provider;

/// One run. Times in milliseconds; the provider's processor time is that of one journey.
pub(crate) struct Measured {
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
    pub(crate) cpu: f64,
}

/// An HTTP/1.1 client as small as can be: it shares the machine with what it measures.
pub(crate) struct Agent {
    line: TcpStream,
    address: SocketAddr,
    secret: String,
    buffer: Vec<u8>,
}

/// The name of somebody whom nobody has seen before.
pub(crate) fn people() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("p{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

impl Agent {
    pub(crate) async fn connect(provider: &Provider) -> Self {
        let line = TcpStream::connect(provider.address).await.unwrap();
        line.set_nodelay(true).unwrap();
        Self { line, address: provider.address, secret: provider.secret.clone(), buffer: Vec::new() }
    }

    /// Of another orchestrator, which signs with this.
    pub(crate) async fn of(provider: &Provider, secret: &str) -> Self {
        Self { secret: secret.to_owned(), ..Self::connect(provider).await }
    }

    /// A signed request for an account of somebody with this address; how long the answer took. `None`: it is refused.
    pub(crate) async fn asks(&mut self, who: &str, email: &str, verified: bool) -> Option<Duration> {
        let fields = if verified { json!(["email"]) } else { json!(["name"]) };
        let body = json!({"id": format!("acctreq-{who}"), "email": email, "scopes": [], "kyc": {"verified_fields": fields},
            "client_capabilities": ["browser"], "confirmation_secret": format!("cs-{who}"),
            "orchestrator": {"type": "stripe", "stripe": {"account": format!("acct-{who}")}}});
        let (path, body) = ("/provisioning/account_requests", body.to_string());
        let request = self.request(path, "application/json", &body, None);
        let begun = Instant::now();
        self.line.write_all(request.as_bytes()).await.unwrap();
        let (status, said) = self.answer().await;
        let took = begun.elapsed();
        (status == 200 && said["type"] == "oauth").then_some(took)
    }

    /// A signed account request, the code for a token, a free resource with its credentials.
    pub(crate) async fn journey(&mut self, who: &str) {
        let body = json!({"id": format!("acctreq-{who}"), "email": format!("{who}@example.test"), "scopes": [],
            "client_capabilities": ["browser"], "confirmation_secret": format!("cs-{who}"),
            "orchestrator": {"type": "stripe", "stripe": {"account": format!("acct-{who}")}}});
        let said = self.post("/provisioning/account_requests", "application/json", &body.to_string(), None).await;
        let code = said["oauth"]["code"].as_str().expect("a code");
        let form = format!("grant_type=authorization_code&code={code}");
        let said = self.post("/oauth/token", "application/x-www-form-urlencoded", &form, None).await;
        let token = said["access_token"].as_str().expect("an access token").to_owned();
        let body = json!({"service_id": "sandbox", "project_id": format!("proj-{who}"), "environment": "prod",
            "orchestrator_resource_id": format!("res-{who}"), "configuration": {}});
        let path = "/provisioning/resources";
        let said = self.post(path, "application/json", &body.to_string(), Some(&token)).await;
        assert!(said["complete"]["access_configuration"]["API_KEY"].is_string(), "{said}");
    }

    fn request(&self, path: &str, content_type: &str, body: &str, bearer: Option<&str>) -> String {
        let signature = stripe_signature(&[&self.secret], SystemClock.now().seconds(), body.as_bytes());
        let bearer = bearer.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\napi-version: 0.1d\r\nstripe-signature: {signature}\r\n{bearer}\
             content-type: {content_type}\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        )
    }

    async fn post(&mut self, path: &str, content_type: &str, body: &str, bearer: Option<&str>) -> Value {
        let request = self.request(path, content_type, body, bearer);
        self.line.write_all(request.as_bytes()).await.unwrap();
        let (status, body) = self.answer().await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// The next answer: status and JSON body.
    async fn answer(&mut self) -> (u16, Value) {
        self.buffer.clear();
        loop {
            let read = self.line.read_buf(&mut self.buffer).await.unwrap();
            assert!(read > 0, "the provider hung up");
            let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let head = std::str::from_utf8(&self.buffer[..end]).unwrap().to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
            let whole = end + 4 + length.parse::<usize>().unwrap();
            if self.buffer.len() >= whole {
                let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                return (status, serde_json::from_slice(&self.buffer[end + 4..whole]).unwrap());
            }
        }
    }
}

/// Lets `agents` agents travel for `time`.
pub(crate) async fn measure(provider: &Provider, agents: usize, time: Duration) -> Measured {
    let mut lines = Vec::new();
    for _ in 0..agents {
        lines.push(Agent::connect(provider).await);
    }
    let (start, cpu) = (Instant::now(), provider.cpu());
    let travelling = lines.into_iter().map(|mut agent| {
        tokio::spawn(async move {
            let mut took = Vec::new();
            while start.elapsed() < time {
                let begun = Instant::now();
                agent.journey(&people()).await;
                took.push(begun.elapsed());
            }
            took
        })
    });
    let travelling: Vec<_> = travelling.collect();
    let mut took = Vec::new();
    for agent in travelling {
        took.extend(agent.await.unwrap());
    }
    let (elapsed, cpu) = (start.elapsed(), provider.cpu() - cpu);
    took.sort();
    let count = f64::from(u32::try_from(took.len()).unwrap());
    let at = |hundredth: usize| took[(took.len() - 1) * hundredth / 100].as_secs_f64() * 1_000.0;
    Measured { rate: count / elapsed.as_secs_f64(), p50: at(50), p99: at(99), max: at(100), cpu: cpu / count }
}
