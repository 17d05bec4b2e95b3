//! A provider as an operator starts it: `portreeve init`, one orchestrator with a secret, `portreeve serve`; no limits.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ORCHESTRATOR: &str = "Bench";

/// Ends with this value, and takes its files along.
pub(crate) struct Provider {
    pub(crate) address: SocketAddr,
    /// With which the orchestrator signs.
    pub(crate) secret: String,
    child: Child,
    database: Option<String>,
    folder: tempfile::TempDir,
}

fn program(folder: &Path, database: Option<&str>, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
    command.current_dir(folder).args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    for (key, value) in [
        ("LOG__LEVEL", "error"),
        ("SERVER__PRIVATE_LISTEN", "127.0.0.1:0"),
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

impl Provider {
    /// On this PostgreSQL database, or on a SQLite file of its own.
    pub(crate) fn start(database: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secret = "whsec_bench_0123456789abcdef".to_owned();
        std::fs::write(folder.path().join("secret"), &secret).unwrap();
        let add = ["orchestrator", "add", ORCHESTRATOR, "--issuer", "https://bench.example", "--client-id", "acme"];
        for arguments in [
            ["init"].as_slice(),
            &[&add[..], &["--email-domain", "example.test"]].concat(),
            &["orchestrator", "wire", "set", ORCHESTRATOR],
            &["orchestrator", "wire", "secret", "add", ORCHESTRATOR, "--from-file", "secret"],
        ] {
            let done = program(folder.path(), database, arguments).status().unwrap();
            assert!(done.success(), "portreeve {}", arguments.join(" "));
        }
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let listen = address.to_string();
        let child = program(folder.path(), database, &["serve", "--listen", &listen]).spawn().unwrap();
        let provider = Self { address, secret, child, database: database.map(str::to_owned), folder };
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "portreeve serve did not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        provider
    }

    /// One more orchestrator, with this policy for addresses that have an account; with what it signs.
    pub(crate) fn also(&self, name: &str, policy: &str) -> String {
        let secret = format!("whsec_{name}_0123456789abcdef");
        std::fs::write(self.folder.path().join(name), &secret).unwrap();
        let issuer = format!("https://{name}.example");
        let add = ["orchestrator", "add", name, "--issuer", &issuer, "--client-id", "acme"];
        for arguments in [
            [&add[..], &["--email-domain", "example.test", "--existing-account", policy]].concat().as_slice(),
            &["orchestrator", "wire", "set", name],
            &["orchestrator", "wire", "secret", "add", name, "--from-file", name],
        ] {
            let done = program(self.folder.path(), self.database.as_deref(), arguments).status().unwrap();
            assert!(done.success(), "portreeve {}", arguments.join(" "));
        }
        secret
    }

    /// The log of its SQLite file.
    pub(crate) fn log(&self) -> Vec<u8> {
        std::fs::read(self.folder.path().join("portreeve.db-wal")).unwrap()
    }

    /// The processor time that it has used, in milliseconds (Linux, whose clock ticks are hundredths of a second).
    pub(crate) fn cpu(&self) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let after_name = text.rsplit(')').next().unwrap();
        let ticks = after_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap());
        ticks.sum::<f64>() * 10.0
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
