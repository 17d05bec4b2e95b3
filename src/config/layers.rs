//! Layers of settings, each with its origin, merged into one [`Config`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::settings::{Config, DEFAULTS, OPTIONAL, SECRETS};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A flag of the command line, or the command itself.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "${name}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// A file is not TOML.
    #[error("{} is not TOML: {error}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// What is wrong, with line and column.
        error: Box<toml::de::Error>,
    },
    /// A key that does not exist.
    #[error("{origin}: there is no setting `{key}`{}", suggestion.as_ref().map(|it| format!("; did you mean `{it}`?")).unwrap_or_default())]
    UnknownKey {
        /// What was written.
        key: String,
        /// Where.
        origin: Origin,
        /// The nearest key that exists.
        suggestion: Option<String>,
    },
    /// A value of the wrong form.
    #[error("the configuration does not fit: {0}")]
    Value(Box<toml::de::Error>),
}

/// The values collected so far, by dotted key.
#[derive(Debug, Clone)]
pub struct Layers {
    values: BTreeMap<String, (Value, Origin)>,
}

impl Layers {
    /// The defaults alone.
    ///
    /// # Errors
    /// Never for the built-in document; the reader's own word.
    pub fn defaults() -> Result<Self, ConfigError> {
        let table: Table = DEFAULTS.parse().map_err(|error| ConfigError::Value(Box::new(error)))?;
        let values = flatten(table).into_iter().map(|(key, value)| (key, (value, Origin::Default))).collect();
        Ok(Self { values })
    }

    /// Adds a file. Relative paths inside stay relative to the working folder.
    ///
    /// # Errors
    /// When the file cannot be read, is not TOML, or sets a key that does not exist.
    pub fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Read(path.to_owned(), error))?;
        let table: Table =
            text.parse().map_err(|error| ConfigError::Syntax { file: path.to_owned(), error: Box::new(error) })?;
        for (key, value) in flatten(table) {
            self.set(key, value, Origin::File(path.to_owned()))?;
        }
        Ok(())
    }

    /// Adds the environment: `PORTREEVE__SERVER__LISTEN`, or `…__FILE` to read the value from a file.
    ///
    /// # Errors
    /// When a variable names a key that does not exist, or its file cannot be read.
    pub fn add_environment(&mut self, variables: impl Iterator<Item = (String, String)>) -> Result<(), ConfigError> {
        for (name, text) in variables {
            let Some(path) = name.strip_prefix("PORTREEVE__") else { continue };
            let key = path.to_ascii_lowercase().replace("__", ".");
            let origin = Origin::Environment(name.clone());
            match key.strip_suffix(".file") {
                Some(key) => {
                    let file = PathBuf::from(&text);
                    let text = std::fs::read_to_string(&file).map_err(|error| ConfigError::Read(file, error))?;
                    self.set_text(key.to_owned(), text.trim(), origin)?;
                }
                None => self.set_text(key, &text, origin)?,
            }
        }
        Ok(())
    }

    /// Adds the process's environment.
    ///
    /// # Errors
    /// Like [`Layers::add_environment`].
    pub fn add_process_environment(&mut self) -> Result<(), ConfigError> {
        self.add_environment(std::env::vars())
    }

    /// Sets one key from a flag.
    ///
    /// # Errors
    /// When the key does not exist.
    pub fn add_flag(&mut self, key: &str, text: &str, flag: &'static str) -> Result<(), ConfigError> {
        self.set_text(key.to_owned(), text, Origin::Flag(flag))
    }

    /// A text takes the form of the default that it replaces: number, switch, list or text.
    fn set_text(&mut self, key: String, text: &str, origin: Origin) -> Result<(), ConfigError> {
        let value = match self.values.get(&key).map(|(value, _)| value) {
            Some(Value::Integer(_)) => {
                text.parse().map(Value::Integer).unwrap_or_else(|_| Value::String(text.to_owned()))
            }
            Some(Value::Boolean(_)) => {
                text.parse().map(Value::Boolean).unwrap_or_else(|_| Value::String(text.to_owned()))
            }
            Some(Value::Array(_)) => {
                Value::Array(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(Value::from).collect())
            }
            _ => Value::String(text.to_owned()),
        };
        self.set(key, value, origin)
    }

    fn set(&mut self, key: String, value: Value, origin: Origin) -> Result<(), ConfigError> {
        if !self.values.contains_key(&key) && !OPTIONAL.contains(&key.as_str()) {
            let suggestion = self.nearest(&key);
            return Err(ConfigError::UnknownKey { key, origin, suggestion });
        }
        self.values.insert(key, (value, origin));
        Ok(())
    }

    fn nearest(&self, key: &str) -> Option<String> {
        let known = self.values.keys().map(String::as_str).chain(OPTIONAL);
        known
            .map(|candidate| (strsim::damerau_levenshtein(candidate, key), candidate))
            .filter(|(distance, _)| *distance <= 6)
            .min()
            .map(|(_, candidate)| candidate.to_owned())
    }

    /// The whole configuration.
    ///
    /// # Errors
    /// When a value has the wrong form.
    pub fn build(&self) -> Result<Config, ConfigError> {
        let mut table = Table::new();
        for (key, (value, _)) in &self.values {
            if let Some((section, name)) = key.split_once('.') {
                let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
                if let Value::Table(section) = section {
                    section.insert(name.to_owned(), value.clone());
                }
            }
        }
        table.try_into().map_err(|error| ConfigError::Value(Box::new(error)))
    }

    /// Every key with its value and origin, secrets hidden: `config show --origin`.
    pub fn rows(&self) -> impl Iterator<Item = (&str, String, &Origin)> {
        self.values.iter().map(|(key, (value, origin))| {
            let empty = matches!(value, Value::String(text) if text.is_empty());
            let hidden = SECRETS.contains(&key.as_str()) && !empty;
            (key.as_str(), if hidden { "****".to_owned() } else { value.to_string() }, origin)
        })
    }
}

fn flatten(table: Table) -> Vec<(String, Value)> {
    let mut flat = Vec::new();
    for (section, value) in table {
        match value {
            Value::Table(inner) => {
                flat.extend(inner.into_iter().map(|(name, value)| (format!("{section}.{name}"), value)))
            }
            value => flat.push((section, value)),
        }
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<Layers, ConfigError> {
        let mut layers = Layers::defaults().unwrap();
        layers.add_environment(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))?;
        Ok(layers)
    }

    #[test]
    fn the_defaults_are_whole() {
        Layers::defaults().unwrap().build().unwrap();
    }

    #[test]
    fn the_environment_wins_over_the_defaults() {
        let layers =
            with(&[("PORTREEVE__SERVER__LISTEN", "127.0.0.1:1"), ("PORTREEVE__DATABASE__LANES", "9")]).unwrap();
        let config = layers.build().unwrap();
        assert_eq!((config.server.listen.port(), config.database.lanes), (1, 9));
    }

    #[test]
    fn an_unknown_key_is_an_error_with_a_suggestion() {
        let refused = with(&[("PORTREEVE__SERVER__LISTN", "127.0.0.1:1")]).unwrap_err();
        assert!(refused.to_string().contains("did you mean `server.listen`?"), "{refused}");
    }

    #[test]
    fn secrets_do_not_show() {
        let layers = with(&[("PORTREEVE__DATABASE__URL", "postgres://u:hunter2@h/d")]).unwrap();
        assert!(layers.rows().all(|(_, value, _)| !value.contains("hunter2")));
        assert!(!format!("{:?}", layers.build().unwrap()).contains("hunter2"));
    }
}
