//! Our OAuth server, as far as it stands: attestations become short access tokens, and every use of one is checked.
//!
//! Promises: a token says for whom, for which API, with which scopes, for ten minutes; revoking its grant, freezing the
//! account or suspending the orchestrator ends it within a second, on every process. A human's consent leads to a code with
//! PKCE, and from there to tokens; a copy of a code or of an old refresh token that comes back ends all of them. Refuses:
//! scopes that nobody knows, other audiences, redirect URIs that the client did not register, and clients that do not
//! prove what they must.

mod access_token;
mod account_request;
mod agent;
mod agent_store;
mod client;
mod code;
mod confirmation;
mod consent;
mod consent_grant;
mod consent_store;
mod device;
mod dpop;
mod ending;
mod ending_store;
mod exchange;
mod familiar;
mod grant;
mod hot_store;
mod introspection;
mod memory;
mod oauth_grant;
mod pkce;
mod refresh;
mod request;
mod reset;
mod reset_store;
mod revocation;
mod scope;
mod standing;
mod step_up;
mod store;
mod wire_grant;
mod wire_store;
mod withdraw_store;

pub use access_token::{ACCESS_TOKEN_LIFETIME, LogIn, TokenError, TokenLimits, VerifiedToken, verify_access_token};
pub use account_request::{
    AccountAnswered, AccountAsked, AccountRequestError, AccountRequestParts, CONSENT_LIFETIME, request_account,
};
pub use agent::{EnterError, NarrowError, act, consent_of, drop_scope, powers, revoke_agent, revoke_all_agents};
pub use agent_store::{GrantLine, GrantPlace, grants_after};
pub use client::{
    AssertionError, AuthMethod, Authenticated, CLIENT_ALGORITHMS, Client, ClientDocuments, ClientError, ClientKeys,
    ClientMetadata, ClientOrigin, ClientParts, DocumentError, GrantType, InvalidRedirectUri, MAX_DYNAMIC,
    MetadataError, NewClient, PresentedClient, RedirectUri, RegisterError, Registered, SentClient, Trust,
    UNUSED_LIFETIME, UnknownOrigin, authenticate_client, forget_unused, is_document_url, list as list_clients,
    register as register_client, registered as registered_client, remove as remove_client, resolve_client,
    rotate as rotate_client,
};
pub use code::{CODE_LIFETIME, NewCode, RedeemError, Redemption, SignedBy, redeem};
pub use confirmation::{Answered, Confirmation, Onward, RedirectWithCode};
pub use consent::{AccountRequest, ConsentError, Question, RequestState, allow, deny, forget_ended, question};
pub use consent_grant::{Consent, revoke_consent};
pub use consent_store::{consents_after, consents_of_account};
pub use device::{
    DEVICE_LIFETIME, DeviceAnswered, DeviceAskError, DeviceAsked, DeviceFlow, InvalidUserCode, NewDevice, POLL_SECONDS,
    PollError, RiskyScope, TYPING_LIFETIME, UserCode, asked as device_asked, deny as deny_device,
    go_on as ask_for_device, keep as keep_device, poll as poll_device,
};
pub use dpop::{
    Nonces, PROOF_ALGORITHMS, ProofError, ProvenRequest, SingleUse, VerifiedProof, forget_proofs, use_proof,
    verify_proof,
};
pub use ending::end_everything_of;
pub use exchange::{
    Asserted, ExchangeError, ExchangeParts, ExchangeRequest, Exchanged, OAuthError, exchange, exchange_verified,
    verify_assertion,
};
pub use familiar::FamiliarPeople;
pub use grant::{Access, AccessError, Grant, access, revoke};
pub use introspection::{Revoked, Revoker, TokenParts, introspect, revoke_token};
pub use memory::{
    Before, Patience, Recalled, Reuse, Standing, Turn, Verdict, Waiting, allow_asked, answer_again, answer_remembered,
    deny_asked, recall, take_over, take_turn,
};
pub use oauth_grant::{
    Asking, CodeRedemption, Given, GrantError, GrantParts, KnownRefresh, Successors, client_credentials,
    code_is_of_consent, known_refresh, redeem_code, refresh_consent, use_up,
};
pub use pkce::{CodeChallenge, CodeVerifier, InvalidChallenge, InvalidVerifier};
pub use refresh::{RefreshError, refresh, refresh_owner};
pub use request::{
    Answer, AnswerError, Asked, AuthorizationRequest, Detail, DetailError, Limits, MostEach, PUSHED_LIFETIME, Params,
    PlanLine, Pricing, REQUEST_URI, Refusal, Target, TargetError, WorstCase, asked, keep, limits_of, price_plans,
    read_request, show,
};
pub use reset::{Program, allow_or_not, end_agents, end_all, kept_scopes, own_clients, programs};
pub use revocation::{Ended, Revocations, TURN as REVOCATION_TURN, read_ended};
pub use scope::{InvalidScope, Scope, Scopes};
pub use step_up::StepUp;
pub use wire_grant::{Holder, IssueError, REFRESH_TOKEN_LIFETIME, WireSigner, WireTokens};
pub use withdraw_store::{Withdrawn, withdraw};
