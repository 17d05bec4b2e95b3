//! What a claim ends, what it leaves, and what it begins.

use std::time::Duration;

use chrono::TimeDelta;
use portreeve::idempotency::Keyed;
use portreeve::ids::ResourceId;
use portreeve::login::{self, DeepLinkError, NewLink};
use portreeve::resource::{self, By, RemoveError, RotateError};
use portreeve::secret::Secret;
use serde_json::json;

use super::*;
use crate::harness::app::fresh_key;
use crate::harness::client::Client;
use crate::harness::driver::{Says, Script};
use crate::harness::oauth::{OAuthClient, refused, text};
use crate::harness::receiver::Receiver;
use crate::harness::tenant::{Rival, Tenant};
use crate::harness::wire::WireAgent;
use crate::oauth_revocation::dies;
use crate::wire_accounts::{code_of, page_of};
use crate::wire_notifications::listening;
use crate::wire_rotation::works;

async fn renews(app: &TestApp) {
    resource::renew_due(&app.app().desk, app.app().clock.as_ref()).await.unwrap();
}

/// Waits until the platform no longer takes a key; the workers of the provider take their turns meanwhile.
async fn is_dead(app: &TestApp, key: &str) -> bool {
    for _ in 0..100 {
        renews(app).await;
        if !works(app, key).await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

on_both! {
    async fn a_request_that_is_under_way_when_the_account_is_claimed_does_nothing(db: TestDb) {
        let (app, issuer) = start(&db).await;
        let ada = app.agent().await;
        let made = ada.buys("postgres", "small").await.expect_status(201).json();
        let id: ResourceId = text(&made["resource"], "id").parse().unwrap();
        let account: AccountId = ada.account.parse().unwrap();
        let agents = app.app().db.read({
            let account = account.clone();
            move |conn| portreeve::account::agents_of(conn, &account, None, 10)
        });
        let key = agents.await.unwrap().remove(0).key;
        claims_with(&proven(&app, &issuer, 1).await, &[]).await.expect_status(303);
        // Their tokens were looked at before the claim; they write after it.
        let (app_, now) = (app.app(), app.now());
        let keyed = |name: &str| Keyed::new(name, &"under-way".parse().unwrap(), b"");
        let link = NewLink { agent: key.clone(), hash: Secret::generate("dl").unwrap().hash(), keyed: keyed("link"), sealed_answer: String::new() };
        let linked = app_.db.write(account.as_str(), move |conn| login::make(conn, &link, now)).await;
        assert!(matches!(linked, Err(DeepLinkError::Barred(_))), "{linked:?}");
        let rotated = resource::rotate(&app_.desk, &key, &id, keyed("rotate"), now).await;
        assert!(matches!(rotated, Err(RotateError::Barred(_))), "{rotated:?}");
        let removed = resource::remove(&app_.desk, app_.edition(), (&account, &id), &By::Agent(key.clone()), now).await;
        assert!(matches!(removed, Err(RemoveError::Barred(_))), "{removed:?}");
        let bought = app_.db.write(account.as_str(), move |conn| portreeve::account::act(conn, &key, now).map(drop)).await;
        assert!(matches!(bought, Err(portreeve::account::AdmitError::Barred(_))), "purchases and changes ask this first: {bought:?}");
        app.stop().await;
    }

    async fn everything_from_before_a_claim_ends_with_it_on_every_process_within_a_second(db: TestDb) {
        let (app, issuer) = start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let consented = client.tokens(&ada).await;
        let other_client = OAuthClient::public(&app).await;
        let code_of_client = other_client.code(&ada).await;
        is_provisional_again(&app, &ada.account).await;
        let said = json!({"token_endpoint_auth_method": "client_secret_basic", "grant_types": ["client_credentials"],
            "redirect_uris": [], "scope": "budget:read"});
        let own = OAuthClient::register_for(&app, said, Some(&ada.account), false).await;
        let grant = [("grant_type", "client_credentials")];
        let of_own = own.token(&grant).await.expect_status(200).json();
        let wire = WireAgent::register(&app).await;
        let (wired, of_wire) = wire.opens_account(&ada.user).await;
        let code = code_of(&wire.asks_for_account(&ada.user).await.expect_status(200).json());
        let link = ada.link().await;
        let (by_link, by_human) = (Browser::by_link(&ada).await, Browser::of_human(&ada).await);
        plant_ways_in(&app, &ada.account, &issuer.url).await;
        let browser = Browser::new(&app);
        by_mail(&app, &browser, ADA, 1).await;
        // The planted person is in the way of nobody.
        let other = app.another_listening_process().await;
        let elsewhere = Client::new(&format!("http://{}", other.address));
        let tokens = [ada.token.as_str(), text(&consented, "access_token"), text(&of_own, "access_token")];
        for token in tokens {
            elsewhere.with_token(token).get("/v1/budget").await.expect_status(200);
        }
        wired.get("/provisioning/resources/res_x").await.expect_status(400);
        app.pass(TimeDelta::seconds(1));
        let planted = Away::in_browser(Browser::new(&app), "/login/upstream").await;
        planted.with(&issuer, planted.claims(&app, &issuer, "666", "eve@evil.example")).await.expect_status(303);
        planted.browser.get("/dashboard").await.expect_status(200);
        let screen = {
            let id: AccountId = ada.account.parse().unwrap();
            // Only a log-in that is connected could come in beside the planted one: it is taken away here as support would.
            let removed = app.app().db.write(HOUSE, move |conn| {
                Ok::<_, DbError>(diesel::delete(upstream_links::table.filter(upstream_links::account_id.eq(&id))).execute(conn)?)
            });
            removed.await.unwrap();
            at_the_issuer(&app, &issuer, browser, ("1001", ADA)).await
        };
        claims_with(&screen, &[]).await.expect_status(303);
        for token in tokens {
            assert_eq!(app.stranger().with_token(token).get("/v1/budget").await.status(), 401, "at once where it was claimed");
            assert!(dies(&elsewhere, token).await < Duration::from_secs(1));
        }
        wired.get("/provisioning/resources/res_x").await.expect_status(401);
        // Nothing of it can be made new.
        refused(&client.refreshes(text(&consented, "refresh_token")).await, 400, "invalid_grant");
        refused(&other_client.redeems(&code_of_client).await, 400, "invalid_grant");
        refused(&own.token(&grant).await, 400, "unauthorized_client");
        let refresh = [("grant_type", "refresh_token"), ("refresh_token", text(&of_wire, "refresh_token"))];
        refused(&wire.token(&refresh).await, 400, "invalid_grant");
        refused(&wire.token(&[("grant_type", "authorization_code"), ("code", &code)]).await, 400, "invalid_grant");
        // No session, link or way in is left but the human's own.
        assert_eq!(app.stranger().get(&link).await.status(), 410);
        for gone in [&by_link, &by_human, &planted.browser] {
            assert_eq!(gone.get("/dashboard").await.status(), 401);
        }
        screen.get("/dashboard").await.expect_status(200);
        assert_eq!(ways_in(&app, &ada.account).await, (0, 1));
        let _ = tokio::time::timeout(Duration::from_millis(100), other.stop(Duration::ZERO)).await;
        app.stop().await;
    }

    async fn who_is_ticked_gets_new_tokens_with_the_next_request_and_who_is_not_has_to_ask(db: TestDb) {
        let (app, issuer) = start(&db).await;
        let mut ada = Tenant::ada(&app).await;
        let rival = Rival::of(&ada, None).await;
        let kept = app.orchestrator.id.to_string();
        let browser = proven(&app, &issuer, 1).await;
        let screen = browser.get("/claim").await.expect_status(200).text();
        assert!(screen.contains("Agents of Harbour") && screen.contains("Agents of Rival"), "{screen}");
        // More than there is cannot be ticked.
        claims_with(&browser, &[&kept, "orch_01m7y0z1r8f4w93fsw524a4zk7", "*"]).await.expect_status(303);
        assert_eq!(ada.agent.client.get("/v1/budget").await.status(), 401, "the old token");
        assert!(gets_in(&mut ada.agent).await);
        code_of(&ada.wire.bare().asks_for_account(&ada.agent.user).await.expect_status(200).json());
        let denied = rival.asks_for_token(None).await;
        assert_eq!(denied.status(), 400, "{}", denied.text());
        let asked = rival.wire.bare().asks_for_account(&rival.user).await.expect_status(200).json();
        let page = page_of(&app, &asked);
        // The owner may let it in later.
        let (path, query) = page.split_once('?').unwrap();
        browser.submits(&format!("{path}/allow?{query}"), &[("scope", "resources:read"), ("scope", "resources:write"), ("scope", "budget:read")]).await.expect_status(303);
        rival.client().await.get("/v1/budget").await.expect_status(200);
        app.stop().await;
    }

    async fn resources_stay_and_their_secrets_become_others_however_often_the_platform_fails(db: TestDb) {
        let script = Script::default();
        let (app, issuer) = start_bent(&db, &[], |app| script.bend(app)).await;
        let rule = "a map to look at.\"\n\n[driver]\nkind = \"static\"\n";
        let overlapping = format!("{}\n[driver.settings]\nrotation = \"overlap:3600\"\n", rule.replace("look at", "see"));
        app.publishes("services/weather.toml", rule, &overlapping).await;
        let mut ada = app.agent().await;
        let (id, key) = ada.gets_the_weather().await;
        ada.buys("sandbox", "free").await.expect_status(201);
        let gone = ada.buys("sandbox", "free").await.expect_status(201).json();
        ada.client.delete(&format!("/v1/resources/{}", gone["resource"]["id"].as_str().unwrap())).await.expect_status(200);
        let browser = proven(&app, &issuer, 1).await;
        let screen = browser.get("/claim").await.expect_status(200).text();
        assert!(screen.contains("It has 2 resources and spent") && screen.contains("weather / metered"), "{screen}");
        assert!(works(&app, &key).await);
        script.says("rotate", Says::No);
        let harbour = app.orchestrator.id.to_string();
        claims_with(&browser, &[&harbour]).await.expect_status(303);
        for _ in 0..3 {
            renews(&app).await;
        }
        assert!(!script.calls("rotate").is_empty(), "asked in the first turn");
        assert!(works(&app, &key).await, "the platform refused");
        // Asked again, later; its answer is lost, and the same work is taken up again.
        script.says("rotate", Says::DoneAndNothing);
        app.pass(TimeDelta::minutes(2));
        renews(&app).await;
        script.says("rotate", Says::Yes);
        app.pass(TimeDelta::minutes(2));
        app.workers_resume().await;
        assert!(is_dead(&app, &key).await, "an overlap does not count here");
        // Nothing else comes of it: each secret became another one once.
        app.pass(TimeDelta::hours(2));
        renews(&app).await;
        let left = app.app().db.read(|conn| {
            use portreeve::db::schema::{renewals, resources};
            let left: i64 = renewals::table.count().get_result(conn)?;
            let made: Vec<i64> = resources::table.filter(resources::state.eq("ready")).select(resources::generation).load(conn)?;
            Ok::<_, DbError>((left, made))
        });
        assert_eq!(left.await.unwrap(), (0, vec![1, 1]));
        assert!(gets_in(&mut ada).await);
        // Who was ticked gets secrets of its own by rotating, once for each key.
        let path = format!("/v1/resources/{id}/rotate");
        let rotated = ada.client.post_once("r", &path, &json!({})).await.expect_status(200).json();
        let new = rotated["credentials"]["API_KEY"].as_str().unwrap();
        assert!(works(&app, new).await && !works(&app, &key).await);
        let again = ada.client.post_once("r", &path, &json!({})).await.expect_status(200).json();
        assert_eq!(again, rotated);
        script.says("rotate", Says::No);
        ada.client.post_once("s", &path, &json!({})).await.problem(409, "rotation_refused");
        assert!(works(&app, new).await);
        let other = app.agent_of(&crate::harness::app::user("bob")).await;
        other.client.post_once("r", &path, &json!({})).await.problem(404, "not_found");
        let page = ada.client.get("/v1/resources").await.expect_status(200).text();
        assert!(page.contains(&id), "{page}");
        app.stop().await;
    }

    async fn what_is_still_being_made_at_the_claim_gets_other_secrets_when_it_is_there(db: TestDb) {
        let script = Script::default();
        let (app, issuer) = start_bent(&db, &[], |app| script.bend(app)).await;
        let ada = app.agent().await;
        script.says("create", Says::Pending);
        ada.buys("sandbox", "free").await.expect_status(202);
        let browser = proven(&app, &issuer, 1).await;
        claims_with(&browser, &[]).await.expect_status(303);
        renews(&app).await;
        assert!(script.calls("rotate").is_empty());
        script.says("create", Says::Yes);
        for _ in 0..100 {
            app.workers_resume().await;
            renews(&app).await;
            if !script.calls("rotate").is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!script.calls("rotate").is_empty());
        app.stop().await;
    }

    async fn orchestrators_are_told_of_the_claim_and_whether_they_may_act(db: TestDb) {
        let (app, issuer) = start(&db).await;
        let receiver = Receiver::start();
        listening(&app, &receiver).await;
        let ada = app.agent().await;
        receiver.waits_for(1).await;
        let browser = proven(&app, &issuer, 1).await;
        claims_with(&browser, &[]).await.expect_status(303);
        let told = receiver.waits_for(2).await.pop().unwrap().json();
        let text = told.to_string();
        assert!(text.contains("account.claimed") && text.contains(&ada.account), "{told}");
        assert!(text.contains("\"may_act\":false") && !text.contains(ADA), "{told}");
        app.stop().await;
    }

    async fn a_client_of_its_own_goes_on_when_it_is_ticked(db: TestDb) {
        let (app, issuer) = start(&db).await;
        let ada = app.agent().await;
        let said = json!({"token_endpoint_auth_method": "client_secret_basic", "grant_types": ["client_credentials"],
            "redirect_uris": [], "scope": "budget:read"});
        let own = OAuthClient::register_for(&app, said, Some(&ada.account), false).await;
        let grant = [("grant_type", "client_credentials")];
        let before = own.token(&grant).await.expect_status(200).json();
        let browser = proven(&app, &issuer, 1).await;
        assert!(browser.get("/claim").await.text().contains(&own.id));
        browser.submits("/claim", &[("client", &own.id)]).await.expect_status(303);
        let after = own.token(&grant).await.expect_status(200).json();
        let budget = async |token: &serde_json::Value| {
            app.stranger().with_token(text(token, "access_token")).get("/v1/budget").await.status()
        };
        assert_eq!((budget(&before).await, budget(&after).await), (401, 200));
        app.stop().await;
    }

    async fn an_account_that_is_claimed_has_no_ceilings_of_unclaimed_ones(db: TestDb) {
        let (app, issuer) = start_bent(&db, &[("claim.max_resources", "1"), ("claim.buys_for_days", "1")], |_| ()).await;
        let mut ada = app.agent().await;
        ada.buys("sandbox", "free").await.expect_status(201);
        ada.buys("sandbox", "free").await.problem(403, "claim_needed");
        let key = fresh_key();
        let order = ada.order("domain", "dot-dev");
        ada.client.post_once(&key, "/v1/resources", &order).await.problem(403, "claim_needed");
        let browser = proven(&app, &issuer, 1).await;
        let harbour = app.orchestrator.id.to_string();
        claims_with(&browser, &[&harbour]).await.expect_status(303);
        app.pass(TimeDelta::days(2));
        assert!(gets_in(&mut ada).await);
        // A refusal used nothing up: the same request goes through now.
        ada.client.post_once(&key, "/v1/resources", &order).await.expect_status(201);
        ada.buys("sandbox", "free").await.expect_status(201);
        app.stop().await;
    }
}
