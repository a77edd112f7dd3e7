//! A relay of datagrams between a node and a server, which counts them: what a node received, to the byte, whatever its
//! transport says.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use carrick_core::{Multiaddr, PeerAddr, Protocol};
use socket2::{Domain, Protocol as Udp, Socket, Type};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::Result;

const SOCKET_BUFFER: usize = 4 << 20;
/// The largest datagram.
const LARGEST: usize = 64 << 10;

/// A relay to a server; it ends when it is dropped.
pub(super) struct Relay {
    /// Where the node dials the server.
    pub(super) addr: PeerAddr,
    counts: Arc<Counts>,
    relaying: JoinHandle<Result<()>>,
}

/// Bytes of datagrams, without their headers.
#[derive(Debug, Default)]
struct Counts {
    to_node: AtomicU64,
    to_server: AtomicU64,
}

impl Relay {
    /// Stands between one node and a server.
    pub(super) fn to(server: &PeerAddr) -> Result<Self> {
        let dialled = server.addrs.first().ok_or("the server has no address")?;
        let port = dialled.iter().find_map(|part| match part {
            Protocol::Udp(port) => Some(port),
            _ => None,
        });
        let there = SocketAddr::from((Ipv4Addr::LOCALHOST, port.ok_or("the server has no port")?));
        let [front, back] = [socket()?, socket()?];
        let here = front.local_addr()?.port();
        let swapped: Multiaddr = dialled
            .iter()
            .map(|part| match part {
                Protocol::Udp(_) => Protocol::Udp(here),
                part => part,
            })
            .collect();
        let addr = PeerAddr { addrs: vec![swapped], ..server.clone() };
        let counts = Arc::<Counts>::default();
        let relaying = tokio::spawn(relay(front, back, there, Arc::clone(&counts)));
        Ok(Self { addr, counts, relaying })
    }

    /// Bytes that the node received, and bytes that it sent.
    pub(super) fn bytes(&self) -> (u64, u64) {
        let Counts { to_node, to_server } = &*self.counts;
        (to_node.load(Ordering::Relaxed), to_server.load(Ordering::Relaxed))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.relaying.abort();
    }
}

async fn relay(front: UdpSocket, back: UdpSocket, server: SocketAddr, counts: Arc<Counts>) -> Result<()> {
    let (mut from_node, mut from_server) = (vec![0; LARGEST], vec![0; LARGEST]);
    let mut node = None;
    loop {
        tokio::select! {
            came = front.recv_from(&mut from_node) => {
                let (length, from) = came?;
                node = Some(from);
                counts.to_server.fetch_add(length as u64, Ordering::Relaxed);
                back.send_to(&from_node[..length], server).await?;
            }
            came = back.recv_from(&mut from_server) => {
                let (length, _) = came?;
                let Some(node) = node else { continue };
                counts.to_node.fetch_add(length as u64, Ordering::Relaxed);
                front.send_to(&from_server[..length], node).await?;
            }
        }
    }
}

fn socket() -> Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Udp::UDP))?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    Ok(UdpSocket::from_std(socket.into())?)
}
