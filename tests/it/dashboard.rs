//! The human's side: one-use links, sessions, and the switches that work at once.

use std::time::Duration;

use chrono::TimeDelta;
use futures_util::future::join_all;
use portreeve::app::HOUSE;
use portreeve::db::{DbConnection, DbError};
use serde_json::{Value, json};

use crate::harness::app::{TestApp, user};
use crate::harness::browser::Browser;
use crate::harness::client::{Answer, Client};

on_both! {
    async fn a_link_is_not_used_up_by_looking_and_works_once(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let (link, anyone) = (agent.link().await, app.stranger());
        for _ in 0..3 {
            let page = anyone.get(&link).await.expect_status(200);
            assert!(!page.has_header("set-cookie") && page.text().contains("<form method=\"post\""));
            assert_eq!(page.header("referrer-policy"), "no-referrer");
        }
        let used = anyone.post_form(&link, &[]).await.expect_status(303);
        assert_eq!(used.header("location"), "/dashboard");
        assert!(used.has_header("set-cookie"));
        for again in [anyone.post_form(&link, &[]).await, anyone.get(&link).await] {
            assert_eq!((again.status(), again.has_header("set-cookie")), (410, false));
        }
        for unknown in ["/d/dl_nobody", "/d/x"] {
            assert_eq!(anyone.get(unknown).await.status(), 410);
            assert_eq!(anyone.post_form(unknown, &[]).await.status(), 410);
        }
        app.stop().await;
    }

    async fn a_link_that_does_not_work_costs_no_write(db: TestDb) {
        let app = TestApp::start(&db).await;
        let mut agent = app.agent().await;
        let (used, late, anyone) = (agent.link().await, agent.link().await, app.stranger());
        logs_in(&app, &used).await;
        app.pass(TimeDelta::minutes(11));
        agent.logs_in_again().await;
        let good = agent.link().await;

        // As long as this write lasts, nothing else is written in the lane of log-ins.
        let (began, mut running) = tokio::sync::mpsc::unbounded_channel();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let house = app.app().db.clone();
        let busy = tokio::spawn(async move {
            let work = move |_: &mut DbConnection| {
                began.send(()).unwrap();
                released.recv().unwrap();
                Ok::<_, DbError>(())
            };
            house.write(HOUSE, work).await
        });
        running.recv().await.unwrap();
        for link in [used.as_str(), &late, "/d/dl_nobody", "/d/x"] {
            let answer = tokio::time::timeout(Duration::from_secs(20), anyone.post_form(link, &[])).await;
            assert_eq!(answer.unwrap_or_else(|_| panic!("{link} waits for a write")).status(), 410);
        }
        let mut redeemed = std::pin::pin!(anyone.post_form(&good, &[]));
        assert!(tokio::time::timeout(Duration::from_millis(500), &mut redeemed).await.is_err(), "this one is a write");
        release.send(()).unwrap();
        assert_eq!(redeemed.await.status(), 303);
        busy.await.unwrap().unwrap();
        app.stop().await;
    }

    async fn what_a_script_is_told_stands_on_pages_alone(db: TestDb) {
        let app = TestApp::start(&db).await;
        let anyone = app.stranger();
        for (path, status) in [("/openapi.json", 200), ("/catalog", 200), ("/v1/budget", 401), ("/v1/nothing", 401)] {
            let answer = anyone.get_with(path, "hx-request", "true").await.expect_status(status);
            for header in ["hx-redirect", "hx-retarget", "hx-reselect", "hx-reswap"] {
                assert!(!answer.has_header(header), "{path}: {header}");
            }
            assert!(!answer.headers("vary").contains(&"hx-request"), "{path}");
        }
        let page = anyone.get_with("/dashboard", "hx-request", "true").await.expect_status(401);
        assert_eq!((page.header("hx-redirect"), page.header("vary")), ("/dashboard", "hx-request"));
        app.stop().await;
    }

    async fn of_parallel_uses_of_a_link_one_wins(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let (link, anyone) = (agent.link().await, app.stranger());
        let answers = join_all((0..32).map(|_| anyone.post_form(&link, &[]))).await;
        let with = |status| answers.iter().filter(|answer| answer.status() == status).count();
        assert_eq!((with(303), with(410)), (1, 31));
        app.stop().await;
    }

    async fn a_link_ends_after_ten_minutes_and_a_session_after_eight_hours(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let (early, late) = (agent.link().await, agent.link().await);
        app.pass(TimeDelta::seconds(599));
        let human = logs_in(&app, &early).await;
        app.pass(TimeDelta::minutes(1));
        let anyone = app.stranger();
        assert_eq!(anyone.get(&late).await.status(), 410);
        let expired = anyone.post_form(&late, &[]).await;
        assert_eq!((expired.status(), expired.has_header("set-cookie")), (410, false));
        app.pass(TimeDelta::minutes(8 * 60 - 2));
        human.get("/dashboard").await.expect_status(200);
        app.pass(TimeDelta::minutes(2));
        assert_eq!(human.get("/dashboard").await.status(), 401);
        app.stop().await;
    }

    async fn a_retry_under_the_same_key_gets_the_same_link(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let nothing = json!({});
        let answers = join_all((0..16).map(|_| agent.client.post_once("link", "/v1/deep-links", &nothing))).await;
        let mut links: Vec<Value> = Vec::new();
        for answer in answers {
            links.push(answer.expect_status(201).json());
        }
        links.dedup();
        assert_eq!(links.len(), 1);
        assert_eq!(links[0]["expires_at"], "2026-11-15T12:10:00Z");
        agent.client.post("/v1/deep-links", &json!({})).await.problem(400, "idempotency_key_required");
        let bob = app.agent_of(&user("bob")).await;
        let other = bob.client.post_once("link", "/v1/deep-links", &json!({})).await.expect_status(201).json();
        assert_ne!(other["url"], links[0]["url"]);
        app.stop().await;
    }

    async fn the_session_cookie_stays_with_this_site_and_out_of_scripts(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let used = app.stranger().post_form(&agent.link().await, &[]).await.expect_status(303);
        let [cookie] = used.headers("set-cookie").try_into().unwrap();
        let attributes: Vec<&str> = cookie.split("; ").skip(1).collect();
        assert!(cookie.starts_with("portreeve_session=ses_"), "{cookie}");
        for wanted in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=28800"] {
            assert!(attributes.contains(&wanted), "`{wanted}` is missing: {cookie}");
        }
        assert!(!attributes.iter().any(|one| one.starts_with("Domain")), "{cookie}");
        assert_eq!(used.header("cache-control"), "no-store");
        app.stop().await;
    }

    async fn logging_out_ends_the_session_everywhere(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let human = logs_in(&app, &agent.link().await).await;
        human.get("/dashboard").await.expect_status(200);
        let out = human.post("/dashboard/logout", &[]).await.expect_status(200);
        assert!(out.header("set-cookie").contains("Max-Age=0"), "{}", out.header("set-cookie"));
        // The cookie itself no longer works, wherever it was copied to.
        assert_eq!(human.get("/dashboard").await.status(), 401);
        assert_eq!(human.post("/dashboard/stop", &[]).await.status(), 401);
        app.stop().await;
    }

    async fn without_a_session_there_is_no_dashboard(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        for stranger in [app.stranger(), agent.client.clone()] {
            let page = stranger.get("/dashboard").await.expect_status(401);
            assert!(page.header("content-type").starts_with("text/html"));
            for path in ["/dashboard/stop", "/dashboard/resume", "/dashboard/cap", "/dashboard/logout"] {
                assert_eq!(stranger.post_form(path, &[("ceiling", "1")]).await.status(), 401, "{path}");
            }
        }
        let forged = Browser::new(&app);
        forged.takes("portreeve_session", "ses_forged");
        assert_eq!(forged.get("/dashboard").await.status(), 401);
        assert_eq!(agent.budget().await["spending_stopped"], false);
        app.stop().await;
    }

    async fn a_frozen_account_has_no_sessions(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let human = logs_in(&app, &agent.link().await).await;
        let (id, now) = (agent.account.parse().unwrap(), app.now());
        let freeze = app.app().db.write(HOUSE, move |conn| {
            portreeve::account::freeze(conn, &id, "operator", "test", now)
        });
        freeze.await.unwrap();
        assert_eq!(human.get("/dashboard").await.status(), 401);
        app.stop().await;
    }

    async fn forms_from_other_sites_are_refused(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let human = Browser::of_owner(&agent).await;
        let link = agent.link().await;
        let own = app.base.as_str();
        for path in ["/dashboard/stop", "/dashboard/resume", "/dashboard/cap", "/dashboard/logout", link.as_str()] {
            for headers in [
                &[("sec-fetch-site", "cross-site")][..],
                &[("sec-fetch-site", "same-site")],
                &[("sec-fetch-site", "cross-site"), ("origin", own)],
                &[("sec-fetch-site", "nonsense")],
                &[("origin", "https://elsewhere.example")],
                &[("origin", "null")],
            ] {
                let answer = human.post(path, headers).await;
                assert_eq!(answer.status(), 403, "{path} {headers:?}: {}", answer.text());
            }
        }
        assert_eq!((&agent.budget().await["spending_stopped"], &agent.budget().await["ceiling"]), (&json!(false), &json!(10_000)));
        // Nothing was used up or changed; our own pages still can.
        human.post("/dashboard/stop", &[("origin", own), ("sec-fetch-site", "same-origin")]).await.expect_status(303);
        human.post("/dashboard/resume", &[("origin", own)]).await.expect_status(303);
        app.stranger().post_form(&link, &[]).await.expect_status(303);
        app.stop().await;
    }

    async fn stopping_refuses_new_spending_at_once_until_it_is_resumed(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let (weather, api_key) = agent.gets_the_weather().await;
        let human = Browser::of_owner(&agent).await;
        human.post("/dashboard/stop", &[]).await.expect_status(303);
        assert_eq!(agent.budget().await["spending_stopped"], true);
        agent.buys("postgres", "small").await.problem(402, "spending_stopped");
        agent.buys("weather", "metered").await.problem(402, "spending_stopped");
        let platform = Client::new(&app.platform.url).with_token(&api_key);
        let call = platform.get("/weather/lisbon?requests=1000").await;
        call.problem(402, "spending_stopped");
        assert_eq!(agent.spent_and_held().await, (0, 0));
        assert!(human.get("/dashboard").await.text().contains("/dashboard/resume"));
        // What exists goes on, and what is free is no spending.
        agent.client.get(&format!("/v1/resources/{weather}")).await.expect_status(200);
        agent.buys("sandbox", "free").await.expect_status(201);

        human.post("/dashboard/resume", &[]).await.expect_status(303);
        agent.buys("postgres", "small").await.expect_status(201);
        platform.get("/weather/lisbon?requests=1000").await.expect_status(200);
        assert_eq!(agent.spent_and_held().await, (950, 0));
        app.stop().await;
    }

    async fn a_link_never_undoes_a_stop_and_whoever_logged_in_does(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        // Whoever has a link can stop; the same session cannot undo it, and no other link can.
        let human = logs_in(&app, &agent.link().await).await;
        human.post("/dashboard/stop", &[]).await.expect_status(303);
        for other in [human, logs_in(&app, &agent.link().await).await] {
            let page = other.post("/dashboard/resume", &[]).await.expect_status(403).text();
            assert!(page.contains("agents can make such links") && page.contains("href=\"/login\""), "{page}");
            let whole = other.post("/dashboard/resume", &[("hx-request", "true")]).await.expect_status(403);
            assert_eq!((whole.header("hx-retarget"), whole.header("hx-reselect")), ("body", "body"));
            let shown = other.get("/dashboard").await.text();
            assert!(shown.contains("Log in to resume") && !shown.contains("action=\"/dashboard/resume\""));
            agent.buys("postgres", "small").await.problem(402, "spending_stopped");
        }
        // Any browser in which the owner logged in, also hours later.
        let human = Browser::of_owner(&agent).await;
        app.pass(TimeDelta::hours(7));
        assert!(human.get("/dashboard").await.text().contains("action=\"/dashboard/resume\""));
        let mut agent = agent;
        agent.logs_in_again().await;
        human.post("/dashboard/resume", &[]).await.expect_status(303);
        agent.buys("postgres", "small").await.expect_status(201);
        app.stop().await;
    }

    async fn the_cap_can_be_lowered_below_what_is_spent_and_never_raised(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        agent.buys("domain", "dot-dev").await.expect_status(201);
        let human = logs_in(&app, &agent.link().await).await;
        lowers(&human, "20.00").await.expect_status(303);
        assert_eq!((&agent.budget().await["ceiling"], &agent.budget().await["remaining"]), (&json!(2000), &json!(800)));
        agent.buys("postgres", "small").await.problem(402, "cap_reached");

        // Below what is spent: asked once more, and the answer counts for that amount alone.
        let asked = lowers(&human, "$5").await.expect_status(422).text();
        assert!(asked.contains("$12.00 is spent or held already") && asked.contains("name=\"sure\" value=\"500\""));
        human.form("/dashboard/cap", &[], "ceiling=4&sure=500").await.expect_status(422);
        assert_eq!(agent.budget().await["ceiling"], 2000);
        human.form("/dashboard/cap", &[], "ceiling=5&sure=500").await.expect_status(303);
        assert!(human.get("/dashboard").await.text().contains("$7.00 over the cap"));
        let refusal = agent.buys("postgres", "small").await.problem(402, "cap_reached");
        assert_eq!((&refusal["ceiling"], &refusal["spent"], &refusal["remaining"]), (&json!(500), &json!(1200), &json!(0)));
        assert_eq!(agent.budget().await["remaining"], 0);
        // What was bought stays.
        assert_eq!(agent.client.get("/v1/resources").await.json()["data"][0]["state"], "ready");
        for raised in ["5.01", "100", "1,000.00"] {
            let page = lowers(&human, raised).await.expect_status(422);
            assert!(page.header("content-type").starts_with("text/html"));
        }
        for nonsense in ["", "x", "-1", "1e3", "4.001", "99999999999999999999999999", "5 EUR"] {
            assert_eq!(lowers(&human, nonsense).await.status(), 422, "`{nonsense}`");
        }
        assert_eq!(agent.budget().await["ceiling"], 500);
        app.stop().await;
    }

    async fn a_script_gets_the_part_that_changed_and_everybody_else_a_page(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        agent.buys("domain", "dot-dev").await.expect_status(201);
        let human = Browser::of_owner(&agent).await;
        let of_script = [("hx-request", "true"), ("sec-fetch-site", "same-origin")];

        let stopped = is_part(human.post("/dashboard/stop", &of_script).await, 200);
        for shown in ["New spending is stopped.", "action=\"/dashboard/resume\"", "data-focus>Resume spending", "stopped new spending"] {
            assert!(stopped.contains(shown), "`{shown}`");
        }
        agent.buys("postgres", "small").await.problem(402, "spending_stopped");
        let resumed = is_part(human.post("/dashboard/resume", &of_script).await, 200);
        assert!(resumed.contains("Spending is allowed again") && resumed.contains("action=\"/dashboard/stop\""));
        agent.buys("postgres", "small").await.expect_status(201);

        let lowered = is_part(human.form("/dashboard/cap", &of_script, "ceiling=50").await, 200);
        assert!(lowered.contains("The cap is $50.00 now.") && lowered.contains("of $50.00 spent"));
        for typed in ["50.01", "much"] {
            let refused = is_part(human.form("/dashboard/cap", &of_script, &format!("ceiling={typed}")).await, 422);
            assert!(refused.contains("id=\"cap-problem\"") && refused.contains(&format!("value=\"{typed}\"")));
            assert!(refused.contains("<div id=\"told\" role=\"status\"></div>"), "nothing was done");
        }
        assert_eq!(agent.budget().await["ceiling"], 5_000);

        // The same without script: the way back, which says what was done as long as it is so, and whole pages.
        for (path, back, told) in [
            ("/dashboard/stop", "/dashboard?done=stopped", "New spending is stopped."),
            ("/dashboard/resume", "/dashboard?done=resumed", "Spending is allowed again"),
            ("/dashboard/cap", "/dashboard?done=cap", "The cap is $40.00 now."),
        ] {
            let answer = human.form(path, &[], "ceiling=40").await.expect_status(303);
            assert_eq!((answer.header("location"), answer.header("vary")), (back, "hx-request"));
            let page = human.get(back).await.expect_status(200).text();
            assert!(page.contains(&format!("<p class=\"notice good\">{told}")), "{page}");
        }
        assert!(!human.get("/dashboard?done=stopped").await.text().contains("class=\"notice"), "it is not so");
        assert!(!human.get("/dashboard").await.text().contains("class=\"notice"));
        let page = lowers(&human, "much").await.expect_status(422);
        assert!(page.text().starts_with("<!doctype html>") && page.header("vary") == "hx-request");
        app.stop().await;
    }

    async fn what_one_request_did_is_told_in_its_order_and_log_ins_hide_nothing(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        for _ in 0..4 {
            agent.buys("sandbox", "free").await.expect_status(201);
        }
        let human = logs_in(&app, &agent.link().await).await;
        for _ in 0..30 {
            agent.link().await;
        }
        let html = human.get("/dashboard").await.expect_status(200).text();
        let feed = html.split_once("id=\"activity\"").unwrap().1.split_once("</section>").unwrap().0;
        let lines: Vec<&str> = feed.split("<li>").skip(1).map(|line| line.split_once("</b>").unwrap().1).collect();
        assert!(lines[0].contains("31 log-in links made, 1 used"), "{feed}");
        let ready_above_chosen = |pair: &[&str]| pair[0].contains("ready") && pair[1].contains("chose");
        assert!(lines[1..9].chunks(2).all(ready_above_chosen), "{feed}");
        assert!(lines[9].contains("opened the account"), "{feed}");
        app.stop().await;
    }

    async fn older_entries_are_a_page_for_a_reader_and_rows_for_a_script(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let (_, api_key) = agent.gets_the_weather().await;
        let platform = Client::new(&app.platform.url).with_token(&api_key);
        for _ in 0..45 {
            platform.get("/weather/lisbon?requests=1000").await.expect_status(200);
        }
        let human = logs_in(&app, &agent.link().await).await;
        let newest = human.get("/dashboard").await.expect_status(200);
        assert_eq!(newest.header("vary"), "hx-request");
        let mut seen = sequences(&newest.text());
        assert_eq!(seen.len(), 10);

        let page = human.get("/dashboard?ledger_before=26").await.expect_status(200);
        assert_eq!(page.header("vary"), "hx-request");
        assert!(page.text().starts_with("<!doctype html>") && page.text().contains(">Newest</a>"));
        while let Some(before) = seen.last().filter(|last| 1 < **last) {
            let path = format!("/dashboard?ledger_before={before}");
            let rows = is_part(human.get_as_script(&path).await, 200);
            assert!(rows.trim().starts_with("<section class=\"sheet\" id=\"ledger\"") && !rows.contains(">Newest</a>"));
            let rows = sequences(&rows);
            assert!(!rows.is_empty());
            seen.extend(rows);
        }
        let all: Vec<i64> = (1..=seen.len()).rev().map(|n| i64::try_from(n).unwrap()).collect();
        assert!(45 <= seen.len() && seen == all, "each entry once: {seen:?}");
        app.stop().await;
    }

    async fn a_page_that_is_no_part_is_never_put_into_the_page_that_is_shown(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let human = Browser::of_owner(&agent).await;

        // From another site: refused as ever, whatever headers it has, and shown whole.
        for path in ["/dashboard/stop", "/dashboard/resume", "/dashboard/cap", "/dashboard/logout"] {
            for site in [("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site"), ("origin", "https://elsewhere.example")] {
                let refused = human.post(path, &[("hx-request", "true"), site]).await.expect_status(403);
                assert_eq!((refused.header("hx-retarget"), refused.header("hx-reselect")), ("body", "body"), "{path}");
            }
        }
        assert_eq!(agent.budget().await["spending_stopped"], false);

        // The session ended meanwhile: the browser goes where it is told so.
        human.post("/dashboard/logout", &[]).await.expect_status(200);
        let gone = [
            human.get_as_script("/dashboard?ledger_before=20").await,
            human.post("/dashboard/resume", &[("hx-request", "true")]).await,
            human.form("/dashboard/cap", &[("hx-request", "true")], "ceiling=1").await,
        ];
        for answer in gone {
            let answer = answer.expect_status(401);
            assert_eq!((answer.header("hx-redirect"), answer.header("vary")), ("/dashboard", "hx-request"));
            assert_eq!(answer.header("cache-control"), "no-store");
        }
        assert!(!human.get("/dashboard").await.has_header("hx-redirect"), "no script asked");
        app.stop().await;
    }

    async fn a_form_that_cannot_be_read_is_answered_with_a_page_that_says_so_and_blames_nobody_else(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let owner = Browser::of_owner(&ada).await;
        let headers = [("accept", "text/html"), ("sec-fetch-site", "same-origin")];
        for path in ["/login", "/dashboard/cap"] {
            let answer = owner.form(path, &headers, "foo=bar").await.expect_status(400).text();
            assert!(answer.contains("That could not be read.") && answer.contains("missing field"), "{answer}");
            assert!(!answer.contains("wrong on our side"), "{answer}");
        }
        // Anybody can write an address: its words are not repeated, whoever follows it.
        let stranger = Browser::new(&app);
        for (browser, path) in [(&stranger, "/dashboard/log-in"), (&owner, "/dashboard")] {
            let answer = browser.get_as_html(&format!("{path}?done=Call%20us%20now")).await.expect_status(400).text();
            assert!(answer.contains("That address could not be read.") && !answer.contains("Call us"), "{answer}");
        }
        app.stop().await;
    }

    async fn every_page_has_a_strict_policy_and_is_not_framed(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let human = logs_in(&app, &agent.link().await).await;
        let link = agent.link().await;
        let pages = [
            human.get("/dashboard").await,
            human.get("/").await,
            human.get("/docs/problems").await,
            human.get("/docs/problems/cap_reached").await,
            human.get("/docs/problems/nothing").await,
            human.get("/consent/needed").await,
            human.get(&link).await,
            human.get("/d/gone").await,
            human.post("/dashboard/stop", &[("sec-fetch-site", "cross-site")]).await,
            lowers(&human, "x").await,
            app.stranger().get("/dashboard").await,
            human.post("/dashboard/logout", &[]).await,
        ];
        for page in pages {
            let kind = page.header("content-type").to_owned();
            assert!(kind.starts_with("text/html"), "{kind}");
            let policy = page.header("content-security-policy");
            for part in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"] {
                assert!(policy.contains(part), "`{part}` is missing: {policy}");
            }
            assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
            let text = page.text();
            assert!(policy.contains("script-src 'self';"), "{policy}");
            for inline in ["<script>", "hx-on", "js:", " style=\"", " onclick=", "javascript:", "<style"] {
                assert!(!text.contains(inline), "`{inline}`");
            }
            assert!(page.header("cache-control").contains("no-store") || text.contains("problem") || !text.contains("ada@"));
        }
        app.stop().await;
    }

    async fn the_page_shows_the_numbers_of_the_api_and_escapes_what_others_wrote(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (agent, bob) = (app.agent().await, app.agent_of(&user("bob")).await);
        let mut order = agent.order("postgres", "small");
        order["name"] = json!("<script>alert(1)</script>");
        agent.sends(&order).await.expect_status(201);
        let page = logs_in(&app, &agent.link().await).await.get("/dashboard").await.expect_status(200);
        assert!(page.header("cache-control").contains("no-store"));
        let text = page.text();
        for shown in ["9.00", "100.00", "91.00", "Harbour", "ada@example.test"] {
            assert!(text.contains(shown), "`{shown}`");
        }
        assert!(!text.contains("<script>alert") && text.contains("alert(1)"));
        let other = logs_in(&app, &bob.link().await).await.get("/dashboard").await.text();
        assert!(!other.contains("alert(1)") && !other.contains("ada@"), "another's dashboard");
        app.stop().await;
    }
}

/// A browser that used the link.
async fn logs_in(app: &TestApp, link: &str) -> Browser {
    let browser = Browser::new(app);
    browser.uses_link(link).await;
    browser
}

/// The text of a part: personal, strict as a page, and no page.
#[track_caller]
fn is_part(answer: Answer, status: u16) -> String {
    let answer = answer.expect_status(status);
    assert_eq!((answer.header("vary"), answer.header("cache-control")), ("hx-request", "no-store"));
    assert!(answer.header("content-security-policy").contains("script-src 'self'"));
    for header in ["hx-redirect", "hx-retarget", "set-cookie"] {
        assert!(!answer.has_header(header), "{header}");
    }
    let text = answer.text();
    assert!(!text.contains("<html") && !text.contains("<script") && !text.contains("<main"), "a whole page");
    text
}

/// The entries of the ledger that are shown, as they stand.
fn sequences(html: &str) -> Vec<i64> {
    let rows = html.split("data-sequence=\"").skip(1);
    rows.map(|row| row.split('"').next().unwrap().parse().unwrap()).collect()
}

async fn lowers(human: &Browser, ceiling: &str) -> Answer {
    let body = url::form_urlencoded::Serializer::new(String::new()).append_pair("ceiling", ceiling).finish();
    human.form("/dashboard/cap", &[("sec-fetch-site", "same-origin")], &body).await
}
