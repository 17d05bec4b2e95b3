//! Reading a table of TOML field by field, so that every mistake is found in one go and an unknown field is refused.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::Range;
use std::str::FromStr;

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::source::Source;

/// A value of the file, and where it stands.
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) offset: usize,
}

/// One table that is being read. Call [`Fields::finish`] when everything was asked for.
pub(super) struct Fields<'a> {
    source: &'a Source,
    table: &'a DeTable<'a>,
    offset: usize,
    what: &'static str,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Fields<'a> {
    /// `what` names the table in messages: `this service`.
    pub(super) fn new(source: &'a Source, table: &'a DeTable<'a>, span: Range<usize>, what: &'static str) -> Self {
        Self { source, table, offset: span.start, what, known: RefCell::default() }
    }

    /// Where the table begins.
    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    pub(super) fn wrong(&self, offset: usize, message: impl Into<String>) {
        self.source.wrong(offset, message);
    }

    /// Refuses every field that nobody asked for, naming the nearest that exists.
    pub(super) fn finish(self) {
        let known = self.known.into_inner();
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                let shown: String = name.chars().take(64).flat_map(char::escape_debug).collect();
                let message = format!("`{shown}` is not a field of {}: {}", self.what, suggestion(&shown, &known));
                self.source.wrong(key.span().start, message);
            }
        }
    }

    fn get(&self, name: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.borrow_mut().push(name);
        self.table.get(name)
    }

    /// Whether the field stands in the file, readable or not.
    pub(super) fn has(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    /// Whether the field is a table.
    pub(super) fn is_table(&self, name: &str) -> bool {
        self.table.get(name).is_some_and(|value| matches!(value.get_ref(), DeValue::Table(_)))
    }

    /// Every field of a table whose names are free, in the order of the file. `None` when one could not be read.
    pub(super) fn entries<K: FromStr<Err: Display>, V: FromStr<Err: Display>>(self) -> Option<Vec<(At<K>, At<V>)>> {
        let mut entries: Vec<_> = self.table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let read = entries.into_iter().map(|(key, value)| {
            let name = key.get_ref().as_ref();
            let shown: String = name.chars().take(64).flat_map(char::escape_debug).collect();
            self.parse(&shown, name, key.span().start).zip(self.read(&shown, value))
        });
        // All are read before the first that failed counts, so that every mistake is told.
        read.collect::<Vec<_>>().into_iter().collect()
    }

    /// Like the others, but the field has to be there.
    pub(super) fn required<T>(&self, name: &'static str, example: &str, found: Option<T>) -> Option<T> {
        if !self.table.contains_key(name) {
            self.wrong(self.offset, format!("`{name}` is missing from {}: write `{example}`", self.what));
        }
        found
    }

    /// Text that is read as a `T`.
    pub(super) fn text<T: FromStr<Err: Display>>(&self, name: &'static str) -> Option<At<T>> {
        let value = self.get(name)?;
        self.read(name, value)
    }

    /// Text, or a whole number, that is read as a `T`.
    pub(super) fn number<T: FromStr<Err: Display>>(&self, name: &'static str) -> Option<At<T>> {
        let value = self.get(name)?;
        match value.get_ref() {
            DeValue::Integer(number) if number.radix() == 10 => self.parse(name, number.as_str(), value.span().start),
            _ => self.read(name, value),
        }
    }

    /// Yes or no; absent is no.
    pub(super) fn flag(&self, name: &'static str) -> bool {
        match self.get(name).map(|value| (value.get_ref(), value.span().start)) {
            None => false,
            Some((DeValue::Boolean(flag), _)) => *flag,
            Some((other, offset)) => {
                self.wrong(offset, format!("`{name}` is {}: write `true` or `false`", kind(other)));
                false
            }
        }
    }

    /// A list of texts, each read as a `T`; none twice.
    pub(super) fn texts<T: FromStr<Err: Display> + PartialEq>(&self, name: &'static str, most: usize) -> Vec<T> {
        let Some(value) = self.get(name) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(
                value.span().start,
                format!("`{name}` is {}: write a list, such as `[\"…\"]`", kind(value.get_ref())),
            );
            return Vec::new();
        };
        if items.len() > most {
            self.wrong(value.span().start, format!("`{name}` has {} entries: write at most {most}", items.len()));
        }
        let mut read = Vec::new();
        for item in items.iter().take(most) {
            match self.read::<T>(name, item) {
                Some(found) if read.contains(&found.value) => {
                    self.wrong(found.offset, format!("this stands in `{name}` twice: remove one"));
                }
                Some(found) => read.push(found.value),
                None => {}
            }
        }
        read
    }

    /// A table in this table. `what` names it in messages.
    pub(super) fn table(&self, name: &'static str, what: &'static str) -> Option<Fields<'a>> {
        let value = self.get(name)?;
        if let DeValue::Table(table) = value.get_ref() {
            return Some(Fields::new(self.source, table, value.span(), what));
        }
        self.wrong(value.span().start, format!("`{name}` is {}: write a table", kind(value.get_ref())));
        None
    }

    /// A list of tables (`[[name]]`), at most `most`.
    pub(super) fn tables(&self, name: &'static str, what: &'static str, most: usize) -> Vec<Fields<'a>> {
        let Some(value) = self.get(name) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(
                value.span().start,
                format!("`{name}` is {}: begin each with `[[{name}]]`", kind(value.get_ref())),
            );
            return Vec::new();
        };
        if items.len() > most {
            self.wrong(value.span().start, format!("`{name}` has {} entries: write at most {most}", items.len()));
        }
        let tables = items.iter().take(most).filter_map(|item| match item.get_ref() {
            DeValue::Table(table) => Some(Fields::new(self.source, table, item.span(), what)),
            other => {
                self.wrong(item.span().start, format!("this is {}: write a table", kind(other)));
                None
            }
        });
        tables.collect()
    }

    fn read<T: FromStr<Err: Display>>(&self, name: &str, value: &Spanned<DeValue<'a>>) -> Option<At<T>> {
        if let DeValue::String(text) = value.get_ref() {
            return self.parse(name, text, value.span().start);
        }
        let message = format!("`{name}` is {}: write text between quotation marks", kind(value.get_ref()));
        self.wrong(value.span().start, message);
        None
    }

    fn parse<T: FromStr<Err: Display>>(&self, name: &str, text: &str, offset: usize) -> Option<At<T>> {
        match text.parse() {
            Ok(value) => Some(At { value, offset }),
            Err(error) => {
                self.wrong(offset, format!("`{name}`: {error}"));
                None
            }
        }
    }
}

/// What stands there instead, in words.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a floating-point number, which is not exact",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// `did you mean …?` where something is near, and otherwise everything that would do.
pub(super) fn suggestion(name: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|known| (strsim::damerau_levenshtein(name, known), known)).min();
    match nearest {
        Some((distance, nearest)) if distance <= 1 + nearest.len() / 4 => format!("did you mean `{nearest}`?"),
        _ => {
            let known: Vec<_> = known.iter().map(|known| format!("`{known}`")).collect();
            format!("there is {}", known.join(", "))
        }
    }
}
