//! How security events are exchanged with one orchestrator, as the operator set it.

use url::Url;
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::ids::OrchestratorId;
use crate::secret::SecretHash;
use crate::signing::{SealError, Sealer};

/// Which of its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamToken {
    /// The one that we poll with.
    Poll,
    /// The one that we push with.
    Send,
}

/// The settings. Tokens stay sealed.
#[derive(Debug, Clone)]
pub struct StreamSettings {
    /// Whose.
    pub orchestrator_id: OrchestratorId,
    /// What its events must name as their audience.
    pub audience: String,
    /// Whether it may push (RFC 8935).
    pub accepts_push: bool,
    /// Of the token that a push must carry; without one the event's own signature has to do.
    pub push_token_hash: Option<SecretHash>,
    /// Where we ask for events (RFC 8936).
    pub poll_url: Option<Url>,
    /// Sealed for [`StreamSettings::place`].
    pub sealed_poll_token: Option<String>,
    /// When we ask next.
    pub next_poll_at: Option<Timestamp>,
    /// Where ours go.
    pub send_url: Option<Url>,
    /// Sealed for [`StreamSettings::place`].
    pub sealed_send_token: Option<String>,
    /// When it last sent a verification event.
    pub verified_at: Option<Timestamp>,
    /// When this was set.
    pub changed_at: Timestamp,
}

impl StreamSettings {
    /// Where a token is kept: it opens nowhere else.
    #[must_use]
    pub fn place(orchestrator: &OrchestratorId, which: StreamToken) -> String {
        let which = match which {
            StreamToken::Poll => "poll_token",
            StreamToken::Send => "send_token",
        };
        format!("security_streams/{orchestrator}/{which}")
    }

    /// The token in clear, if there is one.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open_token(&self, sealer: &Sealer, which: StreamToken) -> Result<Option<Zeroizing<String>>, SealError> {
        let kept = match which {
            StreamToken::Poll => &self.sealed_poll_token,
            StreamToken::Send => &self.sealed_send_token,
        };
        let Some(kept) = kept else { return Ok(None) };
        let opened = sealer.open(&Self::place(&self.orchestrator_id, which), kept)?;
        Ok(Some(Zeroizing::new(String::from_utf8_lossy(&opened).into_owned())))
    }
}
