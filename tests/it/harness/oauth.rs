//! OAuth clients as tests meet them, and a human who answers them in a browser.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portreeve::app::HOUSE;
use portreeve::authorization::{ClientMetadata, ClientOrigin, NewClient, register_client};
use portreeve::fetch::Outgoing;
use portreeve::ids::AccountId;
use serde_json::{Value, json};

use super::app::{Agent, TestApp};
use super::browser::Browser;
use super::client::{Answer, Client};

pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub(crate) const REDIRECT: &str = "https://agent.example/cb";
const FORM: &str = "application/x-www-form-urlencoded";

/// A registered client.
pub(crate) struct OAuthClient<'a> {
    pub(crate) app: &'a TestApp,
    pub(crate) http: Client,
    pub(crate) id: String,
    pub(crate) secret: Option<String>,
}

/// A form's text.
pub(crate) fn form(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

impl<'a> OAuthClient<'a> {
    /// A public client with one redirect URI.
    pub(crate) async fn public(app: &'a TestApp) -> Self {
        Self::register(app, json!({})).await
    }

    /// With a secret.
    pub(crate) async fn confidential(app: &'a TestApp) -> Self {
        Self::register(app, json!({"token_endpoint_auth_method": "client_secret_basic"})).await
    }

    /// As the operator registers it: what is said, or else one redirect URI and a name.
    pub(crate) async fn register(app: &'a TestApp, said: Value) -> Self {
        Self::register_for(app, said, None, false).await
    }

    pub(crate) async fn register_for(app: &'a TestApp, said: Value, account: Option<&str>, introspects: bool) -> Self {
        let mut document = json!({"client_name": "Codex Seven", "redirect_uris": [REDIRECT]});
        for (name, value) in said.as_object().expect("an object") {
            document[name] = value.clone();
        }
        let metadata = ClientMetadata::read_registration(&document).expect("good metadata");
        let account_id = account.map(|id| id.parse::<AccountId>().expect("an account id"));
        let new = NewClient { metadata, origin: ClientOrigin::Operator, account_id, introspects };
        let now = app.now();
        let registered = new.prepare(now).expect("randomness");
        let client = registered.client.clone();
        let written = app.app().db.write(HOUSE, move |conn| register_client(conn, &client, now));
        written.await.expect("the client is registered");
        let secret = registered.secret.map(|secret| secret.expose().to_owned());
        Self { app, http: app.stranger(), id: registered.client.id, secret }
    }

    /// The parameters of a good request, with others in their place; `""` leaves one out.
    pub(crate) fn asks(&self, change: &[(&str, &str)]) -> String {
        let mut fields = vec![
            ("response_type", "code"),
            ("client_id", self.id.as_str()),
            ("redirect_uri", REDIRECT),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
            ("state", "st-1"),
            ("scope", "resources:read resources:write budget:read"),
        ];
        for (name, value) in change {
            fields.retain(|(known, _)| known != name);
            if !value.is_empty() {
                fields.push((name, value));
            }
        }
        form(&fields)
    }

    /// `GET /oauth/authorize`.
    pub(crate) async fn authorize(&self, change: &[(&str, &str)]) -> Answer {
        self.http.get(&format!("/oauth/authorize?{}", self.asks(change))).await
    }

    /// The page that asks the human, as a path.
    pub(crate) async fn page(&self, change: &[(&str, &str)]) -> String {
        let answer = self.authorize(change).await.expect_status(303);
        let page = answer.header("location").to_owned();
        assert!(page.starts_with("/consent/oreq_"), "{page}");
        page
    }

    /// A code, with what the human leaves ticked.
    pub(crate) async fn code_for(&self, agent: &Agent<'_>, change: &[(&str, &str)], ticks: &[&str]) -> String {
        assert_eq!(agent.app.base, self.app.base, "client and human are at the same provider");
        // Whatever they decided before.
        let page = self.page(&[change, &[("prompt", "consent")]].concat()).await;
        let browser = Browser::of_owner(agent).await;
        browser.get(&page).await.expect_status(200);
        let ticks: Vec<(&str, &str)> = ticks.iter().map(|scope| ("scope", *scope)).collect();
        let answer = browser.submits(&format!("{page}/allow"), &ticks).await;
        answered(&answer, REDIRECT)["code"].as_str().expect("a code").to_owned()
    }

    /// A code for everything that the harness asks for.
    pub(crate) async fn code(&self, agent: &Agent<'_>) -> String {
        self.code_for(agent, &[], &["resources:read", "resources:write", "budget:read"]).await
    }

    /// `POST /oauth/token`, as this client.
    pub(crate) async fn token(&self, fields: &[(&str, &str)]) -> Answer {
        self.post("/oauth/token", fields).await
    }

    /// Any endpoint for programs, as this client.
    pub(crate) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.http.send(self.outgoing(path, fields)).await
    }

    pub(crate) fn outgoing(&self, path: &str, fields: &[(&str, &str)]) -> Outgoing {
        let mut all = fields.to_vec();
        if self.secret.is_none() && !fields.iter().any(|(name, _)| *name == "client_id") {
            all.push(("client_id", &self.id));
        }
        let outgoing = Outgoing::post(self.http.url(path), FORM, form(&all).into_bytes());
        match &self.secret {
            Some(secret) => {
                let basic = STANDARD.encode(format!("{}:{secret}", self.id));
                outgoing.header("authorization", format!("Basic {basic}"))
            }
            None => outgoing,
        }
    }

    /// Redeems a code.
    pub(crate) async fn redeems(&self, code: &str) -> Answer {
        self.token(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("code_verifier", VERIFIER),
            ("redirect_uri", REDIRECT),
        ])
        .await
    }

    pub(crate) async fn refreshes(&self, token: &str) -> Answer {
        self.token(&[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    /// Tokens for a human who allows everything.
    pub(crate) async fn tokens(&self, agent: &Agent<'_>) -> Value {
        let code = self.code(agent).await;
        self.redeems(&code).await.expect_status(200).json()
    }
}

/// The parameters of an answer at `redirect`, which is a 303 that says nothing about where it came from.
#[track_caller]
pub(crate) fn answered(answer: &Answer, redirect: &str) -> Value {
    assert_eq!(answer.status(), 303, "{}", answer.text());
    assert_eq!((answer.header("cache-control"), answer.header("referrer-policy")), ("no-store", "no-referrer"));
    let location = answer.header("location");
    assert!(location.starts_with(redirect), "{location}");
    let url: url::Url = location.parse().expect("a URL");
    let pairs = url.query_pairs().map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())));
    Value::Object(pairs.collect())
}

/// Whether a token works.
pub(crate) async fn works(app: &TestApp, token: &str) -> u16 {
    app.stranger().with_token(token).get("/v1/budget").await.status()
}

/// The text of a member.
#[track_caller]
pub(crate) fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value[member].as_str().unwrap_or_else(|| panic!("no `{member}`: {value}"))
}

/// An error of an endpoint for programs.
#[track_caller]
pub(crate) fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status(), answer.json()["error"].as_str()), (status, Some(code)), "{}", answer.text());
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("content-type"), "application/json");
}
