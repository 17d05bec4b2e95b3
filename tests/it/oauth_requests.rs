//! Authorization requests: who is shown what, what goes back to the client and what goes nowhere, and that only a human
//! who logged in allows anything.

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::app::{TestApp, user};
use crate::harness::browser::Browser;
use crate::harness::oauth::{CHALLENGE, OAuthClient, REDIRECT, VERIFIER, answered, form, refused, text, works};
use crate::harness::receiver::Receiver;
use crate::proofs::Holder;

/// Where the browser is led that asks for a page: it must be a redirect that tells nobody where it came from.
async fn led_to(browser: &Browser, page: &str) -> String {
    let answer = browser.get(page).await.expect_status(303);
    assert_eq!((answer.header("referrer-policy"), answer.header("cache-control")), ("no-referrer", "no-store"));
    answer.header("location").to_owned()
}

/// The log-in of at most so many seconds ago that leads back to `page`.
fn log_in(page: &str, seconds: u32) -> String {
    format!("/login?{}", form(&[("to", page), ("max_age", &seconds.to_string())]))
}

on_both! {
    async fn a_human_allows_and_the_client_gets_a_code_with_state_and_issuer(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let page = client.page(&[]).await;
        let browser = Browser::of_owner(&ada).await;
        let shown = browser.get(&page).await.expect_status(200);
        let html = shown.text();
        for wanted in ["<b>Codex Seven</b> could spend up to $100.00 a month", "agent.example", "ada@example.test",
            "<legend>Create</legend>", "value=\"budget:read\" checked", ">Allow</button>", ">Deny</button>"] {
            assert!(html.contains(wanted), "`{wanted}` is missing: {html}");
        }
        let policy = shown.header("content-security-policy");
        assert!(policy.contains("frame-ancestors 'none'") && policy.contains("form-action 'self' https://agent.example;"), "{policy}");
        assert_eq!((shown.header("referrer-policy"), shown.header("cache-control")), ("no-referrer", "no-store"));
        let ticks = [("scope", "resources:read"), ("scope", "budget:read")];
        let answer = answered(&browser.submits(&format!("{page}/allow"), &ticks).await, REDIRECT);
        assert_eq!((text(&answer, "state"), text(&answer, "iss")), ("st-1", app.base.as_str()));
        let tokens = client.redeems(text(&answer, "code")).await.expect_status(200).json();
        assert_eq!(tokens["scope"], "resources:read budget:read", "what was unticked is not given");
        assert_eq!((&tokens["token_type"], &tokens["expires_in"]), (&json!("Bearer"), &json!(600)));
        assert_eq!(works(&app, text(&tokens, "access_token")).await, 200);
        // Answered is answered.
        browser.get(&page).await.expect_status(410);
        browser.submits(&format!("{page}/allow"), &ticks).await.expect_status(410);
        browser.submits(&format!("{page}/deny"), &[]).await.expect_status(410);
        app.stop().await;
    }

    async fn denying_gives_nothing_and_says_so(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let page = client.page(&[]).await;
        let browser = Browser::of_owner(&ada).await;
        let answer = answered(&browser.submits(&format!("{page}/deny"), &[]).await, REDIRECT);
        assert_eq!((text(&answer, "error"), text(&answer, "state"), text(&answer, "iss")), ("access_denied", "st-1", app.base.as_str()));
        assert!(answer.get("code").is_none());
        app.stop().await;
    }

    async fn a_link_that_an_agent_can_make_allows_nothing(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let page = client.page(&[]).await;
        let by_link = Browser::by_link(&ada).await;
        assert_eq!(led_to(&by_link, &page).await, log_in(&page, 300));
        let refused = by_link.submits(&format!("{page}/allow"), &[("scope", "budget:read")]).await;
        assert_eq!(refused.status(), 403, "{}", refused.text());
        assert!(refused.text().contains("/login?to=%2Fconsent%2Foreq_"), "the log-in leads back: {}", refused.text());
        // Nobody at all is led to the log-in, and from there back.
        let stranger = Browser::new(&app);
        assert_eq!(led_to(&stranger, &page).await, log_in(&page, 300));
        // The question is still open for its human.
        Browser::of_owner(&ada).await.get(&page).await.expect_status(200);
        app.stop().await;
    }

    async fn a_log_in_of_long_ago_allows_nothing_and_a_client_may_want_a_newer_one(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let browser = Browser::of_owner(&ada).await;
        app.pass(TimeDelta::seconds(60));
        let wants = client.page(&[("max_age", "30")]).await;
        assert_eq!(led_to(&browser, &wants).await, log_in(&wants, 30));
        assert_eq!(browser.submits(&format!("{wants}/allow"), &[("scope", "budget:read")]).await.status(), 403);
        let login = client.page(&[("prompt", "login")]).await;
        assert_eq!(led_to(&browser, &login).await, log_in(&login, 0), "logged in before it was asked");
        let page = client.page(&[]).await;
        browser.get(&page).await.expect_status(200);
        app.pass(TimeDelta::seconds(300));
        assert_eq!(led_to(&browser, &page).await, log_in(&page, 300), "more than five minutes ago");
        app.stop().await;
    }

    async fn a_form_of_another_site_answers_nothing(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let page = client.page(&[]).await;
        let browser = Browser::of_owner(&ada).await;
        for headers in [
            [("sec-fetch-site", "cross-site")],
            [("sec-fetch-site", "same-site")],
            [("origin", "https://evil.example")],
        ] {
            for button in ["allow", "deny"] {
                let answer = browser.form(&format!("{page}/{button}"), &headers, "scope=budget%3Aread").await;
                assert_eq!(answer.status(), 403, "{headers:?}");
            }
        }
        browser.get(&page).await.expect_status(200);
        app.stop().await;
    }

    async fn nobody_is_given_more_than_was_asked_and_nothing_is_no_answer(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let page = client.page(&[("scope", "budget:read")]).await;
        let browser = Browser::of_owner(&ada).await;
        browser.submits(&format!("{page}/allow"), &[]).await.expect_status(422);
        browser.submits(&format!("{page}/allow"), &[("scope", "resources:write")]).await.expect_status(422);
        let more = [("scope", "budget:read"), ("scope", "resources:write"), ("scope", "dashboard:link")];
        let answer = answered(&browser.submits(&format!("{page}/allow"), &more).await, REDIRECT);
        let tokens = client.redeems(text(&answer, "code")).await.expect_status(200).json();
        assert_eq!(tokens["scope"], "budget:read");
        app.stop().await;
    }

    async fn nothing_is_sent_to_an_address_that_is_not_the_clients(db: TestDb) {
        let app = TestApp::start(&db).await;
        let client = OAuthClient::public(&app).await;
        for change in [
            ("redirect_uri", "https://evil.example/cb"),
            ("redirect_uri", "https://agent.example/cb/"),
            ("redirect_uri", "https://agent.example/cb?x=1"),
            ("redirect_uri", "https://agent.example.evil.example/cb"),
            ("redirect_uri", "https://agent.example@evil.example/cb"),
            ("redirect_uri", "http://agent.example/cb"),
            ("redirect_uri", "javascript:alert(1)"),
            ("client_id", "client_00000000000000000000000000"),
            ("client_id", ""),
            ("client_id", "https://127.0.0.1:1/client"),
        ] {
            // Also when there is more that is wrong.
            for more in [("scope", "budget:read"), ("response_type", "token")] {
                let answer = client.authorize(&[change, more]).await;
                assert_eq!(answer.status(), 400, "{change:?}: {}", answer.text());
                assert!(!answer.has_header("location"), "{change:?}");
                assert!(answer.header("content-type").starts_with("text/html"));
                assert!(answer.header("content-security-policy").contains("frame-ancestors 'none'"));
                assert!(!answer.text().contains("evil.example"), "{change:?}");
            }
        }
        let twice = format!("{}&redirect_uri=https%3A%2F%2Fevil.example", client.asks(&[]));
        assert_eq!(client.http.get(&format!("/oauth/authorize?{twice}")).await.status(), 400);
        let two = format!("{}&client_id=x", client.asks(&[]));
        assert_eq!(client.http.get(&format!("/oauth/authorize?{two}")).await.status(), 400);
        app.stop().await;
    }

    async fn every_other_mistake_goes_back_to_the_client_with_its_code(db: TestDb) {
        let app = TestApp::start(&db).await;
        let client = OAuthClient::public(&app).await;
        for (name, value, code) in [
            ("response_type", "token", "unsupported_response_type"),
            ("response_type", "", "unsupported_response_type"),
            ("response_mode", "fragment", "invalid_request"),
            ("code_challenge", "", "invalid_request"),
            ("code_challenge_method", "", "invalid_request"),
            ("code_challenge_method", "plain", "invalid_request"),
            ("scope", "admin", "invalid_scope"),
            ("resource", "https://elsewhere.example/v1", "invalid_target"),
            ("authorization_details", "[{\"type\":\"root\"}]", "invalid_authorization_details"),
            ("prompt", "none", "interaction_required"),
            ("request", "a.b.c", "request_not_supported"),
        ] {
            let answer = answered(&client.authorize(&[(name, value)]).await, REDIRECT);
            assert_eq!((text(&answer, "error"), text(&answer, "state")), (code, "st-1"), "{name}={value}");
            assert_eq!(text(&answer, "iss"), app.base, "also an error says who sends it (RFC 9207)");
        }
        app.stop().await;
    }

    async fn nobody_is_sent_on_to_a_program_that_nobody_checked_before_they_did_anything(db: TestDb) {
        let app = TestApp::start_with(&db, &[("oauth.dynamic_registration", "true"), ("wire.generic_cimd_loopback", "true")]).await;
        let local = "http://127.0.0.1/cb";
        let registered = app.stranger().post("/oauth/register", &json!({"redirect_uris": [REDIRECT, local]})).await.expect_status(201).json();
        let host = Receiver::start();
        host.answers(200, &json!({"client_id": host.url, "redirect_uris": [REDIRECT, local]}));
        for id in [text(&registered, "client_id"), host.url.as_str()] {
            let client = OAuthClient { app: &app, http: app.stranger(), id: id.to_owned(), secret: None };
            for (name, value, code) in [
                ("prompt", "none", "interaction_required"),
                ("response_type", "token", "unsupported_response_type"),
                ("scope", "admin", "invalid_scope"),
                ("code_challenge", "", "invalid_request"),
                ("request", "a.b.c", "request_not_supported"),
            ] {
                let answer = client.authorize(&[(name, value)]).await;
                let page = answer.text();
                assert_eq!(answer.status(), 400, "{id}: {name}={value}: {page}");
                assert!(!answer.has_header("location") && !answer.has_header("refresh") && !page.contains("http-equiv"), "{page}");
                assert_eq!((answer.header("referrer-policy"), answer.header("cache-control")), ("same-origin", "no-store"));
                assert!(page.contains("agent.example") && page.contains(code), "it names where and why: {page}");
                // The link is the address to which anybody else is redirected.
                let link = page.split('"').find(|part| part.starts_with(REDIRECT)).expect("a link");
                let link: url::Url = link.replace("&#38;", "&").replace("&amp;", "&").parse().unwrap();
                let told = |wanted: &str| link.query_pairs().find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned());
                assert_eq!([told("error"), told("state"), told("iss")].map(Option::unwrap), [code, "st-1", app.base.as_str()], "{link}");
                // Their own machine is nobody else's.
                let answer = answered(&client.authorize(&[(name, value), ("redirect_uri", "http://127.0.0.1:4711/cb")]).await, "http://127.0.0.1:4711/cb");
                assert_eq!(text(&answer, "error"), code);
            }
            // A request without a mistake goes on to the page that asks, as ever.
            client.page(&[]).await;
        }
        app.stop().await;
    }

    async fn what_is_left_out_gets_safe_defaults(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let code = client.code_for(&ada, &[("scope", ""), ("redirect_uri", ""), ("resource", &format!("{}/v1", app.base))],
            &["resources:read", "resources:write", "budget:read", "dashboard:link"]).await;
        let tokens = client.redeems(&code).await.expect_status(200).json();
        assert_eq!(tokens["scope"], "resources:read budget:read", "to look, and no more");
        app.stop().await;
    }

    async fn a_program_on_the_humans_machine_may_use_any_port_of_its_loopback_address(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::register(&app, json!({"redirect_uris": ["http://127.0.0.1/cb"]})).await;
        let redirect = "http://127.0.0.1:41234/cb";
        let page = client.page(&[("redirect_uri", redirect)]).await;
        let browser = Browser::of_owner(&ada).await;
        let shown = browser.get(&page).await.expect_status(200);
        assert!(shown.text().contains("a program on this computer") && shown.text().contains("127.0.0.1:41234"));
        assert!(shown.header("content-security-policy").contains("form-action 'self' http://127.0.0.1:41234;"));
        let answer = answered(&browser.submits(&format!("{page}/allow"), &[("scope", "budget:read")]).await, redirect);
        let verifier = ("code_verifier", crate::harness::oauth::VERIFIER);
        let fields = [("grant_type", "authorization_code"), ("code", text(&answer, "code")), verifier, ("redirect_uri", redirect)];
        client.token(&fields).await.expect_status(200);
        assert_eq!(client.authorize(&[("redirect_uri", "http://127.0.0.1:41234/other")]).await.status(), 400);
        assert_eq!(client.authorize(&[("redirect_uri", "http://localhost:41234/cb")]).await.status(), 400);
        app.stop().await;
    }

    async fn a_pushed_request_is_shown_once_and_to_the_browser_of_its_own_client(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let (client, other) = (OAuthClient::confidential(&app).await, OAuthClient::public(&app).await);
        let fields = [("response_type", "code"), ("client_id", client.id.as_str()), ("redirect_uri", REDIRECT),
            ("code_challenge", CHALLENGE), ("code_challenge_method", "S256"), ("scope", "budget:read"), ("state", "pushed")];
        let pushed = client.post("/oauth/par", &fields).await.expect_status(201);
        assert_eq!(pushed.header("cache-control"), "no-store");
        let pushed = pushed.json();
        assert_eq!(pushed["expires_in"], 90);
        let uri = text(&pushed, "request_uri");
        let open = async |id: &str| {
            client.http.get(&format!("/oauth/authorize?{}", form(&[("client_id", id), ("request_uri", uri)]))).await
        };
        assert_eq!(open(&other.id).await.status(), 400, "another client's");
        // What stands beside it is passed over: nobody on the way changes what was pushed.
        let beside = form(&[("client_id", &client.id), ("request_uri", uri), ("scope", "resources:write"), ("redirect_uri", "https://evil.example")]);
        let page = client.http.get(&format!("/oauth/authorize?{beside}")).await.expect_status(303);
        let page = page.header("location").to_owned();
        assert_eq!(open(&client.id).await.status(), 400, "once");
        let browser = Browser::of_owner(&ada).await;
        let answer = answered(&browser.submits(&format!("{page}/allow"), &[("scope", "budget:read"), ("scope", "resources:write")]).await, REDIRECT);
        assert_eq!(text(&answer, "state"), "pushed");
        let tokens = client.redeems(text(&answer, "code")).await.expect_status(200).json();
        assert_eq!(tokens["scope"], "budget:read");
        // A page is not there before its request was opened, and a request not after its time.
        let late = client.post("/oauth/par", &fields).await.json();
        let handle = text(&late, "request_uri").rsplit(':').next().unwrap();
        browser.get(&format!("/consent/{handle}")).await.expect_status(404);
        app.pass(TimeDelta::seconds(90));
        let uri = text(&late, "request_uri");
        let answer = client.http.get(&format!("/oauth/authorize?{}", form(&[("client_id", &client.id), ("request_uri", uri)]))).await;
        assert_eq!(answer.status(), 400);
        app.stop().await;
    }

    async fn a_proof_that_is_pushed_binds_the_code_to_its_key(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let (holder, thief) = (Holder::es256(), Holder::es256());
        let fields = [("response_type", "code"), ("client_id", client.id.as_str()), ("redirect_uri", REDIRECT),
            ("code_challenge", CHALLENGE), ("code_challenge_method", "S256"), ("scope", "budget:read")];
        let proven = async |holder: &Holder, path: &str, fields: &[(&str, &str)]| {
            let proof = holder.proof_for(&app, "POST", path, None);
            client.http.send(client.outgoing(path, fields).header("dpop", proof)).await
        };
        let named = |holder: &Holder| holder.thumbprint();
        let other = named(&thief);
        let both: Vec<_> = fields.iter().copied().chain([("dpop_jkt", other.as_str())]).collect();
        refused(&proven(&holder, "/oauth/par", &both).await, 400, "invalid_request");
        let elsewhere = holder.proof_for(&app, "POST", "/oauth/token", None);
        let answer = client.http.send(client.outgoing("/oauth/par", &fields).header("dpop", elsewhere)).await;
        refused(&answer, 400, "invalid_dpop_proof");
        let once = holder.proof_for(&app, "POST", "/oauth/par", None);
        let push = || client.http.send(client.outgoing("/oauth/par", &fields).header("dpop", once.clone()));
        let pushed = push().await.expect_status(201).json();
        refused(&push().await, 400, "invalid_dpop_proof");
        let open = form(&[("client_id", &client.id), ("request_uri", text(&pushed, "request_uri"))]);
        let page = client.http.get(&format!("/oauth/authorize?{open}")).await.expect_status(303);
        let allow = format!("{}/allow", page.header("location"));
        let answer = answered(&Browser::of_owner(&ada).await.submits(&allow, &[("scope", "budget:read")]).await, REDIRECT);
        let code = [("grant_type", "authorization_code"), ("code", text(&answer, "code")), ("code_verifier", VERIFIER),
            ("client_id", client.id.as_str())];
        refused(&client.http.post_form("/oauth/token", &code).await, 400, "invalid_dpop_proof");
        refused(&proven(&thief, "/oauth/token", &code).await, 400, "invalid_grant");
        assert_eq!(proven(&holder, "/oauth/token", &code).await.expect_status(200).json()["token_type"], "DPoP");
        app.stop().await;
    }

    async fn whoever_pushes_proves_who_they_are_and_hears_of_mistakes_at_once(db: TestDb) {
        let app = TestApp::start(&db).await;
        let client = OAuthClient::confidential(&app).await;
        let good = [("response_type", "code"), ("redirect_uri", REDIRECT), ("code_challenge", CHALLENGE), ("code_challenge_method", "S256")];
        let nameless: Vec<_> = good.iter().copied().chain([("client_id", client.id.as_str())]).collect();
        refused(&client.http.post_form("/oauth/par", &nameless).await, 401, "invalid_client");
        let wrong = OAuthClient { app: &app, http: app.stranger(), id: client.id.clone(), secret: Some("cs_wrong".to_owned()) };
        let answer = wrong.post("/oauth/par", &good).await;
        refused(&answer, 401, "invalid_client");
        assert!(answer.header("www-authenticate").starts_with("Basic "));
        for (name, value, code) in [
            ("redirect_uri", "https://evil.example", "invalid_request"),
            ("code_challenge_method", "plain", "invalid_request"),
            ("scope", "admin", "invalid_scope"),
            ("resource", "https://elsewhere.example", "invalid_target"),
            ("request_uri", "urn:ietf:params:oauth:request_uri:x", "invalid_request"),
        ] {
            let fields: Vec<_> = good.iter().copied().filter(|(known, _)| *known != name).chain([(name, value)]).collect();
            refused(&client.post("/oauth/par", &fields).await, 400, code);
        }
        app.stop().await;
    }

    async fn of_many_answers_one_counts(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let page = client.page(&[]).await;
        let browser = Browser::of_owner(&ada).await;
        let (allow, here) = (format!("{page}/allow"), [("sec-fetch-site", "same-origin")]);
        let answers = join_all((0..16).map(|_| browser.form(&allow, &here, "scope=budget%3Aread"))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status() == 303).count(), 1);
        app.stop().await;
    }

    async fn a_question_closes_after_ten_minutes(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let page = OAuthClient::public(&app).await.page(&[]).await;
        app.pass(TimeDelta::minutes(10));
        let browser = Browser::of_owner(&ada).await;
        browser.get(&page).await.expect_status(410);
        browser.submits(&format!("{page}/allow"), &[("scope", "budget:read")]).await.expect_status(410);
        browser.get("/consent/oreq_nobody").await.expect_status(404);
        browser.get("/consent/needed").await.expect_status(200);
        app.stop().await;
    }

    async fn what_a_human_allows_in_numbers_holds_at_every_purchase(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent_of(&user("numbers")).await;
        let client = OAuthClient::public(&app).await;
        let details = json!([
            {"type": "spend", "currency": "USD", "max_per_month": "20.00", "max_single": "10.00"},
            {"type": "provision", "actions": ["create"], "offers": ["postgres/small", "sandbox/free", "domain/dot-dev"], "max_count": 3},
        ]);
        let asked = [("authorization_details", details.to_string())];
        let asked: Vec<(&str, &str)> = asked.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let page = client.page(&asked).await;
        let browser = Browser::of_owner(&ada).await;
        let html = browser.get(&page).await.expect_status(200).text();
        for wanted in ["could spend up to $20.00 a month", "at most $10.00 at once", "create up to 3 resources",
            "up to 3 resources of: Postgres · Small ($9.00 a month), Sandbox · Free (free), Domain name · One year of .dev"] {
            assert!(html.contains(wanted), "`{wanted}` is missing: {html}");
        }
        let ticks = [("scope", "resources:read"), ("scope", "resources:write"), ("scope", "budget:read")];
        let answer = answered(&browser.submits(&format!("{page}/allow"), &ticks).await, REDIRECT);
        let tokens = client.redeems(text(&answer, "code")).await.expect_status(200).json();
        assert_eq!(tokens["authorization_details"], details, "{tokens}");
        let agent = app.stranger().with_token(text(&tokens, "access_token"));
        let buys = async |service: &str, plan: &str| {
            agent.post_once(&crate::harness::app::fresh_key(), "/v1/resources", &ada.order(service, plan)).await
        };
        buys("weather", "metered").await.problem(403, "not_allowed");
        buys("domain", "dot-dev").await.problem(403, "not_allowed");
        buys("postgres", "small").await.expect_status(201);
        buys("postgres", "small").await.expect_status(201);
        let refusal = buys("postgres", "small").await.problem(402, "cap_reached");
        assert_eq!((&refusal["binding"], &refusal["remaining"]), (&json!("agent"), &json!(200)), "{refusal}");
        buys("sandbox", "free").await.expect_status(201);
        buys("sandbox", "free").await.problem(403, "not_allowed");
        // The account itself has its own budget still.
        ada.buys("postgres", "small").await.expect_status(201);
        app.stop().await;
    }

    async fn metadata_says_what_is_true_and_offers_no_offline_access(db: TestDb) {
        let app = TestApp::start(&db).await;
        let anyone = app.stranger();
        let told = anyone.get("/.well-known/oauth-authorization-server").await.expect_status(200).json();
        for form in ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/v1",
            "/.well-known/openid-configuration/v1", "/v1/.well-known/openid-configuration"] {
            assert_eq!(anyone.get(form).await.expect_status(200).json(), told, "{form}");
        }
        assert_eq!(told["code_challenge_methods_supported"], json!(["S256"]));
        assert_eq!(told["response_types_supported"], json!(["code"]));
        assert_eq!(told["authorization_response_iss_parameter_supported"], true);
        assert!(told.get("registration_endpoint").is_none() && told.get("device_authorization_endpoint").is_none());
        assert!(!told.to_string().contains("offline_access"));
        for (name, value) in told.as_object().unwrap() {
            if let (true, Some(url)) = (name.ends_with("_endpoint"), value.as_str()) {
                assert!(url.starts_with(&app.base), "{name}");
                let answer = anyone.get(url.strip_prefix(&app.base).unwrap()).await;
                assert_ne!(answer.status(), 404, "{name} is there");
            }
            assert!(!matches!(value, Value::Null) && *value != json!([]), "`{name}` is empty");
        }
        anyone.post("/oauth/register", &json!({"redirect_uris": [REDIRECT]})).await.expect_status(404);
        app.stop().await;
    }
}
