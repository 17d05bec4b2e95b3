//! Somebody with an account at the target, and how they come to it.

use serde_json::{Value, json};

use super::answer::{Answer, Envelope};
use super::call::{ACCOUNT_REQUESTS, Call};
use super::case::{Stop, not_applicable};
use super::session::Session;
use crate::clock::Timestamp;
use crate::secret::sha256_base64url;

/// The verifier of a public client (RFC 7636 §4.1): fixed, because nothing secret depends on it here.
pub(super) const VERIFIER: &str = "conformance-runner-verifier-0123456789-abcdefghij";

/// Somebody with tokens.
#[derive(Debug, Clone)]
pub(super) struct Party {
    pub(super) email: String,
    /// Their account at the orchestrator.
    pub(super) subject: String,
    pub(super) access: String,
    pub(super) refresh: Option<String>,
    /// The provider's id of the account; empty when it was not told.
    pub(super) account: String,
    /// Who collects payment: `orchestrator` or `provider`.
    pub(super) payment: Option<String>,
}

impl Session {
    pub(super) fn fresh_email(&self) -> String {
        format!("{}@{}", self.name(), self.options.email_domain)
    }

    pub(super) fn fresh_subject(&self) -> String {
        format!("acct_{}", self.name().replace('-', ""))
    }

    /// `seconds` from now, in the form with `Z`.
    pub(super) fn at(&self, seconds: i64) -> String {
        Timestamp::from_seconds(self.now().seconds() + seconds).to_rfc3339()
    }

    /// A right account request for `email`, attested as `subject`.
    pub(super) fn account_request(&self, email: &str, subject: &str) -> Value {
        let kind = &self.options.orchestrator_type;
        let profile = self.options.profile;
        let mut body = json!({
            "id": format!("acctreq_{}", self.name()),
            "object": "account_request",
            "email": email,
            "name": "Dana Ruiz",
            "scopes": [],
            "client_capabilities": ["browser", "email"],
            "configuration": {},
            "confirmation_secret": format!("cs_{}", self.name().replace('-', "_")),
            "expires_at": self.at(600),
        });
        if profile.signed {
            let whom = json!({"account": subject, profile.organization: format!("org_{subject}")});
            body["orchestrator"] = json!({"type": kind, kind.as_str(): whom});
        } else {
            body["code_challenge"] = json!(sha256_base64url(VERIFIER.as_bytes()));
            body["code_challenge_method"] = json!("S256");
        }
        if let Some(client) = &self.options.client_id {
            body["client_id"] = json!(client);
        }
        body
    }

    /// A right request of somebody new.
    pub(super) fn new_request(&self) -> Value {
        self.account_request(&self.fresh_email(), &self.fresh_subject())
    }

    pub(super) async fn ask(&self, body: &Value) -> Result<Answer, Stop> {
        self.send(Call::post(ACCOUNT_REQUESTS, body)).await
    }

    /// The code in the answer to `body`, where the provider works with codes.
    pub(super) async fn code_for(&self, body: &Value) -> Result<String, Stop> {
        let answer = self.ask(body).await.map_err(Stop::preparing)?;
        match answer.kind() {
            Some("credentials") if answer.succeeded() => {
                not_applicable("the provider answers with credentials at once: there are no codes")
            }
            Some("requires_auth") if answer.succeeded() => {
                not_applicable("the provider asks every new user to consent in a browser")
            }
            Some("needs_information") if answer.succeeded() => {
                not_applicable("the provider asks for more information about every new user")
            }
            _ => answer.need("/oauth/code").map_err(Stop::preparing),
        }
    }

    /// A code for somebody new.
    pub(super) async fn code(&self) -> Result<String, Stop> {
        self.code_for(&self.new_request()).await
    }

    /// The exchange of a code.
    pub(super) fn exchange(&self, code: &str) -> Call {
        let mut fields = vec![("grant_type", "authorization_code"), ("code", code)];
        if !self.options.profile.signed {
            fields.push(("code_verifier", VERIFIER));
        }
        if let Some(client) = &self.options.client_id {
            fields.push(("client_id", client));
        }
        Call::form(&fields)
    }

    /// The refresh of a token, by possession alone.
    pub(super) fn refresh(&self, token: &str) -> Call {
        let mut fields = vec![("grant_type", "refresh_token"), ("refresh_token", token)];
        if let Some(client) = &self.options.client_id {
            fields.push(("client_id", client));
        }
        Call::form(&fields)
    }

    /// Who the answer to an account request lets in; nobody when consent is asked for.
    pub(super) async fn let_in(&self, answer: &Answer, email: &str, subject: &str) -> Result<Option<Party>, Stop> {
        let tokens = match answer.kind() {
            Some("oauth") if answer.succeeded() => {
                let answer = self.send(self.exchange(&answer.need("/oauth/code")?)).await?;
                answer.is(200)?;
                answer
            }
            Some("credentials") if answer.succeeded() => {
                let mut inner = answer.clone();
                inner.json = answer.json.pointer("/credentials/bearer").cloned().unwrap_or_default();
                inner
            }
            Some("requires_auth" | "needs_information") if answer.succeeded() => return Ok(None),
            _ => return Err(answer.wrong("an account: 200 with `oauth`, `credentials` or `requires_auth`")),
        };
        Ok(Some(Party {
            email: email.to_owned(),
            subject: subject.to_owned(),
            access: tokens.need("/access_token")?,
            refresh: tokens.text("/refresh_token").map(str::to_owned),
            account: tokens.text("/account/id").unwrap_or("").to_owned(),
            payment: tokens.text("/account/payment_credentials").map(str::to_owned),
        }))
    }

    /// An account for `email`.
    pub(super) async fn open_as(&self, email: &str, subject: &str) -> Result<Party, Stop> {
        let opened = async {
            let answer = self.ask(&self.account_request(email, subject)).await?;
            self.let_in(&answer, email, subject).await
        };
        match opened.await.map_err(Stop::preparing)? {
            Some(party) => Ok(party),
            None => not_applicable("the provider asks every new user to consent in a browser"),
        }
    }

    /// An account of somebody new.
    pub(super) async fn open(&self) -> Result<Party, Stop> {
        self.open_as(&self.fresh_email(), &self.fresh_subject()).await
    }

    /// The account that cases share which leave it as it is.
    pub(super) async fn party(&self) -> Result<&Party, Stop> {
        self.party.get_or_try_init(|| self.open()).await
    }

    /// Somebody with a refresh token.
    pub(super) async fn refreshable(&self) -> Result<(Party, String), Stop> {
        let party = self.open().await?;
        match party.refresh.clone() {
            Some(token) => Ok((party, token)),
            None => not_applicable("the provider gives no refresh tokens"),
        }
    }

    /// The answer that asks an existing user to consent.
    pub(super) async fn consent(&self) -> Result<(Answer, Value), Stop> {
        let email = match &self.options.existing_email {
            Some(email) => email.clone(),
            None => self.party().await?.email.clone(),
        };
        let body = self.account_request(&email, &self.fresh_subject());
        let answer = self.ask(&body).await.map_err(Stop::preparing)?;
        if answer.succeeded() && answer.kind() == Some("requires_auth") {
            return Ok((answer, body));
        }
        not_applicable(
            "the provider did not answer `requires_auth` to an existing e-mail (name one with --existing-email)",
        )
    }

    /// Whether `token` is still good: it may ask for a link.
    pub(super) async fn works(&self, token: &str) -> Result<(bool, Answer), Stop> {
        // A resource that does not exist: a good token is told so, a bad one is refused.
        let call = Call::get(super::call::resource("conform-no-such-resource")).bearer(token);
        let answer = self.send(call).await?;
        let refused = answer.refused(Envelope::Any, &[401], &[]).is_ok();
        Ok((!refused, answer))
    }
}
