//! The request signature and the version.

use actix_web::HttpResponse;
use aws_lc_rs::hmac;
use portreeve::clock::{Clock as _, SystemClock};
use portreeve::secret::sha256_base64url;
use serde_json::Value;

use super::{Asked, Fault, Form, SECRETS, State, refuse};

/// Signature, then version.
pub(super) fn check(state: &State, asked: &Asked) -> Result<(), HttpResponse> {
    if state.has(Fault::VersionFirst) {
        version(state, asked)?;
    }
    signature(state, asked)?;
    version(state, asked)
}

pub(super) fn version(state: &State, asked: &Asked) -> Result<(), HttpResponse> {
    let right = asked.header("api-version") == Some("0.1d") || state.has(Fault::NoVersionCheck);
    if right { Ok(()) } else { Err(refuse(&Form::Flat, 400, "invalid_api_version")) }
}

pub(super) fn signature(state: &State, asked: &Asked) -> Result<(), HttpResponse> {
    if state.has(Fault::SignatureIgnored) {
        return Ok(());
    }
    let refused = || refuse(&Form::Flat, 401, "invalid_signature");
    let header = asked.header("stripe-signature").ok_or_else(refused)?;
    let pair = |name: &'static str| {
        let pairs = header.split(',').filter_map(|pair| pair.split_once('='));
        pairs.filter(move |(key, _)| *key == name).map(|(_, value)| value.to_owned())
    };
    let time = pair("t").next().and_then(|text| text.parse::<i64>().ok());
    let Some(time) = time else {
        let status = if state.has(Fault::MalformedSignature500) { 500 } else { 401 };
        return Err(refuse(&Form::Flat, status, "invalid_signature"));
    };
    let age = SystemClock.now().seconds().saturating_sub(time);
    let old = age > 300 && !state.has(Fault::StaleSignature);
    let future = age < -300 && !state.has(Fault::FutureSignature);
    let given: Vec<String> =
        if state.has(Fault::FirstV1Only) { pair("v1").take(1).collect() } else { pair("v1").collect() };
    if old || future || !given.iter().any(|digits| fits(state, time, &asked.body, digits)) {
        return Err(refused());
    }
    match state.keys.get() {
        Some(keys) if !second_scheme(state, asked, keys) => Err(refused()),
        _ => Ok(()),
    }
}

/// Whether the token of the second scheme is right: by a published key, for this method and body, and not over.
fn second_scheme(state: &State, asked: &Asked, keys: &Value) -> bool {
    if state.has(Fault::V2Ignored) {
        return true;
    }
    let Some(token) = asked.header("stripe-signature-v2") else {
        return false;
    };
    let Some(header) = jsonwebtoken::decode_header(token).ok() else {
        // `none` is no algorithm that the library reads.
        return state.has(Fault::V2NoneAccepted) && token.ends_with('.');
    };
    let published = keys["public_keys"].as_array().unwrap();
    let Some(key) = published.iter().find(|key| key["kid"].as_str() == header.kid.as_deref()) else {
        return false;
    };
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
    if state.has(Fault::V2Endless) {
        rules.validate_exp = false;
        rules.required_spec_claims.clear();
    }
    let key = jsonwebtoken::DecodingKey::from_ed_components(key["x"].as_str().unwrap()).unwrap();
    let Ok(decoded) = jsonwebtoken::decode::<Value>(token, &key, &rules) else {
        return false;
    };
    let claims = decoded.claims;
    let digest = claims["digest"] == sha256_base64url(&asked.body) || state.has(Fault::V2BodyUnbound);
    let method = claims["htm"] == asked.head.method().as_str() || state.has(Fault::V2MethodUnbound);
    digest && method && (claims["version"] == 1 || state.has(Fault::V2AnyVersion))
}

fn fits(state: &State, time: i64, body: &[u8], digits: &str) -> bool {
    let rewritten = serde_json::from_slice::<serde_json::Value>(body).map(|value| value.to_string().into_bytes());
    let body = match rewritten {
        Ok(rewritten) if state.has(Fault::RewrittenBodySigned) => rewritten,
        _ => body.to_vec(),
    };
    let digits = if state.has(Fault::HexCaseMatters) { digits.to_owned() } else { digits.to_lowercase() };
    let message = [format!("{time}.").into_bytes(), body].concat();
    SECRETS.iter().any(|secret| {
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), &message);
        let pairs: Vec<_> = mac.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        pairs.concat() == digits
    })
}
