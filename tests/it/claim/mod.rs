//! Claiming an account: who can, what ends, what goes on, and what an attacker tries.

mod attackers;
mod ceilings;
mod ends;
mod mailbox_alone;
mod pre_hijacking;
mod ways;

use diesel::prelude::*;
use portreeve::app::{App, HOUSE};
use portreeve::db::DbError;
use portreeve::db::schema::{accounts, claims, passkeys, upstream_links};
use portreeve::fetch::Outgoing;
use portreeve::ids::AccountId;
use portreeve::login::RelyingParty;
use serde_json::{Value, json};

use crate::harness::app::{Agent, TestApp};
use crate::harness::authenticator::makes_passkey;
use crate::harness::browser::Browser;
use crate::harness::client::Answer;
use crate::harness::databases::TestDb;
use crate::login_upstream::Away;
use crate::mock_issuer::MockIssuer;

pub(super) const ADA: &str = "ada@example.test";
const SESSION: &str = "portreeve_session";
/// Where browsers would find us, for passkeys.
const ORIGIN: &str = "http://localhost:8080";
/// Where the log-ins of a claim lead.
const BACK: &str = "?to=%2Fclaim&max_age=300";

/// The provider with its own OpenID provider.
async fn start(db: &TestDb) -> (TestApp, MockIssuer) {
    start_bent(db, &[], |_| ()).await
}

async fn start_bent(db: &TestDb, more: &[(&str, &str)], bend: impl FnOnce(&mut App)) -> (TestApp, MockIssuer) {
    let issuer = MockIssuer::start().await;
    let mut settings = vec![
        ("login.oidc.issuer", issuer.url.as_str()),
        ("login.oidc.client_id", "desk"),
        ("login.oidc.client_secret", "between-us"),
        ("login.oidc.name", "Acme ID"),
        ("limits.address_log_ins_per_hour", "0"),
        ("limits.email_log_ins_per_hour", "0"),
    ];
    settings.extend(more);
    (TestApp::start_bent(db, &settings, bend).await, issuer)
}

/// The provider without one, at an address for which browsers make passkeys.
async fn start_with_passkeys(db: &TestDb) -> TestApp {
    let often = [("limits.address_log_ins_per_hour", "0"), ("limits.email_log_ins_per_hour", "0")];
    let party = RelyingParty::new(ORIGIN, "Acme").unwrap();
    TestApp::start_bent(db, &often, |app| app.relying_party = party).await
}

/// Logs the browser in by a link in a mail that it asks for; there are `mails` of them then.
async fn by_mail(app: &TestApp, browser: &Browser, email: &str, mails: usize) {
    let fields = [("email", email), ("to", "/claim"), ("max_age", "300")];
    browser.submits("/login", &fields).await.expect_status(200);
    let link = app.mailed_link(mails).await;
    let on = browser.submits(&link, &[]).await.expect_status(303);
    assert_eq!(on.header("location"), "/claim");
}

/// Logs the browser in at the OpenID provider.
async fn at_the_issuer(
    app: &TestApp,
    issuer: &MockIssuer,
    browser: Browser,
    (subject, email): (&str, &str),
) -> Browser {
    let away = Away::in_browser(browser, &format!("/login/upstream{BACK}")).await;
    assert_eq!(away.of("max_age"), "300", "fresh");
    let claims = away.claims(app, issuer, subject, email);
    let on = away.with(issuer, claims).await.expect_status(303);
    assert_eq!(on.header("location"), "/claim");
    away.browser
}

/// A browser of Ada's that proved both: the mailbox, and her log-in.
async fn proven(app: &TestApp, issuer: &MockIssuer, mails: usize) -> Browser {
    let browser = Browser::new(app);
    by_mail(app, &browser, ADA, mails).await;
    at_the_issuer(app, issuer, browser, ("1001", ADA)).await
}

/// Presses the button, with these orchestrators ticked.
async fn claims_with(browser: &Browser, keep: &[&str]) -> Answer {
    let ticks: Vec<(&str, &str)> = keep.iter().map(|id| ("keep", *id)).collect();
    browser.submits("/claim", &ticks).await
}

/// A passkey for the page's question: the fields of the form.
async fn passkey(browser: &Browser, verified: bool) -> [(&'static str, String); 3] {
    let begun = browser
        .send(
            Outgoing::post_json(browser.client.url("/claim/passkey/begin"), &json!({}))
                .header("sec-fetch-site", "same-origin"),
        )
        .await
        .expect_status(200)
        .json();
    let credential: Value = makes_passkey(ORIGIN, &begun["options"], verified);
    let step = begun["step"].as_str().unwrap().to_owned();
    [("step", step), ("credential", credential.to_string()), ("name", "My phone".to_owned())]
}

fn borrowed<'f>(fields: &'f [(&'static str, String)]) -> Vec<(&'static str, &'f str)> {
    fields.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// The state of an account, and by what it was claimed.
async fn state(app: &TestApp, account: &str) -> (String, Option<String>) {
    let id: AccountId = account.parse().unwrap();
    let read = app.app().db.read(move |conn| {
        let state = accounts::table.find(&id).select(accounts::state).first(conn)?;
        let method = claims::table.find(&id).select(claims::method).first(conn).optional()?;
        Ok::<_, DbError>((state, method))
    });
    read.await.unwrap()
}

async fn is_unclaimed(app: &TestApp, account: &str) -> bool {
    state(app, account).await == ("provisional".to_owned(), None)
}

/// How many passkeys and how many connected persons.
async fn ways_in(app: &TestApp, account: &str) -> (i64, i64) {
    let id: AccountId = account.parse().unwrap();
    let read = app.app().db.read(move |conn| {
        let keys = passkeys::table.filter(passkeys::account_id.eq(&id)).count().get_result(conn)?;
        let people = upstream_links::table.filter(upstream_links::account_id.eq(&id)).count().get_result(conn)?;
        Ok::<_, DbError>((keys, people))
    });
    read.await.unwrap()
}

/// Somebody attached ways in of their own before the account was claimed, however they did that.
async fn plant_ways_in(app: &TestApp, account: &str, issuer: &str) {
    let (id, issuer, now) = (account.parse::<AccountId>().unwrap(), issuer.to_owned(), app.now());
    let planted = app.app().db.write(HOUSE, move |conn| {
        diesel::insert_into(passkeys::table)
            .values((
                passkeys::credential_id.eq(format!("planted-{id}")),
                passkeys::account_id.eq(&id),
                passkeys::name.eq("planted"),
                passkeys::credential.eq("{}"),
                passkeys::created_at.eq(now),
            ))
            .execute(conn)?;
        diesel::insert_into(upstream_links::table)
            .values((
                upstream_links::issuer.eq(&issuer),
                upstream_links::subject.eq("666"),
                upstream_links::account_id.eq(&id),
                upstream_links::created_at.eq(now),
            ))
            .execute(conn)?;
        Ok::<_, DbError>(())
    });
    planted.await.unwrap();
}

/// The account is nobody's again: what a test needed a claimed one for stands now from before the claim.
pub(crate) async fn is_provisional_again(app: &TestApp, account: &str) {
    let id: AccountId = account.parse().unwrap();
    let set = app.app().db.write(HOUSE, move |conn| {
        let row = accounts::table.find(&id);
        Ok::<_, DbError>(diesel::update(row).set(accounts::state.eq("provisional")).execute(conn)?)
    });
    set.await.unwrap();
}

/// Whether the agent gets a token with a fresh attestation, and it works.
async fn gets_in(agent: &mut Agent<'_>) -> bool {
    let id_token = agent.app.id_token(&agent.user);
    let answer = agent.app.stranger().post("/v1/accounts", &json!({"id_token": id_token})).await;
    if answer.status() != 200 {
        return false;
    }
    agent.logs_in_again().await;
    agent.client.get("/v1/budget").await.status() == 200
}
