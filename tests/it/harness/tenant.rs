//! A person's account, reached both ways: over `/v1`, and over the provisioning wire by the orchestrator that signs for
//! it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portreeve::account::{self, LinkedBy};
use portreeve::app::HOUSE;
use portreeve::orchestrator::{self, Orchestrator};
use portreeve::signing::{Algorithm, KeyPurpose};
use portreeve::simulator::{IdTokenSpec, Simulator, User};
use serde_json::{Value, json};

use super::app::{Agent, TestApp, fresh_key, usd, user};
use super::client::{Answer, Client};
use super::wire::WireAgent;

/// Without the limits of requests an hour, for tests that send many.
pub(crate) const UNLIMITED: [(&str, &str); 2] =
    [("wire.resource_creates_per_hour", "0"), ("wire.orchestrator_requests_per_hour", "0")];

/// An account, and its agent over both doors.
pub(crate) struct Tenant<'a> {
    /// Over `/v1`.
    pub(crate) agent: Agent<'a>,
    /// Over the wire.
    pub(crate) wire: WireAgent<'a>,
}

impl<'a> Tenant<'a> {
    /// Ada, of the test's orchestrator.
    pub(crate) async fn ada(app: &'a TestApp) -> Self {
        let wire = WireAgent::register(app).await;
        Self::of(&wire, &User::ada()).await
    }

    /// Somebody else of the same orchestrator.
    pub(crate) async fn bob(&self) -> Self {
        Self::of(&self.wire, &user("bob")).await
    }

    /// A user of an orchestrator that is registered.
    pub(crate) async fn of(wire: &WireAgent<'a>, user: &User) -> Self {
        let app = wire.app;
        let agent = app.agent_of(user).await;
        let everything = "resources:read resources:write resources:delete budget:read dashboard:link";
        let wire = wire.with_bearer(&wire_token(app, &agent.token, everything));
        Self { agent, wire }
    }

    /// A body that makes a service of the example catalog, paid with the agent's payment token.
    pub(crate) fn order(&self, service: &str) -> Value {
        let mut order = json!({"service_id": service, "payment_credentials": self.pays()});
        if service == "domain" {
            order["configuration"] = json!({"domain_name": "example.dev"});
        }
        order
    }

    /// `payment_credentials` with the agent's token.
    pub(crate) fn pays(&self) -> Value {
        paid_with(&self.agent.payment_token)
    }

    /// Makes a service under a fresh key.
    pub(crate) async fn makes(&self, service: &str) -> Answer {
        self.sends(&self.order(service)).await
    }

    /// The same, which is done at once; the resource's id.
    pub(crate) async fn gets(&self, service: &str) -> String {
        id_of(&self.makes(service).await.expect_status(200).json(), "complete")
    }

    /// Sends a body under a fresh key.
    pub(crate) async fn sends(&self, body: &Value) -> Answer {
        self.wire.post_once(&fresh_key(), "/provisioning/resources", body).await
    }

    /// A look at a resource.
    pub(crate) async fn looks_at(&self, id: &str) -> Answer {
        self.wire.get(&format!("/provisioning/resources/{id}")).await
    }

    /// `update_service`, `rotate_credentials` or `remove` under a fresh key.
    pub(crate) async fn does(&self, verb: &str, id: &str, body: &Value) -> Answer {
        self.does_once(&fresh_key(), verb, id, body).await
    }

    /// The same under this key.
    pub(crate) async fn does_once(&self, key: &str, verb: &str, id: &str, body: &Value) -> Answer {
        self.wire.post_once(key, &format!("/provisioning/resources/{id}/{verb}"), body).await
    }

    /// The resource over `/v1`, once the workers had their turn and it is in this state.
    pub(crate) async fn waits_for(&self, id: &str, state: &str) -> Value {
        self.agent.waits_for(&json!(id), state).await
    }

    /// The plan of a resource and its state, as `/v1` tells it.
    pub(crate) async fn plan_and_state(&self, id: &str) -> (String, String) {
        let found = self.agent.client.get(&format!("/v1/resources/{id}")).await.expect_status(200).json();
        let text = |member: &str| found[member].as_str().expect("a text").to_owned();
        (format!("{}/{}", text("service"), text("plan")), text("state"))
    }

    /// How many resources there are that are not gone.
    pub(crate) async fn count(&self) -> usize {
        let page = self.agent.client.get("/v1/resources?limit=100").await.expect_status(200).json();
        let gone = |resource: &&Value| !["removed", "failed"].contains(&resource["state"].as_str().expect("a state"));
        page["data"].as_array().expect("resources").iter().filter(gone).count()
    }
}

/// Another orchestrator of a tenant's account, with a person and payment tokens of its own.
pub(crate) struct Rival<'a> {
    pub(crate) simulator: Simulator,
    pub(crate) orchestrator: Orchestrator,
    pub(crate) user: User,
    /// Over the wire, with the first tokens.
    pub(crate) wire: WireAgent<'a>,
    pub(crate) tokens: Value,
}

impl<'a> Rival<'a> {
    /// Linked to the account by the operator's rule, or, where that says what was `allowed`, as if its owner was asked.
    pub(crate) async fn of(tenant: &Tenant<'a>, allowed: Option<&'static str>) -> Self {
        let app = tenant.agent.app;
        let simulator = app.another_orchestrator("Rival", &app.simulator.settlement_url).await;
        let issuer = simulator.issuer_url.clone();
        let found = app.app().db.read(move |conn| orchestrator::by_issuer(conn, &issuer)).await;
        let orchestrator = found.expect("orchestrators are read").expect("it is registered");
        let user = user("of_the_rival");
        let account = tenant.agent.account.parse().expect("an account id");
        let (linked, subject, now) = (orchestrator.clone(), user.subject.clone(), app.now());
        let link = app.app().db.write(HOUSE, move |conn| {
            let by = (LinkedBy::Policy, "operator");
            account::link(conn, (&linked, ("", &subject)), (&account, allowed), by, now)
        });
        link.await.expect("the account is linked");
        let wire = WireAgent::register_as(app, &orchestrator.id, |_| ()).await;
        let (wire, tokens) = wire.opens_account(&user).await;
        Self { simulator, orchestrator, user, wire, tokens }
    }

    /// A payment token of its own.
    pub(crate) fn payment_token(&self) -> String {
        self.simulator.mint_payment_token(&usd(20_000).monthly().of(&self.user)).expect("the issuer signs")
    }

    /// Asks for an access token to `/v1`.
    pub(crate) async fn asks_for_token(&self, scope: Option<&str>) -> Answer {
        let id_token = self.simulator.mint_id_token(&IdTokenSpec::of(&self.user)).expect("the issuer signs");
        let mut body = json!({"id_token": id_token});
        if let Some(scope) = scope {
            body["scope"] = json!(scope);
        }
        self.wire.app.stranger().post("/v1/accounts", &body).await
    }

    /// The account over `/v1`.
    pub(crate) async fn client(&self) -> Client {
        let given = self.asks_for_token(None).await.expect_status(200).json();
        self.wire.app.stranger().with_token(given["access_token"].as_str().expect("an access token"))
    }
}

/// `payment_credentials` with this token.
pub(crate) fn paid_with(token: &str) -> Value {
    json!({"type": "stripe_payment_token", "stripe_payment_token": token})
}

/// The id in an answer of this status.
pub(crate) fn id_of(answer: &Value, status: &str) -> String {
    assert_eq!(answer["status"], status, "{answer}");
    answer["id"].as_str().expect("an id").to_owned()
}

/// A refusal in the envelope of resources; its message.
pub(crate) fn refused(answer: &Answer, status: u16, code: &str, id: &str) -> String {
    let body = answer.json();
    assert_eq!((answer.status(), &body["error"]["code"]), (status, &json!(code)), "{body}");
    assert_eq!((&body["status"], &body["id"]), (&json!("error"), &json!(id)), "{body}");
    assert_eq!(body.as_object().expect("an object").len(), 3, "{body}");
    body["error"]["message"].as_str().expect("a message").to_owned()
}

/// The token for the wire that stands on the same grant as one for `/v1`.
pub(crate) fn wire_token(app: &TestApp, token: &str, scope: &str) -> String {
    let payload = token.split('.').nth(1).expect("a payload");
    let payload = URL_SAFE_NO_PAD.decode(payload).expect("base64url");
    let mut claims: Value = serde_json::from_slice(&payload).expect("claims");
    let far = app.now().plus(chrono::TimeDelta::hours(12)).seconds();
    (claims["aud"], claims["scope"], claims["exp"]) =
        (json!(format!("{}/provisioning", app.base)), json!(scope), json!(far));
    let key = app.app().ring.key(KeyPurpose::AccessToken, Algorithm::Es256).expect("our key");
    key.sign_compact("at+jwt", &claims).expect("it is signed")
}
