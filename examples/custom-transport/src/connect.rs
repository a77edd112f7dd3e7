//! Connections: those that others open, and those that we open.

use std::net::SocketAddr;
use std::sync::Arc;

use carrick_core::links::{Dials, Hub, Reason, Refusal};
use carrick_core::{Limits, Multiaddr, PeerId, async_trait};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::config;
use crate::hello::{Connection, hello};
use crate::link::run;
use crate::wire::Streams;

/// Takes connections until the transport closes: as many at once as may shake hands. More wait in the kernel.
pub(crate) async fn accept(hub: Arc<Hub<Streams>>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(hub.host().limits().handshakes));
    while let Ok(place) = places.clone().acquire_owned().await
        && let Some(accepted) = hub.closing().run_until_cancelled(listener.accept()).await
    {
        let Ok((stream, from)) = accepted else {
            // No file descriptor is free, for example.
            sleep(hub.host().backoff(0)).await;
            continue;
        };
        let of = hub.clone();
        hub.spawn(async move {
            let handshake = timeout(of.host().limits().handshake, welcome(&of, stream, from));
            if !matches!(of.closing().run_until_cancelled(handshake).await, Some(Ok(Ok(())))) {
                of.host().count("handshakes_failed", 1);
            }
            drop(place);
        });
    }
}

/// Takes a connection that another one opened, or says why not.
async fn welcome(hub: &Arc<Hub<Streams>>, stream: TcpStream, from: SocketAddr) -> Result<(), Reason> {
    let mut connection = Connection::new(hub.host(), stream, false).await?;
    let greeted = connection.greeted(hub.host(), from).await;
    let admitted = if hub.host().admits(&connection.peer) { greeted } else { Err(Reason::NotAdmitted) };
    let streams = connection.streams();
    match admitted.and_then(|greeted| hub.enter(streams, greeted, |topics| Some(hello(hub, topics)))) {
        Ok(link) => hub.spawn(run(hub.clone(), link, connection)),
        Err(why) => {
            connection.refuse(why).await;
            return Err(why);
        }
    }
    Ok(())
}

#[async_trait]
impl Dials for Streams {
    type Addr = SocketAddr;
    const EXAMPLE: &str = config::EXAMPLE;

    fn addr(addr: &Multiaddr) -> Option<SocketAddr> {
        config::socket_addr(addr)
    }

    async fn dial(
        hub: &Arc<Hub<Self>>,
        addr: SocketAddr,
        expected: Option<PeerId>,
    ) -> Result<PeerId, Refusal> {
        let stream = socket(addr, hub.host().limits())?.connect(addr).await?;
        let mut connection = Connection::new(hub.host(), stream, true).await?;
        let peer = connection.peer;
        hub.wants(peer, expected)?;
        let greeted = connection.greet(hub, addr).await;
        match greeted.and_then(|greeted| hub.enter(connection.streams(), greeted, |_| None)) {
            Ok(link) => hub.spawn(run(hub.clone(), link, connection)),
            // It dialled us at the same time: that connection is here, or about to be.
            Err(Reason::Duplicate) => drop(hub.until_linked(&peer).await),
            Err(why) => return Err(why.into()),
        }
        Ok(peer)
    }
}

/// A socket in which the kernel keeps no more than the limits allow. Left alone, it keeps megabytes for each link.
pub(crate) fn socket(addr: SocketAddr, limits: &Limits) -> std::io::Result<TcpSocket> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // The kernel doubles what it is told.
    let half = u32::try_from(limits.receive_window_bytes / 2).unwrap_or(u32::MAX);
    socket.set_recv_buffer_size(half)?;
    socket.set_send_buffer_size(half)?;
    Ok(socket)
}
