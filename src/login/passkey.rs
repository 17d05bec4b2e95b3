//! Passkeys (Web Authentication Level 3): adding one from inside a session, logging in with one, removing one.
//!
//! A passkey is found by what the browser presents, never by an address, so that nobody learns who has one. It belongs to
//! one account, and proves that its human was there (user verification is asked for).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;
use webauthn_rs::prelude::{
    CredentialID, DiscoverableAuthentication, Passkey, PasskeyRegistration, PublicKeyCredential,
    RegisterPublicKeyCredential, RequestChallengeResponse, Webauthn, WebauthnBuilder, WebauthnError,
};

use super::proofs::{self, Proofs};
use super::session::{self, Authentication, Method, NewSession};
use super::step::{self, StepError, StepKind};
use super::store;
use super::ways::{self, WaysIn, Without};
use crate::account::Account;
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::AccountId;
use crate::secret::SecretHash;
use crate::unseen::unseen;

/// The most passkeys of one account.
const MAX_PASSKEYS: usize = 20;
/// The longest name, in characters.
const MAX_NAME: usize = 60;

/// A passkey as its owner sees it.
#[derive(Debug, Clone)]
pub struct KnownPasskey {
    /// Its id, as base64url.
    pub credential_id: String,
    /// What its owner calls it.
    pub name: String,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was last used.
    pub used_at: Option<Timestamp>,
}

/// A passkey that the browser made, and that holds.
pub type NewPasskey = Passkey;

/// What the step of adding a passkey knows.
#[derive(Debug, Serialize, Deserialize)]
pub struct Adding {
    account: AccountId,
    state: PasskeyRegistration,
}

/// What the step of logging in with one knows.
#[derive(Debug, Serialize, Deserialize)]
pub struct Asking {
    state: DiscoverableAuthentication,
    /// The page of ours that the log-in leads to.
    pub onward: String,
}

/// Why something with a passkey was not done.
#[derive(Debug, thiserror::Error)]
pub enum PasskeyError {
    /// What the browser presents does not hold.
    #[error("the passkey's answer does not hold: {0}")]
    Refused(#[from] WebauthnError),
    /// Nobody here has it, or its account cannot be used.
    #[error("nobody here has this passkey")]
    Unknown,
    /// The account is not claimed: nothing that opens it may be added before.
    #[error("a passkey can be added to an account that its owner has claimed")]
    NotClaimed,
    /// There are enough.
    #[error("an account has at most {MAX_PASSKEYS} passkeys")]
    TooMany,
    /// It is the only way in.
    #[error("the last way to log in cannot be removed")]
    LastWayIn,
    /// The name.
    #[error("the name is one line of 1 to {MAX_NAME} characters that are seen")]
    Name,
    /// It is known already.
    #[error("this passkey is known already")]
    Known,
    /// The step does not wait (any more).
    #[error(transparent)]
    Step(#[from] StepError),
    /// What is stored cannot be read.
    #[error("a stored passkey cannot be read")]
    Stored(#[from] serde_json::Error),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for PasskeyError {
    fn from(error: diesel::result::Error) -> Self {
        use diesel::result::{DatabaseErrorKind, Error};
        match error {
            Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => Self::Known,
            error => Self::Db(error.into()),
        }
    }
}

/// The relying party: our host name, and our address as the only origin.
#[derive(Debug)]
pub struct RelyingParty(Webauthn);

/// The account as authenticators know it: stable, and telling nothing.
fn handle(account: &AccountId) -> Uuid {
    account.as_uuid()
}

impl RelyingParty {
    /// `None` when `base_url` has no host name: browsers give no passkeys to an IP address.
    ///
    /// # Errors
    /// When the address is none.
    pub fn new(base_url: &str, name: &str) -> Result<Option<Self>, WebauthnError> {
        let origin: url::Url = base_url.parse().map_err(|_not_a_url| WebauthnError::Configuration)?;
        let Some(domain) = origin.domain() else { return Ok(None) };
        Ok(Some(Self(WebauthnBuilder::new(domain, &origin)?.rp_name(name).build()?)))
    }

    /// Begins to add a passkey: what the browser is asked, and what the step knows.
    ///
    /// # Errors
    /// See [`PasskeyError`].
    pub fn begin_adding(&self, account: &Account, present: &[KnownPasskey]) -> Result<(Value, Adding), PasskeyError> {
        if !account.is_claimed() {
            return Err(PasskeyError::NotClaimed);
        }
        self.begin_claiming(account, present)
    }

    /// The same for the human who claims an account with it: until then it opens nothing.
    ///
    /// # Errors
    /// See [`PasskeyError`].
    pub fn begin_claiming(&self, account: &Account, present: &[KnownPasskey]) -> Result<(Value, Adding), PasskeyError> {
        if present.len() >= MAX_PASSKEYS {
            return Err(PasskeyError::TooMany);
        }
        let name = account.email.clone().unwrap_or_else(|| account.id.to_string());
        let exclude = present.iter().filter_map(|known| credential_id(&known.credential_id)).collect();
        let (asked, state) = self.0.start_passkey_registration(handle(&account.id), &name, &name, Some(exclude))?;
        let mut asked = serde_json::to_value(asked)?;
        // It must be found without an address: the authenticator keeps it.
        if let Some(selection) = asked.pointer_mut("/publicKey/authenticatorSelection").and_then(Value::as_object_mut) {
            selection.insert("residentKey".to_owned(), json!("required"));
            selection.insert("requireResidentKey".to_owned(), json!(true));
        }
        Ok((asked, Adding { account: account.id.clone(), state }))
    }

    /// The passkey that the browser made.
    ///
    /// # Errors
    /// When it does not hold, or was begun for another account.
    pub fn finish_adding(
        &self,
        account: &AccountId,
        adding: &Adding,
        made: &RegisterPublicKeyCredential,
    ) -> Result<Passkey, PasskeyError> {
        if adding.account != *account {
            return Err(StepError::Gone.into());
        }
        Ok(self.0.finish_passkey_registration(made, &adding.state)?)
    }

    /// Begins a log-in: what the browser is asked, and what the step knows.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn begin_asking(&self, onward: &str) -> Result<(RequestChallengeResponse, Asking), PasskeyError> {
        let (mut asked, state) = self.0.start_discoverable_authentication()?;
        // A button was pressed: the browser is to ask now, not when a field is filled in.
        asked.mediation = None;
        Ok((asked, Asking { state, onward: onward.to_owned() }))
    }

    /// Whose passkey the browser presents, and the passkey with its counter moved on when it moved.
    ///
    /// # Errors
    /// When it is nobody's, or does not hold.
    pub fn finish_asking(
        &self,
        asking: Asking,
        presented: &PublicKeyCredential,
        stored: Option<(AccountId, String)>,
    ) -> Result<(AccountId, Option<Passkey>), PasskeyError> {
        let (account, text) = stored.ok_or(PasskeyError::Unknown)?;
        let (named, _) = self.0.identify_discoverable_authentication(presented)?;
        if named != handle(&account) {
            return Err(PasskeyError::Unknown);
        }
        let mut passkey: Passkey = serde_json::from_str(&text)?;
        let done = self.0.finish_discoverable_authentication_v2(presented, asking.state, &passkey)?;
        let moved = passkey.update_credential(&done) == Some(true);
        Ok((account, moved.then_some(passkey)))
    }
}

/// The id of a credential as it is stored.
#[must_use]
pub fn stored_id(presented: &PublicKeyCredential) -> String {
    encoded(presented.get_credential_id())
}

fn encoded(id: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(id)
}

fn credential_id(text: &str) -> Option<CredentialID> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok()
}

/// The passkeys of an account, oldest first.
///
/// # Errors
/// When the database fails.
pub fn passkeys(conn: &mut DbConnection, account: &AccountId) -> Result<Vec<KnownPasskey>, DbError> {
    Ok(store::passkeys(conn, account)?)
}

/// Whose passkey has this id, and the passkey itself.
///
/// # Errors
/// When the database fails.
pub fn find_passkey(conn: &mut DbConnection, id: &str) -> Result<Option<(AccountId, String)>, DbError> {
    Ok(store::passkey(conn, id)?)
}

/// Adds a passkey. Call it inside `Db::write`.
///
/// # Errors
/// See [`PasskeyError`].
pub fn add_passkey(
    conn: &mut DbConnection,
    account: &AccountId,
    (name, passkey): (&str, &Passkey),
    step: &SecretHash,
    now: Timestamp,
) -> Result<(), PasskeyError> {
    add(conn, account, (name, passkey), (step, StepKind::NewPasskey), now)
}

/// Adds the passkey with which an account is claimed. Call it inside the transaction that claims it.
///
/// # Errors
/// See [`PasskeyError`].
pub fn add_first_passkey(
    conn: &mut DbConnection,
    account: &AccountId,
    (name, passkey): (&str, &Passkey),
    step: &SecretHash,
    now: Timestamp,
) -> Result<(), PasskeyError> {
    add(conn, account, (name, passkey), (step, StepKind::ClaimPasskey), now)
}

fn add(
    conn: &mut DbConnection,
    account: &AccountId,
    (name, passkey): (&str, &Passkey),
    (step, kind): (&SecretHash, StepKind),
    now: Timestamp,
) -> Result<(), PasskeyError> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > MAX_NAME || unseen(name).is_some() {
        return Err(PasskeyError::Name);
    }
    step::take(conn, step, kind, now)?;
    store::lock_account(conn, account)?;
    if store::passkeys(conn, account)?.len() >= MAX_PASSKEYS {
        return Err(PasskeyError::TooMany);
    }
    let text = serde_json::to_string(passkey)?;
    store::insert_passkey(conn, account, (&encoded(passkey.cred_id()), name, &text), now)?;
    record(conn, account, "passkey.added", name, now)
}

/// Removes a passkey, unless nothing else opens the account. Call it inside `Db::write`.
///
/// # Errors
/// See [`PasskeyError`].
pub fn remove_passkey(
    conn: &mut DbConnection,
    account: &AccountId,
    id: &str,
    ways: WaysIn,
    now: Timestamp,
) -> Result<(), PasskeyError> {
    // Two who remove the last two wait for each other.
    store::lock_account(conn, account)?;
    if !ways::is_another_left(conn, account, ways, &Without::Passkey(id))? {
        return Err(PasskeyError::LastWayIn);
    }
    let name = store::delete_passkey(conn, account, id)?.ok_or(PasskeyError::Unknown)?;
    record(conn, account, "passkey.removed", &name, now)
}

/// Somebody logged in with a passkey: takes the step, keeps the counter, begins the session. Call it inside `Db::write`.
///
/// # Errors
/// See [`PasskeyError`].
pub fn log_in_with_passkey(
    conn: &mut DbConnection,
    (account, credential_id, moved): (&AccountId, &str, Option<&Passkey>),
    step: &SecretHash,
    (session, replaces): (&SecretHash, Option<&SecretHash>),
    now: Timestamp,
) -> Result<(), PasskeyError> {
    step::take(conn, step, StepKind::Passkey, now)?;
    // Whoever claims it at this moment comes before, and the passkey is gone, or after, and ends the session.
    let usable = store::locked_usable(conn, account)?;
    let text = moved.map(serde_json::to_string).transpose()?;
    if !usable || !store::use_passkey(conn, credential_id, text.as_deref(), now)? {
        return Err(PasskeyError::Unknown);
    }
    let before = proofs::of_replaced(conn, replaces, account, now)?;
    proofs::keep(conn, session, (Proofs::default(), before), now)?;
    let new = NewSession {
        hash: session.clone(),
        account: account.clone(),
        authentication: Authentication { method: Method::Passkey, at: now },
        replaces: replaces.cloned(),
    };
    Ok(session::begin(conn, &new, now)?)
}

fn record(
    conn: &mut DbConnection,
    account: &AccountId,
    action: &'static str,
    name: &str,
    now: Timestamp,
) -> Result<(), PasskeyError> {
    let fact = Fact {
        actor: format!("user:{account}"),
        action,
        account_id: Some(account),
        subject: account.to_string(),
        detail: json!({"name": name}),
    };
    Ok(audit::append(conn, &fact, now)?)
}
