//! Stages 1 to 3: find the catalog, believe it, be challenged and find out what to do about it.

use serde_json::{Value, json};

use super::super::agent::Stopped;
use super::super::catalog_check::check_catalog;
use super::super::discovery_check::{check_resource, check_server, read_challenge};
use super::{Ask, Catalog, Party, Walk, body, ensure, noted};
use crate::secret::sha256_name;

impl Walk<'_> {
    pub(super) async fn find_the_catalog(&mut self) -> Result<(), Stopped> {
        self.agent.stage();
        let ask = self.at_provider("GET", "/.well-known/api-catalog", 200);
        self.agent
            .take(ask, |answer| {
                let linkset: Value = body(answer)?;
                let links = linkset.get("linkset").and_then(Value::as_array).map_or(0, Vec::len);
                ensure(links > 0, "there is no linkset (RFC 9727)")?;
                noted("where everything is (RFC 9727)")
            })
            .await
    }

    pub(super) async fn check_the_catalog(&mut self) -> Result<(), Stopped> {
        self.agent.stage();
        let (ask_keys, ask_jws) =
            (self.at_provider("GET", "/oauth/jwks", 200), self.at_provider("GET", "/catalog.jws", 200));
        let ask = self.at_provider("GET", "/catalog", 200);
        let (bytes, etag) = self
            .agent
            .take(ask, |answer| {
                let etag = answer.header("etag").unwrap_or("").to_owned();
                let digest = sha256_name(&answer.body);
                ensure(etag == format!("\"{digest}\""), format!("the ETag is {etag}, not the digest of the bytes"))?;
                let note = format!("{} bytes, {}…", answer.body.len(), digest.get(..19).unwrap_or(&digest));
                Ok(((answer.body.clone(), etag), note))
            })
            .await?;
        let keys: Value = self.agent.take(ask_keys, |answer| Ok((body(answer)?, "the provider's keys".into()))).await?;
        let (issuer, now) = (self.issuer(), self.now);
        let document = self
            .agent
            .take(ask_jws, |answer| {
                let checked = check_catalog(&bytes, &body(answer)?, &keys, &issuer, now);
                let catalog = checked.map_err(|refused| refused.to_string())?;
                let title = catalog.title.map(|title| format!("{title}, ")).unwrap_or_default();
                let services = catalog.services.len();
                let note = format!("{title}revision {}, {services} services, ES256 and EdDSA good", catalog.version);
                Ok((serde_json::from_slice(&bytes).map_err(|error| error.to_string())?, note))
            })
            .await?;
        self.catalog = Catalog { digest: sha256_name(&bytes), document };
        let again = self.at_provider("GET", "/catalog", 304).header("if-none-match", etag);
        self.agent.take(again, |_| noted("nothing new, nothing sent")).await
    }

    pub(super) async fn follow_the_challenge(&mut self) -> Result<(), Stopped> {
        self.agent.stage();
        let api = format!("{}/v1", self.issuer());
        let asked = super::at(&self.provider, "/v1/resources");
        let ask = self
            .at_provider("POST", "/v1/resources", 401)
            .key(&self.key("unknown"))
            .json(&json!({"service": "sandbox", "plan": "free"}));
        let challenge = self
            .agent
            .take(ask, |answer| {
                let challenge = read_challenge(answer.header("www-authenticate").unwrap_or(""), &asked)?;
                ensure(challenge.error.is_none(), "`error` without a token (RFC 6750 §3.1)")?;
                let problem: Value = body(answer)?;
                let next = problem.get("next").and_then(|next| next.get("action")).and_then(Value::as_str);
                ensure(next.is_some(), "the problem does not say what to do `next`")?;
                let note = format!("who are you? needs {}", challenge.scope.join(" "));
                Ok((challenge, note))
            })
            .await?;
        let ask = Ask::new(Party::Provider, "GET", challenge.resource_metadata.clone(), 200);
        let issuer = self
            .agent
            .take(ask, |answer| {
                Ok((
                    check_resource(&body(answer)?, &api, &challenge)?,
                    "the resource names its server (RFC 9728)".into(),
                ))
            })
            .await?;
        let ask = self.at_provider("GET", "/.well-known/oauth-authorization-server", 200);
        self.agent
            .take(ask, |answer| {
                check_server(&body(answer)?, &issuer, &api)?;
                noted("and the server names its resource (RFC 8414)")
            })
            .await
    }
}
