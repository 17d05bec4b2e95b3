//! The `static` driver: credentials by template. `{resource_id}` and `{mac}` (HMAC-SHA256 of the resource id under the
//! driver's key, base64url) make a key that the platform can check alone; `{platform_url}` comes from the configuration.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::{Credentials, Driver, Outcome, Work};
use crate::ids::ResourceId;

/// The driver and its key.
pub struct StaticDriver {
    key: hmac::Key,
    platform_url: Option<String>,
}

impl fmt::Debug for StaticDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StaticDriver(****)")
    }
}

/// The key is not 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the static driver's key must be 32 bytes")]
pub struct StaticDriverError;

impl StaticDriver {
    /// The driver with its 32-byte key.
    ///
    /// # Errors
    /// When the key has another length.
    pub fn new(key: &[u8], platform_url: Option<String>) -> Result<Self, StaticDriverError> {
        if key.len() != 32 {
            return Err(StaticDriverError);
        }
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, key), platform_url })
    }

    fn mac(&self, resource: &ResourceId) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.key, resource.as_str().as_bytes()).as_ref())
    }

    fn fill(&self, template: &str, work: &Work) -> Result<String, String> {
        let filled =
            template.replace("{resource_id}", work.resource_id.as_str()).replace("{mac}", &self.mac(&work.resource_id));
        match (filled.contains("{platform_url}"), &self.platform_url) {
            (true, Some(url)) => Ok(filled.replace("{platform_url}", url.trim_end_matches('/'))),
            (true, None) => Err("`static_driver.platform_url` is not set".to_owned()),
            (false, _) => Ok(filled),
        }
    }

    fn credentials(&self, work: &Work) -> Result<Credentials, String> {
        let Some(Value::Object(templates)) = work.settings.get("credentials") else {
            return Ok(Credentials::default());
        };
        let filled = templates.iter().map(|(name, template)| {
            let template = template.as_str().ok_or_else(|| format!("the template of `{name}` is no text"))?;
            Ok((name.clone(), self.fill(template, work)?))
        });
        filled.collect::<Result<Vec<_>, String>>().map(Credentials::new)
    }
}

impl Driver for StaticDriver {
    /// The same operation always gives the same credentials.
    fn create<'a>(&'a self, work: &'a Work) -> BoxFuture<'a, Outcome<Credentials>> {
        Box::pin(async move {
            match self.credentials(work) {
                Ok(credentials) => Outcome::Done(credentials),
                Err(why) => Outcome::Refused(why),
            }
        })
    }

    /// The platform learns of a removal when it next reports usage: the front desk refuses it.
    fn remove<'a>(&'a self, _work: &'a Work) -> BoxFuture<'a, Outcome<()>> {
        Box::pin(async { Outcome::Done(()) })
    }

    fn suspend<'a>(&'a self, _work: &'a Work) -> BoxFuture<'a, Outcome<()>> {
        Box::pin(async { Outcome::Done(()) })
    }

    fn resume<'a>(&'a self, _work: &'a Work) -> BoxFuture<'a, Outcome<()>> {
        Box::pin(async { Outcome::Done(()) })
    }
}
