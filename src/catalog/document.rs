//! From a folder of TOML to a [`Catalog`]: `provider.toml` and `services/*.toml`. All mistakes are told at once.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::DeTable;

use super::fields::{At, Fields};
use super::llm_context::{LlmContext, PageFile};
use super::names::{PlanId, ServiceId};
use super::plan_document::plan;
use super::references::{self, BadReference, Rule};
use super::rules_document::Places;
use super::service::{BadService, Plan, Provider, Service, ServiceDraft};
use super::source::{MAX_FILES, Mistake, Source};
use super::words::{KycField, Scope, WireCategory};
use super::{Catalog, Content, Driver, binding};

/// The most categories of one service.
const MAX_CATEGORIES: usize = 10;

/// Reads and checks the catalog in `folder`.
///
/// # Errors
/// Every mistake that was found, file by file, from top to bottom.
pub fn validate(folder: &Path) -> Result<Catalog, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let provider = file(folder, "provider.toml", provider, &mut mistakes);
    let files = service_files(folder).unwrap_or_else(|mut found| {
        mistakes.append(&mut found);
        Files::default()
    });
    let mut services: Vec<(String, Read)> = Vec::new();
    for name in files.services {
        let Some(read) = file(folder, &name, service, &mut mistakes) else { continue };
        let Some(read) = with_page(folder, read, &mut mistakes) else { continue };
        if let Some((other, _)) = services.iter().find(|(_, other)| other.service.id() == read.service.id()) {
            mistakes.push(
                read.id.named(&name, format!("`id`: `{}` is the id of {other} too: rename one", read.service.id())),
            );
        }
        services.push((name, read));
    }
    if services.is_empty() && mistakes.is_empty() {
        mistakes.push(Mistake::whole("services", "there is no service: write one, such as services/postgres.toml"));
    }
    // Only when everything was read: what could not be read would seem to be missing.
    if mistakes.is_empty() {
        mistakes.extend(pages_of_nobody(&files.pages, &services));
        mistakes.extend(untrue(&services));
    }
    match provider {
        Some(provider) if mistakes.is_empty() => Ok(catalog(provider, services)),
        _ => Err(mistakes),
    }
}

/// The mistakes in one file's text, as far as it can be judged alone: `provider.toml`, or otherwise a service.
///
/// For editors and for tests with hostile input; nothing is read from the disk.
#[must_use]
pub fn mistakes_in(name: &str, text: &str) -> Vec<Mistake> {
    let source = Source::from_text(name, text.to_owned());
    if name == "provider.toml" {
        parse(&source, provider);
    } else {
        parse(&source, service);
    }
    source.into_mistakes()
}

/// A service that was read, with where its id and its statements about other plans stand.
struct Read {
    service: Service,
    driver: Driver,
    id: Mark,
    page: Option<(PageFile, Mark)>,
    rules: Vec<(PlanId, Rule, Mark)>,
}

/// Adds the page that stands in a file of its own.
fn with_page(folder: &Path, read: Read, mistakes: &mut Vec<Mistake>) -> Option<Read> {
    let Some((file, mark)) = &read.page else { return Some(read) };
    let path = file.path();
    let page = Source::read(folder, &path).and_then(|source| {
        source.text().parse::<LlmContext>().map_err(|error| Mistake::whole(&path, error.to_string()))
    });
    match page {
        Ok(page) => Some(Read { service: read.service.with_llm_context(page), ..read }),
        Err(mistake) => {
            let message = format!("`llm_context`: {}: {}", mistake.file, mistake.message);
            mistakes.push(mark.saying(message));
            None
        }
    }
}

/// Pages that no service names: a misspelled name would otherwise be passed over.
fn pages_of_nobody(pages: &[String], services: &[(String, Read)]) -> Vec<Mistake> {
    let named: Vec<_> = services.iter().filter_map(|(_, read)| Some(read.page.as_ref()?.0.path())).collect();
    let nobody = pages.iter().filter(|page| !named.contains(page));
    nobody
        .map(|page| Mistake::whole(page, "no service names this page: write `llm_context = \"…\"`, or move it away"))
        .collect()
}

/// What plans say about other plans and is not true.
fn untrue(read: &[(String, Read)]) -> Vec<Mistake> {
    let services: Vec<_> = read.iter().map(|(_, read)| read.service.clone()).collect();
    let place = |bad: BadReference| {
        let (_, read) = read.iter().find(|(_, read)| *read.service.id() == bad.plan.service)?;
        let here = |(plan, rule, _): &&(PlanId, Rule, Mark)| *plan == bad.plan.plan && *rule == bad.rule;
        let (_, _, mark) = read.rules.iter().find(here)?;
        Some(mark.saying(bad.why.to_string()))
    };
    references::check(&services).into_iter().filter_map(place).collect()
}

/// A place in a file, kept after the file was closed.
struct Mark(Mistake);

impl Mark {
    fn named(&self, file: &str, message: String) -> Mistake {
        Mistake { file: file.to_owned(), message, ..self.0.clone() }
    }

    fn saying(&self, message: String) -> Mistake {
        Mistake { message, ..self.0.clone() }
    }
}

fn catalog(provider: Provider, read: Vec<(String, Read)>) -> Catalog {
    let mut drivers = BTreeMap::new();
    let mut services = Vec::new();
    for (_, read) in read {
        drivers.insert(read.service.id().clone(), read.driver);
        services.push(read.service);
    }
    services.sort_by(|a, b| a.id().cmp(b.id()));
    Catalog { content: Content { provider, services }, drivers }
}

/// The files beside each other in `services`.
#[derive(Default)]
struct Files {
    services: Vec<String>,
    pages: Vec<String>,
}

/// The files of services, by name. Files of editors (`.x`, `x~`) are passed over; anything else that is neither TOML nor
/// a page is told.
fn service_files(folder: &Path) -> Result<Files, Vec<Mistake>> {
    let unreadable = |error: std::io::Error| {
        let message = format!("the folder cannot be read: {error}; write one with `portreeve catalog init`");
        vec![Mistake::whole("services", message)]
    };
    let (mut files, mut mistakes) = (Files::default(), Vec::new());
    for entry in folder.join("services").read_dir().map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
        let path = format!("services/{name}");
        if name.starts_with('.') || name.ends_with('~') {
            continue;
        }
        let of_kind = match Path::new(&name).extension().and_then(|extension| extension.to_str()) {
            Some("toml") => &mut files.services,
            Some("md") => &mut files.pages,
            _ => {
                mistakes.push(Mistake::whole(
                    &path,
                    "only `.toml` files and `.md` pages are read here: rename this or move it away",
                ));
                continue;
            }
        };
        if of_kind.len() >= MAX_FILES {
            let message = format!("there are more than {MAX_FILES} files: join some");
            return Err(vec![Mistake::whole("services", message)]);
        }
        of_kind.push(path);
    }
    files.services.sort();
    files.pages.sort();
    if mistakes.is_empty() {
        Ok(files)
    } else {
        mistakes.sort_by(|a, b| a.file.cmp(&b.file));
        Err(mistakes)
    }
}

/// Reads one file with `read`, and moves what is wrong in it to `mistakes`.
fn file<T>(
    folder: &Path,
    name: &str,
    read: fn(&Source, Fields<'_>) -> Option<T>,
    mistakes: &mut Vec<Mistake>,
) -> Option<T> {
    let source = match Source::read(folder, name) {
        Ok(source) => source,
        Err(mistake) => {
            mistakes.push(mistake);
            return None;
        }
    };
    let found = parse(&source, read).filter(|_| source.is_clean());
    mistakes.extend(source.into_mistakes());
    found
}

/// Errors of the grammar end the reading of a file: what was recovered after them would only add noise.
fn parse<T>(source: &Source, read: fn(&Source, Fields<'_>) -> Option<T>) -> Option<T> {
    let (table, errors) = DeTable::parse_recoverable(source.text());
    for error in &errors {
        let offset = error.span().map_or(0, |span| span.start);
        source.wrong(offset, format!("this is not TOML: {}", error.message()));
    }
    if !errors.is_empty() {
        return None;
    }
    read(source, Fields::new(source, table.get_ref(), 0..0, "this file"))
}

fn provider(_: &Source, fields: Fields<'_>) -> Option<Provider> {
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

fn service(source: &Source, fields: Fields<'_>) -> Option<Read> {
    let id = fields.required("id", "id = \"postgres\"", fields.text::<ServiceId>("id"));
    let title = fields.required("title", "title = \"Postgres\"", fields.text("title"));
    let description = fields.required("description", "description = \"…\"", fields.text("description"));
    let categories = fields.texts("categories", MAX_CATEGORIES);
    let use_when = fields.required("use_when", "use_when = \"…\"", fields.text("use_when"));
    let not_when = fields.required("not_when", "not_when = \"…\"", fields.text("not_when"));
    let irreversible = fields.flag("irreversible");
    let scope = fields.text::<Scope>("scope").map(value);
    let group = fields.text("group").map(value);
    let kyc = fields.texts("kyc", KycField::ALL.len());
    let wire_categories = fields.texts("wire_categories", WireCategory::ALL.len());
    let page = page(&fields);
    let driver = binding::driver(source, &fields);
    let plans = plans(&fields, id.as_ref().map(|id| &id.value));
    if let (Some(driver), Some(plans)) = (&driver, &plans) {
        binding::covers(source, driver, plans);
    }
    let whole = fields.offset();
    fields.finish();
    let (id, plans) = (id?, plans?);
    let mark = |offset| Mark(source.place(offset, String::new()));
    let rules = plans.iter().flat_map(|plan| {
        let (plan, places) = &plan.value;
        places.iter().map(|(rule, offset)| (plan.id.clone(), *rule, mark(*offset)))
    });
    let rules = rules.collect();
    let places: Vec<_> = plans.iter().map(|plan| (plan.value.0.id.clone(), plan.offset)).collect();
    let (inline, page) = match page {
        Some(At { value: Page::Inline(page), .. }) => (Some(page), None),
        Some(At { value: Page::File(file), offset }) => (None, Some((file, mark(offset)))),
        None => (None, None),
    };
    let draft = ServiceDraft {
        id: id.value,
        title: title?.value,
        description: description?.value,
        categories,
        use_when: use_when?.value,
        not_when: not_when?.value,
        irreversible,
        scope: scope.unwrap_or_default(),
        group,
        kyc,
        wire_categories,
        llm_context: inline,
        plans: plans.into_iter().map(|plan| plan.value.0).collect(),
    };
    match Service::try_from(draft) {
        Ok(service) => Some(Read { service, driver: driver?, id: mark(id.offset), page, rules }),
        Err(error) => {
            source.wrong(culprit(&error, &places).unwrap_or(whole), error.to_string());
            None
        }
    }
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

/// Where the plan stands that breaks a rule about all of them.
fn culprit(error: &BadService, places: &[(PlanId, usize)]) -> Option<usize> {
    let found = match error {
        BadService::PlanTwice(id) => places.iter().rfind(|(known, _)| known == id),
        BadService::IrreversiblePrice(id) => places.iter().find(|(known, _)| known == id),
        BadService::NoPlans | BadService::ManyPlans => None,
    };
    found.map(|(_, offset)| *offset)
}
