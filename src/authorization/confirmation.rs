//! How an orchestrator hears that the human answered: one small trait at the edge of the process. Built in: the browser
//! goes to the registered callback with a code.

use std::fmt;

use futures_util::future::BoxFuture;
use url::Url;

use crate::ids::AccountRequestId;
use crate::orchestrator::{Orchestrator, WireSettings};
use crate::secret::Secret;

/// What the human answered, for the orchestrator.
#[derive(Debug, Clone)]
pub struct Answered {
    /// Which request.
    pub request_id: AccountRequestId,
    /// The code, or why there is none: `access_denied`, `expired`, `already_decided`.
    pub outcome: Result<Secret, &'static str>,
    /// What the orchestrator wants back verbatim. Secret.
    pub state: Option<Secret>,
}

/// Where the human goes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Onward {
    /// To the orchestrator.
    To(Url),
    /// Nowhere: the page says that the agent can go on.
    Stay,
}

/// The way by which orchestrators hear of answers.
pub trait Confirmation: fmt::Debug + Send + Sync {
    /// Whether an orchestrator with these settings is given a code with the answer.
    fn takes_code(&self, settings: &WireSettings) -> bool;

    /// Where pages with the answer's buttons may lead, for their content security policy.
    fn origin(&self, settings: &WireSettings) -> Option<String>;

    /// Tells the orchestrator, or says where the browser carries the answer to. What was decided stands either way.
    fn confirm<'a>(
        &'a self,
        orchestrator: &'a Orchestrator,
        settings: &'a WireSettings,
        answered: Answered,
    ) -> BoxFuture<'a, Onward>;
}

/// The browser carries `code` and `state` to the orchestrator's callback, as in RFC 6749 §4.1.2.
#[derive(Debug, Clone, Copy, Default)]
pub struct RedirectWithCode;

impl Confirmation for RedirectWithCode {
    fn takes_code(&self, settings: &WireSettings) -> bool {
        settings.callback_url.is_some()
    }

    fn origin(&self, settings: &WireSettings) -> Option<String> {
        settings.callback_url.as_ref().map(|url| url.origin().ascii_serialization())
    }

    fn confirm<'a>(
        &'a self,
        _orchestrator: &'a Orchestrator,
        settings: &'a WireSettings,
        answered: Answered,
    ) -> BoxFuture<'a, Onward> {
        let onward = settings.callback_url.clone().map_or(Onward::Stay, |mut url| {
            {
                let mut pairs = url.query_pairs_mut();
                match &answered.outcome {
                    Ok(code) => pairs.append_pair("code", code.expose()),
                    Err(error) => pairs.append_pair("error", error),
                };
                if let Some(state) = &answered.state {
                    pairs.append_pair("state", state.expose());
                }
            }
            Onward::To(url)
        });
        Box::pin(async move { onward })
    }
}
