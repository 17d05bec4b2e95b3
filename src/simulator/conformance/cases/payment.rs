//! Payment: nothing usable without it, and no token is taken for more than it says.

use serde_json::{Value, json};

use super::super::answer::{Answer, Envelope};
use super::super::call::{Call, resource};
use super::super::case::{Case, Group::Payment as G, Stop, Verdict, case, not_applicable};
use super::super::making::payment_credentials;
use super::super::party::Party;
use super::super::session::Session;

const RULE: &str = "APP 0.1d, requires_payment_credentials";
const INERT: &str = "APP 0.1d, a failed payment leaves nothing usable";
const KINDS: &str = "APP 0.1d, payment_credentials: the one known type";
const LIMITS: &str = "APP 0.1d, payment tokens: usage limits, seller and user";

pub(super) const CASES: &[Case] = &[
    case(G, "payment.none", "A paid service without payment is refused with the known code", RULE, |s| {
        Box::pin(none(s))
    }),
    case(G, "payment.null", "null is no payment", RULE, |s| Box::pin(refused(s, Value::Null))),
    case(G, "payment.nothing-usable", "An unpaid creation leaves nothing usable", INERT, |s| {
        Box::pin(nothing_usable(s))
    }),
    case(G, "payment.retry-unpaid", "The same unpaid creation again is refused again", INERT, |s| {
        Box::pin(retry_unpaid(s))
    }),
    case(G, "payment.unknown-type", "An unknown kind of payment pays nothing", KINDS, |s| {
        Box::pin(refused(s, json!({"type": "conform_coupon", "conform_coupon": "FREE"})))
    }),
    case(G, "payment.no-token", "Payment credentials without a token pay nothing", KINDS, |s| {
        Box::pin(refused(s, json!({"type": "stripe_payment_token"})))
    }),
    case(G, "payment.empty-token", "An empty token pays nothing", KINDS, |s| {
        Box::pin(refused(s, payment_credentials("")))
    }),
    case(G, "payment.no-object", "Payment credentials that are a text pay nothing", KINDS, |s| {
        Box::pin(refused(s, json!("stripe_payment_token")))
    }),
    case(G, "payment.false-token", "A token that nobody issued pays nothing", LIMITS, |s| {
        Box::pin(refused(s, payment_credentials("spt_conform_never_issued")))
    }),
    case(G, "payment.huge-token", "A token of a hundred thousand characters pays nothing", LIMITS, |s| {
        Box::pin(refused(s, payment_credentials(&"a".repeat(100_000))))
    }),
    case(G, "payment.free-needs-none", "A free service needs no payment", RULE, |s| Box::pin(free_needs_none(s))),
    case(G, "payment.paid", "A paid service can be had with a payment token", RULE, |s| Box::pin(paid(s))),
    case(G, "payment.once", "A retried purchase is one purchase", LIMITS, |s| Box::pin(once(s))),
    case(G, "payment.after-refusal", "A refused purchase can be made again with payment", RULE, |s| {
        Box::pin(after_refusal(s))
    }),
    case(G, "payment.limit", "A token that is good for one minor unit does not pay", LIMITS, |s| Box::pin(limit(s))),
    case(G, "payment.limit-nothing-usable", "A refused token leaves nothing usable", INERT, |s| {
        Box::pin(limit_inert(s))
    }),
    case(G, "payment.other-user", "A token of another user does not pay", LIMITS, |s| Box::pin(other_user(s))),
    case(G, "payment.changed-token", "A token that was changed does not pay", LIMITS, |s| Box::pin(changed_token(s))),
    case(
        G,
        "payment.token-not-told",
        "No answer repeats the payment token",
        "APP 0.1d, GET …/:id mints and tells nothing",
        |s| Box::pin(token_not_told(s)),
    ),
];

/// Somebody, and the body of an unpaid creation of a paid service.
async fn unpaid(s: &Session) -> Result<(Party, Value), Stop> {
    let service = s.paid().await?;
    let party = s.open().await?;
    let body = s.create_body(service, &party);
    Ok((party, body))
}

async fn none(s: &Session) -> Verdict {
    let (party, body) = unpaid(s).await?;
    let answer = s.try_create(&body, &party).await?;
    answer.refused(Envelope::Status, &[400, 402], &["requires_payment_credentials"])
}

/// Paid for with `credentials`, it is refused.
async fn refused(s: &Session, credentials: Value) -> Verdict {
    let (party, mut body) = unpaid(s).await?;
    body["payment_credentials"] = credentials;
    s.try_create(&body, &party).await?.refused(Envelope::Status, &[400, 402, 413, 422], &[])
}

/// Whatever id the refusal names leads to nothing that can be used.
async fn inert(s: &Session, party: &Party, refusal: &Answer) -> Verdict {
    refusal.expect(!refusal.succeeded() && refusal.access().is_empty(), "a refusal without access")?;
    let Some(id) = refusal.text("/id").filter(|id| !id.is_empty()) else {
        return Ok(());
    };
    let read = s.send(Call::get(resource(id)).bearer(&party.access)).await?;
    let usable = read.succeeded() && read.kind() == Some("complete");
    read.expect(!usable, "nothing complete: it was not paid for")
}

async fn nothing_usable(s: &Session) -> Verdict {
    let (party, body) = unpaid(s).await?;
    let refusal = s.try_create(&body, &party).await?;
    inert(s, &party, &refusal).await
}

async fn retry_unpaid(s: &Session) -> Verdict {
    let (party, body) = unpaid(s).await?;
    let key = s.name();
    s.send(Session::create(&body, &party, &key)).await?;
    let answer = s.send(Session::create(&body, &party, &key)).await?;
    answer.refused(Envelope::Status, &[400, 402, 409], &[])?;
    // And under another key: the half-made thing must not be found and handed out.
    s.try_create(&body, &party).await?.refused(Envelope::Status, &[400, 402, 409], &[])
}

async fn free_needs_none(s: &Session) -> Verdict {
    if s.services().await?.free().is_none() {
        return not_applicable("the catalog has no free service");
    }
    s.shared().await?.answer.kind_is(&["complete"])
}

async fn paid(s: &Session) -> Verdict {
    let (party, mut body) = unpaid(s).await?;
    body["payment_credentials"] = s.payment(&party).await?;
    s.try_create(&body, &party).await?.kind_is(&["complete", "pending"])
}

async fn once(s: &Session) -> Verdict {
    let (party, mut body) = unpaid(s).await?;
    body["payment_credentials"] = s.payment(&party).await?;
    let key = s.name();
    let first = s.send(Session::create(&body, &party, &key)).await?;
    first.kind_is(&["complete", "pending"])?;
    let second = s.send(Session::create(&body, &party, &key)).await?;
    second.kind_is(&["complete", "pending"])?;
    second.expect(first.text("/id") == second.text("/id"), "the resource of the first answer")
}

async fn after_refusal(s: &Session) -> Verdict {
    let (party, mut body) = unpaid(s).await?;
    s.try_create(&body, &party).await?;
    body["payment_credentials"] = s.payment(&party).await?;
    s.try_create(&body, &party).await?.kind_is(&["complete", "pending"])
}

async fn limited(s: &Session) -> Result<(Party, Answer), Stop> {
    let (party, mut body) = unpaid(s).await?;
    body["payment_credentials"] = payment_credentials(&s.payment_token(1, &party.subject).await?);
    let answer = s.try_create(&body, &party).await?;
    Ok((party, answer))
}

async fn limit(s: &Session) -> Verdict {
    limited(s).await?.1.refused(Envelope::Status, &[400, 402], &[])
}

async fn limit_inert(s: &Session) -> Verdict {
    let (party, answer) = limited(s).await?;
    inert(s, &party, &answer).await
}

async fn other_user(s: &Session) -> Verdict {
    let (party, mut body) = unpaid(s).await?;
    let stranger = s.fresh_subject();
    body["payment_credentials"] = payment_credentials(&s.payment_token(s.options.payment_limit, &stranger).await?);
    s.try_create(&body, &party).await?.refused(Envelope::Status, &[400, 402, 403], &[])
}

async fn changed_token(s: &Session) -> Verdict {
    let (party, mut body) = unpaid(s).await?;
    let token = s.payment_token(s.options.payment_limit, &party.subject).await?;
    let middle = token.len() / 2;
    let other: String =
        token.char_indices().map(|(at, c)| if at == middle { if c == 'A' { 'B' } else { 'A' } } else { c }).collect();
    body["payment_credentials"] = payment_credentials(&other);
    s.try_create(&body, &party).await?.refused(Envelope::Status, &[400, 402], &[])
}

async fn token_not_told(s: &Session) -> Verdict {
    let (party, mut body) = unpaid(s).await?;
    let token = s.payment_token(s.options.payment_limit, &party.subject).await?;
    body["payment_credentials"] = payment_credentials(&token);
    let made = s.try_create(&body, &party).await?;
    made.kind_is(&["complete", "pending"])?;
    let read = s.send(Call::get(resource(&made.need("/id")?)).bearer(&party.access)).await?;
    for answer in [&made, &read] {
        let told = String::from_utf8_lossy(&answer.incoming.body).contains(&token);
        answer.expect(!told, "an answer without the payment token")?;
    }
    Ok(())
}
