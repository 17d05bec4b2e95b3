//! Every refusal that an API answer can carry: stable codes, never reused.

use crate::http::dashboard::pages::ProblemDoc;

macro_rules! problems {
    ($($name:ident: $code:literal $status:literal $title:literal, $meaning:literal,
       agent $agent:literal, human $human:literal, retry $retry:literal;)*) => {
        $(#[doc = $meaning]
        pub const $name: ProblemDoc = ProblemDoc {
            code: $code, status: $status, title: $title, meaning: $meaning, causes: &[],
            agent: $agent, human: $human, retry: $retry,
        };)*
        /// All codes, in order of status.
        pub const ALL: &[ProblemDoc] = &[$($name),*];
    };
}

problems! {
    BAD_REQUEST: "invalid_request" 400 "The request cannot be understood",
        "A header, parameter or member of the body is missing, repeated, or not of the form that it must have. The detail names it.",
        agent "Correct what the detail names and send the request again.", human "", retry false;
    KEY_REQUIRED: "idempotency_key_required" 400 "An Idempotency-Key is needed",
        "Every POST that makes something needs an Idempotency-Key header, so that a retry never does it twice.",
        agent "Choose a new random key (a UUID, say) for this piece of work, send it as Idempotency-Key, and keep it for retries.", human "", retry false;
    TOKEN_UNVERIFIED: "payment_token_invalid" 400 "The payment token is not accepted",
        "The payment token cannot be verified, expired, or is for another seller, another user or another issuer.",
        agent "Ask the orchestrator for a new payment token for this provider and this user.", human "", retry false;
    UNAUTHORIZED: "unauthorized" 401 "An access token is needed",
        "The call carries no access token.",
        agent "Follow WWW-Authenticate: fetch resource_metadata, then get a token with an identity attestation (POST /v1/accounts).", human "", retry false;
    INVALID_TOKEN: "invalid_token" 401 "The access token no longer works",
        "The access token cannot be verified, expired, was revoked, or is for another API.",
        agent "Get a new token with a fresh identity attestation (POST /v1/accounts) and send the request again.", human "", retry false;
    PROOF_NONCE: "use_dpop_nonce" 401 "The proof needs a nonce of ours",
        "The DPoP proof carries no nonce, or one that is too old. The DPoP-Nonce header has the one to use.",
        agent "Sign a new proof with the nonce of the DPoP-Nonce header and send the request again.", human "", retry true;
    INVALID_PROOF: "invalid_dpop_proof" 401 "The DPoP proof does not hold",
        "The proof is malformed, is about another request, token or time, is signed with another key than the token's, or was used before.",
        agent "Sign a new proof for exactly this request (RFC 9449 section 4.2) and send it again.", human "", retry false;
    BOUND_TOKEN: "bound_token_needed" 401 "A token that is bound to a key is needed",
        "What may spend takes a token that is bound to a key of yours here, so that a stolen token is of no use.",
        agent "Get a token with a DPoP proof (RFC 9449 section 5), and send a proof with every call.", human "", retry false;
    STEP_UP: "insufficient_user_authentication" 401 "A fresher or stronger log-in is needed",
        "What is asked for cannot be taken back, and the log-in behind the access token is too old or too weak for it. The challenge says what is needed.",
        agent "Ask your human to log in again at the orchestrator as the challenge says, then get a new token with the new identity token (POST /v1/accounts).",
        human "Log in again at your orchestrator.", retry false;
    INVALID_ATTESTATION: "invalid_attestation" 401 "The attestation is not believed",
        "The identity token is not one that a registered orchestrator signed for this provider, is too old, or was used before.",
        agent "Ask the orchestrator for a fresh identity token whose audience is this provider's client id there.", human "", retry false;
    CAP_REACHED: "cap_reached" 402 "The cap has no room for this",
        "Together with what is spent and held, this would pass a ceiling. Nothing was bought and nothing was charged.",
        agent "Stop. Do not retry before resets_at. Tell your human which ceiling binds and what is needed.",
        human "Remove what is no longer needed, wait for the next period, or raise the ceiling that binds.", retry false;
    SPENDING_STOPPED: "spending_stopped" 402 "New spending is stopped",
        "The owner of the account has stopped new spending. What exists goes on.",
        agent "Stop. Tell your human that new spending is stopped.", human "Log in to the dashboard and allow new spending again there.", retry false;
    TOKEN_NEEDED: "payment_token_required" 402 "A payment token is needed",
        "The plan costs money and the request names nobody who pays.",
        agent "Ask the orchestrator for a payment token and send it as payment_token.", human "", retry false;
    TOKEN_EXPIRED: "payment_token_expired" 402 "The payment token expired",
        "The resource is paid by a payment token that has expired: nothing more can be charged to it. What was charged stays.",
        agent "Stop using the resource. Tell your human that its payment token expired.", human "Buy the resource again with a new payment token.", retry false;
    PAYMENT_REFUSED: "payment_refused" 402 "The payment was refused",
        "The issuer of the payment token refused to pay. What was held is free again and nothing was made.",
        agent "Read the reason. Ask the orchestrator for another payment token, or tell your human.", human "Look at the payment method at your orchestrator.", retry false;
    INSUFFICIENT_SCOPE: "insufficient_scope" 403 "The access token does not allow this",
        "The access token lacks a scope that the operation needs; the challenge names all of them.",
        agent "Get a token with the scopes of the challenge.", human "", retry false;
    CONSENT_NEEDED: "consent_needed" 403 "The person must consent first",
        "The person may already have an account here. It is never linked by its e-mail address: its owner has to say so.",
        agent "Send your human to error_uri.", human "Log in to your existing account and allow the orchestrator to use it.", retry false;
    CLAIM_NEEDED: "claim_needed" 403 "The account has to be claimed first",
        "Nobody has claimed this account yet, and it has as much as an account may have until then, or was opened too long ago to buy anything more. Nothing was bought.",
        agent "Stop. Do not retry. Show your human claim_url: only they can claim the account, and after that you can go on if they let you.",
        human "Claim the account: open claim_url, prove that it is yours, and choose which agents go on.", retry false;
    OUTSIDE_PLAN: "outside_plan" 403 "The plan that the human allowed does not have this",
        "The human allowed an exact plan. This is not in it, all of its kind were made, or its price rose above what the human saw; `reason` says which. Nothing was bought.",
        agent "Stop. Make what the plan has, or ask your human for a new plan (POST /oauth/par with authorization_details of type plan).",
        human "Allow a plan that has it, if you want it.", retry false;
    ACCOUNT_UNUSABLE: "account_unusable" 403 "The account cannot be used",
        "The account is frozen or closed, or the orchestrator may not open accounts.",
        agent "Stop and tell your human.", human "Ask the provider's support.", retry false;
    AGENT_PAUSED: "agent_paused" 403 "The owner paused this agent",
        "The owner of the account paused the program that calls. Nothing was done, and what it holds works again when the owner lets it go on.",
        agent "Stop. Do not ask for new tokens. Tell your human that you are paused.", human "Let the agent go on, on the page Agents of your dashboard.", retry false;
    AGENT_ENDED: "agent_ended" 403 "The owner ended this agent",
        "The owner of the account ended all that the program may do there.",
        agent "Stop and tell your human.", human "Allow the agent again, on the page Agents of your dashboard.", retry false;
    NOT_ITS_OWN: "not_its_own" 403 "Another program bought it",
        "New credentials of a resource go to the program that bought it: what is used with them is counted there.",
        agent "Buy one of your own, or ask the program that bought it.", human "", retry false;
    OLD_CREDENTIALS: "credentials_replaced" 403 "The credentials were replaced",
        "Usage was reported for credentials that a rotation replaced, and that no longer work.",
        agent "Refuse the call that this usage is for.", human "", retry false;
    FORBIDDEN: "cross_site_request" 403 "The request came from another site",
        "A browser sent this form from another site.",
        agent "Use the API instead of the pages.", human "Open the page itself and try again there.", retry false;
    NOT_FOUND: "not_found" 404 "There is no such thing",
        "The path leads nowhere, or to something that is not yours.",
        agent "Look the id up again: list what the account has.", human "", retry false;
    METHOD: "method_not_allowed" 405 "The method is not allowed here",
        "The path exists, but not with this method.",
        agent "Read /openapi.json.", human "", retry false;
    TIMED_OUT: "request_timed_out" 408 "The request did not arrive in time",
        "The body stopped arriving. Nothing was done.",
        agent "Send the same request again.", human "", retry true;
    PRICE_CHANGED: "catalog_changed" 409 "The offer changed",
        "The catalog digest that came with the request is not the published one, and the offer differs. Nothing was bought.",
        agent "Read changes, fetch the catalog again, and decide anew; ask your human if the price went up.", human "", retry false;
    BUSY: "resource_busy" 409 "Work on the resource is not finished",
        "The resource is being made or changed, or the outcome of that is unknown.",
        agent "Look at the resource again in a few seconds.", human "", retry true;
    NEEDS_HUMAN: "resource_needs_attention" 409 "A human has to look at the resource",
        "What became of the resource or of its money could not be settled by the provider's programs. Its `state_reason` says more.",
        agent "Do not repeat the call: tell your human, who can ask the provider.", human "Ask the provider's support about this resource: its state says `needs_attention`.", retry false;
    ROTATION_REFUSED: "rotation_refused" 409 "The credentials were not replaced",
        "The provider's platform does not make new credentials for this resource. Those before still work.",
        agent "Read the reason. Go on with the credentials that you have, or tell your human.", human "Ask the provider's support about this resource.", retry false;
    NOT_READY: "resource_not_ready" 409 "The resource is not in use",
        "Usage was reported for a resource that is not ready: it was removed, or never came to be.",
        agent "Refuse the call that this usage is for.", human "", retry false;
    NOT_ALLOWED: "not_allowed" 403 "The human did not allow this",
        "What the human allowed this program, or what the ID-JAG of its token stated, names other plans, less at once, fewer resources, or an earlier end. Nothing was bought.",
        agent "Stop. Buy what was allowed. For more, ask your human in a new authorization request; limits of an ID-JAG are those of the orchestrator that issued it.", human "A program wanted to buy more than you allowed it. If you want that, allow it when it asks again.", retry false;
    NOT_ALONE: "plan_constraint" 409 "The catalog does not allow it beside what there is",
        "There are as many resources of this plan as there may be, one is in use that may not be at the same time, or one that has to be there first is missing. Nothing was bought.",
        agent "Read the detail. Change or remove what stands in the way, or buy first what is needed.", human "", retry false;
    EVENT_CONFLICT: "usage_event_conflict" 409 "The event was recorded with other content",
        "An event with this source and id was recorded before, about something else.",
        agent "Give every event an id of its own.", human "", retry false;
    TOKEN_TAKEN: "payment_token_taken" 409 "The payment token belongs to another account",
        "The token's jti was seen with another account, or named another token.",
        agent "Ask the orchestrator for a new payment token.", human "", retry false;
    TOO_LARGE: "body_too_large" 413 "The body is too large",
        "The body is longer than the limit that the detail names.",
        agent "Send less.", human "", retry false;
    MEDIA_TYPE: "unsupported_media_type" 415 "The body is of the wrong kind",
        "The content type is not the one that the operation reads.",
        agent "Send the content type that the detail names.", human "", retry false;
    KEY_REUSED: "idempotency_key_reused" 422 "The Idempotency-Key belongs to another request",
        "The key was used before with another body. Nothing was done.",
        agent "Use a new key for new work; use the same body for a retry.", human "", retry false;
    UNKNOWN_PLAN: "unknown_plan" 422 "The catalog has no such plan",
        "The service or plan is not in the published catalog.",
        agent "Fetch /catalog and choose from it.", human "", retry false;
    BAD_CONFIGURATION: "invalid_configuration" 422 "The configuration does not fit the plan",
        "The configuration has a member that the plan does not know, lacks one that it needs, or has one of the wrong form.",
        agent "Read the plan's configuration in the catalog and correct it.", human "", retry false;
    INFORMATION_NEEDED: "information_needed" 422 "More has to be known about the buyer",
        "The service is sold only to somebody of whom the provider knows what `needed` names, and this orchestrator has not passed it on. Nothing was bought.",
        agent "Ask your human, and send the request again under a new key with all of `needed` as members of `information`.", human "Say what the provider asks about you, or choose another service.", retry false;
    OTHER_CURRENCY: "currency_mismatch" 422 "The currencies differ",
        "The price, the payment token and the budget do not count in the same currency. Nothing is converted silently.",
        agent "Ask the orchestrator for a payment token in the currency of the price.", human "", retry false;
    RATE_LIMITED: "rate_limited" 429 "Too many requests",
        "This was asked for more often than the limit that RateLimit-Policy names allows. Nothing was done.",
        agent "Wait as long as Retry-After says, then send the same request again.", human "", retry true;
    PRECONDITION: "outcome_unknown" 500 "Nobody knows yet whether it happened",
        "The answer of the database was lost. Retrying with the same Idempotency-Key finds out, and never does it twice.",
        agent "Retry with the same Idempotency-Key.", human "", retry true;
    INTERNAL: "server_error" 500 "Something broke here",
        "The fault is ours, and it is in our log under the request id.",
        agent "Retry once with the same Idempotency-Key, then tell your human the request id.", human "Give the provider's support the request id.", retry true;
    UNAVAILABLE: "temporarily_unavailable" 503 "Too busy, or somebody else is not answering",
        "Too much is waiting here, or an orchestrator's keys cannot be fetched. Nothing was done.",
        agent "Wait as long as Retry-After says, then send the same request again.", human "", retry true;
}
