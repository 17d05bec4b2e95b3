//! Our OAuth server, as far as it stands: attestations become short access tokens, and every use of one is checked.
//!
//! Promises: a token says for whom, for which API, with which scopes, for ten minutes; revoking its grant, freezing the
//! account or suspending the orchestrator ends it at once. Refuses: scopes that nobody knows, and other audiences.

mod access_token;
mod dpop;
mod exchange;
mod grant;
mod scope;
mod step_up;
mod store;

pub use access_token::{ACCESS_TOKEN_LIFETIME, LogIn, TokenError, VerifiedToken, verify_access_token};
pub use dpop::{
    Nonces, PROOF_ALGORITHMS, ProofError, ProvenRequest, VerifiedProof, forget_proofs, use_proof, verify_proof,
};
pub use exchange::{ExchangeError, ExchangeParts, ExchangeRequest, Exchanged, OAuthError, exchange};
pub use grant::{Access, AccessError, Grant, access, revoke};
pub use scope::{InvalidScope, Scope, Scopes};
pub use step_up::StepUp;
