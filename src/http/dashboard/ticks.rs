//! What a human left ticked on a page that asks.

use serde::Deserialize;

use crate::authorization::{Params, Scopes};
use crate::http::caller::Form;

/// The ticks; read from the bytes, because they have one name.
#[derive(Debug, Deserialize)]
pub(super) struct Ticks {}

/// What is given: what cannot be unticked, and what is ticked of the rest. Never more than was asked.
pub(super) fn ticked(form: &Form<Ticks>, asked: &Scopes, required: &Scopes) -> Scopes {
    let params = Params::parse(&form.1).unwrap_or_default();
    let words: Vec<&str> = params.all("scope").collect();
    Scopes::known_of(&words.join(" ")).intersection(asked).union(required)
}
