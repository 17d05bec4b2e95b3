//! The files of a catalog, and where in them something is wrong.

use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

/// The most files of a catalog.
pub const MAX_FILES: usize = 200;
/// The most bytes of one file.
pub const MAX_FILE_BYTES: u64 = 256 * 1024;
/// The most mistakes that are told at once.
const MAX_MISTAKES: usize = 100;

/// Something wrong in a file, where it stands, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The path inside the catalog folder, with `/`.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

impl Mistake {
    /// A mistake that concerns the file as a whole.
    pub(super) fn whole(file: &str, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: 1, column: 1, message: message.into() }
    }
}

/// One file's text, and the mistakes found in it so far.
pub(super) struct Source {
    name: String,
    text: String,
    mistakes: RefCell<Vec<Mistake>>,
}

impl Source {
    /// Reads `folder/name`, which must be a regular file of UTF-8 within the limit.
    pub(super) fn read(folder: &Path, name: &str) -> Result<Self, Mistake> {
        let refused = |message: String| Mistake::whole(name, message);
        let path = folder.join(name);
        let metadata = path.metadata().map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                refused("the file is missing: write it, or begin with `portreeve catalog init`".to_owned())
            }
            _ => refused(format!("the file cannot be read: {error}")),
        })?;
        if !metadata.is_file() {
            return Err(refused("this is not a regular file: put a file here".to_owned()));
        }
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
            .map_err(|error| refused(format!("the file cannot be read: {error}")))?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_FILE_BYTES {
            return Err(refused(format!("the file is longer than {} KiB: split it", MAX_FILE_BYTES / 1024)));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            refused(format!("byte {} is not UTF-8: save the file as UTF-8", error.utf8_error().valid_up_to() + 1))
        })?;
        Ok(Self::from_text(name, text))
    }

    pub(super) fn from_text(name: &str, text: String) -> Self {
        Self { name: name.to_owned(), text, mistakes: RefCell::default() }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Notes a mistake at a byte offset.
    pub(super) fn wrong(&self, offset: usize, message: impl Into<String>) {
        let mut mistakes = self.mistakes.borrow_mut();
        if mistakes.len() < MAX_MISTAKES {
            mistakes.push(self.place(offset, message.into()));
        }
    }

    /// What a mistake at `offset` is, without noting it.
    pub(super) fn place(&self, offset: usize, message: String) -> Mistake {
        let before = self.text.get(..offset.min(self.text.len())).unwrap_or(&self.text);
        let (line, start) = before.rfind('\n').map_or((1, 0), |end| (before.matches('\n').count() + 1, end + 1));
        let column = before.get(start..).map_or(1, |line| line.chars().count() + 1);
        Mistake { file: self.name.clone(), line, column, message }
    }

    /// All mistakes, from top to bottom.
    pub(super) fn into_mistakes(self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort_by(|a, b| (a.line, a.column, &a.message).cmp(&(b.line, b.column, &b.message)));
        mistakes
    }

    pub(super) fn is_clean(&self) -> bool {
        self.mistakes.borrow().is_empty()
    }
}
