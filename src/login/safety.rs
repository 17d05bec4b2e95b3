//! Links that can only take power away from an agent. Whoever has one can pause the agent, end it, or stop new spending; they
//! are nobody here for anything else.
//!
//! Nothing of them is stored: a link names the agent and its end, and an authentication code over both, under a key that
//! is for nothing else.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;

use crate::clock::Timestamp;
use crate::ids::AgentId;

/// How long a link works.
pub const LIFETIME: TimeDelta = TimeDelta::days(30);
/// Longer than any link of ours.
const MAX_LENGTH: usize = 200;

/// Makes and reads such links. Every process of an installation has the same key.
pub struct SafetyLinks(hmac::Key);

impl std::fmt::Debug for SafetyLinks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SafetyLinks")
    }
}

fn message(agent: &str, until: i64) -> Vec<u8> {
    format!("portreeve safety link 1\n{agent}\n{until}").into_bytes()
}

impl SafetyLinks {
    /// Links under `key`.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The last part of the link's address.
    #[must_use]
    pub fn make(&self, agent: &AgentId, until: Timestamp) -> String {
        let until = until.seconds();
        let tag = hmac::sign(&self.0, &message(agent.as_str(), until));
        format!("{agent}.{until}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    /// The agent of a link that we made and whose time is not over, and its end.
    #[must_use]
    pub fn read(&self, text: &str, now: Timestamp) -> Option<(AgentId, Timestamp)> {
        if text.len() > MAX_LENGTH {
            return None;
        }
        let mut parts = text.split('.');
        let (agent, end, tag) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let until: i64 = end.parse().ok()?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        // Another spelling of the number would be another link.
        let whole = until.to_string() == end && hmac::verify(&self.0, &message(agent, until), &tag).is_ok();
        let until = Timestamp::from_seconds(until);
        if whole && now < until { Some((agent.parse().ok()?, until)) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_names_its_agent_until_its_end_and_whatever_is_changed_in_it_is_none() {
        let (links, now) = (SafetyLinks::new(&[7; 32]), Timestamp::from_seconds(1_800_000_000));
        let (agent, other) = (AgentId::new(now), AgentId::new(now));
        let until = now.plus(LIFETIME);
        let link = links.make(&agent, until);
        assert_eq!(links.read(&link, now).map(|(id, _)| id), Some(agent.clone()));
        assert_eq!(links.read(&link, until), None, "its time is over");
        assert_eq!(SafetyLinks::new(&[8; 32]).read(&link, now), None, "another key");
        let (end, tag) = (until.seconds(), link.rsplit('.').next().unwrap());
        for forged in [
            format!("{other}.{end}.{tag}"),
            format!("{agent}.{}.{tag}", end + 1),
            format!("{agent}.+{end}.{tag}"),
            format!("{agent}.{end}."),
            format!("{agent}.{end}.{tag}.x"),
            format!("{agent}.{end}"),
            format!("{agent}.{}.{tag}", i64::MAX),
            format!("{link}="),
            "x".repeat(1_000),
            String::new(),
        ] {
            assert_eq!(links.read(&forged, now), None, "{forged}");
        }
    }
}
