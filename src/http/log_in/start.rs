//! `/login`: the ways to log in, and asking for a link by mail.

use actix_web::http::{StatusCode, header};
use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;

use super::{Wanted, step_problem};
use crate::app::{App, HOUSE};
use crate::attestation::CanonicalEmail;
use crate::http::caller::{BrowserMark, Form, SameSite, User};
use crate::http::dashboard::pages::{Frame, LogInPage, MessagePage, respond};
use crate::http::limit::{Limit, Limits};
use crate::http::problem::Problem;
use crate::login::{self, NewStep, NotProven, Proof, Proven, StepKind, Stronger};

#[derive(Debug, Deserialize)]
pub(super) struct AskForm {
    email: String,
    #[serde(flatten)]
    wanted: WantedForm,
}

/// As in the query; a form sends every field as text.
#[derive(Debug, Deserialize)]
struct WantedForm {
    to: Option<String>,
    max_age: Option<String>,
}

impl From<WantedForm> for Wanted {
    fn from(form: WantedForm) -> Self {
        Self { to: form.to, max_age: form.max_age.and_then(|seconds| seconds.parse().ok()) }
    }
}

pub(super) fn page(app: &App, wanted: &Wanted) -> LogInPage {
    let onward = wanted.onward();
    LogInPage {
        frame: Frame::anonymous(app.provider_name()),
        again: wanted.is_fresh_wanted(),
        mail: app.post.mailer.is_on(),
        upstream: app.upstream.as_ref().map(|(_, name)| name.clone()),
        passkeys: app.relying_party.is_some(),
        to: onward.to_string(),
        max_age: wanted.is_fresh_wanted().then(|| wanted.within().num_seconds()),
        query: onward.log_in(wanted.within()).trim_start_matches("/login").to_owned(),
        typed: String::new(),
        problem: None,
        sent_to: None,
        folder: None,
        beyond_mail: false,
    }
}

/// The page for whoever logged in by mail alone, to an account that has a way in which proves more: with those ways.
fn beyond_mail(page: LogInPage, stronger: Stronger) -> LogInPage {
    LogInPage {
        mail: false,
        passkeys: page.passkeys && stronger.passkey,
        upstream: page.upstream.filter(|_| stronger.upstream),
        beyond_mail: true,
        ..page
    }
}

/// The ways in; whoever is logged in freshly enough goes on at once. A link in a mail is not enough where more is possible:
/// whoever comes here with such a session wants more than it may.
pub(super) async fn show(app: Data<App>, query: Query<Wanted>, user: Option<User>) -> HttpResponse {
    let wanted = query.into_inner();
    let session = user.as_ref().map(|user| user.session.gives_power(wanted.within(), user.now));
    if session == Some(Ok(())) {
        return HttpResponse::SeeOther()
            .insert_header((header::LOCATION, wanted.onward().to_string()))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .finish();
    }
    // Its address may name a page with a secret of its own.
    let page = page(&app, &wanted);
    super::unreferred(match session {
        Some(Err(NotProven::MailOnly(stronger))) => respond(&beyond_mail(page, stronger), StatusCode::OK),
        _ => respond(&page, StatusCode::OK),
    })
}

/// Asks for a link by mail. For every address the same is done and the same is said; the mail itself comes only where
/// there is an account.
pub(super) async fn ask_by_mail(
    app: Data<App>,
    _from: SameSite,
    limits: Data<Limits>,
    request: HttpRequest,
    browser: BrowserMark,
    form: Form<AskForm>,
) -> Result<HttpResponse, Problem> {
    let AskForm { email, wanted } = form.0;
    let wanted: Wanted = wanted.into();
    let mut page = page(&app, &wanted);
    if !page.mail {
        return Ok(respond(&page, StatusCode::NOT_FOUND));
    }
    let typed = email.trim().to_owned();
    let Ok(address) = typed.parse::<CanonicalEmail>() else {
        page.problem = Some("Write a whole address, such as ada@example.com.");
        page.typed = typed.chars().take(254).collect();
        return Ok(respond(&page, StatusCode::UNPROCESSABLE_ENTITY));
    };
    let caller = limits.address(&request);
    if let Err(limited) = limits.take(&[(Limit::AddressLogIns, &caller), (Limit::EmailLogIns, address.as_str())]) {
        let said = MessagePage::too_often(page.frame, limited.seconds());
        return Ok(limited.told_in(respond(&said, StatusCode::TOO_MANY_REQUESTS)));
    }
    let (now, onward) = (app.clock.now(), wanted.onward().to_string());
    let proven = Proven { proof: Proof::of_mailbox(&address), onward };
    let step = NewStep::new((StepKind::MailLink, None), &browser.secret, &proven, &app.log_in_sealer, now);
    let step = step.map_err(step_problem)?;
    app.db.write(HOUSE, move |conn| login::ask(conn, &step, now)).await?;
    page.sent_to = Some(typed);
    page.folder = app.post.mailer.folder().map(|folder| folder.display().to_string());
    let mut answer = super::unreferred(respond(&page, StatusCode::OK));
    let set = answer.add_cookie(&browser.cookie());
    set.map_err(|error| Problem::new(&crate::http::problem::table::INTERNAL, "The cookie.").because(error))?;
    Ok(answer)
}
