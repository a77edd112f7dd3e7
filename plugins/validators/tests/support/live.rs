//! A transport that brings what the test gives it, from a new stranger each time, and nothing else.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use carrick_core::{
    Broadcast, BroadcastCaps, Bytes, Capabilities, ErrorKind, Fetch, Host, Identity, Inbound, Multiaddr,
    NodeBuilder, Outgoing, PeerAddr, PeerInfo, Receipt, Relay, Remote, Result, Topic, Transport, async_trait,
};

/// The test's end of it.
#[derive(Clone, Default)]
pub(crate) struct Live {
    host: Arc<OnceLock<Host>>,
    strangers: Arc<AtomicU64>,
}

impl Live {
    pub(crate) fn mount(&self, builder: NodeBuilder) -> NodeBuilder {
        let host = Arc::clone(&self.host);
        builder.mount("live", move |given| async move { Ok(Opened(host.get_or_init(|| given).clone())) })
    }

    /// Lets a message come, and waits for the answer. A stranger that was blamed before would not be heard.
    pub(crate) async fn bring(&self, topic: &Topic, bytes: Bytes) -> Relay {
        let stranger = self.strangers.fetch_add(1, Ordering::Relaxed);
        let from = Remote::Foreign(format!("stranger-{stranger}").into());
        let slot = self.host.get().expect("it is open").try_slot(&from).expect("there is room in the gate");
        super::within(slot.deliver(Inbound { from, topic: topic.clone(), bytes, wire_id: None })).await
    }
}

struct Opened(Host);

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Live")
    }
}

#[async_trait]
impl Transport for Opened {
    fn capabilities(&self) -> Capabilities {
        let broadcast = BroadcastCaps::new(self.0.limits().envelope_bytes());
        Capabilities::new(Some(broadcast), None, Identity::Peer)
    }

    fn listen_addrs(&self) -> Vec<Multiaddr> {
        vec![]
    }

    async fn dial(&self, peer: &PeerAddr) -> Result<Remote> {
        Err(self.0.fail(ErrorKind::Unreachable, "dial", peer.to_string()))
    }

    async fn disconnect(&self, _: &Remote) -> Result<()> {
        Ok(())
    }

    async fn peers(&self) -> Result<Vec<PeerInfo>> {
        Ok(vec![])
    }

    fn broadcast(&self) -> Option<&dyn Broadcast> {
        Some(self)
    }

    fn fetch(&self) -> Option<&dyn Fetch> {
        None
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Broadcast for Opened {
    async fn join(&self, _: &Topic) -> Result<()> {
        Ok(())
    }

    async fn leave(&self, _: &Topic) -> Result<()> {
        Ok(())
    }

    async fn publish(&self, _: &Outgoing) -> Result<Receipt> {
        Ok(Receipt::counted(0, vec![]))
    }

    async fn topic_peers(&self, _: &Topic) -> Result<Vec<Remote>> {
        Ok(vec![])
    }
}
