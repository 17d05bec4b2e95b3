//! The token endpoint: codes, verifiers, and refresh tokens that rotate.

use serde_json::{Value, json};

use super::super::answer::{Answer, Envelope};
use super::super::call::{Call, TOKEN};
use super::super::case::{Case, Group::Token as G, Stop, Verdict, case, not_applicable};
use super::super::party::VERIFIER;
use super::super::session::Session;
use crate::secret::sha256_base64url;

const RULE: &str = "APP 0.1d, token endpoint";
const RFC: &str = "RFC 6749 §5.2";
const CODES: &str = "APP 0.1d, token endpoint; RFC 6749 §4.1.2: a code works once";
const PKCE: &str = "RFC 7636 §4.6";
const REFRESH: &str = "APP 0.1d, token endpoint: refresh rotates; RFC 9700 §4.14.2";

pub(super) const CASES: &[Case] = &[
    case(G, "token.exchange", "A code becomes a bearer token that ends", RULE, |s| Box::pin(exchange(s))),
    case(G, "token.account", "The answer names the account and who collects payment", RULE, |s| Box::pin(account(s))),
    case(G, "token.no-store", "The answer may not be stored", "RFC 6749 §5.1", |s| Box::pin(no_store(s))),
    case(G, "token.second-use", "A code works once", CODES, |s| Box::pin(second_use(s))),
    case(G, "token.unknown-code", "An unknown code is refused", RFC, |s| {
        Box::pin(refused(s, &[("grant_type", "authorization_code"), ("code", "conform-unknown")], "invalid_grant"))
    }),
    case(G, "token.no-code", "A missing code is refused", RFC, |s| {
        Box::pin(refused(s, &[("grant_type", "authorization_code")], "invalid_request"))
    }),
    case(G, "token.unknown-grant", "An unknown grant type is refused", RFC, |s| {
        Box::pin(refused(
            s,
            &[("grant_type", "password"), ("username", "a"), ("password", "b")],
            "unsupported_grant_type",
        ))
    }),
    case(G, "token.no-grant", "A missing grant type is refused", RFC, |s| Box::pin(no_grant(s))),
    case(G, "token.unknown-refresh", "An unknown refresh token is refused", RFC, |s| Box::pin(unknown_refresh(s))),
    case(G, "token.no-refresh", "A missing refresh token is refused", RFC, |s| {
        Box::pin(refused(s, &[("grant_type", "refresh_token")], "invalid_request"))
    }),
    case(G, "token.repeated-parameter", "A parameter that is there twice is refused", "RFC 6749 §3.2", |s| {
        Box::pin(repeated_parameter(s))
    }),
    case(G, "token.json", "A JSON body is refused in the endpoint's envelope", RFC, |s| Box::pin(json_body(s))),
    case(G, "token.get", "A GET hands out nothing", "RFC 6749 §3.2", |s| Box::pin(get(s))),
    case(G, "token.unsigned-code", "A code without a challenge needs a signature", RULE, |s| {
        Box::pin(unsigned_code(s))
    }),
    case(G, "token.signed-form", "The signature covers the raw bytes of the form", RULE, |s| Box::pin(signed_form(s))),
    case(G, "token.failed-signature-keeps-code", "A failed signature uses no code up", RULE, |s| {
        Box::pin(failed_signature(s))
    }),
    case(G, "token.verifier", "A code with a challenge is redeemed with its verifier", PKCE, |s| Box::pin(verifier(s))),
    case(G, "token.no-verifier", "A code with a challenge needs its verifier", PKCE, |s| Box::pin(no_verifier(s))),
    case(G, "token.wrong-verifier", "A wrong verifier is refused", PKCE, |s| Box::pin(wrong_verifier(s))),
    case(G, "token.failed-verifier-keeps-code", "A wrong verifier uses no code up", RULE, |s| {
        Box::pin(failed_verifier(s))
    }),
    case(G, "token.challenge-is-no-verifier", "The challenge itself is no verifier", PKCE, |s| {
        Box::pin(challenge_as_verifier(s))
    }),
    case(G, "token.refresh", "A refresh gives two new tokens that work", REFRESH, |s| Box::pin(refresh(s))),
    case(G, "token.refresh-unsigned", "A refresh needs no signature: possession is enough", REFRESH, |s| {
        Box::pin(refresh_unsigned(s))
    }),
    case(G, "token.old-refresh", "The old refresh token is dead", REFRESH, |s| Box::pin(old_refresh(s))),
    case(G, "token.old-access", "The old access token is dead", REFRESH, |s| Box::pin(old_access(s))),
    case(G, "token.refresh-keeps-account", "The refreshed token is of the same account", REFRESH, |s| {
        Box::pin(refresh_keeps_account(s))
    }),
    case(G, "token.refresh-scope", "A refresh widens no scope", "RFC 6749 §6", |s| Box::pin(refresh_scope(s))),
    case(G, "token.access-is-no-refresh", "An access token is no refresh token", RFC, |s| {
        Box::pin(access_as_refresh(s))
    }),
    case(G, "token.refresh-is-no-access", "A refresh token is no access token", "RFC 6749 §1.5", |s| {
        Box::pin(refresh_as_access(s))
    }),
    case(G, "token.code-is-no-access", "A code is no access token", "RFC 6749 §1.3.1", |s| {
        Box::pin(code_as_access(s))
    }),
];

fn tokens(answer: &Answer) -> Verdict {
    answer.is(200)?;
    let bearer = answer.text("/token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"));
    answer.expect(bearer, "`token_type` bearer")?;
    answer.need("/access_token")?;
    let ends = answer.json.get("expires_in").and_then(Value::as_u64).is_some_and(|seconds| seconds > 0);
    answer.expect(ends, "`expires_in` as a whole number of seconds above zero")
}

async fn exchange(s: &Session) -> Verdict {
    let code = s.code().await?;
    tokens(&s.send(s.exchange(&code)).await?)
}

async fn account(s: &Session) -> Verdict {
    let body = s.new_request();
    let mut answer = s.ask(&body).await?;
    if answer.kind() == Some("credentials") {
        answer.json = answer.json.pointer("/credentials/bearer").cloned().unwrap_or_default();
    } else {
        answer = s.send(s.exchange(&s.code().await?)).await?;
    }
    answer.need("/account/id")?;
    let known = [None, Some("orchestrator"), Some("provider")].contains(&answer.text("/account/payment_credentials"));
    answer.expect(known, "`account.payment_credentials` orchestrator or provider")
}

async fn no_store(s: &Session) -> Verdict {
    let code = s.code().await?;
    let answer = s.send(s.exchange(&code)).await?;
    answer.is(200)?;
    let header = answer.incoming.header("cache-control").unwrap_or("").to_lowercase();
    answer.expect(header.contains("no-store"), "`Cache-Control: no-store`")
}

async fn second_use(s: &Session) -> Verdict {
    let code = s.code().await?;
    s.send(s.exchange(&code)).await?.is(200)?;
    s.send(s.exchange(&code)).await?.refused(Envelope::OAuth, &[400], &["invalid_grant"])
}

async fn refused(s: &Session, fields: &[(&str, &str)], code: &str) -> Verdict {
    // One known provider has no authorization codes at all and says so.
    let codes =
        if fields.first().is_some_and(|(_, grant)| *grant == "authorization_code") && s.options.profile.tolerant() {
            vec![code, "unsupported_grant_type"]
        } else {
            vec![code]
        };
    s.send(Call::form(fields)).await?.refused(Envelope::OAuth, &[400], &codes)
}

async fn no_grant(s: &Session) -> Verdict {
    let answer = s.send(Call::form(&[("code", "x")])).await?;
    answer.refused(Envelope::OAuth, &[400], &["invalid_request", "unsupported_grant_type"])
}

async fn unknown_refresh(s: &Session) -> Verdict {
    s.send(s.refresh("rt_conform_unknown")).await?.refused(Envelope::OAuth, &[400, 401], &["invalid_grant"])
}

async fn repeated_parameter(s: &Session) -> Verdict {
    let code = s.code().await?;
    let mut call = s.exchange(&code);
    call.body.extend_from_slice(b"&code=another");
    let answer = s.send(call).await?;
    answer.refused(Envelope::OAuth, &[400], &["invalid_request", "invalid_grant"])
}

async fn json_body(s: &Session) -> Verdict {
    let body = json!({"grant_type": "refresh_token", "refresh_token": "rt_conform_unknown"}).to_string();
    let answer = s.send(Call::raw(TOKEN, "application/json", body).version(None)).await?;
    answer.refused(Envelope::OAuth, &[400, 401, 415], &[])
}

async fn get(s: &Session) -> Verdict {
    let url = format!("{}?grant_type=refresh_token&refresh_token=x", s.url(TOKEN));
    let answer = s.send(Call::get(url).version(None)).await?;
    answer.expect((400..500).contains(&answer.status), "4xx: tokens are asked for by POST")
}

async fn unsigned_code(s: &Session) -> Verdict {
    s.signs()?;
    let code = s.code().await?;
    let answer = s.send(s.exchange(&code).unsigned()).await?;
    answer.refused(
        Envelope::Any,
        &[400, 401],
        &["invalid_signature", "invalid_request", "invalid_client", "invalid_grant", "unauthorized"],
    )
}

async fn signed_form(s: &Session) -> Verdict {
    s.signs()?;
    let code = s.code().await?;
    let call = s.exchange(&code);
    // The same fields in another order are other bytes.
    let other = format!("code={code}&grant_type=authorization_code");
    let answer = s.send(call.hmac(s.signature(other.as_bytes(), 0)?)).await?;
    answer.refused(
        Envelope::Any,
        &[400, 401],
        &["invalid_signature", "invalid_request", "invalid_client", "invalid_grant", "unauthorized"],
    )
}

async fn failed_signature(s: &Session) -> Verdict {
    s.signs()?;
    let code = s.code().await?;
    s.send(s.exchange(&code).hmac(s.signature(b"other", 0)?)).await?;
    s.send(s.exchange(&code)).await?.is(200)
}

/// A code that was asked for with a challenge.
async fn challenged(s: &Session) -> Result<String, Stop> {
    let mut body = s.new_request();
    body["code_challenge"] = json!(sha256_base64url(VERIFIER.as_bytes()));
    body["code_challenge_method"] = json!("S256");
    s.code_for(&body).await
}

fn with_verifier(s: &Session, code: &str, verifier: &str) -> Call {
    let mut fields = vec![("grant_type", "authorization_code"), ("code", code), ("code_verifier", verifier)];
    if let Some(client) = &s.options.client_id {
        fields.push(("client_id", client));
    }
    Call::form(&fields)
}

async fn verifier(s: &Session) -> Verdict {
    let code = challenged(s).await?;
    tokens(&s.send(with_verifier(s, &code, VERIFIER).unsigned()).await?)
}

async fn no_verifier(s: &Session) -> Verdict {
    let code = challenged(s).await?;
    let answer = s.send(Call::form(&[("grant_type", "authorization_code"), ("code", &code)])).await?;
    answer.refused(Envelope::OAuth, &[400, 401], &["invalid_request", "invalid_grant"])
}

async fn wrong_verifier(s: &Session) -> Verdict {
    let code = challenged(s).await?;
    let answer = s.send(with_verifier(s, &code, &VERIFIER.replace('c', "x"))).await?;
    answer.refused(Envelope::OAuth, &[400], &["invalid_grant"])
}

async fn failed_verifier(s: &Session) -> Verdict {
    let code = challenged(s).await?;
    s.send(with_verifier(s, &code, &VERIFIER.replace('c', "x"))).await?;
    s.send(with_verifier(s, &code, VERIFIER)).await?.is(200)
}

async fn challenge_as_verifier(s: &Session) -> Verdict {
    let code = challenged(s).await?;
    let challenge = sha256_base64url(VERIFIER.as_bytes());
    s.send(with_verifier(s, &code, &challenge)).await?.refused(Envelope::OAuth, &[400], &["invalid_grant"])
}

/// Somebody's refresh, and the answer to it.
async fn refreshed(s: &Session) -> Result<(super::super::party::Party, String, Answer), Stop> {
    let (party, old) = s.refreshable().await?;
    let answer = s.send(s.refresh(&old)).await?;
    tokens(&answer)?;
    s.renewed(&party.access, &answer.need("/access_token")?);
    Ok((party, old, answer))
}

async fn refresh(s: &Session) -> Verdict {
    let (party, old, answer) = refreshed(s).await?;
    let (access, next) = (answer.need("/access_token")?, answer.need("/refresh_token")?);
    answer.expect(access != party.access && next != old, "two new tokens")?;
    let (works, told) = s.works(&access).await?;
    told.expect(works, "that the new access token works")
}

async fn refresh_unsigned(s: &Session) -> Verdict {
    let (_, old) = s.refreshable().await?;
    tokens(&s.send(s.refresh(&old).unsigned()).await?)
}

async fn old_refresh(s: &Session) -> Verdict {
    let (_, old, _) = refreshed(s).await?;
    s.send(s.refresh(&old)).await?.refused(Envelope::OAuth, &[400, 401], &["invalid_grant"])
}

async fn old_access(s: &Session) -> Verdict {
    let (party, _, _) = refreshed(s).await?;
    let (works, answer) = s.works(&party.access).await?;
    answer.expect(!works, "401: the access token of before the refresh is dead")
}

async fn refresh_keeps_account(s: &Session) -> Verdict {
    let made = s.make(&s.open().await?, s.usable().await?).await?;
    let Some(old) = made.party.refresh.clone() else {
        return not_applicable("the provider gives no refresh tokens");
    };
    let answer = s.send(s.refresh(&old)).await?;
    tokens(&answer)?;
    let access = answer.need("/access_token")?;
    s.renewed(&made.party.access, &access);
    let read = s.send(Call::get(super::super::call::resource(&made.id)).bearer(&access)).await?;
    read.kind_is(&["complete"])
}

async fn refresh_scope(s: &Session) -> Verdict {
    let (party, old) = s.refreshable().await?;
    let mut call = s.refresh(&old);
    call.body.extend_from_slice(b"&scope=conform%3Aeverything");
    let answer = s.send(call).await?;
    if answer.succeeded() {
        s.renewed(&party.access, answer.text("/access_token").unwrap_or(""));
    }
    let widened = answer.text("/scope").is_some_and(|scope| scope.contains("conform:everything"));
    answer.expect(answer.status < 500 && !widened, "`invalid_scope`, or no more than before")
}

async fn access_as_refresh(s: &Session) -> Verdict {
    let party = s.party().await?;
    s.send(s.refresh(&party.access)).await?.refused(Envelope::OAuth, &[400, 401], &["invalid_grant"])
}

async fn refresh_as_access(s: &Session) -> Verdict {
    let (_, token) = s.refreshable().await?;
    let (works, answer) = s.works(&token).await?;
    answer.expect(!works, "401: a refresh token opens nothing")
}

async fn code_as_access(s: &Session) -> Verdict {
    let code = s.code().await?;
    let (works, answer) = s.works(&code).await?;
    answer.expect(!works, "401: a code opens nothing")
}
