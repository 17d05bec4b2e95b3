//! Agents with an access token, in the header only: as a bearer token (RFC 6750), or bound to a key that the caller proves
//! to hold (DPoP, RFC 9449).

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, web};

use super::challenge::{Challenge, Scheme};
use super::proof;
use crate::account::Barred;
use crate::app::App;
use crate::authorization::{self, AccessError, Scope, Scopes, VerifiedProof, VerifiedToken};
use crate::clock::Timestamp;
use crate::http::problem::{Problem, table};
use crate::http::request_log::AccountOfRequest;
use crate::takeover;

/// What an operation needs: all of these scopes and, before what cannot be taken back, a log-in as the operator wants it.
pub(crate) trait Needs: 'static {
    const SCOPES: &'static [Scope];
    const STEP_UP: bool;
}

macro_rules! needs {
    ($($name:ident: $($scope:ident),+; step up $step_up:literal;)*) => {$(
        #[derive(Debug)]
        pub(crate) enum $name {}
        impl Needs for $name {
            const SCOPES: &'static [Scope] = &[$(Scope::$scope),+];
            const STEP_UP: bool = $step_up;
        }
    )*};
}

needs! {
    ResourcesRead: ResourcesRead; step up false;
    ResourcesWrite: ResourcesWrite; step up false;
    ResourcesRemove: ResourcesDelete; step up true;
    BudgetRead: BudgetRead; step up false;
    DashboardLink: DashboardLink; step up false;
}

/// An agent whose token was checked, also that neither it nor account nor orchestrator ended, and whose scopes suffice.
#[derive(Debug)]
pub(crate) struct Caller<N: Needs> {
    /// Who, and what they may do.
    pub(crate) token: VerifiedToken,
    /// The one instant of this request.
    pub(crate) now: Timestamp,
    needs: PhantomData<fn() -> N>,
}

impl<N: Needs> Caller<N> {
    /// The name of an operation for idempotency keys: two orchestrators, or programs, of one account may choose
    /// the same key.
    pub(crate) fn operation(&self, name: &str) -> String {
        format!("{name}/{}", self.token.client)
    }
}

/// What stands in the header. `None`: no credentials that we know were sent.
fn presented(request: &HttpRequest) -> Result<Option<(Scheme, String)>, Problem> {
    let malformed = |why: &str| Problem::new(&table::BAD_REQUEST, why.to_owned());
    let mut headers = request.headers().get_all(AUTHORIZATION);
    let (first, second) = (headers.next(), headers.next());
    let in_query = request.query_string().split('&').any(|pair| pair.split('=').next() == Some("access_token"));
    if second.is_some() || (first.is_some() && in_query) {
        return Err(malformed("Send one access token, once, in the `Authorization` header."));
    }
    if in_query {
        return Err(malformed("An access token never stands in a URL: send it in the `Authorization` header."));
    }
    let Some(value) = first else { return Ok(None) };
    let value = value.to_str().map_err(|_not_ascii| malformed("`Authorization` is not visible ASCII."))?;
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    let Some(scheme) = Scheme::of(scheme) else { return Ok(None) };
    let token = token.trim();
    if token.is_empty() || token.contains(' ') {
        return Err(malformed("`Authorization` is a scheme followed by one token."));
    }
    Ok(Some((scheme, token.to_owned())))
}

async fn check<N: Needs>(request: &HttpRequest) -> Result<(VerifiedToken, Timestamp), Problem> {
    let app = app(request)?;
    let now = app.clock.now();
    let challenge = Challenge::new(&app, N::SCOPES);
    let start = format!("{}/v1/accounts", app.base_url);
    let credentials =
        presented(request).map_err(|problem| challenge.error(problem, Scheme::Bearer, "invalid_request"))?;
    let Some((scheme, token)) = credentials else {
        let problem = Problem::new(&table::UNAUTHORIZED, "The call carries no access token.");
        return Err(challenge
            .invite(problem)
            .next("resource_metadata", challenge.metadata())
            .next("open_account", start));
    };
    let refused = |cause: String| {
        let problem = Problem::new(&table::INVALID_TOKEN, "The access token no longer works.");
        challenge.error(problem, scheme, "invalid_token").next("open_account", start.clone()).because(cause)
    };
    let believed = authorization::verify_access_token(&token, &app.ring, &app.audience, &app.base_url, now)
        .map_err(|error| refused(error.to_string()))?;
    let proof = match (scheme, &believed.bound_to) {
        (Scheme::Bearer, None) => None,
        (Scheme::Bearer, Some(_)) => return Err(refused("a bound token was sent as a bearer token".to_owned())),
        (Scheme::Dpop, None) => return Err(refused("the token is not bound to a key".to_owned())),
        (Scheme::Dpop, Some(key)) => Some(holder(&app, request, &token, key, &challenge, now)?),
    };
    app.revocations.check(&app.db, &believed).await.map_err(|error| match error {
        AccessError::Db(error) => error.into(),
        // No challenge: a new token would not help, and asking the human for one would be a nuisance.
        AccessError::Barred(Barred::Paused) => Barred::Paused.into(),
        other => refused(other.to_string()),
    })?;
    enough(&believed.scopes, N::SCOPES, &challenge, scheme)?;
    if app.oauth.bound_tokens_to_write && scheme == Scheme::Bearer && changes::<N>() {
        let problem = Problem::new(&table::BOUND_TOKEN, "The access token is not bound to a key.");
        return Err(challenge.error(problem, Scheme::Dpop, "invalid_token"));
    }
    if N::STEP_UP && !app.step_up.is_met(&believed.log_in, now) {
        let problem = Problem::new(&table::STEP_UP, "The log-in behind the access token does not suffice for this.");
        return Err(challenge.step_up(problem, scheme, &app.step_up));
    }
    if changes::<N>() && !cautious::<N>(&app, &believed).await? {
        let problem =
            Problem::new(&table::STEP_UP, "The orchestrator told of a risk: the person must log in again first.");
        return Err(challenge.step_up(problem, scheme, &app.step_up));
    }
    if let Some(proof) = proof {
        let used = proof::use_up(&app, believed.account_id.as_str(), proof, now).await;
        used.map_err(|problem| challenged(&challenge, problem))?;
    }
    request.extensions_mut().insert(AccountOfRequest(believed.account_id.clone()));
    Ok((believed, now))
}

/// Whether the operation makes, changes or removes resources.
fn changes<N: Needs>() -> bool {
    N::SCOPES.iter().any(|scope| matches!(scope, Scope::ResourcesWrite | Scope::ResourcesDelete))
}

/// Whether the log-in is enough after what the orchestrator told of its person.
async fn cautious<N: Needs>(app: &App, token: &VerifiedToken) -> Result<bool, Problem> {
    let (account, orchestrator) = (token.account_id.clone(), token.orchestrator_id.clone());
    let asked = app.db.read(move |conn| takeover::precautions(conn, &account, &orchestrator)).await?;
    Ok(asked.allow(&token.log_in, N::STEP_UP))
}

/// That the caller holds the key of a bound token (RFC 9449 §7).
fn holder(
    app: &App,
    request: &HttpRequest,
    token: &str,
    key: &str,
    challenge: &Challenge<'_>,
    now: Timestamp,
) -> Result<VerifiedProof, Problem> {
    let invalid = |why: &str| Problem::new(&table::INVALID_PROOF, why);
    let proven = match proof::proof_of(app, request, Some(token), now) {
        Ok(Some(proof)) if proof.thumbprint == key => return Ok(proof),
        Ok(Some(_)) => invalid("The proof is signed with another key than the token's."),
        Ok(None) => invalid("The call carries no `DPoP` header."),
        Err(problem) => problem,
    };
    Err(challenged(challenge, proven))
}

/// A proof that does not hold is answered with the challenge.
fn challenged(challenge: &Challenge<'_>, problem: Problem) -> Problem {
    let code = problem.doc.code;
    if problem.doc.status == 401 { challenge.error(problem, Scheme::Dpop, code) } else { problem }
}

fn enough(has: &Scopes, needs: &[Scope], challenge: &Challenge<'_>, scheme: Scheme) -> Result<(), Problem> {
    if needs.iter().all(|scope| has.contains(*scope)) {
        return Ok(());
    }
    let problem = Problem::new(&table::INSUFFICIENT_SCOPE, format!("The token allows: {has}."));
    Err(challenge.error(problem, scheme, "insufficient_scope"))
}

/// The app of a request.
pub(super) fn app(request: &HttpRequest) -> Result<web::Data<App>, Problem> {
    let app = request.app_data::<web::Data<App>>().cloned();
    app.ok_or_else(|| Problem::new(&table::INTERNAL, "Something broke here.").because("no app"))
}

impl<N: Needs> FromRequest for Caller<N> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let (token, now) = check::<N>(&request).await?;
            Ok(Self { token, now, needs: PhantomData })
        })
    }
}
