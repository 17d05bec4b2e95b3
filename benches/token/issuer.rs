//! An orchestrator that states who its users are, to both sides alike: its keys over HTTP, and ID-JAGs.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use portreeve::clock::{Clock as _, SystemClock};
use portreeve::signing::{Algorithm, KeyPurpose, SigningKey};
use serde_json::{Value, json};

/// How many people it has.
pub(crate) const PERSONS: usize = 256;

pub(crate) struct Issuer {
    pub(crate) url: String,
    key: SigningKey,
}

impl Issuer {
    /// Its keys are served until the process ends.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (key, _) = SigningKey::generate(KeyPurpose::ClientAssertion, Algorithm::Es256).unwrap();
        let issuer = Self { url, key };
        let documents = [issuer.discovery().to_string(), issuer.jwks().to_string()];
        std::thread::spawn(move || listener.incoming().for_each(|stream| answer(stream.unwrap(), &documents)));
        issuer
    }

    fn discovery(&self) -> Value {
        json!({
            "issuer": self.url,
            "authorization_endpoint": format!("{}/authorize", self.url),
            "token_endpoint": format!("{}/token", self.url),
            "jwks_uri": format!("{}/jwks", self.url),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }

    pub(crate) fn jwks(&self) -> Value {
        json!({"keys": [self.key.public()]})
    }

    /// An ID-JAG for `client` at `audience`, about the person with this number (they come again and again).
    pub(crate) fn jag(&self, audience: &str, client: &str, number: usize) -> String {
        let (now, person) = (SystemClock.now().seconds(), number % PERSONS);
        let claims = json!({
            "iss": self.url, "sub": format!("p{person}"), "aud": audience, "client_id": client,
            "jti": format!("{now}-{number}-{client}"), "iat": now, "exp": now + 300,
            "resource": format!("{audience}/v1"), "scope": crate::SCOPE,
            "email": format!("p{person}@example.test"), "email_verified": true,
        });
        self.key.sign_compact("oauth-id-jag+jwt", &claims).unwrap()
    }

    /// Many of them, with numbers that nobody used before.
    pub(crate) fn jags(&self, audience: &str, client: &str, count: usize) -> Vec<String> {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static USED: AtomicUsize = AtomicUsize::new(0);
        let first = USED.fetch_add(count, Ordering::Relaxed);
        let some = |from: usize, to: usize| (from..to).map(|number| self.jag(audience, client, number)).collect();
        std::thread::scope(|scope| {
            let half = scope.spawn(|| -> Vec<String> { some(first, first + count / 2) });
            let rest: Vec<String> = some(first + count / 2, first + count);
            [half.join().unwrap(), rest].concat()
        })
    }
}

fn answer(mut stream: TcpStream, [discovery, jwks]: &[String; 2]) {
    let mut chunk = [0_u8; 4096];
    let read = stream.read(&mut chunk).unwrap_or(0);
    let body = if chunk[..read].starts_with(b"GET /jwks ") { jwks } else { discovery };
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length:";
    drop(stream.write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes()));
}
