//! A browser as far as it matters: it keeps cookies, says where its forms come from, and follows nothing by itself.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use diesel::prelude::*;
use portreeve::app::HOUSE;
use portreeve::db::DbError;
use portreeve::db::schema::accounts;
use portreeve::fetch::Outgoing;
use portreeve::ids::AccountId;
use portreeve::login::{self, Authentication, Method, NewSession};
use portreeve::secret::Secret;

use super::app::{Agent, TestApp};
use super::client::{Answer, Client};

/// The account is its human's, without the way there.
pub(crate) async fn was_claimed(app: &TestApp, account: &str) {
    let id: AccountId = account.parse().expect("an account id");
    let set = app.app().db.write(HOUSE, move |conn| {
        let unclaimed = accounts::table.find(&id).filter(accounts::state.eq("provisional"));
        Ok::<_, DbError>(diesel::update(unclaimed).set(accounts::state.eq("active")).execute(conn)?)
    });
    set.await.expect("the account is claimed");
}

/// Somebody at a browser.
pub(crate) struct Browser {
    pub(crate) client: Client,
    cookies: Mutex<BTreeMap<String, String>>,
}

impl Browser {
    /// Without any cookie.
    pub(crate) fn new(app: &TestApp) -> Self {
        Self { client: app.stranger(), cookies: Mutex::default() }
    }

    /// With a session of a link that the agent asked for: anybody could have it, the agent too.
    pub(crate) async fn by_link(agent: &Agent<'_>) -> Self {
        let browser = Self::new(agent.app);
        browser.uses_link(&agent.link().await).await;
        browser
    }

    /// Presses the button behind a one-use link.
    pub(crate) async fn uses_link(&self, link: &str) {
        self.form(link, &[], "").await.expect_status(303);
    }

    /// With a session of the account's owner, who claimed it some time ago and logged in just now.
    pub(crate) async fn of_owner(agent: &Agent<'_>) -> Self {
        was_claimed(agent.app, &agent.account).await;
        Self::of_human(agent).await
    }

    /// With a session of somebody who logged in by mail just now, whoever the account belongs to.
    pub(crate) async fn of_human(agent: &Agent<'_>) -> Self {
        Self::of_method(agent, Method::MailLink).await
    }

    /// The same of somebody who logged in by `method` just now.
    pub(crate) async fn of_method(agent: &Agent<'_>, method: Method) -> Self {
        let (app, session) = (agent.app, Secret::generate("ses").expect("randomness"));
        let new = NewSession {
            hash: session.hash(),
            account: agent.account.parse().expect("an account id"),
            authentication: Authentication { method, at: app.now() },
            replaces: None,
        };
        let now = app.now();
        app.app().db.write(HOUSE, move |conn| login::begin(conn, &new, now)).await.expect("the session begins");
        let browser = Self::new(app);
        browser.takes("portreeve_session", session.expose());
        browser
    }

    /// Sets a cookie, or (empty) forgets it.
    pub(crate) fn takes(&self, name: &str, value: &str) {
        let mut cookies = self.cookies.lock().unwrap_or_else(PoisonError::into_inner);
        if value.is_empty() {
            cookies.remove(name);
        } else {
            cookies.insert(name.to_owned(), value.to_owned());
        }
    }

    /// What is kept under a name.
    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Outgoing::get(self.client.url(path))).await
    }

    /// As somebody who wants a page and no document for programs.
    pub(crate) async fn get_as_html(&self, path: &str) -> Answer {
        self.send(Outgoing::get(self.client.url(path)).header("accept", "text/html")).await
    }

    pub(crate) async fn get_as_script(&self, path: &str) -> Answer {
        self.send(Outgoing::get(self.client.url(path)).header("hx-request", "true")).await
    }

    /// A form without fields.
    pub(crate) async fn post(&self, path: &str, headers: &[(&'static str, &str)]) -> Answer {
        self.form(path, headers, "").await
    }

    pub(crate) async fn form(&self, path: &str, headers: &[(&'static str, &str)], body: &str) -> Answer {
        let form = Outgoing::post(self.client.url(path), "application/x-www-form-urlencoded", body.as_bytes().to_vec());
        self.send(headers.iter().fold(form, |form, (name, value)| form.header(name, *value))).await
    }

    /// A form of our own page.
    pub(crate) async fn submits(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.form(path, &[("sec-fetch-site", "same-origin")], &body).await
    }

    /// Anything, with the cookies; keeps those that come back.
    pub(crate) async fn send(&self, outgoing: Outgoing) -> Answer {
        let cookies = {
            let cookies = self.cookies.lock().unwrap_or_else(PoisonError::into_inner);
            cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
        };
        let outgoing = if cookies.is_empty() { outgoing } else { outgoing.header("cookie", cookies) };
        let answer = self.client.send(outgoing).await;
        for cookie in answer.headers("set-cookie") {
            let (name, value) = cookie.split(';').next().and_then(|pair| pair.split_once('=')).expect("a cookie");
            self.takes(name, value);
        }
        answer
    }
}
