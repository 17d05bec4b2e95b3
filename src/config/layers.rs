//! Layers of settings, each with its origin, merged into one [`Config`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::Split;

use toml::{Table, Value};

use super::settings::{Config, DEFAULTS, OPTIONAL, SECRETS};

/// What is shown in the place of a secret.
const HIDDEN: &str = "****";

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
                text.parse().map_or_else(|_not_a_number| Value::String(text.to_owned()), Value::Integer)
            }
            Some(Value::Boolean(_)) => {
                text.parse().map_or_else(|_not_a_switch| Value::String(text.to_owned()), Value::Boolean)
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
            if let Some((sections, name)) = key.rsplit_once('.') {
                place(&mut table, sections.split('.'), name, value);
            }
        }
        table.try_into().map_err(|error| ConfigError::Value(Box::new(error)))
    }

    /// Every key with its value and origin, secrets hidden: `config show --origin`. A key that nobody set has neither.
    pub fn rows(&self) -> impl Iterator<Item = (&str, Option<Value>, Option<&Origin>)> {
        let unset = OPTIONAL.into_iter().filter(|key| !self.values.contains_key(*key));
        let set =
            self.values.iter().map(|(key, (value, origin))| (key.as_str(), Some(shown(key, value)), Some(origin)));
        set.chain(unset.map(|key| (key, None, None)))
    }
}

/// A value as it may be seen: of a database URL all but its passwords, of other secrets nothing.
fn shown(key: &str, value: &Value) -> Value {
    match value {
        Value::String(text) if text.is_empty() => value.clone(),
        Value::String(text) if key == "database.url" => Value::String(without_passwords(text)),
        _ if SECRETS.contains(&key) => Value::String(HIDDEN.to_owned()),
        _ => value.clone(),
    }
}

fn without_passwords(text: &str) -> String {
    if text.starts_with("sqlite:") {
        return text.to_owned();
    }
    let Ok(mut url) = text.parse::<url::Url>() else { return HIDDEN.to_owned() };
    if url.cannot_be_a_base() {
        return HIDDEN.to_owned();
    }
    if url.password().is_some() && url.set_password(Some(HIDDEN)).is_err() {
        return HIDDEN.to_owned();
    }
    if url.query_pairs().any(|(name, _)| name.contains("password")) {
        url.set_query(Some(HIDDEN));
    }
    url.into()
}

/// Puts a value into its section, which may be one of a section.
fn place(table: &mut Table, mut sections: Split<'_, char>, name: &str, value: &Value) {
    let Some(section) = sections.next() else {
        table.insert(name.to_owned(), value.clone());
        return;
    };
    let inner = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(inner) = inner {
        place(inner, sections, name, value);
    }
}

fn flatten(table: Table) -> Vec<(String, Value)> {
    let mut flat = Vec::new();
    for (section, value) in table {
        match value {
            Value::Table(inner) => {
                let inner = flatten(inner).into_iter();
                flat.extend(inner.map(|(name, value)| (format!("{section}.{name}"), value)));
            }
            value => flat.push((section, value)),
        }
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    fn variable(name: &str, text: &str) -> impl Iterator<Item = (String, String)> {
        std::iter::once((name.to_owned(), text.to_owned()))
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    fn origin<'a>(layers: &'a Layers, key: &str) -> &'a Origin {
        &layers.values[key].1
    }

    #[test]
    fn the_defaults_are_a_whole_configuration_of_loopback_and_sqlite() {
        let config = Layers::defaults().unwrap().build().unwrap();
        assert!(config.server.listen.ip().is_loopback() && config.server.private_listen.ip().is_loopback());
        assert!(config.database.url.expose_secret().starts_with("sqlite:"));
        assert!(config.static_driver.platform_url.is_none());
    }

    #[test]
    fn a_later_layer_wins_and_leaves_its_name() {
        let mut layers = Layers::defaults().unwrap();
        let settings = file("[server]\nworkers = 3\ndrain_seconds = 4\nbase_url = \"https://a.example\"\n");
        layers.add_file(settings.path()).unwrap();
        layers.add_environment(variable("PORTREEVE__SERVER__WORKERS", "5")).unwrap();
        layers.add_environment(variable("PORTREEVE__SERVER__DRAIN_SECONDS", "6")).unwrap();
        layers.add_flag("server.workers", "7", "--workers").unwrap();
        let config = layers.build().unwrap();
        assert_eq!((config.server.workers, config.server.drain_seconds), (7, 6));
        assert_eq!(config.server.base_url, "https://a.example");
        assert_eq!(*origin(&layers, "server.workers"), Origin::Flag("--workers"));
        assert_eq!(origin(&layers, "server.drain_seconds").to_string(), "$PORTREEVE__SERVER__DRAIN_SECONDS");
        assert_eq!(*origin(&layers, "server.base_url"), Origin::File(settings.path().to_owned()));
        assert_eq!(*origin(&layers, "log.level"), Origin::Default);
    }

    #[test]
    fn a_text_takes_the_form_of_what_it_replaces() {
        let mut layers = Layers::defaults().unwrap();
        for (name, text) in [
            ("PORTREEVE__SERVER__BEHIND_TLS_PROXY", "true"),
            ("PORTREEVE__OUTGOING__SPECIAL_HOSTS", "127.0.0.1, localhost,"),
            ("PORTREEVE__STATIC_DRIVER__PLATFORM_URL", "http://127.0.0.1:9000"),
            ("PORTREEVE__LOG__LEVEL", "1"),
            ("PATH", "/bin"),
            ("PORTREEVE_TEST", "not ours: one underscore"),
        ] {
            layers.add_environment(variable(name, text)).unwrap();
        }
        let config = layers.build().unwrap();
        assert!(config.server.behind_tls_proxy);
        assert_eq!(config.outgoing.special_hosts, ["127.0.0.1", "localhost"]);
        assert_eq!(config.static_driver.platform_url.unwrap().port(), Some(9000));
        assert_eq!(config.log.level, "1");
        layers.add_environment(variable("PORTREEVE__SERVER__WORKERS", "many")).unwrap();
        assert!(matches!(layers.build(), Err(ConfigError::Value(_))));
    }

    #[test]
    fn a_secret_can_be_read_from_a_mounted_file_and_never_prints() {
        let mut layers = Layers::defaults().unwrap();
        let secret = file("the master key\n");
        let path = secret.path().to_str().unwrap();
        layers.add_environment(variable("PORTREEVE__KEYS__MASTER_KEY__FILE", path)).unwrap();
        assert_eq!(layers.build().unwrap().keys.master_key.expose_secret(), "the master key");
        let shown: Vec<String> = layers
            .rows()
            .map(|(key, value, origin)| {
                format!(
                    "{key} = {} ({})",
                    value.map(|value| value.to_string()).unwrap_or_default(),
                    origin.map(Origin::to_string).unwrap_or_default()
                )
            })
            .collect();
        assert!(shown.contains(&"keys.master_key = \"****\" ($PORTREEVE__KEYS__MASTER_KEY__FILE)".to_owned()));
        assert!(!shown.join("\n").contains("the master key"));
        assert!(!format!("{:?}", layers.build().unwrap()).contains("the master key"));
        // The setting of that name is another thing.
        layers.add_environment(variable("PORTREEVE__KEYS__MASTER_KEY_FILE", "/run/key")).unwrap();
        assert_eq!(layers.build().unwrap().keys.master_key_file, Path::new("/run/key"));
        let missing = layers.add_environment(variable("PORTREEVE__KEYS__MASTER_KEY__FILE", "/no/such/file"));
        assert!(matches!(missing, Err(ConfigError::Read(path, _)) if path == Path::new("/no/such/file")));
    }

    #[test]
    fn of_a_database_url_only_the_passwords_are_hidden_and_what_is_not_set_is_shown_as_such() {
        let seen = |url: &str| {
            let mut layers = Layers::defaults().unwrap();
            layers.add_environment(variable("PORTREEVE__DATABASE__URL", url)).unwrap();
            let found = layers.rows().find(|(key, ..)| *key == "database.url").unwrap().1;
            found.unwrap().as_str().unwrap().to_owned()
        };
        assert_eq!(seen("sqlite:data/desk.db"), "sqlite:data/desk.db");
        assert_eq!(
            seen("postgres://desk@db.example:5433/desk?sslmode=require"),
            "postgres://desk@db.example:5433/desk?sslmode=require"
        );
        assert_eq!(seen("postgres://desk:hunter2@db.example/desk"), "postgres://desk:****@db.example/desk");
        assert!(!seen("postgres://db.example/desk?user=desk&password=hunter2").contains("hunter2"));
        assert_eq!(seen("postgres:hunter2 is no url"), "****");
        let layers = Layers::defaults().unwrap();
        assert!(layers.rows().any(|row| row == ("static_driver.platform_url", None, None)));
    }

    #[test]
    fn a_key_that_does_not_exist_is_refused_with_the_nearest_that_does() {
        let wrong = file("[server]\nlisen = \"127.0.0.1:1\"\n");
        let refused = Layers::defaults().unwrap().add_file(wrong.path()).unwrap_err().to_string();
        assert!(refused.ends_with("there is no setting `server.lisen`; did you mean `server.listen`?"), "{refused}");
        let refused = Layers::defaults().unwrap().add_environment(variable("PORTREEVE__SERVER__WORKER", "1"));
        assert!(refused.unwrap_err().to_string().contains("did you mean `server.workers`?"));
        let refused = Layers::defaults().unwrap().add_flag("something.else.entirely", "1", "--x").unwrap_err();
        assert_eq!(refused.to_string(), "--x: there is no setting `something.else.entirely`");
        let top = file("listen = \"127.0.0.1:1\"\n");
        assert!(matches!(
            Layers::defaults().unwrap().add_file(top.path()),
            Err(ConfigError::UnknownKey { key, .. }) if key == "listen"
        ));
    }

    #[test]
    fn a_file_that_is_missing_or_no_toml_is_named() {
        let mut layers = Layers::defaults().unwrap();
        assert!(matches!(layers.add_file(Path::new("/no/such.toml")), Err(ConfigError::Read(..))));
        let broken = file("[server\n");
        let said = layers.add_file(broken.path()).unwrap_err().to_string();
        assert!(said.contains(broken.path().to_str().unwrap()) && said.contains("line 1"), "{said}");
    }
}
