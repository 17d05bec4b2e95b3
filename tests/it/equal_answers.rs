//! Whether somebody has an account shows in no answer to a weaker word than that of an authority, nor, where the operator
//! chose separate accounts, to any: status, headers, body and their lengths, byte for byte after the names in them.

use portreeve::login::RelyingParty;
use portreeve::orchestrator::ExistingAccount;
use portreeve::simulator::{IdTokenSpec, Simulator, User};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::app::TestApp;
use crate::harness::beside::authority;
use crate::harness::wire::{WireAgent, stripe_signature};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Somebody who has an account, and somebody of the same length who has none.
const KNOWN: &str = "ada@example.test";
const UNKNOWN: &str = "eve@example.test";

/// The whole answer as it stands on the line.
async fn raw(app: &TestApp, path: &str, headers: &str, body: &str) -> String {
    let host = app.base.strip_prefix("http://").unwrap();
    let mut line = tokio::net::TcpStream::connect(host).await.unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    line.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    line.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// Names, codes and tokens become crosses, one for each letter: their lengths stay to be compared.
fn masked(answer: &str) -> String {
    let answer = answer.replace("\r\n", "\n");
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let secret = |word: &str| {
        let named = word.split_once('_').is_some_and(|(_, rest)| rest.len() >= 20);
        named || word.starts_with("eyJ")
    };
    let (mut shown, mut word) = (String::new(), String::new());
    for c in answer.chars().chain(['\n']) {
        if is_word(c) {
            word.push(c);
            continue;
        }
        shown.push_str(&if secret(&word) { "×".repeat(word.len()) } else { word.clone() });
        word.clear();
        shown.push(c);
    }
    let whole = if shown.starts_with("HTTP/") { shown.split_once("\n\n") } else { None };
    let (head, body) = whole.unwrap_or(("", &shown));
    // The order of headers is drawn anew for each answer; the time is not theirs; what is left of a limit goes down by one
    // with each request, which is compared apart.
    let mut lines: Vec<&str> = head.lines().map(|line| line.split(";r=").next().unwrap_or(line)).collect();
    lines.retain(|line| !line.starts_with("date: "));
    lines.sort_unstable();
    format!("{}\n\n{body}", lines.join("\n")).replace(KNOWN, "…").replace(UNKNOWN, "…")
}

/// What is left of the limit that an answer tells of.
fn left(answer: &str) -> i64 {
    let told = answer.lines().find_map(|line| line.strip_prefix("ratelimit: ")).expect("a limit");
    let left = told.split(";r=").nth(1).and_then(|rest| rest.split(';').next());
    left.expect("what is left").parse().unwrap()
}

fn spec(user: &User, verified: &Value) -> IdTokenSpec {
    IdTokenSpec::of(user).claim("email_verified", verified.clone())
}

/// The answers of every door to an attestation about this address, by people whom nobody has seen before.
async fn doors(app: &TestApp, quay: &Simulator, email: &str, verified: &Value, turn: usize) -> Vec<String> {
    let who =
        |door: &str| User { subject: format!("{turn}-{door}-{}", email.len()), email: email.to_owned(), ..User::ada() };
    let json_type = "content-type: application/json\r\n";
    let token = quay.mint_id_token(&spec(&who(&format!("v1-{}", email.chars().next().unwrap())), verified)).unwrap();
    let v1 = raw(app, "/v1/accounts", json_type, &json!({"id_token": token}).to_string()).await;
    let token = quay.mint_id_token(&spec(&who(&format!("ro-{}", email.chars().next().unwrap())), verified)).unwrap();
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("grant_type", JWT_BEARER), ("assertion", &token)])
        .finish();
    let oauth = raw(app, "/oauth/token", "content-type: application/x-www-form-urlencoded\r\n", &form).await;
    vec![masked(&v1), masked(&oauth)]
}

/// The answers of the wire.
async fn wire(agent: &WireAgent<'_>, email: &str, verified: bool, person: &str) -> String {
    let user = User { subject: format!("acct-{person}"), email: email.to_owned(), ..User::ada() };
    let mut request = agent.account_request(&user);
    request["id"] = json!(format!("acctreq_{person}"));
    if !verified {
        request["kyc"] = json!({"verified_fields": ["name"]});
    }
    let body = request.to_string();
    let signature = stripe_signature(&agent.secret, agent.app.now().seconds(), body.as_bytes());
    let headers = format!("content-type: application/json\r\napi-version: 0.1d\r\nstripe-signature: {signature}\r\n");
    masked(&raw(agent.app, "/provisioning/account_requests", &headers, &body).await).replace(person, "…")
}

on_both! {
    async fn a_separate_account_is_opened_with_the_same_answer_for_the_known_and_the_unknown(db: TestDb) {
        let app = TestApp::start(&db).await;
        app.agent().await;
        let (quay, known) = authority(&app, "Quay", ExistingAccount::Sidecar).await;
        let verified = json!(true);
        let answers = (doors(&app, &quay, KNOWN, &verified, 0).await, doors(&app, &quay, UNKNOWN, &verified, 0).await);
        assert!(answers.0[0].starts_with("HTTP/1.1 201") && answers.0[1].starts_with("HTTP/1.1 200"), "{answers:?}");
        assert_eq!(answers.0, answers.1);
        let agent = WireAgent::register_as(&app, &known.id, |_| ()).await;
        // Each costs one of the same allowance; interleaved, so that neither comes first every time.
        let first = (wire(&agent, KNOWN, true, "aaaa").await, wire(&agent, "zoe@example.test", true, "bbbb").await.replace("zoe@example.test", "…"));
        assert!(first.0.starts_with("HTTP/1.1 200") && first.0.contains("\"type\":\"oauth\""), "{}", first.0);
        assert_eq!(first.0, first.1);
        app.stop().await;
    }

    async fn every_weaker_word_gets_the_same_answer_for_the_known_and_the_unknown(db: TestDb) {
        let app = TestApp::start(&db).await;
        app.agent().await;
        let (asks, known) = authority(&app, "Asks", ExistingAccount::UserConsent).await;
        for (turn, verified) in [json!(false), json!("true"), Value::Null].iter().enumerate() {
            let answers = (doors(&app, &asks, KNOWN, verified, turn).await, doors(&app, &asks, UNKNOWN, verified, turn).await);
            assert!(answers.0[0].starts_with("HTTP/1.1 201"), "{answers:?}");
            assert_eq!(answers.0, answers.1, "{verified}");
        }
        // Of two that look like an address, one is like that of a customer.
        let yes = json!(true);
        let alike = (doors(&app, &asks, "\u{430}da@example.test", &yes, 7).await, doors(&app, &asks, "\u{43e}da@example.test", &yes, 8).await);
        assert!(alike.0[0].starts_with("HTTP/1.1 201"), "{alike:?}");
        assert_eq!(alike.0, alike.1);
        let agent = WireAgent::register_as(&app, &known.id, |_| ()).await;
        let answers = (wire(&agent, KNOWN, false, "aaaa").await, wire(&agent, UNKNOWN, false, "bbbb").await);
        assert!(answers.0.starts_with("HTTP/1.1 200"), "{}", answers.0);
        assert_eq!(answers.0, answers.1);
        app.stop().await;
    }

    async fn the_pages_of_an_unproven_account_do_not_tell_whether_its_address_is_a_customers(db: TestDb) {
        let app = TestApp::start(&db).await;
        app.agent().await;
        let mut pages = Vec::new();
        for (subject, email) in [("u1", KNOWN), ("u2", UNKNOWN)] {
            let user = User { subject: subject.to_owned(), email: email.to_owned(), ..User::ada() };
            let token = app.simulator.mint_id_token(&spec(&user, &json!(false))).unwrap();
            let given = app.stranger().post("/v1/accounts", &json!({"id_token": token})).await.expect_status(201).json();
            let client = app.stranger().with_token(given["access_token"].as_str().unwrap());
            let link = client.post_once("k", "/v1/deep-links", &json!({})).await.expect_status(201).json();
            let browser = crate::harness::browser::Browser::new(&app);
            browser.uses_link(link["url"].as_str().unwrap().strip_prefix(&app.base).unwrap()).await;
            pages.push(masked(&browser.get("/dashboard").await.expect_status(200).text()));
        }
        assert_eq!(pages[0], pages[1]);
        assert!(pages[0].contains('…'), "the address is shown to whoever gave it");
        app.stop().await;
    }

    async fn what_a_request_takes_of_a_limit_does_not_tell(db: TestDb) {
        let app = TestApp::start(&db).await;
        app.agent().await;
        let (quay, known) = authority(&app, "Quay", ExistingAccount::Sidecar).await;
        let json_type = "content-type: application/json\r\n";
        let mut before = None;
        for (at, email) in [KNOWN, UNKNOWN, UNKNOWN, KNOWN, "zoe@example.test", KNOWN].into_iter().enumerate() {
            let user = User { subject: format!("u{at}"), email: email.to_owned(), ..User::ada() };
            let token = quay.mint_id_token(&IdTokenSpec::of(&user)).unwrap();
            let now = left(&raw(&app, "/v1/accounts", json_type, &json!({"id_token": token}).to_string()).await);
            assert_eq!(now, before.unwrap_or(now + 1) - 1, "{email}");
            before = Some(now);
        }
        let agent = WireAgent::register_as(&app, &known.id, |_| ()).await;
        let mut before = None;
        for (at, email) in [KNOWN, "joe@example.test", "moe@example.test", KNOWN].into_iter().enumerate() {
            let user = User { subject: format!("acct-{at}"), email: email.to_owned(), ..User::ada() };
            let answer = agent.post("/provisioning/account_requests", &agent.account_request(&user)).await.expect_status(200);
            let now = left(&format!("ratelimit: {}", answer.header("ratelimit")));
            assert_eq!(now, before.unwrap_or(now + 1) - 1, "{email}");
            before = Some(now);
        }
        app.stop().await;
    }

    async fn asking_for_a_mail_or_a_passkey_is_answered_alike_for_everybody(db: TestDb) {
        let app = TestApp::start_bent(&db, &[], |app| app.relying_party = RelyingParty::new("http://localhost", "Acme").unwrap()).await;
        app.agent().await;
        let same = "sec-fetch-site: same-origin\r\n";
        let form = format!("{same}content-type: application/x-www-form-urlencoded\r\n");
        let mut answers = Vec::new();
        for email in ["ada%40example.test", "eve%40example.test"] {
            let mail = raw(&app, "/login", &form, &format!("email={email}&to=")).await;
            // Names nobody: there is nothing to ask about.
            let passkey = raw(&app, "/login/passkey/begin", &format!("{same}content-type: application/json\r\n"), "{}").await;
            let challenge = |answer: &str| answer.split("\"challenge\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
            answers.push((masked(&mail), masked(&passkey.replace(&challenge(&passkey), "…"))));
        }
        assert!(answers.iter().all(|(mail, passkey)| mail.contains("HTTP/1.1 200") && passkey.contains("HTTP/1.1 200")), "{answers:?}");
        assert_eq!(answers[0], answers[1]);
        app.stop().await;
    }
}
