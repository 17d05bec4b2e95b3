//! How an orchestrator speaks the provisioning wire (APP 0.1d).

use std::str::FromStr;

use url::Url;

use super::{Profile, UnknownWord};
use crate::clock::Timestamp;
use crate::ids::{OrchestratorId, WireSecretId};
use crate::secret::SecretHash;

/// Which signatures a request must carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureMode {
    /// `Stripe-Signature`; the second scheme is not looked at.
    Hmac,
    /// `Stripe-Signature`; a bad signature of the second scheme is logged.
    V2Advisory,
    /// Both.
    V2Required,
    /// None: public clients with PKCE. Only with a profile that is for them.
    Unsigned,
}

/// How a new account is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountAnswer {
    /// With a code for the token endpoint.
    Code,
    /// With tokens at once.
    Credentials,
}

/// What the operator set for one orchestrator. Secrets stay sealed.
#[derive(Debug, Clone)]
pub struct WireSettings {
    /// Whose.
    pub orchestrator_id: OrchestratorId,
    /// What it calls itself in `orchestrator.type`: `stripe`.
    pub kind: String,
    /// The shapes that it is sent.
    pub profile: Profile,
    /// The signatures that it must send.
    pub signature_mode: SignatureMode,
    /// How its new accounts are answered.
    pub account_answer: AccountAnswer,
    /// What must be known about a person before an account is opened: any of `name`, `phone`, `country`.
    pub required_information: Vec<String>,
    /// Where the browser goes with a code after consent.
    pub callback_url: Option<Url>,
    /// Where its keys for the second scheme are.
    pub public_keys_url: Option<Url>,
    /// The token that it gave us for them, sealed for `wire_settings/{orchestrator}/public_keys_token`.
    pub sealed_public_keys_token: Option<String>,
    /// Its client id at our token endpoint.
    pub client_id: Option<String>,
    /// Of its client secret.
    pub client_secret_hash: Option<SecretHash>,
    /// Where it hears of events.
    pub notification_url: Option<Url>,
    /// The secret that signs them, sealed for `wire_settings/{orchestrator}/notification_secret`.
    pub sealed_notification_secret: Option<String>,
    /// When it was last set.
    pub changed_at: Timestamp,
}

/// A secret with which an orchestrator signs, sealed for [`WireSecret::place`].
#[derive(Debug, Clone)]
pub struct WireSecret {
    /// Whose.
    pub orchestrator_id: OrchestratorId,
    /// Which.
    pub id: WireSecretId,
    /// Sealed.
    pub sealed: String,
    /// Since when it is accepted.
    pub created_at: Timestamp,
    /// Since when it is not.
    pub retired_at: Option<Timestamp>,
}

impl WireSecret {
    /// Where it is kept: it opens nowhere else.
    #[must_use]
    pub fn place(orchestrator: &OrchestratorId, id: &WireSecretId) -> String {
        format!("wire_secrets/{orchestrator}/{id}")
    }
}

impl SignatureMode {
    /// The word that is stored and written on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hmac => "hmac",
            Self::V2Advisory => "v2_advisory",
            Self::V2Required => "v2_required",
            Self::Unsigned => "unsigned",
        }
    }
}

impl FromStr for SignatureMode {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let all = [Self::Hmac, Self::V2Advisory, Self::V2Required, Self::Unsigned];
        let known = "hmac, v2_advisory, v2_required, unsigned";
        all.into_iter().find(|mode| mode.as_str() == text).ok_or(UnknownWord { word: text.to_owned(), known })
    }
}

impl AccountAnswer {
    /// The word that is stored and written on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Code => "oauth",
            Self::Credentials => "credentials",
        }
    }
}

impl FromStr for AccountAnswer {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let known = "oauth, credentials";
        let all = [Self::Code, Self::Credentials];
        all.into_iter().find(|answer| answer.as_str() == text).ok_or(UnknownWord { word: text.to_owned(), known })
    }
}
