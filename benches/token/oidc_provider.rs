//! The peer: npm's `oidc-provider` with its in-memory store, one process of `node`. Nothing that it knows outlives it.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Deserialize;
use serde_json::json;

use crate::issuer::{Issuer, PERSONS};
use crate::served::{cpu, free_address, wait_for};
use crate::side::{Credentials, Side, token_head};

pub(crate) struct OidcProvider {
    pub(crate) address: SocketAddr,
    /// The version of `node`.
    pub(crate) node: String,
    clients: Clients,
    child: Child,
    tell: ChildStdin,
    told: Lines<BufReader<ChildStdout>>,
}

#[derive(Deserialize)]
struct Clients {
    machines: Vec<Credentials>,
    host: Credentials,
    bearer: Credentials,
    node: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/token/peer")
}

impl OidcProvider {
    /// What is missing, and how to get it.
    pub(crate) fn missing() -> Option<String> {
        if Command::new("node").arg("--version").output().is_err() {
            return Some("there is no `node`: install Node.js 20 or later (it asks for 22)".to_owned());
        }
        let there = folder().join("node_modules/oidc-provider").exists();
        (!there).then(|| format!("it is not installed: npm ci --prefix {}", folder().display()))
    }

    pub(crate) fn start(issuer: &Issuer, machines: usize) -> Self {
        let address = free_address();
        let mut child = Command::new("node")
            .arg("server.mjs")
            .current_dir(folder())
            .env("NODE_ENV", "production")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut tell, told) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut told = BufReader::new(told).lines();
        let asserting = json!({"url": issuer.url, "jwks": issuer.jwks()});
        let order = json!({"port": address.port(), "clients": machines, "persons": PERSONS, "issuer": asserting});
        writeln!(tell, "{order}").unwrap();
        let clients: Clients = serde_json::from_str(&told.next().expect("the peer starts").unwrap()).unwrap();
        wait_for(address, "oidc-provider");
        Self { address, node: clients.node.clone(), clients, child, tell, told }
    }
}

impl Side for OidcProvider {
    fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    fn head(&self, client: &Credentials) -> String {
        token_head("/token", client)
    }

    fn machines(&self) -> &[Credentials] {
        &self.clients.machines
    }

    fn host(&self) -> &Credentials {
        &self.clients.host
    }

    fn bearer(&self) -> &Credentials {
        &self.clients.bearer
    }

    fn refresh_tokens(&mut self, count: usize) -> Vec<String> {
        writeln!(self.tell, "{count}").unwrap();
        serde_json::from_str(&self.told.next().unwrap().unwrap()).unwrap()
    }

    fn cpu(&self) -> f64 {
        cpu(self.child.id())
    }
}

impl Drop for OidcProvider {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
