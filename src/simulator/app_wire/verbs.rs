//! The verbs of the wire, each one call.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use url::Url;
use url::form_urlencoded::Serializer;

use super::super::mischief::Verb;
use super::super::registry::{Kept, Member, Provider};
use super::super::state::State;
use super::answer::{AccountAnswer, DeepLink, ResourceAnswer, TokensSaid, WireError, judged};
use super::send::{Body, Call, send};
use super::service::Service;

/// The most pages of a catalog that are read.
const PAGES: usize = 100;
/// Under which the provider may say which signed revision its services come from.
const DIGEST: &str = "portreeve-catalog-digest";

/// A line to one provider.
pub(in crate::simulator) struct Wire<'s> {
    state: &'s State,
    provider: &'s Provider,
}

/// What an account request says besides who the user is.
pub(in crate::simulator) struct AccountRequest<'r> {
    pub(in crate::simulator) id: &'r str,
    pub(in crate::simulator) confirmation_secret: &'r str,
    pub(in crate::simulator) expires_at: crate::clock::Timestamp,
    pub(in crate::simulator) challenge: Option<String>,
    pub(in crate::simulator) configuration: Value,
}

impl<'s> Wire<'s> {
    pub(in crate::simulator) fn to(state: &'s State, provider: &'s Provider) -> Self {
        Self { state, provider }
    }

    async fn call(&self, verb: Verb, path: &[&str], body: Body) -> Result<Value, WireError> {
        self.ask(Call { verb, url: self.url(path)?, body, bearer: None, key: None, basic: None }).await
    }

    async fn ask(&self, call: Call) -> Result<Value, WireError> {
        judged(&send(self.state, self.provider, &call).await?)
    }

    fn url(&self, path: &[&str]) -> Result<Url, WireError> {
        let mut url = self.provider.wire_url.clone();
        // An id of a provider is one segment, whatever is in it.
        url.path_segments_mut()
            .map_err(|()| WireError::Ours("the provider's URL takes no path".to_owned()))?
            .pop_if_empty()
            .push("provisioning")
            .extend(path);
        Ok(url)
    }

    /// The versions that the provider says it speaks.
    pub(in crate::simulator) async fn health(&self) -> Result<Value, WireError> {
        self.call(Verb::Health, &["health"], Body::Nothing).await
    }

    /// Every service, and the digest of the signed revision that they come from, when the provider says it.
    pub(in crate::simulator) async fn services(&self) -> Result<(Vec<Service>, Option<String>), WireError> {
        let (mut services, mut cursor) = (Vec::new(), None::<String>);
        for _page in 0..PAGES {
            let mut url = self.url(&["services"])?;
            if let Some(cursor) = &cursor {
                url.query_pairs_mut().append_pair("cursor", cursor);
            }
            let call = Call { verb: Verb::Services, url, body: Body::Nothing, bearer: None, key: None, basic: None };
            let answer = send(self.state, self.provider, &call).await?;
            let body = judged(&answer)?;
            let data = body.get("data").and_then(Value::as_array);
            let data = data.ok_or_else(|| WireError::Shape("`data` is no list".to_owned()))?;
            for said in data {
                services.push(Service::read(said).map_err(WireError::Shape)?);
            }
            // Absent, null and empty all mean the last page.
            let next = body.get("next_cursor").and_then(Value::as_str).filter(|next| !next.is_empty());
            match next {
                Some(next) if cursor.as_deref() != Some(next) => cursor = Some(next.to_owned()),
                _ => return Ok((services, answer.header(DIGEST).map(str::to_owned))),
            }
        }
        Err(WireError::Shape(format!("the catalog has more than {PAGES} pages")))
    }

    pub(in crate::simulator) async fn request_account(
        &self,
        user: &Member,
        request: &AccountRequest<'_>,
    ) -> Result<AccountAnswer, WireError> {
        let mut party = json!({"account": user.subject});
        if let (Some(organization), Some(members)) = (&self.provider.organization, party.as_object_mut()) {
            members.insert("organization".to_owned(), json!(organization));
        }
        let mut known = vec!["email"];
        known.extend(["name", "phone", "country"].into_iter().filter(|field| user.knows(field)));
        let verified: Vec<&str> =
            known.iter().copied().filter(|field| *field != "email" || user.email_verified).collect();
        let mut body = json!({
            "id": request.id,
            "object": "account_request",
            "email": user.email,
            "scopes": self.provider.scopes,
            "client_capabilities": ["browser"],
            "kyc": {"verified_fields": verified},
            "actor": actor(user),
            "confirmation_secret": request.confirmation_secret,
            "expires_at": request.expires_at,
            "orchestrator": {"type": self.provider.orchestrator_type, &self.provider.orchestrator_type: party},
        });
        let configured = request.configuration.as_object().is_some_and(|members| !members.is_empty());
        let more = [
            ("name", user.name.clone().map(Value::from)),
            ("phone", user.phone.clone().map(Value::from)),
            ("country", user.country.clone().map(Value::from)),
            ("configuration", configured.then(|| request.configuration.clone())),
            ("code_challenge", request.challenge.clone().map(Value::from)),
            ("code_challenge_method", request.challenge.as_ref().map(|_| Value::from("S256"))),
        ];
        put(&mut body, more);
        AccountAnswer::read(&self.posted(Verb::AccountRequest, &["account_requests"], body, None, request.id).await?)
    }

    /// Redeems a code.
    pub(in crate::simulator) async fn exchange(
        &self,
        code: &Kept,
        verifier: Option<&Kept>,
    ) -> Result<TokensSaid, WireError> {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code").append_pair("code", code.expose());
        if let Some(verifier) = verifier {
            form.append_pair("code_verifier", verifier.expose());
        }
        self.token(Verb::Token, form.finish()).await
    }

    /// New tokens for old.
    pub(in crate::simulator) async fn refresh(&self, refresh_token: &Kept) -> Result<TokensSaid, WireError> {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", refresh_token.expose());
        self.token(Verb::Refresh, form.finish()).await
    }

    async fn token(&self, verb: Verb, form: String) -> Result<TokensSaid, WireError> {
        let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        // RFC 6749 §2.3.1.
        let basic = self
            .provider
            .oauth_client
            .as_ref()
            .map(|(id, secret)| STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret.expose()))));
        let url = self.provider.token_url.clone();
        TokensSaid::read(&self.ask(Call { verb, url, body: Body::Form(form), bearer: None, key: None, basic }).await?)
    }

    async fn posted(
        &self,
        verb: Verb,
        path: &[&str],
        body: Value,
        bearer: Option<&Kept>,
        key: &str,
    ) -> Result<Value, WireError> {
        let url = self.url(path)?;
        let (body, bearer, key) = (Body::Json(body), bearer.cloned(), Some(key.to_owned()));
        self.ask(Call { verb, url, body, bearer, key, basic: None }).await
    }

    /// Makes a resource. The same `key` makes it once.
    pub(in crate::simulator) async fn create(
        &self,
        bearer: &Kept,
        key: &str,
        body: Value,
    ) -> Result<ResourceAnswer, WireError> {
        ResourceAnswer::read(&self.posted(Verb::Create, &["resources"], body, Some(bearer), key).await?, None)
    }

    /// Takes over a resource that the provider has already.
    pub(in crate::simulator) async fn link_resource(
        &self,
        bearer: &Kept,
        key: &str,
        body: Value,
    ) -> Result<ResourceAnswer, WireError> {
        let path = ["resources", "link"];
        ResourceAnswer::read(&self.posted(Verb::LinkResource, &path, body, Some(bearer), key).await?, None)
    }

    pub(in crate::simulator) async fn get(&self, bearer: &Kept, id: &str) -> Result<ResourceAnswer, WireError> {
        let url = self.url(&["resources", id])?;
        let bearer = Some(bearer.clone());
        let call = Call { verb: Verb::Get, url, body: Body::Nothing, bearer, key: None, basic: None };
        ResourceAnswer::read(&self.ask(call).await?, Some(id))
    }

    /// `update_service`, `remove` or `rotate_credentials`.
    pub(in crate::simulator) async fn change(
        &self,
        verb: Verb,
        bearer: &Kept,
        id: &str,
        key: &str,
        body: Value,
    ) -> Result<ResourceAnswer, WireError> {
        let action = match verb {
            Verb::Update => "update_service",
            Verb::Rotate => "rotate_credentials",
            _ => "remove",
        };
        let said = self.posted(verb, &["resources", id, action], body, Some(bearer), key).await?;
        ResourceAnswer::read(&said, Some(id))
    }

    pub(in crate::simulator) async fn deep_link(
        &self,
        bearer: &Kept,
        user: &Member,
        key: &str,
    ) -> Result<DeepLink, WireError> {
        let body = json!({"purpose": "dashboard", "actor": actor(user)});
        DeepLink::read(&self.posted(Verb::DeepLink, &["deep_links"], body, Some(bearer), key).await?)
    }
}

/// The person for whom a call is made.
pub(in crate::simulator) fn actor(user: &Member) -> Value {
    json!({"email": user.email, "ip_address": "127.0.0.1"})
}

/// Adds what is there.
pub(in crate::simulator) fn put<const N: usize>(body: &mut Value, more: [(&str, Option<Value>); N]) {
    let Some(members) = body.as_object_mut() else { return };
    for (name, value) in more {
        if let Some(value) = value {
            members.insert(name.to_owned(), value);
        }
    }
}
