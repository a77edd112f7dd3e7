//! What the parts of the transport and its tasks share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use carrick_core::{Cid, Error, ErrorKind, Host, Multiaddr, Notice, Remote, Result, Topic};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::IpfsHttpConfig;
use crate::links::Links;
use crate::pubsub::{Echoes, Joined, OnTopic, Waiting};
use crate::rpc::{Fault, Rpc};

/// How soon the daemon is taken to have forgotten again what it was given, where nothing but a broken subscription says so.
const FORGETS_EVERY: Duration = Duration::from_secs(300);

/// What the parts of the transport and its tasks share. The transport ends it by cancelling `closed`.
pub(crate) struct Shared {
    pub(crate) host: Host,
    pub(crate) config: IpfsHttpConfig,
    pub(crate) rpc: Rpc,
    /// Our own daemon, as it said last.
    pub(crate) own: Mutex<Own>,
    /// When it was last asked who it is, and how that failed; held while it is asked.
    pub(crate) identified: tokio::sync::Mutex<(Instant, Option<(ErrorKind, String)>)>,
    /// When it was last taken to have forgotten what it was given.
    pub(crate) forgot: Mutex<Option<Instant>>,
    pub(crate) topics: Mutex<BTreeMap<Topic, Joined>>,
    /// Who is on the topics that matter to the node.
    pub(crate) peers: Mutex<BTreeMap<Topic, OnTopic>>,
    /// The daemons that ours is connected with, as it said last.
    pub(crate) links: Mutex<Links>,
    pub(crate) echoes: Mutex<Echoes>,
    /// What waits to be published.
    pub(crate) waiting: Waiting,
    /// Whether the daemon answered when it was last asked: else nothing is known of its links.
    pub(crate) there: AtomicBool,
    /// Daemons that a user disconnected: they are not dialled again by themselves.
    pub(crate) apart: Mutex<BTreeSet<Remote>>,
    /// Room for the bytes of blocks that are on their way to the daemon.
    pub(crate) giving: Semaphore,
    /// What waits to be announced.
    pub(crate) announcing: mpsc::Sender<Cid>,
    /// Asks for a look at the daemon before its time.
    pub(crate) wake: Notify,
    pub(crate) closed: CancellationToken,
}

/// Our own daemon, as other daemons see it. It becomes another one where its key or repository is replaced.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Own {
    pub(crate) id: Arc<str>,
    /// Where it is reached; each address ends with its id.
    pub(crate) listen: Vec<Multiaddr>,
}

impl Shared {
    /// The id of our own daemon.
    pub(crate) fn daemon(&self) -> Arc<str> {
        Arc::clone(&lock(&self.own).id)
    }

    /// Our own daemon as a remote: what is given to it, or taken from it, crosses this link.
    pub(crate) fn own_daemon(&self) -> Remote {
        Remote::Foreign(self.daemon())
    }

    /// Tells that the daemon may have forgotten what it was given. Not too often: to look costs a walk of the store, and there are
    /// proxies that cut each subscription every minute.
    pub(crate) fn may_have_forgotten(&self) {
        let mut last = lock(&self.forgot);
        if last.is_none_or(|last| last.elapsed() > FORGETS_EVERY) {
            *last = Some(Instant::now());
            self.host.notice(Notice::Forgot);
        }
    }

    /// Names the instance in an error.
    pub(crate) fn fail(&self, kind: ErrorKind, operation: &'static str, detail: impl Into<String>) -> Error {
        Error::new(kind, operation, detail).on(self.host.instance().to_owned())
    }

    /// The contract's error for a call that failed.
    pub(crate) fn failed(&self, operation: &'static str, fault: Fault) -> Error {
        fault.into_error(operation).on(self.host.instance().to_owned())
    }

    /// # Errors
    /// `Closed` once it is.
    pub(crate) fn open(&self, operation: &'static str) -> Result<()> {
        if self.closed.is_cancelled() {
            return Err(self.fail(ErrorKind::Closed, operation, "the transport is closed"));
        }
        Ok(())
    }

    /// Runs one operation; closing the transport ends it.
    pub(crate) async fn run<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.open(operation)?;
        match self.closed.run_until_cancelled(work).await {
            Some(done) => done,
            None => Err(self.fail(ErrorKind::Closed, operation, "the transport is closed")),
        }
    }
}

/// Nothing that holds one of these locks can panic half-way.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
