//! Plans in authorization requests and in assertions, priced by the catalog that is published now.

use crate::app::App;
use crate::authorization::{Detail, DetailError, MostEach, Pricing, price_plans};
use crate::resource::WorstCase;

impl Pricing for App {
    fn price(&self, details: &mut [Detail]) -> Result<(), DetailError> {
        let edition = self.edition();
        let most = |service: &str, plan: &str| {
            let offer = edition.plan(&service.parse().ok()?, &plan.parse().ok()?)?;
            let WorstCase { currency, amount } = WorstCase::of(offer);
            Some(MostEach { currency, amount })
        };
        price_plans(details, most, (edition.version.number(), &edition.digest))
    }
}
