//! From a folder of TOML to a [`Catalog`]: `provider.toml` and `services/*.toml`. All mistakes are told at once.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::DeTable;

use super::fields::{At, Fields};
use super::names::{PlanId, ServiceId};
use super::plan_document::plan;
use super::service::{BadService, Plan, Provider, Service, ServiceDraft};
use super::source::{MAX_FILES, Mistake, Source};
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
    let names = service_files(folder).unwrap_or_else(|mut found| {
        mistakes.append(&mut found);
        Vec::new()
    });
    let mut services: Vec<(String, Read)> = Vec::new();
    for name in names {
        let Some(read) = file(folder, &name, service, &mut mistakes) else { continue };
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
    match provider {
        Some(provider) if mistakes.is_empty() => Ok(catalog(provider, services)),
        _ => Err(mistakes),
    }
}

/// A service that was read, with where its id stands.
struct Read {
    service: Service,
    driver: Driver,
    id: Mark,
}

/// A place in a file, kept after the file was closed.
struct Mark(Mistake);

impl Mark {
    fn named(&self, file: &str, message: String) -> Mistake {
        Mistake { file: file.to_owned(), message, ..self.0.clone() }
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

/// The files of services, by name. Files of editors (`.x`, `x~`) are passed over; anything else that is no TOML is told.
fn service_files(folder: &Path) -> Result<Vec<String>, Vec<Mistake>> {
    let unreadable = |error: std::io::Error| {
        let message = format!("the folder cannot be read: {error}; write one with `portreeve catalog init`");
        vec![Mistake::whole("services", message)]
    };
    let (mut names, mut mistakes) = (Vec::new(), Vec::new());
    for entry in folder.join("services").read_dir().map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
        let path = format!("services/{name}");
        if name.starts_with('.') || name.ends_with('~') {
            continue;
        }
        if Path::new(&name).extension().is_none_or(|extension| extension != "toml") {
            mistakes.push(Mistake::whole(&path, "only `.toml` files are read here: rename this or move it away"));
        } else if names.len() < MAX_FILES {
            names.push(path);
        } else {
            let message = format!("there are more than {MAX_FILES} files: join some");
            return Err(vec![Mistake::whole("services", message)]);
        }
    }
    names.sort();
    if mistakes.is_empty() {
        Ok(names)
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
    let driver = binding::driver(source, &fields);
    let plans = plans(&fields);
    if let (Some(driver), Some(plans)) = (&driver, &plans) {
        binding::covers(source, driver, plans);
    }
    let whole = fields.offset();
    fields.finish();
    let (id, plans) = (id?, plans?);
    let mark = Mark(source.place(id.offset, String::new()));
    let places: Vec<_> = plans.iter().map(|plan| (plan.value.id.clone(), plan.offset)).collect();
    let draft = ServiceDraft {
        id: id.value,
        title: title?.value,
        description: description?.value,
        categories,
        use_when: use_when?.value,
        not_when: not_when?.value,
        irreversible,
        plans: plans.into_iter().map(value).collect(),
    };
    match Service::try_from(draft) {
        Ok(service) => Some(Read { service, driver: driver?, id: mark }),
        Err(error) => {
            source.wrong(culprit(&error, &places).unwrap_or(whole), error.to_string());
            None
        }
    }
}

/// `None` when one could not be read: then the rules about all plans would mislead.
fn plans(fields: &Fields<'_>) -> Option<Vec<At<Plan>>> {
    let tables = fields.tables("plans", "this plan", Service::MAX_PLANS);
    let read = tables.into_iter().map(|table| {
        let offset = table.offset();
        plan(table).map(|value| At { value, offset })
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
