//! The provider's own OpenID provider: whose account opens, and what of its answers is refused.

use chrono::TimeDelta;
use diesel::prelude::*;
use portreeve::db::DbError;
use portreeve::db::schema::upstream_links;
use portreeve::orchestrator::ExistingAccount;
use portreeve::simulator::User;
use serde_json::{Value, json};

use crate::harness::app::{TestApp, user};
use crate::harness::browser::{Browser, was_claimed};
use crate::harness::client::Answer;
use crate::harness::databases::TestDb;
use crate::harness::wire::WireAgent;
use crate::mock_issuer::MockIssuer;
use crate::wire_accounts::another;

/// The provider with its own issuer.
pub(crate) async fn start(db: &TestDb) -> (TestApp, MockIssuer) {
    let issuer = MockIssuer::start().await;
    let settings = [
        ("login.oidc.issuer", issuer.url.as_str()),
        ("login.oidc.client_id", "desk"),
        ("login.oidc.client_secret", "between-us"),
        ("login.oidc.name", "Acme ID"),
        ("limits.address_log_ins_per_hour", "0"),
    ];
    (TestApp::start_with(db, &settings).await, issuer)
}

/// A browser on its way: the parameters that the issuer got.
pub(crate) struct Away {
    pub(crate) browser: Browser,
    asked: Vec<(String, String)>,
}

impl Away {
    pub(crate) async fn from(app: &TestApp, query: &str) -> Self {
        Self::in_browser(Browser::new(app), &format!("/login/upstream{query}")).await
    }

    /// By a link of a page, in a browser that has been here before.
    pub(crate) async fn in_browser(browser: Browser, link: &str) -> Self {
        let left = browser.get(link).await.expect_status(303);
        let url: url::Url = left.header("location").parse().unwrap();
        assert_eq!((url.path(), left.header("referrer-policy")), ("/authorize", "no-referrer"));
        Self { browser, asked: url.query_pairs().into_owned().collect() }
    }

    pub(crate) fn of(&self, name: &str) -> &str {
        self.asked.iter().find(|(asked, _)| asked == name).map_or("", |(_, value)| value)
    }

    /// A good ID token of the person, for this way.
    pub(crate) fn claims(&self, app: &TestApp, issuer: &MockIssuer, subject: &str, email: &str) -> Value {
        let now = app.now().seconds();
        json!({
            "iss": issuer.url, "aud": "desk", "sub": subject, "iat": now, "exp": now + 300, "auth_time": now,
            "nonce": self.of("nonce"), "email": email, "email_verified": true,
        })
    }

    pub(crate) async fn comes_back(&self, more: &str) -> Answer {
        self.browser.get(&format!("/login/upstream/back?code=c0de&state={}{more}", self.of("state"))).await
    }

    /// Comes back with these claims.
    pub(crate) async fn with(&self, issuer: &MockIssuer, claims: Value) -> Answer {
        issuer.will_say(claims);
        self.comes_back("").await
    }
}

#[track_caller]
pub(crate) fn is_out(answer: &Answer, status: u16) {
    assert_eq!((answer.status(), answer.has_header("set-cookie")), (status, false), "{}", answer.text());
    assert!(answer.text().contains("You are not logged in."), "{}", answer.text());
}

async fn links(app: &TestApp) -> i64 {
    let counted = app.app().db.read(|conn| Ok::<_, DbError>(upstream_links::table.count().get_result(conn)?));
    counted.await.unwrap()
}

on_both! {
    async fn a_verified_address_opens_its_account_until_that_is_claimed(db: TestDb) {
        let (app, issuer) = start(&db).await;
        let ada = app.agent().await;
        assert!(app.stranger().get("/login").await.text().contains("Continue with Acme ID"));
        let away = Away::from(&app, "?to=%2Fdashboard%3Fdone%3Dcap").await;
        for (name, value) in [("client_id", "desk"), ("response_type", "code"), ("code_challenge_method", "S256"), ("max_age", "28800")] {
            assert_eq!(away.of(name), value);
        }
        assert_eq!(away.of("redirect_uri"), format!("{}/login/upstream/back", app.base));
        let used = away.with(&issuer, away.claims(&app, &issuer, "1001", "Ada@Example.TEST")).await.expect_status(303);
        assert_eq!(used.header("location"), "/dashboard?done=cap");
        assert!(away.browser.get("/dashboard").await.expect_status(200).text().contains("own log-in"));
        let sent = issuer.token_requests().remove(0);
        let verifier = sent.split("code_verifier=").nth(1).unwrap().split('&').next().unwrap();
        assert_eq!(portreeve::secret::sha256_base64url(verifier.as_bytes()), away.of("code_challenge"));
        assert!(sent.to_lowercase().contains("authorization: basic "), "{sent}");
        assert_eq!(links(&app).await, 0, "nothing lasts before the account is claimed");
        // From then on an address opens nothing: its human connects a person from inside.
        was_claimed(&app, &ada.account).await;
        for subject in ["1001", "2002"] {
            let away = Away::from(&app, "").await;
            is_out(&away.with(&issuer, away.claims(&app, &issuer, subject, "ada@example.test")).await, 403);
        }
        assert_eq!(links(&app).await, 0);
        app.stop().await;
    }

    async fn an_address_that_is_not_verified_opens_nothing(db: TestDb) {
        let (app, issuer) = start(&db).await;
        app.agent().await;
        for verified in [json!(false), json!("maybe"), Value::Null, json!(1)] {
            let away = Away::from(&app, "").await;
            let mut claims = away.claims(&app, &issuer, "1001", "ada@example.test");
            claims["email_verified"] = verified.clone();
            let answer = away.with(&issuer, claims).await;
            assert!(matches!(answer.status(), 403 | 502) && !answer.has_header("set-cookie"), "{verified}");
        }
        for other in ["ada@example.test.evil.example", "\u{430}da@example.test", "ada+x@example.test"] {
            let away = Away::from(&app, "").await;
            is_out(&away.with(&issuer, away.claims(&app, &issuer, "1001", other)).await, 403);
        }
        assert_eq!(links(&app).await, 0);
        app.stop().await;
    }

    async fn a_state_works_once_and_only_in_the_browser_that_began(db: TestDb) {
        let (app, issuer) = start(&db).await;
        app.agent().await;
        let away = Away::from(&app, "").await;
        issuer.will_say(away.claims(&app, &issuer, "1001", "ada@example.test"));
        let back = format!("/login/upstream/back?code=c0de&state={}", away.of("state"));
        // Stolen, or planted in another browser: the code is not even redeemed.
        let other = Away::from(&app, "").await;
        for thief in [&Browser::new(&app), &other.browser] {
            is_out(&thief.get(&back).await, 400);
        }
        for wrong in ["/login/upstream/back?code=c0de", "/login/upstream/back?code=c0de&state=st_x", "/login/upstream/back"] {
            is_out(&away.browser.get(wrong).await, 400);
        }
        assert!(issuer.token_requests().is_empty());
        away.comes_back("").await.expect_status(303);
        is_out(&away.comes_back("").await, 400);
        assert_eq!(issuer.token_requests().len(), 1);
        let late = Away::from(&app, "").await;
        app.pass(TimeDelta::minutes(15));
        is_out(&late.comes_back("").await, 400);
        app.stop().await;
    }

    async fn an_answer_of_another_issuer_is_refused_before_the_code_is_sent(db: TestDb) {
        let (app, issuer) = start(&db).await;
        app.agent().await;
        let away = Away::from(&app, "").await;
        is_out(&away.comes_back("&iss=https%3A%2F%2Fevil.example").await, 502);
        let away = Away::from(&app, "").await;
        issuer.will_say(away.claims(&app, &issuer, "1001", "ada@example.test"));
        let own: String = url::form_urlencoded::byte_serialize(issuer.url.as_bytes()).collect();
        away.comes_back(&format!("&iss={own}")).await.expect_status(303);
        assert_eq!(issuer.token_requests().len(), 1);
        // One that says that it names itself must do so.
        issuer.names_itself();
        app.pass(TimeDelta::minutes(16));
        let away = Away::from(&app, "").await;
        is_out(&away.comes_back("").await, 502);
        assert_eq!(issuer.token_requests().len(), 1);
        app.stop().await;
    }

    async fn new_keys_of_the_issuer_are_fetched_when_they_are_met_and_not_more_than_once_a_minute(db: TestDb) {
        let (app, issuer) = start(&db).await;
        app.agent().await;
        let comes = async || {
            let away = Away::from(&app, "").await;
            away.with(&issuer, away.claims(&app, &issuer, "1001", "ada@example.test")).await.status()
        };
        assert_eq!((comes().await, issuer.asked()), (303, (1, 1)));
        issuer.rotate();
        assert_eq!((comes().await, issuer.asked()), (303, (2, 2)), "at once, without a restart");
        assert_eq!((comes().await, issuer.asked()), (303, (2, 2)));
        issuer.rotate();
        for _ in 0..3 {
            assert_eq!((comes().await, issuer.asked()), (502, (2, 2)), "a flood is answered from what is known");
        }
        app.pass(TimeDelta::seconds(60));
        assert_eq!((comes().await, issuer.asked()), (303, (3, 3)));
        app.stop().await;
    }

    async fn an_id_token_that_does_not_hold_opens_nothing(db: TestDb) {
        let (app, issuer) = start(&db).await;
        app.agent().await;
        let now = app.now().seconds();
        for (claim, value) in [
            ("nonce", json!("another")), ("nonce", Value::Null), ("aud", json!("somebody")), ("iss", json!("https://evil.example")),
            ("exp", json!(now - 61)), ("auth_time", Value::Null), ("auth_time", json!(now - 9 * 3600)), ("auth_time", json!(now + 120)),
            ("sub", json!("")), ("sub", json!("x".repeat(256))),
        ] {
            let away = Away::from(&app, "").await;
            let mut claims = away.claims(&app, &issuer, "1001", "ada@example.test");
            claims[claim] = value.clone();
            is_out(&away.with(&issuer, claims).await, 502);
        }
        let away = Away::from(&app, "").await;
        is_out(&away.browser.get(&format!("/login/upstream/back?error=access_denied&state={}", away.of("state"))).await, 403);
        issuer.set_down(true);
        app.pass(TimeDelta::minutes(16));
        let answer = Browser::new(&app).get("/login/upstream").await;
        is_out(&answer, 502);
        assert_eq!(links(&app).await, 0);
        app.stop().await;
    }

    async fn a_fresh_log_in_is_asked_of_the_issuer_and_an_old_one_there_does_not_do(db: TestDb) {
        let (app, issuer) = start(&db).await;
        let agent = app.agent().await;
        let raise = |browser: Browser| async move { browser.submits("/dashboard/cap/raise", &[("ceiling", "90")]).await.status() };
        Browser::by_link(&agent).await.submits("/dashboard/cap", &[("ceiling", "80")]).await.expect_status(303);
        // Logged in there hours ago: enough to look and to resume, not to raise.
        let away = Away::from(&app, "").await;
        let mut claims = away.claims(&app, &issuer, "1001", "ada@example.test");
        claims["auth_time"] = json!(app.now().seconds() - 3600);
        away.with(&issuer, claims).await.expect_status(303);
        assert_eq!(raise(away.browser).await, 403);
        let away = Away::from(&app, "?max_age=300").await;
        assert_eq!(away.of("max_age"), "300");
        let mut claims = away.claims(&app, &issuer, "1001", "ada@example.test");
        claims["auth_time"] = json!(app.now().seconds() - 3600);
        is_out(&away.with(&issuer, claims).await, 502);
        let away = Away::from(&app, "?max_age=300").await;
        away.with(&issuer, away.claims(&app, &issuer, "1001", "ada@example.test")).await.expect_status(303);
        assert_eq!(raise(away.browser).await, 303);
        app.stop().await;
    }

    async fn a_person_with_several_accounts_chooses_in_the_same_browser(db: TestDb) {
        let (app, issuer) = start(&db).await;
        let (ada, bob) = (app.agent().await, app.agent_of(&user("bob")).await);
        let sidecar = another(&app, "Second", ExistingAccount::Sidecar, &["example.test"]).await;
        WireAgent::register_as(&app, &sidecar.id, |_| ()).await.asks_for_account(&User::ada()).await.expect_status(200);
        let away = Away::from(&app, "").await;
        let asked = away.with(&issuer, away.claims(&app, &issuer, "1001", "ada@example.test")).await.expect_status(303);
        let choice = asked.header("location").to_owned();
        assert!(choice.starts_with("/login/link/ch_") && !asked.headers("set-cookie").iter().any(|one| one.starts_with("portreeve_session")));
        assert!(away.browser.get(&choice).await.expect_status(200).text().contains("opened by Second"));
        // The address of the choice is worth nothing in another browser.
        let thief = Browser::new(&app);
        assert_eq!((thief.get(&choice).await.status(), thief.submits(&choice, &[("account", &ada.account)]).await.status()), (410, 410));
        away.browser.submits(&choice, &[("account", &bob.account)]).await.expect_status(422);
        away.browser.submits(&choice, &[("account", &ada.account)]).await.expect_status(303);
        away.browser.get("/dashboard").await.expect_status(200);
        assert_eq!(away.browser.submits(&choice, &[("account", &ada.account)]).await.status(), 410);
        app.stop().await;
    }
}
