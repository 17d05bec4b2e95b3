//! Agents with an access token: RFC 6750 bearer use, in the header only, with the challenges of RFC 9728 §5.1.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, web};

use crate::app::App;
use crate::authorization::{self, Access, AccessError, Scope, Scopes};
use crate::clock::Timestamp;
use crate::http::problem::{Problem, table};
use crate::http::request_log::AccountOfRequest;

/// Which scopes an operation needs; all of them.
pub(crate) trait Needs: 'static {
    const SCOPES: &'static [Scope];
}

macro_rules! needs {
    ($($name:ident: $($scope:ident),+;)*) => {$(
        #[derive(Debug)]
        pub(crate) enum $name {}
        impl Needs for $name {
            const SCOPES: &'static [Scope] = &[$(Scope::$scope),+];
        }
    )*};
}

needs! {
    ResourcesRead: ResourcesRead;
    ResourcesWrite: ResourcesWrite;
    BudgetRead: BudgetRead;
    DashboardLink: DashboardLink;
}

/// An agent whose token, grant, account and orchestrator were checked, and whose scopes suffice.
#[derive(Debug)]
pub(crate) struct Caller<N: Needs> {
    pub(crate) access: Access,
    /// The one instant of this request.
    pub(crate) now: Timestamp,
    needs: PhantomData<fn() -> N>,
}

/// The challenge for an operation: one header, all scopes of the operation, no `error` when no token was sent.
pub(crate) fn challenge(app: &App, scopes: &[Scope], error: Option<&str>) -> String {
    let scope: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    let error = error.map(|error| format!(", error=\"{error}\"")).unwrap_or_default();
    let scope = if scope.is_empty() { String::new() } else { format!(", scope=\"{}\"", scope.join(" ")) };
    format!(
        "Bearer realm=\"{base}\", resource_metadata=\"{base}/.well-known/oauth-protected-resource/v1\"{scope}{error}",
        base = app.base_url
    )
}

/// The token in the header. `None`: no credentials that we know were sent.
fn presented(request: &HttpRequest) -> Result<Option<String>, Problem> {
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
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Ok(None);
    }
    let token = token.trim();
    if token.is_empty() || token.contains(' ') {
        return Err(malformed("`Authorization: Bearer` is followed by one token."));
    }
    Ok(Some(token.to_owned()))
}

async fn check(request: &HttpRequest, scopes: &'static [Scope]) -> Result<(Access, Timestamp), Problem> {
    let app = app(request)?;
    let now = app.clock.now();
    let start = format!("{}/v1/accounts", app.base_url);
    let token = presented(request).map_err(|problem| {
        let challenge = challenge(&app, scopes, Some("invalid_request"));
        problem.challenge(challenge)
    })?;
    let Some(token) = token else {
        let problem = Problem::new(&table::UNAUTHORIZED, "The call carries no access token.");
        let metadata = format!("{}/.well-known/oauth-protected-resource/v1", app.base_url);
        return Err(problem
            .challenge(challenge(&app, scopes, None))
            .next("resource_metadata", metadata)
            .next("open_account", start));
    };
    let refused = |cause: String| {
        Problem::new(&table::INVALID_TOKEN, "The access token no longer works.")
            .challenge(challenge(&app, scopes, Some("invalid_token")))
            .next("open_account", start.clone())
            .because(cause)
    };
    let token = authorization::verify_access_token(&token, &app.ring, &app.audience, &app.base_url, now)
        .map_err(|error| refused(error.to_string()))?;
    let access = app.db.read(move |conn| authorization::access(conn, &token)).await.map_err(|error| match error {
        AccessError::Db(error) => error.into(),
        other => refused(other.to_string()),
    })?;
    enough(&app, &access.scopes, scopes)?;
    request.extensions_mut().insert(AccountOfRequest(access.account.id.clone()));
    Ok((access, now))
}

fn enough(app: &App, has: &Scopes, needs: &'static [Scope]) -> Result<(), Problem> {
    if needs.iter().all(|scope| has.contains(*scope)) {
        return Ok(());
    }
    let problem = Problem::new(&table::INSUFFICIENT_SCOPE, format!("The token allows: {has}."));
    Err(problem.challenge(challenge(app, needs, Some("insufficient_scope"))))
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
            let (access, now) = check(&request, N::SCOPES).await?;
            Ok(Self { access, now, needs: PhantomData })
        })
    }
}
