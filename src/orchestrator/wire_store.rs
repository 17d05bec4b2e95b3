//! The tables `wire_settings` and `wire_secrets`.

use std::str::FromStr;

use diesel::prelude::*;

use super::{SignatureMode, WireSecret, WireSettings};
use crate::clock::Timestamp;
use crate::db::schema::{wire_secrets, wire_settings};
use crate::db::{DbConnection, DbError};
use crate::ids::{OrchestratorId, WireSecretId};
use crate::secret::SecretHash;

/// The most secrets of all orchestrators together that are looked at.
const MAX_SECRETS: i64 = 256;
/// The most orchestrators that are looked at for one client.
const MAX_SAME_CLIENT: i64 = 16;

#[derive(Queryable, Insertable)]
#[diesel(table_name = wire_settings)]
struct Row {
    orchestrator_id: OrchestratorId,
    kind: String,
    profile: String,
    signature_mode: String,
    account_answer: String,
    required_information: String,
    callback_url: Option<String>,
    public_keys_url: Option<String>,
    sealed_public_keys_token: Option<String>,
    client_id: Option<String>,
    client_secret_hash: Option<SecretHash>,
    notification_url: Option<String>,
    sealed_notification_secret: Option<String>,
    changed_at: Timestamp,
}

impl TryFrom<Row> for WireSettings {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let url =
            |name: &str, text: Option<&str>| text.map(|text| column(&row.orchestrator_id, name, text)).transpose();
        Ok(Self {
            profile: column(&row.orchestrator_id, "profile", &row.profile)?,
            signature_mode: column(&row.orchestrator_id, "signature_mode", &row.signature_mode)?,
            account_answer: column(&row.orchestrator_id, "account_answer", &row.account_answer)?,
            required_information: row.required_information.split_ascii_whitespace().map(str::to_owned).collect(),
            callback_url: url("callback_url", row.callback_url.as_deref())?,
            public_keys_url: url("public_keys_url", row.public_keys_url.as_deref())?,
            notification_url: url("notification_url", row.notification_url.as_deref())?,
            kind: row.kind,
            sealed_public_keys_token: row.sealed_public_keys_token,
            client_id: row.client_id,
            client_secret_hash: row.client_secret_hash,
            sealed_notification_secret: row.sealed_notification_secret,
            changed_at: row.changed_at,
            orchestrator_id: row.orchestrator_id,
        })
    }
}

fn column<T: FromStr>(id: &OrchestratorId, name: &str, text: &str) -> Result<T, DbError> {
    text.parse().map_err(|_impossible| {
        let text = format!("table `wire_settings`, row {id}: `{name}` holds a value that is none");
        diesel::result::Error::DeserializationError(text.into()).into()
    })
}

/// How this orchestrator speaks the wire; `None` when it does not.
///
/// # Errors
/// When the database fails or holds an impossible row.
pub fn wire_of(conn: &mut DbConnection, id: &OrchestratorId) -> Result<Option<WireSettings>, DbError> {
    let row: Option<Row> = wire_settings::table.find(id).first(conn).optional()?;
    row.map(WireSettings::try_from).transpose()
}

/// Sets how an orchestrator speaks the wire, whatever was set before. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn set_wire(conn: &mut DbConnection, settings: &WireSettings) -> Result<(), DbError> {
    let text = |url: &Option<url::Url>| url.as_ref().map(ToString::to_string);
    let row = Row {
        orchestrator_id: settings.orchestrator_id.clone(),
        kind: settings.kind.clone(),
        profile: settings.profile.name.to_owned(),
        signature_mode: settings.signature_mode.as_str().to_owned(),
        account_answer: settings.account_answer.as_str().to_owned(),
        required_information: settings.required_information.join(" "),
        callback_url: text(&settings.callback_url),
        public_keys_url: text(&settings.public_keys_url),
        sealed_public_keys_token: settings.sealed_public_keys_token.clone(),
        client_id: settings.client_id.clone(),
        client_secret_hash: settings.client_secret_hash.clone(),
        notification_url: text(&settings.notification_url),
        sealed_notification_secret: settings.sealed_notification_secret.clone(),
        changed_at: settings.changed_at,
    };
    diesel::delete(wire_settings::table.find(&settings.orchestrator_id)).execute(conn)?;
    diesel::insert_into(wire_settings::table).values(&row).execute(conn)?;
    Ok(())
}

/// Every secret that is accepted now, of all orchestrators.
///
/// # Errors
/// When the database fails.
pub fn secrets(conn: &mut DbConnection) -> Result<Vec<WireSecret>, DbError> {
    let rows: Vec<SecretRow> = wire_secrets::table
        .filter(wire_secrets::retired_at.is_null())
        .order((wire_secrets::orchestrator_id, wire_secrets::id))
        .limit(MAX_SECRETS)
        .load(conn)?;
    Ok(rows.into_iter().map(secret).collect())
}

/// The secrets of one orchestrator, newest first, retired ones too; at most 256.
///
/// # Errors
/// When the database fails.
pub fn secrets_of(conn: &mut DbConnection, orchestrator: &OrchestratorId) -> Result<Vec<WireSecret>, DbError> {
    let rows: Vec<SecretRow> = wire_secrets::table
        .filter(wire_secrets::orchestrator_id.eq(orchestrator))
        .order(wire_secrets::id.desc())
        .limit(MAX_SECRETS)
        .load(conn)?;
    Ok(rows.into_iter().map(secret).collect())
}

type SecretRow = (OrchestratorId, WireSecretId, String, Timestamp, Option<Timestamp>);

fn secret((orchestrator_id, id, sealed, created_at, retired_at): SecretRow) -> WireSecret {
    WireSecret { orchestrator_id, id, sealed, created_at, retired_at }
}

/// Adds a secret. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn add_secret(conn: &mut DbConnection, secret: &WireSecret) -> Result<(), DbError> {
    diesel::insert_into(wire_secrets::table)
        .values((
            wire_secrets::orchestrator_id.eq(&secret.orchestrator_id),
            wire_secrets::id.eq(&secret.id),
            wire_secrets::sealed_secret.eq(&secret.sealed),
            wire_secrets::created_at.eq(secret.created_at),
            wire_secrets::retired_at.eq(secret.retired_at),
        ))
        .execute(conn)?;
    Ok(())
}

/// Accepts a secret no longer. Answers whether this call did it.
///
/// # Errors
/// When the database fails.
pub fn retire_secret(
    conn: &mut DbConnection,
    orchestrator: &OrchestratorId,
    id: &WireSecretId,
    now: Timestamp,
) -> Result<bool, DbError> {
    let row = wire_secrets::table.find((orchestrator, id)).filter(wire_secrets::retired_at.is_null());
    let changed = diesel::update(row).set(wire_secrets::retired_at.eq(Some(now))).execute(conn)?;
    Ok(changed == 1)
}

/// The orchestrators that have this client id at our token endpoint: one, unless the operator gave it twice.
///
/// # Errors
/// When the database fails or holds an impossible row.
pub fn wire_by_client_id(conn: &mut DbConnection, client_id: &str) -> Result<Vec<WireSettings>, DbError> {
    // PostgreSQL cannot be asked for a text with U+0000, and no client is called so.
    if client_id.contains('\0') {
        return Ok(Vec::new());
    }
    let rows: Vec<Row> = wire_settings::table
        .filter(wire_settings::client_id.eq(client_id))
        .order(wire_settings::orchestrator_id)
        .limit(MAX_SAME_CLIENT)
        .load(conn)?;
    rows.into_iter().map(WireSettings::try_from).collect()
}

/// The orchestrators whose clients sign nothing, oldest first.
///
/// # Errors
/// When the database fails or holds an impossible row.
pub fn unsigned_wires(conn: &mut DbConnection) -> Result<Vec<WireSettings>, DbError> {
    let rows: Vec<Row> = wire_settings::table
        .filter(wire_settings::signature_mode.eq(SignatureMode::Unsigned.as_str()))
        .order(wire_settings::orchestrator_id)
        .limit(MAX_SAME_CLIENT)
        .load(conn)?;
    rows.into_iter().map(WireSettings::try_from).collect()
}
