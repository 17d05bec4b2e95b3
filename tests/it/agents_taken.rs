//! What an owner took from an agent stays taken, by whichever road it comes again; and what the pages say of it is so.

use chrono::TimeDelta;
use diesel::prelude::*;
use portreeve::app::HOUSE;
use portreeve::db::DbError;
use portreeve::db::schema::claims;
use portreeve::ids::{AccountId, AgentId};
use portreeve::login::SAFETY_LIFETIME;
use portreeve::money::Amount;
use portreeve::payment::budget;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::agents::{does, only_page, pages_of, uses};
use crate::harness::app::{TestApp, fresh_key};
use crate::harness::browser::Browser;
use crate::harness::oauth::{OAuthClient, text};
use crate::harness::tenant::{Rival, Tenant};

on_both! {
    async fn a_program_rotates_only_what_it_bought_so_that_its_cap_counts_what_it_uses(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let tokens = client.tokens(&ada).await;
        let program = app.stranger().with_token(text(&tokens, "access_token"));
        let (weather, _key) = ada.gets_the_weather().await;
        let rotate = format!("/v1/resources/{weather}/rotate");
        let before = ada.client.get(&format!("/v1/resources/{weather}")).await.json()["changed_at"].clone();
        program.post_once(&fresh_key(), &rotate, &json!({})).await.problem(403, "not_its_own");
        assert_eq!(ada.client.get(&format!("/v1/resources/{weather}")).await.json()["changed_at"], before);
        ada.client.post_once(&fresh_key(), &rotate, &json!({})).await.expect_status(200);
        // Its page says who asked.
        let owner = Browser::of_owner(&ada).await;
        let harbour = pages_of(&owner).await.pop().unwrap();
        assert!(owner.get(&harbour).await.text().contains("Asked for new credentials of weather"));
        // Its own it rotates.
        let own = program.post_once(&fresh_key(), "/v1/resources", &ada.order("weather", "metered")).await;
        let own = own.expect_status(201).json()["resource"]["id"].as_str().unwrap().to_owned();
        program.post_once(&fresh_key(), &format!("/v1/resources/{own}/rotate"), &json!({})).await.expect_status(200);
        app.stop().await;
    }

    async fn a_consent_to_little_gives_back_nothing_else_that_was_taken(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let tokens = client.tokens(&ada).await;
        let refresh = text(&tokens, "refresh_token");
        let owner = Browser::of_owner(&ada).await;
        let page = pages_of(&owner).await.remove(0);
        owner.submits(&format!("{page}/scope"), &[("scope", "resources:write")]).await.expect_status(303);
        owner.submits(&format!("{page}/cap"), &[("ceiling", "5")]).await.expect_status(303);
        client.code_for(&ada, &[("scope", "budget:read"), ("prompt", "consent")], &["budget:read"]).await;
        assert_eq!(client.refreshes(refresh).await.expect_status(200).json()["scope"], "resources:read budget:read");
        assert!(owner.get(&page).await.text().contains("$5.00"), "the cap stands");
        // Nor from memory: what was taken is asked for.
        let again = client.page(&[]).await;
        assert!(owner.get(&again).await.expect_status(200).text().contains("<legend>Create</legend>"));
        app.stop().await;
    }

    async fn what_a_page_says_can_be_spent_can_be_spent_at_once(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let first = client.tokens(&ada).await;
        let owner = Browser::of_owner(&ada).await;
        let page = pages_of(&owner).await.remove(0);
        let buys = async |tokens: &serde_json::Value| {
            let program = app.stranger().with_token(text(tokens, "access_token"));
            program.post_once(&fresh_key(), "/v1/resources", &ada.order("postgres", "small")).await
        };
        buys(&first).await.expect_status(201);
        owner.submits(&format!("{page}/cap"), &[("ceiling", "9")]).await.expect_status(303);
        buys(&first).await.expect_status(402);
        let asked = [("prompt", "consent")];
        let code = client.code_for(&ada, &asked, &["resources:read", "resources:write", "budget:read"]).await;
        let whole = client.redeems(&code).await.expect_status(200).json();
        buys(&whole).await.expect_status(201);
        app.stop().await;
    }

    async fn a_pause_is_lifted_only_by_a_page_that_says_so(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        client.tokens(&ada).await;
        let owner = Browser::of_owner(&ada).await;
        let page = pages_of(&owner).await.remove(0);
        for (verb, said) in [("pause", "You paused it"), ("revoke", "You ended it")] {
            does(&owner, &page, verb).await;
            let asked = client.page(&[("scope", "budget:read"), ("prompt", "consent")]).await;
            let shown = owner.get(&asked).await.expect_status(200).text();
            assert!(shown.contains(said), "{shown}");
            owner.submits(&format!("{asked}/deny"), &[]).await.expect_status(303);
        }
        app.stop().await;
    }

    async fn what_an_agent_opened_with_a_link_of_its_own_ends_with_it(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let owner = Browser::of_owner(&ada).await;
        let harbour = only_page(&owner).await;
        let (inside, asks) = (Browser::by_link(&ada).await, Browser::by_link(&ada).await);
        let unused = ada.client.post_once(&fresh_key(), "/v1/deep-links", &json!({})).await.expect_status(201).json();
        let unused = unused["url"].as_str().unwrap().strip_prefix(&app.base).unwrap().to_owned();
        inside.get("/dashboard").await.expect_status(200);
        does(&asks, &harbour, "pause").await;
        assert_eq!(inside.get("/dashboard").await.status(), 401);
        assert_eq!(Browser::new(&app).submits(&unused, &[]).await.status(), 410);
        // Whoever pressed the button, and whoever logged in themselves, stay.
        asks.get("/dashboard").await.expect_status(200);
        does(&owner, &harbour, "revoke").await;
        assert_eq!(asks.get("/dashboard").await.status(), 401);
        owner.get("/dashboard").await.expect_status(200);
        app.stop().await;
    }

    async fn what_an_ended_agent_bought_is_still_used_and_its_page_says_so(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let (weather, _key) = ada.gets_the_weather().await;
        let owner = Browser::of_owner(&ada).await;
        let page = only_page(&owner).await;
        assert!(owner.get(&page).await.text().contains("what is used with them still costs"));
        does(&owner, &page, "revoke").await;
        uses(&app, &weather, 20_000).await;
        let told = owner.get(&format!("{page}?done=revoked")).await.text();
        assert!(told.contains("still costs") && told.contains("$10.00"), "{told}");
        app.stop().await;
    }

    async fn a_purchase_whose_body_comes_after_its_agent_was_narrowed_is_refused(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let owner = Browser::of_owner(&ada).await;
        let page = only_page(&owner).await;
        let host = app.base.trim_start_matches("http://").to_owned();
        let body = ada.order("sandbox", "free").to_string();
        let head = format!(
            "POST /v1/resources HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {}\r\nidempotency-key: {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            ada.token, fresh_key(), body.len()
        );
        let mut line = tokio::net::TcpStream::connect(&host).await.unwrap();
        line.write_all(format!("{head}{}", &body[..1]).as_bytes()).await.unwrap();
        // The head is heard, and the token is looked at.
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        owner.submits(&format!("{page}/scope"), &[("scope", "resources:write")]).await.expect_status(303);
        line.write_all(&body.as_bytes()[1..]).await.unwrap();
        let mut answer = String::new();
        line.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("insufficient_scope"), "{answer}");
        app.stop().await;
    }

    async fn an_agents_cap_is_below_that_of_its_own_platform(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        let rival = Rival::of(&ada, Some("resources:read resources:write budget:read")).await;
        rival.client().await.get("/v1/budget").await.expect_status(200);
        let account: AccountId = ada.agent.account.parse().unwrap();
        let (through, now) = (rival.orchestrator.id.clone(), app.now());
        let lowered = app.app().db.write(HOUSE, move |conn| {
            let fifty = Amount::from_minor(5_000).unwrap();
            budget::lower(conn, &account, &through, fifty, now)
        });
        lowered.await.unwrap();
        let owner = Browser::of_owner(&ada.agent).await;
        let page = {
            let mut found = None;
            for page in pages_of(&owner).await {
                if owner.get(&page).await.text().contains(">Rival") {
                    found = Some(page);
                }
            }
            found.unwrap()
        };
        let told = owner.submits(&format!("{page}/cap"), &[("ceiling", "60")]).await.expect_status(422).text();
        assert!(told.contains("$50.00"), "{told}");
        owner.submits(&format!("{page}/cap"), &[("ceiling", "40")]).await.expect_status(303);
        app.stop().await;
    }

    async fn a_safety_link_from_before_a_claim_without_the_mailbox_is_over(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let owner = Browser::of_owner(&ada).await;
        let agent: AgentId = only_page(&owner).await.rsplit('/').next().unwrap().parse().unwrap();
        let link = |app: &TestApp| format!("/safety/{}", app.app().post.safety.make(&agent, app.now().plus(SAFETY_LIFETIME)));
        let before = link(&app);
        let stranger = Browser::new(&app);
        stranger.get(&before).await.expect_status(200);
        app.pass(TimeDelta::seconds(2));
        let (account, now): (AccountId, _) = (ada.account.parse().unwrap(), app.now());
        let claimed = app.app().db.write(HOUSE, move |conn| {
            let row = (claims::account_id.eq(&account), claims::method.eq("issuer"), claims::claimed_at.eq(now));
            Ok::<_, DbError>(diesel::insert_into(claims::table).values(row).execute(conn)?)
        });
        claimed.await.unwrap();
        stranger.get(&before).await.expect_status(410);
        stranger.submits(&format!("{before}/stop"), &[]).await.expect_status(410);
        app.pass(TimeDelta::seconds(2));
        stranger.get(&link(&app)).await.expect_status(200);
        app.stop().await;
    }
}
