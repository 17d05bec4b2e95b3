//! Looking again at what was pending.

use std::collections::BTreeMap;

use super::super::app_wire::{ResourceAnswer, Wire};
use super::super::connection::bearer;
use super::super::registry::{Kept, Member};
use super::super::state::State;
use super::{Resource, Stage, provider};

/// Looks at what is pending.
pub(in crate::simulator) async fn look(state: &State, user: &Member) -> Vec<String> {
    let pending: Vec<Resource> = {
        let world = state.world();
        let waits = |held: &&Resource| {
            held.user == user.subject && matches!(held.state, Stage::Pending | Stage::PendingRemoval)
        };
        world.resources.values().filter(waits).cloned().collect()
    };
    let mut warnings = Vec::new();
    for held in pending {
        if let Err(why) = look_at(state, user, &held).await {
            warnings.push(format!("`{}` could not be looked at: {why}", held.name));
        }
    }
    warnings
}

async fn look_at(state: &State, user: &Member, held: &Resource) -> Result<(), String> {
    let Some(id) = &held.provider_id else { return Ok(()) };
    let provider = provider(state, &held.provider).map_err(|refusal| refusal.code.to_owned())?;
    let token = bearer(state, user, &provider, None).await.map_err(|refusal| refusal.code.to_owned())?;
    let said = Wire::to(state, &provider).get(&token, id).await.map_err(|error| error.to_string())?;
    let reached = match &said {
        ResourceAnswer::Complete { .. } => Stage::Complete,
        ResourceAnswer::Removed { .. } => Stage::Removed,
        _ => return Ok(()),
    };
    let access = match said {
        ResourceAnswer::Complete { access, .. } => {
            access.into_iter().map(|(name, value)| (name, Kept::from(value))).collect()
        }
        _ => BTreeMap::new(),
    };
    let seen = Resource { state: reached, access, ..held.clone() };
    state.world().keep_resource(seen).map_err(|error| error.to_string())
}
