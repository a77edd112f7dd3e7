//! The configuration of a node: read from several sources, merged, checked as a whole before anything opens.
//!
//! Weakest first: defaults, the file, the chosen `[profile.NAME]` in it, `CARRICK_*` variables, `--set KEY=VALUE`.
//! Tables are merged, lists and values replaced. Every plugin instance owns a table and refuses keys that it does not know.
//!
//! ```
//! use carrick_core::config::Config;
//!
//! # fn main() -> carrick_core::Result<()> {
//! let config = Config::from_toml("[node]\nnetwork = \"sensors\"")?;
//! assert_eq!(config.node().network.as_str(), "sensors");
//!
//! let error = Config::from_toml("[node]\nnetwrok = \"sensors\"").unwrap_err();
//! assert_eq!(error.hint(), Some("did you mean \"network\"?"));
//! # Ok(())
//! # }
//! ```
//!
//! To run a node from it: [`Config::check`] against the linked plugins, then [`Plan::open`].

mod explain;
mod layer;
mod node;
mod plan;
mod seconds;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::value::Value;

use self::explain::{TABLES, explain, misplaced, wrong};
pub use self::explain::{refuse, refuse_unseen};
use self::layer::Layer;
pub use self::node::{Members, NodeConfig};
pub use self::plan::Plan;
pub use self::seconds::Seconds;
use crate::registry::closest;
use crate::{Result, Topic, TopicRules};

/// Where a configuration comes from. The default is nothing at all, not even the environment.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Sources {
    /// The file, which must exist.
    pub file: Option<PathBuf>,
    /// The profile to lay over it: `[profile.NAME.node]` and so on in the same file.
    pub profile: Option<String>,
    /// Environment variables; those that do not begin with `CARRICK_` are left alone.
    pub env: Vec<(String, String)>,
    /// `KEY=VALUE`, the strongest last.
    pub set: Vec<String>,
}

impl Sources {
    /// A file and the environment of this process.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { file: Some(path.into()), ..Self::process() }
    }

    /// The environment of this process alone.
    pub fn process() -> Self {
        let env = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { env, ..Self::default() }
    }
}

/// A merged configuration. `[node]` and the topics are read; the tables of plugins wait for [`check`](Self::check).
#[derive(Clone, Debug)]
pub struct Config {
    layers: Vec<Layer>,
    /// The source that errors name when none is to blame: the file.
    origin: String,
    folder: PathBuf,
    node: NodeConfig,
    topics: Vec<(Topic, TopicRules)>,
}

impl Config {
    /// Reads and merges all sources.
    ///
    /// # Errors
    /// `Config`, naming source, table and key, what was found and what is allowed.
    pub fn load(sources: &Sources) -> Result<Self> {
        let mut layers = Vec::new();
        if let Some(path) = &sources.file {
            layers.push(Layer::from_file(path)?);
        }
        Self::merge(layers, sources)
    }

    /// A file and the environment, without a profile.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_file(path: impl Into<PathBuf>) -> Result<Self> {
        Self::load(&Sources::file(path))
    }

    /// The text of a `carrick.toml` alone. Relative paths count from the current folder.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_toml(text: &str) -> Result<Self> {
        Self::merge(vec![Layer::from_toml("carrick.toml".into(), text)?], &Sources::default())
    }

    fn merge(mut layers: Vec<Layer>, sources: &Sources) -> Result<Self> {
        let origin = layers.first().map_or("configuration".to_string(), |layer| layer.name.clone());
        let profile = layers.first_mut().and_then(|file| file.dict.remove("profile"));
        if let Some(name) = &sources.profile {
            layers.push(profile_layer(layers.first(), profile.as_ref(), name)?);
        }
        layers.extend(Layer::from_env(&sources.env)?);
        for assignment in &sources.set {
            layers.push(Layer::from_set(assignment)?);
        }
        for layer in &layers {
            check_tables(layer)?;
        }
        let figment = section(&layers, &["node"], &[]);
        let node: NodeConfig =
            figment.extract().map_err(|error| missing_network(explain(error, &figment, "node", &origin)))?;
        node.limits.check().map_err(|error| placed(&figment, "limits.", "node.limits", &error, &origin))?;
        let topics = topics(&layers, &origin)?;
        Ok(Self { folder: folder_of(sources.file.as_deref())?, layers, origin, node, topics })
    }

    /// The table `[node]`.
    pub fn node(&self) -> &NodeConfig {
        &self.node
    }

    /// The data folder, absolute.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join(&self.node.data_dir)
    }

    /// The topics with rules of their own.
    pub fn topics(&self) -> &[(Topic, TopicRules)] {
        &self.topics
    }

    /// Names the source that decides a key.
    fn origin(&self, path: &[&str]) -> &str {
        self.layers
            .iter()
            .rev()
            .find(|layer| layer.at(path).is_some())
            .map_or(&self.origin, |layer| &layer.name)
    }

    /// The value that the strongest source gives a key.
    fn at(&self, path: &[&str]) -> Option<&Value> {
        self.layers.iter().rev().find_map(|layer| layer.at(path))
    }

    /// The names of the tables inside a table, sorted.
    fn names(&self, table: &str) -> BTreeSet<&str> {
        names(&self.layers, table)
    }
}

fn names<'a>(layers: &'a [Layer], table: &str) -> BTreeSet<&'a str> {
    let tables = layers.iter().filter_map(|layer| layer.at(&[table])?.as_dict());
    tables.flat_map(|dict| dict.keys().map(String::as_str)).collect()
}

/// One table of all layers, merged; every value remembers its layer.
fn section(layers: &[Layer], path: &[&str], without: &[&str]) -> Figment {
    layers.iter().filter_map(|layer| layer.section(path, without)).fold(Figment::new(), Figment::merge)
}

fn profile_layer(file: Option<&Layer>, profiles: Option<&Value>, name: &str) -> Result<Layer> {
    let Some(file) = file else {
        return Err(wrong(format!("profile {name:?}: there is no configuration file to find it in")));
    };
    let known: Vec<&str> = profiles
        .and_then(Value::as_dict)
        .into_iter()
        .flat_map(|dict| dict.keys().map(String::as_str))
        .collect();
    match profiles.and_then(Value::as_dict).and_then(|dict| dict.get(name)).and_then(Value::as_dict) {
        Some(dict) => Ok(Layer {
            name: format!("{} [profile.{name}]", file.name),
            file: file.file.clone(),
            dict: dict.clone(),
        }),
        None => {
            let listed = if known.is_empty() { "none".into() } else { known.join(", ") };
            let detail = format!("{}: unknown profile {name:?}; known: {listed}", file.name);
            let mend = match closest(name, &known) {
                Some(guess) => format!("did you mean {guess:?}?"),
                None => format!("a profile is a table such as [profile.{name}.node]"),
            };
            Err(wrong(detail).mend(mend))
        }
    }
}

/// Every key at the top is a table of ours, and every instance in it is a table with a name that all sources can write.
fn check_tables(layer: &Layer) -> Result<()> {
    for (table, value) in &layer.dict {
        if !TABLES.contains(&table.as_str()) {
            return Err(misplaced(&layer.name, table));
        }
        if table == "validator" {
            continue;
        }
        let Some(inner) = value.as_dict() else {
            let error = wrong(format!("{}: {table}: found {}; allowed: a table", layer.name, brief(value)));
            return Err(if table == "transport" || table == "store" {
                error.mend(format!("{table} = … belongs into the table [node]"))
            } else {
                error
            });
        };
        if table == "node" || table == "profile" {
            continue;
        }
        for (name, value) in inner {
            check_instance(&layer.name, table, name, value)?;
        }
    }
    Ok(())
}

fn check_instance(origin: &str, table: &str, name: &str, value: &Value) -> Result<()> {
    if value.as_dict().is_none() {
        return Err(wrong(format!("{origin}: [{table}] {name}: found {}; allowed: a table", brief(value)))
            .mend(format!("keys of an instance stand under its name: [{table}.NAME]")));
    }
    let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if table != "topic" && (name.is_empty() || !name.chars().all(kebab)) {
        return Err(wrong(format!("{origin}: [{table}.{name}]: allowed in a name: a-z 0-9 -"))
            .mend(format!("call it {:?}", name.to_ascii_lowercase().replace(['_', ' ', '.'], "-"))));
    }
    Ok(())
}

fn brief(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("{text:?}"),
        Value::Dict(..) => "a table".into(),
        Value::Array(..) => "a list".into(),
        other => other.to_actual().to_string(),
    }
}

fn topics(layers: &[Layer], origin: &str) -> Result<Vec<(Topic, TopicRules)>> {
    let read = |name: &str| {
        let table = format!("topic.{name:?}");
        let topic =
            Topic::new(name).map_err(|error| wrong(format!("{origin}: [{table}]: {}", error.detail())))?;
        let section = section(layers, &["topic", name], &[]);
        let rules: TopicRules =
            section.extract().map_err(|error| explain(error, &section, &table, origin))?;
        rules.check().map_err(|error| placed(&section, "", &table, &error, origin))?;
        Ok((topic, rules))
    };
    names(layers, "topic").into_iter().map(read).collect()
}

/// The folder relative paths count from: the file's, else the current one.
fn folder_of(file: Option<&Path>) -> Result<PathBuf> {
    let folder = file.and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty());
    std::path::absolute(folder.unwrap_or(Path::new(".")))
        .map_err(|source| wrong(format!("the current folder is unknown: {source}")).from_source(source))
}

/// The one key everybody must write gets its own mend.
fn missing_network(error: crate::Error) -> crate::Error {
    if error.detail().ends_with("[node] network: is missing") {
        return error.mend("write network = \"NAME\", the same on all nodes; `carrick init` chooses one");
    }
    error
}

/// An error whose detail begins with the key, with the source and table of that.
fn placed(figment: &Figment, under: &str, table: &str, error: &crate::Error, origin: &str) -> crate::Error {
    let key = error.detail().split(' ').next().unwrap_or_default();
    let metadata = figment.find_metadata(&format!("{under}{key}"));
    let source = metadata.map_or(origin, |metadata| &metadata.name);
    let placed = wrong(format!("{source}: [{table}] {}", error.detail()));
    match error.hint() {
        Some(hint) => placed.mend(hint),
        None => placed,
    }
}
