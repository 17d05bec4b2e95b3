use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

use actix_web::web::Bytes;
use serde_json::Value;

use super::*;
use crate::clock::SystemClock;

const KEY: [u8; 32] = [7; 32];

/// The provider's `/v1/usage` as a stand-in: answers what it is told, and keeps what it heard.
#[derive(Default)]
struct Meter {
    status: AtomicU16,
    heard: Mutex<Vec<(String, Value)>>,
}

fn start() -> (Platform, Arc<Meter>) {
    let meter = Arc::new(Meter { status: AtomicU16::new(200), ..Meter::default() });
    let data = web::Data::from(meter.clone());
    let provider = HttpServer::new(move || {
        let usage = async |meter: web::Data<Meter>, request: HttpRequest, body: Bytes| {
            let bearer = request.headers().get(AUTHORIZATION).unwrap().to_str().unwrap().to_owned();
            meter.heard.lock().unwrap().push((bearer, serde_json::from_slice(&body).unwrap()));
            problem(meter.status.load(Ordering::Relaxed), "cap_reached", "No more.")
        };
        App::new().app_data(data.clone()).route("/v1/usage", web::post().to(usage))
    })
    .workers(1)
    .disable_signals()
    .bind("127.0.0.1:0")
    .unwrap();
    let provider_base = format!("http://{}/", provider.addrs()[0]).parse().unwrap();
    tokio::spawn(provider.run());
    let settings = PlatformSettings {
        provider_base,
        platform_key: Zeroizing::new(KEY),
        meter_key: Secret::presented("meter_secret"),
        bind: "127.0.0.1:0".parse().unwrap(),
        clock: Arc::new(SystemClock),
    };
    (Platform::start(settings).unwrap(), meter)
}

async fn get(platform: &Platform, path: &str, key: &str) -> Incoming {
    let url = format!("{}{path}", platform.url).parse().unwrap();
    loopback_client(&[]).unwrap().send(Outgoing::get(url).bearer(key)).await.unwrap()
}

#[test]
fn a_key_is_good_for_its_own_resource_only() {
    let mac = hmac::Key::new(hmac::HMAC_SHA256, &KEY);
    let key = api_key(&KEY, "res_1");
    assert_eq!(resource_of(&mac, key.expose()), Some(("res_1".to_owned(), 0)));
    for bad in [key.expose().replace("res_1", "res_2"), format!("{}A", key.expose()), "wx_res_1.".into(), String::new()]
    {
        assert_eq!(resource_of(&mac, &bad), None, "{bad}");
    }
    assert_eq!(resource_of(&hmac::Key::new(hmac::HMAC_SHA256, &[8; 32]), key.expose()), None);
}

#[tokio::test]
async fn a_call_is_reported_before_it_is_answered_and_each_has_its_own_id() {
    let (platform, meter) = start();
    let key = api_key(&KEY, "res_1");
    let first = get(&platform, "/weather/lisbon", key.expose()).await;
    let batch = get(&platform, "/weather/lisbon?requests=2000", key.expose()).await;
    assert_eq!((first.status, batch.status), (200, 200));
    let heard = meter.heard.lock().unwrap();
    assert_eq!(heard[0].0, "Bearer meter_secret");
    assert_eq!(heard[0].1["subject"], "res_1");
    assert_eq!((&heard[0].1["data"]["quantity"], &heard[1].1["data"]["quantity"]), (&"1".into(), &"2000".into()));
    assert_ne!(heard[0].1["id"], heard[1].1["id"]);
}

#[tokio::test]
async fn what_the_cap_refuses_is_passed_on_and_what_cannot_be_metered_is_not_answered() {
    let (platform, meter) = start();
    let key = api_key(&KEY, "res_1");
    meter.status.store(402, Ordering::Relaxed);
    let refused = get(&platform, "/weather/lisbon", key.expose()).await;
    assert_eq!((refused.status, refused.header("content-type")), (402, Some("application/problem+json")));
    assert_eq!(refused.json::<Value>().unwrap()["code"], "cap_reached");
    for status in [401, 404, 500] {
        meter.status.store(status, Ordering::Relaxed);
        assert_eq!(get(&platform, "/weather/lisbon", key.expose()).await.status, 503);
    }
}

#[tokio::test]
async fn bad_calls_are_refused_and_not_metered() {
    let (platform, meter) = start();
    let key = api_key(&KEY, "res_1");
    assert_eq!(get(&platform, "/weather/lisbon", "wx_res_1.AAAA").await.status, 401);
    for path in ["/weather/lisbon?requests=0", "/weather/lisbon?requests=-1", "/weather/lisbon?requests=1000001"] {
        assert_eq!(get(&platform, path, key.expose()).await.status, 400, "{path}");
    }
    assert!(meter.heard.lock().unwrap().is_empty());
}
