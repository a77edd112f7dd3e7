//! Building a node: everything is chosen first, then opened in order.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use libp2p_identity::Keypair;

use super::core::{Core, Parts};
use super::fetch::Flights;
use super::gate::SignatureMemo;
use super::host::{Host, Mount};
use super::identity::load_or_create;
use super::lock::DataDirLock;
use super::publish::Pen;
use super::router::{Mounted, Router};
use super::{Node, NodeInner};
use crate::{
    Capabilities, Clock, Error, ErrorKind, Limits, Membership, MemoryStore, NetworkId, Open, Requirements,
    Result, Service, Site, Store, SystemClock, Topic, TopicRules, Transport, Validator,
};

/// Opens one transport with its host.
pub(crate) type OpenTransport =
    Box<dyn FnOnce(Host) -> BoxFuture<'static, Result<Arc<dyn Transport>>> + Send>;
/// Opens another plugin once the place it runs in is known.
type OpenAt<P> = Box<dyn FnOnce(Site) -> BoxFuture<'static, Result<Arc<P>>> + Send>;

/// Most transport instances of one node.
const MAX_TRANSPORTS: usize = 64;

/// Chooses what a node is made of. Only [`network`](Self::network) must be given.
///
/// Without a [`data_dir`](Self::data_dir) nothing is written to disk: the identity is new and the store in memory.
#[must_use = "a builder does nothing before `open`"]
pub struct NodeBuilder {
    network: Option<NetworkId>,
    key: Option<Keypair>,
    data_dir: Option<PathBuf>,
    limits: Limits,
    clock: Arc<dyn Clock>,
    seed: Option<u64>,
    memo: Option<SignatureMemo>,
    store: Option<OpenAt<dyn Store>>,
    validators: Vec<(String, OpenAt<dyn Validator>)>,
    services: Vec<(String, OpenAt<dyn Service>)>,
    membership: Arc<dyn Membership>,
    transports: Vec<(String, OpenTransport)>,
    broadcast: Option<Vec<String>>,
    fetch: Option<Vec<String>>,
    require: Requirements,
    rules: BTreeMap<Topic, TopicRules>,
}

impl Default for NodeBuilder {
    fn default() -> Self {
        Self {
            network: None,
            key: None,
            data_dir: None,
            limits: Limits::default(),
            clock: Arc::new(SystemClock),
            seed: None,
            memo: None,
            store: None,
            validators: vec![],
            services: vec![],
            membership: Arc::new(Open),
            transports: vec![],
            broadcast: None,
            fetch: None,
            require: Requirements::default(),
            rules: BTreeMap::new(),
        }
    }
}

impl NodeBuilder {
    /// The network; only peers of the same one are met. Required.
    pub fn network(mut self, network: NetworkId) -> Self {
        self.network = Some(network);
        self
    }

    /// An identity of one's own choice, instead of the one in the data folder or a new one. An ed25519 key.
    pub fn identity(mut self, key: Keypair) -> Self {
        self.key = Some(key);
        self
    }

    /// Where identity, lock and stores live. A folder serves one running node.
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    /// Other limits than the defaults.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Where the time is read. Default: the system's clock.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Seeds everything random but keys, so that a run repeats. Default: the operating system's randomness.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Shares with other nodes of this process which signatures held. Default: the node checks each itself.
    pub fn signature_memo(mut self, memo: &SignatureMemo) -> Self {
        self.memo = Some(memo.clone());
        self
    }

    /// A store that is open already. Default: in memory.
    pub fn store(self, store: Arc<dyn Store>) -> Self {
        self.store_at(move |_| async move { Ok(store) })
    }

    /// A store that is opened with the node.
    pub fn store_at<F>(mut self, open: impl FnOnce(Site) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<Arc<dyn Store>>> + Send + 'static,
    {
        self.store = Some(Box::new(move |site| open(site).boxed()));
        self
    }

    /// One more validator; they are asked in the order in which they were added.
    pub fn validator(self, validator: Arc<dyn Validator>) -> Self {
        self.validator_at("validator", move |_| async move { Ok(validator) })
    }

    /// One more validator, opened with the node.
    pub fn validator_at<F>(mut self, name: &str, open: impl FnOnce(Site) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<Arc<dyn Validator>>> + Send + 'static,
    {
        self.validators.push((name.to_owned(), Box::new(move |site| open(site).boxed())));
        self
    }

    /// One more service; they start in the order in which they were added and stop in the other.
    pub fn service(self, service: Arc<dyn Service>) -> Self {
        self.service_at("service", move |_| async move { Ok(service) })
    }

    /// One more service, opened with the node.
    pub fn service_at<F>(mut self, name: &str, open: impl FnOnce(Site) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<Arc<dyn Service>>> + Send + 'static,
    {
        self.services.push((name.to_owned(), Box::new(move |site| open(site).boxed())));
        self
    }

    /// Who may connect and publish. Default: everybody. See [`Node::set_membership`].
    pub fn membership(mut self, membership: Arc<dyn Membership>) -> Self {
        self.membership = membership;
        self
    }

    /// Mounts a transport under a name: `open` is called with its host when the node opens.
    pub fn mount<F, T>(mut self, name: &str, open: impl FnOnce(Host) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<T>> + Send + 'static,
        T: Transport,
    {
        let open: OpenTransport = Box::new(move |host| {
            open(host).map(|opened| opened.map(|t| Arc::new(t) as Arc<dyn Transport>)).boxed()
        });
        self.transports.push((name.to_owned(), open));
        self
    }

    /// As [`mount`](Self::mount), for a transport that is chosen at run time.
    pub fn mount_dyn<F>(mut self, name: &str, open: impl FnOnce(Host) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<Arc<dyn Transport>>> + Send + 'static,
    {
        self.transports.push((name.to_owned(), Box::new(move |host| open(host).boxed())));
        self
    }

    /// Puts something round every transport that was mounted so far: `wrap` gets the host, and what opens the transport.
    #[cfg(any(test, feature = "conformance"))]
    pub(crate) fn wrapped<F, T>(
        mut self,
        wrap: impl Fn(Host, OpenTransport) -> F + Clone + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<T>> + Send + 'static,
        T: Transport,
    {
        for (name, open) in std::mem::take(&mut self.transports) {
            let wrap = wrap.clone();
            self = self.mount(&name, move |host| wrap(host, open));
        }
        self
    }

    /// The transports that carry broadcast; several bridge. Default: all that can.
    pub fn broadcast<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.broadcast = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// The transports that fetch, the first asked first. Default: all that can, in the order of mounting.
    pub fn fetch<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.fetch = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Promises that every transport in use must keep.
    pub fn require(mut self, require: Requirements) -> Self {
        self.require = require;
        self
    }

    /// The rules of a topic. Default: numbers and clock are checked, nothing is kept.
    pub fn topic(mut self, topic: Topic, rules: TopicRules) -> Self {
        self.rules.insert(topic, rules);
        self
    }

    /// Opens the node: store, validators, transports, routes, services. What was opened is closed again when a later step
    /// fails.
    ///
    /// # Errors
    /// `Config` names what is missing or wrong and how to mend it; otherwise what a plugin answers.
    pub async fn open(self) -> Result<Node> {
        self.limits.check()?;
        for (topic, rules) in &self.rules {
            rules.check().map_err(|error| of_topic(topic, error))?;
        }
        let network = self.network.clone().ok_or_else(|| {
            Error::new(ErrorKind::Config, "open", "no network was chosen").mend("set network under [node]")
        })?;
        if self.transports.len() > MAX_TRANSPORTS {
            return Err(Error::new(
                ErrorKind::Config,
                "open",
                format!("more than {MAX_TRANSPORTS} transports"),
            ));
        }
        let data = self.data_dir.as_ref().map(|path| DataDirLock::take(path)).transpose()?;
        let key = match (self.key, &self.data_dir) {
            (None, Some(data_dir)) => load_or_create(data_dir)?,
            (Some(key), _) => key,
            (None, None) => Keypair::generate_ed25519(),
        };
        let site = |name: &str| {
            Site::new(name, self.data_dir.clone().unwrap_or_else(std::env::temp_dir), self.limits.clone())
        };
        let store = match self.store {
            Some(open) => open(site("store")).await?,
            None => Arc::new(MemoryStore::default()),
        };
        let opened = async {
            let mut validators = Vec::new();
            for (name, open) in self.validators {
                validators.push(open(site(&name)).await?);
            }
            let (mut services, mut rules, mut owned) = (Vec::new(), self.rules, BTreeMap::new());
            for (name, open) in self.services {
                let service = open(site(&name)).await?;
                validators.extend(Arc::clone(&service).validator());
                for (topic, of_service) in service.topics() {
                    of_service.check().map_err(|error| of_topic(&topic, error))?;
                    if let Some(other) = owned.insert(topic.clone(), name.clone()) {
                        return Err(owned_twice(&topic, [&other, &name]));
                    }
                    rules.insert(topic, of_service);
                }
                services.push((name, service));
            }
            let core = Core::new(Parts {
                key,
                network,
                limits: self.limits.clone(),
                clock: self.clock,
                store: Arc::clone(&store),
                validators,
                membership: self.membership,
                rules,
                seed: self.seed,
                memo: self.memo,
            });
            core.restore().await?;
            core.open_shelves().await?;
            let routes = Routes { broadcast: self.broadcast, fetch: self.fetch, require: self.require };
            match open_transports(&core, self.transports, routes).await {
                Ok(router) => {
                    core.save_on_change();
                    Ok(Node(Arc::new(NodeInner::new(core, Arc::new(router), services, data))))
                }
                Err(error) => {
                    core.tasks.end(super::CLOSING).await;
                    Err(error)
                }
            }
        };
        let node = match opened.await {
            Ok(node) => node,
            Err(error) => {
                // The error that matters is the one that made us close.
                let _ = store.close().await;
                return Err(error);
            }
        };
        node.start_services().await?;
        Ok(node)
    }
}

impl fmt::Debug for NodeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transports: Vec<_> = self.transports.iter().map(|(name, _)| name).collect();
        f.debug_struct("NodeBuilder")
            .field("network", &self.network)
            .field("data_dir", &self.data_dir)
            .field("transports", &transports)
            .finish_non_exhaustive()
    }
}

fn owned_twice(topic: &Topic, [one, other]: [&str; 2]) -> Error {
    let detail = format!("the services {one:?} and {other:?} both own the topic {topic}");
    Error::new(ErrorKind::Config, "open", detail).mend("leave one of them out")
}

/// Says which topic has rules that do not go together.
fn of_topic(topic: &Topic, error: Error) -> Error {
    let placed = Error::new(error.kind(), "open", format!("topic {topic}: {}", error.detail()));
    match error.hint() {
        Some(hint) => placed.mend(hint.to_owned()),
        None => placed,
    }
}

/// Which transports carry what, by name; `None` is all that can.
struct Routes {
    broadcast: Option<Vec<String>>,
    fetch: Option<Vec<String>>,
    require: Requirements,
}

async fn open_transports(
    core: &Arc<Core>,
    opening: Vec<(String, OpenTransport)>,
    routes: Routes,
) -> Result<Router> {
    let mut transports: Vec<Mounted> = Vec::new();
    for (at, (name, open)) in opening.into_iter().enumerate() {
        let mount = Mount::new(&name, u8::try_from(at).unwrap_or(u8::MAX));
        let host = Host::new(Arc::clone(core), mount.clone());
        let opened = match transports.iter().any(|mounted| *mounted.mount.name == *name) {
            true => Err(Error::new(ErrorKind::Config, "open", format!("two transports are called {name:?}"))),
            false => open(host).await,
        };
        let checked = opened.and_then(|transport| {
            let capabilities = transport.capabilities();
            let required = check_required(&name, &capabilities, &routes.require);
            // Set once, here, before anybody else can.
            let _ = mount.capabilities.set(capabilities);
            core.listening(&mount, transport.listen_addrs());
            transports.push(Mounted { mount, transport });
            required
        });
        if let Err(error) = checked {
            close_all(&transports).await;
            return Err(error);
        }
    }
    let routed = route(&transports, routes.broadcast, "broadcast", |caps| caps.broadcast.is_some()).and_then(
        |broadcast| Ok((broadcast, route(&transports, routes.fetch, "fetch", |caps| caps.fetch.is_some())?)),
    );
    match routed {
        Ok((broadcast, fetch)) => Ok(Router {
            core: Arc::clone(core),
            transports,
            broadcast,
            fetch,
            flights: Flights::new(core.limits.flights),
            pen: Pen::default(),
            joined: tokio::sync::Mutex::default(),
            handing: tokio::sync::RwLock::default(),
        }),
        Err(error) => {
            close_all(&transports).await;
            Err(error)
        }
    }
}

async fn close_all(transports: &[Mounted]) {
    for mounted in transports {
        // The error that matters is the one that made us close.
        let _ = tokio::time::timeout(super::CLOSING, mounted.transport.close()).await;
    }
}

fn check_required(name: &str, capabilities: &Capabilities, require: &Requirements) -> Result<()> {
    let unmet = capabilities.unmet(require);
    if unmet.is_empty() {
        return Ok(());
    }
    let lines: Vec<_> = unmet
        .iter()
        .map(|unmet| format!("{} must be {} and is {}", unmet.promise, unmet.needs, unmet.has))
        .collect();
    let keys: Vec<_> = unmet.iter().map(|unmet| unmet.promise).collect();
    Err(Error::new(
        ErrorKind::Config,
        "open",
        format!("it cannot promise what [node.require] asks: {}", lines.join(", ")),
    )
    .on(name.to_owned())
    .mend(format!("choose another transport, or take {} out of [node.require]", keys.join(", "))))
}

/// The places of the named transports, or of all that can.
fn route(
    transports: &[Mounted],
    names: Option<Vec<String>>,
    key: &str,
    can: impl Fn(&Capabilities) -> bool,
) -> Result<Vec<usize>> {
    let able = |mounted: &Mounted| mounted.mount.capabilities.get().is_some_and(&can);
    let Some(names) = names else {
        return Ok((0..transports.len()).filter(|at| able(&transports[*at])).collect());
    };
    names
        .iter()
        .map(|name| {
            let at = transports.iter().position(|mounted| *mounted.mount.name == **name);
            let problem = match at {
                Some(at) if able(&transports[at]) => return Ok(at),
                Some(_) => format!("{name:?} cannot {key}"),
                None => format!("{key} names {name:?}, which is not mounted"),
            };
            Err(Error::new(ErrorKind::Config, "open", problem).mend(format!("correct {key} under [node]")))
        })
        .collect()
}
