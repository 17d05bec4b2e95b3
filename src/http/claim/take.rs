//! The button.

use actix_web::http::{StatusCode, header};
use actix_web::web::Data;
use actix_web::{HttpResponse, ResponseError as _};
use serde::Deserialize;
use webauthn_rs::prelude::RegisterPublicKeyCredential;

use super::show::{screen, start};
use super::{ClaimQuery, claimed_already, page, standing};
use crate::account;
use crate::app::App;
use crate::authorization::Params;
use crate::claim::{self, By, Claim, ClaimError, FirstPasskey, Standing};
use crate::db::DbError;
use crate::http::caller::{BrowserMark, Form, FreshlyLoggedIn, NotHuman, SameSite, session_cookie};
use crate::http::dashboard::onward::Onward;
use crate::http::dashboard::pages::respond;
use crate::http::log_in::passkeys::{asked, begun, passkey_problem, relying_party};
use crate::http::log_in::step_problem;
use crate::http::problem::{Problem, table};
use crate::login::{self, Adding, PasskeyError, StepKind};
use crate::secret::{Secret, SecretHash};

/// What the screen sends. The ticks are read from the bytes, because they have one name.
#[derive(Debug, Deserialize)]
pub(super) struct ClaimForm {
    to: Option<String>,
    name: Option<String>,
    step: Option<String>,
    credential: Option<String>,
}

impl ClaimForm {
    fn onward(&self) -> Onward {
        ClaimQuery { to: self.to.clone() }.onward()
    }
}

/// Begins to make the passkey with which the account is claimed.
pub(super) async fn begin_passkey(
    app: Data<App>,
    _from: SameSite,
    browser: BrowserMark,
    human: FreshlyLoggedIn,
) -> Result<HttpResponse, Problem> {
    let party = relying_party(&app)?;
    let (session, now) = (human.session, human.now);
    let unclaimed = !session.account.is_claimed();
    if !(unclaimed && matches!(standing(&app, &session, now).await?, Standing::NeedsPasskey)) {
        return Err(Problem::new(&table::BAD_REQUEST, "A passkey is not what is missing: load the page again."));
    }
    let (options, adding) = party.begin_claiming(&session.account, &[]).map_err(passkey_problem)?;
    asked(&app, &browser, StepKind::ClaimPasskey, options, &adding).await
}

/// What the browser made, if it holds. The inner refusal is for the human.
async fn made(
    app: &App,
    browser: &BrowserMark,
    account: &account::Account,
    form: &ClaimForm,
) -> Result<Result<FirstPasskey, String>, Problem> {
    let (Some(step), Some(text)) = (&form.step, form.credential.as_ref().filter(|text| !text.is_empty())) else {
        return Ok(Err("The last step needs a passkey, and a browser that makes one, with script.".to_owned()));
    };
    let again = "The passkey did not hold. Try it once more.".to_owned();
    let Ok(credential) = serde_json::from_str::<RegisterPublicKeyCredential>(text) else { return Ok(Err(again)) };
    let step = SecretHash::of(step);
    let Ok(adding) = begun::<Adding>(app, browser, (&step, StepKind::ClaimPasskey)).await else {
        return Ok(Err("That took too long. Try it once more.".to_owned()));
    };
    match relying_party(app)?.finish_adding(&account.id, &adding, &credential) {
        Ok(passkey) => {
            let name = form.name.clone().unwrap_or_default();
            Ok(Ok(FirstPasskey { name, passkey, step }))
        }
        Err(PasskeyError::Db(error)) => Err(error.into()),
        Err(error) => {
            tracing::warn!(error = %error, "a passkey did not hold");
            Ok(Err(again))
        }
    }
}

/// Claims the account, with what is ticked.
pub(super) async fn take(
    app: Data<App>,
    _from: SameSite,
    browser: BrowserMark,
    human: Result<FreshlyLoggedIn, NotHuman>,
    form: Form<ClaimForm>,
) -> Result<HttpResponse, Problem> {
    let onward = form.0.onward();
    let human = match human {
        Ok(human) => human,
        Err(refused) => return Ok(refused.back_to(page(&onward)).error_response()),
    };
    let (account, now) = (&human.session.account, human.now);
    if account.is_claimed() {
        return Ok(claimed_already(&app, account, StatusCode::CONFLICT));
    }
    let stands = standing(&app, &human.session, now).await?;
    let by = match &stands {
        Standing::Missing(missing) => {
            let page = start(&app, Some(account), *missing, &onward).await?;
            return Ok(respond(&page, StatusCode::FORBIDDEN));
        }
        Standing::Proven(by) => by.clone(),
        Standing::NeedsPasskey => match made(&app, &browser, account, &form.0).await? {
            Ok(first) => By::MailAndPasskey(Box::new(first)),
            Err(problem) => return again(&app, &human, &stands, &onward, problem).await,
        },
    };
    let session = Secret::generate("ses")?;
    let claim = ticked(&app, &human, &form, (by, session.hash())).await?;
    let lane = account.id.to_string();
    match app.db.write(&lane, move |conn| claim::claim(conn, &claim, now)).await {
        Ok(()) => {
            // Here at once, elsewhere within a second.
            app.revocations.forget();
            Ok(HttpResponse::SeeOther()
                .cookie(session_cookie(&app, Some(&session)))
                .insert_header((header::LOCATION, onward.to_string()))
                .insert_header((header::CACHE_CONTROL, "no-store"))
                .finish())
        }
        Err(error) => refused(&app, &human, (&stands, &onward), error).await,
    }
}

/// The claim with what is ticked of what there is: never more.
async fn ticked(
    app: &App,
    human: &FreshlyLoggedIn,
    form: &Form<ClaimForm>,
    (by, session): (By, SecretHash),
) -> Result<Claim, Problem> {
    let params = Params::parse(&form.1).unwrap_or_default();
    let id = human.session.account.id.clone();
    let (reached, clients) = app
        .db
        .read(move |conn| {
            let clients = crate::authorization::own_clients(conn, &id)?;
            Ok::<_, DbError>((account::reached_through(conn, &id)?, clients))
        })
        .await?;
    let is_ticked = |name: &str, value: &str| params.all(name).any(|ticked| ticked == value);
    let keep = reached.into_iter().map(|reach| reach.orchestrator_id).filter(|id| is_ticked("keep", id.as_str()));
    Ok(Claim {
        account: human.session.account.clone(),
        by,
        keep: keep.collect(),
        keep_clients: clients.into_iter().filter(|client| is_ticked("client", client)).collect(),
        session,
    })
}

async fn again(
    app: &App,
    human: &FreshlyLoggedIn,
    stands: &Standing,
    onward: &Onward,
    problem: String,
) -> Result<HttpResponse, Problem> {
    let mut page = screen(app, &human.session.account, stands, onward, human.now).await?;
    page.problem = Some(problem);
    Ok(respond(&page, StatusCode::UNPROCESSABLE_ENTITY))
}

async fn refused(
    app: &App,
    human: &FreshlyLoggedIn,
    (stands, onward): (&Standing, &Onward),
    error: ClaimError,
) -> Result<HttpResponse, Problem> {
    match error {
        ClaimError::Account(account::ClaimError::State(_)) => {
            Ok(claimed_already(app, &human.session.account, StatusCode::CONFLICT))
        }
        ClaimError::Account(account::ClaimError::Db(error))
        | ClaimError::Connect(login::ConnectError::Db(error))
        | ClaimError::Passkey(PasskeyError::Db(error))
        | ClaimError::Db(error) => Err(error.into()),
        ClaimError::Passkey(PasskeyError::Step(login::StepError::Gone)) => {
            again(app, human, stands, onward, "That took too long. Try it once more.".to_owned()).await
        }
        ClaimError::Passkey(PasskeyError::Step(error)) => Err(step_problem(error)),
        ClaimError::Rests(until) => {
            let wait = format!(
                "An orchestrator told us that somebody may be at this account. Until {until} it changes no owner. Try again then."
            );
            again(app, human, stands, onward, wait).await
        }
        ClaimError::Passkey(told) => again(app, human, stands, onward, format!("{told}.")).await,
        other => Err(Problem::new(&table::INTERNAL, "The claim.").because(other)),
    }
}
