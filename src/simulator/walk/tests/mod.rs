//! The walk against a stand-in that keeps the fixed wire, and against the same stand-in when it cheats.

mod wire;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::*;
use crate::clock::{Clock as _, SystemClock};
use crate::fetch::Outgoing;
use crate::secret::{Secret, sha256_name};
use crate::signing::{Algorithm, KeyPurpose, KeyRing, canonical_json};
use crate::simulator::{PlatformSettings, SimulatorSettings, api_key};

const KEY: [u8; 32] = [9; 32];
const CLIENT: &str = "portreeve-client";

/// How the stand-in cheats.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cheat {
    Not,
    /// One byte of the served catalog is another.
    Catalog,
    /// The same key charges again.
    ChargesTwice,
    /// The cap lets one minor unit too much through.
    PassesTheCap,
    /// The page says something else.
    Page,
    /// Who signed a call does not matter.
    SignatureIgnored,
    /// The services come from another revision.
    OtherRevision,
    /// Another's address is enough for a code.
    LinksSilently,
    /// A code works as often as anybody likes.
    CodeWorksTwice,
    /// What costs is made without money.
    UnpaidMade,
    /// The same key makes another thing.
    KeyIgnored,
    /// Any change is allowed.
    AnyChange,
    /// A rotation replaces nothing.
    RotationKeeps,
    /// A look shows the credentials.
    SecretShown,
    /// More is captured for a change than the catalog says.
    ChangeCostsMore,
    /// The guest's page says something else.
    GuestPage,
    /// What was removed is still there.
    StillThere,
}

struct Double {
    base: String,
    cheat: Cheat,
    ring: KeyRing,
    catalog: Vec<u8>,
    money: Mutex<Money>,
    settlement: Mutex<String>,
    settled: AtomicU32,
    wire: Mutex<wire::World>,
}

#[derive(Default)]
struct Money {
    spent: i64,
    requests: i64,
    ledger: Vec<i64>,
    made: HashMap<String, (String, i64)>,
    used_links: usize,
}

type State = web::Data<Double>;

fn json_ok(body: Value) -> HttpResponse {
    HttpResponse::Ok().json(body)
}

fn budget(money: &Money) -> Value {
    json!({"currency": "USD", "ceiling": 10_000, "spent": money.spent, "held": 0,
        "remaining": (10_000 - money.spent).max(0), "resets_at": "2026-12-01T00:00:00Z"})
}

fn cap_reached(money: &Money, needed: i64) -> HttpResponse {
    HttpResponse::PaymentRequired().json(json!({"code": "cap_reached", "binding": "budget", "currency": "USD",
        "needed": needed, "held": 0, "spent": money.spent, "remaining": 10_000 - money.spent,
        "resets_at": "2026-12-01T00:00:00Z", "raise_url": "http://p/dashboard"}))
}

async fn resources(double: State, request: HttpRequest, wanted: web::Json<Value>) -> HttpResponse {
    if request.headers().get("authorization").is_none() {
        let challenge = format!(
            "Bearer realm=\"{0}\", resource_metadata=\"{0}/.well-known/oauth-protected-resource/v1\", scope=\"resources:write\"",
            double.base
        );
        return HttpResponse::Unauthorized()
            .insert_header(("www-authenticate", challenge))
            .json(json!({"code": "unauthorized", "next": {"action": "authorize"}}));
    }
    let key = request.headers().get("idempotency-key").unwrap().to_str().unwrap().to_owned();
    let service = wanted["service"].as_str().unwrap().to_owned();
    let cost = match service.as_str() {
        "postgres" => 900,
        "domain" => 1_200,
        _ => 0,
    };
    let answer = |id: &str, cost: i64| {
        HttpResponse::Created().json(json!({"resource": {"id": id, "state": "ready"},
            "credentials": {"API_KEY": api_key(&KEY, id).expose()}, "cost": {"currency": "USD", "amount": cost}}))
    };
    let before = double.money.lock().unwrap().made.get(&key).cloned();
    if let Some((id, cost)) = before {
        if double.cheat == Cheat::ChargesTwice {
            double.money.lock().unwrap().spent += cost;
        }
        return answer(&id, cost);
    }
    if cost > 0 && double.money.lock().unwrap().spent + cost > 10_000 {
        return self::cap_reached(&double.money.lock().unwrap(), cost);
    }
    if cost > 0 {
        double.settle(wanted["payment_token"].as_str().unwrap(), cost).await;
    }
    let id = format!("res_{service}");
    let mut money = double.money.lock().unwrap();
    money.spent += cost;
    money.ledger.push(cost);
    money.made.insert(key, (id.clone(), cost));
    answer(&id, cost)
}

impl Double {
    async fn settle(&self, token: &str, amount: i64) {
        let settlement = self.settlement.lock().unwrap().clone();
        let fetch = loopback_client(&[]).unwrap();
        let hold = format!("hold_{}", self.settled.fetch_add(1, Ordering::Relaxed));
        let mut path = "/authorizations".to_owned();
        let mut body = json!({"payment_token": token, "reference": hold, "amount": amount, "currency": "USD"});
        for number in 0..2 {
            let now = SystemClock.now().seconds();
            let claims = json!({"iss": CLIENT, "sub": CLIENT, "aud": settlement.trim_end_matches("/settlement"),
                "iat": now, "exp": now + 60, "jti": format!("{hold}-{number}")});
            let key = self.ring.key(KeyPurpose::ClientAssertion, Algorithm::Es256).unwrap();
            let assertion = key.sign_compact("client-authentication+jwt", &claims).unwrap();
            let ask = Outgoing::post_json(format!("{settlement}{path}").parse().unwrap(), &body)
                .bearer(&assertion)
                .header("idempotency-key", format!("{hold}-1"));
            let made: Value = fetch.send(ask).await.unwrap().json().unwrap();
            path = format!("/authorizations/{}/capture", made["id"].as_str().unwrap());
            body = json!({"amount": amount});
        }
    }
}

async fn usage(double: State, event: web::Json<Value>) -> HttpResponse {
    let quantity: i64 = event["data"]["quantity"].as_str().unwrap().parse().unwrap();
    let mut money = double.money.lock().unwrap();
    let cost = (money.requests + quantity) * 50 / 1_000 - money.requests * 50 / 1_000;
    let cheated = i64::from(double.cheat == Cheat::PassesTheCap);
    if money.spent + cost > 10_000 {
        return self::cap_reached(&money, cost);
    }
    money.requests += quantity;
    money.spent += cost;
    if money.spent == 10_000 {
        money.spent += cheated;
    }
    money.ledger.push(cost);
    json_ok(json!({"event": "recorded"}))
}

async fn simple(double: State, request: HttpRequest) -> HttpResponse {
    let base = &double.base;
    let money = || double.money.lock().unwrap();
    match (request.method().as_str(), request.path()) {
        (_, "/.well-known/api-catalog") => json_ok(json!({"linkset": [{"anchor": base}]})),
        (_, "/oauth/jwks") => json_ok(double.ring.jwks()),
        (_, "/catalog") => {
            let etag = format!("\"{}\"", sha256_name(&double.catalog));
            if request.headers().contains_key("if-none-match") {
                return HttpResponse::NotModified().finish();
            }
            HttpResponse::Ok().insert_header(("etag", etag)).body(double.catalog.clone())
        }
        (_, "/catalog.jws") => {
            let mut signed = double.catalog.clone();
            if double.cheat == Cheat::Catalog {
                signed[2] ^= 1;
            }
            json_ok(double.ring.sign_general(KeyPurpose::Catalog, "catalog+jws", &signed).unwrap())
        }
        (_, "/.well-known/oauth-protected-resource/v1") => json_ok(json!({"resource": format!("{base}/v1"),
            "authorization_servers": [base], "scopes_supported": ["resources:write"]})),
        (_, "/.well-known/oauth-authorization-server") => json_ok(json!({"issuer": base,
            "token_endpoint": format!("{base}/oauth/token"), "jwks_uri": format!("{base}/oauth/jwks"),
            "grant_types_supported": ["urn:ietf:params:oauth:grant-type:jwt-bearer"]})),
        (_, "/v1/accounts") => HttpResponse::Created().json(json!({"account": {"id": "acct_1", "state": "provisional",
            "orchestrator": {"name": "Harbour"}}, "access_token": "access-secret", "token_type": "Bearer",
            "expires_in": 600, "resource": format!("{base}/v1")})),
        (_, "/v1/budget") => json_ok(budget(&money())),
        (_, "/v1/ledger") => {
            let entries: Vec<Value> = money().ledger.iter().map(|change| json!({"spent_change": change})).collect();
            // Two pages.
            let (first, rest) = entries.split_at(2);
            if request.query_string().contains("cursor") {
                json_ok(json!({"data": rest, "next_cursor": null}))
            } else {
                json_ok(json!({"data": first, "next_cursor": "2"}))
            }
        }
        (_, "/v1/deep-links") => {
            let number = request.headers().get("idempotency-key").unwrap().to_str().unwrap().len();
            HttpResponse::Created().json(json!({"url": format!("{base}/d/dl_secret{number}")}))
        }
        ("GET", path) if path.starts_with("/d/") => HttpResponse::Ok().body("<form method=post>"),
        ("POST", "/d/dl_guest") => HttpResponse::SeeOther()
            .insert_header(("location", "/dashboard"))
            .insert_header(("set-cookie", "portreeve_session=session-guest; HttpOnly; Path=/"))
            .finish(),
        ("POST", path) if path.starts_with("/d/") => {
            money().used_links += 1;
            if money().used_links > 1 {
                return HttpResponse::Gone().finish();
            }
            HttpResponse::SeeOther()
                .insert_header(("location", "/dashboard"))
                .insert_header(("set-cookie", "portreeve_session=session-secret; HttpOnly; Path=/"))
                .finish()
        }
        (_, "/dashboard") => {
            let cookie = request.headers().get("cookie").unwrap();
            let spent = match cookie.to_str().unwrap() {
                "portreeve_session=session-guest" => double.wire.lock().unwrap().page(double.cheat),
                "portreeve_session=session-secret" if double.cheat == Cheat::Page => "$99.99".to_owned(),
                "portreeve_session=session-secret" => "$100.00".to_owned(),
                _ => panic!("nobody has this session"),
            };
            HttpResponse::Ok().body(format!("<h1><b>{spent}</b> of $100.00 spent</h1>"))
        }
        _ => HttpResponse::NotFound().finish(),
    }
}

async fn walked(cheat: Cheat) -> (WalkReport, Vec<Step>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let until = SystemClock.now().plus(chrono::TimeDelta::hours(1));
    let catalog = canonical_json(&json!({"iss": base, "version": 1, "expires_at": until,
        "provider": {"name": "Acme Cloud"}, "services": wire::published()}))
    .unwrap();
    let double = web::Data::new(Double {
        base: base.clone(),
        cheat,
        ring: KeyRing::generate().unwrap(),
        catalog,
        money: Mutex::default(),
        settlement: Mutex::default(),
        settled: AtomicU32::new(0),
        wire: Mutex::default(),
    });
    let data = double.clone();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .route("/v1/resources", web::post().to(resources))
            .route("/v1/usage", web::post().to(usage))
            .route("/oauth/token", web::post().to(wire::token))
            .route("/provisioning/{path:.*}", web::to(wire::provisioning))
            .default_service(web::to(simple))
    });
    tokio::spawn(server.workers(1).disable_signals().listen(listener).unwrap().run());
    let provider_base: Url = base.parse().unwrap();
    let bind = "127.0.0.1:0".parse().unwrap();
    let clock = Arc::new(SystemClock);
    let simulator = Simulator::start(SimulatorSettings {
        provider_base: provider_base.clone(),
        client_id: CLIENT.into(),
        bind,
        clock: clock.clone(),
    })
    .unwrap();
    simulator.settlement_url.clone_into(&mut double.settlement.lock().unwrap());
    double.wire.lock().unwrap().secret = simulator.introduction()["signing_secret"].as_str().unwrap().to_owned();
    let platform = Platform::start(PlatformSettings {
        provider_base: provider_base.clone(),
        platform_key: Zeroizing::new(KEY),
        meter_key: Secret::presented("meter"),
        bind,
        clock,
    })
    .unwrap();
    let mut heard = Vec::new();
    let guest = User { subject: "user_ben".into(), email: "ben@example.test".into(), ..User::ada() };
    let wire = WireOptions { user: guest, secret_file: "harbour.key".into() };
    let options = WalkOptions { wire: Some(wire), ..WalkOptions::default() };
    let report = walk(&provider_base, &simulator, &platform, &options, |step| heard.push(step.clone())).await.unwrap();
    (report, heard)
}

#[tokio::test]
async fn an_honest_provider_is_walked_to_the_end_and_no_secret_stands_in_a_step() {
    let (report, heard) = walked(Cheat::Not).await;
    let last = heard.last().unwrap();
    assert!(report.ok, "{last:?}");
    assert_eq!((report.steps.len(), last.number), (heard.len(), 19));
    let headed = heard.iter().filter(|step| step.act.is_some()).map(|step| step.number);
    assert_eq!(headed.collect::<Vec<_>>(), [1, 13]);
    assert!(report.links.dashboard.is_some());
    let written = serde_json::to_string(&heard).unwrap();
    let wire = ["session-guest", "dl_guest", "code-secret", "token-secret", "value-secret", "agt_", "whsec_"];
    for secret in ["access-secret", "session-secret", "dl_secret", "eyJ", "wx_res"].into_iter().chain(wire) {
        assert!(!written.contains(secret), "{secret}");
    }
    let cap = heard.iter().find(|step| step.status == 402).unwrap();
    assert!(cap.note.starts_with("cap reached: needs $10.00, $1.00 left"), "{}", cap.note);
    let calls = heard.iter().find(|step| step.times > 1).unwrap();
    assert_eq!((calls.party, calls.times), (Party::Platform, 9));
}

#[tokio::test]
async fn each_way_to_cheat_ends_the_walk_where_it_is_noticed() {
    for (cheat, number, said) in [
        (Cheat::Catalog, 2, "what was signed is not what was served"),
        (Cheat::ChargesTwice, 7, "not charged exactly once"),
        (Cheat::PassesTheCap, 9, "pass the cap"),
        (Cheat::Page, 12, "the page does not say"),
        (Cheat::SignatureIgnored, 13, "unexpected status 200"),
        (Cheat::OtherRevision, 13, "not from the signed revision"),
        (Cheat::CodeWorksTwice, 14, "unexpected status 200"),
        (Cheat::LinksSilently, 14, "ada@example.test has an account, and the answer is `oauth`"),
        (Cheat::UnpaidMade, 15, "unexpected status 200"),
        (Cheat::KeyIgnored, 15, "the same key made something else"),
        (Cheat::AnyChange, 16, "unexpected status 200"),
        (Cheat::RotationKeeps, 16, "nothing was replaced"),
        (Cheat::SecretShown, 16, "a look shows a secret"),
        (Cheat::ChangeCostsMore, 18, "4101 minor units are captured, not 4100"),
        (Cheat::GuestPage, 18, "the page does not say"),
        (Cheat::StillThere, 19, "it is still there"),
    ] {
        let (report, heard) = walked(cheat).await;
        let last = heard.last().unwrap();
        assert!(!report.ok && !last.ok, "{said}");
        assert_eq!(last.number, number, "{last:?}");
        assert!(last.note.contains(said), "{}", last.note);
        assert!(report.links.dashboard.is_none());
    }
}
