//! `/dashboard/log-in`: the ways in to an account, for its owner.

use actix_web::http::{StatusCode, header};
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpResponse, ResponseError as _};
use serde::Deserialize;

use super::passkeys::passkey_problem;
use crate::account;
use crate::app::App;
use crate::db::DbError;
use crate::http::caller::{FreshlyLoggedIn, LoggedIn, NotHuman, SameSite};
use crate::http::dashboard::onward::Onward;
use crate::http::dashboard::pages::{Frame, MethodsPage, Notice, PasskeyRow, respond};
use crate::http::problem::{Problem, table};
use crate::login::{self, ConnectError, PasskeyError, Session, WaysIn};

/// What was done, told once. Anybody can write an address: nothing is claimed that could hurt when it is not so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Done {
    Added,
    Removed,
    Connected,
    Disconnected,
}

#[derive(Debug, Deserialize)]
pub(super) struct MethodsQuery {
    done: Option<Done>,
}

async fn page(app: &App, session: &Session) -> Result<MethodsPage, Problem> {
    let (account, id) = (&session.account, session.account.id.clone());
    let issuer = app.upstream.as_ref().map(|(upstream, _)| upstream.issuer().to_owned());
    let (known, connected, opens) = app
        .db
        .read(move |conn| {
            let connected = issuer.map(|issuer| login::is_connected(conn, &id, &issuer)).transpose()?;
            let opens = account::mailbox(conn, &id)?.is_some();
            Ok::<_, DbError>((login::passkeys(conn, &id)?, connected == Some(true), opens))
        })
        .await?;
    let rows = known.into_iter().map(|known| PasskeyRow {
        action: format!("/dashboard/passkeys/{}/remove", known.credential_id),
        name: known.name,
        created_at: known.created_at,
        used_at: known.used_at,
    });
    let name = account.email.clone().unwrap_or_else(|| account.id.to_string());
    Ok(MethodsPage {
        frame: Frame { provider: app.provider_name(), user: Some(name) },
        email: account.email.clone().filter(|_| opens && app.post.mailer.is_on()),
        upstream: app.upstream.as_ref().map(|(_, name)| name.clone()),
        connected,
        passkeys: rows.collect(),
        can_add: app.relying_party.is_some() && account.is_claimed(),
        unclaimed: !account.is_claimed(),
        no_host_name: app.relying_party.is_none(),
        notice: None,
    })
}

fn ways(app: &App) -> WaysIn {
    WaysIn { mail: app.post.mailer.is_on(), upstream: app.upstream.is_some() }
}

/// Lists them.
pub(super) async fn show(
    app: Data<App>,
    query: Query<MethodsQuery>,
    human: Result<LoggedIn, NotHuman>,
) -> Result<HttpResponse, Problem> {
    let human = match human {
        Ok(human) => human,
        Err(refused) => return Ok(refused.error_response()),
    };
    let mut page = page(&app, &human.session).await?;
    page.notice = query.done.map(|done| match done {
        Done::Added => Notice::Done("The passkey was added. From now on you can log in with it.".to_owned()),
        Done::Removed => Notice::Done("The passkey was removed. It opens nothing any more.".to_owned()),
        Done::Connected => Notice::Done("Connected. From now on you can log in there as well.".to_owned()),
        Done::Disconnected => Notice::Done("Disconnected. Whoever is you there can no longer log in here.".to_owned()),
    });
    Ok(respond(&page, StatusCode::OK))
}

/// Disconnects the person of the upstream issuer; never the last way in.
pub(super) async fn disconnect(
    app: Data<App>,
    _from: SameSite,
    human: Result<FreshlyLoggedIn, NotHuman>,
) -> Result<HttpResponse, Problem> {
    let human = match human {
        Ok(human) => human,
        Err(refused) => {
            let back: Onward = "/dashboard/log-in".parse().unwrap_or_default();
            return Ok(refused.back_to(back).error_response());
        }
    };
    let Some((upstream, _)) = &app.upstream else {
        return Err(Problem::new(&table::NOT_FOUND, "There is nothing at this path."));
    };
    let (account, issuer, now) = (human.session.account.id.clone(), upstream.issuer().to_owned(), human.now);
    let (lane, ways) = (account.to_string(), ways(&app));
    let (text, status) =
        match app.db.write(&lane, move |conn| login::disconnect(conn, &account, &issuer, ways, now)).await {
            Ok(()) => {
                return Ok(HttpResponse::SeeOther()
                    .insert_header((header::LOCATION, "/dashboard/log-in?done=disconnected"))
                    .insert_header((header::CACHE_CONTROL, "no-store"))
                    .finish());
            }
            Err(ConnectError::Db(error)) => return Err(error.into()),
            Err(ConnectError::LastWayIn) => {
                ("This is the only way in to your account. Add a passkey first.", StatusCode::CONFLICT)
            }
            Err(_) => ("Nobody there is connected (any more).", StatusCode::NOT_FOUND),
        };
    let mut page = page(&app, &human.session).await?;
    page.notice = Some(Notice::Refused(text.to_owned()));
    Ok(respond(&page, status))
}

/// Removes a passkey; never the last way in.
pub(super) async fn remove(
    app: Data<App>,
    _from: SameSite,
    id: Path<String>,
    human: Result<FreshlyLoggedIn, NotHuman>,
) -> Result<HttpResponse, Problem> {
    let human = match human {
        Ok(human) => human,
        Err(refused) => {
            let back: Onward = "/dashboard/log-in".parse().unwrap_or_default();
            return Ok(refused.back_to(back).error_response());
        }
    };
    let (account, id, now) = (human.session.account.id.clone(), id.into_inner(), human.now);
    let lane = account.to_string();
    let ways = ways(&app);
    match app.db.write(&lane, move |conn| login::remove_passkey(conn, &account, &id, ways, now)).await {
        Ok(()) => Ok(HttpResponse::SeeOther()
            .insert_header((header::LOCATION, "/dashboard/log-in?done=removed"))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .finish()),
        Err(PasskeyError::LastWayIn) => {
            let mut page = page(&app, &human.session).await?;
            let text = "This passkey is the only way in to your account. Add another one first.";
            page.notice = Some(Notice::Refused(text.to_owned()));
            Ok(respond(&page, StatusCode::CONFLICT))
        }
        Err(PasskeyError::Unknown) => {
            let mut page = page(&app, &human.session).await?;
            page.notice = Some(Notice::Refused("There is no such passkey (any more).".to_owned()));
            Ok(respond(&page, StatusCode::NOT_FOUND))
        }
        Err(error) => Err(passkey_problem(error)),
    }
}
