//! `/login/link/{token}`: the link of a mail, and the choice of an account after the upstream issuer. Looking takes
//! nothing, because mail scanners and previews look; the button does.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use serde::Deserialize;

use super::{log_in_problem, logged_in, step_problem, unreferred};
use crate::account::Account;
use crate::app::{App, HOUSE};
use crate::clock::Timestamp;
use crate::http::caller::{BrowserMark, Form, Present, SameSite};
use crate::http::dashboard::pages::{AccountChoice, Frame, LogInLinkPage, MessagePage, respond};
use crate::http::problem::Problem;
use crate::login::{self, LogInError, Proof, Proven, Step, StepError, StepKind, Taking};
use crate::orchestrator;
use crate::secret::{Secret, SecretHash};

#[derive(Debug, Deserialize)]
pub(super) struct ChoiceForm {
    account: Option<String>,
}

/// A link that can be taken.
struct Waiting {
    kind: StepKind,
    proven: Proven,
    here: bool,
    asked_at: Timestamp,
    accounts: Vec<(Account, String)>,
}

/// The link, if it can be taken in this browser. A mail may be opened anywhere; a choice is where it began.
async fn find(app: &App, token: &str, browser: &BrowserMark) -> Result<Option<Waiting>, Problem> {
    let (hash, now) = (SecretHash::of(token), app.clock.now());
    let found = app.db.read(move |conn| {
        for kind in [StepKind::MailLink, StepKind::Choice] {
            match login::look(conn, &hash, kind, now) {
                Ok(step) => return Ok(Some((kind, step))),
                Err(StepError::Gone) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    });
    let Some((kind, step)): Option<(StepKind, Step)> = found.await.map_err(step_problem)? else { return Ok(None) };
    let here = step.began_in(&browser.secret);
    if kind == StepKind::Choice && !here {
        return Ok(None);
    }
    let proven: Proven = step.facts(&app.log_in_sealer).map_err(step_problem)?;
    let proof = proven.proof.clone();
    let accounts = app.db.read(move |conn| with_openers(conn, &proof)).await?;
    Ok(Some(Waiting { kind, proven, here, asked_at: step.created_at, accounts }))
}

/// The accounts, and by whom each was opened: that is how people tell them apart.
fn with_openers(
    conn: &mut crate::db::DbConnection,
    proof: &Proof,
) -> Result<Vec<(Account, String)>, crate::db::DbError> {
    let mut named = Vec::new();
    for account in proof.accounts(conn)? {
        let opener = orchestrator::by_id(conn, &account.opened_by)?.map(|opener| opener.name.to_string());
        named.push((account, opener.unwrap_or_default()));
    }
    Ok(named)
}

fn page(app: &App, token: &str, waiting: &Waiting, problem: bool) -> LogInLinkPage {
    let choices = waiting.accounts.iter().map(|(account, opener)| AccountChoice {
        id: account.id.to_string(),
        name: account.email.clone().unwrap_or_else(|| account.id.to_string()),
        opened_by: opener.clone(),
        opened_at: account.created_at,
    });
    LogInLinkPage {
        frame: Frame::anonymous(app.provider_name()),
        action: format!("/login/link/{token}"),
        choices: choices.collect(),
        here: waiting.here,
        asked_at: waiting.asked_at,
        unchosen: problem,
    }
}

fn gone(app: &App) -> HttpResponse {
    respond(&MessagePage::log_in_link_gone(Frame::anonymous(app.provider_name())), StatusCode::GONE)
}

/// Shows the button.
pub(super) async fn show(app: Data<App>, token: Path<String>, browser: BrowserMark) -> Result<HttpResponse, Problem> {
    Ok(unreferred(match find(&app, &token, &browser).await? {
        Some(waiting) if !waiting.accounts.is_empty() => respond(&page(&app, &token, &waiting, false), StatusCode::OK),
        _ => gone(&app),
    }))
}

/// Takes the link: of many who press, one is logged in.
pub(super) async fn take(
    app: Data<App>,
    _from: SameSite,
    token: Path<String>,
    browser: BrowserMark,
    present: Present,
    form: Form<ChoiceForm>,
) -> Result<HttpResponse, Problem> {
    let Some(waiting) = find(&app, &token, &browser).await? else { return Ok(unreferred(gone(&app))) };
    let chosen = match (waiting.accounts.as_slice(), form.0.account) {
        ([], _) => return Ok(unreferred(gone(&app))),
        ([(only, _)], None) => Some(only.id.clone()),
        (accounts, named) => {
            accounts.iter().map(|(account, _)| &account.id).find(|id| named.as_deref() == Some(id.as_str())).cloned()
        }
    };
    let Some(account) = chosen else {
        return Ok(unreferred(respond(&page(&app, &token, &waiting, true), StatusCode::UNPROCESSABLE_ENTITY)));
    };
    let (hash, session, now) = (SecretHash::of(&token), Secret::generate("ses")?, app.clock.now());
    let (session_hash, onward) = (session.hash(), waiting.proven.onward.clone());
    let step = Taking { token: hash, kind: waiting.kind, began_at: waiting.asked_at, here: waiting.here };
    let proof = waiting.proven.proof;
    let entered = app.db.write(HOUSE, move |conn| {
        let sessions = (&session_hash, present.0.as_ref());
        login::log_in(conn, (&proof, &account), Some(&step), sessions, now)
    });
    match entered.await {
        Ok(()) => Ok(logged_in(&app, &session, &onward)),
        Err(LogInError::Step(StepError::Gone) | LogInError::NotTheirs) => Ok(unreferred(gone(&app))),
        Err(error) => Err(log_in_problem(error)),
    }
}
