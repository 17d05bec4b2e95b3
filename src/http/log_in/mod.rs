//! Logging in: the page that offers the ways, and each way.
//!
//! Nothing here tells whether an address has an account: asking for a mail does the same work and gives the same answer
//! for every address, and a passkey is found by what the browser presents.

mod link;
mod methods;
pub(super) mod passkeys;
mod start;
mod upstream;

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::{self, ServiceConfig};
use chrono::TimeDelta;
use serde::Deserialize;

use super::dashboard::onward::Onward;
use crate::app::App;
use crate::http::caller::session_cookie;
use crate::http::problem::Problem;
use crate::login::{LogInError, SESSION_LIFETIME, StepError, UpstreamError};
use crate::secret::Secret;

/// Routes.
pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .service(web::resource("/login").get(start::show).post(start::ask_by_mail))
        .service(web::resource("/login/link/{token}").get(link::show).post(link::take))
        .service(web::resource("/login/upstream").get(upstream::depart))
        .service(web::resource("/login/upstream/back").get(upstream::arrive))
        .service(web::resource("/login/passkey/begin").post(passkeys::begin_asking))
        .service(web::resource("/login/passkey/finish").post(passkeys::finish_asking))
        .service(web::resource("/dashboard/log-in").get(methods::show))
        .service(web::resource("/dashboard/log-in/connect").get(upstream::connect))
        .service(web::resource("/dashboard/log-in/disconnect").post(methods::disconnect))
        .service(web::resource("/dashboard/passkeys/begin").post(passkeys::begin_adding))
        .service(web::resource("/dashboard/passkeys/finish").post(passkeys::finish_adding))
        .service(web::resource("/dashboard/passkeys/{id}/remove").post(methods::remove));
}

/// What somebody who logs in wants: where to go on, and how fresh the log-in must be.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Wanted {
    /// What is no path of ours leads to the dashboard.
    to: Option<String>,
    /// In seconds.
    max_age: Option<u32>,
}

impl Wanted {
    fn onward(&self) -> Onward {
        self.to.as_deref().and_then(|to| to.parse().ok()).unwrap_or_default()
    }

    fn within(&self) -> TimeDelta {
        self.max_age.map_or(SESSION_LIFETIME, |seconds| TimeDelta::seconds(i64::from(seconds)).min(SESSION_LIFETIME))
    }

    fn is_fresh_wanted(&self) -> bool {
        self.within() < SESSION_LIFETIME
    }
}

/// Logged in: a new session, and on to where it leads, if that is a page of ours.
fn logged_in(app: &App, session: &Secret, onward: &str) -> HttpResponse {
    let onward: Onward = onward.parse().unwrap_or_default();
    HttpResponse::SeeOther()
        .cookie(session_cookie(app, Some(session)))
        .insert_header((header::LOCATION, onward.to_string()))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .finish()
}

/// An address that holds a secret must not leave with the next click.
fn unreferred(mut answer: HttpResponse) -> HttpResponse {
    answer.headers_mut().insert(header::REFERRER_POLICY, header::HeaderValue::from_static("no-referrer"));
    answer
}

/// A fault of ours; a step that is gone is answered before, with a page.
pub(super) fn step_problem(error: StepError) -> Problem {
    match error {
        StepError::Db(error) => error.into(),
        StepError::Seal(error) => error.into(),
        StepError::Facts(error) => error.into(),
        StepError::Gone => {
            Problem::new(&super::problem::table::BAD_REQUEST, "The step was taken, expired, or began elsewhere.")
        }
    }
}

fn log_in_problem(error: LogInError) -> Problem {
    match error {
        LogInError::Step(error) => step_problem(error),
        LogInError::Db(error) => error.into(),
        LogInError::NotTheirs => {
            Problem::new(&super::problem::table::BAD_REQUEST, "The log-in does not open that account.")
        }
    }
}

fn told(error: &UpstreamError) -> &'static str {
    match error {
        UpstreamError::Unavailable(_) => "It cannot be reached at this moment.",
        UpstreamError::OtherIssuer | UpstreamError::Refused(_) => "Its answer could not be believed.",
        UpstreamError::NoRandomness(_) => "Something broke here.",
    }
}
