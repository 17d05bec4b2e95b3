//! Sealing at rest: AES-256-GCM under keys derived from one master key, bound to where the value stands.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{hkdf, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The key under which all others are kept: 32 bytes, from a file or the environment, never in the database.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey([u8; 32]);

impl MasterKey {
    /// A new random key.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn generate() -> Result<Self, SealError> {
        let mut bytes = [0_u8; 32];
        rand::fill(&mut bytes).map_err(|_unspecified| SealError::Randomness)?;
        Ok(Self(bytes))
    }

    /// Reads the text form: 43 characters of base64url, surrounding white space ignored.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn from_text(text: &str) -> Result<Self, SealError> {
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text.trim()).map_err(|_not_base64| SealError::MasterKey)?);
        <[u8; 32]>::try_from(bytes.as_slice()).map(Self).map_err(|_wrong_length| SealError::MasterKey)
    }

    /// The text form, to be written to a file that only its owner can read.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(self.0))
    }

    /// The bytes themselves.
    #[must_use]
    pub fn into_bytes(self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0)
    }

    /// 32 bytes for `purpose`, from which the master key cannot be found again.
    ///
    /// # Errors
    /// Never in practice; the library's own word.
    pub fn derive(&self, purpose: &str) -> Result<Zeroizing<[u8; 32]>, SealError> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        hkdf::Salt::new(hkdf::HKDF_SHA256, b"portreeve")
            .extract(&self.0)
            .expand(&[purpose.as_bytes()], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(bytes.as_mut_slice()))
            .map_err(|_unspecified| SealError::Derivation)?;
        Ok(bytes)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(****)")
    }
}

/// Seals and opens values of one purpose (`"signing keys"`, `"credentials"`).
pub struct Sealer(RandomizedNonceKey);

/// What was sealed, wiped when dropped.
pub type Opened = Zeroizing<Vec<u8>>;

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(****)")
    }
}

impl Sealer {
    /// The sealer of `purpose` under `master`.
    ///
    /// # Errors
    /// When the key cannot be derived.
    pub fn new(master: &MasterKey, purpose: &str) -> Result<Self, SealError> {
        let key = master.derive(purpose)?;
        RandomizedNonceKey::new(&AES_256_GCM, key.as_slice()).map(Self).map_err(|_unspecified| SealError::Derivation)
    }

    /// Seals `value` for `place` (`"resources/res_…/credentials"`): it opens only with the same place.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn seal(&self, place: &str, value: &[u8]) -> Result<String, SealError> {
        let mut bytes = value.to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(place.as_bytes()), &mut bytes)
            .map_err(|_unspecified| SealError::Randomness)?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.append(&mut bytes);
        Ok(format!("v1.{}", URL_SAFE_NO_PAD.encode(sealed)))
    }

    /// Opens what [`Sealer::seal`] made for the same `place`.
    ///
    /// # Errors
    /// When the text was changed, moved to another place, or sealed under another key.
    pub fn open(&self, place: &str, sealed: &str) -> Result<Opened, SealError> {
        let bytes = sealed.strip_prefix("v1.").ok_or(SealError::Unreadable)?;
        let bytes = URL_SAFE_NO_PAD.decode(bytes).map_err(|_not_base64| SealError::Unreadable)?;
        let (nonce, body) = bytes.split_at_checked(NONCE_LEN).ok_or(SealError::Unreadable)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_unspecified| SealError::Unreadable)?;
        let mut body = Zeroizing::new(body.to_vec());
        let length = self
            .0
            .open_in_place(nonce, Aad::from(place.as_bytes()), &mut body)
            .map_err(|_unspecified| SealError::Unreadable)?
            .len();
        body.truncate(length);
        Ok(body)
    }
}

/// Why something could not be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The master key is not 32 bytes.
    #[error("the master key must be 43 characters of base64url (32 bytes)")]
    MasterKey,
    /// The system's random source failed.
    #[error("the system's random source failed")]
    Randomness,
    /// A key could not be derived.
    #[error("a sealing key could not be derived")]
    Derivation,
    /// Changed, moved, or sealed under another key.
    #[error("a sealed value cannot be opened: it was changed, moved, or sealed under another master key")]
    Unreadable,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_value_opens_only_in_its_place_and_under_its_key() {
        let master = MasterKey::generate().unwrap();
        let sealer = Sealer::new(&master, "credentials").unwrap();
        let hidden = sealer.seal("resources/1", b"secret").unwrap();
        assert_eq!(sealer.open("resources/1", &hidden).unwrap().as_slice(), b"secret");
        assert_eq!(sealer.open("resources/2", &hidden).unwrap_err(), SealError::Unreadable);
        let wrong = Sealer::new(&master, "signing keys").unwrap();
        assert_eq!(wrong.open("resources/1", &hidden).unwrap_err(), SealError::Unreadable);
        assert!(!hidden.contains("secret"));
    }

    #[test]
    fn a_master_key_reads_back() {
        let master = MasterKey::generate().unwrap();
        let again = MasterKey::from_text(&format!(" {}\n", master.to_text().as_str())).unwrap();
        assert_eq!(*master.derive("x").unwrap(), *again.derive("x").unwrap());
        assert!(MasterKey::from_text("short").is_err());
    }
}
