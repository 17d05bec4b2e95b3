//! How people write who sells, and one service, in TOML.

use super::fields::{At, Fields};
use super::llm_context::{LlmContext, PageFile};
use super::names::{PlanId, ServiceId};
use super::plan_document::plan;
use super::references::Rule;
use super::rules_document::Places;
use super::service::{BadService, Plan, Provider, Service, ServiceDraft};
use super::source::{Mistake, Source};
use super::words::{KycField, Scope, WireCategory};
use super::{Driver, binding};

/// The most categories of one service.
const MAX_CATEGORIES: usize = 10;

/// A service that was read, with where its id and its statements about other plans stand.
pub(super) struct Read {
    pub(super) service: Service,
    pub(super) driver: Driver,
    pub(super) id: Mark,
    pub(super) page: Option<(PageFile, Mark)>,
    pub(super) rules: Vec<(PlanId, Rule, Mark)>,
}

/// A place in a file, kept after the file was closed.
pub(super) struct Mark(Mistake);

impl Mark {
    pub(super) fn named(&self, file: &str, message: String) -> Mistake {
        Mistake { file: file.to_owned(), message, ..self.0.clone() }
    }

    pub(super) fn saying(&self, message: String) -> Mistake {
        Mistake { message, ..self.0.clone() }
    }
}

/// Reads `provider.toml`.
pub(super) fn provider(_: &Source, fields: Fields<'_>) -> Option<Provider> {
    let name = fields.required("name", "name = \"Acme Cloud\"", fields.text("name"));
    let description = fields.required("description", "description = \"…\"", fields.text("description"));
    let website = fields.text("website").map(value);
    let support = fields.text("support").map(value);
    let terms = fields.text("terms").map(value);
    let privacy = fields.text("privacy").map(value);
    fields.finish();
    Some(Provider { name: name?.value, description: description?.value, website, support, terms, privacy })
}

fn value<T>(at: At<T>) -> T {
    at.value
}

/// Reads one file of `services`.
pub(super) fn service(source: &Source, fields: Fields<'_>) -> Option<Read> {
    let mark = |offset| Mark(source.place(offset, String::new()));
    let facts = facts(&fields);
    let page = page(&fields);
    let driver = binding::driver(source, &fields);
    let plans = plans(&fields, facts.as_ref().map(|facts| &facts.value.id));
    if let (Some(driver), Some(plans)) = (&driver, &plans) {
        binding::covers(source, driver, plans);
    }
    if let (Some(facts), Some(plans)) = (&facts, &plans) {
        told_apart(source, &facts.value.kyc, plans);
    }
    let whole = fields.offset();
    fields.finish();
    let (facts, plans) = (facts?, plans?);
    let rules = plans.iter().flat_map(|plan| {
        let (plan, places) = &plan.value;
        places.iter().map(|(rule, offset)| (plan.id.clone(), *rule, mark(*offset)))
    });
    let rules = rules.collect();
    let places: Vec<_> = plans.iter().map(|plan| (plan.value.0.id.clone(), plan.offset)).collect();
    let (llm_context, page) = match page {
        Some(At { value: Page::Inline(page), .. }) => (Some(page), None),
        Some(At { value: Page::File(file), offset }) => (None, Some((file, mark(offset)))),
        None => (None, None),
    };
    let plans = plans.into_iter().map(|plan| plan.value.0).collect();
    match Service::try_from(ServiceDraft { llm_context, plans, ..facts.value }) {
        Ok(service) => Some(Read { service, driver: driver?, id: mark(facts.offset), page, rules }),
        Err(error) => {
            source.wrong(culprit(&error, &places).unwrap_or(whole), error.to_string());
            None
        }
    }
}

/// What stands in the file itself, still without page and plans. Its place is that of the id.
fn facts(fields: &Fields<'_>) -> Option<At<ServiceDraft>> {
    let id = fields.required("id", "id = \"postgres\"", fields.text::<ServiceId>("id"));
    let title = fields.required("title", "title = \"Postgres\"", fields.text("title"));
    let description = fields.required("description", "description = \"…\"", fields.text("description"));
    let categories = fields.texts("categories", MAX_CATEGORIES);
    let use_when = fields.required("use_when", "use_when = \"…\"", fields.text("use_when"));
    let not_when = fields.required("not_when", "not_when = \"…\"", fields.text("not_when"));
    let irreversible = fields.flag("irreversible");
    let scope = fields.text::<Scope>("scope").map(value).unwrap_or_default();
    let group = fields.text("group").map(value);
    let kyc = fields.texts("kyc", KycField::ALL.len());
    let wire_categories = fields.texts("wire_categories", WireCategory::ALL.len());
    let id = id?;
    let draft = ServiceDraft {
        id: id.value,
        title: title?.value,
        description: description?.value,
        categories,
        use_when: use_when?.value,
        not_when: not_when?.value,
        irreversible,
        scope,
        group,
        kyc,
        wire_categories,
        llm_context: None,
        plans: Vec::new(),
    };
    Some(At { value: draft, offset: id.offset })
}

/// A page for agents: in a file beside this one, or here.
enum Page {
    File(PageFile),
    Inline(LlmContext),
}

fn page(fields: &Fields<'_>) -> Option<At<Page>> {
    if !fields.is_table("llm_context") {
        return fields.text("llm_context").map(|file| At { value: Page::File(file.value), offset: file.offset });
    }
    let table = fields.table("llm_context", "this page")?;
    let text = table.required("text", "text = \"…\"", table.text("text"));
    table.finish();
    text.map(|text| At { value: Page::Inline(text.value), offset: text.offset })
}

/// `None` when one could not be read: then the rules about all plans would mislead.
fn plans(fields: &Fields<'_>, service: Option<&ServiceId>) -> Option<Vec<At<(Plan, Places)>>> {
    let tables = fields.tables("plans", "this plan", Service::MAX_PLANS);
    let read = tables.into_iter().map(|table| {
        let offset = table.offset();
        plan(table, service).map(|value| At { value, offset })
    });
    // All are read before the first that failed counts, so that every mistake is told.
    read.collect::<Vec<_>>().into_iter().collect()
}

/// What is asked about the buyer and what is configured come in one answer: no name may mean both.
fn told_apart(source: &Source, kyc: &[KycField], plans: &[At<(Plan, Places)>]) {
    for plan in plans {
        let fields = plan.value.0.configuration.fields();
        if let Some(both) = kyc.iter().find(|kyc| fields.keys().any(|field| field.as_str() == kyc.as_str())) {
            source.wrong(
                plan.offset,
                format!("`{both}` is asked about the buyer (`kyc`): configure it under another name"),
            );
        }
    }
}

/// Where the plan stands that breaks a rule about all of them.
fn culprit(error: &BadService, places: &[(PlanId, usize)]) -> Option<usize> {
    let found = match error {
        BadService::PlanTwice(id) => places.iter().rfind(|(known, _)| known == id),
        BadService::IrreversiblePrice(id) => places.iter().find(|(known, _)| known == id),
        BadService::NoPlans | BadService::ManyPlans => None,
    };
    found.map(|(_, offset)| *offset)
}
