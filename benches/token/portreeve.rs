//! Our side: `portreeve serve` with accounts, clients and consents. Accounts are opened by ID-JAG; clients and consents are
//! written by the use-cases of the library, beside the running server; codes are redeemed at its token endpoint.

use chrono::TimeDelta;
use portreeve::account;
use portreeve::authorization::{
    Answer, Client, ClientMetadata, ClientOrigin, LogIn, NewClient, Params, Patience, Target, Trust, Turn, allow_asked,
    asked, keep, read_request, register_client,
};
use portreeve::clock::{Clock as _, SystemClock};
use portreeve::db::{Db, DbError, DbSettings};
use portreeve::ids::AccountId;
use portreeve::secret::Secret;
use portreeve::signing::{MasterKey, Sealer};
use serde_json::{Value, json};

use crate::issuer::{Issuer, PERSONS};
use crate::load::{member, once, post};
use crate::served::Served;
use crate::side::{Credentials, JWT_BEARER, Side, token_head};

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A provider, and what the bench needs to know of it.
pub(crate) struct Portreeve {
    served: Served,
    runtime: tokio::runtime::Runtime,
    db: Db,
    machines: Vec<Credentials>,
    host: (Client, Credentials),
    bearer: Credentials,
    accounts: Vec<AccountId>,
}

impl Portreeve {
    /// On this PostgreSQL database, or on a SQLite file of its own.
    pub(crate) fn start(database: Option<&str>, issuer: &Issuer, machines: usize) -> Self {
        let add = ["orchestrator", "add", "Bench", "--client-id", "acme", "--email-domain", "example.test", "--issuer"];
        let served = Served::start(database, &[], &[&[&add[..], &[&issuer.url]].concat()]);
        let file = || format!("sqlite:{}", served.folder.path().join("portreeve.db").display());
        let url = database.map_or_else(file, str::to_owned);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let db = Db::open(&DbSettings { url: url.into(), readers: 1, lanes: 1, queue: 1024 }).unwrap();
        let secret = "client_secret_basic";
        let said = json!({"token_endpoint_auth_method": secret, "grant_types": [JWT_BEARER], "redirect_uris": []});
        let (_, bearer) = register(&runtime, &db, &said, None);
        let base = format!("http://{}", served.address);
        let accounts: Vec<AccountId> =
            issuer.jags(&base, &bearer.id, PERSONS).iter().map(|jag| open(&served, &bearer, jag)).collect();
        let said =
            json!({"token_endpoint_auth_method": secret, "grant_types": ["client_credentials"], "redirect_uris": []});
        let machines = accounts.iter().cycle().take(machines);
        let machines = machines.map(|account| register(&runtime, &db, &said, Some(account.clone())).1).collect();
        let said = json!({"token_endpoint_auth_method": secret, "redirect_uris": ["https://agent.example/cb"]});
        let host = register(&runtime, &db, &said, None);
        Self { served, runtime, db, machines, host, bearer, accounts }
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.served.address
    }

    /// What `account`'s owner allows the host's program, as a code at the token endpoint, and what comes for that.
    fn consent(&self, account: &AccountId) -> String {
        let (client, credentials) = &self.host;
        let asks = [
            ("response_type", "code"),
            ("client_id", client.id.as_str()),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
            ("scope", crate::SCOPE),
        ];
        let asks = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(asks).finish();
        let params = Params::parse(asks.as_bytes()).unwrap();
        let target = Target::of(&params, client).unwrap();
        let request = read_request(&params, client, &target, &format!("{}/v1", self.base())).unwrap();
        let (handle, now, account) = (Secret::generate("oreq").unwrap(), SystemClock.now(), account.clone());
        let whose = client.clone();
        let sealer = Sealer::new(&MasterKey::generate().unwrap(), "bench").unwrap();
        let patience = Patience { prompts_per_day: 0, wait: TimeDelta::zero() };
        let code = self.runtime.block_on(self.db.write("bench", move |conn| {
            keep(conn, &handle.hash(), &request, true, now)?;
            let (asked, owner) = (asked(conn, &handle.hash(), now)?.unwrap(), account::by_id(conn, &account)?.unwrap());
            let log_in = LogIn { at: Some(now), acr: None };
            let (code, answer) = Answer::allow(&asked, &owner, request.scopes.clone(), log_in, now).unwrap();
            let turn = Turn::of((&asked, &whose), &handle, &owner.id, &sealer).unwrap();
            allow_asked(conn, (&asked, &answer), (&turn, Trust::Known), patience, now).unwrap();
            Ok::<_, DbError>(code)
        }));
        let form = format!(
            "grant_type=authorization_code&code_verifier={VERIFIER}&redirect_uri=https%3A%2F%2Fagent.example%2Fcb&code={}",
            code.unwrap().expose()
        );
        let (_, body) = once(self.address(), &post(&self.head(credentials), &form));
        member(&body, "refresh_token").to_owned()
    }
}

impl Side for Portreeve {
    fn base(&self) -> String {
        format!("http://{}", self.address())
    }

    fn head(&self, client: &Credentials) -> String {
        token_head("/oauth/token", client)
    }

    fn machines(&self) -> &[Credentials] {
        &self.machines
    }

    fn host(&self) -> &Credentials {
        &self.host.1
    }

    fn bearer(&self) -> &Credentials {
        &self.bearer
    }

    fn refresh_tokens(&mut self, count: usize) -> Vec<String> {
        self.accounts.iter().cycle().take(count).map(|account| self.consent(account)).collect()
    }

    fn cpu(&self) -> f64 {
        self.served.cpu()
    }
}

fn open(served: &Served, bearer: &Credentials, jag: &str) -> AccountId {
    let form = format!("grant_type={JWT_BEARER}&assertion={jag}");
    let (_, body) = once(served.address, &post(&token_head("/oauth/token", bearer), &form));
    member(&body, "account_id").parse().unwrap()
}

fn register(
    runtime: &tokio::runtime::Runtime,
    db: &Db,
    said: &Value,
    account_id: Option<AccountId>,
) -> (Client, Credentials) {
    let metadata = ClientMetadata::read_registration(said).unwrap();
    let new = NewClient { metadata, origin: ClientOrigin::Operator, account_id, introspects: false };
    let now = SystemClock.now();
    let registered = new.prepare(now).unwrap();
    let client = registered.client.clone();
    runtime.block_on(db.write("bench", move |conn| register_client(conn, &client, now))).unwrap();
    let secret = registered.secret.unwrap().expose().to_owned();
    (registered.client.clone(), Credentials { id: registered.client.id, secret })
}
