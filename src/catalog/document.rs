//! From a folder of TOML to a [`Catalog`]: `provider.toml` and `services/*.toml`. All mistakes are told at once.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::DeTable;

use super::fields::Fields;
use super::llm_context::LlmContext;
use super::names::PlanId;
use super::references::{self, BadReference, Rule};
use super::service::Provider;
use super::service_document::{Mark, Read, provider, service};
use super::source::{MAX_FILES, Mistake, Source};
use super::{Catalog, Content};

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
