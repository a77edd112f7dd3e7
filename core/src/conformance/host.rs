//! A node for the sake of its host: to try what a transport is made of without the transport.

use tokio::sync::oneshot;

use crate::{
    Broadcast, Capabilities, Error, ErrorKind, Fetch, Host, Identity, Multiaddr, Node, NodeBuilder, PeerAddr,
    PeerInfo, Remote, Result, Transport, async_trait,
};

/// Opens a node whose only transport, `instance`, carries nothing, and hands out the host of that transport.
///
/// # Panics
/// When the node does not open.
pub async fn alone(builder: NodeBuilder, instance: &str) -> (Node, Host) {
    let (give, host) = oneshot::channel();
    let mount = |host: Host| async move {
        give.send(host).expect("it is waited for");
        Ok(Nothing)
    };
    let node = builder.mount(instance, mount).open().await.expect("opens");
    (node, host.await.expect("mounted"))
}

/// A transport that carries nothing.
#[derive(Debug)]
struct Nothing;

#[async_trait]
impl Transport for Nothing {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new(None, None, Identity::Peer)
    }

    fn listen_addrs(&self) -> Vec<Multiaddr> {
        vec![]
    }

    async fn dial(&self, _: &PeerAddr) -> Result<Remote> {
        Err(Error::new(ErrorKind::Unsupported, "dial", "it carries nothing"))
    }

    async fn disconnect(&self, _: &Remote) -> Result<()> {
        Ok(())
    }

    async fn peers(&self) -> Result<Vec<PeerInfo>> {
        Ok(vec![])
    }

    fn broadcast(&self) -> Option<&dyn Broadcast> {
        None
    }

    fn fetch(&self) -> Option<&dyn Fetch> {
        None
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
