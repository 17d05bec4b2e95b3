//! Under which key a call is found again by its retries: `Idempotency-Key`, else what the orchestrator calls the resource,
//! else the project and the service, else the signed request itself.

use actix_web::HttpRequest;
use serde_json::{Value, json};

use super::super::bearer::WireCaller;
use super::super::envelope::{Refusal, Status};
use super::body::ResourceRequest;
use crate::catalog::KycField;
use crate::idempotency::{IdempotencyKey, InvalidKey, Keyed};
use crate::ids::OperationId;
use crate::resource::Placement;
use crate::secret::sha256_base64url;
use crate::signing::canonical_json;

/// A call and the key under which it is found again.
#[derive(Debug, Clone)]
pub(crate) struct WireKey {
    pub(crate) keyed: Keyed,
    /// What the key is, for whoever used it for something else.
    pub(crate) named: Named,
}

/// What a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    /// The header.
    Header,
    /// A place of the orchestrator's, in these members.
    Place(&'static str),
    /// The signed request.
    Request,
}

/// The header, if it is there.
pub(crate) fn header(request: &HttpRequest) -> Result<Option<IdempotencyKey>, Refusal<Status>> {
    let mut values = request.headers().get_all("idempotency-key");
    let (first, second) = (values.next(), values.next());
    let Some(value) = first else { return Ok(None) };
    if second.is_some() {
        return Err(Refusal::bad("`Idempotency-Key` was sent twice."));
    }
    let text = value.to_str().unwrap_or("");
    // The draft writes the key as a quoted string; most clients leave the quotes out.
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    text.parse().map(Some).map_err(|error: InvalidKey| Refusal::bad(format!("`Idempotency-Key`: {error}.")))
}

fn derived(text: &str) -> Result<IdempotencyKey, Refusal<Status>> {
    sha256_base64url(text.as_bytes()).parse().map_err(|error: InvalidKey| Refusal::broken(error))
}

fn bytes(value: &Value) -> Result<Vec<u8>, Refusal<Status>> {
    canonical_json(value).map_err(Refusal::broken)
}

/// The key of a purchase. A place is found again by what is put there, whoever pays; a header's key by all that counts.
pub(super) fn of_purchase(
    caller: &WireCaller,
    header: Option<&IdempotencyKey>,
    body: &ResourceRequest,
    kyc: &[KycField],
    placement: &Placement,
) -> Result<WireKey, Refusal<Status>> {
    let operation = format!("provisioning.create/{}", caller.access.orchestrator.id);
    let (project, theirs) = (placement.project_id.as_deref(), placement.orchestrator_resource_id.as_deref());
    let mut content = json!({
        "service_id": body.service_id(), "project_id": project, "orchestrator_resource_id": theirs,
        "environment": placement.environment.as_str(), "configuration": body.configured(kyc),
    });
    let key = match (header, theirs, project) {
        (None, Some(theirs), _) => Some((derived(&format!("resource\n{theirs}"))?, "orchestrator_resource_id")),
        (None, None, Some(project)) => {
            let service = body.service_id().unwrap_or("");
            Some((derived(&format!("project\n{project}\n{service}"))?, "project_id with service_id"))
        }
        (Some(_), ..) | (None, None, None) => None,
    };
    if let Some((key, members)) = key {
        let keyed = Keyed::new(&operation, &key, &bytes(&content)?);
        return Ok(WireKey { keyed, named: Named::Place(members) });
    }
    if let (Some(content), Some(token)) = (content.as_object_mut(), body.payment_token()?) {
        content.insert("payment_token".to_owned(), token.hash().as_str().into());
    }
    of(caller, &operation, header, &content)
}

/// The key of any other call.
pub(crate) fn of(
    caller: &WireCaller,
    operation: &str,
    header: Option<&IdempotencyKey>,
    content: &Value,
) -> Result<WireKey, Refusal<Status>> {
    let content = bytes(content)?;
    if let Some(key) = header {
        return Ok(WireKey { keyed: Keyed::new(operation, key, &content), named: Named::Header });
    }
    // Without a signature nothing names the request: it is a new one.
    let name = caller.request_hash.clone().unwrap_or_else(|| OperationId::new(caller.now).to_string());
    let keyed = Keyed::new(&format!("{operation}#request"), &derived(&name)?, &content);
    Ok(WireKey { keyed, named: Named::Request })
}
