//! Stage 14: an account for somebody who has none, and none for somebody who only says another's address.

use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use super::super::super::agent::Stopped;
use super::super::{Ask, Walk, body, ensure, noted};
use super::{Guest, Held, refused, text};
use crate::secret::Secret;

const PATH: &str = "/provisioning/account_requests";

impl Walk<'_> {
    /// A request for an account with this address, for the orchestrator's user of this name.
    pub(super) fn account_request(guest: &Guest<'_>, id: &str, subject: &str, email: &str) -> Value {
        json!({
            "id": id, "object": "account_request", "email": email, "scopes": [], "client_capabilities": ["browser"],
            "kyc": {"verified_fields": ["email"]}, "actor": {"email": email, "ip_address": "127.0.0.1"},
            "confirmation_secret": format!("{id}-secret"), "expires_at": guest.expires_at,
            "orchestrator": {"type": "stripe", "stripe": {"account": subject}},
        })
    }

    /// Account request, code, token; and each of them again.
    pub(super) async fn ask_for_an_account(&mut self, guest: &Guest<'_>) -> Result<Held, Stopped> {
        let email = guest.user.email.clone();
        let wanted = Self::account_request(guest, &self.key("account"), &guest.user.subject, &email);
        let ask = self.signed(self.wire_post(PATH, &wanted));
        let code = self
            .agent
            .take(ask.clone().keep("CODE", ".oauth.code"), |answer| {
                let said: Value = body(answer)?;
                ensure(text(&said, "/type")? == "oauth", "it is not answered with a code")?;
                let code = Secret::presented(text(&said, "/oauth/code")?);
                Ok((code, format!("an account for {email}, who had none, and a code")))
            })
            .await?;
        self.agent.learn("CODE", &code);
        let same = code.clone();
        self.agent
            .take(ask, |answer| {
                let said: Value = body(answer)?;
                ensure(text(&said, "/oauth/code")? == same.expose(), "the same request has another code")?;
                noted("the same request: the same code")
            })
            .await?;
        self.redeem(&code).await
    }

    async fn redeem(&mut self, code: &Secret) -> Result<Held, Stopped> {
        let mut form = Serializer::new(String::new());
        let form = form.append_pair("grant_type", "authorization_code").append_pair("code", code.expose()).finish();
        let ask: Ask = self.signed(self.at_provider("POST", "/oauth/token", 200).form(form));
        let held = self
            .agent
            .take(ask.clone().keep("GUEST_TOKEN", ".access_token"), |answer| {
                let said: Value = body(answer)?;
                let payer = text(&said, "/account/payment_credentials")?;
                ensure(payer == "orchestrator", format!("`{payer}` pays, not the orchestrator"))?;
                let token = Secret::presented(text(&said, "/access_token")?);
                let lasts = said.get("expires_in").and_then(Value::as_i64).ok_or("`expires_in` is missing")?;
                let account = text(&said, "/account/id")?.to_owned();
                Ok((Held { account, token }, format!("the code becomes a token for {lasts} s")))
            })
            .await?;
        self.agent.learn("GUEST_TOKEN", &held.token);
        self.agent
            .take(ask.expecting(400), |answer| {
                refused(answer, "invalid_grant")?;
                noted("and the code works once")
            })
            .await?;
        Ok(held)
    }

    /// The first user's address in the mouth of another user of the orchestrator.
    pub(super) async fn ask_for_the_account_of_another(&mut self, guest: &Guest<'_>) -> Result<(), Stopped> {
        let (email, subject) = (self.options.user.email.clone(), format!("{}-2", guest.user.subject));
        let wanted = Self::account_request(guest, &self.key("taken"), &subject, &email);
        let ask = self.signed(self.wire_post(PATH, &wanted));
        let home = self.issuer();
        self.agent
            .take(ask, |answer| {
                let said: Value = body(answer)?;
                let kind = text(&said, "/type")?;
                ensure(kind == "requires_auth", format!("{email} has an account, and the answer is `{kind}`"))?;
                let page = text(&said, "/requires_auth/redirect/url")?;
                ensure(page.starts_with(&home), "the page of consent is somewhere else")?;
                noted(format!("{email} has an account: only its owner can link it"))
            })
            .await
    }
}
