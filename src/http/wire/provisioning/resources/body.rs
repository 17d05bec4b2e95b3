//! What an orchestrator sends about a resource. Members that nobody knows are passed over, an explicit null is as good as
//! nothing, and a member of the wrong type is refused by its name.

use actix_web::HttpRequest;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::super::bearer::WireCaller;
use super::super::envelope::{Refusal, Status};
use super::super::signed::{content_type, parse_json};
use crate::account;
use crate::account::{PersonalFact, PersonalField, SealedFact};
use crate::app::App;
use crate::catalog::{KycField, Offer, WrongConfiguration};
use crate::http::wire::personal_fact;
use crate::payment::token::{self, PaymentToken};
use crate::resource::{self, Environment, InformationNeeded, Placement, TheirName};
use crate::secret::Secret;
use crate::unseen::unseen;

/// The longest prefix of a name.
const MAX_PREFIX: usize = 25;

/// What to make, and who pays.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ResourceRequest {
    /// A service of the catalog.
    pub(super) service_id: Option<String>,
    /// The orchestrator's project.
    pub(super) project_id: Option<String>,
    /// The orchestrator's own id of the resource.
    pub(super) orchestrator_resource_id: Option<String>,
    /// `dev` or `prod`, which it is when nothing is said.
    pub(super) environment: Option<String>,
    /// As the service's `configuration_schema` says.
    #[schema(value_type = Option<Object>)]
    pub(super) configuration: Option<Map<String, Value>>,
    /// What an earlier answer, `needs_information`, asked for.
    #[schema(value_type = Option<Object>)]
    pub(super) submitted_information: Option<Map<String, Value>>,
    /// Who pays.
    pub(super) payment_credentials: Option<PaymentCredentials>,
    /// Who asked for it.
    #[expect(dead_code, reason = "read so that one of a wrong type is refused")]
    pub(super) actor: Option<Actor>,
    /// Begins the resource's name: up to 25 characters.
    pub(super) label_prefix: Option<String>,
}

/// Who pays.
#[derive(Deserialize, ToSchema)]
pub(crate) struct PaymentCredentials {
    /// `stripe_payment_token`; anything else is refused.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// The token.
    stripe_payment_token: Option<String>,
}

/// The token stays out of logs.
impl std::fmt::Debug for PaymentCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PaymentCredentials").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Who asked for something.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "read so that one of a wrong type is refused")]
pub(crate) struct Actor {
    /// An address.
    email: Option<String>,
    /// Where they are.
    ip_address: Option<String>,
}

/// What to do with a resource that is there: nothing more to say than who wants it.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ActorRequest {
    /// Who asked for it.
    #[expect(dead_code, reason = "read so that one of a wrong type is refused")]
    actor: Option<Actor>,
    /// Begins the names of new credentials: up to 25 characters.
    pub(super) label_prefix: Option<String>,
}

/// The body of a call.
pub(super) fn read<T: DeserializeOwned>(
    caller: &WireCaller,
    request: &HttpRequest,
    id: &str,
) -> Result<T, Refusal<Status>> {
    parse_json(content_type(request), &caller.body).map_err(|refusal: Refusal<Status>| refusal.about(id))
}

/// An empty text says as little as none.
fn said(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

impl ResourceRequest {
    /// The service's id, if one was named.
    pub(super) fn service_id(&self) -> Option<&str> {
        said(self.service_id.as_ref())
    }

    /// Where it is put.
    pub(super) fn placement(&self) -> Result<Placement, Refusal<Status>> {
        let name = |member: &str, text: Option<&String>| {
            let parsed = said(text).map(str::parse::<TheirName>).transpose();
            parsed.map_err(|error| Refusal::bad(format!("`{member}`: {error}.")))
        };
        let environment = said(self.environment.as_ref()).map(str::parse::<Environment>).transpose();
        Ok(Placement {
            project_id: name("project_id", self.project_id.as_ref())?,
            orchestrator_resource_id: name("orchestrator_resource_id", self.orchestrator_resource_id.as_ref())?,
            environment: environment
                .map_err(|error| Refusal::bad(format!("`environment`: {error}.")))?
                .unwrap_or_default(),
        })
    }

    /// What is configured: what was submitted later stands for what was said before. What was submitted about the buyer
    /// is none of it.
    pub(super) fn configured(&self, kyc: &[KycField]) -> Map<String, Value> {
        let mut all = self.configuration.clone().unwrap_or_default();
        let submitted = self.submitted_information.clone().unwrap_or_default();
        all.extend(submitted.into_iter().filter(|(name, _)| kyc.iter().all(|field| field.as_str() != name)));
        all.retain(|_, value| !value.is_null());
        all
    }

    /// What was submitted about the buyer, as the service asks for it.
    pub(super) fn person(&self, kyc: &[KycField]) -> Result<Vec<PersonalFact>, Refusal<Status>> {
        let submitted = |field: &KycField| self.submitted_information.as_ref()?.get(field.as_str());
        let said =
            kyc.iter().filter_map(|field| Some((field.as_str(), submitted(field).filter(|said| !said.is_null())?)));
        said.map(|(name, said)| personal_fact(name, said)).collect::<Result<_, String>>().map_err(Refusal::bad)
    }

    /// The payment token, if one was sent. Other ways to pay are refused, also where nothing is to be paid.
    pub(super) fn payment_token(&self) -> Result<Option<Secret>, Refusal<Status>> {
        let Some(credentials) = &self.payment_credentials else { return Ok(None) };
        if credentials.kind.as_deref() != Some("stripe_payment_token") {
            return Err(Refusal::bad(
                "`payment_credentials.type` is not `stripe_payment_token`: nothing else pays here.",
            ));
        }
        match said(credentials.stripe_payment_token.as_ref()) {
            Some(token) => Ok(Some(Secret::presented(token))),
            None => Err(Refusal::bad("`payment_credentials.stripe_payment_token` is missing.")),
        }
    }
}

/// The prefix of a name, if one was sent.
pub(super) fn label_prefix<'a>(prefix: Option<&'a String>, id: &str) -> Result<Option<&'a str>, Refusal<Status>> {
    let Some(prefix) = said(prefix) else { return Ok(None) };
    if prefix.chars().count() > MAX_PREFIX || unseen(prefix).is_some() {
        let message = format!("`label_prefix` has up to {MAX_PREFIX} characters, all of them visible.");
        let status = actix_web::http::StatusCode::BAD_REQUEST;
        return Err(Refusal::new(status, "invalid_label_prefix", message).about(id));
    }
    Ok(Some(prefix.trim()).filter(|prefix| !prefix.is_empty()))
}

/// Verifies the payment token before any transaction is open.
pub(super) async fn payer(
    app: &App,
    caller: &WireCaller,
    token: Option<Secret>,
    id: &str,
) -> Result<Option<PaymentToken>, Refusal<Status>> {
    let Some(token) = token else { return Ok(None) };
    let (account, orchestrator) = (caller.access.account.id.clone(), caller.access.orchestrator.id.clone());
    let subjects = app.db.read(move |conn| account::subjects(conn, &account, &orchestrator)).await?;
    let verified = token::verify(&token, &caller.access.orchestrator, &subjects, &app.keys, caller.now).await;
    verified.map(Some).map_err(|error| super::refused::token(&error).about(id))
}

/// What was submitted about the buyer, sealed for the account.
pub(super) fn sealed(
    app: &App,
    caller: &WireCaller,
    said: &[PersonalFact],
) -> Result<Vec<SealedFact>, Refusal<Status>> {
    let (account, orchestrator) = (&caller.access.account.id, &caller.access.orchestrator.id);
    let seal = |fact: &PersonalFact| fact.seal(&app.person_sealer, account, orchestrator);
    said.iter().map(seal).collect::<Result<_, _>>().map_err(Refusal::broken)
}

/// What has to be known about the buyer before a service is sold, and does not come with the request.
pub(super) async fn still_needed(
    app: &App,
    caller: &WireCaller,
    kyc: &[KycField],
    said: &[PersonalFact],
) -> Result<Vec<PersonalField>, Refusal<Status>> {
    let (account, orchestrator) = (caller.access.account.id.clone(), caller.access.orchestrator.id.clone());
    let (kyc, said) = (kyc.to_vec(), said.iter().map(PersonalFact::field).collect::<Vec<_>>());
    let needed = app.db.read(move |conn| resource::still_needed(conn, (&account, &orchestrator), &kyc, &said));
    Ok(needed.await?.err().map(|InformationNeeded(needed)| needed).unwrap_or_default())
}

/// Whether a configuration fits. `Ok(false)`: only something is missing that must be asked for.
pub(super) fn fits(wrong: &[WrongConfiguration], id: &str) -> Result<bool, Refusal<Status>> {
    let missing = |wrong: &WrongConfiguration| matches!(wrong, WrongConfiguration::Missing(..));
    let others: Vec<String> = wrong.iter().filter(|wrong| !missing(wrong)).map(ToString::to_string).collect();
    if others.is_empty() {
        return Ok(wrong.is_empty());
    }
    Err(Refusal::bad(format!("`configuration`: {}.", others.join("; "))).about(id))
}

/// The same for what is to be made.
pub(super) fn configuration_fits(offer: &Offer, given: &Map<String, Value>) -> Result<bool, Refusal<Status>> {
    fits(&offer.plan.configuration.check(given).err().unwrap_or_default(), "")
}
