//! Both request signatures: what must be accepted, and what must not.

use serde_json::{Value, json};

use super::super::V2Mode;
use super::super::answer::Envelope;
use super::super::call::{ACCOUNT_REQUESTS, Call, HEALTH, RESOURCES, SERVICES, resource, resource_verb};
use super::super::case::{Case, Group::Signature as G, Stop, Verdict, case, not_applicable};
use super::super::session::Session;
use super::super::sign::{self, V2Key};
use crate::secret::Secret;

const HMAC: &str = "APP 0.1d, request signature";
const DRIFT: &str = "APP 0.1d, request signature: 300 s, both ways";
const ROTATION: &str = "APP 0.1d, request signature: any v1 that fits, while the secret rotates";
const EVERYWHERE: &str = "APP 0.1d, every orchestrator call is signed; a stolen token alone is useless";
const V2: &str = "APP 0.1d, Stripe-Signature-V2";
const JWT_BCP: &str = "APP 0.1d, Stripe-Signature-V2; RFC 8725 §3.1";

pub(super) const CASES: &[Case] = &[
    case(G, "signature.good", "A right signature is accepted", HMAC, |s| Box::pin(accepted(s, 0))),
    case(G, "signature.missing", "A call without a signature is refused", HMAC, |s| Box::pin(missing(s, SERVICES))),
    case(G, "signature.missing-on-health", "Health is signed like the rest", HMAC, |s| Box::pin(missing(s, HEALTH))),
    case(G, "signature.other-secret", "A signature with another secret is refused", HMAC, |s| {
        Box::pin(other_secret(s))
    }),
    case(G, "signature.stale", "A time stamp 400 s ago is refused", DRIFT, |s| Box::pin(skewed(s, -400))),
    case(G, "signature.future", "A time stamp 400 s ahead is refused", DRIFT, |s| Box::pin(skewed(s, 400))),
    case(G, "signature.day-old", "A captured call of yesterday is refused", DRIFT, |s| Box::pin(skewed(s, -86_400))),
    case(G, "signature.inside-past", "A time stamp 240 s ago is accepted", DRIFT, |s| Box::pin(accepted(s, -240))),
    case(G, "signature.inside-future", "A time stamp 240 s ahead is accepted", DRIFT, |s| Box::pin(accepted(s, 240))),
    case(G, "signature.upper-case", "The case of the digits is not significant", HMAC, |s| {
        Box::pin(template(s, "t={t},v1={V1}", true))
    }),
    case(G, "signature.second-fits", "Of two v1 the second may be the one that fits", ROTATION, |s| {
        Box::pin(template(s, "t={t},v1={wrong},v1={v1}", true))
    }),
    case(G, "signature.first-fits", "Of two v1 the first may be the one that fits", ROTATION, |s| {
        Box::pin(template(s, "t={t},v1={v1},v1={wrong}", true))
    }),
    case(G, "signature.no-v1-fits", "Several v1 of which none fits are refused", ROTATION, |s| {
        Box::pin(template(s, "t={t},v1={wrong},v1={wrong}", false))
    }),
    case(G, "signature.other-scheme-beside", "An unknown scheme beside a right v1 is ignored", HMAC, |s| {
        Box::pin(template(s, "t={t},v0={wrong},v1={v1}", true))
    }),
    case(G, "signature.only-v0", "Another scheme alone is refused", HMAC, |s| {
        Box::pin(template(s, "t={t},v0={v1}", false))
    }),
    case(G, "signature.empty", "An empty header is refused, not an error of the server", HMAC, |s| {
        Box::pin(template(s, "", false))
    }),
    case(G, "signature.garbage", "A header without any pair is refused", HMAC, |s| {
        Box::pin(template(s, "garbage", false))
    }),
    case(G, "signature.no-time", "A header without a time stamp is refused", HMAC, |s| {
        Box::pin(template(s, "v1={v1}", false))
    }),
    case(G, "signature.no-digits", "A header without digits is refused", HMAC, |s| {
        Box::pin(template(s, "t={t}", false))
    }),
    case(G, "signature.empty-digits", "Empty digits are refused", HMAC, |s| Box::pin(template(s, "t={t},v1=", false))),
    case(G, "signature.not-hexadecimal", "Digits that are none are refused", HMAC, |s| {
        Box::pin(template(s, "t={t},v1=zzzz{v1}", false))
    }),
    case(G, "signature.half", "The first half of the digits is not enough", HMAC, |s| {
        Box::pin(template(s, "t={t},v1={half}", false))
    }),
    case(G, "signature.time-is-text", "A time stamp that is no number is refused", HMAC, |s| {
        Box::pin(template(s, "t=now,v1={v1}", false))
    }),
    case(G, "signature.time-is-huge", "A time stamp beyond every integer is refused", HMAC, |s| {
        Box::pin(template(s, "t=99999999999999999999999,v1={v1}", false))
    }),
    case(G, "signature.time-is-negative", "A negative time stamp is refused", HMAC, |s| {
        Box::pin(template(s, "t=-9223372036854775808,v1={v1}", false))
    }),
    case(G, "signature.time-changed", "A time stamp that was changed afterwards is refused", HMAC, |s| {
        Box::pin(template(s, "t={later},v1={v1}", false))
    }),
    case(G, "signature.body-alone", "Digits over the body without the time stamp are refused", HMAC, |s| {
        Box::pin(over(s, b""))
    }),
    case(G, "signature.get-signs-empty-body", "A GET signs the empty body, not `{}`", HMAC, |s| {
        Box::pin(empty_body(s))
    }),
    case(G, "signature.body-changed", "A body that was changed afterwards is refused", HMAC, |s| {
        Box::pin(body_changed(s))
    }),
    case(G, "signature.raw-bytes", "The raw bytes are signed, not a parsed and rewritten body", HMAC, |s| {
        Box::pin(raw_bytes(s))
    }),
    case(G, "signature.every-secret", "Every one of the given secrets is accepted", ROTATION, |s| {
        Box::pin(every_secret(s))
    }),
    case(G, "signature.on-account-requests", "An unsigned account request is refused", EVERYWHERE, |s| {
        Box::pin(unsigned_account_request(s))
    }),
    case(G, "signature.on-create", "A bearer without a signature creates nothing", EVERYWHERE, |s| {
        Box::pin(unsigned_resource(s, None))
    }),
    case(G, "signature.on-read", "A bearer without a signature reads nothing", EVERYWHERE, |s| {
        Box::pin(unsigned_resource(s, Some("")))
    }),
    case(G, "signature.on-update", "A bearer without a signature updates nothing", EVERYWHERE, |s| {
        Box::pin(unsigned_resource(s, Some("update_service")))
    }),
    case(G, "signature.on-rotate", "A bearer without a signature rotates nothing", EVERYWHERE, |s| {
        Box::pin(unsigned_resource(s, Some("rotate_credentials")))
    }),
    case(G, "signature.on-remove", "A bearer without a signature removes nothing", EVERYWHERE, |s| {
        Box::pin(unsigned_resource(s, Some("remove")))
    }),
    case(G, "signature.on-deep-links", "A bearer without a signature gets no log-in link", EVERYWHERE, |s| {
        Box::pin(unsigned_deep_link(s))
    }),
    case(G, "signature.v2-good", "A right V2 token is accepted beside the HMAC", V2, |s| Box::pin(v2_good(s))),
    case(G, "signature.v2-missing", "Where V2 is required, its absence is refused", V2, |s| Box::pin(v2_missing(s))),
    case(G, "signature.v2-other-key", "A V2 token of an unknown key is refused", V2, |s| Box::pin(v2_other_key(s))),
    case(G, "signature.v2-other-body", "A V2 token over another body is refused", V2, |s| {
        Box::pin(v2_claim(s, "digest", Some(json!("47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"))))
    }),
    case(G, "signature.v2-no-digest", "A V2 token without a digest is refused", V2, |s| {
        Box::pin(v2_claim(s, "digest", None))
    }),
    case(G, "signature.v2-other-method", "A V2 token for another method is refused", V2, |s| {
        Box::pin(v2_claim(s, "htm", Some(json!("GET"))))
    }),
    case(G, "signature.v2-expired", "An expired V2 token is refused", V2, |s| {
        Box::pin(v2_claim(s, "exp", Some(json!(s.now().seconds() - 600))))
    }),
    case(G, "signature.v2-endless", "A V2 token without an end is refused", V2, |s| Box::pin(v2_claim(s, "exp", None))),
    case(G, "signature.v2-other-version", "A V2 token of another version is refused", V2, |s| {
        Box::pin(v2_claim(s, "version", Some(json!(2))))
    }),
    case(G, "signature.v2-unsigned", "A V2 token with `alg` none is refused", JWT_BCP, |s| {
        Box::pin(v2_forged(s, "none", |_| Vec::new()))
    }),
    case(G, "signature.v2-hmac", "A V2 token signed with a public text is refused", JWT_BCP, |s| {
        Box::pin(v2_forged(s, "HS256", |message| {
            sign::digits_over(&Secret::presented("public"), message.as_bytes()).into_bytes()
        }))
    }),
    case(G, "signature.v2-advisory", "Where V2 is advisory, a bad one beside a right HMAC passes", V2, |s| {
        Box::pin(v2_advisory(s))
    }),
];

/// What signs. A public client may have one all the same, with which it reads the catalog.
fn secret(s: &Session) -> Result<&Secret, Stop> {
    match s.options.secrets.first() {
        Some(secret) => Ok(secret),
        None => not_applicable("no --secret was given"),
    }
}

async fn accepted(s: &Session, offset: i64) -> Verdict {
    secret(s)?;
    s.send(Call::get(SERVICES).hmac(s.signature(b"", offset)?)).await?.is(200)
}

async fn refused(s: &Session, call: Call) -> Verdict {
    s.send(call).await?.refused(Envelope::Flat, &[401], &["invalid_signature"])
}

async fn missing(s: &Session, path: &str) -> Verdict {
    let answer = s.send(Call::get(path).unsigned()).await?;
    if s.signs().is_err() && answer.status == 404 {
        return not_applicable("the provider has no such endpoint for public clients");
    }
    answer.refused(Envelope::Flat, &[401], &["invalid_signature"])
}

async fn other_secret(s: &Session) -> Verdict {
    let own = secret(s)?;
    let other = Secret::presented(&format!("{}x", own.expose()));
    refused(s, Call::get(SERVICES).hmac(sign::header(&other, s.now().seconds(), b""))).await
}

async fn skewed(s: &Session, offset: i64) -> Verdict {
    secret(s)?;
    refused(s, Call::get(SERVICES).hmac(s.signature(b"", offset)?)).await
}

async fn template(s: &Session, template: &str, good: bool) -> Verdict {
    let now = s.now().seconds();
    let digits = sign::digits(secret(s)?, now, b"");
    let text = template
        .replace("{later}", &(now + 7).to_string())
        .replace("{t}", &now.to_string())
        .replace("{v1}", &digits)
        .replace("{V1}", &digits.to_uppercase())
        .replace("{half}", digits.get(..32).unwrap_or(""))
        .replace("{wrong}", &"0".repeat(64));
    let call = Call::get(SERVICES).hmac(text);
    if good { s.send(call).await?.is(200) } else { refused(s, call).await }
}

async fn over(s: &Session, message: &[u8]) -> Verdict {
    let digits = sign::digits_over(secret(s)?, message);
    refused(s, Call::get(SERVICES).hmac(format!("t={},v1={digits}", s.now().seconds()))).await
}

async fn empty_body(s: &Session) -> Verdict {
    secret(s)?;
    refused(s, Call::get(SERVICES).hmac(s.signature(b"{}", 0)?)).await
}

async fn body_changed(s: &Session) -> Verdict {
    s.signs()?;
    let signed = s.new_request();
    let mut sent = signed.clone();
    sent["email"] = json!(s.fresh_email());
    let header = s.signature(signed.to_string().as_bytes(), 0)?;
    refused(s, Call::post(ACCOUNT_REQUESTS, &sent).hmac(header)).await
}

async fn raw_bytes(s: &Session) -> Verdict {
    s.signs()?;
    // As another serializer would write it: spaces, lines, an escaped letter, a line end.
    let pretty = serde_json::to_string_pretty(&s.new_request()).unwrap_or_default();
    let body = format!(" {}\r\n", pretty.replace("Dana", "D\\u0061na"));
    s.send(Call::raw(ACCOUNT_REQUESTS, "application/json", body)).await?.success()
}

async fn every_secret(s: &Session) -> Verdict {
    secret(s)?;
    if s.options.secrets.len() < 2 {
        return not_applicable("only one --secret was given");
    }
    for secret in &s.options.secrets {
        let header = sign::header(secret, s.now().seconds(), b"");
        s.send(Call::get(SERVICES).hmac(header)).await?.is(200)?;
    }
    Ok(())
}

async fn unsigned_account_request(s: &Session) -> Verdict {
    s.signs()?;
    let answer = s.send(Call::post(ACCOUNT_REQUESTS, &s.new_request()).unsigned()).await?;
    // Known providers tell it in the endpoint's own envelope or in the signature's.
    answer.refused(Envelope::Flat, &[401], &["unauthorized", "invalid_signature"])
}

async fn unsigned_resource(s: &Session, verb: Option<&str>) -> Verdict {
    s.signs()?;
    let party = s.party().await?;
    let call = match verb {
        None => Call::post(RESOURCES, &s.create_body(s.usable().await?, party)),
        Some("") => Call::get(resource(&s.shared().await?.id)),
        Some(verb) => Call::post(resource_verb(&s.shared().await?.id, verb), &json!({})),
    };
    let token = match verb {
        None => party.access.clone(),
        Some(_) => s.shared().await?.party.access.clone(),
    };
    refused(s, call.bearer(&token).unsigned()).await
}

async fn unsigned_deep_link(s: &Session) -> Verdict {
    s.signs()?;
    let token = s.party().await?.access.clone();
    refused(s, s.deep_link(&token).unsigned()).await
}

fn v2(s: &Session, mode: Option<V2Mode>) -> Result<&V2Key, Stop> {
    s.signs()?;
    match (&s.v2_key, &s.options.v2) {
        (Some(key), Some(v2)) if mode.is_none_or(|mode| v2.mode == mode) => Ok(key),
        (Some(_), Some(v2)) => not_applicable(match v2.mode {
            V2Mode::Advisory => "a bad V2 token is tolerated (--v2-mode advisory)",
            V2Mode::Required => "a bad V2 token is refused (--v2-mode required)",
        }),
        _ => not_applicable("the provider is said not to look at Stripe-Signature-V2 (--v2-mode)"),
    }
}

async fn v2_good(s: &Session) -> Verdict {
    v2(s, None)?;
    s.send(Call::get(SERVICES)).await?.is(200)?;
    s.ask(&s.new_request()).await?.success()
}

async fn v2_missing(s: &Session) -> Verdict {
    v2(s, Some(V2Mode::Required))?;
    let mut call = Call::get(SERVICES);
    call.v2 = super::super::call::Signing::None;
    refused(s, call).await
}

fn account_call(s: &Session) -> Call {
    Call::post(ACCOUNT_REQUESTS, &s.new_request())
}

async fn v2_other_key(s: &Session) -> Verdict {
    v2(s, Some(V2Mode::Required))?;
    let call = account_call(s);
    let Some(token) = V2Key::generate().ok().and_then(|other| other.sign(&s.v2_claims(&call)).ok()) else {
        return not_applicable("no key could be made");
    };
    refused(s, call.v2(token)).await
}

async fn v2_claim(s: &Session, name: &str, value: Option<Value>) -> Verdict {
    let key = v2(s, Some(V2Mode::Required))?;
    let call = account_call(s);
    let mut claims = s.v2_claims(&call);
    if let Some(members) = claims.as_object_mut() {
        members.remove(name);
        members.extend(value.map(|value| (name.to_owned(), value)));
    }
    match key.sign(&claims) {
        Ok(token) => refused(s, call.v2(token)).await,
        Err(error) => not_applicable(error.to_string()),
    }
}

async fn v2_forged(s: &Session, algorithm: &str, signature: fn(&str) -> Vec<u8>) -> Verdict {
    let key = v2(s, Some(V2Mode::Required))?;
    let call = account_call(s);
    let token = sign::forged(algorithm, key.kid(), &s.v2_claims(&call), signature);
    refused(s, call.v2(token)).await
}

async fn v2_advisory(s: &Session) -> Verdict {
    v2(s, Some(V2Mode::Advisory))?;
    s.send(Call::get(SERVICES).v2("not.a.token")).await?.is(200)
}
