//! Writes the example catalog, as a start for one's own.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The files of the example, which are those of `catalog/` in this repository.
const EXAMPLE: [(&str, &str); 10] = [
    ("README.md", include_str!("../../catalog/README.md")),
    ("provider.toml", include_str!("../../catalog/provider.toml")),
    ("services/bucket.toml", include_str!("../../catalog/services/bucket.toml")),
    ("services/cache.toml", include_str!("../../catalog/services/cache.toml")),
    ("services/domain.toml", include_str!("../../catalog/services/domain.toml")),
    ("services/postgres.md", include_str!("../../catalog/services/postgres.md")),
    ("services/postgres.toml", include_str!("../../catalog/services/postgres.toml")),
    ("services/sandbox.toml", include_str!("../../catalog/services/sandbox.toml")),
    ("services/team.toml", include_str!("../../catalog/services/team.toml")),
    ("services/weather.toml", include_str!("../../catalog/services/weather.toml")),
];

/// Why the example was not written.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Something is there already. Nothing was written.
    #[error("`{path}` is there already: choose another folder, or remove it first", path = .0.display())]
    Exists(PathBuf),
    /// The file system failed.
    #[error("`{path}` cannot be written", path = .0.display())]
    File(PathBuf, #[source] io::Error),
}

/// Writes the example catalog into `folder`, which may exist, and answers the files. Never overwrites anything.
///
/// # Errors
/// See [`InitError`].
pub fn init(folder: &Path) -> Result<Vec<PathBuf>, InitError> {
    let paths: Vec<_> = EXAMPLE.iter().map(|(name, text)| (folder.join(name), text)).collect();
    // A folder with services of its own would mix with ours.
    let there = paths.iter().map(|(path, _)| path.clone()).chain([folder.join("services")]).find(|path| path.exists());
    if let Some(path) = there {
        return Err(InitError::Exists(path));
    }
    let services = folder.join("services");
    fs::create_dir_all(&services).map_err(|error| InitError::File(services, error))?;
    for (path, text) in &paths {
        write_new(path, text).map_err(|error| InitError::File(path.clone(), error))?;
    }
    Ok(paths.into_iter().map(|(path, _)| path).collect())
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::validate;
    use super::*;

    #[test]
    fn the_example_validates_and_is_never_written_over_something() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("catalog");
        assert_eq!(init(&target).unwrap().len(), EXAMPLE.len());
        assert_eq!(validate(&target).unwrap().content().services.len(), 7);
        assert!(matches!(init(&target), Err(InitError::Exists(_))));
    }
}
