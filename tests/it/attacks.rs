//! Attacks on the ways in, each of which has hurt somebody elsewhere. `docs/attacks.md` lists them all, with those that stand
//! beside what they attack.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use diesel::prelude::*;
use portreeve::db::DbError;
use portreeve::db::schema::clients;
use portreeve::fetch::Outgoing;
use portreeve::secret::{SecretHash, sha256_base64url};
use portreeve::signing::{Algorithm, KeyPurpose, SigningKey};
use portreeve::simulator::IdTokenSpec;
use serde_json::{Value, json};

use crate::discovery::claims;
use crate::harness::app::{TestApp, fresh_key, user};
use crate::harness::browser::Browser;
use crate::harness::databases::walk;
use crate::harness::oauth::{OAuthClient, REDIRECT, VERIFIER, answered, form, refused, text, works};
use crate::harness::receiver::Receiver;

const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A token with this header and signature.
fn forged(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key);
    aws_lc_rs::hmac::sign(&key, message).as_ref().to_vec()
}

/// The same claims under headers that have fooled others: no signature, our public key as a shared one, a key of the
/// attacker's own in the token, and names of keys that are paths.
fn confusions(public: &Value, typ: &str, claims: &Value) -> Vec<(&'static str, String)> {
    let (mallory, pkcs8) = SigningKey::generate(KeyPurpose::AccessToken, Algorithm::Es256).unwrap();
    let kid = public["kid"].clone();
    let own = |header: &Value| {
        let secret = jsonwebtoken::EncodingKey::from_ec_der(&pkcs8);
        forged(header, claims, |message| {
            let text = jsonwebtoken::crypto::sign(message, &secret, jsonwebtoken::Algorithm::ES256).unwrap();
            URL_SAFE_NO_PAD.decode(text).unwrap()
        })
    };
    let mut tokens = Vec::new();
    for alg in ["none", "None", "NONE", ""] {
        tokens.push(("no signature", forged(&json!({"alg": alg, "typ": typ, "kid": kid}), claims, |_| Vec::new())));
    }
    let x = URL_SAFE_NO_PAD.decode(public["x"].as_str().unwrap()).unwrap();
    for shared in [
        public.to_string().into_bytes(),
        public["x"].as_str().unwrap().as_bytes().to_vec(),
        x,
        Vec::from(b"".as_slice()),
    ] {
        tokens.push((
            "a public key as a shared one",
            forged(&json!({"alg": "HS256", "typ": typ, "kid": kid}), claims, |m| hmac(&shared, m)),
        ));
    }
    tokens.push(("its own key", own(&json!({"alg": "ES256", "typ": typ, "kid": kid, "jwk": mallory.public()}))));
    tokens.push((
        "its own address of keys",
        own(&json!({"alg": "ES256", "typ": typ, "kid": kid, "jku": "https://evil.example/jwks"})),
    ));
    for path in ["../../../../dev/null", "/dev/null", "https://evil.example/jwks", "' OR 1=1 --", "", "x\0y"] {
        tokens.push(("the name of a key that is none", own(&json!({"alg": "ES256", "typ": typ, "kid": path}))));
    }
    tokens.push(("another algorithm", own(&json!({"alg": "ES384", "typ": typ, "kid": kid}))));
    tokens.push(("zeros", forged(&json!({"alg": "ES256", "typ": typ, "kid": kid}), claims, |_| vec![0; 64])));
    tokens
}

on_both! {
    async fn no_confusion_of_algorithms_or_keys_makes_an_access_token(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let keys = app.stranger().get("/oauth/jwks").await.json();
        let claims = claims(&keys, &ada.token);
        let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(ada.token.split('.').next().unwrap()).unwrap()).unwrap();
        let public = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header["kid"]).unwrap();
        for (why, token) in confusions(public, "at+jwt", &claims) {
            assert_eq!(works(&app, &token).await, 401, "{why}: {token}");
        }
        assert_eq!(works(&app, &ada.token).await, 200);
        app.stop().await;
    }

    async fn no_confusion_of_algorithms_or_keys_makes_a_client(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let key = SigningKey::generate(KeyPurpose::ClientAssertion, Algorithm::Es256).unwrap().0;
        let said = json!({"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [key.public()]},
            "grant_types": ["client_credentials"], "redirect_uris": []});
        let client = OAuthClient::register_for(&app, said, Some(&ada.account), false).await;
        let claims = json!({"iss": client.id, "sub": client.id, "aud": app.base, "jti": fresh_key(),
            "iat": app.now().seconds(), "exp": app.now().seconds() + 60});
        for (why, statement) in confusions(&json!(key.public()), "JWT", &claims) {
            let fields = [("grant_type", "client_credentials"), ("client_assertion", statement.as_str()), ("client_assertion_type", ASSERTION)];
            let answer = app.stranger().post_form("/oauth/token", &fields).await;
            assert_eq!((answer.status(), answer.json()["error"].as_str()), (401, Some("invalid_client")), "{why}: {statement}");
        }
        // Not even the name of the statement was used up.
        let fields = [("grant_type", "client_credentials"), ("client_assertion", &key.sign_compact("JWT", &claims).unwrap()), ("client_assertion_type", ASSERTION)];
        app.stranger().post_form("/oauth/token", &fields).await.expect_status(200);
        app.stop().await;
    }

    async fn keys_that_are_swapped_after_the_human_allowed_redeem_nothing(db: TestDb) {
        let app = TestApp::start_with(&db, &[("wire.generic_cimd_loopback", "true")]).await;
        let ada = app.agent().await;
        let host = Receiver::start();
        let client = OAuthClient { app: &app, http: app.stranger(), id: host.url.to_string(), secret: None };
        let keys: Vec<SigningKey> = (0..2).map(|_| SigningKey::generate(KeyPurpose::ClientAssertion, Algorithm::Es256).unwrap().0).collect();
        let says = |key: &SigningKey| host.answers(200, &json!({"client_id": host.url, "redirect_uris": [REDIRECT],
            "token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [key.public()]}}));
        let redeems = async |key: &SigningKey, code: &str| {
            let claims = json!({"iss": client.id, "sub": client.id, "aud": app.base, "jti": fresh_key(),
                "iat": app.now().seconds(), "exp": app.now().seconds() + 60});
            let statement = key.sign_compact("JWT", &claims).unwrap();
            let fields = [("grant_type", "authorization_code"), ("code", code), ("code_verifier", VERIFIER),
                ("client_assertion", statement.as_str()), ("client_assertion_type", ASSERTION)];
            app.stranger().post_form("/oauth/token", &fields).await
        };
        says(&keys[0]);
        let code = client.code(&ada).await;
        // Somebody takes over the host. What was fetched before still counts, and their key is none of it.
        says(&keys[1]);
        refused(&redeems(&keys[1], &code).await, 401, "invalid_client");
        let tokens = redeems(&keys[0], &code).await.expect_status(200).json();
        // Once their document is believed, the human has not allowed it.
        app.pass(TimeDelta::minutes(6));
        let claims = json!({"iss": client.id, "sub": client.id, "aud": app.base, "jti": fresh_key(),
            "iat": app.now().seconds(), "exp": app.now().seconds() + 60});
        let statement = keys[1].sign_compact("JWT", &claims).unwrap();
        let fields = [("grant_type", "refresh_token"), ("refresh_token", text(&tokens, "refresh_token")),
            ("client_assertion", statement.as_str()), ("client_assertion_type", ASSERTION)];
        refused(&app.stranger().post_form("/oauth/token", &fields).await, 400, "invalid_grant");
        app.stop().await;
    }

    async fn a_code_that_is_put_into_another_session_of_the_same_program_is_worth_nothing(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (ada, eve) = (app.agent().await, app.agent_of(&user("eve")).await);
        let client = OAuthClient::public(&app).await;
        let verifiers = ["v".repeat(43), "w".repeat(43)];
        let challenges = verifiers.each_ref().map(|verifier| sha256_base64url(verifier.as_bytes()));
        let of_ada = client.code_for(&ada, &[("code_challenge", &challenges[0])], &["budget:read"]).await;
        let of_eve = client.code_for(&eve, &[("code_challenge", &challenges[1])], &["budget:read"]).await;
        let redeems = async |code: &str, verifier: &str| {
            let fields = [("grant_type", "authorization_code"), ("code", code), ("code_verifier", verifier)];
            client.token(&fields).await
        };
        // Ada's browser brings Eve's code, or Eve's brings Ada's: the program has the verifier of its own session.
        refused(&redeems(&of_eve, &verifiers[0]).await, 400, "invalid_grant");
        refused(&redeems(&of_ada, &verifiers[1]).await, 400, "invalid_grant");
        let given = redeems(&of_ada, &verifiers[0]).await.expect_status(200).json();
        assert_eq!(given["account_id"], ada.account);
        app.stop().await;
    }

    async fn pkce_cannot_be_left_out_or_put_in_later(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::confidential(&app).await;
        for change in [("code_challenge", ""), ("code_challenge_method", "plain"), ("code_challenge_method", "")] {
            let answer = answered(&client.authorize(&[change]).await, REDIRECT);
            assert_eq!(text(&answer, "error"), "invalid_request", "{change:?}: also a client with a secret");
        }
        let code = client.code(&ada).await;
        let grant = [("grant_type", "authorization_code"), ("code", code.as_str())];
        refused(&client.token(&grant).await, 400, "invalid_grant");
        let challenge = crate::harness::oauth::CHALLENGE;
        refused(&client.token(&[grant[0], grant[1], ("code_verifier", challenge)]).await, 400, "invalid_grant");
        client.redeems(&code).await.expect_status(200);
        app.stop().await;
    }

    async fn every_answer_to_a_program_says_who_sends_it(db: TestDb) {
        let app = TestApp::start_with(&db, &[("oauth.dynamic_registration", "true")]).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let browser = Browser::of_owner(&ada).await;
        let told = app.stranger().get("/.well-known/oauth-authorization-server").await.json();
        assert_eq!((&told["issuer"], &told["authorization_response_iss_parameter_supported"]), (&json!(app.base), &json!(true)));
        let mut answers = Vec::new();
        for button in ["allow", "deny"] {
            let page = client.page(&[]).await;
            answers.push(answered(&browser.submits(&format!("{page}/{button}"), &[("scope", "budget:read")]).await, REDIRECT));
        }
        answers.push(answered(&client.authorize(&[("scope", "admin")]).await, REDIRECT));
        answers.push(answered(&client.authorize(&[("prompt", "none")]).await, REDIRECT));
        for answer in answers {
            assert_eq!((text(&answer, "iss"), text(&answer, "state")), (app.base.as_str(), "st-1"), "{answer}");
        }
        // A program cannot have it say something else beside.
        for parameter in ["iss=https%3A%2F%2Fevil.example", "code=x", "state=x", "a=b&error=x"] {
            let asked = json!({"redirect_uris": [format!("https://agent.example/cb?{parameter}")]});
            refused(&app.stranger().post("/oauth/register", &asked).await, 400, "invalid_redirect_uri");
        }
        app.stranger().post("/oauth/register", &json!({"redirect_uris": ["https://agent.example/cb?tenant=1"]})).await.expect_status(201);
        app.stop().await;
    }

    async fn looking_at_a_question_changes_nothing_however_often(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let page = client.page(&[]).await;
        let browser = Browser::of_owner(&ada).await;
        let first = browser.get(&page).await.expect_status(200).text();
        for _ in 0..3 {
            assert_eq!(browser.get(&page).await.expect_status(200).text(), first);
        }
        // Nor do the addresses of its buttons, when they are only looked at.
        for button in ["allow", "deny"] {
            browser.get(&format!("{page}/{button}?scope=budget%3Aread")).await.expect_status(405);
        }
        let answer = answered(&browser.submits(&format!("{page}/allow"), &[("scope", "budget:read")]).await, REDIRECT);
        client.redeems(text(&answer, "code")).await.expect_status(200);
        app.stop().await;
    }

    async fn no_page_of_a_log_in_or_a_question_can_be_framed_or_tells_where_somebody_was(db: TestDb) {
        let app = TestApp::start_with(&db, &[("oauth.device_flow", "true")]).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let browser = Browser::of_owner(&ada).await;
        let page = client.page(&[]).await;
        let stranger = Browser::new(&app);
        let pages = [
            ("the question", browser.get(&page).await),
            ("another's refusal", stranger.submits(&format!("{page}/allow"), &[]).await),
            ("no question", browser.get("/consent/oreq_nobody").await),
            ("an unknown program", client.authorize(&[("client_id", "x")]).await),
            ("a foreign address", client.authorize(&[("redirect_uri", "https://evil.example/")]).await),
            ("the ways to log in", stranger.get("/login").await),
            ("a link that is gone", stranger.get("/login/link/lnk_nobody").await),
            ("another's device", stranger.submits("/device", &[("code", "BCDF-GHJK")]).await),
            ("a device", browser.get("/device").await),
            ("no device", browser.submits("/device", &[("code", "BCDF-GHJK")]).await),
            ("an answered device", browser.get("/device/answered").await),
            ("ways in", browser.get("/dashboard/log-in").await),
        ];
        for (which, page) in pages {
            let policy = page.header("content-security-policy");
            assert!(policy.contains("frame-ancestors 'none'") && policy.contains("default-src 'none'"), "{which}: {policy}");
            assert!(!policy.contains("unsafe") && !policy.contains('*'), "{which}: {policy}");
            assert!(["no-referrer", "same-origin"].contains(&page.header("referrer-policy")), "{which}");
            assert_eq!((page.header("cache-control"), page.header("x-content-type-options")), ("no-store", "nosniff"), "{which}");
            assert_eq!(page.header("cross-origin-opener-policy"), "same-origin", "{which}");
        }
        app.stop().await;
    }

    async fn what_a_program_says_becomes_neither_markup_nor_a_header(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let evil = "\"><script>alert(1)</script>";
        let client = OAuthClient::register(&app, json!({"client_name": evil})).await;
        let state = "a\r\nset-cookie: portreeve_session=evil\r\n\r\n<script>&iss=https://evil.example";
        let page = client.page(&[("state", state)]).await;
        let browser = Browser::of_owner(&ada).await;
        let html = browser.get(&page).await.expect_status(200).text();
        assert!(!html.contains("<script>alert") && html.contains("&#60;script&#62;alert"), "{html}");
        let answer = browser.submits(&format!("{page}/allow"), &[("scope", "budget:read")]).await;
        assert!(!answer.has_header("set-cookie"));
        let told = answered(&answer, REDIRECT);
        assert_eq!((text(&told, "state"), text(&told, "iss")), (state, app.base.as_str()), "given back, and nothing more");
        let refusal = client.authorize(&[("scope", evil), ("redirect_uri", &format!("{REDIRECT}\r\nx: y"))]).await;
        assert!(refusal.status() == 400 && !refusal.text().contains("<script>alert"), "{}", refusal.text());
        app.stop().await;
    }

    async fn a_name_with_u_0000_is_nobodys_and_breaks_nothing(db: TestDb) {
        let app = TestApp::start_with(&db, &[("oauth.device_flow", "true")]).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let browser = Browser::of_owner(&ada).await;
        let stranger = app.stranger();
        for path in [
            format!("/oauth/authorize?{}", client.asks(&[("client_id", "client_\0x")])),
            format!("/oauth/authorize?{}", client.asks(&[("redirect_uri", "https://agent.example/cb\0")])),
            format!("/oauth/authorize?{}", form(&[("client_id", &client.id), ("request_uri", "urn:ietf:params:oauth:request_uri:\0")])),
            format!("/oauth/authorize?{}", form(&[("client_id", "\0"), ("request_uri", "\0")])),
            "/consent/oreq_%00".to_owned(),
            "/link/%00".to_owned(),
            "/d/%00".to_owned(),
            "/login/link/%00".to_owned(),
            "/login/upstream/back?state=%00&code=%00".to_owned(),
        ] {
            let answer = browser.get(&path).await;
            assert!((400..500).contains(&answer.status()), "{path}: {} {}", answer.status(), answer.text());
        }
        // Kept with a question, it is given back as it came.
        let page = client.page(&[("state", "a\0b")]).await;
        let told = answered(&browser.submits(&format!("{page}/deny"), &[]).await, REDIRECT);
        assert_eq!(text(&told, "state"), "a\0b");
        for (path, body) in [
            ("/oauth/token", "grant_type=client_credentials&client_id=%00"),
            ("/oauth/token", "grant_type=authorization_code&code=%00&client_id=x"),
            ("/oauth/par", "client_id=%00"),
            ("/oauth/revoke", "client_id=%00&token=x"),
            ("/oauth/introspect", "client_id=x&client_secret=y&token=%00"),
            ("/oauth/device", "client_id=%00"),
        ] {
            let answer = stranger.post_bytes(path, "application/x-www-form-urlencoded", body).await;
            refused(&answer, 400, "invalid_request");
        }
        // In the header it is hidden in base64 and in percent-encoding.
        for (id, secret) in [("%00", "x"), ("client_%00", "cs_x"), ("\0", "x"), (client.id.as_str(), "%00")] {
            for path in ["/oauth/token", "/oauth/par", "/oauth/revoke", "/oauth/introspect", "/oauth/device"] {
                let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
                let body = b"grant_type=client_credentials&token=x".to_vec();
                let outgoing = Outgoing::post(stranger.url(path), "application/x-www-form-urlencoded", body).header("authorization", basic);
                let answer = stranger.send(outgoing).await;
                assert_eq!((answer.status(), answer.json()["error"].as_str()), (401, Some("invalid_client")), "{path} {id:?}: {}", answer.text());
            }
        }
        // In a signed statement as well.
        let key = SigningKey::generate(KeyPurpose::ClientAssertion, Algorithm::Es256).unwrap().0;
        let statement = key.sign_compact("JWT", &json!({"iss": "client_\0", "sub": "client_\0", "aud": app.base, "jti": "\0", "exp": app.now().seconds() + 60})).unwrap();
        let fields = [("grant_type", "client_credentials"), ("client_assertion", statement.as_str()), ("client_assertion_type", ASSERTION)];
        refused(&stranger.post_form("/oauth/token", &fields).await, 401, "invalid_client");
        app.stop().await;
    }

    async fn a_secret_of_a_client_is_kept_as_its_hash_alone(db: TestDb) {
        let app = TestApp::start(&db).await;
        let client = OAuthClient::confidential(&app).await;
        let secret = client.secret.clone().unwrap();
        let rows: Vec<(Option<String>, String)> = app.app().db.read(|conn| {
            Ok::<_, DbError>(clients::table.select((clients::secret_hash, clients::metadata)).load(conn)?)
        }).await.unwrap();
        let [(Some(hash), metadata)] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!(hash, SecretHash::of(&secret).as_str());
        assert!(!metadata.contains(&secret));
        app.stop().await;
    }

    async fn no_spelling_of_an_address_opens_or_finds_anothers_account(db: TestDb) {
        let app = TestApp::start(&db).await;
        let mut mike = user("mike");
        mike.email = "mike@example.test".to_owned();
        let owner = app.agent_of(&mike).await;
        for (number, email) in [
            "mike@example.test", "MIKE@EXAMPLE.TEST", "m\u{131}ke@example.test", "mi\u{212a}e@example.test", "mike\u{ff20}example.test",
            "mike@example.test.", "mi\u{7f}ke@example.test", "\"mike\"@example.test", "mike@mike@example.test", "m.ike@example.test",
            "mike+x@example.test", "mike@ex\u{430}mple.test", "mike@xn--exmple-4nf.test", "mi\u{17f}ke@example.test", " mike@example.test ",
            "mike@exampl\u{df}.test", "mike@example.test\0",
        ].into_iter().enumerate() {
            let mut mallory = user(&format!("mallory{number}"));
            mallory.email = email.to_owned();
            let opened = app.stranger().post("/v1/accounts", &json!({"id_token": app.id_token(&mallory)})).await;
            assert!(opened.status() < 500, "{email:?}: {}", opened.text());
            assert!(!opened.text().contains(&owner.account), "{email:?}");
        }
        // Of other forms of the claims nothing comes either, and the owner is who they were.
        for (claim, value) in [("email", json!(["mike@example.test"])), ("email_verified", json!("true")), ("email_verified", json!(1)),
            ("email_verified", Value::Null), ("sub", json!("user_MIKE")), ("sub", json!("user_mike ")), ("tenant", json!("t1")), ("sub", json!("x".repeat(256)))] {
            let token = app.simulator.mint_id_token(&IdTokenSpec::of(&mike).claim(claim, value.clone()).claim("jti", json!(fresh_key()))).unwrap();
            let opened = app.stranger().post("/v1/accounts", &json!({"id_token": token})).await;
            assert!(opened.status() < 500, "{claim}={value}: {}", opened.text());
            if claim != "email_verified" {
                assert!(!opened.text().contains(&owner.account), "{claim}={value}: {}", opened.text());
            }
        }
        let again = app.stranger().post("/v1/accounts", &json!({"id_token": app.id_token(&mike)})).await.expect_status(200).json();
        assert_eq!(again["account"]["id"], json!(owner.account));
        app.stop().await;
    }
}

#[test]
fn every_test_that_the_list_of_attacks_names_is_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = std::fs::read_to_string(root.join("docs/attacks.md")).unwrap();
    let sources = ["src", "tests/it"].into_iter().flat_map(|folder| walk(&root.join(folder)));
    let sources = sources.filter(|file| file.extension().is_some_and(|extension| extension == "rs"));
    let code: String = sources.map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let mut named = 0;
    for name in list.split('`').skip(1).step_by(2) {
        if name.contains('/') {
            assert!(root.join(name).exists(), "{name}");
            continue;
        }
        let test = name.rsplit("::").next().unwrap();
        if test.matches('_').count() > 2 {
            assert!(code.contains(&format!("fn {test}(")), "{name}");
            named += 1;
        }
    }
    assert!(named > 50, "{named}");
}
