//! The OpenAPI document, made from the handlers.

use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, Server};
use utoipa::{Modify, OpenApi};

use super::wire;

/// The native API. Discovery documents and pages are not operations.
#[derive(OpenApi)]
#[openapi(
    info(title = "Portreeve", description = "The provider's front desk for agents."),
    paths(
        wire::v1::accounts::open_account,
        wire::oauth::token::token,
        wire::oauth::authorize::authorize,
        wire::oauth::par::push,
        wire::oauth::device::begin,
        wire::oauth::tokens_of::revoke,
        wire::oauth::tokens_of::introspect,
        wire::oauth::register::register,
        wire::v1::resources::create_resource,
        wire::v1::resources::list_resources,
        wire::v1::resources::get_resource,
        wire::v1::resources::delete_resource,
        wire::v1::rotate::rotate_resource,
        wire::v1::budget::get_budget,
        wire::v1::budget::list_ledger,
        wire::v1::usage::record_usage,
        wire::v1::deep_links::create_deep_link,
        wire::security_events::push,
        wire::provisioning::services::health,
        wire::provisioning::services::list_services,
        wire::provisioning::resources::create::create_resource,
        wire::provisioning::resources::link::link_resource,
        wire::provisioning::resources::show::show_resource,
        wire::provisioning::resources::update::update_service,
        wire::provisioning::resources::rotate::rotate_credentials,
        wire::provisioning::resources::remove::remove_resource,
        wire::provisioning::account_requests::request_account,
        wire::provisioning::deep_links::make_deep_link,
    ),
    modifiers(&Security)
)]
struct Document;

struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_with(Components::new);
        let bearer = |about: &str| {
            let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(about.to_owned()));
            SecurityScheme::Http(scheme.build())
        };
        let agent = bearer("An access token from POST /v1/accounts or POST /oauth/token.");
        components.add_security_scheme("access_token", agent);
        let signature = ApiKeyValue::with_description(
            "Stripe-Signature",
            "t=SECONDS,v1=HEX: HMAC-SHA256 over `t.body` with the orchestrator's secret.",
        );
        components.add_security_scheme("stripe_signature", SecurityScheme::ApiKey(ApiKey::Header(signature)));
        components.add_security_scheme("meter_key", bearer("The provider's own meter key."));
    }
}

/// The document for a provider at `base_url`; empty for the one that is committed.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn document(base_url: &str) -> Result<String, serde_json::Error> {
    let mut document = Document::openapi();
    if !base_url.is_empty() {
        document.servers = Some(vec![Server::new(base_url)]);
    }
    let mut text = document.to_pretty_json()?;
    text.push('\n');
    Ok(text)
}
