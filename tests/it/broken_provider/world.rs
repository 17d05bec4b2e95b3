//! What the double remembers.

use std::collections::HashMap;
use std::time::Instant;

use serde_json::Value;

#[derive(Default)]
pub(crate) struct World {
    /// E-mail and subject of each account; its id is the place.
    pub(super) accounts: Vec<(String, String)>,
    pub(super) codes: HashMap<String, Code>,
    /// Access and refresh tokens → account.
    pub(super) access: HashMap<String, usize>,
    pub(super) refresh: HashMap<String, (usize, String)>,
    pub(super) resources: HashMap<String, Resource>,
    /// Key → resource.
    pub(super) keys: HashMap<String, (String, String)>,
    pub(super) links: HashMap<String, Link>,
    pub(super) consents: Vec<String>,
    /// Payment token → the most it pays, and for whom.
    pub(super) tokens: HashMap<String, (u64, String)>,
    /// Subject → when its window began, and how many calls it saw.
    pub(super) windows: HashMap<String, (Instant, u32)>,
    /// Keys of creations that were refused for money.
    pub(super) unpaid: HashMap<String, u32>,
    counter: u64,
}

pub(super) struct Code {
    pub(super) account: usize,
    pub(super) challenge: Option<String>,
}

pub(super) struct Link {
    pub(super) used: bool,
    pub(super) path: String,
}

#[derive(Clone)]
pub(super) struct Resource {
    pub(super) account: usize,
    pub(super) service: String,
    pub(super) removed: bool,
    pub(super) value: String,
    pub(super) project: Option<Value>,
}

impl World {
    /// A text that was never given out before.
    pub(super) fn fresh(&mut self, prefix: &str) -> String {
        self.counter += 1;
        let digest = portreeve::secret::sha256_name(format!("{prefix}{}", self.counter).as_bytes());
        format!("{prefix}_{}", &digest[7..39])
    }

    /// The active resources of an account.
    pub(super) fn active(&self, account: usize) -> impl Iterator<Item = &Resource> {
        self.resources.values().filter(move |resource| resource.account == account && !resource.removed)
    }
}
