//! A provider's platform that answers as the test says: slowly, not at all, or no. What it says yes to, the real driver
//! does.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use portreeve::app::App;
use portreeve::resource::drivers::{Credentials, Driver, Outcome, Rotated, Work};
use serde_json::{Map, Value};

/// What the platform says to a verb, until it says something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says {
    /// What the real driver says.
    Yes,
    /// It is under way.
    Pending,
    /// It will not be done.
    No,
    /// The answer was lost.
    Nothing,
    /// It was done, and the answer was lost.
    DoneAndNothing,
}

/// One call: the verb, and the operation that it belongs to.
pub(crate) type Call = (&'static str, String);

/// The script, and what was asked. Cheap to clone: all clones are one.
#[derive(Clone, Default)]
pub(crate) struct Script {
    says: Arc<Mutex<HashMap<&'static str, Says>>>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Script {
    /// From now on the platform says this to a verb: `create`, `change`, `rotate` or `remove`.
    pub(crate) fn says(&self, verb: &'static str, what: Says) {
        self.says.lock().expect("the script").insert(verb, what);
    }

    /// Every call of a verb so far, by its operation.
    pub(crate) fn calls(&self, verb: &str) -> Vec<String> {
        let calls = self.calls.lock().expect("the calls");
        calls.iter().filter(|(called, _)| *called == verb).map(|(_, operation)| operation.clone()).collect()
    }

    /// Puts the platform before every driver of the provider.
    pub(crate) fn bend(&self, app: &mut App) {
        let wrapped = app.desk.drivers.iter().map(|(kind, real)| {
            let driver: Arc<dyn Driver> = Arc::new(Scripted { real: real.clone(), script: self.clone() });
            (kind.clone(), driver)
        });
        app.desk.drivers = Arc::new(wrapped.collect());
    }
}

struct Scripted {
    real: Arc<dyn Driver>,
    script: Script,
}

impl Scripted {
    async fn answer<T>(&self, verb: &'static str, work: &Work, real: BoxFuture<'_, Outcome<T>>) -> Outcome<T> {
        self.script.calls.lock().expect("the calls").push((verb, work.operation_id.to_string()));
        let says = self.script.says.lock().expect("the script").get(verb).copied().unwrap_or(Says::Yes);
        match says {
            Says::Yes => real.await,
            Says::Pending => Outcome::Pending,
            Says::No => Outcome::Refused("the platform says no".to_owned()),
            Says::Nothing => Outcome::Unknown("the platform is silent".to_owned()),
            Says::DoneAndNothing => {
                real.await;
                Outcome::Unknown("the platform's answer was lost".to_owned())
            }
        }
    }
}

impl Driver for Scripted {
    fn check(&self, settings: &Map<String, Value>) -> Result<(), String> {
        self.real.check(settings)
    }

    fn public_names(&self, settings: &Map<String, Value>) -> BTreeSet<String> {
        self.real.public_names(settings)
    }

    fn create<'a>(&'a self, work: &'a Work) -> BoxFuture<'a, Outcome<Credentials>> {
        Box::pin(self.answer("create", work, self.real.create(work)))
    }

    fn remove<'a>(&'a self, work: &'a Work) -> BoxFuture<'a, Outcome<()>> {
        Box::pin(self.answer("remove", work, self.real.remove(work)))
    }

    fn change_plan<'a>(&'a self, work: &'a Work) -> BoxFuture<'a, Outcome<Credentials>> {
        Box::pin(self.answer("change", work, self.real.change_plan(work)))
    }

    fn rotate<'a>(&'a self, work: &'a Work) -> BoxFuture<'a, Outcome<Rotated>> {
        Box::pin(self.answer("rotate", work, self.real.rotate(work)))
    }
}
