//! Plans in authorization requests, priced by the catalog that is published now.

use crate::app::App;
use crate::authorization::{AuthorizationRequest, MostEach, Refusal};
use crate::resource::WorstCase;

/// The request with the worst case of its plan, if it has one.
///
/// # Errors
/// What the client is told: the catalog does not sell something of it.
pub(super) fn priced(app: &App, request: AuthorizationRequest) -> Result<AuthorizationRequest, Refusal> {
    let edition = app.edition();
    let most = |service: &str, plan: &str| {
        let offer = edition.plan(&service.parse().ok()?, &plan.parse().ok()?)?;
        let WorstCase { currency, amount } = WorstCase::of(offer);
        Some(MostEach { currency, amount })
    };
    request.priced(most, (edition.version.number(), &edition.digest))
}
