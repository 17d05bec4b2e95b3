//! Calling wrong on order: what the orchestrator does to its own calls to a provider, and what it remembers of each call.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::fetch::Outgoing;

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// `GET /provisioning/health`.
    Health,
    /// `GET /provisioning/services`.
    Services,
    /// `POST /provisioning/account_requests`.
    AccountRequest,
    /// `POST /oauth/token` with a code.
    Token,
    /// `POST /oauth/token` with a refresh token.
    Refresh,
    /// `POST /provisioning/resources`.
    Create,
    /// `GET /provisioning/resources/{id}`.
    Get,
    /// `POST /provisioning/resources/{id}/update_service`.
    Update,
    /// `POST /provisioning/resources/{id}/remove`.
    Remove,
    /// `POST /provisioning/resources/{id}/rotate_credentials`.
    Rotate,
    /// `POST /provisioning/resources/link`.
    LinkResource,
    /// `POST /provisioning/deep_links`.
    DeepLink,
}

/// A way to call wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Wrong {
    /// The same signed request twice, one after the other. The first answer counts.
    Duplicate,
    /// The same signed request twice at once. The first answer counts.
    DuplicateAtOnce,
    /// The same signed request once more, after the next call to this provider was answered.
    LateDuplicate,
    /// Waits until another call to this provider was answered, at most `ms` milliseconds: calls arrive in another order.
    Hold {
        /// The longest wait.
        ms: u64,
    },
    /// Sent, and the answer is thrown away: the orchestrator does not know and repeats the call.
    LoseAnswer,
    /// Never sent, as if the line were down: the orchestrator repeats the call.
    LoseRequest,
    /// Signed as if the clock were `seconds` ahead (behind when negative).
    Skew {
        /// How far.
        seconds: i64,
    },
    /// Signed with a secret that is not the provider's.
    WrongSecret,
    /// No signature of either kind.
    NoSignature,
    /// The signature is over another body.
    OtherBody,
    /// `Stripe-Signature-V2` alone is over another body.
    BadV2,
    /// Without `Stripe-Signature-V2`.
    NoV2,
    /// Another `API-Version`; none when it is empty.
    Version {
        /// The header's value.
        version: String,
    },
    /// With a bearer that nobody issued.
    WrongBearer,
    /// Without `Idempotency-Key`.
    NoKey,
    /// The request shapes of a date: before 2026-04-01, `organisation`.
    OldShape {
        /// Year, month, day.
        date: String,
    },
    /// `null` for every optional member that is absent.
    Nulls,
    /// With members that nobody knows.
    UnknownMembers,
    /// With a payment token that the user has taken back (create and update).
    RevokedToken,
    /// With a payment token over one minor unit (create and update).
    TinyToken,
}

/// The next calls that are done wrong.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CallOrder {
    /// How.
    #[serde(flatten)]
    pub wrong: Wrong,
    /// Which calls; any when absent.
    #[serde(default)]
    pub on: Option<Verb>,
    /// To which provider; any when absent.
    #[serde(default)]
    pub provider: Option<String>,
    /// How many calls.
    #[serde(default = "once")]
    pub count: u32,
}

fn once() -> u32 {
    1
}

/// A call that was made, as `GET /test/calls` shows it. Holds no secret.
#[derive(Debug, Clone, Serialize)]
pub struct CallSeen {
    /// When it was sent.
    pub at: Timestamp,
    /// To whom.
    pub provider: String,
    /// For what.
    pub verb: Verb,
    /// From 1; repetitions count.
    pub attempt: u32,
    /// Path only.
    pub path: String,
    /// HTTP status; 0 when no answer came.
    pub status: u16,
    /// Milliseconds.
    pub millis: u64,
    /// What was done wrong on order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrong: Option<Wrong>,
}

/// Orders that wait, and copies that are still to be sent.
#[derive(Default)]
pub(super) struct Mischief {
    orders: VecDeque<CallOrder>,
    pub(super) late: Vec<(String, Outgoing)>,
}

impl Mischief {
    pub(super) fn order(&mut self, orders: Vec<CallOrder>) {
        self.orders.extend(orders.into_iter().filter(|order| order.count > 0));
    }

    /// What is wrong with this call. One call is done wrong in one way.
    pub(super) fn take(&mut self, provider: &str, verb: Verb) -> Option<Wrong> {
        self.take_if(provider, verb, |wrong| !matches!(wrong, Wrong::RevokedToken | Wrong::TinyToken))
    }

    /// What is wrong with the payment token of this call.
    pub(super) fn take_token(&mut self, provider: &str, verb: Verb) -> Option<Wrong> {
        self.take_if(provider, verb, |wrong| matches!(wrong, Wrong::RevokedToken | Wrong::TinyToken))
    }

    fn take_if(&mut self, provider: &str, verb: Verb, kind: impl Fn(&Wrong) -> bool) -> Option<Wrong> {
        let fits = |order: &&mut CallOrder| {
            order.on.is_none_or(|on| on == verb)
                && order.provider.as_deref().is_none_or(|named| named == provider)
                && kind(&order.wrong)
        };
        let order = self.orders.iter_mut().find(fits)?;
        order.count -= 1;
        let wrong = order.wrong.clone();
        self.orders.retain(|order| order.count > 0);
        Some(wrong)
    }

    /// Copies for this provider that come late.
    pub(super) fn late_for(&mut self, provider: &str) -> Vec<Outgoing> {
        let (now, later) = std::mem::take(&mut self.late).into_iter().partition(|(named, _)| named == provider);
        self.late = later;
        Vec::into_iter(now).map(|(_, outgoing)| outgoing).collect()
    }
}

/// What the body of a call looks like when it is shaped wrongly; dates are compared as text.
pub(super) fn shaped(verb: Verb, body: &Value, wrong: Option<&Wrong>, shapes: Option<&str>) -> Value {
    let mut body = body.clone();
    let date = match wrong {
        Some(Wrong::OldShape { date }) => Some(date.as_str()),
        _ => shapes,
    };
    if let (Verb::AccountRequest, Some(date)) = (verb, date) {
        old_account_request(&mut body, date);
    }
    let Some(members) = body.as_object_mut() else { return body };
    match wrong {
        Some(Wrong::Nulls) => {
            for name in optional(verb) {
                members.entry(*name).or_insert(Value::Null);
            }
        }
        Some(Wrong::UnknownMembers) => {
            members.insert("x_from_the_future".to_owned(), json!({"deep": [1, "two", null]}));
        }
        _ => {}
    }
    body
}

/// Until 2026-04-01 the organisation was spelt the British way, and had to be there.
fn old_account_request(body: &mut Value, date: &str) {
    if date >= "2026-04-01" {
        return;
    }
    let Some(orchestrator) = body.get_mut("orchestrator").and_then(Value::as_object_mut) else { return };
    let Some(named) = orchestrator.get("type").and_then(Value::as_str).map(str::to_owned) else { return };
    if let Some(block) = orchestrator.get_mut(&named).and_then(Value::as_object_mut) {
        let organization = block.remove("organization").unwrap_or_else(|| json!("org_unnamed"));
        block.insert("organisation".to_owned(), organization);
    }
}

fn optional(verb: Verb) -> &'static [&'static str] {
    match verb {
        Verb::AccountRequest => {
            &["name", "phone", "country", "kyc", "actor", "configuration", "code_challenge", "code_challenge_method"]
        }
        Verb::Create => &["configuration", "environment", "actor", "payment_credentials", "submitted_information"],
        Verb::Update => &["service_id", "configuration", "payment_credentials", "actor"],
        Verb::Remove | Verb::Rotate | Verb::DeepLink => &["actor"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders(text: &str) -> Mischief {
        let mut mischief = Mischief::default();
        mischief.order(serde_json::from_str(text).unwrap());
        mischief
    }

    #[test]
    fn an_order_is_for_its_verb_its_provider_and_its_count() {
        let mut mischief = orders(
            r#"[{"do":"skew","seconds":-400,"on":"create","count":2},{"do":"lose_answer","provider":"acme"},
                {"do":"revoked_token","on":"create"}]"#,
        );
        assert_eq!(mischief.take("other", Verb::Get), None);
        assert_eq!(mischief.take("acme", Verb::Create), Some(Wrong::Skew { seconds: -400 }));
        assert_eq!(mischief.take("acme", Verb::Get), Some(Wrong::LoseAnswer));
        assert_eq!(mischief.take("other", Verb::Create), Some(Wrong::Skew { seconds: -400 }));
        assert_eq!(mischief.take("other", Verb::Create), None);
        assert_eq!(mischief.take_token("other", Verb::Create), Some(Wrong::RevokedToken));
    }

    #[test]
    fn the_old_shape_spells_the_organisation_the_old_way() {
        let body = json!({"orchestrator": {"type": "stripe", "stripe": {"account": "a", "organization": "o"}}});
        let old = shaped(Verb::AccountRequest, &body, None, Some("2026-03-30"));
        assert_eq!(old["orchestrator"]["stripe"], json!({"account": "a", "organisation": "o"}));
        let wrong = Wrong::OldShape { date: "2026-03-30".into() };
        assert_eq!(shaped(Verb::AccountRequest, &body, Some(&wrong), None), old);
        assert_eq!(shaped(Verb::AccountRequest, &body, None, Some("2026-06-25")), body);
    }

    #[test]
    fn nulls_stand_only_where_nothing_stood() {
        let body = json!({"configuration": {"a": 1}});
        let nulled = shaped(Verb::Create, &body, Some(&Wrong::Nulls), None);
        assert_eq!((&nulled["configuration"]["a"], &nulled["actor"]), (&json!(1), &Value::Null));
        assert!(nulled.as_object().unwrap().contains_key("actor"));
    }
}
