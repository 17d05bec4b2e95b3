//! The page of agents: what each may do, did and spent, and taking that away, which works at once and everywhere. And what
//! attackers try there.

use std::time::{Duration, Instant};

use portreeve::ids::AgentId;
use serde_json::{Value, json};

use crate::harness::app::{Agent, TestApp, fresh_key, user};
use crate::harness::browser::Browser;
use crate::harness::client::Client;
use crate::harness::oauth::{OAuthClient, refused, text, works};
use crate::harness::tenant::Tenant;

/// The pages of agents that the list links to, newest first.
pub(crate) async fn pages_of(browser: &Browser) -> Vec<String> {
    let listed = browser.get("/dashboard/agents").await.expect_status(200).text();
    let links = listed.split("<h2 id=\"name-").skip(1).filter_map(|part| part.split('"').next());
    links.map(|id| format!("/dashboard/agents/{id}")).collect()
}

/// The page of the only agent.
pub(crate) async fn only_page(browser: &Browser) -> String {
    let mut pages = pages_of(browser).await;
    assert_eq!(pages.len(), 1, "{pages:?}");
    pages.remove(0)
}

pub(crate) async fn does(browser: &Browser, page: &str, verb: &str) {
    let answer = browser.submits(&format!("{page}/{verb}"), &[]).await.expect_status(303);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(answer.header("location").starts_with(page), "{}", answer.header("location"));
}

/// Asks until the token is refused with `status`; how long that took.
async fn refused_after(client: &Client, token: &str, status: u16) -> Duration {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        if client.with_token(token).get("/v1/budget").await.status() == status {
            return began.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not refused after five seconds");
}

/// Reports that many calls of the metered API.
pub(crate) async fn uses(app: &TestApp, id: &str, calls: u32) {
    let event = json!({"specversion": "1.0", "id": fresh_key(), "source": "/weather", "type": "portreeve.usage",
        "subject": id, "data": {"meter": "requests", "quantity": calls.to_string()}});
    let answer =
        app.meter().post_bytes("/v1/usage", "application/cloudevents+json", event.to_string().into_bytes()).await;
    answer.expect_status(200);
}

/// An answer of `POST /v1/accounts` with a fresh identity token.
async fn comes_again(app: &TestApp, agent: &Agent<'_>) -> crate::harness::client::Answer {
    app.pass(chrono::TimeDelta::seconds(1));
    let id_token = app.id_token(&agent.user);
    app.stranger().post("/v1/accounts", &json!({"id_token": id_token})).await
}

on_both! {
    async fn each_agent_is_listed_with_what_it_may_did_and_spent_as_the_ledger_says(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let all = ["resources:read", "resources:write", "resources:delete", "budget:read"];
        let code = client.code_for(&ada, &[("scope", &all.join(" "))], &all).await;
        let tokens = client.redeems(&code).await.expect_status(200).json();
        let program = app.stranger().with_token(text(&tokens, "access_token"));
        ada.buys("postgres", "small").await.expect_status(201);
        let (weather, key) = ada.gets_the_weather().await;
        uses(&app, &weather, 700).await;
        assert!(!key.is_empty());
        program.post_once(&fresh_key(), "/v1/resources", &ada.order("postgres", "small")).await.expect_status(201);
        program.delete(&format!("/v1/resources/{weather}")).await;
        let browser = Browser::by_link(&ada).await;
        let pages = pages_of(&browser).await;
        assert_eq!(pages.len(), 2, "newest first");
        let spent = |entries: &[Value]| entries.iter().map(|entry| entry["spent_change"].as_i64().unwrap()).sum::<i64>();
        let ledger = ada.ledger().await;
        let (theirs, hers): (Vec<Value>, Vec<Value>) = {
            let bought = ada.client.get("/v1/resources?limit=100").await.json();
            let newest = bought["data"][0]["id"].clone();
            ledger.into_iter().partition(|entry| entry["resource_id"] == newest)
        };
        let listed = browser.get("/dashboard/agents").await.text();
        for (entries, name) in [(&theirs, "Codex Seven"), (&hers, "Harbour")] {
            let minor = spent(entries);
            let shown = format!("<b class=\"sum\">${}.{:02}</b> this month, ${}.{:02} in all", minor / 100, minor % 100, minor / 100, minor % 100);
            let section = listed.split("<section").find(|part| part.contains(&format!(">{name}</a>"))).unwrap();
            assert!(0 < minor && section.contains(&shown), "{shown}: {section}");
        }
        let of_program = browser.get(&pages[0]).await.expect_status(200).text();
        assert!(of_program.contains("Bought 1 resource, 1 other change") && of_program.contains("Removed weather"), "{of_program}");
        assert!(of_program.contains("<b>Create resources</b>") && !of_program.contains("Log in to the dashboard"), "{of_program}");
        let of_harbour = browser.get(&pages[1]).await.expect_status(200).text();
        assert!(of_harbour.contains("Bought 2 resources") && of_harbour.contains("Log in to the dashboard"), "{of_harbour}");
        assert!(of_harbour.contains("Bought Postgres") || of_harbour.contains(" for $9.00"), "{of_harbour}");
        app.stop().await;
    }

    async fn a_name_that_nobody_checked_is_marked_and_never_becomes_markup(db: TestDb) {
        let app = TestApp::start_with(&db, &[("oauth.dynamic_registration", "true")]).await;
        let ada = app.agent().await;
        let registered = app.stranger().post("/oauth/register", &json!({
            "client_name": "<b>Bank</b>", "redirect_uris": [crate::harness::oauth::REDIRECT],
            "token_endpoint_auth_method": "none",
        })).await.expect_status(201).json();
        let operators = OAuthClient::public(&app).await;
        let stranger = OAuthClient { app: &app, http: app.stranger(), id: text(&registered, "client_id").to_owned(), secret: None };
        operators.tokens(&ada).await;
        stranger.tokens(&ada).await;
        let browser = Browser::of_owner(&ada).await;
        let listed = browser.get("/dashboard/agents").await.expect_status(200).text();
        let sections: Vec<&str> = listed.split("<section").skip(1).collect();
        assert_eq!(sections.len(), 3);
        assert!(sections[0].contains("&#60;b&#62;Bank") && sections[0].contains("name not checked"), "{}", sections[0]);
        assert!(sections[1].contains("Codex Seven") && !sections[1].contains("name not checked"), "{}", sections[1]);
        assert!(sections[2].contains("Harbour") && sections[2].contains("127.0.0.1"), "the host of its issuer: {}", sections[2]);
        app.stop().await;
    }

    async fn a_paused_agent_is_refused_within_a_second_on_every_process_and_goes_on_only_after_a_log_in(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let tokens = client.tokens(&ada).await;
        let (token, refresh) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
        let other = app.another_listening_process().await;
        let elsewhere = Client::new(&format!("http://{}", other.address));
        elsewhere.with_token(token).get("/v1/budget").await.expect_status(200);
        let link = Browser::by_link(&ada).await;
        let page = pages_of(&link).await.remove(0);
        does(&link, &page, "pause").await;
        app.stranger().with_token(token).get("/v1/budget").await.problem(403, "agent_paused");
        assert!(refused_after(&elsewhere, token, 403).await < Duration::from_secs(1));
        let told = elsewhere.with_token(token).get("/v1/budget").await;
        assert!(!told.has_header("www-authenticate"), "a new token would not help");
        for _ in 0..2 {
            let answer = client.refreshes(refresh).await;
            refused(&answer, 400, "access_denied");
            assert!(answer.text().contains("paused this agent"), "{}", answer.text());
        }
        assert_eq!(works(&app, &ada.token).await, 200, "another agent of the same account");
        // A link of an agent is not enough to undo it, nor is another site's form.
        link.submits(&format!("{page}/resume"), &[]).await.expect_status(403);
        refused(&client.refreshes(refresh).await, 400, "access_denied");
        let owner = Browser::of_owner(&ada).await;
        owner.form(&format!("{page}/resume"), &[("sec-fetch-site", "cross-site")], "").await.expect_status(403);
        does(&owner, &page, "resume").await;
        assert_eq!(works(&app, token).await, 200, "what it holds works again");
        client.refreshes(refresh).await.expect_status(200);
        let _ = tokio::time::timeout(Duration::from_millis(100), other.stop(Duration::ZERO)).await;
        app.stop().await;
    }

    async fn a_paused_orchestrator_gets_no_token_for_a_new_assertion_and_none_on_the_wire(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        let made = ada.gets("sandbox:free").await;
        let owner = Browser::of_owner(&ada.agent).await;
        for page in pages_of(&owner).await {
            does(&owner, &page, "pause").await;
        }
        comes_again(&app, &ada.agent).await.problem(403, "agent_paused");
        let answer = ada.looks_at(&made).await.expect_status(403);
        assert!(answer.text().contains("paused this agent"), "{}", answer.text());
        ada.wire.asks_for_account(&ada.agent.user).await.expect_status(403);
        for page in pages_of(&owner).await {
            does(&owner, &page, "resume").await;
        }
        ada.looks_at(&made).await.expect_status(200);
        comes_again(&app, &ada.agent).await.expect_status(200);
        app.stop().await;
    }

    async fn an_ended_agent_loses_all_within_a_second_and_comes_back_only_by_its_owners_word(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let tokens = client.tokens(&ada).await;
        let waiting = client.code(&ada).await;
        let (token, refresh) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
        let other = app.another_listening_process().await;
        let elsewhere = Client::new(&format!("http://{}", other.address));
        elsewhere.with_token(token).get("/v1/budget").await.expect_status(200);
        let link = Browser::by_link(&ada).await;
        let [program, harbour] = pages_of(&link).await.try_into().unwrap();
        does(&link, &program, "revoke").await;
        assert_eq!(works(&app, token).await, 401);
        assert!(refused_after(&elsewhere, token, 401).await < Duration::from_secs(1));
        refused(&client.refreshes(refresh).await, 400, "invalid_grant");
        refused(&client.redeems(&waiting).await, 400, "invalid_grant");
        assert!(link.get(&program).await.text().contains("Nothing.</p>"), "it may do nothing");
        // The platform that opened the account has fresh assertions at hand: they bring nothing.
        assert_eq!(works(&app, &ada.token).await, 200);
        does(&link, &harbour, "revoke").await;
        assert_eq!(works(&app, &ada.token).await, 401);
        comes_again(&app, &ada).await.problem(403, "agent_ended");
        link.submits(&format!("{harbour}/resume"), &[]).await.expect_status(403);
        let owner = Browser::of_owner(&ada).await;
        does(&owner, &harbour, "resume").await;
        assert_eq!(works(&app, &ada.token).await, 401, "what it held stays ended");
        comes_again(&app, &ada).await.expect_status(200);
        // A program comes back by asking its human anew.
        let again = client.tokens(&ada).await;
        assert_eq!(works(&app, text(&again, "access_token")).await, 200);
        assert_eq!(pages_of(&owner).await.len(), 2, "it is the same agent");
        let _ = tokio::time::timeout(Duration::from_millis(100), other.stop(Duration::ZERO)).await;
        app.stop().await;
    }

    async fn a_dropped_scope_is_gone_from_every_token_and_the_last_one_is_never_dropped(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let tokens = client.tokens(&ada).await;
        let (token, refresh) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
        let link = Browser::by_link(&ada).await;
        let [program, harbour] = pages_of(&link).await.try_into().unwrap();
        let drop = async |page: &str, scope: &str| link.submits(&format!("{page}/scope"), &[("scope", scope)]).await;
        drop(&program, "resources:write").await.expect_status(303);
        assert_eq!(works(&app, token).await, 401, "a token that allowed it ends");
        let narrower = client.refreshes(refresh).await.expect_status(200).json();
        assert_eq!(narrower["scope"], "resources:read budget:read");
        let program_client = app.stranger().with_token(text(&narrower, "access_token"));
        let bought = program_client.post_once(&fresh_key(), "/v1/resources", &ada.order("sandbox", "free")).await;
        bought.problem(403, "insufficient_scope");
        drop(&program, "resources:read").await.expect_status(303);
        drop(&program, "budget:read").await.expect_status(409);
        drop(&program, "admin").await.expect_status(400);
        assert!(!link.get(&program).await.text().contains("Take away"), "one is left");
        // The same for the platform's own assertions.
        drop(&harbour, "resources:write").await.expect_status(303);
        assert_eq!(works(&app, &ada.token).await, 401);
        let again = comes_again(&app, &ada).await.expect_status(200).json();
        assert_eq!(again["scope"], "resources:read resources:delete budget:read dashboard:link");
        // Only a page of ours, after a log-in, gives it back.
        let whole = client.tokens(&ada).await;
        assert_eq!(whole["scope"], "resources:read resources:write budget:read");
        app.stop().await;
    }

    async fn an_agents_cap_is_only_lowered_counts_the_month_and_binds_with_the_next_purchase(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let tokens = client.tokens(&ada).await;
        let program = app.stranger().with_token(text(&tokens, "access_token"));
        let buys = async || program.post_once(&fresh_key(), "/v1/resources", &ada.order("postgres", "small")).await;
        buys().await.expect_status(201);
        let link = Browser::by_link(&ada).await;
        let page = pages_of(&link).await.remove(0);
        let lower = async |to: &str| link.submits(&format!("{page}/cap"), &[("ceiling", to)]).await;
        for bad in ["", "much", "60,00", "100", "100.01", "1000", "-1"] {
            lower(bad).await.expect_status(422);
        }
        lower("20").await.expect_status(303);
        for higher in ["20", "20.01", "99"] {
            let told = lower(higher).await.expect_status(422).text();
            assert!(told.contains("$20.00") && told.contains("only be lowered"), "{told}");
        }
        buys().await.expect_status(201);
        let problem = buys().await.problem(402, "cap_reached");
        assert_eq!((&problem["binding"], &problem["spent"], &problem["ceiling"]), (&json!("agent"), &json!(1_800), &json!(2_000)));
        ada.buys("postgres", "small").await.expect_status(201);
        lower("5").await.expect_status(303);
        assert_eq!(buys().await.problem(402, "cap_reached")["ceiling"], json!(500));
        // The next month begins with the cap as it was lowered.
        app.pass(chrono::TimeDelta::days(31));
        let again = client.refreshes(text(&tokens, "refresh_token")).await;
        if again.status() == 200 {
            let token = again.json();
            let later = app.stranger().with_token(text(&token, "access_token"));
            let paid = later.post_once(&fresh_key(), "/v1/resources", &json!({"service": "postgres", "plan": "small",
                "payment_token": app.pays(&crate::harness::app::usd(50_000))})).await;
            assert_eq!(paid.problem(402, "cap_reached")["spent"], json!(0));
        }
        app.stop().await;
    }

    async fn another_accounts_agent_is_not_there_whatever_is_tried_with_its_id(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (ada, eve) = (app.agent().await, app.agent_of(&user("eve")).await);
        let owner = Browser::of_owner(&ada).await;
        let page = only_page(&owner).await;
        let attacker = Browser::of_owner(&eve).await;
        let nobody = format!("/dashboard/agents/{}", AgentId::new(app.now()));
        for target in [page.as_str(), nobody.as_str(), "/dashboard/agents/x", "/dashboard/agents/agt_"] {
            attacker.get(target).await.expect_status(404);
            attacker.get(&format!("{target}/undo")).await.expect_status(404);
            for verb in ["pause", "resume", "revoke", "undo"] {
                attacker.submits(&format!("{target}/{verb}"), &[]).await.expect_status(404);
            }
            attacker.submits(&format!("{target}/scope"), &[("scope", "budget:read")]).await.expect_status(404);
            attacker.submits(&format!("{target}/cap"), &[("ceiling", "1")]).await.expect_status(404);
        }
        assert_eq!(works(&app, &ada.token).await, 200);
        assert!(owner.get(&page).await.text().contains("may act"), "nothing was changed");
        let id = page.rsplit('/').next().unwrap();
        assert!(!attacker.get("/dashboard/agents").await.text().contains(id));
        // Without a session there is nothing at all.
        let stranger = Browser::new(&app);
        stranger.get(&page).await.expect_status(401);
        stranger.submits(&format!("{page}/pause"), &[]).await.expect_status(401);
        app.stop().await;
    }

    async fn a_form_of_another_site_takes_nothing_from_an_agent(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let owner = Browser::of_owner(&ada).await;
        let page = only_page(&owner).await;
        for headers in [[("sec-fetch-site", "cross-site")], [("sec-fetch-site", "same-site")], [("origin", "https://evil.example")]] {
            for verb in ["pause", "resume", "revoke", "undo", "scope", "cap"] {
                let body = "scope=resources%3Awrite&ceiling=1";
                owner.form(&format!("{page}/{verb}"), &headers, body).await.expect_status(403);
            }
        }
        assert_eq!(works(&app, &ada.token).await, 200);
        assert!(owner.get(&page).await.text().contains("may act"));
        // Looking changes nothing either.
        for verb in ["pause", "revoke", "scope", "cap"] {
            assert_eq!(owner.get(&format!("{page}/{verb}")).await.status(), 405, "{verb}");
        }
        app.stop().await;
    }

    async fn many_agents_are_shown_page_by_page_each_once(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let account = ada.account.parse().unwrap();
        let (orchestrator, now) = (app.orchestrator.id.clone(), app.now());
        let made = app.app().db.write("test", move |conn| {
            for number in 0..44 {
                let key = portreeve::account::AgentKey {
                    account_id: portreeve::ids::AccountId::clone(&account), orchestrator_id: orchestrator.clone(), client: format!("program {number}"),
                };
                portreeve::account::admit(conn, &key, now)?;
            }
            Ok::<_, portreeve::account::AdmitError>(())
        });
        made.await.unwrap();
        let browser = Browser::of_owner(&ada).await;
        let (mut seen, mut path) = (std::collections::BTreeSet::new(), "/dashboard/agents".to_owned());
        loop {
            let page = browser.get(&path).await.expect_status(200).text();
            let ids: Vec<String> = page.split("<h2 id=\"name-").skip(1).map(|part| part.split('"').next().unwrap().to_owned()).collect();
            assert!(ids.len() <= 20);
            for id in ids {
                assert!(seen.insert(id), "twice");
            }
            match page.split("rel=\"next\" href=\"").nth(1) {
                Some(rest) => path = rest.split('"').next().unwrap().replace("&amp;", "&"),
                None => break,
            }
        }
        assert_eq!(seen.len(), 45);
        app.stop().await;
    }

    async fn the_owner_is_told_of_each_new_agent_by_a_mail_whose_link_only_takes_power_away(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        app.mails_of_agents(1).await;
        let client = OAuthClient::public(&app).await;
        let tokens = client.tokens(&ada).await;
        client.tokens(&ada).await;
        let mails = app.mails_of_agents(2).await;
        assert_eq!(mails.len(), 2, "one for each agent, not for each token");
        let mail = &mails[1];
        assert!(mail.contains("To: ada@example.test"), "{mail}");
        let link = mail.split(&format!("{}/safety/", app.base)).nth(1).unwrap().split_whitespace().next().unwrap();
        let link = format!("/safety/{link}");
        // Without a log-in; looking changes nothing; nothing of the account is shown; nobody is logged in.
        let stranger = Browser::new(&app);
        for _ in 0..3 {
            let page = stranger.get(&link).await.expect_status(200);
            assert!(!page.has_header("set-cookie") && page.header("referrer-policy") == "no-referrer");
            let shown = page.text();
            assert!(shown.contains("Codex Seven") && shown.contains("Stop new spending"), "{shown}");
            for hidden in ["ada@", &ada.account, "Ledger", "$"] {
                assert!(!shown.contains(hidden), "{hidden}: {shown}");
            }
        }
        assert_eq!(works(&app, text(&tokens, "access_token")).await, 200);
        for verb in ["pause", "revoke", "stop"] {
            assert_eq!(stranger.get(&format!("{link}/{verb}")).await.status(), 405, "{verb}");
        }
        stranger.form(&format!("{link}/pause"), &[("sec-fetch-site", "cross-site")], "").await.expect_status(403);
        for verb in ["resume", "cap", "scope", "undo", "login", "go"] {
            assert!(400 <= stranger.submits(&format!("{link}/{verb}"), &[]).await.status(), "{verb}");
        }
        assert_eq!(works(&app, text(&tokens, "access_token")).await, 200, "nothing of that changed anything");
        stranger.submits(&format!("{link}/pause"), &[]).await.expect_status(200);
        app.stranger().with_token(text(&tokens, "access_token")).get("/v1/budget").await.problem(403, "agent_paused");
        stranger.submits(&format!("{link}/revoke"), &[]).await.expect_status(200);
        assert_eq!(works(&app, text(&tokens, "access_token")).await, 401);
        assert_eq!(works(&app, &ada.token).await, 200, "the other agent");
        stranger.submits(&format!("{link}/stop"), &[]).await.expect_status(200);
        ada.buys("postgres", "small").await.problem(402, "spending_stopped");
        stranger.get("/dashboard").await.expect_status(401);
        app.stop().await;
    }

    async fn a_forged_or_expired_mail_link_does_nothing(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (ada, eve) = (app.agent().await, app.agent_of(&user("eve")).await);
        let hers = app.mails_of_agents(2).await.into_iter().find(|mail| mail.contains("To: eve@")).unwrap();
        let link = hers.split(&format!("{}/safety/", app.base)).nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        let [agent, until, tag]: [&str; 3] = link.split('.').collect::<Vec<_>>().try_into().unwrap();
        let owner = Browser::of_owner(&ada).await;
        let of_ada = only_page(&owner).await.rsplit('/').next().unwrap().to_owned();
        let later: i64 = until.parse::<i64>().unwrap() + 86_400;
        let stranger = Browser::new(&app);
        for forged in [
            format!("{of_ada}.{until}.{tag}"), format!("{agent}.{later}.{tag}"), format!("{agent}.{until}.AAAA"),
            format!("{agent}.{until}"), format!("{agent}.{until}.{tag}x"), "x".to_owned(),
        ] {
            stranger.get(&format!("/safety/{forged}")).await.expect_status(410);
            for verb in ["pause", "revoke", "stop"] {
                stranger.submits(&format!("/safety/{forged}/{verb}"), &[]).await.expect_status(410);
            }
        }
        app.pass(chrono::TimeDelta::days(30));
        stranger.get(&format!("/safety/{link}")).await.expect_status(410);
        stranger.submits(&format!("/safety/{link}/revoke"), &[]).await.expect_status(410);
        comes_again(&app, &eve).await.expect_status(200);
        comes_again(&app, &ada).await.expect_status(200);
        app.stop().await;
    }
}
