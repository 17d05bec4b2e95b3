//! A request for an account, answered: with a code or tokens for an account that is new or linked already, or with the
//! question to the owner of the one that exists. One way in, behind every shape of the wire.
//!
//! Look; decide; prepare what is slow; then one transaction. Whoever loses a race in it looks again and finds what the
//! winner left: the same request gets the same answer, however many copies arrive at once.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::agent::{self, EnterError};
use super::code::{CODE_LIFETIME, NewCode};
use super::consent::{self, AccountRequest, RequestState};
use super::pkce::CodeChallenge;
use super::scope::Scopes;
use super::wire_grant::{self, Holder, IssueError, Issued, WireSigner};
use super::wire_store;
use crate::account::{
    self, Account, AssertionUse, Barred, CountError, Decision, Facts, OpenError, Opening, PastUse, PersonalFact,
    SealedFact,
};
use crate::attestation::Attestation;
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{Db, DbConnection, DbError};
use crate::ids::{AccountId, AccountRequestId};
use crate::orchestrator::{AccountAnswer, Orchestrator, WireSettings};
use crate::outbox;
use crate::secret::NoRandomness;
use crate::signing::{SealError, Sealer};

/// How often a lost race is looked at again.
const ATTEMPTS: usize = 6;

/// For how long what the owner left unticked is not asked for again.
const ANSWERED_FOR: TimeDelta = TimeDelta::hours(24);
/// For how long the same request gets the same answer.
const SAME_ANSWER: TimeDelta = CODE_LIFETIME;
/// How long a request waits for its human, unless it says less itself.
pub const CONSENT_LIFETIME: TimeDelta = TimeDelta::seconds(600);

/// What answering reaches.
#[derive(Debug, Clone, Copy)]
pub struct AccountRequestParts<'a> {
    /// The database.
    pub db: &'a Db,
    /// Signs tokens.
    pub signer: WireSigner<'a>,
    /// Seals answers and what is given back verbatim.
    pub sealer: &'a Sealer,
    /// Seals what is known about persons.
    pub person_sealer: &'a Sealer,
    /// How many accounts one orchestrator may open in an hour; 0 is any number.
    pub accounts_per_hour: u32,
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct AccountAsked {
    /// For whom.
    pub attestation: Attestation,
    /// By whom.
    pub orchestrator: Orchestrator,
    /// How it speaks.
    pub settings: WireSettings,
    /// Whether somebody known signed it. What nobody signed never leads to an account that is there already.
    pub signed: bool,
    /// Who gets the tokens.
    pub client: String,
    /// What they shall allow. `None`: whatever the owner allowed, and everything where nobody was asked.
    pub scopes: Option<Scopes>,
    /// With which proof the code is redeemed.
    pub code_challenge: Option<CodeChallenge>,
    /// Given back when the human has answered.
    pub confirmation_secret: Option<String>,
    /// Until when it may be answered.
    pub expires_at: Option<Timestamp>,
    /// What is passed on about the person.
    pub information: Vec<PersonalFact>,
}

/// What is answered. The texts are secrets.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum AccountAnswered {
    /// A code for the token endpoint.
    Code {
        /// The code.
        code: String,
    },
    /// Tokens at once.
    Credentials {
        /// `at+jwt`.
        access_token: String,
        /// `rt_…`.
        refresh_token: String,
        /// Seconds.
        expires_in: i64,
        /// The account's id.
        account_id: AccountId,
    },
    /// The owner of an existing account is asked, on this page.
    NeedsConsent {
        /// Names the page.
        id: AccountRequestId,
    },
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AccountRequestError {
    /// The request's name belongs to another request, or to an account that somebody else opened.
    #[error("another request was made under the same id")]
    IdReused,
    /// It was answered too long ago, or its human did not answer in time.
    #[error("the request has expired; make a new one")]
    Expired,
    /// The owner said no.
    #[error("the owner of the account refused")]
    Denied,
    /// The account is frozen or closed.
    #[error("the account is {0}")]
    AccountUnusable(&'static str),
    /// The owner barred the agent.
    #[error(transparent)]
    Barred(#[from] Barred),
    /// The orchestrator may not open accounts.
    #[error("the orchestrator may not open accounts")]
    MayNotOpen,
    /// The orchestrator is suspended, or its key or the person is distrusted.
    #[error("the statement is not believed any more")]
    Distrusted,
    /// Too many requests about the same person at once: nothing was done.
    #[error("too many requests about the same person at once")]
    Contended,
    /// No more accounts may be opened now.
    #[error(transparent)]
    Count(#[from] CountError),
    /// The answer could not be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The tokens could not be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// A kept answer cannot be written or read.
    #[error("a kept answer cannot be read")]
    Answer(#[from] serde_json::Error),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<NoRandomness> for AccountRequestError {
    fn from(error: NoRandomness) -> Self {
        Self::Issue(error.into())
    }
}

/// What is given for an account, not yet written down.
#[derive(Debug)]
enum Given {
    Code(Box<NewCode>),
    Tokens(Box<Issued>),
}

/// What the database knows of a request.
struct Known {
    past: Option<PastUse>,
    waiting: Option<AccountRequest>,
    facts: Facts,
    allowed: Option<Scopes>,
    /// What the owner was asked for lately, and allowed all or a part of.
    answered: Vec<Scopes>,
}

impl Known {
    fn answered(&self, wanted: &Scopes) -> bool {
        self.answered.iter().any(|asked| asked.contains_all(wanted))
    }
}

/// What comes next.
enum Next {
    /// Tokens for the account that this leads to, which allow this.
    Give(Decision, Scopes),
    /// The owner is asked.
    Ask(AccountId),
}

impl AccountAsked {
    /// The scopes where nobody said otherwise.
    fn wanted(&self) -> Scopes {
        self.scopes.clone().unwrap_or_else(Scopes::all)
    }
}

/// Decides. An owner who allowed something is asked before more is given.
fn next(asked: &AccountAsked, known: &Known) -> Result<Next, AccountRequestError> {
    match account::decide(&asked.attestation, &asked.orchestrator, &known.facts) {
        Decision::Unusable(_, state) => Err(AccountRequestError::AccountUnusable(state.as_str())),
        Decision::MayNotOpen => Err(AccountRequestError::MayNotOpen),
        // Whoever guesses another's request must not come to the account behind it.
        Decision::Use(_) | Decision::Link(_) if !asked.signed => Err(AccountRequestError::IdReused),
        Decision::NeedsConsent { owner, .. } => Ok(Next::Ask(owner)),
        Decision::Use(owner) => Ok(match (&known.allowed, &asked.scopes) {
            // The owner saw this question, and left a part of it ticked.
            (Some(allowed), Some(wanted)) if known.answered(wanted) && !allowed.intersection(wanted).is_empty() => {
                Next::Give(Decision::Use(owner), allowed.intersection(wanted))
            }
            (Some(allowed), _) if allowed.is_empty() => Next::Ask(owner),
            (Some(allowed), None) => Next::Give(Decision::Use(owner), allowed.clone()),
            (Some(allowed), Some(wanted)) if !allowed.contains_all(wanted) => Next::Ask(owner),
            _ => Next::Give(Decision::Use(owner), asked.wanted()),
        }),
        decision => Ok(Next::Give(decision, asked.wanted())),
    }
}

/// Answers a request for an account, opening or linking it if need be.
///
/// # Errors
/// See [`AccountRequestError`].
pub async fn request_account(
    parts: AccountRequestParts<'_>,
    asked: &AccountAsked,
    now: Timestamp,
) -> Result<AccountAnswered, AccountRequestError> {
    let mut counted = false;
    for _ in 0..ATTEMPTS {
        let known = look(parts.db, &asked.attestation, &asked.client, now).await?;
        if let Some(past) = &known.past {
            return answer_again(parts, past, asked, now);
        }
        let settled = match next(asked, &known)? {
            Next::Ask(owner) => ask_owner(parts, asked, known.waiting, owner, now).await?,
            Next::Give(decision, scopes) => {
                if matches!(decision, Decision::Open { .. }) && !std::mem::replace(&mut counted, true) {
                    account::count_opening(parts.db, &asked.attestation, parts.accounts_per_hour, now).await?;
                }
                let claimed = known.facts.linked.as_ref().is_some_and(Account::is_claimed);
                give(parts, asked, (decision, scopes, claimed), now).await?
            }
        };
        if let Some(answer) = settled {
            return Ok(answer);
        }
    }
    Err(AccountRequestError::Contended)
}

async fn look(db: &Db, attestation: &Attestation, client: &str, now: Timestamp) -> Result<Known, DbError> {
    let since = now.minus(ANSWERED_FOR);
    let (attestation, client) = (attestation.clone(), client.to_owned());
    db.read(move |conn| {
        // The use is read last: a link that a copy of this request made a moment ago comes with its use.
        let facts = account::facts(conn, &attestation)?;
        let waiting = wire_store::request_by_key(conn, &attestation.orchestrator_id, &attestation.assertion_key)?;
        let person = (&attestation.orchestrator_id, attestation.tenant.as_str(), attestation.subject.as_str());
        let mut allowed = consent::allowed_in(person.0, &facts)?;
        let mut answered = Vec::new();
        if let Some(linked) = &facts.linked {
            let most = allowed.clone().unwrap_or_else(Scopes::all);
            let left = agent::narrowed(conn, (&linked.id, person.0, &client), most.clone())?;
            if left != most {
                allowed = Some(left);
            }
            answered = wire_store::answered_since(conn, &linked.id, person, &client, since)?;
        }
        Ok(Known { past: account::past_use(conn, &attestation)?, waiting, facts, allowed, answered })
    })
    .await
}

/// Where an answer is kept: it opens nowhere else.
fn place(attestation: &Attestation) -> String {
    format!("assertion_uses/{}/{}/answer", attestation.orchestrator_id, attestation.assertion_key)
}

fn answer_again(
    parts: AccountRequestParts<'_>,
    past: &PastUse,
    asked: &AccountAsked,
    now: Timestamp,
) -> Result<AccountAnswered, AccountRequestError> {
    if !past.is_same(&asked.attestation, &asked.attestation.assertion_hash) {
        return Err(AccountRequestError::IdReused);
    }
    if now.since(past.used_at()).abs() > SAME_ANSWER {
        return Err(AccountRequestError::Expired);
    }
    let opened = parts.sealer.open(&place(&asked.attestation), &past.sealed_answer)?;
    Ok(serde_json::from_slice(&opened)?)
}

/// The lane of everything about one person.
fn lane(attestation: &Attestation) -> String {
    format!("{}/{}/{}", attestation.orchestrator_id, attestation.tenant, attestation.subject)
}

/// Writes the question to the owner down, once. `None`: lost a race, look again.
async fn ask_owner(
    parts: AccountRequestParts<'_>,
    asked: &AccountAsked,
    waiting: Option<AccountRequest>,
    owner: AccountId,
    now: Timestamp,
) -> Result<Option<AccountAnswered>, AccountRequestError> {
    let attestation = &asked.attestation;
    if let Some(waiting) = waiting {
        if waiting.request_hash != attestation.assertion_hash {
            return Err(AccountRequestError::IdReused);
        }
        return match waiting.state {
            RequestState::Denied => Err(AccountRequestError::Denied),
            _ if waiting.expires_at <= now => Err(AccountRequestError::Expired),
            _ => Ok(Some(AccountAnswered::NeedsConsent { id: waiting.id })),
        };
    }
    let id = AccountRequestId::new(now);
    let secret = asked.confirmation_secret.clone().unwrap_or_default();
    let latest = now.plus(CONSENT_LIFETIME);
    let information = sealed(parts, asked, &owner)?;
    let request = AccountRequest {
        sealed_confirmation_secret: parts.sealer.seal(&consent::place(&id), secret.as_bytes())?,
        id: id.clone(),
        orchestrator_id: attestation.orchestrator_id.clone(),
        request_key: attestation.assertion_key.clone(),
        request_hash: attestation.assertion_hash.clone(),
        tenant: attestation.tenant.clone(),
        subject: attestation.subject.clone(),
        email: attestation.email.as_ref().map(|email| email.canonical.as_str().to_owned()),
        account_id: owner,
        client: asked.client.clone(),
        scopes: asked.wanted(),
        code_challenge: asked.code_challenge.clone(),
        state: RequestState::Pending,
        created_at: now,
        expires_at: asked.expires_at.map_or(latest, |end| end.min(latest)),
        information,
    };
    let name = asked.orchestrator.name.to_string();
    let said = attestation.clone();
    let lane = lane(attestation);
    let written = parts.db.write(&lane, move |conn| {
        insert_question(conn, &request, &name, now)?;
        account::note_delegation(conn, &said.statement(), &request.account_id, now)
    });
    match written.await {
        Ok(()) => Ok(Some(AccountAnswered::NeedsConsent { id })),
        Err(OpenError::Db(error)) if !error.is_unique_violation() => Err(error.into()),
        Err(OpenError::Distrusted) => Err(AccountRequestError::Distrusted),
        Err(_) => Ok(None),
    }
}

fn insert_question(
    conn: &mut DbConnection,
    request: &AccountRequest,
    orchestrator: &str,
    now: Timestamp,
) -> Result<(), DbError> {
    wire_store::insert_request(conn, request)?;
    let fact = Fact {
        actor: format!("orchestrator:{}", request.orchestrator_id),
        action: "link.asked",
        account_id: Some(&request.account_id),
        subject: request.id.to_string(),
        detail: json!({"orchestrator_id": request.orchestrator_id, "orchestrator": orchestrator}),
    };
    audit::append(conn, &fact, now)?;
    let notice = json!({"orchestrator_id": request.orchestrator_id, "orchestrator": orchestrator});
    Ok(outbox::append(conn, "account.link_wanted", Some(&request.account_id), &notice, now)?)
}

/// Opens, links or uses the account, and gives what the orchestrator gets. `None`: lost a race, look again.
async fn give(
    parts: AccountRequestParts<'_>,
    asked: &AccountAsked,
    (decision, scopes, claimed): (Decision, Scopes, bool),
    now: Timestamp,
) -> Result<Option<AccountAnswered>, AccountRequestError> {
    let (account_id, opened) = match &decision {
        Decision::Use(id) | Decision::Link(id) => (id.clone(), false),
        _ => (AccountId::new(now), true),
    };
    let (answer, given) = prepare(parts, asked, (&account_id, scopes), now)?;
    let sealed_answer = parts.sealer.seal(&place(&asked.attestation), &serde_json::to_vec(&answer)?)?;
    let information = sealed(parts, asked, &account_id)?;
    let opening = Opening {
        attestation: asked.attestation.clone(),
        orchestrator: asked.orchestrator.clone(),
        decision,
        claimed,
        account_id,
        assertion: AssertionUse { request_hash: asked.attestation.assertion_hash.clone(), sealed_answer },
    };
    let lane = match &opening.decision {
        Decision::Use(account) => account.to_string(),
        _ => lane(&asked.attestation),
    };
    let settled = parts.db.write(&lane, move |conn| {
        account::open(conn, &opening, now)?;
        let whose = (&opening.account_id, &opening.orchestrator.id);
        account::remember(conn, whose, &information, now)?;
        match &given {
            Given::Code(code) => {
                code.admit(conn, now)?;
                code.insert(conn).map_err(DbError::from)?;
            }
            Given::Tokens(issued) => {
                issued.admit(conn, now)?;
                issued.insert(conn).map_err(DbError::from)?;
            }
        }
        if opened {
            let (id, orchestrator) = (&opening.account_id, &opening.orchestrator);
            let welcome = json!({"orchestrator_id": orchestrator.id, "orchestrator": orchestrator.name.as_str()});
            outbox::append(conn, "account.opened", Some(id), &welcome, now).map_err(DbError::from)?;
        }
        Ok::<_, GiveError>(())
    });
    match settled.await {
        Ok(()) => Ok(Some(answer)),
        Err(GiveError::Open(OpenError::AlreadyUsed | OpenError::Changed) | GiveError::Enter(EnterError::Narrowed)) => {
            Ok(None)
        }
        Err(GiveError::Open(OpenError::Distrusted)) => Err(AccountRequestError::Distrusted),
        Err(GiveError::Enter(EnterError::Barred(barred))) => Err(barred.into()),
        // Another request about the same person passed something on at the same moment.
        Err(GiveError::Open(OpenError::Db(error)) | GiveError::Enter(EnterError::Db(error)) | GiveError::Db(error)) => {
            if error.is_unique_violation() {
                Ok(None)
            } else {
                Err(error.into())
            }
        }
    }
}

/// What the one transaction of giving can end with.
#[derive(Debug, thiserror::Error)]
enum GiveError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Enter(#[from] EnterError),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// What is passed on about the person, sealed for the account that it will belong to.
fn sealed(
    parts: AccountRequestParts<'_>,
    asked: &AccountAsked,
    account: &AccountId,
) -> Result<Vec<SealedFact>, SealError> {
    let seal = |fact: &PersonalFact| fact.seal(parts.person_sealer, account, &asked.orchestrator.id);
    asked.information.iter().map(seal).collect()
}

/// Everything slow, before the transaction.
fn prepare(
    parts: AccountRequestParts<'_>,
    asked: &AccountAsked,
    (account_id, scopes): (&AccountId, Scopes),
    now: Timestamp,
) -> Result<(AccountAnswered, Given), AccountRequestError> {
    let holder = Holder {
        account_id: account_id.clone(),
        orchestrator_id: asked.orchestrator.id.clone(),
        client: asked.client.clone(),
        scopes,
    };
    // Tokens at once would pass by the proof that the client said it will give.
    if asked.settings.account_answer == AccountAnswer::Code || asked.code_challenge.is_some() || !asked.signed {
        let (code, row) = NewCode::generate(&holder, asked.code_challenge.as_ref(), now)?;
        return Ok((AccountAnswered::Code { code: code.expose().to_owned() }, Given::Code(Box::new(row))));
    }
    let lifetime = asked.settings.profile.access_token_lifetime;
    let issued = wire_grant::issue(parts.signer, &holder, None, lifetime, now)?;
    let (access_token, refresh_token) = issued.tokens.expose();
    let answer = AccountAnswered::Credentials {
        access_token: access_token.to_owned(),
        refresh_token: refresh_token.to_owned(),
        expires_in: issued.tokens.expires_in,
        account_id: account_id.clone(),
    };
    Ok((answer, Given::Tokens(Box::new(issued))))
}
