//! The `static` driver: credentials by template. `{resource_id}` and `{mac}` (HMAC-SHA256 of `service/plan/resource_id`
//! under the driver's key, base64url) make a key that the platform can check alone; `{platform_url}` comes from the configuration.
//! After a rotation `{mac}` is the generation, a point, and the HMAC of `service/plan/resource_id/generation`. How long the
//! credentials before work on is the setting `rotation`: `"replace"`, or `"overlap:3600"` in seconds.

use std::collections::BTreeSet;
use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use super::{Credentials, Driver, Outcome, Rotated, Work};

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

    /// Of service, plan and resource: a key for one thing opens no other. None of the three can hold a slash.
    fn mac(&self, work: &Work) -> String {
        let said = format!("{}/{}/{}", work.service, work.plan, work.resource_id);
        let mac = |said: &str| URL_SAFE_NO_PAD.encode(hmac::sign(&self.key, said.as_bytes()).as_ref());
        match work.generation {
            0 => mac(&said),
            generation => format!("{generation}.{}", mac(&format!("{said}/{generation}"))),
        }
    }

    fn made(&self, work: &Work) -> Outcome<Credentials> {
        match self.credentials(work) {
            Ok(credentials) => Outcome::Done(credentials),
            Err(why) => Outcome::Refused(why),
        }
    }

    fn fill(&self, template: &str, work: &Work) -> Result<String, String> {
        let filled = template.replace("{resource_id}", work.resource_id.as_str()).replace("{mac}", &self.mac(work));
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

/// How long credentials work on after they were replaced. `None`: not at all.
fn overlap(settings: &Map<String, Value>) -> Result<Option<TimeDelta>, String> {
    let wrong = || "`rotation` is `\"replace\"`, or `\"overlap:\"` and a number of seconds up to 2592000".to_owned();
    match settings.get("rotation").map(Value::as_str) {
        None | Some(Some("replace")) => Ok(None),
        Some(Some(text)) => {
            let seconds = text.strip_prefix("overlap:").and_then(|seconds| seconds.parse::<u32>().ok());
            let seconds = seconds.map(|seconds| TimeDelta::seconds(i64::from(seconds)));
            seconds.filter(|time| *time <= crate::resource::LONGEST_OVERLAP).map(Some).ok_or_else(wrong)
        }
        Some(None) => Err(wrong()),
    }
}

impl Driver for StaticDriver {
    fn check(&self, settings: &Map<String, Value>) -> Result<(), String> {
        let templates = settings.get("credentials").and_then(Value::as_object);
        for (name, template) in templates.into_iter().flatten() {
            let template = template.as_str().ok_or_else(|| format!("the template of `{name}` is no text"))?;
            if template.contains("{platform_url}") && self.platform_url.is_none() {
                return Err(format!("the template of `{name}` needs `static_driver.platform_url`, which is not set"));
            }
        }
        overlap(settings).map(drop)
    }

    /// The same operation always gives the same credentials.
    fn create<'a>(&'a self, work: &'a Work) -> BoxFuture<'a, Outcome<Credentials>> {
        Box::pin(async move { self.made(work) })
    }

    /// The platform knows a key by what it says; the front desk refuses usage that the plan does not have.
    fn change_plan<'a>(&'a self, work: &'a Work) -> BoxFuture<'a, Outcome<Credentials>> {
        Box::pin(async move { self.made(work) })
    }

    /// The platform learns of a rotation when it next reports usage: the front desk refuses that of dead credentials.
    fn rotate<'a>(&'a self, work: &'a Work) -> BoxFuture<'a, Outcome<Rotated>> {
        Box::pin(async move {
            match (self.credentials(work), overlap(&work.settings)) {
                (Ok(credentials), Ok(overlap)) => Outcome::Done(Rotated { credentials, overlap }),
                (Err(why), _) | (_, Err(why)) => Outcome::Refused(why),
            }
        })
    }

    /// What is not made with a mac is the same for everybody.
    fn public_names(&self, settings: &Map<String, Value>) -> BTreeSet<String> {
        let templates = settings.get("credentials").and_then(Value::as_object);
        let public = templates
            .into_iter()
            .flatten()
            .filter(|(_, template)| template.as_str().is_some_and(|template| !template.contains("{mac}")));
        public.map(|(name, _)| name.clone()).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::ids::{AccountId, OperationId, ResourceId};
    use serde_json::json;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn work(settings: Value) -> Work {
        let Value::Object(settings) = settings else { panic!("settings are a table") };
        Work {
            operation_id: OperationId::new(NOW),
            resource_id: ResourceId::new(NOW),
            account_id: AccountId::new(NOW),
            service: "weather".to_owned(),
            plan: "metered".to_owned(),
            settings,
            configuration: Value::Null,
            generation: 0,
        }
    }

    fn driver(platform_url: Option<&str>) -> StaticDriver {
        StaticDriver::new(&[7; 32], platform_url.map(str::to_owned)).unwrap()
    }

    async fn created(driver: &StaticDriver, work: &Work) -> Result<Vec<(String, String)>, String> {
        match driver.create(work).await {
            Outcome::Done(made) => {
                Ok(made.expose().into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
            }
            Outcome::Refused(why) => Err(why),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn the_same_operation_gives_the_same_credentials_and_another_resource_others() {
        let templates =
            json!({"credentials": {"API_KEY": "wx_{resource_id}.{mac}", "URL": "{platform_url}/v1", "REGION": "eu"}});
        let (one, other) = (work(templates.clone()), work(templates));
        let driver = driver(Some("https://api.example/"));
        let first = created(&driver, &one).await.unwrap();
        assert_eq!(created(&driver, &one).await.unwrap(), first);
        let Outcome::Done(polled) = driver.poll(&one).await else { panic!("done") };
        assert_eq!(polled.expose()["API_KEY"], first[0].1);
        assert_ne!(created(&driver, &other).await.unwrap()[0], first[0]);
        assert!(first[0].1.starts_with(&format!("wx_{}.", one.resource_id)));
        assert_eq!(
            first[1..],
            [("REGION".to_owned(), "eu".to_owned()), ("URL".into(), "https://api.example/v1".into())]
        );
        let another_key = StaticDriver::new(&[8; 32], None).unwrap();
        assert_ne!(another_key.mac(&one), driver.mac(&one));
    }

    #[tokio::test]
    async fn each_generation_has_its_own_credentials_and_the_first_are_as_they_always_were() {
        let settings = json!({"credentials": {"API_KEY": "wx_{resource_id}.{mac}"}, "rotation": "overlap:60"});
        let first = work(settings);
        let second = Work { generation: 1, ..first.clone() };
        let driver = driver(None);
        let Outcome::Done(made) = driver.create(&first).await else { panic!("done") };
        let Outcome::Done(rotated) = driver.rotate(&second).await else { panic!("done") };
        let Outcome::Done(again) = driver.rotate(&second).await else { panic!("done") };
        let (made, rotated_key) =
            (made.expose()["API_KEY"].to_owned(), rotated.credentials.expose()["API_KEY"].to_owned());
        assert_eq!(made.matches('.').count(), 1, "{made}");
        assert!(rotated_key.starts_with(&format!("wx_{}.1.", first.resource_id)), "{rotated_key}");
        assert_eq!(
            (rotated.overlap, again.credentials.expose()["API_KEY"]),
            (Some(TimeDelta::seconds(60)), &*rotated_key)
        );
        let elsewhere = Work { plan: "flat".to_owned(), ..second };
        let Outcome::Done(changed) = driver.change_plan(&elsewhere).await else { panic!("done") };
        assert_ne!(changed.expose()["API_KEY"], rotated_key);
    }

    #[tokio::test]
    async fn the_setting_for_rotation_is_checked_and_only_what_has_no_mac_is_public() {
        for (setting, works_on) in [(json!("replace"), None), (json!("overlap:0"), Some(TimeDelta::zero()))] {
            let settings = work(json!({"rotation": setting})).settings;
            assert_eq!(overlap(&settings), Ok(works_on));
        }
        for wrong in [json!("never"), json!("overlap:"), json!("overlap:-1"), json!("overlap:2592001"), json!(60)] {
            let work = work(json!({"rotation": wrong}));
            assert!(driver(None).check(&work.settings).is_err(), "{wrong}");
            assert!(matches!(driver(None).rotate(&work).await, Outcome::Refused(_)), "{wrong}");
        }
        let settings = work(json!({"credentials": {"API_KEY": "k_{mac}", "URL": "{platform_url}"}})).settings;
        assert_eq!(driver(None).public_names(&settings), BTreeSet::from(["URL".to_owned()]));
    }

    #[tokio::test]
    async fn a_template_that_cannot_be_filled_is_refused_and_one_that_needs_nothing_is_not() {
        let needs = work(json!({"credentials": {"URL": "{platform_url}"}}));
        let why = driver(None).check(&needs.settings).unwrap_err();
        assert_eq!(why, "the template of `URL` needs `static_driver.platform_url`, which is not set");
        driver(Some("https://api.example")).check(&needs.settings).unwrap();
        assert_eq!(created(&driver(None), &needs).await.unwrap_err(), "`static_driver.platform_url` is not set");
        let number = work(json!({"credentials": {"URL": 7}}));
        assert_eq!(driver(None).check(&number.settings).unwrap_err(), "the template of `URL` is no text");
        assert_eq!(created(&driver(None), &number).await.unwrap_err(), "the template of `URL` is no text");
        assert_eq!(created(&driver(None), &work(json!({"credentials": {"A": "b"}}))).await.unwrap().len(), 1);
        assert_eq!(created(&driver(None), &work(json!({}))).await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_key_has_32_bytes_and_never_prints() {
        assert!(StaticDriver::new(&[7; 31], None).is_err() && StaticDriver::new(&[7; 33], None).is_err());
        assert_eq!(format!("{:?}", driver(Some("https://api.example"))), "StaticDriver(****)");
        let made = driver(None).create(&work(json!({"credentials": {"API_KEY": "{mac}"}}))).await;
        assert_eq!(format!("{made:?}"), "Done({\"API_KEY\"})");
    }
}
