//! Our keys and what is signed with them; and the strict reading of what others signed.
//!
//! Promises: one purpose per key; `kid` is the RFC 7638 thumbprint; private keys are stored sealed and cannot print.
//! Refuses: RSA signing, symmetric algorithms, keys named by a token's own header (`jku`, `x5u`; `jwk` only proves that
//! somebody holds that key), unknown `crit`.

mod canonical;
mod jws;
mod keyring;
mod seal;
mod store;
mod strict_json;

pub use canonical::canonical_json;
pub use jws::{Jws, JwsError, SignatureAlgorithm, Unverified, VerifyingKey};
pub use keyring::{Algorithm, KeyOrigin, KeyPurpose, KeyRing, SigningError, SigningKey};
pub use seal::{MasterKey, Opened, SealError, Sealer};
pub use store::{LoadKeysError, load_or_create};
pub use strict_json::parse_strict;
