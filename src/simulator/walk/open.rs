//! Stages 4 and 5: an account by attestation, and how much may be spent.

use serde::Deserialize;
use serde_json::json;

use super::super::agent::Stopped;
use super::money::Budget;
use super::{Walk, body, ensure};
use crate::secret::Secret;

#[derive(Deserialize)]
struct IdToken {
    id_token: String,
}

#[derive(Deserialize)]
struct Opened {
    account: Account,
    access_token: String,
    token_type: String,
    expires_in: i64,
    resource: String,
}

#[derive(Deserialize)]
struct Account {
    id: String,
    state: String,
    orchestrator: Orchestrator,
}

#[derive(Deserialize)]
struct Orchestrator {
    name: String,
}

impl Walk<'_> {
    pub(super) async fn open_an_account(&mut self) -> Result<Secret, Stopped> {
        self.agent.stage();
        let user = &self.options.user;
        let mut claims = json!({"sub": user.subject, "email": user.email, "email_verified": user.email_verified});
        if let (Some(tenant), Some(members)) = (&user.tenant, claims.as_object_mut()) {
            members.insert("tenant".to_owned(), json!(tenant));
        }
        let email = user.email.clone();
        let ask = self.at_orchestrator("POST", "/agent/id-token", 200).json(&claims).keep("ID_TOKEN", ".id_token");
        let id_token = self
            .agent
            .take(ask, |answer| {
                let token: IdToken = body(answer)?;
                Ok((Secret::presented(&token.id_token), format!("the orchestrator attests {email}")))
            })
            .await?;
        self.agent.learn("ID_TOKEN", &id_token);

        let api = format!("{}/v1", self.issuer());
        let attested = json!({"id_token": id_token.expose()});
        let ask = self.at_provider("POST", "/v1/accounts", 201).json(&attested).keep("TOKEN", ".access_token");
        let (account, token) = self
            .agent
            .take(ask, |answer| {
                let opened: Opened = body(answer)?;
                ensure(opened.account.state == "provisional", "the new account is not provisional")?;
                ensure(opened.token_type == "Bearer" && opened.resource == api, "the token is for another resource")?;
                let who = &opened.account.orchestrator.name;
                let note = format!("account opened for {who}'s user, token for {} s", opened.expires_in);
                Ok(((opened.account.id, Secret::presented(&opened.access_token)), note))
            })
            .await?;
        self.agent.learn("TOKEN", &token);

        let again = self.at_provider("POST", "/v1/accounts", 201).or(200).json(&attested);
        let second = self
            .agent
            .take(again, |answer| {
                let opened: Opened = body(answer)?;
                ensure(opened.account.id == account, "the repeated request opened another account")?;
                Ok((Secret::presented(&opened.access_token), "repeated: the same account".to_owned()))
            })
            .await?;
        if second.expose() != token.expose() {
            self.agent.learn("TOKEN", &second);
        }
        Ok(second)
    }

    pub(super) async fn see_the_budget(&mut self, token: &Secret) -> Result<Budget, Stopped> {
        self.agent.stage();
        self.budget(token).await
    }

    /// `GET /v1/budget`, checked.
    pub(super) async fn budget(&mut self, token: &Secret) -> Result<Budget, Stopped> {
        let ask = self.at_provider("GET", "/v1/budget", 200).bearer(token);
        self.agent
            .take(ask, |answer| {
                let budget: Budget = body(answer)?;
                budget.check()?;
                let resets = budget.resets_at.date().map(|day| day.format("%-d %b").to_string()).unwrap_or_default();
                let note = format!("{} until {resets}", budget.sentence());
                Ok((budget, note))
            })
            .await
    }
}
