//! A provider as an operator starts it: `portreeve init`, some commands, `portreeve serve`; no limits.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Ends with this value, and takes its files along.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) folder: tempfile::TempDir,
    child: Child,
}

/// The program that was built with this bench, or the one of `--program`, to be compared with it.
pub(crate) fn program(folder: &Path, database: Option<&str>, arguments: &[&str]) -> Command {
    let other = std::env::args().skip_while(|argument| argument != "--program").nth(1);
    let mut command = Command::new(other.unwrap_or_else(|| env!("CARGO_BIN_EXE_portreeve").into()));
    command.current_dir(folder).args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    for (key, value) in [
        ("LOG__LEVEL", "error"),
        ("SERVER__PRIVATE_LISTEN", "127.0.0.1:0"),
        ("OUTGOING__SPECIAL_HOSTS", "127.0.0.1"),
        ("WIRE__ACCOUNT_REQUESTS_PER_HOUR", "0"),
        ("WIRE__TOKEN_EXCHANGES_PER_HOUR", "0"),
        ("WIRE__RESOURCE_CREATES_PER_HOUR", "0"),
        ("WIRE__ORCHESTRATOR_REQUESTS_PER_HOUR", "0"),
        ("LIMITS__ADDRESS_ACCOUNTS_PER_HOUR", "0"),
        ("LIMITS__ADDRESS_TOKENS_PER_HOUR", "0"),
    ] {
        command.env(format!("PORTREEVE__{key}"), value);
    }
    if let Some(url) = database {
        command.env("PORTREEVE__DATABASE__URL", url);
    }
    command
}

impl Served {
    /// On this PostgreSQL database, or on a SQLite file of its own; with these files beside it, after these commands.
    pub(crate) fn start(database: Option<&str>, files: &[(&str, &str)], commands: &[&[&str]]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        for arguments in [["init"].as_slice()].iter().chain(commands) {
            let done = program(folder.path(), database, arguments).status().unwrap();
            assert!(done.success(), "portreeve {}", arguments.join(" "));
        }
        let address = free_address();
        let listen = address.to_string();
        let child = program(folder.path(), database, &["serve", "--listen", &listen]).spawn().unwrap();
        let served = Self { address, folder, child };
        wait_for(address, "portreeve serve");
        served
    }

    /// The processor time that it has used, in milliseconds.
    pub(crate) fn cpu(&self) -> f64 {
        cpu(self.child.id())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// On the loopback address.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Until somebody listens there.
pub(crate) fn wait_for(address: SocketAddr, who: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "{who} did not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The processor time that a process has used, in milliseconds (Linux, whose clock ticks are hundredths of a second).
pub(crate) fn cpu(process: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let after_name = text.rsplit(')').next().unwrap();
    let ticks = after_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap());
    ticks.sum::<f64>() * 10.0
}
