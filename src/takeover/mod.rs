//! What is done when an orchestrator, one of its keys, or one of its people is not to be trusted since some instant; what
//! such a one could reach; and what orchestrators say of their people in security events.
//!
//! Promises: from the moment a distrust begins nothing new is believed; its work is a row with progress, done in bounded
//! pieces, and taken up again by whoever finds it; what was made since the instant is held back, never deleted, and given
//! back one by one; what was made before runs on. Security events of an orchestrator touch only its own people, and each
//! counts once. Refuses: events that nobody registered for, or that are signed with another's key.

mod blast_radius;
mod case;
mod case_store;
mod disown;
mod disown_store;
mod evidence;
mod ladder;
mod leaving;
mod poll;
mod precaution;
mod preview;
mod raise;
mod reach;
mod receive;
mod restore;
mod scope;
mod set;
mod store;
mod sweep;

pub use blast_radius::{Reach, blast_radius};
pub use case::{
    Case, CaseKind, CloseError, MAX_NOTE, by_id as case_by_id, close as close_case, distrusts as distrusts_of_case,
    give_back as give_case_back, list as cases, open_of as open_case_of,
};
pub use disown::{DisownError, Disowned, LinkOver, disown, link_over, take_back};
pub use evidence::{EvidenceError, NotEvidence, collect, collect_evidence, verify_evidence};
pub use leaving::{carry_precautions, is_held_fast};
pub use poll::{PollParts, poll_due};
pub use precaution::{Precautions, lift_precautions, precautions};
pub use preview::{Preview, preview};
pub use raise::{RaiseError, raise_cap};
pub use receive::{EventParts, Received, receive};
pub use restore::{RestoreError, Restored, restore, restore_all};
pub use scope::{Scope, Whom};
pub use set::{Presented, SetError};
pub use store::{Item, ItemKind, find_item, items, items_of};
pub use sweep::{Bounds, SweepError, resume_unfinished, run, step};
