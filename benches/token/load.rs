//! The one load tool: connections that are kept, each with its next request when the last one is answered. It is our own
//! because a refresh token comes out of the answer before, and an assertion is good once; and it is small, because it
//! shares the machine with what it measures.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What one connection sends.
pub(crate) enum Script {
    /// The same, again and again.
    Again(Vec<u8>),
    /// Each once, whichever connection comes first; the run ends with them.
    Once(Arc<Heap>),
    /// A refresh token, and after it the one that came for it.
    Chain { head: String, token: String },
}

/// Requests that can be sent once.
pub(crate) struct Heap {
    requests: Vec<Vec<u8>>,
    taken: AtomicUsize,
}

impl Heap {
    pub(crate) fn of(requests: Vec<Vec<u8>>) -> Arc<Self> {
        Arc::new(Self { requests, taken: AtomicUsize::new(0) })
    }

    fn next(&self) -> Option<&[u8]> {
        self.requests.get(self.taken.fetch_add(1, Ordering::Relaxed)).map(Vec::as_slice)
    }
}

/// One run. Waiting times in milliseconds.
pub(crate) struct Load {
    pub(crate) answers: f64,
    pub(crate) seconds: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// A kept connection.
pub(crate) struct Line {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Line {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::with_capacity(16 * 1024) }
    }

    /// The answer to `request`: its head, and where its body begins in the whole. Anything but 200 ends the bench.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> (&[u8], usize) {
        self.stream.write_all(request).await.unwrap();
        self.buffer.clear();
        let mut whole = None;
        while whole.is_none_or(|(_, end)| self.buffer.len() < end) {
            let read = self.stream.read_buf(&mut self.buffer).await.unwrap();
            assert!(read > 0, "the server hung up: {}", String::from_utf8_lossy(request));
            whole = whole.or_else(|| measure(&self.buffer));
        }
        let (body, _) = whole.unwrap();
        let good = self.buffer.starts_with(b"HTTP/1.1 200 ");
        let text = || [String::from_utf8_lossy(request), String::from_utf8_lossy(&self.buffer)].join("\n\n");
        assert!(good, "an answer that is none:\n{}", text());
        (&self.buffer, body)
    }
}

/// Where the body begins, and where it ends, once the head is there.
fn measure(buffer: &[u8]) -> Option<(usize, usize)> {
    const NAME: &[u8] = b"content-length:";
    let body = buffer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let mut lines = buffer[..body].split(|byte| *byte == b'\n');
    let line = lines.find(|line| line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME));
    let length = std::str::from_utf8(&line.expect("a length")[NAME.len()..]).unwrap().trim();
    Some((body, body + length.parse::<usize>().unwrap()))
}

/// The text of a member of a flat JSON object.
pub(crate) fn member<'a>(body: &'a [u8], name: &str) -> &'a str {
    let text = std::str::from_utf8(body).unwrap();
    let start = text.find(name).unwrap_or_else(|| panic!("no {name}: {text}")) + name.len() + 3;
    text[start..].split('"').next().unwrap()
}

/// A request to the token endpoint.
pub(crate) fn post(head: &str, form: &str) -> Vec<u8> {
    format!("{head}content-length: {}\r\n\r\n{form}", form.len()).into_bytes()
}

fn refresh(head: &str, token: &str) -> Vec<u8> {
    post(head, &format!("grant_type=refresh_token&refresh_token={token}"))
}

impl Script {
    async fn step(&mut self, line: &mut Line) -> bool {
        match self {
            Self::Again(request) => drop(line.ask(request).await),
            Self::Once(heap) => match heap.next() {
                Some(request) => drop(line.ask(request).await),
                None => return false,
            },
            Self::Chain { head, token } => {
                let (answer, body) = line.ask(&refresh(head, token)).await;
                let next = member(&answer[body..], "refresh_token").to_owned();
                assert_ne!(&next, token, "refresh tokens are to be replaced");
                *token = next;
            }
        }
        true
    }
}

async fn walk(mut line: Line, mut script: Script, until: Instant) -> Vec<Duration> {
    let mut took = Vec::new();
    loop {
        let begun = Instant::now();
        if begun >= until || !script.step(&mut line).await {
            return took;
        }
        took.push(begun.elapsed());
    }
}

/// As many connections as there are scripts, in two threads: one alone would be the limit where a file is served.
pub(crate) fn run(address: SocketAddr, scripts: Vec<Script>, time: Duration) -> Load {
    let mut halves = [Vec::new(), Vec::new()];
    for (number, script) in scripts.into_iter().enumerate() {
        halves[number % 2].push(script);
    }
    let halves: Vec<Vec<Script>> = halves.into_iter().filter(|half| !half.is_empty()).collect();
    // Nobody begins before everybody is connected: whoever came late would wait behind those who are at it already, and
    // the peer forgets a refresh token that is not used for a thousand other entries.
    let ready = Arc::new(Barrier::new(halves.len()));
    let threads = halves.into_iter().map(|half| {
        let ready = ready.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
            tokio::task::LocalSet::new().block_on(&runtime, async move {
                let mut lines = Vec::new();
                for script in half {
                    lines.push((Line::connect(address).await, script));
                }
                ready.wait();
                let start = Instant::now();
                let walks =
                    lines.into_iter().map(|(line, script)| tokio::task::spawn_local(walk(line, script, start + time)));
                let walks: Vec<_> = walks.collect();
                let mut took = Vec::new();
                for walk in walks {
                    took.extend(walk.await.unwrap());
                }
                (took, start.elapsed().as_secs_f64())
            })
        })
    });
    let threads: Vec<_> = threads.collect();
    let (mut took, mut seconds) = (Vec::new(), 0.0_f64);
    for thread in threads {
        let (some, lasted) = thread.join().unwrap();
        took.extend(some);
        seconds = seconds.max(lasted);
    }
    took.sort_unstable();
    let at = |hundredth: usize| took[(took.len() - 1) * hundredth / 100].as_secs_f64() * 1_000.0;
    Load { answers: f64::from(u32::try_from(took.len()).unwrap()), seconds, p50: at(50), p99: at(99) }
}

/// One request on a connection of its own: head and body.
pub(crate) fn once(address: SocketAddr, request: &[u8]) -> (String, Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    runtime.block_on(async {
        let mut line = Line::connect(address).await;
        let (answer, body) = line.ask(request).await;
        (String::from_utf8(answer[..body].to_vec()).unwrap(), answer[body..].to_vec())
    })
}
