//! What strangers' URLs can make us do: nothing but fetch a small JSON document from a public https server, seldom.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::future::{BoxFuture, join_all};
use portreeve::clock::Timestamp;
use portreeve::fetch::{Bounds, DocumentError, Documents, Fetch, FetchSettings, Lookup, Outgoing};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// A host that says this says nothing, and keeps the connection.
const SILENCE: &[u8] = b"silence";

/// A server that counts who connects, and answers every request with the same bytes.
#[derive(Clone)]
struct Host {
    url: Url,
    connections: Arc<AtomicU32>,
    answer: Arc<Mutex<Vec<u8>>>,
}

impl Host {
    async fn start(answer: impl Into<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/client.json", listener.local_addr().unwrap()).parse().unwrap();
        let host = Self { url, connections: Arc::default(), answer: Arc::new(Mutex::new(answer.into())) };
        let server = host.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                server.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(server.clone().serve(stream));
            }
        });
        host
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut request = [0_u8; 4096];
        let _ = stream.read(&mut request).await;
        let answer = self.answer.lock().unwrap().clone();
        let _ = stream.write_all(if answer == SILENCE { b"" } else { &answer }).await;
        if answer == SILENCE {
            // Nothing, until the other side has enough.
            let _ = stream.read(&mut request).await;
        } else if answer.ends_with(b"\r\n\r\n") {
            // A body that never ends.
            while stream.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    fn says(&self, answer: impl Into<Vec<u8>>) {
        *self.answer.lock().unwrap() = answer.into();
    }

    fn asked(&self) -> u32 {
        self.connections.load(Ordering::SeqCst)
    }
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn good(headers: &str) -> Vec<u8> {
    answer("200 OK", &format!("content-type: application/json\r\n{headers}"), br#"{"a":1}"#)
}

fn read(_url: &Url, bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

fn documents(bounds: Bounds) -> Documents<Value> {
    let settings = FetchSettings { special_hosts: vec!["127.0.0.1".to_owned()], ..FetchSettings::default() };
    Documents::new(Fetch::new(&settings).unwrap(), bounds, read)
}

/// What came of one fetch of such an answer.
async fn fetched(bytes: impl Into<Vec<u8>>) -> Result<Arc<Value>, DocumentError> {
    let host = Host::start(bytes).await;
    documents(Bounds { deadline: Duration::from_secs(1), ..Bounds::default() }).get(&host.url, NOW).await
}

fn refusal(outcome: Result<Arc<Value>, DocumentError>) -> String {
    match outcome {
        Err(DocumentError::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_document_is_read() {
    assert_eq!(*fetched(good("")).await.unwrap(), json!({"a": 1}));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let canary = Host::start(good("")).await;
    let to_canary = answer("302 Found", &format!("location: {}\r\n", canary.url), b"");
    assert!(refusal(fetched(to_canary).await).contains("302"));
    assert_eq!(canary.asked(), 0);
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let slow = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 60000\r\n\r\n";
    assert!(matches!(fetched(slow).await, Err(DocumentError::Unreachable(_))));
}

#[tokio::test]
async fn a_head_that_never_comes_is_given_up() {
    assert!(matches!(fetched(SILENCE).await, Err(DocumentError::Unreachable(_))));
}

#[tokio::test]
async fn a_body_over_the_limit_is_not_read_to_its_end() {
    let long = vec![b' '; 64 * 1024 + 1];
    let announced = answer("200 OK", "content-type: application/json\r\n", &long);
    assert!(refusal(fetched(announced).await).contains("longer than 65536 bytes"));
    let mut unannounced = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n".to_vec();
    unannounced.extend_from_slice(&long);
    assert!(refusal(fetched(unannounced).await).contains("longer than 65536 bytes"));
}

#[tokio::test]
async fn a_compressed_answer_is_refused_and_never_expanded() {
    let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    zip.write_all(&vec![b' '; 16 * 1024 * 1024]).unwrap();
    let bomb = zip.finish().unwrap();
    assert!(bomb.len() < 64 * 1024);
    let headers = "content-type: application/json\r\ncontent-encoding: gzip\r\n";
    assert!(refusal(fetched(answer("200 OK", headers, &bomb)).await).contains("compressed"));
}

#[tokio::test]
async fn what_is_not_json_by_its_content_type_is_refused() {
    for kind in
        ["", "content-type: text/html\r\n", "content-type: text/json\r\n", "content-type: application/jsonp\r\n"]
    {
        assert!(refusal(fetched(answer("200 OK", kind, b"{}")).await).contains("content type"), "{kind}");
    }
    for kind in ["application/json; charset=utf-8", "Application/JSON", "application/client+json"] {
        fetched(answer("200 OK", &format!("content-type: {kind}\r\n"), b"{}")).await.unwrap();
    }
}

#[tokio::test]
async fn only_200_counts() {
    for status in ["201 Created", "204 No Content", "206 Partial Content", "304 Not Modified", "404 Not Found"] {
        refusal(fetched(answer(status, "content-type: application/json\r\n", b"{}")).await);
    }
    let down = fetched(answer("503 Service Unavailable", "", b"")).await;
    assert!(matches!(down, Err(DocumentError::Unreachable(_))));
}

#[tokio::test]
async fn strangers_have_the_port_of_https_only() {
    let documents = documents(Bounds::default());
    for url in ["https://agent.example:8443/c", "https://agent.example:22/c", "http://agent.example/c"] {
        refusal(documents.get(&url.parse().unwrap(), NOW).await);
    }
}

#[tokio::test]
async fn a_document_is_kept_as_long_as_its_host_says_within_bounds() {
    for (headers, fresh, old) in [
        ("cache-control: max-age=600\r\n", 599, 600),
        ("cache-control: public, max-age=\"600\"\r\n", 599, 600),
        ("cache-control: max-age=1\r\n", 59, 60),
        ("cache-control: no-store\r\n", 59, 60),
        ("cache-control: max-age=99999999\r\n", 86_399, 86_400),
        ("cache-control: max-age=99999999999999999999\r\n", 299, 300),
        ("", 299, 300),
    ] {
        let host = Host::start(good(headers)).await;
        let documents = documents(Bounds::default());
        documents.get(&host.url, NOW).await.unwrap();
        documents.get(&host.url, NOW.plus(TimeDelta::seconds(fresh))).await.unwrap();
        assert_eq!(host.asked(), 1, "{headers}");
        documents.get(&host.url, NOW.plus(TimeDelta::seconds(old))).await.unwrap();
        assert_eq!(host.asked(), 2, "{headers}");
    }
}

#[tokio::test]
async fn after_a_failure_nobody_fetches_for_a_moment() {
    let host = Host::start(answer("503 Service Unavailable", "", b"")).await;
    let documents = documents(Bounds::default());
    for _ in 0..20 {
        documents.get(&host.url, NOW).await.unwrap_err();
    }
    assert_eq!(host.asked(), 1);
    host.says(good(""));
    documents.get(&host.url, NOW.plus(TimeDelta::seconds(10))).await.unwrap();
    assert_eq!(host.asked(), 2);
}

#[tokio::test]
async fn a_document_that_is_not_what_it_should_be_is_not_kept_as_one() {
    let host = Host::start(answer("200 OK", "content-type: application/json\r\n", b"{")).await;
    let documents = documents(Bounds::default());
    refusal(documents.get(&host.url, NOW).await);
    host.says(good(""));
    documents.get(&host.url, NOW.plus(TimeDelta::seconds(10))).await.unwrap();
}

#[tokio::test]
async fn sixty_four_who_ask_for_one_document_cause_one_fetch() {
    let host = Host::start(good("")).await;
    let documents = documents(Bounds::default());
    let outcomes = join_all((0..64).map(|_| documents.get(&host.url, NOW))).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(host.asked(), 1);
}

#[tokio::test]
async fn a_host_and_all_hosts_are_asked_only_so_often() {
    for bounds in
        [Bounds { host_per_minute: 3, ..Bounds::default() }, Bounds { all_per_minute: 3, ..Bounds::default() }]
    {
        let host = Host::start(good("")).await;
        let documents = documents(bounds);
        let get = async |name: u32, now| documents.get(&host.url.join(&format!("/{name}")).unwrap(), now).await;
        for name in 0..3 {
            get(name, NOW).await.unwrap();
        }
        assert!(matches!(get(3, NOW).await, Err(DocumentError::TooMany(60))));
        assert_eq!(host.asked(), 3);
        get(3, NOW.plus(TimeDelta::minutes(1))).await.unwrap();
    }
}

#[tokio::test]
async fn a_good_document_is_taken_for_a_day_while_its_host_cannot_be_asked() {
    for failure in
        [answer("503 Service Unavailable", "", b""), answer("429 Too Many Requests", "", b""), SILENCE.to_vec()]
    {
        let host = Host::start(good("")).await;
        let documents = documents(Bounds { deadline: Duration::from_millis(200), ..Bounds::default() });
        documents.get(&host.url, NOW).await.unwrap();
        host.says(failure);
        for _ in 0..20 {
            documents.get(&host.url, NOW.plus(TimeDelta::minutes(5))).await.unwrap();
        }
        assert_eq!(host.asked(), 2, "after a failure nobody fetches for a moment");
        documents
            .get(&host.url, NOW.plus(TimeDelta::minutes(5) + TimeDelta::hours(24) - TimeDelta::seconds(1)))
            .await
            .unwrap();
        let over = documents.get(&host.url, NOW.plus(TimeDelta::minutes(5) + TimeDelta::hours(24))).await;
        assert!(matches!(over, Err(DocumentError::Unreachable(_))), "{over:?}");
        host.says(good(""));
        documents.get(&host.url, NOW.plus(TimeDelta::hours(25))).await.unwrap();
    }
}

#[tokio::test]
async fn a_document_that_is_gone_or_wrong_is_not_taken_any_longer() {
    let wrong = answer("200 OK", "content-type: application/json\r\n", b"{");
    for gone in [answer("404 Not Found", "", b""), answer("410 Gone", "", b""), wrong] {
        let host = Host::start(good("")).await;
        let documents = documents(Bounds::default());
        documents.get(&host.url, NOW).await.unwrap();
        host.says(gone);
        refusal(documents.get(&host.url, NOW.plus(TimeDelta::minutes(5))).await);
        // Nor when its host fails after that.
        host.says(answer("503 Service Unavailable", "", b""));
        let after = documents.get(&host.url, NOW.plus(TimeDelta::minutes(6))).await;
        assert!(matches!(after, Err(DocumentError::Unreachable(_))), "{after:?}");
    }
}

#[tokio::test]
async fn whoever_names_urls_that_lead_nowhere_uses_up_no_turn_of_what_was_good_before() {
    for bounds in [
        Bounds { host_per_minute: 3, ..Bounds::default() },
        Bounds { all_per_minute: 3, max_kept: 4, ..Bounds::default() },
    ] {
        let host = Host::start(good("")).await;
        let documents = documents(bounds);
        documents.get(&host.url, NOW).await.unwrap();
        let later = NOW.plus(TimeDelta::minutes(5));
        host.says(answer("404 Not Found", "", b""));
        for name in 0..50 {
            documents.get(&host.url.join(&format!("/{name}")).unwrap(), later).await.unwrap_err();
        }
        assert_eq!(host.asked(), 4);
        host.says(answer("200 OK", "content-type: application/json\r\n", br#"{"a":2}"#));
        assert_eq!(*documents.get(&host.url, later).await.unwrap(), json!({"a": 2}), "it is fetched anew");
        assert_eq!(host.asked(), 5);
    }
}

/// Answers what it is told to, and counts.
struct Liar {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    asked: AtomicU32,
}

impl Liar {
    fn new(mut answers: Vec<Vec<IpAddr>>) -> Arc<Self> {
        answers.reverse();
        Arc::new(Self { answers: Mutex::new(answers), asked: AtomicU32::new(0) })
    }
}

impl Lookup for Liar {
    fn lookup(&self, _name: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.answers.lock().unwrap().pop().unwrap_or_default();
        Box::pin(async move { Ok(answer) })
    }
}

#[tokio::test]
async fn a_name_that_changes_its_address_gains_nothing() {
    let canary = Host::start(good("")).await;
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let public: IpAddr = "93.184.216.34".parse().unwrap();
    // Nothing first; then a good address with a bad one; then bad ones.
    let liar = Liar::new(vec![
        vec![],
        vec![public, loopback],
        vec![loopback],
        vec![IpAddr::V6(Ipv6Addr::LOCALHOST)],
        vec!["::ffff:127.0.0.1".parse().unwrap()],
        vec!["169.254.169.254".parse().unwrap()],
    ]);
    let fetch = Fetch::with_lookup(&FetchSettings::default(), liar.clone()).unwrap();
    let url: Url = format!("https://rebound.example:{}/", canary.url.port().unwrap()).parse().unwrap();
    for round in 1..=6 {
        fetch.send(Outgoing::get(url.clone())).await.unwrap_err();
        // One look-up for one connection: what is judged is what is connected to.
        assert_eq!(liar.asked.load(Ordering::SeqCst), round);
    }
    assert_eq!(canary.asked(), 0);
}

/// Ways to write an IPv4 address that URL parsers and resolvers have taken for it.
fn spellings(address: Ipv4Addr) -> BTreeSet<String> {
    let [a, b, c, d] = address.octets();
    let number = u32::from(address);
    let low = u32::from_be_bytes([0, b, c, d]);
    let last = u32::from_be_bytes([0, 0, c, d]);
    let wide: String = address.to_string().chars().map(|c| if c == '.' { '。' } else { c }).collect();
    let full = |c: char| c.to_digit(10).and_then(|digit| char::from_u32(0xff10 + digit)).unwrap_or(c);
    let circled = |c: char| match c.to_digit(10) {
        Some(0) => '⓪',
        Some(digit) => char::from_u32(0x245f + digit).unwrap(),
        None => c,
    };
    let percent = address.to_string().bytes().fold(String::new(), |text, byte| format!("{text}%{byte:02x}"));
    let v6 = |prefix: &str| format!("[{prefix}{a:x}{b:02x}:{c:x}{d:02x}]");
    [
        address.to_string(),
        format!("{address}."),
        format!("{number}"),
        format!("{number}."),
        format!("{number:#x}"),
        format!("{number:#X}"),
        format!("0{number:o}"),
        format!("{a}.{low}"),
        format!("{a}.{b}.{last}"),
        format!("{a:#x}.{b:#x}.{c:#x}.{d:#x}"),
        format!("{a:#x}.{low:#x}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("00000{a:o}.{b}.{c}.{d}"),
        format!("{a:#x}.{b}.0{c:o}.{d}"),
        format!("{:#x}.{b}.{c}.{d}", u32::from(a) + 256),
        wide,
        address.to_string().chars().map(full).collect(),
        address.to_string().chars().map(circled).collect(),
        percent,
        format!("[::{address}]"),
        format!("[::ffff:{address}]"),
        format!("[0:0:0:0:0:ffff:{address}]"),
        v6("::ffff:"),
        v6("::"),
        v6("::ffff:0:"),
        v6("64:ff9b::"),
        v6("64:ff9b:1::"),
        format!("[2002:{a:x}{b:02x}:{c:x}{d:02x}::]"),
        format!("[2001:0:{a:x}{b:02x}:{c:x}{d:02x}::1]"),
        format!("user@{address}"),
        format!("good.example@{address}"),
    ]
    .into()
}

#[tokio::test]
async fn no_spelling_of_a_special_address_is_called() {
    let canary = Host::start(good("")).await;
    let port = canary.url.port().unwrap();
    let fetch = Fetch::new(&FetchSettings::default()).unwrap();
    let special = [
        [127, 0, 0, 1],
        [127, 1, 2, 3],
        [10, 1, 2, 3],
        [172, 16, 0, 1],
        [192, 168, 1, 1],
        [169, 254, 169, 254],
        [100, 64, 0, 1],
        [0, 0, 0, 0],
        [192, 0, 0, 1],
        [198, 18, 0, 1],
        [255, 255, 255, 255],
    ];
    let mut urls: Vec<String> = special.iter().flat_map(|octets| spellings((*octets).into())).collect();
    urls.extend(["localhost", "LOCALHOST", "localhost.", "[::1]", "[::]", "[0:0:0:0:0:0:0:1]"].map(str::to_owned));
    urls.extend(["[fe80::1]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]", "[2001:db8::1]"].map(str::to_owned));
    assert!(urls.len() >= 200, "{}", urls.len());
    for host in urls {
        for scheme in ["https", "http"] {
            // What is no URL cannot be called.
            let Ok(url) = format!("{scheme}://{host}:{port}/").parse::<Url>() else { continue };
            fetch.send(Outgoing::get(url)).await.unwrap_err();
        }
    }
    assert_eq!(canary.asked(), 0);
}
