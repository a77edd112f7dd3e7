//! UDP sockets and QUIC endpoints.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use carrick_core::{Error, ErrorKind, Limits, Multiaddr, Result};
use quinn::{Endpoint, EndpointConfig, ServerConfig, TokioRuntime, TransportConfig, VarInt};
use socket2::{Domain, Protocol, Socket, Type};

use super::code;
use crate::QuicConfig;
use crate::address;
use crate::tls::Credentials;
use crate::wire::Reason;

/// Bytes that the kernel may hold for one socket. What is more than it allows is cut by it; the usual 200 KiB
/// lose thousands of packets at full speed.
const SOCKET_BUFFER: usize = 4 << 20;
/// A stream may be so far ahead of its reader. quinn ends a connection whose stream has 1,024 gaps, which a
/// window above 2 MB can hold.
const STREAM_WINDOW: u32 = 1_250_000;
/// Not a byte for so long: the peer is gone.
const IDLE: Duration = Duration::from_secs(30);
/// Keeps connections, and the mappings of NATs, alive. At least twice in `fetch_idle`, so that a way that is dead is known
/// from a peer that is silent.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const MIN_KEEP_ALIVE: Duration = Duration::from_millis(100);

/// Where we listen, and from where we dial.
pub(crate) struct Sockets {
    /// None after closing: a socket is bound as long as there is a handle of its endpoint.
    endpoints: Mutex<Endpoints>,
    known: Mutex<Vec<Multiaddr>>,
    pub(crate) transport: Arc<TransportConfig>,
}

#[derive(Default)]
struct Endpoints {
    listeners: Vec<(Endpoint, SocketAddr)>,
    /// For families in which no listener can dial everywhere; no connection comes in on them.
    diallers: Vec<(Endpoint, SocketAddr)>,
}

impl Endpoints {
    fn all(&self) -> impl Iterator<Item = &(Endpoint, SocketAddr)> {
        self.listeners.iter().chain(&self.diallers)
    }
}

impl fmt::Debug for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.endpoints().listeners.iter().map(|(_, bound)| bound)).finish()
    }
}

impl Sockets {
    /// Binds every address of the configuration.
    pub(crate) fn bind(config: &QuicConfig, limits: &Limits, credentials: &Credentials) -> Result<Self> {
        let transport = Arc::new(transport_config(limits));
        let server = server_config(credentials, limits, transport.clone())?;
        let listen = config.listen.iter().filter_map(address::to_listen);
        let listeners: Vec<_> = listen.map(|addr| listener(addr, server.clone())).collect::<Result<_>>()?;
        let wildcards: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        // A machine without IPv6 is none the worse for it.
        let diallers = wildcards
            .into_iter()
            .filter(|ip| !listeners.iter().any(|(_, bound)| bound.ip() == *ip))
            .filter_map(|ip| endpoint((ip, 0).into(), None).ok())
            .collect();
        let endpoints = Mutex::new(Endpoints { listeners, diallers });
        let sockets = Self { endpoints, known: Mutex::default(), transport };
        sockets.refresh();
        Ok(sockets)
    }

    fn endpoints(&self) -> MutexGuard<'_, Endpoints> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The endpoints that take connections.
    pub(crate) fn listeners(&self) -> Vec<Endpoint> {
        self.endpoints().listeners.iter().map(|(endpoint, _)| endpoint.clone()).collect()
    }

    /// Where others can dial us.
    pub(crate) fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the interfaces again; answers whether the addresses changed.
    pub(crate) fn refresh(&self) -> bool {
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        let ips: Vec<IpAddr> = interfaces.iter().map(|interface| interface.ip()).collect();
        let mut addrs: Vec<Multiaddr> = Vec::new();
        for addr in self.endpoints().listeners.iter().flat_map(|(_, bound)| address::reachable(*bound, &ips))
        {
            if !addrs.contains(&addr) {
                addrs.push(addr);
            }
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *known != addrs;
        *known = addrs;
        changed
    }

    /// The endpoint that can reach an address: of its family, bound to every interface or to one of its kind.
    pub(crate) fn towards(&self, addr: &SocketAddr) -> Option<Endpoint> {
        let reaches = |bound: &SocketAddr| {
            let ip = bound.ip();
            bound.is_ipv4() == addr.is_ipv4()
                && (ip.is_unspecified() || ip.is_loopback() == addr.ip().is_loopback())
        };
        self.endpoints().all().find(|(_, bound)| reaches(bound)).map(|(endpoint, _)| endpoint.clone())
    }

    /// Tells every peer goodbye and takes no more connections.
    pub(crate) fn close(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
        for (endpoint, _) in self.endpoints().all() {
            endpoint.close(code(Reason::Goodbye), Reason::Goodbye.text().as_bytes());
        }
    }

    /// Waits until the goodbyes are out, and lets go of the sockets, however that ends.
    pub(crate) async fn wait_idle(&self) {
        let endpoints = std::mem::take(&mut *self.endpoints());
        let all = endpoints.all().map(|(endpoint, _)| endpoint.wait_idle());
        futures::future::join_all(all).await;
    }
}

/// The window of a connection over which so many DAGs are fetched.
pub(crate) fn connection_window(window: usize, dags: usize) -> VarInt {
    number(window.saturating_add(dags.saturating_mul(STREAM_WINDOW as usize)))
}

fn number(n: usize) -> VarInt {
    VarInt::from_u32(u32::try_from(n).unwrap_or(u32::MAX))
}

fn transport_config(limits: &Limits) -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(number(limits.streams_per_peer))
        // One stream of messages.
        .max_concurrent_uni_streams(VarInt::from_u32(1))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(connection_window(limits.receive_window_bytes, 0))
        // What is written and not acknowledged is kept: as much as the far end's window, and no more.
        .send_window(limits.receive_window_bytes as u64)
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(Some((limits.fetch_idle / 2).clamp(MIN_KEEP_ALIVE, KEEP_ALIVE)))
        .max_idle_timeout(IDLE.try_into().ok());
    config
}

fn server_config(
    credentials: &Credentials,
    limits: &Limits,
    transport: Arc<TransportConfig>,
) -> Result<ServerConfig> {
    let mut config = ServerConfig::with_crypto(Arc::new(credentials.server()?));
    config
        .transport_config(transport)
        .max_incoming(2 * limits.handshakes)
        .incoming_buffer_size(64 << 10)
        .incoming_buffer_size_total(4 << 20);
    Ok(config)
}

fn listener(addr: SocketAddr, server: ServerConfig) -> Result<(Endpoint, SocketAddr)> {
    endpoint(addr, Some(server)).map_err(|source| {
        let wanted = address::of_socket(addr);
        let error = |why: &str| Error::new(ErrorKind::Config, "open", format!("{wanted} {why}"));
        let error = match source.kind() {
            io::ErrorKind::AddrInUse => error("is in use by another program")
                .mend("stop that program, or set another port in `listen`; 0 takes a free one"),
            io::ErrorKind::AddrNotAvailable => error("is no address of this machine")
                .mend("set `listen` to an address of this machine, or to /ip4/0.0.0.0/… for all of them"),
            io::ErrorKind::PermissionDenied => {
                error("may not be used by this user").mend("set a port of 1024 or above in `listen`")
            }
            _ => error(&format!("cannot be listened on: {source}")),
        };
        error.from_source(source)
    })
}

fn endpoint(addr: SocketAddr, server: Option<ServerConfig>) -> io::Result<(Endpoint, SocketAddr)> {
    let socket = socket(addr)?;
    let bound = socket.local_addr()?;
    let endpoint = Endpoint::new(EndpointConfig::default(), server, socket, Arc::new(TokioRuntime))?;
    Ok((endpoint, bound))
}

fn socket(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        // So that /ip4/0.0.0.0 and /ip6/:: can share a port, each in an endpoint of its own.
        socket.set_only_v6(true)?;
    }
    // Best effort: the kernel has a limit of its own.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.bind(&addr.into())?;
    Ok(socket.into())
}
