//! The provider's own platform, which reports usage with its meter key.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpRequest};

use super::bearer::app;
use crate::clock::Timestamp;
use crate::http::problem::{Problem, table};

/// The provider's platform: its key was checked, in constant time.
#[derive(Debug)]
pub(crate) struct Meter {
    /// The one instant of this request.
    pub(crate) now: Timestamp,
}

fn check(request: &HttpRequest) -> Result<Meter, Problem> {
    let app = app(request)?;
    let value = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let challenge = format!("Bearer realm=\"{}\"", app.base_url);
    let Some(key) = value.and_then(|value| value.strip_prefix("Bearer ")) else {
        let problem = Problem::new(&table::UNAUTHORIZED, "Usage is reported with the provider's meter key.");
        return Err(problem.challenge(challenge));
    };
    if app.meter_key.matches(key) {
        Ok(Meter { now: app.clock.now() })
    } else {
        let problem = Problem::new(&table::INVALID_TOKEN, "This is not the provider's meter key.");
        Err(problem.challenge(format!("{challenge}, error=\"invalid_token\"")))
    }
}

impl FromRequest for Meter {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        ready(check(request))
    }
}
