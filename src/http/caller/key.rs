//! The `Idempotency-Key` header.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};

use crate::http::problem::{Problem, table};
use crate::idempotency::IdempotencyKey;

/// The key of this piece of work; asked for on every POST that makes something.
#[derive(Debug)]
pub(crate) struct Key(pub(crate) IdempotencyKey);

fn read(request: &HttpRequest) -> Result<Key, Problem> {
    let mut values = request.headers().get_all("idempotency-key");
    let (first, second) = (values.next(), values.next());
    let Some(value) = first else {
        return Err(Problem::new(&table::KEY_REQUIRED, "The `Idempotency-Key` header is missing."));
    };
    let text = value.to_str().unwrap_or("");
    // The draft writes the key as a quoted string; most clients leave the quotes out.
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    match (text.parse(), second) {
        (Ok(key), None) => Ok(Key(key)),
        (Ok(_), Some(_)) => Err(Problem::new(&table::BAD_REQUEST, "`Idempotency-Key` was sent twice.")),
        (Err(error), _) => Err(Problem::new(&table::BAD_REQUEST, format!("`Idempotency-Key`: {error}."))),
    }
}

impl FromRequest for Key {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        ready(read(request))
    }
}
