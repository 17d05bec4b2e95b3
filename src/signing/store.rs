//! Keys at rest: the public half in clear, the private half sealed.

use diesel::prelude::*;

use super::keyring::{Algorithm, KeyOrigin, KeyPurpose, KeyRing, SigningError, SigningKey};
use super::seal::{MasterKey, SealError, Sealer};
use crate::clock::Timestamp;
use crate::db::schema::signing_keys;
use crate::db::{DbConnection, DbError};

/// Why the ring could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadKeysError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A key could not be sealed or opened: most often the wrong master key.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A key could not be made or read.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// The database holds keys of a demo, and this is no demo.
    #[error("the database holds keys that a demo made; start with an empty database")]
    DemoKeys,
}

impl From<diesel::result::Error> for LoadKeysError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

#[derive(Queryable, Insertable)]
#[diesel(table_name = signing_keys)]
struct KeyRow {
    kid: String,
    purpose: String,
    algorithm: String,
    public_jwk: String,
    sealed_private: String,
    origin: String,
    created_at: Timestamp,
    retired_at: Option<Timestamp>,
}

/// Loads the ring, and makes the keys that are missing. Call it inside `Db::write`, once, at start.
///
/// # Errors
/// When the database, the master key or the random source fails, or the keys came from a demo and `origin` is not demo.
pub fn load_or_create(
    conn: &mut DbConnection,
    master: &MasterKey,
    origin: KeyOrigin,
    now: Timestamp,
) -> Result<KeyRing, LoadKeysError> {
    let sealer = Sealer::new(master, "signing keys")?;
    let rows: Vec<KeyRow> =
        signing_keys::table.filter(signing_keys::retired_at.is_null()).order(signing_keys::created_at).load(conn)?;
    if origin == KeyOrigin::Instance && rows.iter().any(|row| row.origin == KeyOrigin::Demo.as_str()) {
        return Err(LoadKeysError::DemoKeys);
    }
    let mut keys = rows.iter().map(|row| open(row, &sealer)).collect::<Result<Vec<_>, _>>()?;
    for (purpose, algorithm) in KeyPurpose::ALL {
        if !keys.iter().any(|key| key.purpose() == purpose && key.algorithm() == algorithm) {
            keys.push(create(conn, &sealer, purpose, algorithm, origin, now)?);
        }
    }
    Ok(KeyRing::new(keys))
}

fn open(row: &KeyRow, sealer: &Sealer) -> Result<SigningKey, LoadKeysError> {
    let pkcs8 = sealer.open(&place(&row.kid), &row.sealed_private)?;
    Ok(SigningKey::from_pkcs8(row.purpose.parse()?, row.algorithm.parse()?, &pkcs8)?)
}

fn create(
    conn: &mut DbConnection,
    sealer: &Sealer,
    purpose: KeyPurpose,
    algorithm: Algorithm,
    origin: KeyOrigin,
    now: Timestamp,
) -> Result<SigningKey, LoadKeysError> {
    let (key, pkcs8) = SigningKey::generate(purpose, algorithm)?;
    let row = KeyRow {
        kid: key.kid().to_owned(),
        purpose: purpose.as_str().to_owned(),
        algorithm: algorithm.as_str().to_owned(),
        public_jwk: serde_json::to_string(key.public()).map_err(SigningError::Json)?,
        sealed_private: sealer.seal(&place(key.kid()), &pkcs8)?,
        origin: origin.as_str().to_owned(),
        created_at: now,
        retired_at: None,
    };
    diesel::insert_into(signing_keys::table).values(&row).execute(conn)?;
    Ok(key)
}

fn place(kid: &str) -> String {
    format!("signing_keys/{kid}/private")
}
