//! Proofs that the caller holds a key (DPoP, RFC 9449): a token that is bound to the key is of no use without it.
//!
//! Every proof carries a nonce of ours, so that none can be made ahead, and is good for one request. Using it up is a
//! write: it is done last, when everything else about the request holds, so that strangers cause none.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use jsonwebtoken::jwk::ThumbprintHash;
use serde::Deserialize;
use subtle::ConstantTimeEq as _;
use url::Url;

use super::store;
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::secret::sha256_base64url;
use crate::signing::{JwsError, SignatureAlgorithm, Unverified};

/// The algorithms of a proof.
pub const PROOF_ALGORITHMS: [SignatureAlgorithm; 2] = [SignatureAlgorithm::Es256, SignatureAlgorithm::EdDsa];

/// How far `iat` may be from now, both ways.
const SKEW: TimeDelta = TimeDelta::minutes(5);
/// A nonce is given out for this many seconds, and accepted for as long again.
const NONCE_WINDOW: i64 = 150;
/// The longest `jti`, in bytes.
const MAX_ID: usize = 255;

/// The secret behind the nonces. Every process of an installation has the same, so each accepts what another gave out.
pub struct Nonces(hmac::Key);

impl std::fmt::Debug for Nonces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nonces")
    }
}

impl Nonces {
    /// Nonces under `key`.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The nonce that is given out now.
    #[must_use]
    pub fn current(&self, now: Timestamp) -> String {
        self.of_window(now.seconds().div_euclid(NONCE_WINDOW))
    }

    fn accepts(&self, nonce: &str, now: Timestamp) -> bool {
        let window = now.seconds().div_euclid(NONCE_WINDOW);
        [window, window - 1].into_iter().any(|window| self.of_window(window).as_bytes().ct_eq(nonce.as_bytes()).into())
    }

    fn of_window(&self, window: i64) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, &window.to_be_bytes()))
    }
}

/// The request that a proof comes with.
#[derive(Debug, Clone, Copy)]
pub struct ProvenRequest<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its address as the outside writes it, without query and fragment.
    pub url: &'a str,
    /// The access token that it carries, if any.
    pub access_token: Option<&'a str>,
}

/// Something that is good once, whoever presents it: a proof, or the statement of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SingleUse {
    hash: String,
    refused_from: Timestamp,
}

impl SingleUse {
    /// What is named by its kind and its parts; only the last part may hold any text. Nobody accepts it from
    /// `refused_from` on.
    pub(super) fn of(kind: &str, parts: &[&str], refused_from: Timestamp) -> Self {
        let name = std::iter::once(kind).chain(parts.iter().copied()).collect::<Vec<_>>().join("\n");
        Self { hash: sha256_base64url(name.as_bytes()), refused_from }
    }

    /// Uses it up. Call it inside `Db::write`.
    ///
    /// # Errors
    /// [`ProofError::Used`] when it was used before; else when the database fails.
    pub fn use_up(&self, conn: &mut DbConnection) -> Result<(), ProofError> {
        store::insert_proof(conn, &self.hash, self.refused_from).map_err(|error| match DbError::from(error) {
            error if error.is_unique_violation() => ProofError::Used,
            error => error.into(),
        })
    }
}

/// A proof that holds for its request. Good once: [`use_proof`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedProof {
    /// RFC 7638 thumbprint of the key that the caller holds.
    pub thumbprint: String,
    once: SingleUse,
}

/// Why a proof does not hold.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// Its form, type, algorithm, key or signature.
    #[error("the proof: {0}")]
    Jws(#[from] JwsError),
    /// Its key has no thumbprint.
    #[error("the proof's key cannot be named")]
    Key,
    /// It is about another request.
    #[error("the proof's `{0}` is not that of this request")]
    Request(&'static str),
    /// `iat` is too far from now.
    #[error("the proof's `iat` is more than five minutes from now")]
    Stale,
    /// `jti` is empty or too long.
    #[error("the proof's `jti` has 1 to 255 bytes")]
    Id,
    /// It carries no nonce of ours, or an old one.
    #[error("the proof carries no nonce that is good now")]
    Nonce,
    /// It was used before.
    #[error("the proof was used before")]
    Used,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// RFC 9449 §4.2.
#[derive(Deserialize)]
struct Claims {
    jti: String,
    htm: String,
    htu: String,
    iat: i64,
    ath: Option<String>,
    nonce: Option<String>,
}

/// Believes that the caller of `request` holds the key that the proof names, or says why not (RFC 9449 §4.3).
///
/// # Errors
/// See [`ProofError`]. A proof that lacks only a good nonce is [`ProofError::Nonce`].
pub fn verify_proof(
    proof: &str,
    request: ProvenRequest<'_>,
    nonces: &Nonces,
    now: Timestamp,
) -> Result<VerifiedProof, ProofError> {
    let unverified = Unverified::parse(proof)?;
    unverified.expect_type(&["dpop+jwt"])?;
    let key = unverified.embedded_key()?;
    let thumbprint = key.thumbprint(ThumbprintHash::SHA256).map_err(|_no_name| ProofError::Key)?;
    let claims: Claims = unverified.verify(&key, &PROOF_ALGORITHMS)?.claims;
    if claims.htm != request.method {
        return Err(ProofError::Request("htm"));
    }
    let Some(proven) = bare(&claims.htu).filter(|proven| Some(proven) == bare(request.url).as_ref()) else {
        return Err(ProofError::Request("htu"));
    };
    if claims.ath != request.access_token.map(|token| sha256_base64url(token.as_bytes())) {
        return Err(ProofError::Request("ath"));
    }
    let issued = Timestamp::from_seconds(claims.iat);
    if issued < now.minus(SKEW) || issued > now.plus(SKEW) {
        return Err(ProofError::Stale);
    }
    if !(1..=MAX_ID).contains(&claims.jti.len()) {
        return Err(ProofError::Id);
    }
    if !claims.nonce.is_some_and(|nonce| nonces.accepts(&nonce, now)) {
        return Err(ProofError::Nonce);
    }
    // Its nonce is older than that by then.
    let refused_from = now.plus(TimeDelta::seconds(3 * NONCE_WINDOW));
    let once = SingleUse::of("proof", &[&thumbprint, proven.as_str(), &claims.jti], refused_from);
    Ok(VerifiedProof { thumbprint, once })
}

/// An address without what a proof leaves out (RFC 9449 §4.3, item 9).
fn bare(url: &str) -> Option<Url> {
    let mut url = Url::parse(url).ok()?;
    url.set_query(None);
    url.set_fragment(None);
    Some(url)
}

/// Uses a proof up.
///
/// # Errors
/// [`ProofError::Used`] when it was used before; else when the database fails.
pub fn use_proof(conn: &mut DbConnection, proof: &VerifiedProof) -> Result<(), ProofError> {
    proof.once.use_up(conn)
}

/// Forgets at most `limit` of the proofs whose nonces nobody accepts any more. Answers how many.
///
/// # Errors
/// When the database fails.
pub fn forget_proofs(conn: &mut DbConnection, now: Timestamp, limit: i64) -> Result<usize, DbError> {
    Ok(store::delete_proofs_before(conn, now, limit)?)
}
