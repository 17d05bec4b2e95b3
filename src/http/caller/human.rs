//! Humans who logged in: what an agent cannot be.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::{FromRequest, HttpRequest, HttpResponse, ResponseError};
use chrono::TimeDelta;

use super::browser::{NoUser, User};
use crate::clock::Timestamp;
use crate::http::dashboard::onward::Onward;
use crate::http::dashboard::pages::{Frame, MessagePage, respond};
use crate::login::{NotProven, SESSION_LIFETIME, Session};

/// A human who logged in at most `MINUTES` ago, not by a link that an agent can make. With `POWER`: enough for what gives
/// power ([`Session::gives_power`]).
#[derive(Debug)]
pub(crate) struct Human<const MINUTES: i64, const POWER: bool> {
    pub(crate) session: Session,
    /// The one instant of this request.
    pub(crate) now: Timestamp,
}

/// Logged in at some time of this session, in whatever way: to look, and to refuse.
pub(crate) type LoggedIn = Human<{ 8 * 60 }, false>;
/// Logged in just now, in whatever way.
pub(crate) type JustLoggedIn = Human<5, false>;
/// Logged in at some time of this session: for what gives back what was stopped, or was allowed before.
pub(crate) type Empowered = Human<{ 8 * 60 }, true>;
/// Logged in just now: for what gives power away, or cannot be taken back.
pub(crate) type FreshlyLoggedIn = Human<5, true>;

const _: () = assert!(SESSION_LIFETIME.num_minutes() == 8 * 60, "`LoggedIn` is as long as a session");

/// Why there is no human: a page that leads to the log-in, and from there back.
#[derive(Debug)]
pub(crate) enum NotHuman {
    /// A log-in is needed.
    LogIn {
        /// Around the page.
        frame: Frame,
        /// Why the session does not do; `None`: there is none.
        session: Option<NotProven>,
        /// How long ago the log-in may be.
        within: TimeDelta,
        /// Where it leads on.
        onward: Onward,
    },
    /// The fault is ours.
    Broken(Box<NoUser>),
}

impl NotHuman {
    /// The same, leading on to another page: a form's own address cannot be opened.
    pub(crate) fn back_to(self, page: Onward) -> Self {
        match self {
            Self::LogIn { frame, session, within, .. } => Self::LogIn { frame, session, within, onward: page },
            broken @ Self::Broken(_) => broken,
        }
    }
}

impl<const MINUTES: i64, const POWER: bool> Human<MINUTES, POWER> {
    /// How long ago the log-in may be.
    pub(crate) const WITHIN: TimeDelta = TimeDelta::minutes(MINUTES);

    /// Whether a session is one of such a human.
    pub(crate) fn is(session: &Session, now: Timestamp) -> Result<(), NotProven> {
        if POWER { session.gives_power(Self::WITHIN, now) } else { session.proves_human(Self::WITHIN, now) }
    }

    /// Of somebody with a session. `onward` is where the log-in leads on when one is needed.
    fn of(user: Result<User, NoUser>, provider: String, onward: Onward) -> Result<Self, NotHuman> {
        let log_in = |frame, session| NotHuman::LogIn { frame, session, within: Self::WITHIN, onward };
        match user {
            Ok(User { session, now }) => match Self::is(&session, now) {
                Ok(()) => Ok(Self { session, now }),
                Err(why) => Err(log_in(Frame::anonymous(provider), Some(why))),
            },
            Err(NoUser::LoggedOut(frame)) => Err(log_in(frame, None)),
            Err(broken @ NoUser::Broken(..)) => Err(NotHuman::Broken(Box::new(broken))),
        }
    }
}

impl<const MINUTES: i64, const POWER: bool> From<Human<MINUTES, POWER>> for User {
    fn from(human: Human<MINUTES, POWER>) -> Self {
        Self { session: human.session, now: human.now }
    }
}

impl std::fmt::Display for NotHuman {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::LogIn { session: Some(why), .. } => write!(f, "{why}"),
            Self::LogIn { session: None, .. } => f.write_str("no session"),
            Self::Broken(broken) => write!(f, "{broken}"),
        }
    }
}

impl ResponseError for NotHuman {
    /// Without a session 401; with one that does not do, 403.
    fn status_code(&self) -> StatusCode {
        match self {
            Self::LogIn { session: None, .. } => StatusCode::UNAUTHORIZED,
            Self::LogIn { session: Some(_), .. } => StatusCode::FORBIDDEN,
            Self::Broken(broken) => broken.status_code(),
        }
    }

    fn error_response(&self) -> HttpResponse {
        match self {
            Self::LogIn { frame, session, within, onward } => {
                let page = MessagePage::log_in_first(frame.clone(), *session, &onward.log_in(*within));
                respond(&page, self.status_code())
            }
            Self::Broken(broken) => broken.error_response(),
        }
    }
}

impl<const MINUTES: i64, const POWER: bool> FromRequest for Human<MINUTES, POWER> {
    type Error = NotHuman;
    type Future = Pin<Box<dyn Future<Output = Result<Self, NotHuman>>>>;

    /// The log-in leads back to the page that was asked for; after a form, to the dashboard.
    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let user = User::from_request(request, payload);
        let page = request.uri().path_and_query().filter(|_| request.method().is_safe());
        let onward: Onward = page.and_then(|page| page.as_str().parse().ok()).unwrap_or_default();
        let provider = super::bearer::app(request).map(|app| app.provider_name()).unwrap_or_default();
        Box::pin(async move { Self::of(user.await, provider, onward) })
    }
}
