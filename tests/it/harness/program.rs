//! The program as a process of its own.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use portreeve::fetch::{Fetch, FetchSettings, Outgoing};

/// The program, in `folder`, without what the test's own environment says.
pub(crate) fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
    command.args(arguments).current_dir(folder);
    command
}

/// What became of it.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Output {
    program(folder, arguments).output().unwrap()
}

/// What it said on standard error.
pub(crate) fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A port that was free a moment ago, from below those that the system gives away by itself: nobody takes it meanwhile.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = 20_000 + u16::try_from(std::process::id() % 1000).unwrap() * 10;
    loop {
        let port = begin + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A provider that runs until it is dropped.
pub(crate) struct Serving {
    child: Child,
    /// Where it serves, without a trailing slash.
    pub(crate) base: String,
    /// Where its health is told.
    pub(crate) private: String,
}

impl Serving {
    /// `init` and `serve` in `folder`; waits until it says that it serves.
    pub(crate) fn start(folder: &Path, database: Option<&str>) -> Self {
        Self::start_with(folder, database, &[])
    }

    /// The same with settings: variables and values.
    pub(crate) fn start_with(folder: &Path, database: Option<&str>, settings: &[(&str, &str)]) -> Self {
        assert!(run(folder, &["init"]).status.success());
        let (public, private) = (free_port(), free_port());
        let mut command = program(folder, &["serve", "--listen", &format!("127.0.0.1:{public}")]);
        command.env("PORTREEVE__SERVER__PRIVATE_LISTEN", format!("127.0.0.1:{private}"));
        command.env("PORTREEVE__SERVER__DRAIN_SECONDS", "1");
        if let Some(url) = database {
            command.env("PORTREEVE__DATABASE__URL", url);
        }
        command.envs(settings.iter().copied());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = lines.by_ref().map_while(Result::ok).any(|line| {
            assert!(!line.contains("actix_server"), "{line}");
            line.contains("\"serving\"") && line.contains(&public.to_string()) && line.contains(&private.to_string())
        });
        std::thread::spawn(move || lines.for_each(drop));
        assert!(ready, "serve ended before it served");
        Self { child, base: format!("http://127.0.0.1:{public}"), private: format!("http://127.0.0.1:{private}") }
    }

    /// The status of a GET.
    pub(crate) async fn status(&self, url: &str) -> u16 {
        let settings = FetchSettings { special_hosts: vec!["127.0.0.1".to_owned()], ..FetchSettings::default() };
        Fetch::new(&settings).unwrap().send(Outgoing::get(url.parse().unwrap())).await.unwrap().status
    }

    /// Asks it to stop, and answers its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        for _ in 0..300 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        None
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Already ended is what we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
