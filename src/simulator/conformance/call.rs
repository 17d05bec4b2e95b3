//! One call to the provider, as data: right by default, and wrong in any way that a case asks for.

use serde_json::Value;

/// The verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
    Delete,
}

/// How a signature header is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Signing {
    /// As the profile wants it.
    Usual,
    /// Not at all.
    None,
    /// With this text.
    Text(String),
}

/// A call.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) verb: Verb,
    /// Below the target, beginning with `/`; or a whole URL.
    pub(super) path: String,
    pub(super) content_type: Option<String>,
    pub(super) body: Vec<u8>,
    pub(super) hmac: Signing,
    pub(super) v2: Signing,
    pub(super) version: Option<String>,
    pub(super) bearer: Option<String>,
    pub(super) headers: Vec<(&'static str, String)>,
    /// Whether "too many" is what the case wants to see.
    pub(super) bursting: bool,
}

/// The one version of the wire.
pub(super) const VERSION: &str = "0.1d";
pub(super) const HEALTH: &str = "/provisioning/health";
pub(super) const SERVICES: &str = "/provisioning/services";
pub(super) const ACCOUNT_REQUESTS: &str = "/provisioning/account_requests";
pub(super) const RESOURCES: &str = "/provisioning/resources";
pub(super) const DEEP_LINKS: &str = "/provisioning/deep_links";
/// Stands for the token endpoint, wherever it is.
pub(super) const TOKEN: &str = "token";

impl Call {
    fn new(verb: Verb, path: impl Into<String>, content_type: Option<&str>, body: Vec<u8>) -> Self {
        Self {
            verb,
            path: path.into(),
            content_type: content_type.map(str::to_owned),
            body,
            hmac: Signing::Usual,
            v2: Signing::Usual,
            version: Some(VERSION.to_owned()),
            bearer: None,
            headers: Vec::new(),
            bursting: false,
        }
    }

    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::new(Verb::Get, path, None, Vec::new())
    }

    pub(super) fn delete(path: impl Into<String>) -> Self {
        Self::new(Verb::Delete, path, None, Vec::new())
    }

    pub(super) fn post(path: impl Into<String>, body: &Value) -> Self {
        Self::new(Verb::Post, path, Some("application/json"), body.to_string().into_bytes())
    }

    pub(super) fn raw(path: impl Into<String>, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new(Verb::Post, path, Some(content_type), body.into())
    }

    /// A form to the token endpoint, which asks for no version.
    pub(super) fn form(fields: &[(&str, &str)]) -> Self {
        let body = serde_urlencoded::to_string(fields).unwrap_or_default();
        let call = Self::new(Verb::Post, TOKEN, Some("application/x-www-form-urlencoded"), body.into_bytes());
        call.version(None)
    }

    pub(super) fn unsigned(mut self) -> Self {
        self.hmac = Signing::None;
        self.v2 = Signing::None;
        self
    }

    pub(super) fn hmac(mut self, text: impl Into<String>) -> Self {
        self.hmac = Signing::Text(text.into());
        self
    }

    pub(super) fn v2(mut self, text: impl Into<String>) -> Self {
        self.v2 = Signing::Text(text.into());
        self
    }

    pub(super) fn version(mut self, version: Option<&str>) -> Self {
        self.version = version.map(str::to_owned);
        self
    }

    pub(super) fn bearer(mut self, token: &str) -> Self {
        self.bearer = Some(token.to_owned());
        self
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    pub(super) fn bursting(mut self) -> Self {
        self.bursting = true;
        self
    }
}

/// A resource's own path, and that of a verb on it.
pub(super) fn resource(id: &str) -> String {
    // An id is the provider's opaque text; it goes into one path segment whatever it is.
    format!("{RESOURCES}/{}", segment(id))
}

pub(super) fn resource_verb(id: &str, verb: &str) -> String {
    format!("{}/{verb}", resource(id))
}

fn segment(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~:".contains(&byte);
    id.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
