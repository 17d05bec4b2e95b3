//! The trail of an account in plain words: who did what.

use serde_json::Value;

use super::pages::Activity;
use crate::audit::RecordedFact;
use crate::ids::AccountId;
use crate::login::{Method, UnknownMethod};
use crate::money::{Amount, Currency, Money};
use crate::orchestrator::Orchestrator;

fn how(method: &str) -> &'static str {
    match method.parse() {
        Ok(Method::MailLink) => "by a link in a mail",
        Ok(Method::Upstream) => "at the provider's own log-in",
        Ok(Method::Passkey) => "with a passkey",
        Ok(Method::DeepLink) | Err(UnknownMethod) => "",
    }
}

/// A fact of the trail in plain words.
pub(super) fn activity(
    fact: &RecordedFact,
    account: &AccountId,
    orchestrator: &Orchestrator,
    currency: Currency,
) -> Activity {
    let here = fact.actor == format!("user:{account}");
    let who = who(fact, here, orchestrator);
    Activity { at: fact.at, who, what: what(fact, here, currency) }
}

/// A word of what is known of a fact.
fn text(fact: &RecordedFact, name: &str) -> String {
    fact.detail.get(name).and_then(Value::as_str).unwrap_or("").to_owned()
}

/// `here`: by a browser that has a session of the account.
fn who(fact: &RecordedFact, here: bool, orchestrator: &Orchestrator) -> String {
    let text = |name| text(fact, name);
    // Whoever holds a log-in link can be at the dashboard: the trail says what is known, and not more.
    // What only somebody who logged in can do.
    let owner_only = matches!(
        fact.action.as_str(),
        "session.began"
            | "account.claimed"
            | "account.linked"
            | "sidecar.merged"
            | "sidecar.moved"
            | "sidecar.discarded"
            | "link.widened"
            | "link.changed"
            | "link.denied"
            | "budget.raised"
            | "spending.resumed"
            | "agent.resumed"
            | "resource.remove_wanted"
    ) || fact.action.starts_with("passkey.")
        || fact.action.starts_with("upstream.");
    if text("by") == "link" && here {
        "A link of a mail".to_owned()
    } else if fact.action == "session.began" || (here && owner_only) {
        "The owner".to_owned()
    } else if here {
        "This dashboard".to_owned()
    } else if fact.action == "dashboard.opened" {
        "Somebody".to_owned()
    } else if fact.actor == "mail" {
        "Somebody with the account's mail".to_owned()
    } else if fact.actor.starts_with("client:") {
        "A program".to_owned()
    } else if fact.actor == "system" || fact.actor == "house" {
        "Portreeve".to_owned()
    } else if fact.action == "account.linked" || fact.action == "link.asked" {
        text("orchestrator")
    } else if fact.actor == "operator" {
        "The provider".to_owned()
    } else {
        orchestrator.name.to_string()
    }
}

fn what(fact: &RecordedFact, here: bool, currency: Currency) -> String {
    let text = |name| text(fact, name);
    let money = |name: &str| {
        let amount = fact.detail.get(name).and_then(Value::as_i64).and_then(|minor| Amount::from_minor(minor).ok());
        amount.map(|amount| Money { amount, currency }.to_string()).unwrap_or_default()
    };
    match fact.action.as_str() {
        "account.opened" => "opened the account".to_owned(),
        "account.claimed" => "claimed the account; everything from before ended".to_owned(),
        "upstream.connected" => "connected the provider's own log-in".to_owned(),
        "upstream.disconnected" => "disconnected the provider's own log-in".to_owned(),
        "link.asked" => "asked to act for this account".to_owned(),
        "account.frozen" => "froze the account".to_owned(),
        "resource.linked" => "took a resource over into a project".to_owned(),
        "resource.change_wanted" => format!("asked to change {} to {}", text("from"), text("to")),
        "resource.changed" => format!("changed {}", text("name")),
        "resource.change_refused" => format!("could not change {}: {}", text("name"), text("reason")),
        "resource.credentials_rotated" => format!("made new credentials for {}", text("name")),
        "resource.rotation_refused" => {
            format!("could not make new credentials for {}: {}", text("name"), text("reason"))
        }
        "account.linked" if here => format!("allowed {} to act for this account", text("orchestrator")),
        "account.linked" => "was linked to this account by the provider's rule".to_owned(),
        "consent.given" => format!("allowed {} to act for this account", text("client_name")),
        "consent.refused" => format!("refused {}", text("client_name")),
        "consent.used_again" => format!("came back for what you allowed: {}", text("client_name")),
        "consent.revoked" => format!("ended what a program was allowed: {}", text("reason")),
        "sidecar.merged" => {
            format!("merged the separate account that {} had opened into this one", text("orchestrator"))
        }
        "sidecar.moved" => {
            format!("moved things here from the separate account that {} had opened", text("orchestrator"))
        }
        "sidecar.discarded" => format!("discarded the separate account that {} had opened", text("orchestrator")),
        "link.widened" => format!("allowed {} to do more", text("orchestrator")),
        "link.changed" => format!("changed what {} may do", text("orchestrator")),
        "link.denied" => format!("refused {}", text("orchestrator")),
        "resource.bought" if fact.detail.get("amount").and_then(Value::as_i64) == Some(0) => {
            format!("chose {}", text("title"))
        }
        "resource.bought" => format!("bought {} for {}", text("title"), money("amount")),
        "resource.ready" => format!("made {} ready", text("name")),
        "resource.failed" => format!("could not buy {}: {}", text("name"), text("reason")),
        "resource.removed" => format!("removed {}", text("name")),
        "resource.rotate_wanted" => format!("asked for new credentials of {}", text("name")),
        "resource.remove_wanted" => format!("asked to remove {}", text("name")),
        "agent.paused" => "paused an agent".to_owned(),
        "agent.resumed" => "let an agent go on".to_owned(),
        "agent.revoked" => "ended what an agent may do".to_owned(),
        "agent.undone" => "asked to undo what an agent bought within the hour".to_owned(),
        "agent.narrowed" => format!("took {} from an agent", text("dropped")),
        "agent.cap_lowered" => format!("lowered the cap of an agent to {}", money("after")),
        "resource.needs_attention" => format!("needs a human for {}", text("name")),
        "hold.settled" => format!("settled {} as {}", money("amount"), text("as")),
        "budget.raised" => format!("raised the cap from {} to {}", money("before"), money("after")),
        "passkey.added" => format!("added the passkey {}", text("name")),
        "passkey.removed" => format!("removed the passkey {}", text("name")),
        "budget.lowered" => format!("lowered the cap from {} to {}", money("before"), money("after")),
        "spending.stopped" => "stopped new spending".to_owned(),
        "spending.resumed" => "allowed new spending again".to_owned(),
        "dashboard.link_made" => "made a log-in link to this dashboard".to_owned(),
        "dashboard.opened" => "opened this dashboard with a log-in link".to_owned(),
        "case.opened" if text("kind") == "not_started" => "said: I did not start this".to_owned(),
        "case.opened" => "said that somebody took its person's account over".to_owned(),
        "account.exported" => format!("took everything out, logged in {}", how(&text("method"))),
        "account.closing" => "closed the account".to_owned(),
        "case.closed" => "closed the case".to_owned(),
        "session.began" => format!("logged in {}", how(&text("method"))),
        other => other.replace(['.', '_'], " "),
    }
}
