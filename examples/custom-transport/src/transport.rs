//! The contract, implemented: a socket that listens, and the hub of its links.

use std::sync::Arc;
use std::time::Duration;

use carrick_core::links::Hub;
use carrick_core::{
    Broadcast, BroadcastCaps, Capabilities, Discovery, Error, ErrorKind, Fetch, FetchCaps, Host, Identity,
    Multiaddr, Notice, PeerAddr, PeerInfo, Remote, Result, Serving, Transport, async_trait,
};

use crate::TcpConfig;
use crate::config::multiaddr;
use crate::connect::{accept, socket};
use crate::wire::Streams;

/// How long `close` waits for what is queued and for its goodbyes to leave.
const FAREWELL: Duration = Duration::from_secs(1);
/// Connections that wait in the kernel to be taken.
const BACKLOG: u32 = 1_024;

/// Messages and blocks over plain TCP.
#[derive(Debug)]
pub struct Tcp {
    hub: Arc<Hub<Streams>>,
    listen: Multiaddr,
}

impl Tcp {
    /// Listens, and begins to dial the bootstrap peers.
    ///
    /// # Errors
    /// `Config` for a value out of range, or an address that is in use or not of this machine.
    pub async fn open(config: TcpConfig, host: Host) -> Result<Self> {
        let failed = |error: Error| error.on(host.instance().to_owned());
        let addr = config.check().map_err(failed)?;
        let bound = socket(addr, host.limits()).and_then(|socket| {
            socket.set_reuseaddr(true)?;
            socket.bind(addr)?;
            let listener = socket.listen(BACKLOG)?;
            Ok((multiaddr(listener.local_addr()?), listener))
        });
        let (listen, listener) = bound.map_err(|source| {
            let error = Error::new(ErrorKind::Config, "open", format!("cannot listen on {addr}: {source}"));
            failed(error.mend("choose another `listen`, or port 0 for a free one").from_source(source))
        })?;
        let hub = Hub::new(host);
        hub.host().notice(Notice::Listening(vec![listen.clone()]));
        hub.spawn(accept(hub.clone(), listener));
        for peer in config.bootstrap {
            hub.spawn(hub.clone().keep(peer));
        }
        Ok(Self { hub, listen })
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        self.hub.shut_down();
    }
}

#[async_trait]
impl Transport for Tcp {
    fn capabilities(&self) -> Capabilities {
        let limits = self.hub.host().limits();
        let broadcast = BroadcastCaps::new(limits.envelope_bytes());
        let fetch = FetchCaps::new(limits.block_bytes, Serving::FromHost, Discovery::Neighbours);
        Capabilities::new(Some(broadcast), Some(fetch), Identity::Peer)
    }

    fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.hub.open("listen_addrs").map(|()| self.listen.clone()).into_iter().collect()
    }

    async fn dial(&self, peer: &PeerAddr) -> Result<Remote> {
        self.hub.dial(peer).await
    }

    async fn disconnect(&self, peer: &Remote) -> Result<()> {
        self.hub.disconnect(peer)
    }

    async fn peers(&self) -> Result<Vec<PeerInfo>> {
        self.hub.open("peers").map(|()| self.hub.peers())
    }

    fn broadcast(&self) -> Option<&dyn Broadcast> {
        Some(&*self.hub)
    }

    fn fetch(&self) -> Option<&dyn Fetch> {
        Some(&*self.hub)
    }

    async fn close(&self) -> Result<()> {
        self.hub.close(FAREWELL).await;
        Ok(())
    }
}
