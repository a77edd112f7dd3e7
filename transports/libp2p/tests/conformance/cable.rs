//! A cable between nodes that can be torn: before each of them stands a relay, at whose address the others dial it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};

use carrick_core::conformance::transport::Wrapper;
use carrick_core::{Multiaddr, Protocol, Tap, Transport};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{self, Runtime};
use tokio_util::sync::CancellationToken;

/// Theirs alone: in that of a case their tasks would be taken for what its nodes left behind.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let threads = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    threads.expect("a thread for relays")
});

/// Hides a node behind an address that passes everything on to it.
#[derive(Debug)]
pub(crate) struct Relay {
    ended: CancellationToken,
    front: SocketAddr,
    /// Where the node itself listens, once it does.
    back: OnceLock<SocketAddr>,
    /// Cancelled where the cable is torn, by where the dialler did it from.
    flows: Mutex<Vec<(SocketAddr, CancellationToken)>>,
}

impl Relay {
    /// A relay to a node that is about to be opened. It works until it is told that it ended.
    pub(crate) fn new(ended: CancellationToken) -> Arc<Self> {
        let _here = RUNTIME.enter();
        let front = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
        front.set_nonblocking(true).expect("is set up");
        let front = TcpListener::from_std(front).expect("a runtime");
        let (back, flows) = Default::default();
        let addr = front.local_addr().expect("bound");
        let relay = Arc::new(Self { ended, front: addr, back, flows });
        relay.spawn(relay.clone().accept(front));
        relay
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let ended = self.ended.clone();
        RUNTIME.spawn(async move { ended.run_until_cancelled(task).await });
    }

    /// Where others dial the node.
    pub(crate) fn addr(&self) -> Multiaddr {
        multiaddr(self.front)
    }

    /// Where the node is to listen: where it did in an earlier life, if it had one.
    pub(crate) fn behind(&self) -> Multiaddr {
        multiaddr(self.back.get().copied().unwrap_or((Ipv4Addr::LOCALHOST, 0).into()))
    }

    /// From now on nothing passes between a node that dialled this one and this one, on the connections there are. Answers
    /// whether there were any.
    pub(crate) fn tear(&self, dialler: &Self) -> bool {
        // A node dials from the port that it listens on.
        let Some(from) = dialler.back.get() else { return false };
        let mut flows = self.flows();
        let torn = flows.extract_if(.., |(addr, _)| addr == from).map(|(_, torn)| torn.cancel()).count();
        torn > 0
    }

    fn flows(&self) -> MutexGuard<'_, Vec<(SocketAddr, CancellationToken)>> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn accept(self: Arc<Self>, front: TcpListener) {
        loop {
            let Ok((near, from)) = front.accept().await else { continue };
            let Some(back) = self.back.get() else { continue };
            // A node that is gone refuses, as it would without a relay.
            let Ok(far) = TcpStream::connect(back).await else { continue };
            let torn = CancellationToken::new();
            self.flows().push((from, torn.clone()));
            let _ = near.set_nodelay(true).and_then(|()| far.set_nodelay(true));
            let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
            self.spawn(pass_on(from_near, to_far, torn.clone()));
            self.spawn(pass_on(from_far, to_near, torn));
        }
    }
}

/// Passes on what comes until one end closes, or the cable is torn: then both ends find it as it was, and silent.
async fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, torn: CancellationToken) {
    let passing = async {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(length @ 1..) = from.read(&mut bytes).await {
            if to.write_all(&bytes[..length]).await.is_err() {
                return;
            }
        }
    };
    if torn.run_until_cancelled(passing).await.is_none() {
        std::future::pending::<()>().await;
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

fn multiaddr(addr: SocketAddr) -> Multiaddr {
    Multiaddr::from(addr.ip()).with(Protocol::Tcp(addr.port()))
}

fn socket_addr(addr: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = addr.iter();
    match (parts.next()?, parts.next()?) {
        (Protocol::Ip4(ip), Protocol::Tcp(port)) => Some((ip, port).into()),
        _ => None,
    }
}
