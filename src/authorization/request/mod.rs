//! Authorization requests (RFC 6749 §4.1.1, OAuth 2.1): what a client asks of a human, read strictly, kept while the human
//! looks at it, and answered once.
//!
//! Promises: nothing is sent to an address before client and redirect URI are known to belong together; a request that was
//! pushed (RFC 9126) is shown once. Refuses: everything but codes with PKCE (`S256`).

mod ask;
mod details;
mod plan;
mod read;
mod store;

use serde::{Deserialize, Serialize};

use super::dpop::VerifiedProof;
use super::pkce::CodeChallenge;
use super::scope::Scopes;

pub use ask::{Answer, AnswerError, Asked, PUSHED_LIFETIME, REQUEST_URI, asked, keep, show};
pub(super) use ask::{allow_request, deny_request, still_stands};
pub use details::{Detail, DetailError, Limits, limits_of};
pub(super) use details::{details_digest, limits_name};
pub(super) use plan::can_be_made;
pub use plan::{MostEach, PlanLine, Pricing, WorstCase, price_plans};
pub use read::{Params, Refusal, Target, TargetError, read_request};
pub(super) use store::{bind_request, decide_request, delete_ended_before, is_denied, is_open_for};

/// A request that may be shown to a human.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationRequest {
    /// Who asks.
    pub client: String,
    /// What people are told that it is called.
    pub client_name: String,
    /// [`super::Client::digest`] at that time.
    pub client_digest: String,
    /// Where the answer goes.
    pub redirect_uri: String,
    /// Given back with it.
    pub state: Option<String>,
    /// For which API.
    pub resource: String,
    /// What it asks for.
    #[serde(with = "as_words")]
    pub scopes: Scopes,
    /// With which limits (RFC 9396).
    pub details: Vec<Detail>,
    /// Whose verifier redeems the code.
    #[serde(with = "as_text")]
    pub code_challenge: CodeChallenge,
    /// The key that must be proven with the code (RFC 9449 §10).
    pub bound_to: Option<String>,
    /// How many seconds ago the human may have logged in, when the client cares.
    pub max_age: Option<i64>,
    /// The scopes without which the client works as well, by the request or else by its metadata; `None`: neither says.
    #[serde(default)]
    pub optional_scopes: Option<String>,
    /// Whether the human is asked whatever they decided before (`prompt=consent`).
    #[serde(default)]
    pub prompt_consent: bool,
}

impl AuthorizationRequest {
    /// The scopes that the human cannot untick: without them the client says that it does not work. Whoever says nothing,
    /// or asks for everything that there is, gets what the human leaves; to remove things and to open the dashboard are
    /// never conditions.
    #[must_use]
    pub fn required(&self) -> Scopes {
        match &self.optional_scopes {
            Some(optional) if self.scopes != Scopes::all() => {
                let optional = Scopes::known_of(optional);
                self.scopes.filtered(|scope| !optional.contains(scope) && !scope.is_always_optional())
            }
            _ => Scopes::default(),
        }
    }
}

impl AuthorizationRequest {
    /// Binds the code to the key that was proven when the request was pushed (RFC 9449 §10.1).
    ///
    /// # Errors
    /// When the request names another key in `dpop_jkt`.
    pub fn bind(&mut self, proof: Option<&VerifiedProof>) -> Result<(), Refusal> {
        let Some(proof) = proof else { return Ok(()) };
        match &self.bound_to {
            Some(named) if *named != proof.thumbprint => {
                Err(Refusal::new("invalid_request", "`dpop_jkt` names another key than the `DPoP` header proves."))
            }
            _ => {
                self.bound_to = Some(proof.thumbprint.clone());
                Ok(())
            }
        }
    }
}

mod as_words {
    use crate::authorization::scope::Scopes;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(scopes: &Scopes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(scopes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Scopes, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

mod as_text {
    use crate::authorization::pkce::CodeChallenge;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(challenge: &CodeChallenge, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(challenge)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<CodeChallenge, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
