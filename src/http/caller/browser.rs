//! Humans at a browser: the session cookie, and the refusal of forms from other sites.

use std::future::{Future, Ready, ready};
use std::pin::Pin;

use actix_web::cookie::{Cookie, SameSite as CookieSite, time};
use actix_web::dev::Payload;
use actix_web::http::header::ORIGIN;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, HttpResponse, ResponseError};

use super::bearer::app;
use crate::app::App;
use crate::clock::Timestamp;
use crate::http::dashboard::pages::{Frame, MessagePage, respond};
use crate::http::problem::Problem;
use crate::http::request_log::AccountOfRequest;
use crate::login::{self, SESSION_LIFETIME, Session};
use crate::secret::{Secret, SecretHash};

/// The cookie's name. `__Host-` binds it to this host and to HTTPS; a loopback demo without TLS cannot have that.
fn cookie_name(app: &App) -> &'static str {
    if app.base_url.starts_with("https://") { "__Host-portreeve_session" } else { "portreeve_session" }
}

/// The cookie for a new session, or, without one, the cookie that forgets it.
pub(crate) fn session_cookie(app: &App, session: Option<&Secret>) -> Cookie<'static> {
    let value = session.map(|session| session.expose().to_owned()).unwrap_or_default();
    let life = if session.is_some() { SESSION_LIFETIME.num_seconds() } else { 0 };
    Cookie::build(cookie_name(app), value)
        .path("/")
        .http_only(true)
        .same_site(CookieSite::Lax)
        .secure(app.base_url.starts_with("https://"))
        .max_age(time::Duration::seconds(life))
        .finish()
}

/// The session that the browser says it has; nothing was checked. A log-in ends it.
#[derive(Debug)]
pub(crate) struct Present(pub(crate) Option<SecretHash>);

impl FromRequest for Present {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        ready(
            app(request)
                .map(|app| Self(request.cookie(cookie_name(&app)).map(|cookie| SecretHash::of(cookie.value())))),
        )
    }
}

/// What tells one browser from another before anybody is logged in: a step of a log-in ends where it began. It opens
/// nothing by itself.
#[derive(Debug)]
pub(crate) struct BrowserMark {
    pub(crate) secret: Secret,
    name: &'static str,
    secure: bool,
}

/// How long a browser keeps its mark.
const MARK_LIFETIME: time::Duration = time::Duration::hours(1);
/// What a mark looks like.
const MARK: &str = "brw";

impl BrowserMark {
    /// The cookie that keeps it, from now on.
    pub(crate) fn cookie(&self) -> Cookie<'static> {
        Cookie::build(self.name, self.secret.expose().to_owned())
            .path("/")
            .http_only(true)
            .same_site(CookieSite::Lax)
            .secure(self.secure)
            .max_age(MARK_LIFETIME)
            .finish()
    }
}

impl FromRequest for BrowserMark {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        ready(mark(request))
    }
}

fn mark(request: &HttpRequest) -> Result<BrowserMark, Problem> {
    let secure = app(request)?.base_url.starts_with("https://");
    let name = if secure { "__Host-portreeve_browser" } else { "portreeve_browser" };
    let fits = |text: &str| text.starts_with(MARK) && text.len() == MARK.len() + 44;
    let known = request.cookie(name).filter(|cookie| fits(cookie.value()));
    let secret = match known {
        Some(cookie) => Secret::presented(cookie.value()),
        None => Secret::generate(MARK)?,
    };
    Ok(BrowserMark { secret, name, secure })
}

/// A human with a session.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) session: Session,
    /// The one instant of this request.
    pub(crate) now: Timestamp,
}

/// Why there is no user: a page, not a problem document.
#[derive(Debug)]
pub(crate) enum NoUser {
    /// No session, or it ended.
    LoggedOut(Frame),
    /// The fault is ours.
    Broken(Frame, Problem),
}

impl std::fmt::Display for NoUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::LoggedOut(_) => f.write_str("no session"),
            Self::Broken(_, problem) => write!(f, "{problem}"),
        }
    }
}

impl ResponseError for NoUser {
    fn status_code(&self) -> actix_web::http::StatusCode {
        match self {
            Self::LoggedOut(_) => actix_web::http::StatusCode::UNAUTHORIZED,
            Self::Broken(_, problem) => problem.status_code(),
        }
    }

    fn error_response(&self) -> HttpResponse {
        match self {
            Self::LoggedOut(frame) => respond(&MessagePage::session_ended(frame.clone()), self.status_code()),
            Self::Broken(frame, _) => respond(&MessagePage::busy(frame.clone()), self.status_code()),
        }
    }
}

impl FromRequest for User {
    type Error = NoUser;
    type Future = Pin<Box<dyn Future<Output = Result<Self, NoUser>>>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let app = app(&request).map_err(|problem| NoUser::Broken(Frame::anonymous(""), problem))?;
            let frame = Frame::anonymous(app.provider_name());
            let now = app.clock.now();
            let Some(cookie) = request.cookie(cookie_name(&app)) else { return Err(NoUser::LoggedOut(frame)) };
            let presented = Secret::presented(cookie.value());
            let found = app.db.read(move |conn| login::find(conn, &presented, now)).await;
            match found.map_err(|error| NoUser::Broken(frame.clone(), error.into()))? {
                Some(session) => {
                    request.extensions_mut().insert(AccountOfRequest(session.account.id.clone()));
                    Ok(Self { session, now })
                }
                None => Err(NoUser::LoggedOut(frame)),
            }
        })
    }
}

/// A request that a browser did not send from another site: `Sec-Fetch-Site` says so, or else `Origin` is our own.
#[derive(Debug)]
pub(crate) struct SameSite;

/// The form came from elsewhere.
#[derive(Debug)]
pub(crate) struct OtherSite(Frame);

impl std::fmt::Display for OtherSite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the request came from another site")
    }
}

impl ResponseError for OtherSite {
    fn status_code(&self) -> actix_web::http::StatusCode {
        actix_web::http::StatusCode::FORBIDDEN
    }

    fn error_response(&self) -> HttpResponse {
        respond(&MessagePage::forbidden(self.0.clone()), self.status_code())
    }
}

/// `own` is our address; what the request calls us (`Host`) may have been chosen by somebody else.
fn same_site(request: &HttpRequest, own: &str) -> bool {
    if let Some(site) = request.headers().get("sec-fetch-site") {
        return matches!(site.to_str(), Ok("same-origin" | "none"));
    }
    // Neither a new nor an old browser sent a request without an origin: there is no cookie to abuse.
    let Some(origin) = request.headers().get(ORIGIN) else { return true };
    let own = url::Url::parse(own).map(|own| own.origin().ascii_serialization());
    own.is_ok_and(|own| origin.as_bytes() == own.as_bytes())
}

impl FromRequest for SameSite {
    type Error = OtherSite;
    type Future = Ready<Result<Self, OtherSite>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let Ok(app) = app(request) else { return ready(Err(OtherSite(Frame::anonymous("")))) };
        if same_site(request, &app.base_url) {
            return ready(Ok(Self));
        }
        ready(Err(OtherSite(Frame::anonymous(app.provider_name()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn own(headers: &[(&'static str, &'static str)]) -> bool {
        let request = headers.iter().fold(TestRequest::post(), |request, header| request.append_header(*header));
        same_site(&request.to_http_request(), "https://a.example:8443")
    }

    #[test]
    fn the_browsers_own_word_decides_whatever_the_origin_says() {
        for (site, expected) in
            [("same-origin", true), ("none", true), ("same-site", false), ("cross-site", false), ("", false)]
        {
            assert_eq!(own(&[("sec-fetch-site", site)]), expected, "{site}");
            let claimed = [("sec-fetch-site", site), ("origin", "https://a.example:8443")];
            assert_eq!(own(&claimed), expected, "{site}");
        }
    }

    #[test]
    fn an_older_browsers_origin_must_be_our_own_whatever_host_the_request_names() {
        assert!(own(&[("host", "a.example:8443"), ("origin", "https://a.example:8443")]));
        assert!(own(&[("host", "inside:8080"), ("origin", "https://a.example:8443")]), "behind a proxy");
        for (host, origin) in [
            ("evil.example", "https://evil.example"),
            ("a.example:8443", "http://a.example:8443"),
            ("a.example", "https://a.example"),
            ("a.example:8443", "https://b.a.example:8443"),
            ("a.example:8443", "https://a.example:8443.evil.example"),
            ("a.example:8443", "null"),
            ("a.example:8443", "a.example:8443"),
            ("a.example:8443", ""),
        ] {
            assert!(!own(&[("host", host), ("origin", origin)]), "{host} {origin}");
        }
        assert!(own(&[("host", "a.example:8443")]), "no browser");
    }
}
