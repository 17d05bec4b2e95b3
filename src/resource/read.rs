//! Handing out credentials.

use std::collections::BTreeMap;

use super::{Desk, Resource, ResourceState, store};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::signing::SealError;

/// A resource's credentials in clear, to be handed to its owner and to nobody else.
pub type Shown = BTreeMap<String, String>;

/// Why credentials are not handed out.
#[derive(Debug, thiserror::Error)]
pub enum OpenCredentialsError {
    /// They cannot be opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// They are no JSON.
    #[error("sealed credentials are no JSON")]
    Unreadable,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for OpenCredentialsError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// Where sealed credentials stand.
pub(super) fn credentials_place(resource: &Resource) -> String {
    format!("resources/{}/{}/credentials", resource.account_id, resource.id)
}

/// Opens the credentials of a resource that is ready, and notes that they were shown. Only the request that made them
/// (a purchase, a change, a rotation, and their retries under the same key) calls this.
///
/// # Errors
/// See [`OpenCredentialsError`].
pub async fn open_credentials(
    desk: &Desk,
    resource: &Resource,
    now: Timestamp,
) -> Result<Option<Shown>, OpenCredentialsError> {
    let Some(shown) = opened(desk, resource)? else { return Ok(None) };
    let (account, id) = (resource.account_id.clone(), resource.id.clone());
    let work = move |conn: &mut DbConnection| {
        store::set_shown(conn, (&account, &id), now)?;
        Ok::<_, OpenCredentialsError>(())
    };
    desk.cashier.db.write(resource.account_id.as_str(), work).await?;
    Ok(Some(shown))
}

fn opened(desk: &Desk, resource: &Resource) -> Result<Option<Shown>, OpenCredentialsError> {
    let (ResourceState::Ready, Some(sealed)) = (resource.state, &resource.sealed_credentials) else { return Ok(None) };
    let opened = desk.credential_sealer.open(&credentials_place(resource), sealed)?;
    Ok(Some(serde_json::from_slice(&opened).map_err(|_not_json| OpenCredentialsError::Unreadable)?))
}

/// What a later look at a resource that is ready repeats: the values that the driver says are no secret, such as an
/// address. Secrets are handed over once, by the request that made them; whoever lost them rotates.
///
/// # Errors
/// See [`OpenCredentialsError`].
pub fn public_values(desk: &Desk, resource: &Resource) -> Result<Option<Shown>, OpenCredentialsError> {
    let Some(mut shown) = opened(desk, resource)? else { return Ok(None) };
    let public = (desk.bindings)(&resource.service)
        .and_then(|binding| Some(desk.drivers.get(&binding.driver)?.public_names(&binding.settings)))
        .unwrap_or_default();
    shown.retain(|name, _| public.contains(name));
    Ok(Some(shown))
}
