//! An HTTP client with verbs, over the provider's own outgoing client: whole answers, limits, no redirects followed.

use std::time::Duration;

use portreeve::fetch::{Fetch, FetchSettings, Incoming, Outgoing};
use serde_json::Value;
use url::Url;

/// Somebody who calls one server. A path is joined to the server's base URL; a whole URL stands for itself.
#[derive(Clone)]
pub(crate) struct Client {
    fetch: Fetch,
    base: Url,
    bearer: Option<String>,
}

impl Client {
    /// A caller without a token. `base` is on 127.0.0.1.
    pub(crate) fn new(base: &str) -> Self {
        let settings = FetchSettings {
            special_hosts: vec!["127.0.0.1".to_owned()],
            timeout: Duration::from_secs(20),
            max_body: 8 * 1024 * 1024,
        };
        let fetch = Fetch::new(&settings).expect("the outgoing client");
        Self { fetch, base: base.parse().expect("a base URL"), bearer: None }
    }

    /// The same caller, now with a token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { bearer: Some(token.to_owned()), ..self.clone() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Outgoing::get(self.url(path))).await
    }

    pub(crate) async fn head(&self, path: &str) -> Answer {
        self.send(Outgoing::head(self.url(path))).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Outgoing::delete(self.url(path))).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Outgoing::post_json(self.url(path), body)).await
    }

    /// POST under an `Idempotency-Key`: repeated under the same key, it happens once.
    pub(crate) async fn post_once(&self, key: &str, path: &str, body: &Value) -> Answer {
        self.send(Outgoing::post_json(self.url(path), body).header("idempotency-key", key)).await
    }

    /// POST of a form, as OAuth's endpoints want it.
    pub(crate) async fn post_form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.send(Outgoing::post(self.url(path), "application/x-www-form-urlencoded", body.into_bytes())).await
    }

    /// POST of bytes that may be no JSON at all.
    pub(crate) async fn post_bytes(&self, path: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.send(Outgoing::post(self.url(path), content_type, body.into())).await
    }

    /// GET with one more header.
    pub(crate) async fn get_with(&self, path: &str, name: &'static str, value: &str) -> Answer {
        self.send(Outgoing::get(self.url(path)).header(name, value)).await
    }

    /// Anything else: `Outgoing` with the headers that the test is about.
    pub(crate) async fn send(&self, outgoing: Outgoing) -> Answer {
        let outgoing = match &self.bearer {
            Some(token) => outgoing.bearer(token),
            None => outgoing,
        };
        Answer(self.fetch.send(outgoing).await.expect("the server answers"))
    }

    /// A request without a body and with any method, as it stands on the line; the whole answer, head included.
    pub(crate) async fn raw(&self, method: &str, path: &str) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let host = self.base.authority();
        let mut line = tokio::net::TcpStream::connect(host).await.expect("the server listens");
        let request = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        line.write_all(request.as_bytes()).await.expect("the server reads");
        let mut answer = Vec::new();
        line.read_to_end(&mut answer).await.expect("the server answers");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Two requests on one line, the second before the first is answered; both answers.
    pub(crate) async fn raw_pair(&self, first: (&str, &str), second: (&str, &str)) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let host = self.base.authority();
        let mut line = tokio::net::TcpStream::connect(host).await.expect("the server listens");
        let requests = format!(
            "{} {} HTTP/1.1\r\nhost: {host}\r\n\r\n{} {} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n",
            first.0, first.1, second.0, second.1
        );
        line.write_all(requests.as_bytes()).await.expect("the server reads");
        let mut answers = Vec::new();
        line.read_to_end(&mut answers).await.expect("the server answers");
        String::from_utf8_lossy(&answers).into_owned()
    }

    /// Where a path of this server is.
    pub(crate) fn url(&self, path: &str) -> Url {
        self.base.join(path).unwrap_or_else(|error| panic!("`{path}` is no path: {error}"))
    }
}

/// A whole answer.
pub(crate) struct Answer(Incoming);

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.0.status
    }

    /// The answer, if it has this status; else the test fails and shows the body.
    #[track_caller]
    pub(crate) fn expect_status(self, status: u16) -> Self {
        let to = self.0.header("location").unwrap_or_default();
        assert_eq!(self.status(), status, "{} answered: {to} {}", self.0.url, self.text());
        self
    }

    /// The first value of a header; the test fails without it.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        self.0.header(name).unwrap_or_else(|| panic!("{} answered without `{name}`", self.0.url))
    }

    /// All values of a header.
    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        self.0.headers(name)
    }

    /// Whether the header is there.
    pub(crate) fn has_header(&self, name: &str) -> bool {
        self.0.header(name).is_some()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0.body
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        self.0.json().unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The body of a refusal under `/v1`: RFC 9457, whose `status` is the answer's own, with this `code`.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        let to = self.0.header("location").unwrap_or_default();
        assert_eq!(self.status(), status, "{} answered: {to} {}", self.0.url, self.text());
        assert!(self.header("content-type").starts_with("application/problem+json"), "{}", self.header("content-type"));
        let body = self.json();
        assert_eq!(body["code"], code, "{body}");
        assert_eq!(body["status"], status, "{body}");
        body
    }
}

mod tests {
    use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
    use serde_json::json;

    use super::*;

    /// Answers what it was asked; refuses a request without a token.
    async fn echo(request: HttpRequest, body: web::Bytes) -> HttpResponse {
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        if header("authorization").is_none() {
            let problem = json!({"code": "token_missing", "status": 401});
            return HttpResponse::Unauthorized().content_type("application/problem+json").body(problem.to_string());
        }
        HttpResponse::Ok().insert_header(("x-verb", request.method().as_str())).json(json!({
            "authorization": header("authorization"),
            "content_type": header("content-type"),
            "key": header("idempotency-key"),
            "path": request.uri().to_string(),
            "body": String::from_utf8_lossy(&body),
        }))
    }

    fn server() -> Client {
        let server = HttpServer::new(|| App::new().default_service(web::to(echo)))
            .workers(1)
            .disable_signals()
            .bind("127.0.0.1:0")
            .unwrap();
        let base = format!("http://{}", server.addrs()[0]);
        actix_web::rt::spawn(server.run());
        Client::new(&base)
    }

    #[actix_web::test]
    async fn each_verb_sends_what_its_name_says() {
        let stranger = server();
        stranger.get("/v1/budget").await.problem(401, "token_missing");

        let agent = stranger.with_token("t0ken");
        let answer = agent.get("/v1/ledger?limit=2").await.expect_status(200);
        assert_eq!(answer.json()["authorization"], "Bearer t0ken");
        assert_eq!(answer.json()["path"], "/v1/ledger?limit=2");
        assert_eq!(agent.delete("/v1/resources/res_1").await.header("x-verb"), "DELETE");
        assert_eq!(agent.post("/x", &json!({"a": 1})).await.json()["body"], r#"{"a":1}"#);
        assert_eq!(agent.post_once("k1", "/x", &json!({})).await.json()["key"], "k1");
        let form = agent.post_form("/oauth/token", &[("grant_type", "a b"), ("scope", "x:y")]).await.json();
        assert_eq!(form["body"], "grant_type=a+b&scope=x%3Ay");
        assert_eq!(form["content_type"], "application/x-www-form-urlencoded");
        let head = agent.head("/catalog").await;
        assert!(head.bytes().is_empty() && head.has_header("x-verb") && !head.has_header("location"));
    }
}
