//! A cable between nodes that can be torn: before each of them stands a relay, at whose address the others dial it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};

use carrick_core::conformance::transport::Wrapper;
use carrick_core::{Multiaddr, Protocol, Tap, Transport};
use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::runtime::{self, Runtime};
use tokio_util::sync::CancellationToken;

/// Theirs alone: in that of a case their tasks would be taken for what its nodes left behind.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let threads = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    threads.expect("a thread for relays")
});

/// Room in the kernel for what waits to be passed on: what is too much is lost, as on any wire.
const SOCKET_BYTES: usize = 4 << 20;

/// Hides a node behind an address that passes everything on to it.
#[derive(Debug)]
pub(crate) struct Relay {
    ended: CancellationToken,
    front: Arc<UdpSocket>,
    /// Where the node itself listens, once it does.
    back: OnceLock<SocketAddr>,
    /// Whoever dialled, by where they did it from.
    flows: Mutex<BTreeMap<SocketAddr, Arc<Flow>>>,
}

/// Packets between one dialler and the node.
#[derive(Debug)]
struct Flow {
    to_node: UdpSocket,
    torn: AtomicBool,
}

impl Relay {
    /// A relay to a node that is about to be opened. It works until it is told that it ended.
    pub(crate) fn new(ended: CancellationToken) -> Arc<Self> {
        let _here = RUNTIME.enter();
        let (back, flows) = Default::default();
        let relay = Arc::new(Self { ended, front: Arc::new(socket()), back, flows });
        relay.clone().spawn(relay.clone().pass_on());
        relay
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let ended = self.ended.clone();
        RUNTIME.spawn(async move { ended.run_until_cancelled(task).await });
    }

    /// Where others dial the node.
    pub(crate) fn addr(&self) -> Multiaddr {
        multiaddr(self.front.local_addr().expect("bound"))
    }

    /// Where the node is to listen: where it did in an earlier life, if it had one.
    pub(crate) fn behind(&self) -> Multiaddr {
        multiaddr(self.back.get().copied().unwrap_or((Ipv4Addr::LOCALHOST, 0).into()))
    }

    /// Loses all packets between a node that dialled this one and this one, until a new connection is tried.
    pub(crate) fn tear(&self, dialler: &Self) {
        let from = dialler.back.get();
        if let Some(flow) = from.and_then(|from| self.flows().get(from).cloned()) {
            flow.torn.store(true, Ordering::Relaxed);
        }
    }

    fn flows(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Arc<Flow>>> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pass_on(self: Arc<Self>) {
        let mut packet = vec![0; 64 << 10];
        loop {
            // Fails where an earlier packet found nobody.
            let Ok((length, from)) = self.front.recv_from(&mut packet).await else { continue };
            let Some(flow) = self.flow(from).await else { continue };
            if begins(&packet[..length]) {
                flow.torn.store(false, Ordering::Relaxed);
            }
            if !flow.torn.load(Ordering::Relaxed) {
                let _ = flow.to_node.send(&packet[..length]).await;
            }
        }
    }

    async fn flow(&self, from: SocketAddr) -> Option<Arc<Flow>> {
        let known = self.flows().get(&from).cloned();
        if known.is_some() {
            return known;
        }
        let to_node = socket();
        to_node.connect(self.back.get()?).await.ok()?;
        let flow = Arc::new(Flow { to_node, torn: AtomicBool::new(false) });
        self.spawn(flow.clone().answer(self.front.clone(), from));
        self.flows().insert(from, flow.clone());
        Some(flow)
    }
}

impl Flow {
    async fn answer(self: Arc<Self>, front: Arc<UdpSocket>, to: SocketAddr) {
        let mut packet = vec![0; 64 << 10];
        loop {
            let Ok(length) = self.to_node.recv(&mut packet).await else { continue };
            if !self.torn.load(Ordering::Relaxed) {
                let _ = front.send_to(&packet[..length], to).await;
            }
        }
    }
}

impl Tap for Relay {}

impl Wrapper for Relay {
    fn opened(&self, inner: &Arc<dyn Transport>) {
        let listens = inner.listen_addrs().first().and_then(socket_addr);
        self.back.get_or_init(|| listens.expect("it listens"));
    }

    fn listen_addrs(&self, inner: &dyn Transport) -> Vec<Multiaddr> {
        inner.listen_addrs().into_iter().map(|_| self.addr()).collect()
    }
}

/// Whether a packet is the first of a connection: a long header of type Initial (RFC 9000, section 17.2.2).
fn begins(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first & 0xf0 == 0xc0)
}

fn socket() -> UdpSocket {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
    let sizes = SockRef::from(&socket);
    let set =
        sizes.set_recv_buffer_size(SOCKET_BYTES).and_then(|()| sizes.set_send_buffer_size(SOCKET_BYTES));
    set.and_then(|()| socket.set_nonblocking(true)).expect("is set up");
    UdpSocket::from_std(socket).expect("a runtime")
}

fn multiaddr(socket: SocketAddr) -> Multiaddr {
    Multiaddr::from(socket.ip()).with(Protocol::Udp(socket.port())).with(Protocol::QuicV1)
}

/// The socket that an address means.
pub(crate) fn socket_addr(addr: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = addr.iter();
    match (parts.next(), parts.next()) {
        (Some(Protocol::Ip4(ip)), Some(Protocol::Udp(port))) => Some((ip, port).into()),
        _ => None,
    }
}
