//! Where a resource really comes to be: the provider's platform, behind one trait.
//!
//! Every call may be repeated with the same operation id. `Unknown` is never taken for failure nor for success.

mod static_driver;

pub use static_driver::{StaticDriver, StaticDriverError};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::TimeDelta;
use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret as _, SecretString};

use crate::ids::{AccountId, OperationId, ResourceId};

/// A piece of work on a resource, as a driver sees it.
#[derive(Debug, Clone)]
pub struct Work {
    /// The same for every repetition.
    pub operation_id: OperationId,
    /// The thing itself.
    pub resource_id: ResourceId,
    /// Whose it is.
    pub account_id: AccountId,
    /// What was bought.
    pub service: String,
    /// In which form.
    pub plan: String,
    /// The driver's settings from the catalog's files.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// What the buyer configured.
    pub configuration: serde_json::Value,
    /// Which credentials are meant: 0 for the first, then one more for each rotation.
    pub generation: i64,
}

/// New credentials.
#[derive(Debug)]
pub struct Rotated {
    /// They work from now on.
    pub credentials: Credentials,
    /// How long those before them work on. `None`: they are dead.
    pub overlap: Option<TimeDelta>,
}

/// What a resource is used with: environment names and their values. Never printed.
#[derive(Clone, Default)]
pub struct Credentials(BTreeMap<String, SecretString>);

impl Credentials {
    /// Takes names and values.
    #[must_use]
    pub fn new(values: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(values.into_iter().map(|(name, value)| (name, value.into())).collect())
    }

    /// Names and values in clear. Call it only to hand them to their owner or to seal them.
    #[must_use]
    pub fn expose(&self) -> BTreeMap<&str, &str> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.expose_secret())).collect()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What a driver answers.
#[derive(Debug)]
pub enum Outcome<T> {
    /// It is done.
    Done(T),
    /// It is under way; ask again.
    Pending,
    /// It will not be done, for good: why, for the human.
    Refused(String),
    /// Nobody knows whether it was done: why, for the log. Ask again with the same operation.
    Unknown(String),
}

/// How much a resource has used, by meter.
pub type Usage = BTreeMap<String, rust_decimal::Decimal>;

/// The provider's platform. What a driver does not override, it refuses.
pub trait Driver: Send + Sync {
    /// Whether it can work with these settings of the catalog's files; if not, why, by the name of the key.
    ///
    /// # Errors
    /// What is missing or wrong, for whoever writes the files.
    fn check(&self, _settings: &serde_json::Map<String, serde_json::Value>) -> Result<(), String> {
        Ok(())
    }

    /// The names of credentials whose values are no secret, such as an address: they may be shown again.
    fn public_names(&self, _settings: &serde_json::Map<String, serde_json::Value>) -> BTreeSet<String> {
        BTreeSet::new()
    }

    /// Makes the resource exist.
    fn create<'a>(&'a self, work: &'a Work) -> BoxFuture<'a, Outcome<Credentials>>;

    /// Makes it cease to exist. Done also when it never did.
    fn remove<'a>(&'a self, work: &'a Work) -> BoxFuture<'a, Outcome<()>>;

    /// Moves it to the plan and configuration of `work`, and answers the credentials that it has there. What is refused
    /// must leave it as it was. The same operation may ask for the plan before again, when the money is not had.
    fn change_plan<'a>(&'a self, _work: &'a Work) -> BoxFuture<'a, Outcome<Credentials>> {
        refused("this driver cannot change a plan")
    }

    /// Makes the credentials of `work`'s generation, and says how long those before them work on. The same generation
    /// again is the same credentials.
    fn rotate<'a>(&'a self, _work: &'a Work) -> BoxFuture<'a, Outcome<Rotated>> {
        refused("this driver cannot rotate credentials")
    }

    /// Makes it unusable without losing anything.
    fn suspend<'a>(&'a self, _work: &'a Work) -> BoxFuture<'a, Outcome<()>> {
        refused("this driver cannot suspend")
    }

    /// Makes it usable again.
    fn resume<'a>(&'a self, _work: &'a Work) -> BoxFuture<'a, Outcome<()>> {
        refused("this driver cannot resume")
    }

    /// What became of pending work.
    fn poll<'a>(&'a self, work: &'a Work) -> BoxFuture<'a, Outcome<Credentials>> {
        self.create(work)
    }

    /// How much was used, for platforms that are asked instead of telling.
    fn usage<'a>(&'a self, _work: &'a Work) -> BoxFuture<'a, Outcome<Usage>> {
        refused("this driver does not measure; report to /v1/usage")
    }
}

fn refused<'a, T: Send + 'a>(why: &'static str) -> BoxFuture<'a, Outcome<T>> {
    Box::pin(async move { Outcome::Refused(why.to_owned()) })
}
