//! The first scheme, as webhooks of the same house use it: `t=<seconds>,v1=<hex>[,v1=<hex>…]` over `<t>.<raw body>`.

use std::fmt;

use aws_lc_rs::hmac;
use subtle::ConstantTimeEq as _;

use super::{SignatureError, SignedRequest, TOLERANCE_SECONDS, UnverifiedRequest};
use crate::clock::Timestamp;
use crate::ids::{OrchestratorId, WireSecretId};

/// The longest header that is looked at, in bytes.
const MAX_HEADER: usize = 2048;
/// The most signatures in one header: a secret is replaced by one other, not by dozens.
const MAX_SIGNATURES: usize = 16;
/// Seconds with more digits are no time of ours.
const MAX_DIGITS: usize = 12;

/// A secret of an orchestrator, ready for use. Its bytes do not print.
#[derive(Clone)]
pub struct SigningSecret {
    /// Whose.
    pub orchestrator_id: OrchestratorId,
    /// Which.
    pub id: WireSecretId,
    key: hmac::Key,
}

impl SigningSecret {
    /// The secret `text` (`whsec_…`): its UTF-8 bytes are the key, prefix and all.
    #[must_use]
    pub fn new(orchestrator_id: OrchestratorId, id: WireSecretId, text: &[u8]) -> Self {
        Self { orchestrator_id, id, key: hmac::Key::new(hmac::HMAC_SHA256, text) }
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningSecret({}, {})", self.orchestrator_id, self.id)
    }
}

/// The header, read and not yet believed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) at: i64,
    /// What was compared: the text of the time, as sent.
    at_text: String,
    pub(super) signatures: Vec<[u8; 32]>,
}

impl Header {
    /// Reads the header. Elements of other schemes are skipped; so is a `v1` that cannot be one.
    pub(super) fn parse(text: &str) -> Result<Self, SignatureError> {
        if text.len() > MAX_HEADER {
            return Err(SignatureError::Malformed("it is too long"));
        }
        let (mut at, mut signatures) = (None, Vec::new());
        for element in text.split(',') {
            let Some((name, value)) = element.trim_matches([' ', '\t']).split_once('=') else {
                return Err(SignatureError::Malformed("an element has no `=`"));
            };
            match name {
                "t" if at.is_some() => return Err(SignatureError::Malformed("`t` is there twice")),
                "t" => at = Some((seconds(value)?, value.to_owned())),
                "v1" if signatures.len() == MAX_SIGNATURES => {
                    return Err(SignatureError::Malformed("too many signatures"));
                }
                "v1" => signatures.extend(digest(value)),
                _ => {}
            }
        }
        let (at, at_text) = at.ok_or(SignatureError::Malformed("`t` is missing"))?;
        if signatures.is_empty() {
            return Err(SignatureError::Malformed("no `v1` of 64 hexadecimal digits"));
        }
        Ok(Self { at, at_text, signatures })
    }
}

/// Decimal digits as a program writes them: no sign, no leading zero.
fn seconds(text: &str) -> Result<i64, SignatureError> {
    let plain = !text.is_empty() && text.len() <= MAX_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
    if !plain || (text.len() > 1 && text.starts_with('0')) {
        return Err(SignatureError::Malformed("`t` is not a number of seconds"));
    }
    text.parse().map_err(|_not_a_number| SignatureError::Malformed("`t` is not a number of seconds"))
}

/// 64 hexadecimal digits of either case.
fn digest(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 {
        return None;
    }
    let mut bytes = [0_u8; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(bytes)
}

impl UnverifiedRequest<'_> {
    /// Finds the secret that fits. Every secret is tried against every signature, whichever fits first, so that the time
    /// it takes says nothing.
    ///
    /// # Errors
    /// When the header is missing or malformed, the time is too far from ours, or nothing fits.
    pub fn verify(&self, secrets: &[SigningSecret], now: Timestamp) -> Result<SignedRequest, SignatureError> {
        let header = Header::parse(self.signature.ok_or(SignatureError::Missing)?)?;
        if (now.seconds() - header.at).abs() > TOLERANCE_SECONDS {
            return Err(SignatureError::Stale);
        }
        let mut fitting = None;
        for secret in secrets {
            let mut context = hmac::Context::with_key(&secret.key);
            context.update(header.at_text.as_bytes());
            context.update(b".");
            context.update(self.body);
            let tag = context.sign();
            let fits =
                header.signatures.iter().fold(subtle::Choice::from(0), |fits, one| fits | tag.as_ref().ct_eq(one));
            if bool::from(fits) && fitting.is_none() {
                fitting = Some(secret);
            }
        }
        let secret = fitting.ok_or(SignatureError::Mismatch)?;
        Ok(SignedRequest {
            orchestrator_id: secret.orchestrator_id.clone(),
            secret_id: secret.id.clone(),
            signed_at: header.at,
        })
    }
}
