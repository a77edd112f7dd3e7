//! One source of configuration: a file, a profile in it, one environment variable, one `--set`.

use std::path::{Path, PathBuf};

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use super::explain::{misplaced, wrong};
use crate::{ErrorKind, Result};

/// What every variable of ours begins with.
const PREFIX: &str = "CARRICK_";
/// Variables that begin so and are no keys of the configuration.
const NO_KEYS: [&str; 3] = ["CARRICK_CONFIG", "CARRICK_PROFILE", "CARRICK_LOG"];
/// Tables whose second level is an instance's name, which is kebab-case and so cannot stand in a variable as it is.
const INSTANCE_TABLES: [&str; 4] = ["transport", "store", "service", "ledger"];

/// Keys from one source. Merged by figment, which remembers for each value which layer it came from.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    /// The source in a person's words: `carrick.toml`, `CARRICK_NODE__NETWORK`, `--set node.network`.
    pub(super) name: String,
    pub(super) file: Option<PathBuf>,
    pub(super) dict: Dict,
}

impl Layer {
    /// A TOML file. Not figment's own reader, which takes a missing file for an empty one.
    pub(super) fn from_file(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| {
            let error = wrong(format!("{}: cannot be read: {source}", path.display()));
            let mend = match source.kind() {
                std::io::ErrorKind::NotFound => "`carrick init` writes one; --config FILE names another",
                _ => "it must be a text file that this user may read",
            };
            error.mend(mend).from_source(source)
        })?;
        let mut layer = Self::from_toml(path.display().to_string(), &text)?;
        layer.file = Some(path.to_path_buf());
        Ok(layer)
    }

    /// TOML text under a name.
    pub(super) fn from_toml(name: String, text: &str) -> Result<Self> {
        let dict = Toml::from_str::<Dict>(text).map_err(|source| {
            let line = source.span().map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            let place = line.map_or(name.clone(), |line| format!("{name}: line {line}"));
            let reason = source.message().trim().replace('\n', ", ");
            wrong(format!("{place}: not TOML: {reason}"))
                .mend("write tables as [node], keys below them as network = \"sensors\", lists as [\"a\", \"b\"]")
                .from_source(source)
        })?;
        Ok(Self { name, file: None, dict })
    }

    /// One `--set KEY=VALUE`. The value is read as TOML, a bare word as a string.
    pub(super) fn from_set(assignment: &str) -> Result<Self> {
        let Some((key, value)) = split_assignment(assignment) else {
            return Err(wrong(format!("--set {assignment}: there is no = in it"))
                .mend("write --set KEY=VALUE, for example --set node.network=sensors"));
        };
        let name = format!("--set {key}");
        let parsed = value_of(value).map_err(|reason| not_a_value(&name, value, &reason))?;
        let mut dict = Toml::from_str::<Dict>(&format!("{key} = 0"))
            .map_err(|_| wrong(format!("{name}: {key:?} is no key")).mend("write it as node.network"))?;
        fill(&mut dict, parsed);
        Ok(Self { name, file: None, dict })
    }

    /// The variables that are keys, one layer each, in the order of their names.
    pub(super) fn from_env(variables: &[(String, String)]) -> Result<Vec<Self>> {
        let mut ours: Vec<_> = variables
            .iter()
            .filter(|(name, _)| name.starts_with(PREFIX) && !NO_KEYS.contains(&name.as_str()))
            .collect();
        ours.sort();
        ours.into_iter().map(|(name, value)| Self::from_variable(name, value)).collect()
    }

    fn from_variable(name: &str, value: &str) -> Result<Self> {
        let path = variable_path(name)?;
        let parsed = value_of(value).map_err(|reason| not_a_value(name, value, &reason))?;
        let mut path = path.into_iter().rev();
        let mut dict = Dict::from([(path.next().unwrap_or_default(), parsed)]);
        for key in path {
            dict = Dict::from([(key, Value::from(dict))]);
        }
        Ok(Self { name: name.to_string(), file: None, dict })
    }

    /// What this layer says at a path.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.dict.get(*first)?, |value, key| value.as_dict()?.get(*key))
    }

    /// The table at a path as a layer of its own, without some of its keys.
    pub(super) fn section(&self, path: &[&str], without: &[&str]) -> Option<Self> {
        let mut dict = self.at(path)?.as_dict()?.clone();
        dict.retain(|key, _| !without.contains(&key.as_str()));
        Some(Self { dict, ..self.clone() })
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        let named = Metadata::named(self.name.clone());
        match &self.file {
            Some(file) => named.source(file.as_path()),
            None => named,
        }
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

/// Where a variable points: `CARRICK_TRANSPORT__IPFS_HTTP__API_URL` is `transport.ipfs-http.api_url`.
fn variable_path(name: &str) -> Result<Vec<String>> {
    let mut path: Vec<String> =
        name.trim_start_matches(PREFIX).split("__").map(str::to_ascii_lowercase).collect();
    if path.iter().any(String::is_empty) {
        return Err(wrong(format!("{name}: an empty name between two __"))
            .mend("levels are parted by __, as in CARRICK_NODE__DATA_DIR"));
    }
    if path[0] == "topic" {
        return Err(wrong(format!("{name}: the name of a topic cannot stand in a variable"))
            .mend("use the file, or --set 'topic.\"NAME\".keep=everything'"));
    }
    if INSTANCE_TABLES.contains(&path[0].as_str())
        && let Some(instance) = path.get_mut(1)
    {
        *instance = instance.replace('_', "-");
    }
    if path.len() == 1 && path[0] != "validator" {
        return Err(misplaced(name, &path[0]));
    }
    Ok(path)
}

/// Splits at the first `=` outside of quotes.
fn split_assignment(text: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '=') => return Some((text[..at].trim(), text[at + 1..].trim())),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    None
}

/// Reads a value as TOML; what is none is a string, unless it begins like a string, list or table.
fn value_of(text: &str) -> std::result::Result<Value, String> {
    let bare = || Value::from(text.to_string());
    match Toml::from_str::<Dict>(&format!("value = {text}")) {
        Ok(mut dict) if dict.len() == 1 => {
            let value = dict.remove("value").unwrap_or_else(bare);
            // TOML has dates, the configuration has none: 2026-01-01 is a word like any other.
            let is_date =
                value.as_dict().is_some_and(|dict| dict.keys().any(|key| key.starts_with("$__toml")));
            Ok(if is_date { bare() } else { value })
        }
        Err(error) if text.trim_start().starts_with(['[', '{', '"', '\'']) => {
            Err(error.message().to_string())
        }
        _ => Ok(bare()),
    }
}

/// Puts a value where a parsed key has its placeholder.
fn fill(dict: &mut Dict, value: Value) {
    if let Some(slot) = dict.values_mut().next() {
        match slot {
            Value::Dict(_, inner) => fill(inner, value),
            _ => *slot = value,
        }
    }
}

fn not_a_value(name: &str, value: &str, reason: &str) -> crate::Error {
    let reason = reason.trim().replace('\n', ", ");
    crate::Error::new(ErrorKind::Config, "configuration", format!("{name}: {value} is no value: {reason}"))
        .mend(
            "values are written as in TOML: 5, true, \"text\", [\"a\", \"b\"]; mind the quotes of your shell",
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str, value: &str) -> Result<Vec<Layer>> {
        Layer::from_env(&[(name.into(), value.into())])
    }

    fn text(layer: &Layer, path: &[&str]) -> Option<String> {
        layer.at(path)?.as_str().map(str::to_string)
    }

    #[test]
    fn a_variable_names_an_instance_in_kebab_case_and_keys_in_snake_case() {
        let layers = env("CARRICK_TRANSPORT__IPFS_HTTP__API_URL", "http://localhost").expect("a key");
        assert_eq!(
            text(&layers[0], &["transport", "ipfs-http", "api_url"]).as_deref(),
            Some("http://localhost")
        );
    }

    #[test]
    fn variables_that_are_no_keys_are_left_out_by_name() {
        for name in NO_KEYS {
            assert!(env(name, "x").expect("left out").is_empty(), "{name}");
        }
        assert!(env("HOME", "x").expect("not ours").is_empty());
    }

    #[test]
    fn a_bare_word_is_a_string_and_zeros_stay() {
        for word in ["sensors", "0123", "/ip4/0.0.0.0/udp/0/quic-v1", "2026-01-01", "a = b"] {
            assert_eq!(value_of(word).expect(word).as_str(), Some(word));
        }
        assert_eq!(value_of("5").expect("number").to_i128(), Some(5));
        assert_eq!(value_of("[\"a\"]").expect("list").as_array().map(<[_]>::len), Some(1));
        assert!(value_of("[\"a\"").is_err(), "half a list is a slip, not a word");
    }

    #[test]
    fn set_takes_quoted_keys() {
        let layer = Layer::from_set("topic.\"a=b c\".keep=everything").expect("a key");
        assert_eq!(text(&layer, &["topic", "a=b c", "keep"]).as_deref(), Some("everything"));
        assert!(Layer::from_set("node.network").is_err());
        assert!(Layer::from_set("no key=5").is_err());
    }

    #[test]
    fn broken_toml_names_file_and_line() {
        let error = Layer::from_toml("carrick.toml".into(), "[node]\nnetwork = \"a\n").expect_err("broken");
        assert!(error.detail().starts_with("carrick.toml: line 2: not TOML: "), "{error}");
        assert!(!error.detail().contains('\n'));
        assert!(error.hint().is_some_and(|hint| hint.contains("network = \"sensors\"")));
    }
}
