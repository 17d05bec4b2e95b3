//! Fetching what [`verify`] judges: the documents and the keys of a provider.

use std::time::Duration;

use jsonwebtoken::jwk::JwkSet;
use url::Url;

use super::last_seen::LastSeen;
use super::published::MAX_DOCUMENT;
use super::verify::{Fetched, TrustedKeys, Verified, VerifyError, verify};
use crate::clock::Timestamp;
use crate::fetch::{Fetch, FetchError, FetchSettings, Outgoing};
use crate::signing::parse_strict;

/// Why the keys could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadKeysError {
    /// Not a JWK set.
    #[error("this is not a JWK set (RFC 7517)")]
    NotKeys(#[source] serde_json::Error),
    /// Nothing in it that could have signed.
    #[error("the JWK set has no key")]
    Empty,
}

/// Reads a JWK set (RFC 7517 §5): the issuer's, or a pinned file's.
///
/// # Errors
/// When it is none, or empty.
pub fn read_keys(bytes: &[u8]) -> Result<TrustedKeys, ReadKeysError> {
    let set: JwkSet = parse_strict(bytes).map_err(ReadKeysError::NotKeys)?;
    if set.keys.is_empty() { Err(ReadKeysError::Empty) } else { Ok(TrustedKeys(set.keys)) }
}

/// Why a catalog at a URL could not be fetched or is not believed.
#[derive(Debug, thiserror::Error)]
pub enum VerifyUrlError {
    /// The URL is no provider's base URL.
    #[error("`{0}` is not a provider's base URL: write `https://` and a host")]
    Url(String),
    /// Something could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The server answered something else than 200.
    #[error("`{url}` answered {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The keys are none.
    #[error(transparent)]
    Keys(#[from] ReadKeysError),
    /// It is not believed.
    #[error(transparent)]
    Refused(#[from] VerifyError),
}

/// The limits for fetching a catalog from `url`. The host that somebody typed may be a loopback address.
#[must_use]
pub fn fetch_settings(url: &Url) -> FetchSettings {
    FetchSettings {
        special_hosts: url.host_str().map(str::to_owned).into_iter().collect(),
        timeout: Duration::from_secs(10),
        // The payload grows by a third in base64url; the rest is for signatures.
        max_body: MAX_DOCUMENT * 3 / 2,
    }
}

/// Fetches and verifies the catalog of the provider at `base`. Without `pinned` keys, those of its JWK set decide.
///
/// # Errors
/// See [`VerifyUrlError`].
pub async fn verify_url(
    fetch: &Fetch,
    base: &Url,
    pinned: Option<&TrustedKeys>,
    last_seen: Option<&LastSeen>,
    now: Timestamp,
) -> Result<Verified, VerifyUrlError> {
    let issuer = base.as_str().trim_end_matches('/').to_owned();
    let keys = match pinned {
        Some(keys) => keys.clone(),
        None => read_keys(&get(fetch, &issuer, "/oauth/jwks").await?)?,
    };
    // A new revision may come out between the two: what differs once is fetched once more.
    let mut fetched = both(fetch, &issuer).await?;
    if let Err(VerifyError::NotServed) = verify(&fetched, &keys, &issuer, last_seen, now) {
        fetched = both(fetch, &issuer).await?;
    }
    Ok(verify(&fetched, &keys, &issuer, last_seen, now)?)
}

async fn both(fetch: &Fetch, issuer: &str) -> Result<Fetched, VerifyUrlError> {
    Ok(Fetched { jws: get(fetch, issuer, "/catalog.jws").await?, served: get(fetch, issuer, "/catalog").await? })
}

async fn get(fetch: &Fetch, issuer: &str, path: &str) -> Result<Vec<u8>, VerifyUrlError> {
    let url = format!("{issuer}{path}");
    let url: Url = url.parse().map_err(|_no_url| VerifyUrlError::Url(issuer.to_owned()))?;
    let answer = fetch.send(Outgoing::get(url)).await?;
    if answer.status == 200 {
        Ok(answer.body)
    } else {
        Err(VerifyUrlError::Status { url: answer.url, status: answer.status })
    }
}
