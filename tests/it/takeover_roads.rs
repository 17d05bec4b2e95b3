//! Every road on which something is given asks whether the word behind it still counts, every verb whether the resource is
//! held back, and whoever raises a cap whether the account rests. The distrusts here have no work to do any more, so that
//! nothing but the question refuses.

use chrono::TimeDelta;
use diesel::prelude::*;
use portreeve::app::HOUSE;
use portreeve::db::schema::{consents, distrusts, precautions};
use portreeve::db::{DbConnection, DbError};
use portreeve::orchestrator::{self, Depth, Distrust, NewDistrust, WhoseDistrust};
use portreeve::resource;
use portreeve::simulator::{IdTokenSpec, User};
use portreeve::takeover::{self, Bounds};
use serde_json::{Value, json};

use crate::harness::app::{Agent, TestApp, fresh_key, user};
use crate::harness::browser::Browser;
use crate::harness::client::Answer;
use crate::harness::oauth::{OAuthClient, refused, text, works};
use crate::harness::tenant::Tenant;
use crate::harness::wire::WireAgent;
use crate::wire_accounts::code_of;

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The person is believed no longer, and there is nothing more to do about it.
async fn disbelieved(app: &TestApp, subject: &str) -> Distrust {
    let new = NewDistrust {
        orchestrator_id: app.orchestrator.id.clone(),
        since: app.now(),
        whose: WhoseDistrust::Subject { tenant: None, subject: subject.to_owned() },
        depth: Depth::Tokens,
        cause: "operator".to_owned(),
        event_at: None,
    };
    let now = app.now();
    let begun = move |conn: &mut DbConnection| {
        let begun = orchestrator::begin(conn, &new, now)?;
        let done = (distrusts::phase.eq("done"), distrusts::finished_at.eq(Some(now)));
        diesel::update(distrusts::table.find(&begun.id)).set(done).execute(conn)?;
        Ok::<_, orchestrator::BeginError>(Distrust { finished_at: Some(now), ..begun })
    };
    app.app().db.write(HOUSE, begun).await.unwrap()
}

async fn believed_again(app: &TestApp, distrust: &Distrust) {
    let (distrust, now) = (distrust.clone(), app.now());
    app.app().db.write(HOUSE, move |conn| orchestrator::lift(conn, &distrust, "operator", now)).await.unwrap();
}

/// A person with something under way on every road.
struct OnTheWay<'a> {
    agent: Agent<'a>,
    public: OAuthClient<'a>,
    own: OAuthClient<'a>,
    jag: OAuthClient<'a>,
    wire: WireAgent<'a>,
    code: String,
    refresh: String,
    page: String,
    wire_code: String,
    wire_refresh: String,
}

/// What the roads answer, each by its name.
type Told = Vec<(&'static str, bool, Answer)>;

impl<'a> OnTheWay<'a> {
    async fn of(app: &'a TestApp, user: &User) -> Self {
        let agent = app.agent_of(user).await;
        let public = OAuthClient::public(app).await;
        let secret = |grant: &str| json!({"token_endpoint_auth_method": "client_secret_basic", "grant_types": [grant], "redirect_uris": []});
        let itself = Some(agent.account.as_str());
        let own = OAuthClient::register_for(app, secret("client_credentials"), itself, false).await;
        let jag = OAuthClient::register(app, secret(JWT_BEARER)).await;
        let wire = WireAgent::register(app).await;
        let code = public.code(&agent).await;
        let refresh = text(&public.tokens(&agent).await, "refresh_token").to_owned();
        let page = public.page(&[]).await;
        let wire_code = code_of(&wire.asks_for_account(user).await.expect_status(200).json());
        let wire_refresh = text(&wire.opens_account(user).await.1, "refresh_token").to_owned();
        Self { agent, public, own, jag, wire, code, refresh, page, wire_code, wire_refresh }
    }

    fn id_jag(&self) -> String {
        let app = self.agent.app;
        let spec = IdTokenSpec::of(&self.agent.user)
            .header("typ", json!("oauth-id-jag+jwt"))
            .audience(&app.base)
            .claim("client_id", json!(self.jag.id))
            .claim("jti", json!(fresh_key()))
            .expires_at(app.now().plus(TimeDelta::seconds(300)));
        app.simulator.mint_id_token(&spec).unwrap()
    }

    async fn allows(&self) -> Answer {
        let browser = Browser::of_owner(&self.agent).await;
        browser.submits(&format!("{}/allow", self.page), &[("scope", "resources:read")]).await
    }

    /// Goes every road.
    async fn goes(&self) -> Told {
        let app = self.agent.app;
        let id_token = json!({"id_token": app.id_token(&self.agent.user)});
        let jag = self.id_jag();
        let wire_code = [("grant_type", "authorization_code"), ("code", self.wire_code.as_str())];
        let wire_refresh = [("grant_type", "refresh_token"), ("refresh_token", self.wire_refresh.as_str())];
        let answers = [
            ("a code", self.public.redeems(&self.code).await),
            ("a refresh token", self.public.refreshes(&self.refresh).await),
            ("client_credentials", self.own.token(&[("grant_type", "client_credentials")]).await),
            ("an ID-JAG", self.jag.token(&[("grant_type", JWT_BEARER), ("assertion", &jag)]).await),
            ("an ID token", app.stranger().post("/v1/accounts", &id_token).await),
            ("a code of the wire", self.wire.token(&wire_code).await),
            ("a refresh token of the wire", self.wire.token(&wire_refresh).await),
            ("a signed request for an account", self.wire.asks_for_account(&self.agent.user).await),
            ("a human's consent", self.allows().await),
        ];
        let gave = |answer: &Answer| match answer.status() {
            303 => answer.header("location").contains("code="),
            status => status == 200,
        };
        answers.into_iter().map(|(road, answer)| (road, gave(&answer), answer)).collect()
    }
}

fn all(told: &Told, gave: bool) {
    for (road, given, answer) in told {
        assert_eq!(*given, gave, "{road}: {} {}", answer.status(), answer.text());
    }
}

on_both! {
    async fn no_road_gives_anything_for_somebody_who_is_not_believed_and_each_does_for_others(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ann = OnTheWay::of(&app, &user("ann")).await;
        let bob = OnTheWay::of(&app, &user("bob")).await;
        let distrust = disbelieved(&app, "user_ann").await;
        let told = ann.goes().await;
        all(&told, false);
        for (road, _, answer) in &told[..4] {
            assert_eq!((answer.status(), &answer.json()["error"]), (400, &json!("invalid_grant")), "{road}");
        }
        all(&bob.goes().await, true);
        // A refusal of this kind burnt nothing.
        believed_again(&app, &distrust).await;
        all(&ann.goes().await, true);
        app.stop().await;
    }

    async fn no_road_gives_anything_through_an_orchestrator_that_is_suspended(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ann = OnTheWay::of(&app, &user("ann")).await;
        let (id, now) = (app.orchestrator.id.clone(), app.now());
        app.app().db.write(HOUSE, move |conn| orchestrator::suspend(conn, &id, now)).await.unwrap();
        all(&ann.goes().await, false);
        app.stop().await;
    }

    async fn what_a_human_allowed_ends_with_the_distrust_of_the_issuer_and_does_not_come_back(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent_of(&user("ann")).await;
        app.pass(TimeDelta::seconds(5));
        let client = OAuthClient::public(&app).await;
        let tokens = client.tokens(&agent).await;
        assert_eq!(works(&app, text(&tokens, "access_token")).await, 200);
        let (new, now) = (NewDistrust {
            orchestrator_id: app.orchestrator.id.clone(),
            since: app.now(),
            whose: WhoseDistrust::Issuer,
            depth: Depth::Things,
            cause: "operator".to_owned(),
            event_at: None,
        }, app.now());
        let begun = app.app().db.write(HOUSE, move |conn| orchestrator::begin(conn, &new, now)).await.unwrap();
        let done = takeover::run(&app.app().db, &begun.id, Bounds::default(), app.clock.as_ref()).await.unwrap();
        app.app().revocations.forget();
        let standing = consents::table.filter(consents::revoked_at.is_null()).count();
        assert_eq!(app.app().db.read(move |conn| Ok::<i64, DbError>(standing.get_result(conn)?)).await.unwrap(), 0);
        believed_again(&app, &done).await;
        assert_eq!(works(&app, text(&tokens, "access_token")).await, 401);
        refused(&client.refreshes(text(&tokens, "refresh_token")).await, 400, "invalid_grant");
        app.stop().await;
    }

    async fn a_resource_that_is_held_back_is_not_changed_rotated_removed_linked_built_upon_or_shown(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        let (weather, loose) = (ada.gets("weather").await, ada.agent.buys("sandbox", "free").await.expect_status(201).json());
        let loose = loose["resource"]["id"].as_str().unwrap().to_owned();
        let team = ada.gets("team:free").await;
        let held: Vec<_> = [&weather, &loose, &team].into_iter().cloned().collect();
        let (account, now) = (ada.agent.account.parse().unwrap(), app.now());
        let quarantine = move |conn: &mut DbConnection| {
            for id in &held {
                resource::quarantine(conn, (&account, &id.parse().unwrap()), "operator", now)?;
            }
            Ok::<_, DbError>(())
        };
        app.app().db.write(HOUSE, quarantine).await.unwrap();
        let link = json!({"service_id": "sandbox", "submitted_information": {"resource_id": loose}});
        let answers = [
            ada.does("update_service", &weather, &json!({"service_id": "weather", "configuration": {}})).await,
            ada.does("rotate_credentials", &weather, &json!({})).await,
            ada.does("remove", &weather, &json!({})).await,
            ada.wire.post_once(&fresh_key(), "/provisioning/resources/link", &link).await,
            ada.agent.client.delete(&format!("/v1/resources/{weather}")).await,
            app.reports(&weather, "1").await,
            ada.makes("bucket").await,
        ];
        for (turn, answer) in answers.iter().enumerate() {
            assert!((400..500).contains(&answer.status()), "{turn}: {} {}", answer.status(), answer.text());
        }
        let seen = ada.looks_at(&weather).await;
        assert!(!seen.text().contains("access_configuration"), "{}", seen.text());
        assert_eq!(ada.plan_and_state(&weather).await.1, "suspended");
        assert_eq!(ada.plan_and_state(&loose).await.1, "suspended");
        // Given back, it carries again.
        let (account, team, now) = (ada.agent.account.parse().unwrap(), team.parse().unwrap(), app.now());
        let free = move |conn: &mut DbConnection| resource::release(conn, (&account, &team), "operator", now);
        assert!(app.app().db.write(HOUSE, free).await.unwrap());
        ada.gets("bucket").await;
        app.stop().await;
    }

    async fn no_cap_is_raised_while_the_account_rests_and_it_is_after_that(db: TestDb) {
        let app = TestApp::start(&db).await;
        let mut agent = app.agent_of(&user("ann")).await;
        let lowered = Browser::of_owner(&agent).await;
        lowered.submits("/dashboard/cap", &[("ceiling", "10")]).await.expect_status(303);
        let row = (
            precautions::account_id.eq(agent.account.clone()),
            precautions::orchestrator_id.eq(app.orchestrator.id.clone()),
            precautions::cooling_until.eq(Some(app.now().plus(TimeDelta::hours(72)))),
        );
        let rest = move |conn: &mut DbConnection| {
            diesel::insert_into(precautions::table).values(&row).execute(conn)?;
            Ok::<_, DbError>(())
        };
        app.app().db.write(HOUSE, rest).await.unwrap();
        let raise = [("ceiling", "20")];
        let page = Browser::of_owner(&agent).await.submits("/dashboard/cap/raise", &raise).await.expect_status(422).text();
        assert!(page.contains("no cap is raised until"), "{page}");
        assert_eq!(agent.budget().await["ceiling"], 1_000);
        // Lowering works at once.
        Browser::of_owner(&agent).await.submits("/dashboard/cap", &[("ceiling", "9")]).await.expect_status(303);
        app.pass(TimeDelta::hours(73));
        Browser::of_owner(&agent).await.submits("/dashboard/cap/raise", &raise).await.expect_status(303);
        agent.logs_in_again().await;
        assert_eq!(agent.budget().await["ceiling"], Value::from(2_000));
        app.stop().await;
    }

    async fn a_raised_cap_opens_nothing_while_spending_through_the_orchestrator_is_stopped(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent_of(&user("ann")).await;
        Browser::of_owner(&agent).await.submits("/dashboard/cap", &[("ceiling", "10")]).await.expect_status(303);
        let (metered, _) = agent.gets_the_weather().await;
        app.reports(&metered, "1").await.expect_status(200);
        let (account, through, now) = (agent.account.parse().unwrap(), app.orchestrator.id.clone(), app.now());
        let stop = move |conn: &mut DbConnection| {
            portreeve::payment::budget::stop_through(conn, (&account, &through), "operator", now)
        };
        assert!(app.app().db.write(HOUSE, stop).await.unwrap());
        let browser = Browser::of_owner(&agent).await;
        browser.submits("/dashboard/cap/raise", &[("ceiling", "50")]).await.expect_status(303);
        assert_eq!(app.reports(&metered, "1000").await.status(), 402);
        app.stop().await;
    }
}
