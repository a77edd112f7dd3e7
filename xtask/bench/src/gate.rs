//! New messages through the gate, against their cryptography alone, on one thread.
//!
//! The baseline is strict: it does only what the gate does too, and as well as it can be done: the author's key is decoded
//! once, buffers are used again. On the gate's side a validator is asked, which accepts everything. What counts is the CPU
//! time of the one thread, which never waits: so other load does not show.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use carrick_core::{
    Block, Broadcast, BroadcastCaps, Capabilities, Context, Fetch, Host, Identity, Inbound, MessageId,
    Multiaddr, NetworkId, Node, Outgoing, PeerAddr, PeerId, PeerInfo, Receipt, Relay, Remote, Subscription,
    Topic, Transport, Validator, Verdict,
};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use libp2p_identity::Keypair;

use crate::Result;
use crate::envelope::Checker;
use crate::table::{Good, Row};

const PAYLOAD: usize = 256;
/// Messages of one pair.
const BATCH: usize = 4_000;
/// Messages of one turn: so few that a processor which slows down slows both sides.
const TURN: usize = 200;
/// Deliveries at once; the gate has room for 64 of one remote.
const AT_ONCE: usize = 32;

/// All pairs, each in many short turns, after one that does not count.
pub(crate) fn run(pairs: u32) -> Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let topic = Topic::new("bench")?;
        let (author, batches) = write_messages(&topic, pairs as usize + 1).await?;
        let mut with_one = Gate::open(&topic, 1).await?;
        let mut with_four = Gate::open(&topic, 4).await?;
        let (mut of_alone, mut of_one) = (Vec::new(), Vec::new());
        let mut rates = [0.0; 3];
        for (pair, batch) in batches.iter().enumerate() {
            let mut spent = [0.0; 3];
            for (turn, part) in batch.chunks(TURN).enumerate() {
                for side in (0..3).map(|side| (side + pair + turn) % 3) {
                    spent[side] += match side {
                        0 => check_alone(part, &author)?,
                        1 => with_one.pass(&topic, part).await?,
                        _ => with_four.pass(&topic, part).await?,
                    };
                }
            }
            if pair > 0 {
                of_alone.push(spent[0] / spent[1]);
                of_one.push(spent[1] / spent[2]);
                rates = spent.map(|seconds| batch.len() as f64 / seconds);
            }
        }
        with_one.node.close().await?;
        with_four.node.close().await?;
        Ok(rows(&of_alone, &of_one, rates))
    })
}

fn rows(of_alone: &[f64], of_one: &[f64], [alone, one, four]: [f64; 3]) -> Vec<Row> {
    let what = "gate, of signature, hash and decoding alone";
    let detail = format!("in the last pair {one:.0} messages a second, the cryptography alone {alone:.0}");
    let gate = Row::new(what, "×", of_alone, Good::AtLeast, 0.70, 0.90).detail(detail);
    let detail = format!("in the last pair {four:.0} messages a second, with one validator {one:.0}");
    let validators =
        Row::new("gate with 4 validators, of it with one", "×", of_one, Good::AtLeast, 0.90, 0.97);
    vec![gate, validators.detail(detail)]
}

/// A node with validators that cost nothing themselves, and a subscriber that reads.
struct Gate {
    node: Node,
    host: Host,
    reading: Subscription,
}

impl Gate {
    async fn open(topic: &Topic, validators: usize) -> Result<Self> {
        let (give, take) = tokio::sync::oneshot::channel();
        let mut builder = Node::builder().network(network()?);
        for _ in 0..validators {
            builder = builder.validator(Arc::new(AcceptAll));
        }
        let opening = builder.mount("gate", move |host| async move {
            // The receiver waits below.
            let _ = give.send(host);
            Ok(Wire::default())
        });
        let node = opening.open().await?;
        let reading = node.subscribe(topic).await?;
        Ok(Self { node, host: take.await?, reading })
    }

    /// Seconds of work for messages through it.
    async fn pass(&mut self, topic: &Topic, batch: &[Bytes]) -> Result<f64> {
        let from = Remote::Peer(Keypair::generate_ed25519().public().to_peer_id());
        let start = cpu_seconds();
        let mut waiting = FuturesUnordered::new();
        let mut accepted = 0;
        for bytes in batch {
            let slot = self.host.slot(&from).await;
            let inbound =
                Inbound { from: from.clone(), topic: topic.clone(), bytes: bytes.clone(), wire_id: None };
            waiting.push(slot.deliver(inbound));
            while waiting.len() >= AT_ONCE {
                accepted += usize::from(waiting.next().await == Some(Relay::Accept));
                let _ = self.reading.next().await;
            }
        }
        while let Some(relay) = waiting.next().await {
            accepted += usize::from(relay == Relay::Accept);
            let _ = self.reading.next().await;
        }
        if accepted != batch.len() {
            return Err(
                format!("{accepted} of {} messages were accepted; the run is void", batch.len()).into()
            );
        }
        Ok(cpu_seconds() - start)
    }
}

/// Seconds of work without a gate.
fn check_alone(batch: &[Bytes], author: &PeerId) -> Result<f64> {
    let mut checker = Checker::of(author)?;
    let start = cpu_seconds();
    for bytes in batch {
        std::hint::black_box(MessageId::of(bytes));
        checker.check(bytes)?;
    }
    Ok(cpu_seconds() - start)
}

/// What this thread has worked so far.
pub(crate) fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Batches of messages as another node publishes them, and that node.
async fn write_messages(topic: &Topic, batches: usize) -> Result<(PeerId, Vec<Vec<Bytes>>)> {
    let wire = Wire::default();
    let sent = Arc::clone(&wire.sent);
    let node = Node::builder().network(network()?).mount("wire", move |_| async { Ok(wire) }).open().await?;
    for n in 0..batches * BATCH {
        let mut payload = vec![0; PAYLOAD];
        payload[..8].copy_from_slice(&(n as u64).to_be_bytes());
        node.publish(topic, payload).await?;
    }
    let author = node.peer_id();
    node.close().await?;
    let sent = std::mem::take(&mut *sent.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((author, sent.chunks(BATCH).map(<[Bytes]>::to_vec).collect()))
}

fn network() -> Result<NetworkId> {
    Ok(NetworkId::new("bench")?)
}

/// A validator that costs nothing itself.
#[derive(Debug)]
struct AcceptAll;

#[async_trait]
impl Validator for AcceptAll {
    async fn message(&self, _: &Context<'_>, _: &carrick_core::Message) -> Verdict {
        Verdict::Accept
    }

    async fn block(&self, _: &Context<'_>, _: &Block) -> Verdict {
        Verdict::Accept
    }

    async fn accepted(&self, _: &Context<'_>, _: &carrick_core::Message) -> carrick_core::Result<()> {
        Ok(())
    }
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
