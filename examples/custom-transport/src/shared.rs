//! What the tasks of one transport share: it listens, dials, and stays connected.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use carrick_core::{Error, ErrorKind, Host, Multiaddr, PeerAddr, PeerId, Result};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{multiaddr, socket_addr};
use crate::hello;
use crate::link::{Link, Waiting, locked};
use crate::table::Table;
use crate::wire::{End, Frame};

/// Most addresses tried in one dial.
const MAX_ADDRS: usize = 8;

/// Tasks hold this and never the transport: when that goes, they end.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) host: Host,
    pub(crate) listen: Multiaddr,
    pub(crate) closing: CancellationToken,
    pub(crate) tasks: TaskTracker,
    table: Mutex<Table>,
    /// A link came.
    linked: Notify,
}

impl Shared {
    pub(crate) fn new(host: Host, listen: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::new(Table::new(host.clone())),
            host,
            listen: multiaddr(listen),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
            linked: Notify::new(),
        })
    }

    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        locked(&self.table)
    }

    /// An error that names the instance.
    pub(crate) fn fail(&self, kind: ErrorKind, operation: &'static str, detail: impl Into<String>) -> Error {
        Error::new(kind, operation, detail).on(self.host.instance().to_owned())
    }

    /// Whether it is still open.
    pub(crate) fn open(&self, operation: &'static str) -> Result<()> {
        match self.closing.is_cancelled() {
            true => Err(self.fail(ErrorKind::Closed, operation, "the transport is closed")),
            false => Ok(()),
        }
    }

    /// Starts a task that `close` waits for.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.host.spawn(self.tasks.track_future(task));
    }

    /// Ends all links and, with them, all tasks.
    pub(crate) fn shut_down(&self) {
        let mut table = self.table();
        self.closing.cancel();
        let links: Vec<_> = table.links().cloned().collect();
        links.iter().for_each(|link| table.leave(link, End::Goodbye));
    }

    /// Takes connections until the transport closes.
    pub(crate) async fn accept(self: Arc<Self>, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(self.host.limits().handshakes));
        while let Some(accepted) = self.closing.run_until_cancelled(listener.accept()).await {
            let Ok((stream, from)) = accepted else {
                // No file descriptor is free, for example.
                sleep(self.host.backoff(0)).await;
                continue;
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                self.host.count("refused", 1);
                continue;
            };
            let shared = self.clone();
            self.spawn(async move {
                let handshake = timeout(shared.host.limits().handshake, shared.welcome(stream, from));
                if !matches!(shared.closing.run_until_cancelled(handshake).await, Some(Ok(Ok(())))) {
                    shared.host.count("handshakes_failed", 1);
                }
                drop(place);
            });
        }
    }

    async fn welcome(self: &Arc<Self>, mut stream: TcpStream, from: SocketAddr) -> Result<(), End> {
        let peer = hello::answer(&self.host, &mut stream).await;
        match peer.and_then(|peer| self.enter(peer, from, false)) {
            Ok((link, waiting)) => self.spawn(self.clone().run(link, stream, waiting)),
            Err(why) => {
                stream.write_all(&Frame::Bye(why).encode(&[])).await?;
                return Err(why);
            }
        }
        Ok(())
    }

    /// Makes a link of a connection whose far end proved itself.
    fn enter(&self, peer: PeerId, addr: SocketAddr, dialled: bool) -> Result<(Arc<Link>, Waiting), End> {
        let (link, waiting) = Link::new(&self.host, peer, multiaddr(addr), dialled);
        let mut table = self.table();
        if self.closing.is_cancelled() {
            return Err(End::Goodbye);
        }
        table.enter(&link)?;
        self.linked.notify_waiters();
        Ok((link, waiting))
    }

    /// Connects, or finds the link there is.
    pub(crate) async fn connect(self: &Arc<Self>, peer: &PeerAddr) -> Result<PeerId> {
        let mut addrs = peer.addrs.clone();
        if let Some(id) = peer.peer {
            if self.table().link(&id).is_some() {
                return Ok(id);
            }
            if addrs.is_empty() {
                addrs = self.host.addresses(&id);
            }
        }
        let detail = format!("{peer} is no address of this transport");
        let mut failed =
            self.fail(ErrorKind::Config, "dial", detail).mend("write it as /ip4/10.0.0.7/tcp/4700");
        for addr in addrs.iter().filter_map(socket_addr).take(MAX_ADDRS) {
            let attempt = timeout(self.host.limits().handshake, self.attempt(addr, peer.peer));
            let attempt = self.closing.run_until_cancelled(attempt).await;
            self.open("dial")?;
            match attempt.and_then(std::result::Result::ok).unwrap_or(Err(End::Stalled)) {
                Ok(peer) => return Ok(peer),
                Err(why) => failed = self.dial_error(peer, why),
            }
        }
        Err(failed)
    }

    async fn attempt(self: &Arc<Self>, addr: SocketAddr, expected: Option<PeerId>) -> Result<PeerId, End> {
        let mut stream = socket(addr, &self.host)?.connect(addr).await?;
        stream.set_nodelay(true)?;
        let peer = hello::greet(&self.host, &mut stream, expected).await?;
        let welcome = hello::until_welcome(&self.host, &mut stream).await;
        match welcome.and_then(|()| self.enter(peer, addr, true)) {
            Ok((link, waiting)) => self.spawn(self.clone().run(link, stream, waiting)),
            // It dialled us at the same time: that connection is here, or about to be.
            Err(End::Duplicate) => self.until_linked(&peer).await,
            Err(why) => return Err(why),
        }
        Ok(peer)
    }

    async fn until_linked(&self, peer: &PeerId) {
        loop {
            let linked = self.linked.notified();
            if self.table().link(peer).is_some() {
                return;
            }
            linked.await;
        }
    }

    /// Dials a bootstrap peer again and again.
    pub(crate) async fn keep(self: Arc<Self>, mut peer: PeerAddr) {
        let mut failures = 0_u32;
        loop {
            if !peer.peer.is_some_and(|id| self.table().is_settled(&id)) {
                match self.connect(&peer).await {
                    Ok(id) => (peer.peer, failures) = (Some(id), 0),
                    // It names the node itself, as where all nodes share one configuration.
                    Err(error) if error.kind() == ErrorKind::Config => return,
                    Err(_) => failures = failures.saturating_add(1),
                }
            }
            sleep(self.host.backoff(failures)).await;
        }
    }

    /// Why a dial failed, in the words of the contract.
    pub(crate) fn dial_error(&self, peer: &PeerAddr, why: End) -> Error {
        let (kind, what) = match why {
            End::Oneself => (ErrorKind::Config, "is this node itself"),
            End::Full => (ErrorKind::Busy, "or this node has no connection left"),
            End::Network => (ErrorKind::Unauthorized, "is of another network"),
            End::AnotherKey => (ErrorKind::Unauthorized, "is not who answers there"),
            End::NotAdmitted => {
                (ErrorKind::Unauthorized, "does not admit this node, or is not admitted here")
            }
            _ => (ErrorKind::Unreachable, "does not answer"),
        };
        self.fail(kind, "dial", format!("{peer} {what}"))
    }
}

/// A socket in which the kernel keeps no more than the limits allow. Left alone, it keeps megabytes for each link.
pub(crate) fn socket(addr: SocketAddr, host: &Host) -> std::io::Result<TcpSocket> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // The kernel doubles what it is told.
    let half = u32::try_from(host.limits().receive_window_bytes / 2).unwrap_or(u32::MAX);
    socket.set_recv_buffer_size(half)?;
    socket.set_send_buffer_size(half)?;
    Ok(socket)
}
