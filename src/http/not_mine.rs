//! `/not-mine/{token}`: "I did not start this", from the first mail to an account's human. Looking does nothing, because
//! mail scanners and previews look; the button takes power away, and gives nobody any.

use actix_web::http::{StatusCode, header};
use actix_web::web::{self, Data, Path, ServiceConfig};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse};

use super::caller::SameSite;
use super::dashboard::pages::{Disputed, Frame, NotMinePage, respond};
use super::problem::{Problem, table};
use super::request_log::AccountOfRequest;
use crate::account::{self, Account, AccountState};
use crate::app::App;
use crate::db::DbError;
use crate::login::NotMineLink;
use crate::orchestrator;
use crate::takeover::{self, Bounds, Case, CaseKind, DisownError, LinkOver};

/// Routes.
pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(web::resource("/not-mine/{token}").get(show).post(press));
}

/// The link. One that we did not make leads nowhere, and says no more than that.
fn opened(app: &App, request: &HttpRequest, token: &str) -> Result<NotMineLink, Problem> {
    let nothing = || Problem::new(&table::NOT_FOUND, "There is nothing at this path.");
    let link = app.post.not_mine.open(token).ok_or_else(nothing)?;
    request.extensions_mut().insert(AccountOfRequest(link.account.clone()));
    Ok(link)
}

/// The address is the link: it leaves with no click, and nobody keeps the page.
fn unreferred(mut answer: HttpResponse) -> HttpResponse {
    answer.headers_mut().insert(header::REFERRER_POLICY, header::HeaderValue::from_static("no-referrer"));
    answer
}

type Known = (Account, String, Option<LinkOver>, Option<Case>);

async fn known(app: &App, link: NotMineLink) -> Result<Known, Problem> {
    let found = app.db.read(move |conn| {
        let Some(account) = account::by_id(conn, &link.account)? else { return Ok(None) };
        let opener = orchestrator::by_id(conn, &account.opened_by)?.map(|opener| opener.name.to_string());
        let case = takeover::open_case_of(conn, &account.id, CaseKind::NotStarted)?;
        let over = takeover::link_over(conn, &account, &link)?;
        Ok::<_, DbError>(Some((account, opener.unwrap_or_default(), over, case)))
    });
    found.await?.ok_or_else(|| Problem::new(&table::NOT_FOUND, "There is nothing at this path."))
}

/// Shows what the button does, or that it was pressed. No more of the account than the mail said.
async fn show(app: Data<App>, request: HttpRequest, token: Path<String>) -> Result<HttpResponse, Problem> {
    let link = opened(&app, &request, &token)?;
    let (account, opener, over, case) = known(&app, link).await?;
    let page = NotMinePage {
        frame: Frame::anonymous(app.provider_name()),
        action: format!("/not-mine/{token}"),
        opened_by: opener,
        opened_at: account.created_at,
        over,
        disputed: case.map(|case| Disputed {
            case: case.id.to_string(),
            at: case.opened_at,
            frozen: matches!(account.state, AccountState::Frozen { .. }),
        }),
    };
    Ok(unreferred(respond(&page, StatusCode::OK)))
}

/// Stops everything; pressed again, nothing more happens.
async fn press(
    app: Data<App>,
    _from: SameSite,
    request: HttpRequest,
    token: Path<String>,
) -> Result<HttpResponse, Problem> {
    let link = opened(&app, &request, &token)?;
    let (lane, now) = (link.account.to_string(), app.clock.now());
    match app.db.write(&lane, move |conn| takeover::disown(conn, &link, now)).await {
        Ok(disowned) => finish(&app, &disowned).await,
        // The page says so.
        Err(DisownError::Over(_)) => {}
        Err(DisownError::Unknown(_)) => return Err(Problem::new(&table::NOT_FOUND, "There is nothing at this path.")),
        Err(DisownError::Db(error)) => return Err(error.into()),
        Err(other) => return Err(Problem::new(&table::INTERNAL, "The stop.").because(other)),
    }
    let back = HttpResponse::SeeOther()
        .insert_header((header::LOCATION, format!("/not-mine/{token}")))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .finish();
    Ok(unreferred(back))
}

/// What was written down to be done is done before the answer. What fails here a worker takes up within a second.
async fn finish(app: &App, disowned: &takeover::Disowned) {
    for id in &disowned.begun {
        if let Err(error) = takeover::run(&app.db, id, Bounds::default(), app.clock.as_ref()).await {
            tracing::error!(distrust = %id, error = %error, "a distrust could not be finished");
        }
    }
    app.revocations.forget();
    let collected = takeover::collect(&app.db, &app.ring, &app.base_url, &disowned.case.id, app.clock.now());
    if let Err(error) = collected.await {
        tracing::error!(case = %disowned.case.id, error = %error, "evidence could not be collected");
    }
}
