//! `/claim`: an account that was opened on somebody's word becomes its human's. Looking changes nothing; one button does.

mod show;
mod take;

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use actix_web::web::{self, ServiceConfig};
use serde::Deserialize;

use super::dashboard::CLAIMED;
use super::dashboard::onward::Onward;
use super::dashboard::pages::{Frame, MessagePage, respond};
use super::problem::Problem;
use crate::account::Account;
use crate::app::App;
use crate::claim::{self, Standing};
use crate::clock::Timestamp;
use crate::db::DbError;
use crate::login::{self, Session};

/// Routes.
pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .service(web::resource("/claim").get(show::show).post(take::take))
        .service(web::resource("/claim/passkey/begin").post(take::begin_passkey));
}

/// Where it leads afterwards; what is no path of ours leads to the dashboard.
#[derive(Debug, Default, Deserialize)]
struct ClaimQuery {
    to: Option<String>,
}

impl ClaimQuery {
    fn onward(&self) -> Onward {
        self.to.as_deref().and_then(|to| to.parse().ok()).unwrap_or_else(dashboard)
    }
}

fn dashboard() -> Onward {
    CLAIMED.parse().unwrap_or_default()
}

/// The page of the claim, leading on to another page of ours.
fn page(onward: &Onward) -> Onward {
    let there = if *onward == dashboard() { String::new() } else { onward.query() };
    format!("/claim{there}").parse().unwrap_or_default()
}

/// For whatever needs a claimed account: leads to the claim, and from there back. `None`: it is claimed.
pub(super) fn claim_first(account: &Account, onward: &Onward) -> Option<HttpResponse> {
    let claim = || {
        HttpResponse::SeeOther()
            .insert_header((header::LOCATION, page(onward).to_string()))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .insert_header((header::REFERRER_POLICY, "no-referrer"))
            .finish()
    };
    (!account.is_claimed()).then(claim)
}

/// What the human of a session has proved of what a claim needs.
async fn standing(app: &App, session: &Session, now: Timestamp) -> Result<Standing, Problem> {
    let (account, hash) = (session.account.clone(), session.hash.clone());
    let passkey_counts = app.claims_by_passkey();
    let standing = app.db.read(move |conn| {
        let proofs = login::proofs(conn, &hash)?;
        let asserted = match &proofs.upstream {
            Some(person) => claim::is_asserted(conn, &account.id, person)?,
            None => false,
        };
        Ok::<_, DbError>(claim::standing(&account, &proofs, (asserted, passkey_counts), now))
    });
    Ok(standing.await?)
}

/// The account has an owner: whoever looks, or somebody else a moment ago.
fn claimed_already(app: &App, account: &Account, status: StatusCode) -> HttpResponse {
    let page = MessagePage {
        frame: Frame { provider: app.provider_name(), user: account.is_claimed().then(|| name_of(account)) },
        heading: "This account is claimed.".to_owned(),
        text: "It has an owner, and everything from before the claim ended. Nothing was changed now.".to_owned(),
        steps: vec!["If that was you, log in and go on.".to_owned(), "If not, ask the provider's support.".to_owned()],
        request_id: None,
        log_in: (!account.is_claimed()).then(|| "/login".to_owned()),
    };
    respond(&page, status)
}

fn name_of(account: &Account) -> String {
    account.email.clone().unwrap_or_else(|| account.id.to_string())
}
