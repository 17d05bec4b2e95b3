//! Our OAuth server, as far as it stands: attestations become short access tokens, and every use of one is checked.
//!
//! Promises: a token says for whom, for which API, with which scopes, for ten minutes; revoking its grant, freezing the
//! account or suspending the orchestrator ends it at once. Refuses: scopes that nobody knows, and other audiences. On the
//! provisioning wire, codes work once and refresh tokens replace each other; a copy that comes back ends all of them.

mod access_token;
mod account_request;
mod client;
mod code;
mod confirmation;
mod consent;
mod dpop;
mod exchange;
mod grant;
mod pkce;
mod refresh;
mod scope;
mod step_up;
mod store;
mod wire_grant;
mod wire_store;
mod withdraw_store;

pub use access_token::{ACCESS_TOKEN_LIFETIME, LogIn, TokenError, VerifiedToken, verify_access_token};
pub use account_request::{
    AccountAnswered, AccountAsked, AccountRequestError, AccountRequestParts, CONSENT_LIFETIME, request_account,
};
pub use client::{ClientCredentials, ClientError, PresentedClient, authenticate_client};
pub use code::{CODE_LIFETIME, NewCode, RedeemError, Redemption, SignedBy, redeem};
pub use confirmation::{Answered, Confirmation, Onward, RedirectWithCode};
pub use consent::{AccountRequest, ConsentError, Question, RequestState, allow, deny, forget_ended, question};
pub use dpop::{
    Nonces, PROOF_ALGORITHMS, ProofError, ProvenRequest, VerifiedProof, forget_proofs, use_proof, verify_proof,
};
pub use exchange::{ExchangeError, ExchangeParts, ExchangeRequest, Exchanged, OAuthError, exchange};
pub use grant::{Access, AccessError, Grant, access, revoke};
pub use pkce::{CodeChallenge, CodeVerifier, InvalidChallenge, InvalidVerifier};
pub use refresh::{RefreshError, refresh, refresh_owner};
pub use scope::{InvalidScope, Scope, Scopes};
pub use step_up::StepUp;
pub use wire_grant::{Holder, IssueError, REFRESH_TOKEN_LIFETIME, WireSigner, WireTokens};
pub use withdraw_store::{Withdrawn, withdraw};
