//! A provider with one orchestrator that signs with a secret.

use std::net::SocketAddr;

use crate::served::Served;

const ORCHESTRATOR: &str = "Bench";
const SECRET: &str = "whsec_bench_0123456789abcdef";

/// Ends with this value, and takes its files along.
pub(crate) struct Provider {
    pub(crate) address: SocketAddr,
    /// With which the orchestrator signs.
    pub(crate) secret: String,
    served: Served,
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
        Self { address: served.address, secret: SECRET.to_owned(), served }
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
