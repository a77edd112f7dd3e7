//! The raw peer, as the conformance kit speaks for one.

use std::time::Duration;

use carrick_core::conformance::transport::RawWire;
use carrick_core::links::exchange::AskDag;
use carrick_core::{
    Bytes, Cid, Keypair, NetworkId, PeerAddr, PeerRecord, Result, Topic, WantDag, async_trait,
};
use libp2p::swarm::Stream;

use tokio::time::timeout;

use crate::peer::rpc::{Rpc, named};
use crate::peer::{DAG, GOSSIP, RECORD, Raw, frame};

/// How long a stream may take to open.
const SOON: Duration = Duration::from_millis(200);

/// A peer whose far end took its hello, or one that has not said it.
#[derive(Debug)]
pub(crate) struct Foe {
    raw: Raw,
    /// Held open: its end would be the link's.
    link: Option<Stream>,
    gossip: Option<Stream>,
    network: NetworkId,
    asked: Vec<Stream>,
}

impl Foe {
    /// One that said hello.
    pub(crate) async fn greeted(to: &PeerAddr, network: &NetworkId, key: &Keypair) -> Result<Self> {
        let (raw, link) = Raw::node(to, network, key).await?;
        let gossip = raw.open(GOSSIP).await?;
        let network = network.clone();
        Ok(Self { raw, link: Some(link), gossip: Some(gossip), network, asked: vec![] })
    }

    /// One that does not.
    pub(crate) async fn silent(to: &PeerAddr, key: &Keypair) -> Result<Self> {
        let raw = Raw::silent(to, key).await?;
        let network = NetworkId::new("none").expect("a network");
        Ok(Self { raw, link: None, gossip: None, network, asked: vec![] })
    }

    /// Says it for as long as there is a connection.
    async fn gossip(&mut self, rpc: &Rpc) -> bool {
        if let Some(gossip) = &mut self.gossip {
            self.raw.write(gossip, &rpc.framed()).await;
        }
        true
    }

    fn named(&self, topic: &Topic) -> String {
        named(&self.network, topic.as_str())
    }
}

#[async_trait]
impl RawWire for Foe {
    async fn ended(&mut self) {
        self.raw.ended().await;
    }

    async fn send(&mut self, bytes: &[u8]) -> bool {
        if let Some(link) = &mut self.link {
            self.raw.write(link, bytes).await;
        }
        true
    }

    fn endless(&self) -> Option<Bytes> {
        let mut buffer = unsigned_varint::encode::usize_buffer();
        Some(Bytes::copy_from_slice(unsigned_varint::encode::usize(usize::MAX, &mut buffer)))
    }

    async fn join(&mut self, topic: &Topic) -> bool {
        let rpc = Rpc::subscriptions([self.named(topic)], true);
        self.gossip(&rpc).await
    }

    async fn leave(&mut self, topic: &Topic) -> bool {
        let rpc = Rpc::subscriptions([self.named(topic)], false);
        self.gossip(&rpc).await
    }

    async fn message(&mut self, topic: &Topic, bytes: &[u8]) -> bool {
        let rpc = Rpc::message(&self.raw.key, self.named(topic), bytes);
        self.gossip(&rpc).await
    }

    async fn record(&mut self, record: &PeerRecord) -> bool {
        self.send(&frame(RECORD, record.encoded())).await
    }

    async fn ask(&mut self, cid: &Cid) -> bool {
        // Its own window may be full of what it did not read: then it cannot say more.
        let Ok(Ok(mut stream)) = timeout(SOON, self.raw.open(DAG)).await else { return true };
        let want = WantDag::new(*cid, Duration::from_secs(600));
        self.raw.write(&mut stream, &AskDag::new(&want).encode()).await;
        self.asked.push(stream);
        true
    }
}
