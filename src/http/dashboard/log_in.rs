//! Logging in by a one-use link, and out.

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use actix_web::web::{Data, Path, Query};
use serde::Deserialize;

use super::onward::Onward;
use super::pages::{Frame, LinkPage, MessagePage, respond};
use crate::app::{App, HOUSE};
use crate::http::caller::{SameSite, User, session_cookie};
use crate::http::problem::Problem;
use crate::login::{self, DeepLinkError, LinkState};
use crate::secret::Secret;

/// Where to go after the log-in; what is no path of ours leads to the dashboard.
#[derive(Debug, Deserialize)]
pub(super) struct LinkQuery {
    to: Option<String>,
}

impl LinkQuery {
    fn onward(&self) -> Onward {
        self.to.as_deref().and_then(|to| to.parse().ok()).unwrap_or_default()
    }
}

fn link_page(app: &App, token: &str, query: &LinkQuery, gone: bool) -> HttpResponse {
    let action = format!("/d/{token}{}", query.onward().query());
    let page = LinkPage { frame: Frame::anonymous(app.provider_name()), action, gone };
    let mut answer = respond(&page, if gone { StatusCode::GONE } else { StatusCode::OK });
    // The link itself must not leave with the next click.
    let none = header::HeaderValue::from_static("no-referrer");
    answer.headers_mut().insert(header::REFERRER_POLICY, none);
    answer
}

/// Shows the link's button; uses nothing up, because mail scanners and previews open links too.
pub(super) async fn show_link(
    app: Data<App>,
    token: Path<String>,
    query: Query<LinkQuery>,
) -> Result<HttpResponse, Problem> {
    let (presented, now) = (Secret::presented(&token), app.clock.now());
    let state = app.db.read(move |conn| login::state(conn, &presented, now)).await?;
    Ok(link_page(&app, &token, &query, state == LinkState::Spent))
}

/// Uses the link up and begins a session.
pub(super) async fn use_link(
    app: Data<App>,
    _from: SameSite,
    token: Path<String>,
    query: Query<LinkQuery>,
) -> Result<HttpResponse, Problem> {
    let (presented, now) = (Secret::presented(&token), app.clock.now());
    // A link that does not work is not worth a write.
    if app.db.read(move |conn| login::state(conn, &presented, now)).await? == LinkState::Spent {
        return Ok(link_page(&app, &token, &query, true));
    }
    let (hash, session, now) = (Secret::presented(&token).hash(), Secret::generate("ses")?, app.clock.now());
    let session_hash = session.hash();
    let used = app.db.write(HOUSE, move |conn| login::redeem(conn, &hash, &session_hash, now)).await;
    match used {
        Ok(_account) => Ok(HttpResponse::SeeOther()
            .cookie(session_cookie(&app, Some(&session)))
            .insert_header((header::LOCATION, query.onward().to_string()))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .insert_header((header::REFERRER_POLICY, "no-referrer"))
            .finish()),
        Err(DeepLinkError::Spent) => Ok(link_page(&app, &token, &query, true)),
        Err(error) => Err(error.into()),
    }
}

/// Ends the session, here and everywhere its cookie was copied to.
pub(super) async fn log_out(app: Data<App>, _from: SameSite, user: User) -> Result<HttpResponse, Problem> {
    let (hash, now) = (user.session.hash, user.now);
    app.db.write(HOUSE, move |conn| login::end(conn, &hash, now)).await?;
    let mut answer = respond(&MessagePage::logged_out(Frame::anonymous(app.provider_name())), StatusCode::OK);
    let forgotten = answer.add_cookie(&session_cookie(&app, None));
    forgotten.map_err(|error| Problem::new(&crate::http::problem::table::INTERNAL, "The cookie.").because(error))?;
    Ok(answer)
}
