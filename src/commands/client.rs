//! `portreeve client …`: the OAuth clients that the operator registers.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use portreeve::account;
use portreeve::app::HOUSE;
use portreeve::authorization::{
    Client, ClientMetadata, ClientOrigin, GrantType, NewClient, RegisterError, Scope, list_clients, register_client,
    remove_client, rotate_client,
};
use portreeve::clock::{Clock as _, SystemClock};
use portreeve::config::Config;
use portreeve::db::Db;
use portreeve::ids::AccountId;
use portreeve::secret::Secret;
use serde_json::{Value, json};

use super::{Failure, open_db, say};

#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Register a client.
    Add(Box<AddArgs>),
    /// All that are registered, also by themselves.
    List,
    /// Remove a client: every token that it has ends.
    Remove {
        /// Its id.
        id: String,
    },
    /// Give a client a new secret; the old one stops at once.
    Rotate {
        /// Its id.
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// What people see when it asks.
    name: String,
    /// How it proves who it is: `none`, `client_secret_basic`, `client_secret_post` or `private_key_jwt`.
    #[arg(long, value_name = "METHOD", default_value = "none")]
    auth: String,
    /// Where answers may be sent; may be repeated.
    #[arg(long = "redirect-uri", value_name = "URI")]
    redirect_uris: Vec<String>,
    /// A grant that it uses; may be repeated. `authorization_code` and `refresh_token` when absent.
    #[arg(long = "grant", value_name = "GRANT")]
    grants: Vec<String>,
    /// The scopes that it may have at most, parted by spaces.
    #[arg(long)]
    scope: Option<String>,
    /// A file with its public keys (a JWK set), for `private_key_jwt`.
    #[arg(long, value_name = "FILE", conflicts_with = "jwks_uri")]
    jwks: Option<PathBuf>,
    /// Where its public keys are, for `private_key_jwt`.
    #[arg(long, value_name = "URL")]
    jwks_uri: Option<String>,
    /// The account for which it acts without a human (`client_credentials`).
    #[arg(long)]
    account: Option<AccountId>,
    /// It is an API of the provider's own, and may ask about tokens of any client.
    #[arg(long)]
    introspects: bool,
    /// Its tokens are bound to a key, always.
    #[arg(long)]
    dpop: bool,
}

pub(crate) async fn run(command: ClientCommand, config: &Config, json: bool) -> Result<(), Failure> {
    let db = open_db(config)?;
    db.migrate().await?;
    match command {
        ClientCommand::Add(args) => add(&db, *args, json).await,
        ClientCommand::List => list(&db, json).await,
        ClientCommand::Remove { id } => {
            let (named, now) = (id.clone(), SystemClock.now());
            let removed = db.write(HOUSE, move |conn| remove_client(conn, &named, now)).await;
            removed.map_err(|error| told(&id, error))?;
            if json { say(&json!({"removed": id}).to_string()) } else { say(&format!("{id} is removed.")) }
        }
        ClientCommand::Rotate { id } => rotate(&db, &id, json).await,
    }
}

fn told(id: &str, error: RegisterError) -> Failure {
    match error {
        RegisterError::Unknown => Failure::not_found(format!("there is no client `{id}`: see `portreeve client list`")),
        RegisterError::NoSecret => Failure::invalid(format!("the client `{id}` has no secret")),
        error => error.into(),
    }
}

/// The same words as a client would send itself (RFC 7591).
fn document(args: &AddArgs) -> Result<Value, Failure> {
    let mut document = json!({
        "client_name": args.name, "token_endpoint_auth_method": args.auth, "redirect_uris": args.redirect_uris,
        "scope": words(args).map(|words| words.join(" ")), "dpop_bound_access_tokens": args.dpop, "jwks_uri": args.jwks_uri,
    });
    let Value::Object(members) = &mut document else { return Ok(document) };
    if !args.grants.is_empty() {
        members.insert("grant_types".to_owned(), json!(args.grants));
    }
    if let Some(file) = &args.jwks {
        let text = std::fs::read_to_string(file).map_err(|error| Failure::at(file, &error))?;
        let set: Value = serde_json::from_str(&text)
            .map_err(|error| Failure::invalid(format!("{} is not JSON: {error}", file.display())))?;
        members.insert("jwks".to_owned(), set);
    }
    Ok(document)
}

/// The scopes, if any were named.
fn words(args: &AddArgs) -> Option<Vec<&str>> {
    args.scope.as_ref().map(|scopes| scopes.split_whitespace().collect())
}

/// What a program that registers itself may say, and an operator surely did not mean.
fn fits(args: &AddArgs) -> Result<(), Failure> {
    if args.name.trim().is_empty() {
        return Err(Failure::invalid("`NAME` is empty: it is what people see when the client asks"));
    }
    let scopes = Scope::ALL.map(Scope::as_str).join(", ");
    if words(args).is_some_and(|words| words.is_empty()) {
        return Err(Failure::invalid(format!(
            "`--scope` is empty: leave it out for all scopes, or name some of {scopes}"
        )));
    }
    for scope in words(args).unwrap_or_default() {
        let known = scope.parse::<Scope>();
        known.map_err(|error| Failure::invalid(format!("`--scope`: {error}; there are {scopes}")))?;
    }
    for grant in &args.grants {
        let known = serde_json::from_value::<GrantType>(json!(grant));
        known.map_err(|error| Failure::invalid(format!("`--grant`: {error}")))?;
    }
    if args.account.is_none() && args.grants.iter().any(|grant| grant == "client_credentials") {
        return Err(Failure::invalid(
            "`--grant client_credentials` needs `--account`: without a human, it acts for that account alone",
        ));
    }
    Ok(())
}

async fn add(db: &Db, args: AddArgs, json: bool) -> Result<(), Failure> {
    fits(&args)?;
    let metadata =
        ClientMetadata::read_registration(&document(&args)?).map_err(|error| Failure::invalid(format!("{error}")))?;
    if let Some(id) = args.account.clone() {
        let found = db.read(move |conn| account::by_id(conn, &id)).await?;
        found.ok_or_else(|| Failure::not_found("there is no such account"))?;
    }
    let (account_id, introspects, now) = (args.account, args.introspects, SystemClock.now());
    let new = NewClient { metadata, origin: ClientOrigin::Operator, account_id, introspects };
    let registered = new.prepare(now).map_err(Failure::failed)?;
    let client = registered.client.clone();
    db.write(HOUSE, move |conn| register_client(conn, &client, now)).await?;
    show(&registered.client, registered.secret.as_ref(), json)
}

async fn rotate(db: &Db, id: &str, json: bool) -> Result<(), Failure> {
    let secret = Secret::generate("cs").map_err(Failure::failed)?;
    let (named, hashed, now) = (id.to_owned(), secret.clone(), SystemClock.now());
    let rotated = db.write(HOUSE, move |conn| rotate_client(conn, &named, &hashed, now)).await;
    rotated.map_err(|error| told(id, error))?;
    if json {
        return say(&json!({"id": id, "client_secret": secret.expose()}).to_string());
    }
    say(&format!("The new secret of {id}, shown once: {}", secret.expose()))
}

fn describe(client: &Client) -> Value {
    let mut document = client.metadata.to_json();
    if let Value::Object(members) = &mut document {
        members.insert("client_id".to_owned(), json!(client.id));
        members.insert("origin".to_owned(), json!(client.origin.as_str()));
        members.insert("account_id".to_owned(), json!(client.account_id));
        members.insert("introspects".to_owned(), json!(client.introspects));
        members.insert("last_used_at".to_owned(), json!(client.last_used_at));
    }
    document
}

fn show(client: &Client, secret: Option<&Secret>, json: bool) -> Result<(), Failure> {
    if json {
        let mut document = describe(client);
        if let (Value::Object(members), Some(secret)) = (&mut document, secret) {
            members.insert("client_secret".to_owned(), json!(secret.expose()));
        }
        return say(&document.to_string());
    }
    line(client)?;
    match secret {
        Some(secret) => say(&format!("Its secret, shown once: {}", secret.expose())),
        None => Ok(()),
    }
}

fn line(client: &Client) -> Result<(), Failure> {
    let name = client.metadata.name.as_deref().unwrap_or("(no name)");
    let uris: Vec<&str> =
        client.metadata.redirect_uris.iter().map(portreeve::authorization::RedirectUri::as_str).collect();
    say(&format!("{}  {:<12}  {:<24}  {}", client.id, client.origin.as_str(), name, uris.join(" ")))
}

async fn list(db: &Db, json: bool) -> Result<(), Failure> {
    let mut after: Option<String> = None;
    loop {
        let from = after.clone();
        let page = db.read(move |conn| list_clients(conn, from.as_deref(), 100)).await?;
        for client in &page {
            if json {
                say(&describe(client).to_string())?;
            } else {
                line(client)?;
            }
        }
        if page.is_empty() && after.is_none() && !json {
            say("No client is registered.\nNext: portreeve client add NAME --redirect-uri https://…")?;
        }
        match page.last() {
            Some(last) if page.len() == 100 => after = Some(last.id.clone()),
            _ => return Ok(()),
        }
    }
}
