//! Clients: those that are the URL of their metadata, those that register themselves, those that sign; and what ends with
//! them.

use chrono::TimeDelta;
use diesel::{QueryResult, RunQueryDsl as _, sql_query};
use portreeve::app::HOUSE;
use portreeve::authorization;
use portreeve::clock::Timestamp;
use portreeve::db::{DbConnection, DbError};
use portreeve::signing::{Algorithm, KeyPurpose, SigningKey};
use serde_json::{Value, json};

use crate::harness::app::{TestApp, fresh_key};
use crate::harness::browser::Browser;
use crate::harness::client::Answer;
use crate::harness::oauth::{OAuthClient, REDIRECT, VERIFIER, answered, form, refused, text, works};
use crate::harness::receiver::Receiver;

/// Clients may be documents on this machine.
const HERE: [(&str, &str); 1] = [("wire.generic_cimd_loopback", "true")];
const OPEN: [(&str, &str); 1] = [("oauth.dynamic_registration", "true")];

/// A client whose id is the URL of what `host` answers.
fn documented<'a>(app: &'a TestApp, host: &Receiver) -> OAuthClient<'a> {
    OAuthClient { app, http: app.stranger(), id: host.url.to_string(), secret: None }
}

fn document(host: &Receiver) -> Value {
    json!({"client_id": host.url, "client_name": "Harbour Pilot", "redirect_uris": [REDIRECT]})
}

async fn registers(app: &TestApp, document: &Value) -> Answer {
    app.stranger().post("/oauth/register", document).await
}

/// All but two places are taken by copies of the client `like`, registered at `now`.
#[expect(clippy::disallowed_methods, reason = "ten thousand rows in one statement; nothing here is hot")]
fn fill_up(conn: &mut DbConnection, like: &str, now: Timestamp) -> QueryResult<()> {
    let fill = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) \
         INSERT INTO clients (id, origin, metadata, introspects, created_at, last_used_at) \
         SELECT 'client_' || i, origin, metadata, introspects, {now}, {now} FROM n, clients WHERE clients.id = '{like}'",
        authorization::MAX_DYNAMIC - 2,
        now = now.micros(),
    );
    sql_query(fill).execute(conn).map(drop)
}

on_both! {
    async fn a_client_may_be_the_url_of_its_metadata(db: TestDb) {
        let app = TestApp::start_with(&db, &HERE).await;
        let ada = app.agent().await;
        let host = Receiver::start();
        host.answers(200, &document(&host));
        let client = documented(&app, &host);
        let page = client.page(&[]).await;
        let browser = Browser::of_owner(&ada).await;
        let html = browser.get(&page).await.expect_status(200).text();
        for wanted in ["Harbour Pilot", "127.0.0.1", "nobody checked it"] {
            assert!(html.contains(wanted), "`{wanted}` is missing: {html}");
        }
        let answer = answered(&browser.submits(&format!("{page}/allow"), &[("scope", "budget:read")]).await, REDIRECT);
        let tokens = client.redeems(text(&answer, "code")).await.expect_status(200).json();
        assert_eq!(works(&app, text(&tokens, "access_token")).await, 200);
        client.refreshes(text(&tokens, "refresh_token")).await.expect_status(200);
        assert_eq!(host.seen().len(), 1, "fetched once, and kept");
        app.stop().await;
    }

    async fn a_document_that_is_not_right_is_no_client_and_is_not_kept(db: TestDb) {
        let app = TestApp::start_with(&db, &HERE).await;
        let host = Receiver::start();
        let client = documented(&app, &host);
        let good = document(&host);
        let with = |member: &str, value: Value| {
            let mut document = good.clone();
            document[member] = value;
            document
        };
        for (why, status, body) in [
            ("a redirect", 302, good.clone()),
            ("not found", 404, good.clone()),
            ("another client's", 200, with("client_id", json!("https://elsewhere.example/c"))),
            ("a secret", 200, with("client_secret", json!("s"))),
            ("a shared method", 200, with("token_endpoint_auth_method", json!("client_secret_post"))),
            ("a bad redirect URI", 200, with("redirect_uris", json!(["http://evil.example/cb"]))),
            ("no object", 200, json!([])),
            ("too long", 200, with("x", json!("a".repeat(6000)))),
        ] {
            app.pass(TimeDelta::seconds(6));
            host.answers(status, &body);
            let answer = client.authorize(&[]).await;
            assert_eq!(answer.status(), 400, "{why}: {}", answer.text());
            assert!(!answer.has_header("location"), "{why}");
        }
        // The same address again within a moment is not asked again.
        let asked = host.seen().len();
        client.authorize(&[]).await.expect_status(400);
        assert_eq!(host.seen().len(), asked);
        app.pass(TimeDelta::seconds(6));
        host.answers(200, &good);
        client.page(&[]).await;
        app.stop().await;
    }

    async fn strangers_who_name_other_paths_of_its_host_lock_no_client_out(db: TestDb) {
        let app = TestApp::start_with(&db, &HERE).await;
        let host = Receiver::start();
        host.answers(200, &document(&host));
        let client = documented(&app, &host);
        client.page(&[]).await;
        app.pass(TimeDelta::minutes(6));
        for name in 0..40 {
            let stranger = OAuthClient { app: &app, http: app.stranger(), id: format!("{}/{name}", host.url), secret: None };
            stranger.authorize(&[]).await.expect_status(400);
        }
        assert_eq!(host.seen().len(), 31, "the host is asked thirty times for them, and no more");
        client.page(&[]).await;
        assert_eq!(host.seen().len(), 32, "and for the client as if they were not there");
        // A host that fails takes no client away; one that says that it is gone does.
        host.answers(503, &json!({}));
        app.pass(TimeDelta::hours(12));
        client.page(&[]).await;
        host.answers(404, &json!({}));
        app.pass(TimeDelta::seconds(6));
        client.authorize(&[]).await.expect_status(400);
        app.stop().await;
    }

    async fn a_client_that_changed_what_it_says_must_ask_again(db: TestDb) {
        let app = TestApp::start_with(&db, &HERE).await;
        let ada = app.agent().await;
        let host = Receiver::start();
        host.answers(200, &document(&host));
        let client = documented(&app, &host);
        let (tokens, page) = (client.tokens(&ada).await, client.page(&[]).await);
        let mut other = document(&host);
        other["redirect_uris"] = json!([REDIRECT, "https://other.example/cb"]);
        host.answers(200, &other);
        app.pass(TimeDelta::minutes(6));
        refused(&client.refreshes(text(&tokens, "refresh_token")).await, 400, "invalid_grant");
        Browser::of_owner(&ada).await.get(&page).await.expect_status(410);
        client.page(&[]).await;
        app.stop().await;
    }

    async fn where_documents_are_off_no_url_is_a_client(db: TestDb) {
        let app = TestApp::start_with(&db, &[("oauth.client_documents", "false")]).await;
        let host = Receiver::start();
        host.answers(200, &document(&host));
        documented(&app, &host).authorize(&[]).await.expect_status(400);
        assert!(host.seen().is_empty(), "and nothing is fetched");
        let told = app.stranger().get("/.well-known/oauth-authorization-server").await.json();
        assert_eq!(told["client_id_metadata_document_supported"], false);
        app.stop().await;
    }

    async fn a_client_registers_itself_where_the_operator_lets_it(db: TestDb) {
        let app = TestApp::start_with(&db, &OPEN).await;
        let ada = app.agent().await;
        let told = app.stranger().get("/.well-known/oauth-authorization-server").await.json();
        assert_eq!(told["registration_endpoint"], json!(format!("{}/oauth/register", app.base)));
        let asked = json!({"client_name": "Inspector", "redirect_uris": [REDIRECT], "scope": "budget:read", "logo_uri": "https://x.example/l",
            "grant_types": ["authorization_code", "refresh_token", "client_credentials"], "token_endpoint_auth_method": "client_secret_post"});
        let answer = registers(&app, &asked).await.expect_status(201);
        assert_eq!(answer.header("cache-control"), "no-store");
        let registered = answer.json();
        assert_eq!((&registered["client_secret_expires_at"], &registered["client_id_issued_at"]), (&json!(0), &json!(app.now().seconds())));
        assert_eq!(registered["grant_types"], json!(["authorization_code", "refresh_token"]), "nothing for itself");
        assert_eq!(registered["logo_uri"], "https://x.example/l", "kept as a part of who it is, and never shown");
        assert!(registered.get("scope").is_none(), "what it would ask for first binds it to nothing");
        let client = OAuthClient { app: &app, http: app.stranger(), id: text(&registered, "client_id").to_owned(),
            secret: registered["client_secret"].as_str().map(str::to_owned) };
        let browser = Browser::of_owner(&ada).await;
        let page = client.page(&[]).await;
        let html = browser.get(&page).await.expect_status(200).text();
        assert!(html.contains("It registered itself. Nobody checked its name."), "{html}");
        assert!(!html.contains("x.example"), "{html}");
        let ticks = [("scope", "resources:read"), ("scope", "resources:write"), ("scope", "budget:read")];
        let answer = answered(&browser.submits(&format!("{page}/allow"), &ticks).await, REDIRECT);
        let tokens = client.redeems(text(&answer, "code")).await.expect_status(200).json();
        assert_eq!(tokens["scope"], "resources:read resources:write budget:read", "its human allows more, when it asks for more");
        app.stop().await;
    }

    async fn a_registration_that_cannot_be_kept_says_why(db: TestDb) {
        let app = TestApp::start_with(&db, &[OPEN[0], ("limits.address_registrations_per_hour", "6")]).await;
        for (body, code) in [
            (json!({}), "invalid_redirect_uri"),
            (json!({"redirect_uris": ["http://evil.example"]}), "invalid_redirect_uri"),
            (json!({"redirect_uris": ["javascript:alert(1)"]}), "invalid_redirect_uri"),
            (json!({"redirect_uris": [REDIRECT], "token_endpoint_auth_method": "private_key_jwt"}), "invalid_client_metadata"),
            (json!({"redirect_uris": [REDIRECT], "client_name": "A\u{202e}B"}), "invalid_client_metadata"),
            (json!({"redirect_uris": [REDIRECT], "response_types": ["token"]}), "invalid_client_metadata"),
        ] {
            refused(&registers(&app, &body).await, 400, code);
        }
        let limited = registers(&app, &json!({"redirect_uris": [REDIRECT]})).await;
        assert_eq!(limited.status(), 429);
        assert!(limited.has_header("retry-after"));
        app.stop().await;
    }

    async fn a_registration_that_nobody_uses_is_forgotten(db: TestDb) {
        let app = TestApp::start_with(&db, &OPEN).await;
        let ada = app.agent().await;
        let body = json!({"redirect_uris": [REDIRECT]});
        let mut clients = Vec::new();
        for _ in 0..2 {
            let registered = registers(&app, &body).await.expect_status(201).json();
            clients.push(OAuthClient { app: &app, http: app.stranger(), id: text(&registered, "client_id").to_owned(), secret: None });
        }
        let kept = OAuthClient::public(&app).await;
        app.pass(TimeDelta::days(20));
        clients[0].tokens(&ada).await;
        app.pass(TimeDelta::days(11));
        let now = app.now();
        let forgotten = app.app().db.write(HOUSE, move |conn| authorization::forget_unused(conn, now, 100)).await.unwrap();
        assert_eq!(forgotten, 1);
        clients[1].authorize(&[]).await.expect_status(400);
        clients[0].page(&[]).await;
        kept.page(&[]).await;
        app.stop().await;
    }

    async fn where_there_is_no_room_the_oldest_registration_that_nobody_used_makes_room(db: TestDb) {
        let app = TestApp::start_with(&db, &OPEN).await;
        let ada = app.agent().await;
        let body = json!({"redirect_uris": [REDIRECT]});
        let registered = async || {
            let registered = registers(&app, &body).await.expect_status(201).json();
            OAuthClient { app: &app, http: app.stranger(), id: text(&registered, "client_id").to_owned(), secret: None }
        };
        let (used, oldest) = (registered().await, registered().await);
        app.pass(TimeDelta::seconds(1));
        used.tokens(&ada).await;
        // Everything else is full of clients that were registered a second later.
        let (now, id) = (app.now(), oldest.id.clone());
        app.app().db.write(HOUSE, move |conn| Ok::<_, DbError>(fill_up(conn, &id, now)?)).await.unwrap();
        app.pass(TimeDelta::minutes(59));
        refused(&registers(&app, &body).await, 503, "temporarily_unavailable");
        oldest.page(&[]).await;
        app.pass(TimeDelta::minutes(1));
        registered().await.page(&[]).await;
        oldest.authorize(&[]).await.expect_status(400);
        used.page(&[]).await;
        // One place for one client: whoever is a second younger is there until their hour is over.
        refused(&registers(&app, &body).await, 503, "temporarily_unavailable");
        app.pass(TimeDelta::seconds(2));
        registered().await.page(&[]).await;
        used.page(&[]).await;
        app.stop().await;
    }

    async fn of_a_registration_only_what_is_needed_is_kept_and_no_more_than_8_kib(db: TestDb) {
        let app = TestApp::start_with(&db, &OPEN).await;
        let key = SigningKey::generate(KeyPurpose::ClientAssertion, Algorithm::Es256).unwrap().0;
        let mut public = json!(key.public());
        public["x5c"] = json!(["A".repeat(20_000)]);
        public["x5u"] = json!("https://a.example/certificate");
        public["key_ops"] = json!(["verify"]);
        let body = json!({"redirect_uris": [REDIRECT], "token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [public]}});
        let registered = registers(&app, &body).await.expect_status(201).json();
        let kept = registered["jwks"]["keys"][0].as_object().unwrap();
        let names: Vec<&str> = kept.keys().map(String::as_str).collect();
        assert!(names.iter().all(|name| ["alg", "crv", "kid", "kty", "use", "x", "y"].contains(name)), "{names:?}");
        assert_eq!((&kept["x"], &kept["y"]), (&public["x"], &public["y"]));
        let long: Vec<String> = (0..16).map(|n| format!("https://agent.example/{}/{n}", "a".repeat(600))).collect();
        let answer = registers(&app, &json!({"redirect_uris": long})).await;
        refused(&answer, 400, "invalid_client_metadata");
        assert!(text(&answer.json(), "error_description").contains("8192 bytes: give fewer or shorter `redirect_uris`"));
        registers(&app, &json!({"redirect_uris": long[..10]})).await.expect_status(201);
        app.stop().await;
    }

    async fn a_client_proves_itself_with_its_key_once_per_statement_for_us_alone(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let key = SigningKey::generate(KeyPurpose::ClientAssertion, Algorithm::Es256).unwrap().0;
        let other = SigningKey::generate(KeyPurpose::ClientAssertion, Algorithm::Es256).unwrap().0;
        let said = json!({"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [key.public()]},
            "grant_types": ["authorization_code", "refresh_token", "client_credentials"]});
        let client = OAuthClient::register_for(&app, said, Some(&ada.account), false).await;
        let claims = |aud: &str| json!({"iss": client.id, "sub": client.id, "aud": aud, "jti": fresh_key(),
            "iat": app.now().seconds(), "exp": app.now().seconds() + 60});
        let asks = async |assertion: &str, id: &str| {
            let fields = [("grant_type", "client_credentials"), ("client_id", id), ("client_assertion", assertion),
                ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")];
            let fields: Vec<_> = fields.into_iter().filter(|(_, value)| !value.is_empty()).collect();
            app.stranger().post_form("/oauth/token", &fields).await
        };
        let good = key.sign_compact("JWT", &claims(&app.base)).unwrap();
        let tokens = asks(&good, "").await.expect_status(200).json();
        assert_eq!(works(&app, text(&tokens, "access_token")).await, 200);
        refused(&asks(&good, "").await, 401, "invalid_client");
        let fresh = || key.sign_compact("client-authentication+jwt", &claims(&app.base)).unwrap();
        asks(&fresh(), &client.id).await.expect_status(200);
        refused(&asks(&fresh(), "another").await, 401, "invalid_client");
        for (why, statement) in [
            ("the token endpoint as audience", key.sign_compact("JWT", &claims(&format!("{}/oauth/token", app.base))).unwrap()),
            ("another server", key.sign_compact("JWT", &claims("https://elsewhere.example")).unwrap()),
            ("another key", other.sign_compact("JWT", &claims(&app.base)).unwrap()),
            ("another kind", key.sign_compact("at+jwt", &claims(&app.base)).unwrap()),
            ("nothing", "a.b.c".to_owned()),
        ] {
            let answer = asks(&statement, "").await;
            assert_eq!((answer.status(), answer.json()["error"].as_str()), (401, Some("invalid_client")), "{why}");
        }
        // A statement is used up by a push as well; its secretless name alone is not enough.
        let statement = fresh();
        let pushed = [("response_type", "code"), ("redirect_uri", REDIRECT), ("code_challenge", crate::harness::oauth::CHALLENGE),
            ("code_challenge_method", "S256"), ("client_assertion", statement.as_str()),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")];
        let answer = app.stranger().post_form("/oauth/par", &pushed).await.expect_status(201).json();
        assert!(text(&answer, "request_uri").starts_with("urn:ietf:params:oauth:request_uri:"));
        refused(&app.stranger().post_form("/oauth/par", &pushed).await, 401, "invalid_client");
        refused(&client.token(&[("grant_type", "client_credentials")]).await, 401, "invalid_client");
        app.stop().await;
    }

    async fn removing_a_client_ends_what_it_has_and_a_new_secret_ends_the_old(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::confidential(&app).await;
        let tokens = client.tokens(&ada).await;
        let secret = portreeve::secret::Secret::generate("cs").unwrap();
        let (id, new, now) = (client.id.clone(), secret.clone(), app.now());
        app.app().db.write(HOUSE, move |conn| authorization::rotate_client(conn, &id, &new, now)).await.unwrap();
        refused(&client.refreshes(text(&tokens, "refresh_token")).await, 401, "invalid_client");
        let renewed = OAuthClient { app: &app, http: app.stranger(), id: client.id.clone(), secret: Some(secret.expose().to_owned()) };
        let tokens = renewed.refreshes(text(&tokens, "refresh_token")).await.expect_status(200).json();
        let code = renewed.code(&ada).await;
        let id = client.id.clone();
        app.app().db.write(HOUSE, move |conn| authorization::remove_client(conn, &id, now)).await.unwrap();
        app.app().revocations.forget();
        assert_eq!(works(&app, text(&tokens, "access_token")).await, 401);
        refused(&renewed.refreshes(text(&tokens, "refresh_token")).await, 401, "invalid_client");
        let fields = form(&[("grant_type", "authorization_code"), ("code", &code), ("code_verifier", VERIFIER), ("client_id", &client.id)]);
        refused(&app.stranger().post_bytes("/oauth/token", "application/x-www-form-urlencoded", fields).await, 401, "invalid_client");
        app.stop().await;
    }
}
