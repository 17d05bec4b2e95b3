//! A provider with one orchestrator that signs with a secret.

use std::net::SocketAddr;

use crate::served::{Served, program};

const ORCHESTRATOR: &str = "Bench";
const SECRET: &str = "whsec_bench_0123456789abcdef";

/// Ends with this value, and takes its files along.
pub(crate) struct Provider {
    pub(crate) address: SocketAddr,
    /// With which the orchestrator signs.
    pub(crate) secret: String,
    served: Served,
    database: Option<String>,
}

impl Provider {
    /// On this PostgreSQL database, or on a SQLite file of its own.
    pub(crate) fn start(database: Option<&str>) -> Self {
        let add = ["orchestrator", "add", ORCHESTRATOR, "--issuer", "https://bench.example", "--client-id", "acme"];
        let served = Served::start(
            database,
            &[("secret", SECRET)],
            &[
                &[&add[..], &["--email-domain", "example.test"]].concat(),
                &["orchestrator", "wire", "set", ORCHESTRATOR],
                &["orchestrator", "wire", "secret", "add", ORCHESTRATOR, "--from-file", "secret"],
            ],
        );
        Self { address: served.address, secret: SECRET.to_owned(), served, database: database.map(str::to_owned) }
    }

    /// One more orchestrator, with this policy for addresses that have an account; with what it signs.
    pub(crate) fn also(&self, name: &str, policy: &str) -> String {
        let secret = format!("whsec_{name}_0123456789abcdef");
        std::fs::write(self.served.folder.path().join(name), &secret).unwrap();
        let issuer = format!("https://{name}.example");
        let add = ["orchestrator", "add", name, "--issuer", &issuer, "--client-id", "acme"];
        for arguments in [
            [&add[..], &["--email-domain", "example.test", "--existing-account", policy]].concat().as_slice(),
            &["orchestrator", "wire", "set", name],
            &["orchestrator", "wire", "secret", "add", name, "--from-file", name],
        ] {
            let done = program(self.served.folder.path(), self.database.as_deref(), arguments).status().unwrap();
            assert!(done.success(), "portreeve {}", arguments.join(" "));
        }
        secret
    }

    /// The log of its SQLite file.
    pub(crate) fn log(&self) -> Vec<u8> {
        std::fs::read(self.served.folder.path().join("portreeve.db-wal")).unwrap()
    }

    /// The processor time that it has used, in milliseconds.
    pub(crate) fn cpu(&self) -> f64 {
        self.served.cpu()
    }
}
