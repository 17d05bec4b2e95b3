//! The line to the orchestrator.

use std::time::Duration;

use portreeve::fetch::{Fetch, FetchSettings, Outgoing};
use portreeve::secret::Secret;
use serde_json::{Value, json};
use url::Url;

use super::super::Failure;

pub(super) struct Desk {
    fetch: Fetch,
    at: Url,
    token: Secret,
}

/// What the orchestrator answered: its envelope.
pub(super) struct Said(Value);

impl Said {
    pub(super) fn refused(&self) -> bool {
        self.0.get("ok") != Some(&Value::Bool(true))
    }

    pub(super) fn at(&self, pointer: &str) -> Value {
        self.0.pointer(pointer).cloned().unwrap_or_default()
    }

    pub(super) fn text(&self, pointer: &str) -> Option<String> {
        self.0.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
    }

    pub(super) fn replace_data(&mut self, data: Value) {
        if let Some(members) = self.0.as_object_mut() {
            members.insert("data".to_owned(), data);
        }
    }
}

impl Desk {
    pub(super) fn new(at: &Url, token: &Secret) -> Result<Self, Failure> {
        // The orchestrator is on this machine, unless it is reached by https.
        let special_hosts = ["127.0.0.1", "localhost", "[::1]"].map(str::to_owned).to_vec();
        // The orchestrator waits for the provider, repeats what can be repeated, and looks again at what is pending.
        let settings = FetchSettings { special_hosts, timeout: Duration::from_secs(150), max_body: 8 * 1024 * 1024 };
        Ok(Self { fetch: Fetch::new(&settings)?, at: at.clone(), token: token.clone() })
    }

    pub(super) async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Said, Failure> {
        self.send(Outgoing::get(self.url(path, query)?)).await
    }

    pub(super) async fn post(&self, path: &[&str], query: &[(&str, &str)], body: &Value) -> Result<Said, Failure> {
        let body = if body.is_null() { json!({}) } else { body.clone() };
        self.send(Outgoing::post_json(self.url(path, query)?, &body)).await
    }

    pub(super) async fn delete(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Said, Failure> {
        self.send(Outgoing::delete(self.url(path, query)?)).await
    }

    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Url, Failure> {
        let mut url = self.at.clone();
        url.path_segments_mut()
            .map_err(|()| Failure::invalid("`--at` is no URL of an orchestrator"))?
            .pop_if_empty()
            .push("agent")
            .extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    async fn send(&self, outgoing: Outgoing) -> Result<Said, Failure> {
        let answer = self.fetch.send(outgoing.bearer(self.token.expose())).await?;
        match answer.json::<Value>() {
            Ok(said) if said.get("ok").is_some() => Ok(Said(said)),
            _ => {
                let message = format!("what answers there with status {} is no orchestrator", answer.status);
                Ok(Said(json!({"ok": false, "error": {"code": "UNKNOWN_ERROR", "message": message}})))
            }
        }
    }
}
