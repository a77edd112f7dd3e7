//! New messages through the gate, against their cryptography alone, on one thread.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use carrick_core::{
    Broadcast, BroadcastCaps, Capabilities, Cid, Fetch, Host, Identity, Inbound, MessageId, Multiaddr,
    NetworkId, Node, Outgoing, PeerAddr, PeerId, PeerInfo, Receipt, Relay, Remote, Topic, Transport,
};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use libp2p_identity::{Keypair, PublicKey};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::table::{Good, Row};

const PAYLOAD: usize = 256;
/// Messages of one run.
const BATCH: usize = 4_000;
/// Deliveries at once; the gate has room for 64 of one remote.
const AT_ONCE: usize = 32;
const DOMAIN: &[u8] = b"carrick/message/1:";

/// All pairs, in the order ABBA, after one run of each that does not count.
pub(crate) fn run(pairs: u32) -> Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let topic = Topic::new("bench")?;
        let batches = write_messages(&topic, pairs as usize + 1).await?;
        let (node, host) = open("gate").await?;
        let mut reading = node.subscribe(&topic).await?;
        let mut ratios = Vec::new();
        let mut rates = (0.0, 0.0);
        for (pair, batch) in batches.iter().enumerate() {
            let (alone, gate);
            if pair % 2 == 0 {
                alone = check_alone(batch)?;
                gate = pass_gate(&host, &topic, batch, &mut reading).await?;
            } else {
                gate = pass_gate(&host, &topic, batch, &mut reading).await?;
                alone = check_alone(batch)?;
            }
            if pair > 0 {
                ratios.push(gate / alone);
                rates = (alone, gate);
            }
        }
        node.close().await?;
        let detail = format!(
            "in the last pair {:.0} messages a second, the cryptography alone {:.0}",
            rates.1, rates.0
        );
        let what = "gate, of signature, hash and decoding alone";
        Ok(vec![Row::new(what, "×", &ratios, Good::AtLeast, 0.70, 0.90).detail(detail)])
    })
}

/// Messages a second through the gate.
async fn pass_gate(
    host: &Host,
    topic: &Topic,
    batch: &[Bytes],
    reading: &mut carrick_core::Subscription,
) -> Result<f64> {
    let from = Remote::Peer(Keypair::generate_ed25519().public().to_peer_id());
    let start = Instant::now();
    let mut waiting = FuturesUnordered::new();
    let mut accepted = 0;
    for bytes in batch {
        let slot = host.slot(&from).await;
        let inbound =
            Inbound { from: from.clone(), topic: topic.clone(), bytes: bytes.clone(), wire_id: None };
        waiting.push(slot.deliver(inbound));
        while waiting.len() >= AT_ONCE {
            accepted += usize::from(waiting.next().await == Some(Relay::Accept));
            let _ = reading.next().await;
        }
    }
    while let Some(relay) = waiting.next().await {
        accepted += usize::from(relay == Relay::Accept);
        let _ = reading.next().await;
    }
    if accepted != batch.len() {
        return Err(format!("{accepted} of {} messages were accepted; the run is void", batch.len()).into());
    }
    Ok(batch.len() as f64 / start.elapsed().as_secs_f64())
}

/// What every message costs whoever checks it: the form, the canonical encoding, the id, the signature.
#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    v: u64,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    sig: Option<&'a serde_bytes::Bytes>,
    time: u64,
    topic: &'a str,
    seqno: u64,
    #[serde(borrow)]
    author: &'a serde_bytes::Bytes,
    network: &'a str,
    parents: Vec<Cid>,
    #[serde(borrow)]
    payload: &'a serde_bytes::Bytes,
}

/// Messages a second without a gate.
fn check_alone(batch: &[Bytes]) -> Result<f64> {
    let start = Instant::now();
    for bytes in batch {
        std::hint::black_box(MessageId::of(bytes));
        let mut envelope: Envelope<'_> = serde_ipld_dagcbor::from_slice(bytes)?;
        if serde_ipld_dagcbor::to_vec(&envelope)? != *bytes {
            return Err("not canonical".into());
        }
        let signature = envelope.sig.take().ok_or("no signature")?;
        let signed = [DOMAIN, &serde_ipld_dagcbor::to_vec(&envelope)?].concat();
        let author = PeerId::from_bytes(envelope.author)?;
        let key = PublicKey::try_decode_protobuf(author.as_ref().digest())?;
        if !key.verify(&signed, signature) {
            return Err("the signature does not hold".into());
        }
    }
    Ok(batch.len() as f64 / start.elapsed().as_secs_f64())
}

/// Batches of messages as another node publishes them.
async fn write_messages(topic: &Topic, batches: usize) -> Result<Vec<Vec<Bytes>>> {
    let wire = Wire::default();
    let sent = Arc::clone(&wire.sent);
    let node = Node::builder().network(network()?).mount("wire", move |_| async { Ok(wire) }).open().await?;
    for n in 0..batches * BATCH {
        let mut payload = vec![0; PAYLOAD];
        payload[..8].copy_from_slice(&(n as u64).to_be_bytes());
        node.publish(topic, payload).await?;
    }
    node.close().await?;
    let sent = std::mem::take(&mut *sent.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(sent.chunks(BATCH).map(<[Bytes]>::to_vec).collect())
}

async fn open(name: &str) -> Result<(Node, Host)> {
    let (give, take) = tokio::sync::oneshot::channel();
    let opening = Node::builder().network(network()?).mount(name, move |host| async move {
        // The receiver waits below.
        let _ = give.send(host);
        Ok(Wire::default())
    });
    let node = opening.open().await?;
    Ok((node, take.await?))
}

fn network() -> Result<NetworkId> {
    Ok(NetworkId::new("bench")?)
}

/// A wire to nobody, which keeps what it was told to send.
#[derive(Debug, Default)]
struct Wire {
    sent: Arc<Mutex<Vec<Bytes>>>,
}

#[async_trait]
impl Transport for Wire {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new(Some(BroadcastCaps::new(1 << 20)), None, Identity::Peer)
    }

    fn listen_addrs(&self) -> Vec<Multiaddr> {
        vec![]
    }

    async fn dial(&self, _: &PeerAddr) -> carrick_core::Result<Remote> {
        Err(carrick_core::Error::new(carrick_core::ErrorKind::Unsupported, "dial", "a wire to nobody"))
    }

    async fn disconnect(&self, _: &Remote) -> carrick_core::Result<()> {
        Ok(())
    }

    async fn peers(&self) -> carrick_core::Result<Vec<PeerInfo>> {
        Ok(vec![])
    }

    fn broadcast(&self) -> Option<&dyn Broadcast> {
        Some(self)
    }

    fn fetch(&self) -> Option<&dyn Fetch> {
        None
    }

    async fn close(&self) -> carrick_core::Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Broadcast for Wire {
    async fn join(&self, _: &Topic) -> carrick_core::Result<()> {
        Ok(())
    }

    async fn leave(&self, _: &Topic) -> carrick_core::Result<()> {
        Ok(())
    }

    async fn publish(&self, message: &Outgoing) -> carrick_core::Result<Receipt> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).push(message.bytes.clone());
        Ok(Receipt::counted(1, vec![]))
    }

    async fn topic_peers(&self, _: &Topic) -> carrick_core::Result<Vec<Remote>> {
        Ok(vec![])
    }
}
