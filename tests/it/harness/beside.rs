//! Somebody who has an account, and an agent of theirs that got a separate one: through another orchestrator, which does
//! not know the first.

use diesel::prelude::*;
use portreeve::app::HOUSE;
use portreeve::db::DbError;
use portreeve::db::schema::{accounts, orchestrators};
use portreeve::ids::AccountId;
use portreeve::orchestrator::{self, ExistingAccount, Orchestrator};
use portreeve::simulator::{IdTokenSpec, PaymentTokenSpec, Simulator, User};
use serde_json::{Value, json};

use super::app::{Agent, TestApp, fresh_key, usd};
use super::browser::Browser;
use super::client::{Answer, Client};

/// Ada in her own account, claimed; and the agent that Quay's Ada has.
pub(crate) struct Beside<'a> {
    pub(crate) app: &'a TestApp,
    /// Her own account, by Harbour.
    pub(crate) ada: Agent<'a>,
    pub(crate) quay: Simulator,
    pub(crate) orchestrator: Orchestrator,
    /// She at Quay.
    pub(crate) user: User,
    /// Quay's agent.
    pub(crate) client: Client,
    /// The separate account.
    pub(crate) account: String,
    /// A payment token of Quay's for her.
    pub(crate) payment_token: String,
}

impl<'a> Beside<'a> {
    pub(crate) async fn start(app: &'a TestApp) -> Self {
        let ada = app.agent().await;
        claim(app, &ada.account).await;
        let (quay, orchestrator) = authority(app, "Quay", ExistingAccount::Sidecar).await;
        let user = User { subject: "quay_ada".to_owned(), ..User::ada() };
        let given = attests(app, &quay, &user).await.expect_status(201).json();
        let client = app.stranger().with_token(given["access_token"].as_str().expect("a token"));
        let account = given["account"]["id"].as_str().expect("an id").to_owned();
        assert_ne!(account, ada.account);
        let payment_token = pays(&quay, &usd(20_000).monthly(), &user);
        Self { app, ada, quay, orchestrator, user, client, account, payment_token }
    }

    /// Ada at her browser, in her own account: by a link in a mail, just now.
    pub(crate) async fn owner(&self) -> Browser {
        Browser::of_owner(&self.ada).await
    }

    /// Quay's word about her, now.
    pub(crate) async fn comes_again(&self) -> Answer {
        attests(self.app, &self.quay, &self.user).await
    }

    /// The agent buys a plan.
    pub(crate) async fn buys(&self, service: &str, plan: &str) -> Answer {
        let order = json!({"service": service, "plan": plan, "payment_token": self.payment_token});
        self.client.post_once(&fresh_key(), "/v1/resources", &order).await
    }

    /// The same, done; the resource's id.
    pub(crate) async fn gets(&self, service: &str, plan: &str) -> String {
        let body = self.buys(service, plan).await.expect_status(201).json();
        body["resource"]["id"].as_str().expect("an id").to_owned()
    }

    /// The page of the separate account.
    pub(crate) fn page(&self) -> String {
        format!("/dashboard/sidecars/{}", self.account)
    }

    /// She merges, with these ticks.
    pub(crate) async fn merges(&self, browser: &Browser, scopes: &[&str]) -> Answer {
        let fields: Vec<(&str, &str)> = scopes.iter().map(|scope| ("scope", *scope)).collect();
        browser.submits(&format!("{}/merge", self.page()), &fields).await
    }

    /// She moves these.
    pub(crate) async fn moves(&self, browser: &Browser, resources: &[&str]) -> Answer {
        let fields: Vec<(&str, &str)> = resources.iter().map(|id| ("resource", *id)).collect();
        browser.submits(&format!("{}/move", self.page()), &fields).await
    }

    /// She discards.
    pub(crate) async fn discards(&self, browser: &Browser) -> Answer {
        browser.submits(&format!("{}/discard", self.page()), &[("sure", "yes")]).await
    }
}

/// A payment token of an orchestrator's, for this user.
pub(crate) fn pays(simulator: &Simulator, spec: &PaymentTokenSpec, user: &User) -> String {
    simulator.mint_payment_token(&spec.clone().of(user)).expect("the issuer signs")
}

/// An account as its human left it after claiming.
pub(crate) async fn claim(app: &TestApp, account: &str) {
    let account: AccountId = account.parse().expect("an account id");
    let claimed = app.app().db.write(HOUSE, move |conn| {
        let row = accounts::table.find(&account);
        Ok::<_, DbError>(diesel::update(row).set(accounts::state.eq("active")).execute(conn)?)
    });
    assert_eq!(claimed.await.expect("the account is claimed"), 1);
}

/// Another orchestrator that is an authority over `example.test`, settles its own tokens, and has this policy.
pub(crate) async fn authority(app: &TestApp, name: &str, policy: ExistingAccount) -> (Simulator, Orchestrator) {
    let simulator = app.another_orchestrator(name, "http://127.0.0.1:1/settlement").await;
    let (issuer, settles, now) = (simulator.issuer_url.clone(), simulator.settlement_url.clone(), app.now());
    let changed = app.app().db.write(HOUSE, move |conn| {
        let row = orchestrators::table.filter(orchestrators::issuer.eq(&issuer));
        let set = (orchestrators::email_domains.eq("example.test"), orchestrators::settlement_url.eq(&settles));
        diesel::update(row).set(set).execute(conn).map_err(DbError::from)?;
        let known = orchestrator::by_issuer(conn, &issuer)?.expect("it is registered");
        orchestrator::set_existing_account(conn, &known.id, policy, now)
    });
    (simulator, changed.await.expect("it is set"))
}

/// An orchestrator's word about a user, at `/v1/accounts`.
pub(crate) async fn attests(app: &TestApp, simulator: &Simulator, user: &User) -> Answer {
    let token = simulator.mint_id_token(&IdTokenSpec::of(user)).expect("the issuer signs");
    app.stranger().post("/v1/accounts", &json!({"id_token": token})).await
}

/// So much of a metered resource was used, as the platform reports it.
pub(crate) async fn used(app: &TestApp, resource: &str, requests: &str) -> Answer {
    let event: Value = json!({
        "specversion": "1.0", "id": fresh_key(), "source": "https://weather.example/meter", "type": "portreeve.usage",
        "subject": resource, "data": {"meter": "requests", "quantity": requests},
    });
    app.meter().post("/v1/usage", &event).await
}
