//! Stages 13 to 19: the same desk at the orchestrators' door (APP 0.1d). An orchestrator calls for a second human, and
//! signs each call; then the orchestrator's own agent API does the same by itself. What was spent must stand in the
//! issuer's books, at the catalog's signed prices, and on the human's page.

mod account;
mod change;
mod money;
mod order;

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::super::agent::Stopped;
use super::money::Budget;
use super::{Ask, User, Walk, WireOptions, body, ensure, noted};
use crate::clock::Timestamp;
use crate::fetch::Incoming;
use crate::money::{Amount, Money, Rate};
use crate::secret::Secret;

/// The version of the wire that is spoken.
const VERSION: &str = "0.1d";
/// The digest of the signed revision that the services were made from.
const DIGEST: &str = "portreeve-catalog-digest";

/// Shell words that the signed steps need: the orchestrator's secret, a second person, and how to sign.
const SIGN: &str = "sign() { AT=$(date +%s); printf 't=%s,v1=' \"$AT\"; printf '%s.%s' \"$AT\" \"$1\" | \
                    openssl dgst -sha256 -hmac \"${2-$SIGNING_SECRET}\" -r | cut -d ' ' -f 1; }";

/// The second human at the orchestrator.
struct Guest<'w> {
    user: &'w User,
    /// Until when what is asked for her may be answered: in a form that a shell can write.
    expires_at: String,
}

/// What the guest has: her account, and the token for it.
struct Held {
    account: String,
    token: Secret,
}

/// A plan under its name on the wire.
struct Ware {
    id: &'static str,
    service: &'static str,
    plan: &'static str,
}

const FREE: Ware = Ware { id: "sandbox", service: "sandbox", plan: "free" };
const SMALL: Ware = Ware { id: "postgres:small", service: "postgres", plan: "small" };
const MEDIUM: Ware = Ware { id: "postgres:medium", service: "postgres", plan: "medium" };
const CACHE: Ware = Ware { id: "cache", service: "cache", plan: "standard" };

impl Walk<'_> {
    /// The stages of the wire; `cap` is the budget that every account begins with.
    pub(super) async fn come_by_the_wire(&mut self, cap: &Budget) -> Result<(), Stopped> {
        let options = self.options;
        let Some(wire) = &options.wire else { return Ok(()) };
        let guest = self.guest(wire);
        self.agent.act("And at the orchestrators' door (APP 0.1d), where Harbour signs each call:");
        self.agent.stage();
        self.be_heard_signed_only(&guest).await?;
        self.compare_the_services().await?;
        self.agent.stage();
        let held = self.ask_for_an_account(&guest).await?;
        self.ask_for_the_account_of_another(&guest).await?;
        self.agent.stage();
        let ordered = self.order(&guest, &held, cap).await?;
        self.agent.stage();
        self.change(&held, &ordered).await?;
        self.agent.stage();
        self.let_the_orchestrator_do_it(&guest, &held).await?;
        self.agent.stage();
        self.find_the_money(&guest, &held, cap).await?;
        self.agent.stage();
        self.remove(&held, &ordered).await
    }

    /// The second human, and what `curl` lines need to sign.
    fn guest<'g>(&mut self, wire: &'g WireOptions) -> Guest<'g> {
        let user = &wire.user;
        let expires_at = Timestamp::from_seconds(self.now.seconds()).plus(TimeDelta::minutes(10)).to_rfc3339();
        self.agent.vary("GUEST", &user.subject);
        self.agent.vary("GUEST_EMAIL", &user.email);
        self.agent.vary("EXPIRES_AT", &expires_at);
        let (name, domain) = user.email.split_once('@').unwrap_or((&user.email, "example.test"));
        let name = name.split('+').next().unwrap_or(name);
        let file = wire.secret_file.display().to_string().replace('\'', "'\\''");
        self.agent.set_before(format!(
            "SIGNING_SECRET=$(cat '{file}'); GUEST=guest-$KEY; GUEST_EMAIL={name}-$KEY@{domain}\n     \
             EXPIRES_AT=$(date -u -d '+10 minutes' +%FT%TZ)\n     {SIGN}\n     "
        ));
        Guest { user, expires_at }
    }

    /// A signed call without a body.
    fn wire_get(&self, path: &str) -> Ask {
        let ask = self.at_provider("GET", path, 200).header("api-version", VERSION);
        ask.signed(&self.signing_secret, self.now)
    }

    /// A call with a body, not yet signed.
    fn wire_post(&self, path: &str, body: &Value) -> Ask {
        self.at_provider("POST", path, 200).header("api-version", VERSION).json(body)
    }

    fn signed(&self, ask: Ask) -> Ask {
        ask.signed(&self.signing_secret, self.now)
    }

    /// A signed call about the guest's account that can be repeated under the same key.
    fn wire_call(&self, held: &Held, path: &str, key: &str, body: &Value) -> Ask {
        self.signed(self.wire_post(path, body)).bearer(&held.token).key(&self.key(key))
    }

    /// What the believed catalog says that this costs at once.
    fn signed_price(&self, ware: &Ware) -> Result<Money, String> {
        let wrong = || format!("the signed catalog has no price of `{}`", ware.id);
        let list = |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let named = |value: &Value, name: &str| value.get("id").and_then(Value::as_str) == Some(name);
        let services = list(&self.catalog.document, "services");
        let service = services.iter().find(|service| named(service, ware.service)).ok_or_else(wrong)?;
        let plan = list(service, "plans").into_iter().find(|plan| named(plan, ware.plan)).ok_or_else(wrong)?;
        let price = plan.get("price").ok_or_else(wrong)?;
        let word = |name: &str| price.get(name).and_then(Value::as_str);
        let (amount, currency) = word("amount").zip(word("currency")).ok_or_else(wrong)?;
        let rate: Rate = format!("{amount} {currency}").parse().map_err(|_no_rate| wrong())?;
        Ok(Money { amount: rate.exact().map_err(|_out_of_range| wrong())?, currency: rate.currency() })
    }

    /// What all these cost at once, together.
    fn signed_prices(&self, wares: &[&Ware]) -> Result<Amount, String> {
        wares.iter().try_fold(Amount::ZERO, |sum, ware| {
            sum.checked_add(self.signed_price(ware)?.amount).ok_or_else(|| "a sum beyond all money".to_owned())
        })
    }
}

/// The text at this place of an answer (RFC 6901).
fn text<'a>(said: &'a Value, place: &str) -> Result<&'a str, String> {
    said.pointer(place).and_then(Value::as_str).ok_or_else(|| format!("`{place}` is missing"))
}

/// The answer says no in this code.
fn refused(answer: &Incoming, code: &str) -> Result<(), String> {
    let said: Value = body(answer)?;
    let told = text(&said, "/error/code").or_else(|_none| text(&said, "/error"))?;
    ensure(told == code, format!("it is refused as `{told}`, not as `{code}`"))
}

impl Walk<'_> {
    /// A signature opens the door; a forged one does not, and least of all for a new account.
    async fn be_heard_signed_only(&mut self, guest: &Guest<'_>) -> Result<(), Stopped> {
        let health = self.wire_get("/provisioning/health");
        self.agent
            .take(health, |answer| {
                let said: Value = body(answer)?;
                let spoken = said.get("supported_versions").and_then(Value::as_array);
                ensure(spoken.is_some_and(|all| all.contains(&json!(VERSION))), "it does not speak 0.1d")?;
                noted(format!("signed, and heard: it speaks {VERSION}"))
            })
            .await?;
        let wanted = Self::account_request(guest, &self.key("forged"), &guest.user.subject, &guest.user.email);
        let forged = self.wire_post("/provisioning/account_requests", &wanted).expecting(401).forged(self.now);
        self.agent
            .take(forged, |answer| {
                refused(answer, "invalid_signature")?;
                noted("a forged signature opens nothing")
            })
            .await
    }

    /// The services are those of the catalog that was believed, at its prices.
    async fn compare_the_services(&mut self) -> Result<(), Stopped> {
        let (digest, price) = (self.catalog.digest.clone(), self.signed_price(&SMALL));
        let ask = self.wire_get("/provisioning/services");
        self.agent
            .take(ask, |answer| {
                let told = answer.header(DIGEST).unwrap_or_default().trim_matches('"');
                ensure(told == digest, format!("they come from {told}, not from the signed revision"))?;
                let said: Value = body(answer)?;
                let services = said.get("data").and_then(Value::as_array).ok_or("`data` is no list")?;
                let small = services.iter().find(|one| one.get("id").and_then(Value::as_str) == Some(SMALL.id));
                let small = small.ok_or_else(|| format!("`{}` is not listed", SMALL.id))?;
                let shown = text(small, "/pricing/paid/freeform")?;
                ensure(shown.contains(&price?.to_string()), format!("`{}` costs {shown} here", SMALL.id))?;
                let short = digest.get(..19).unwrap_or(&digest);
                noted(format!("{} services of the same revision, {short}…", services.len()))
            })
            .await
    }
}
