//! Tokens that are bound to a key, and the proofs that use them (DPoP, RFC 9449), as an attacker would have them.

use chrono::TimeDelta;
use jsonwebtoken::{EncodingKey, Header};
use portreeve::fetch::Outgoing;
use portreeve::signing::{Algorithm, KeyPurpose, SigningKey};
use serde_json::{Value, json};

use crate::challenges::{call, challenge_of};
use crate::harness::app::{TestApp, fresh_key, user};
use crate::harness::client::Answer;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Somebody who holds a key.
pub(crate) struct Holder {
    key: SigningKey,
    secret: EncodingKey,
    algorithm: jsonwebtoken::Algorithm,
}

impl Holder {
    fn new(algorithm: Algorithm) -> Self {
        let (key, pkcs8) = SigningKey::generate(KeyPurpose::AccessToken, algorithm).unwrap();
        let (secret, algorithm) = match algorithm {
            Algorithm::Es256 => (EncodingKey::from_ec_der(&pkcs8), jsonwebtoken::Algorithm::ES256),
            Algorithm::EdDsa => (EncodingKey::from_ed_der(&pkcs8), jsonwebtoken::Algorithm::EdDSA),
        };
        Self { key, secret, algorithm }
    }

    pub(crate) fn es256() -> Self {
        Self::new(Algorithm::Es256)
    }

    /// RFC 7638.
    pub(crate) fn thumbprint(&self) -> String {
        self.key.public().thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256).unwrap()
    }

    /// A good proof.
    pub(crate) fn proof_for(&self, app: &TestApp, method: &str, path: &str, token: Option<&str>) -> String {
        self.proves(&claims(app, method, path, token))
    }

    fn signs(&self, typ: &str, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.typ = Some(typ.to_owned());
        header.jwk = Some(self.key.public().clone());
        jsonwebtoken::encode(&header, claims, &self.secret).unwrap()
    }

    fn proves(&self, claims: &Value) -> String {
        self.signs("dpop+jwt", claims)
    }
}

/// What a good proof says; `token` is the access token that it goes with.
fn claims(app: &TestApp, method: &str, path: &str, token: Option<&str>) -> Value {
    let mut claims = json!({
        "jti": fresh_key(), "htm": method, "htu": format!("{}{path}", app.base), "iat": app.now().seconds(),
        "nonce": app.app().nonces.current(app.now()),
    });
    if let Some(token) = token {
        claims["ath"] = json!(portreeve::secret::sha256_base64url(token.as_bytes()));
    }
    claims
}

async fn opens(app: &TestApp, proof: &str) -> Answer {
    let client = app.stranger();
    let body = json!({"id_token": app.id_token(&user("holder"))});
    client.send(Outgoing::post_json(client.url("/v1/accounts"), &body).header("dpop", proof)).await
}

async fn bound_token(app: &TestApp, holder: &Holder) -> String {
    let opened = opens(app, &holder.proves(&claims(app, "POST", "/v1/accounts", None))).await.json();
    assert_eq!(opened["token_type"], "DPoP", "{opened}");
    opened["access_token"].as_str().unwrap().to_owned()
}

async fn asks(app: &TestApp, scheme: &str, token: &str, proofs: &[String]) -> Answer {
    let client = app.stranger();
    let mut request = Outgoing::get(client.url("/v1/budget?x=1")).header("authorization", format!("{scheme} {token}"));
    for proof in proofs {
        request = request.header("dpop", proof.clone());
    }
    client.send(request).await
}

#[track_caller]
fn refused(app: &TestApp, why: &str, answer: &Answer, code: &str) {
    assert_eq!(answer.status(), 401, "{why}: {}", answer.text());
    let challenges = answer.headers("www-authenticate");
    let [challenge] = challenges.as_slice() else { panic!("{why}: {challenges:?}") };
    challenge_of("DPoP", app, challenge, "budget:read");
    assert!(challenge.contains(&format!("error=\"{code}\"")), "{why}: {challenge}");
    answer.problem(401, code);
}

on_both! {
    async fn a_bound_token_works_with_its_key_and_a_nonce_of_ours(db: TestDb) {
        let app = TestApp::start(&db).await;
        for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
            let holder = Holder::new(algorithm);
            // As a client that knows nothing begins: the first answer tells the nonce.
            let mut first = claims(&app, "POST", "/v1/accounts", None);
            first.as_object_mut().unwrap().remove("nonce");
            let answer = opens(&app, &holder.proves(&first)).await;
            first["nonce"] = json!(answer.header("dpop-nonce"));
            answer.problem(401, "use_dpop_nonce");
            let opened = opens(&app, &holder.proves(&first)).await.json();
            assert_eq!(opened["token_type"], "DPoP", "{opened}");
            let token = opened["access_token"].as_str().unwrap();
            let proof = holder.proves(&claims(&app, "GET", "/v1/budget", Some(token)));
            asks(&app, "DPoP", token, &[proof]).await.expect_status(200);
            let mut late = claims(&app, "GET", "/v1/budget", Some(token));
            app.pass(TimeDelta::seconds(301));
            let answer = asks(&app, "dpop", token, &[holder.proves(&late)]).await;
            refused(&app, "five minutes old", &answer, "invalid_dpop_proof");
            late["iat"] = json!(app.now().seconds());
            let answer = asks(&app, "dpop", token, &[holder.proves(&late)]).await;
            refused(&app, "an old nonce", &answer, "use_dpop_nonce");
            late["nonce"] = json!(answer.header("dpop-nonce"));
            asks(&app, "dpop", token, &[holder.proves(&late)]).await.expect_status(200);
        }
        app.stop().await;
    }

    async fn a_provider_may_let_only_bound_tokens_write(db: TestDb) {
        let app = TestApp::start_with(&db, &[("oauth.bound_tokens_to_write", "true")]).await;
        let bearer = app.agent().await;
        // What only reads goes on with a bearer token; what may spend does not, and the challenge says how.
        bearer.client.get("/v1/budget").await.expect_status(200);
        let (bought, removed) = (bearer.buys("sandbox", "free").await, bearer.client.delete("/v1/resources/res_x").await);
        for (answer, scope) in [(bought, "resources:write"), (removed, "resources:delete")] {
            let challenge = answer.header("www-authenticate").to_owned();
            challenge_of("DPoP", &app, &challenge, scope);
            assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
            answer.problem(401, "bound_token_needed");
        }
        let holder = Holder::es256();
        let token = bound_token(&app, &holder).await;
        let proof = holder.proof_for(&app, "DELETE", "/v1/resources/res_x", Some(&token));
        let asked = call(&app.stranger(), "DELETE", "/v1/resources/res_x");
        let answer = app.stranger().send(asked.header("authorization", format!("DPoP {token}")).header("dpop", proof)).await;
        answer.problem(404, "not_found");
        app.stop().await;
    }

    async fn a_bound_token_is_of_no_use_to_a_thief(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (holder, thief) = (Holder::new(Algorithm::Es256), Holder::new(Algorithm::Es256));
        let token = bound_token(&app, &holder).await;
        let good = || claims(&app, "GET", "/v1/budget", Some(&token));
        let with = |member: &str, value: Value| {
            let mut claims = good();
            claims[member] = value;
            holder.proves(&claims)
        };
        let without = |member: &str| {
            let mut claims = good();
            claims.as_object_mut().unwrap().remove(member);
            holder.proves(&claims)
        };
        let (head, tail) = holder.proves(&good()).rsplit_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        let tampered = format!("{head}.{}{}", if tail.starts_with('A') { "B" } else { "A" }, &tail[1..]);
        let used = holder.proves(&good());
        asks(&app, "DPoP", &token, std::slice::from_ref(&used)).await.expect_status(200);
        for (why, proofs) in [
            ("no proof", vec![]),
            ("garbage", vec!["garbage".to_owned()]),
            ("two proofs", vec![holder.proves(&good()), holder.proves(&good())]),
            ("tampered", vec![tampered]),
            ("another key", vec![thief.proves(&good())]),
            ("used before", vec![used]),
            ("another type", vec![holder.signs("JWT", &good())]),
            ("no key in it", vec![holder.key.sign_compact("dpop+jwt", &good()).unwrap()]),
            ("another method", vec![with("htm", json!("POST"))]),
            ("another path", vec![with("htu", json!(format!("{}/v1/ledger", app.base)))]),
            ("another host", vec![with("htu", json!("https://elsewhere.example/v1/budget"))]),
            ("another token", vec![with("ath", json!("x"))]),
            ("no token", vec![without("ath")]),
            ("too old", vec![with("iat", json!(app.now().seconds() - 301))]),
            ("from the future", vec![with("iat", json!(app.now().seconds() + 301))]),
            ("no name", vec![with("jti", json!(""))]),
            ("a long name", vec![with("jti", json!("x".repeat(256)))]),
            ("no jti", vec![without("jti")]),
        ] {
            refused(&app, why, &asks(&app, "DPoP", &token, &proofs).await, "invalid_dpop_proof");
        }
        for (why, proof) in [("no nonce", without("nonce")), ("a made-up nonce", with("nonce", json!("x")))] {
            refused(&app, why, &asks(&app, "DPoP", &token, &[proof]).await, "use_dpop_nonce");
        }
        let answer = asks(&app, "Bearer", &token, &[holder.proves(&good())]).await;
        assert!(answer.header("www-authenticate").contains("error=\"invalid_token\""));
        answer.problem(401, "invalid_token");
        // A token that is bound to no key is not used with a proof either.
        let agent = app.agent().await;
        let proof = holder.proves(&claims(&app, "GET", "/v1/budget", Some(&agent.token)));
        refused(&app, "unbound", &asks(&app, "DPoP", &agent.token, &[proof]).await, "invalid_token");
        // A proof for HEAD is for HEAD.
        for (htm, status) in [("HEAD", 200), ("GET", 401)] {
            let client = app.stranger();
            let head = Outgoing::head(client.url("/v1/budget")).header("authorization", format!("DPoP {token}"));
            assert_eq!(client.send(head.header("dpop", with("htm", json!(htm)))).await.status(), status, "{htm}");
        }
        // Query and fragment are left out of `htu`, and may stand in it (RFC 9449 §4.3).
        let proof = with("htu", json!(format!("{}/v1/budget?y=2#z", app.base)));
        asks(&app, "DPoP", &token, &[proof]).await.expect_status(200);
        app.stop().await;
    }

    async fn what_does_not_hold_otherwise_writes_nothing(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (holder, thief) = (Holder::new(Algorithm::Es256), Holder::new(Algorithm::Es256));
        let token = bound_token(&app, &holder).await;
        let of_accounts = holder.proves(&claims(&app, "POST", "/v1/accounts", None));
        let client = app.stranger();
        let send = |body: Value, proof: String| {
            client.send(Outgoing::post_json(client.url("/v1/accounts"), &body).header("dpop", proof))
        };
        // A body that is none, an assertion that is none, a stolen token, a scope that it lacks: the proofs stay good.
        send(json!({"x": 1}), of_accounts.clone()).await.problem(400, "invalid_request");
        send(json!({"id_token": "x"}), of_accounts.clone()).await.problem(401, "invalid_attestation");
        let stolen = thief.proves(&claims(&app, "GET", "/v1/budget", Some(&token)));
        for _ in 0..2 {
            refused(&app, "stolen", &asks(&app, "DPoP", &token, std::slice::from_ref(&stolen)).await, "invalid_dpop_proof");
        }
        let now = app.now().plus(TimeDelta::hours(1));
        let kept = app.app().db.write("x", move |conn| portreeve::authorization::forget_proofs(conn, now, 100));
        assert_eq!(kept.await.unwrap(), 1, "the one that opened the account");
        let opened = send(json!({"id_token": app.id_token(&user("later"))}), of_accounts.clone()).await.expect_status(201);
        assert_eq!(opened.json()["token_type"], "DPoP");
        let again = send(json!({"id_token": app.id_token(&user("later"))}), of_accounts).await;
        again.problem(401, "invalid_dpop_proof");
        app.stop().await;
    }

    async fn one_proof_is_good_for_one_of_many_at_once(db: TestDb) {
        let app = TestApp::start(&db).await;
        let holder = Holder::new(Algorithm::Es256);
        let token = bound_token(&app, &holder).await;
        let proofs = [holder.proves(&claims(&app, "GET", "/v1/budget", Some(&token)))];
        let all = futures_util::future::join_all((0..16).map(|_| asks(&app, "DPoP", &token, &proofs))).await;
        assert_eq!(all.iter().filter(|answer| answer.status() == 200).count(), 1);
        assert_eq!(all.iter().filter(|answer| answer.status() == 401).count(), 15);
        // What is forgotten is refused for its nonce.
        app.pass(TimeDelta::seconds(451));
        let now = app.now();
        let forgotten = app.app().db.write("x", move |conn| portreeve::authorization::forget_proofs(conn, now, 100));
        assert_eq!(forgotten.await.unwrap(), 2);
        app.stop().await;
    }

    async fn the_token_endpoint_speaks_of_proofs_in_its_own_envelope(db: TestDb) {
        let app = TestApp::start(&db).await;
        let holder = Holder::new(Algorithm::EdDsa);
        let client = app.stranger();
        let assertion = app.id_token(&user("holder"));
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("grant_type", GRANT), ("assertion", &assertion)])
            .finish();
        let ask = |proof: String| {
            let form = "application/x-www-form-urlencoded";
            client.send(Outgoing::post(client.url("/oauth/token"), form, body.clone().into_bytes()).header("dpop", proof))
        };
        let good = || claims(&app, "POST", "/oauth/token", None);
        let mut no_nonce = good();
        no_nonce.as_object_mut().unwrap().remove("nonce");
        let answer = ask(holder.proves(&no_nonce)).await.expect_status(400);
        assert!(answer.has_header("dpop-nonce"));
        assert_eq!(answer.json()["error"], "use_dpop_nonce");
        let answer = ask("x".to_owned()).await.expect_status(400);
        assert_eq!(answer.json()["error"], "invalid_dpop_proof");
        let given = ask(holder.proves(&good())).await.expect_status(200).json();
        assert_eq!(given["token_type"], "DPoP", "{given}");
        // A retry with the same key gets the same token; the same assertion with another key is a replay.
        let again = ask(holder.proves(&good())).await.expect_status(200).json();
        assert_eq!(again["access_token"], given["access_token"]);
        let thief = Holder::new(Algorithm::EdDsa);
        let stolen = ask(thief.proves(&good())).await.expect_status(400).json();
        assert_eq!(stolen["error"], "invalid_grant", "{stolen}");
        app.stop().await;
    }
}
