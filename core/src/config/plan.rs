//! A configuration checked against the plugins of this program: all that is needed to open a node.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use figment::value::Value;

use super::explain::{explain, wrong};
use super::layer::Layer;
use super::node::Routes;
use super::{Config, section};
use crate::node::{NodeBuilder, identity};
use crate::registry::{Checked, closest};
use crate::{Entry, Error, ErrorKind, Kind, Node, Registry, Result};

/// The store of a node whose configuration names none: the first of these that is linked.
const DEFAULT_STORES: [&str; 2] = ["fjall", "memory"];

/// The table of ledgers, and the kind of service that they are.
const LEDGER: &str = "ledger";

/// A plugin instance whose table was read.
pub(super) struct Instance {
    pub(super) name: String,
    pub(super) entry: Entry,
    pub(super) config: Checked,
    /// Source and table, for what only shows on opening.
    place: String,
}

/// A configuration whose every table was read by the plugin that owns it. Nothing is open yet.
pub struct Plan {
    pub(super) config: Config,
    pub(super) data_dir: PathBuf,
    pub(super) routes: Routes,
    /// Only those that a route names; the others were read and let go.
    pub(super) transports: Vec<Instance>,
    pub(super) store: Instance,
    pub(super) validators: Vec<Instance>,
    pub(super) services: Vec<Instance>,
}

impl Plan {
    /// The data folder, absolute.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Opens the node that the configuration describes.
    ///
    /// # Errors
    /// As [`builder`](Self::builder) and [`NodeBuilder::open`].
    pub async fn open(self) -> Result<Node> {
        self.builder()?.open().await
    }

    /// The same as a builder, for adding what no configuration can say: a clock, a validator of one's own.
    ///
    /// # Errors
    /// `Config` when the identity, which a list of members must include, cannot be read.
    pub fn builder(self) -> Result<NodeBuilder> {
        let node = self.config.node;
        let mut builder = Node::builder().network(node.network).limits(node.limits).require(node.require);
        if let Some(members) = node.members {
            let key = identity::load_or_create(&self.data_dir)?;
            let members = members.with(key.public().to_peer_id());
            builder = builder.identity(key).membership(Arc::new(members));
        }
        builder = builder.data_dir(self.data_dir);
        let Instance { entry, config, place, .. } = self.store;
        builder = builder
            .store_at(move |site| async move { entry.open_store(config, site).await.map_err(at(place)) });
        for Instance { name, entry, config, place } in self.validators {
            builder = builder.validator_at(&name, move |site| async move {
                entry.open_validator(config, site).await.map_err(at(place))
            });
        }
        for Instance { name, entry, config, place } in self.services {
            builder = builder.service_at(&name, move |site| async move {
                entry.open_service(config, site).await.map_err(at(place))
            });
        }
        for Instance { name, entry, config, place } in self.transports {
            builder = builder.mount_dyn(&name, move |host| async move {
                entry.open_transport(config, host).await.map_err(at(place))
            });
        }
        for (topic, rules) in self.config.topics {
            builder = builder.topic(topic, rules);
        }
        Ok(builder.broadcast(self.routes.broadcast).fetch(self.routes.fetch))
    }
}

impl Config {
    /// Reads every plugin's table, without opening anything.
    ///
    /// # Errors
    /// `Config`: an unknown plugin (with the known ones and a guess), an unknown key, a wrong type, a value out of range.
    pub fn check(&self, registry: &Registry) -> Result<Plan> {
        let routes = self.node.routes(self.origin(&["node"]))?;
        let mut transports = Vec::new();
        for (route, names) in [("broadcast", &routes.broadcast), ("fetch", &routes.fetch)] {
            for name in names {
                if !transports.iter().any(|instance: &Instance| instance.name == *name) {
                    let key = if self.node.transport.is_some() { "transport" } else { route };
                    transports.push(self.named(registry, Kind::Transport, name, key)?);
                }
            }
        }
        let store = self.store_name(registry);
        let plan = Plan {
            data_dir: self.data_dir(),
            store: self.named(registry, Kind::Store, &store, "store")?,
            validators: self.validators(registry)?,
            services: self.services(registry)?,
            routes,
            transports,
            config: self.clone(),
        };
        self.all(registry, Kind::Transport)?;
        self.all(registry, Kind::Store)?;
        Ok(plan)
    }

    fn store_name(&self, registry: &Registry) -> String {
        let linked = |name: &&str| registry.find(Kind::Store, name).is_ok();
        let default = || DEFAULT_STORES.into_iter().find(linked).unwrap_or(DEFAULT_STORES[0]).to_string();
        self.node.store.clone().unwrap_or_else(default)
    }

    /// Every instance of a kind that has a table, used or not.
    fn all(&self, registry: &Registry, kind: Kind) -> Result<Vec<Instance>> {
        self.names(table(kind)).into_iter().map(|name| self.instance(registry, kind, name)).collect()
    }

    /// An instance that `[node]` names under `key`; its table may be absent.
    fn named(&self, registry: &Registry, kind: Kind, name: &str, key: &str) -> Result<Instance> {
        let (known, instances) = (plugins(registry, kind), self.names(table(kind)));
        if known.contains(&name) || instances.contains(name) {
            return self.instance(registry, kind, name);
        }
        let place = format!("{}: [node] {key}", self.origin(&["node", key]));
        let known = instances.into_iter().chain(known).collect();
        Err(unknown(&place, kind, name, known))
    }

    /// `[service.NAME]`, and `[ledger.NAME]`, which is a service of the kind `ledger` unless it says another.
    fn services(&self, registry: &Registry) -> Result<Vec<Instance>> {
        let mut services = self.all(registry, Kind::Service)?;
        for name in self.names(LEDGER) {
            services.push(self.instance_at(registry, Kind::Service, [LEDGER, name], LEDGER)?);
        }
        Ok(services)
    }

    fn instance(&self, registry: &Registry, kind: Kind, name: &str) -> Result<Instance> {
        self.instance_at(registry, kind, [table(kind), name], name)
    }

    /// The instance of a table, of the plugin that it names as its kind.
    fn instance_at(
        &self,
        registry: &Registry,
        kind: Kind,
        path: [&str; 2],
        default: &str,
    ) -> Result<Instance> {
        let (place, name) = (path.join("."), path[1]);
        let plugin = match self.at(&[path[0], name, "kind"]) {
            Some(Value::String(_, plugin)) => plugin.as_str(),
            Some(_) => return Err(self.kind_is_no_text(&[path[0], name, "kind"], &place)),
            None => default,
        };
        let at = format!("{}: [{place}]", self.origin(&path));
        let entry = self.entry(registry, kind, plugin, &at)?;
        let section = section(&self.layers, &path, &["kind"]);
        let config =
            entry.check(&section).map_err(|error| explain(*error, &section, &place, self.origin(&path)))?;
        Ok(Instance { name: name.to_string(), entry, config, place: at })
    }

    /// `[[validator]]`, in the order of the strongest source that has any.
    fn validators(&self, registry: &Registry) -> Result<Vec<Instance>> {
        let Some(layer) = self.layers.iter().rev().find(|layer| layer.at(&["validator"]).is_some()) else {
            return Ok(vec![]);
        };
        let shape = || {
            wrong(format!("{}: validator: allowed: a list of tables", layer.name))
                .mend("write each as [[validator]], in double brackets")
        };
        let tables = layer.at(&["validator"]).and_then(Value::as_array).ok_or_else(shape)?;
        let read = |(at, value): (usize, &Value)| {
            let mut dict = value.as_dict().ok_or_else(shape)?.clone();
            let place = format!("[validator {}]", at + 1);
            let kind = match dict.remove("kind") {
                Some(Value::String(_, kind)) => kind,
                Some(_) => return Err(self.kind_is_no_text(&["validator"], &place)),
                None => {
                    let known = plugins(registry, Kind::Validator).join(", ");
                    return Err(wrong(format!("{}: [{place}] kind: is missing; known: {known}", layer.name)));
                }
            };
            let entry =
                self.entry(registry, Kind::Validator, &kind, &format!("{}: [{place}]", layer.name))?;
            let section = figment::Figment::from(Layer { dict, ..layer.clone() });
            let config =
                entry.check(&section).map_err(|error| explain(*error, &section, &place, &layer.name))?;
            Ok(Instance {
                name: format!("{kind}-{}", at + 1),
                entry,
                config,
                place: format!("{}: [{place}]", layer.name),
            })
        };
        tables.iter().enumerate().map(read).collect()
    }

    fn entry(&self, registry: &Registry, kind: Kind, plugin: &str, place: &str) -> Result<Entry> {
        match registry.find(kind, plugin) {
            Ok(entry) => Ok(*entry),
            Err(_) => Err(unknown(place, kind, plugin, plugins(registry, kind))),
        }
    }

    fn kind_is_no_text(&self, path: &[&str], place: &str) -> Error {
        wrong(format!("{}: [{place}] kind: allowed: a string, the name of a plugin", self.origin(path)))
    }
}

/// Says where the fault is, when a plugin finds one in its table only on opening.
fn at(place: String) -> impl FnOnce(Error) -> Error {
    move |error| {
        if error.kind() != ErrorKind::Config || error.operation() != "configuration" {
            return error;
        }
        let placed = wrong(format!("{place} {}", error.detail()));
        match error.hint() {
            Some(hint) => placed.mend(hint),
            None => placed,
        }
    }
}

/// The table that holds a kind's instances.
fn table(kind: Kind) -> &'static str {
    match kind {
        Kind::Transport => "transport",
        Kind::Store => "store",
        Kind::Validator => "validator",
        Kind::Service => "service",
    }
}

fn plugins(registry: &Registry, kind: Kind) -> Vec<&'static str> {
    registry.entries().filter(|entry| entry.kind() == kind).map(|entry| entry.name).collect()
}

fn unknown(place: &str, kind: Kind, name: &str, mut known: Vec<&str>) -> Error {
    known.sort_unstable();
    known.dedup();
    let mend = match closest(name, &known) {
        Some(guess) => format!("did you mean {guess:?}?"),
        None if known.is_empty() => format!("this program links no {kind}"),
        None => format!("choose a known one, or link the crate that registers {name:?}"),
    };
    let known = if known.is_empty() { "none".into() } else { known.join(", ") };
    wrong(format!("{place}: unknown {kind} {name:?}; known: {known}")).mend(mend)
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plan({:?} in {})", self.routes, self.data_dir.display())
    }
}
