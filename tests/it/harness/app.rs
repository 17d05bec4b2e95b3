//! The whole provider on 127.0.0.1, as a test meets it: a free port, the test's own database, and beside it the
//! simulated orchestrator and the example's platform, each on its own listener. One clock for all of them, which stands
//! still until the test moves it.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use portreeve::app::{self, App, HOUSE};
use portreeve::catalog;
use portreeve::clock::{Clock, ManualClock, Timestamp};
use portreeve::config::{Config, Layers};
use portreeve::db::DbError;
use portreeve::http::{self, Running};
use portreeve::login;
use portreeve::money::{Amount, Currency};
use portreeve::orchestrator::{self, NewOrchestrator, Orchestrator};
use portreeve::payment::audit_chain;
use portreeve::resource;
use portreeve::secret::Secret;
use portreeve::signing::{KeyOrigin, MasterKey};
use portreeve::simulator::{
    Fault, FaultOrder, IdTokenSpec, NextFault, PaymentTokenSpec, Platform, PlatformSettings, SettlementVerb, Simulator,
    SimulatorSettings, User,
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::client::{Answer, Client};
use super::databases::TestDb;

/// What stands in a mail that tells of a new agent.
const NEW_AGENT: &str = "A new agent may act for you";
/// The provider's client id at the orchestrator.
const CLIENT_ID: &str = "portreeve-test";

/// A running provider and its surroundings.
pub(crate) struct TestApp {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) simulator: Simulator,
    pub(crate) platform: Platform,
    /// As it is registered at the provider.
    pub(crate) orchestrator: Orchestrator,
    /// The provider's address, without a trailing slash; its issuer.
    pub(crate) base: String,
    /// The secret of `/v1/usage`.
    pub(crate) meter_key: String,
    running: Running,
    config: Config,
    folder: tempfile::TempDir,
}

impl TestApp {
    /// Everything, on the test's database.
    pub(crate) async fn start(db: &TestDb) -> Self {
        Self::start_with(db, &[]).await
    }

    /// The same with other settings: keys and values.
    pub(crate) async fn start_with(db: &TestDb, settings: &[(&str, &str)]) -> Self {
        Self::start_bent(db, settings, |_| ()).await
    }

    /// The same with something of the provider replaced before it listens.
    pub(crate) async fn start_bent(db: &TestDb, settings: &[(&str, &str)], bend: impl FnOnce(&mut App)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        catalog::init(&folder.path().join("catalog")).expect("the example catalog");
        let clock = Arc::new(ManualClock::at(Timestamp::parse_rfc3339("2026-11-15T12:00:00Z").expect("an instant")));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let master = MasterKey::generate().expect("randomness");
        let meter_key = Secret::generate("meter").expect("randomness");
        let (simulator, platform) = surroundings(&base, &clock, &master, &meter_key);
        let config = config(db, folder.path(), &master, &meter_key, &platform.url, settings);
        let app = App::start(&config, &base, KeyOrigin::Instance, clock.clone()).await;
        let mut app = app.expect("the provider starts");
        bend(&mut app);
        let orchestrator = register(&app, &simulator, clock.now()).await;
        let running = http::serve(app, &config.server, listener, None).expect("the provider listens");
        let meter_key = meter_key.expose().to_owned();
        Self { clock, simulator, platform, orchestrator, base, meter_key, running, config, folder }
    }

    /// Another process on the same database: it shares nothing else with this one, and does not listen.
    pub(crate) async fn another_process(&self) -> App {
        let app = App::start(&self.config, &self.base, KeyOrigin::Instance, self.clock.clone()).await;
        app.expect("the provider starts")
    }

    /// The same, listening elsewhere: it is the same issuer.
    pub(crate) async fn another_listening_process(&self) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        http::serve(self.another_process().await, &self.config.server, listener, None).expect("it listens")
    }

    /// The provider ends and starts again on the same database and address, with something of it replaced.
    pub(crate) async fn restart(self, bend: impl FnOnce(&mut App)) -> Self {
        let Self { clock, simulator, platform, orchestrator, base, meter_key, running, config, folder } = self;
        let address = running.address;
        running.stop(Duration::ZERO).await;
        let app = App::start(&config, &base, KeyOrigin::Instance, clock.clone()).await;
        let mut app = app.expect("the provider starts again");
        bend(&mut app);
        let listener = TcpListener::bind(address).expect("its address is free again");
        let running = http::serve(app, &config.server, listener, None).expect("the provider listens");
        Self { clock, simulator, platform, orchestrator, base, meter_key, running, config, folder }
    }

    /// One more orchestrator, registered under `name`, whose payment tokens are settled at `settlement_url`.
    pub(crate) async fn another_orchestrator(&self, name: &str, settlement_url: &str) -> Simulator {
        let simulator = Simulator::start(SimulatorSettings {
            provider_base: self.base.parse().expect("a URL"),
            client_id: CLIENT_ID.to_owned(),
            bind: "127.0.0.1:0".parse().expect("an address"),
            clock: self.clock.clone(),
        });
        let simulator = simulator.expect("the orchestrator starts");
        let issuer = simulator.issuer_url.parse().expect("an issuer");
        let mut new = NewOrchestrator::new(name.parse().expect("a name"), issuer, CLIENT_ID);
        new.settlement_url = Some(settlement_url.parse().expect("a URL"));
        let now = self.now();
        let added = self.app().db.write(HOUSE, move |conn| orchestrator::add(conn, &new, now));
        added.await.expect("the orchestrator is registered");
        simulator
    }

    /// Stops listening. Connections that are still open are cut.
    pub(crate) async fn stop(self) {
        let Self { simulator, platform, running, .. } = self;
        let all = async { tokio::join!(running.stop(Duration::ZERO), simulator.stop(), platform.stop()) };
        // Idle connections of this test's own clients would be waited for.
        let _ = tokio::time::timeout(Duration::from_millis(100), all).await;
    }

    /// What handlers reach.
    pub(crate) fn app(&self) -> &App {
        &self.running.app
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Lets time pass, for everybody.
    pub(crate) fn pass(&self, time: TimeDelta) {
        self.clock.advance(time);
    }

    /// Somebody without a token.
    pub(crate) fn stranger(&self) -> Client {
        Client::new(&self.base)
    }

    /// The provider's platform, with its meter key.
    pub(crate) fn meter(&self) -> Client {
        self.stranger().with_token(&self.meter_key)
    }

    /// A good ID token of `user`.
    pub(crate) fn id_token(&self, user: &User) -> String {
        self.simulator.mint_id_token(&IdTokenSpec::of(user)).expect("the issuer signs")
    }

    /// A payment token as `spec` says.
    pub(crate) fn pays(&self, spec: &PaymentTokenSpec) -> String {
        self.simulator.mint_payment_token(spec).expect("the issuer signs")
    }

    /// The next settlement call of this kind fails.
    pub(crate) fn fails(&self, on: SettlementVerb, fault: Fault, count: u32) {
        let next = Some(NextFault { fault, count, delay_ms: 0, on });
        self.simulator.order(FaultOrder { next, ..FaultOrder::default() }).expect("the order is carried out");
    }

    /// An agent of Ada's, with an open account and a payment token for 200.00 USD a month: more than the budget.
    pub(crate) async fn agent(&self) -> Agent<'_> {
        self.agent_of(&User::ada()).await
    }

    /// The same of another user.
    pub(crate) async fn agent_of(&self, user: &User) -> Agent<'_> {
        let answer = self.stranger().post("/v1/accounts", &json!({"id_token": self.id_token(user)})).await;
        let body = answer.expect_status(201).json();
        let token = body["access_token"].as_str().expect("an access token").to_owned();
        let payment_token = self.pays(&usd(20_000).monthly().of(user));
        let account = body["account"]["id"].as_str().expect("an id").to_owned();
        Agent {
            app: self,
            client: self.stranger().with_token(&token),
            user: user.clone(),
            account,
            token,
            payment_token,
        }
    }

    /// The workers' turn, as if they had waited until everything that is unfinished is due.
    pub(crate) async fn workers_resume(&self) {
        self.pass(TimeDelta::seconds(90));
        self.workers_turn().await;
    }

    /// The workers' turn, with what is due now.
    pub(crate) async fn workers_turn(&self) {
        resource::resume_due(&self.app().desk, self.app().clock.as_ref()).await.expect("the workers' turn");
    }

    /// The mails of log-ins so far, by the time they were asked for, as soon as there are `count`; each as its text.
    pub(crate) async fn mails(&self, count: usize) -> Vec<String> {
        self.mails_about("Subject: Log in to", count).await
    }

    /// The mails that tell of a new agent, likewise.
    pub(crate) async fn mails_of_agents(&self, count: usize) -> Vec<String> {
        self.mails_about(NEW_AGENT, count).await
    }

    /// The same of those that say `what`.
    pub(crate) async fn mails_about(&self, what: &str, count: usize) -> Vec<String> {
        let folder = self.folder.path().join("mail");
        for _ in 0..200 {
            login::deliver_due(&self.app().post, self.app().clock.as_ref()).await.expect("the mail's turn");
            let entries = std::fs::read_dir(&folder).expect("the mail's folder");
            let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
            files.retain(|path| path.extension().is_some_and(|extension| extension == "eml"));
            files.sort();
            let read = |path| std::fs::read_to_string(path).expect("a mail");
            // Quoted-printable: a soft line break, and `=` itself.
            let texts = files.iter().map(|path| read(path).replace("=\r\n", "").replace("=3D", "="));
            let said: Vec<String> = texts.filter(|text| text.contains(what)).collect();
            if count <= said.len() {
                return said;
            }
            // A worker of the provider itself may have claimed one.
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("there are not {count} mails");
    }

    /// The link in the newest of `count` mails, as a path.
    pub(crate) async fn mailed_link(&self, count: usize) -> String {
        let mails = self.mails(count).await;
        let newest = mails.last().expect("a mail");
        let after = newest.split(&format!("{}/login/link/", self.base)).nth(1).expect("a link in the mail");
        format!("/login/link/{}", after.split_whitespace().next().expect("a link"))
    }

    /// Where mails are written to.
    pub(crate) fn mail_folder(&self) -> std::path::PathBuf {
        self.folder.path().join("mail")
    }

    /// Publishes the catalog with `was` in one of its files replaced by `now`; a second later than before.
    pub(crate) async fn publishes(&self, file: &str, was: &str, now: &str) {
        self.pass(TimeDelta::seconds(1));
        let (folder, app) = (self.folder.path().join("catalog"), self.app());
        let path = folder.join(file);
        let text = std::fs::read_to_string(&path).expect("a file of the catalog");
        assert!(text.contains(was), "`{file}` does not say `{was}`");
        std::fs::write(&path, text.replace(was, now)).expect("a file of the catalog");
        let catalog = catalog::validate(&folder).expect("a good catalog");
        match catalog::publish(&app.db, &app.ring, &catalog, &self.base, self.now()).await.expect("it is published") {
            catalog::Published::New(edition) => app.take_up(edition),
            catalog::Published::Unchanged(_) => panic!("nothing changed"),
        }
    }

    /// Minor units of USD that the issuer's books have open and captured.
    pub(crate) fn issuer_says(&self) -> (i64, i64) {
        let totals = self.simulator.books().totals.get("USD").copied().unwrap_or_default();
        (totals.open, totals.captured)
    }
}

/// A payment token of Ada's for `minor` units of USD in all.
pub(crate) fn usd(minor: i64) -> PaymentTokenSpec {
    PaymentTokenSpec::new(Currency::USD, Amount::from_minor(minor).expect("an amount"))
}

/// A user whose address belongs to the orchestrator's own domain.
pub(crate) fn user(name: &str) -> User {
    User { subject: format!("user_{name}"), email: format!("{name}@example.test"), email_verified: true, tenant: None }
}

/// A key that no other request has.
pub(crate) fn fresh_key() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("key-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A program that acts for a user, with a token for the user's account.
pub(crate) struct Agent<'a> {
    pub(crate) app: &'a TestApp,
    pub(crate) client: Client,
    pub(crate) user: User,
    /// The account's id.
    pub(crate) account: String,
    /// The access token.
    pub(crate) token: String,
    pub(crate) payment_token: String,
}

impl Agent<'_> {
    /// A body that buys a plan of the example catalog and pays with the agent's payment token.
    pub(crate) fn order(&self, service: &str, plan: &str) -> Value {
        let mut order = json!({"service": service, "plan": plan, "payment_token": self.payment_token});
        if service == "domain" {
            order["configuration"] = json!({"domain_name": "example.dev"});
        }
        order
    }

    /// Buys under a fresh key.
    pub(crate) async fn buys(&self, service: &str, plan: &str) -> Answer {
        self.sends(&self.order(service, plan)).await
    }

    /// Sends an order under a fresh key.
    pub(crate) async fn sends(&self, order: &Value) -> Answer {
        self.client.post_once(&fresh_key(), "/v1/resources", order).await
    }

    /// Buys the metered API; its resource id and API key.
    pub(crate) async fn gets_the_weather(&self) -> (String, String) {
        let body = self.buys("weather", "metered").await.expect_status(201).json();
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        (text(&body["resource"]["id"]), text(&body["credentials"]["API_KEY"]))
    }

    /// Gets a new access token after the old one has expired.
    pub(crate) async fn logs_in_again(&mut self) {
        let id_token = self.app.id_token(&self.user);
        let body = self.app.stranger().post("/v1/accounts", &json!({"id_token": id_token})).await.expect_status(200);
        self.token = body.json()["access_token"].as_str().expect("an access token").to_owned();
        self.client = self.app.stranger().with_token(&self.token);
    }

    /// The resource, as soon as it is in this state; the workers take up whatever is unfinished.
    pub(crate) async fn waits_for(&self, id: &Value, state: &str) -> Value {
        let path = format!("/v1/resources/{}", id.as_str().expect("a resource id"));
        self.app.workers_resume().await;
        for _ in 0..100 {
            let resource = self.client.get(&path).await.expect_status(200).json();
            if resource["state"] == state {
                return resource;
            }
            // A worker of the provider itself may have claimed it first.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not `{state}`: {}", self.client.get(&path).await.text());
    }

    pub(crate) async fn budget(&self) -> Value {
        self.client.get("/v1/budget").await.expect_status(200).json()
    }

    /// What is spent and held, in minor units; the ledger over HTTP adds up to it, and the stored chain is whole.
    pub(crate) async fn spent_and_held(&self) -> (i64, i64) {
        let entries = self.ledger().await;
        let sum = |member: &str| entries.iter().map(|entry| entry[member].as_i64().expect("an amount")).sum::<i64>();
        let budget = self.budget().await;
        let of = |member: &str| budget[member].as_i64().expect("an amount");
        assert_eq!((sum("spent_change"), sum("held_change")), (of("spent"), of("held")), "the ledger and the budget");
        assert_eq!(of("remaining"), of("ceiling") - of("spent") - of("held"), "{budget}");
        let account = self.account.parse().expect("an account id");
        let verified = self.app.app().db.read_snapshot(move |conn| {
            let verified = audit_chain::verify(conn, &account).expect("the ledger is whole");
            Ok::<_, DbError>(verified)
        });
        let verified = verified.await.expect("the ledger can be read");
        assert_eq!(verified.entries, i64::try_from(entries.len()).expect("a count"));
        (of("spent"), of("held"))
    }

    /// Every entry, newest first.
    pub(crate) async fn ledger(&self) -> Vec<Value> {
        let (mut entries, mut next) = (Vec::new(), String::new());
        loop {
            let page = self.client.get(&format!("/v1/ledger?limit=100{next}")).await.expect_status(200).json();
            entries.extend(page["data"].as_array().expect("entries").iter().cloned());
            match page["next_cursor"].as_str() {
                Some(cursor) => next = format!("&cursor={cursor}"),
                None => return entries,
            }
        }
    }

    /// A fresh one-use link to the dashboard, as a path.
    pub(crate) async fn link(&self) -> String {
        let answer = self.client.post_once(&fresh_key(), "/v1/deep-links", &json!({})).await.expect_status(201);
        let url = answer.json()["url"].as_str().expect("a URL").to_owned();
        url.strip_prefix(&self.app.base).expect("a link to the provider").to_owned()
    }
}

fn surroundings(base: &str, clock: &Arc<ManualClock>, master: &MasterKey, meter_key: &Secret) -> (Simulator, Platform) {
    let bind = "127.0.0.1:0".parse().expect("an address");
    let provider_base: url::Url = base.parse().expect("a URL");
    let simulator = Simulator::start(SimulatorSettings {
        provider_base: provider_base.clone(),
        client_id: CLIENT_ID.to_owned(),
        bind,
        clock: clock.clone(),
    });
    let platform = Platform::start(PlatformSettings {
        provider_base,
        platform_key: app::platform_key(master).expect("a key"),
        meter_key: meter_key.clone(),
        bind,
        clock: clock.clone(),
    });
    (simulator.expect("the orchestrator starts"), platform.expect("the platform starts"))
}

fn config(
    db: &TestDb,
    folder: &std::path::Path,
    master: &MasterKey,
    meter_key: &Secret,
    platform: &str,
    settings: &[(&str, &str)],
) -> Config {
    let mut layers = Layers::defaults().expect("the defaults");
    let (master, catalog) = (master.to_text(), folder.join("catalog").display().to_string());
    let mail = folder.join("mail").display().to_string();
    let own = [
        ("server.workers", "2"),
        ("server.drain_seconds", "0"),
        ("database.url", db.settings().url.expose_secret()),
        ("database.readers", "4"),
        ("database.lanes", "2"),
        ("keys.master_key", master.as_str()),
        ("catalog.folder", &catalog),
        ("outgoing.special_hosts", "127.0.0.1"),
        ("usage.meter_key", meter_key.expose()),
        ("mail.folder", &mail),
        ("static_driver.platform_url", platform),
        // Tests ask often; those about limits set their own.
        ("wire.account_requests_per_hour", "0"),
        ("wire.token_exchanges_per_hour", "0"),
        ("wire.resource_creates_per_hour", "0"),
        ("claim.max_resources", "0"),
        ("claim.buys_for_days", "0"),
    ];
    for (key, value) in own.into_iter().chain(settings.iter().copied()) {
        layers.add_flag(key, value, "test").expect("a setting");
    }
    layers.build().expect("a configuration")
}

async fn register(app: &App, simulator: &Simulator, now: Timestamp) -> Orchestrator {
    let issuer = simulator.issuer_url.parse().expect("an issuer");
    let mut new = NewOrchestrator::new("Harbour".parse().expect("a name"), issuer, CLIENT_ID);
    new.email_domains = vec!["example.test".parse().expect("a domain")];
    new.settlement_url = Some(simulator.settlement_url.parse().expect("a URL"));
    app.db.write(HOUSE, move |conn| orchestrator::add(conn, &new, now)).await.expect("the orchestrator is registered")
}
