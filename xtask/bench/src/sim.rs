//! How fast a simulated network runs: a hundred nodes in virtual time, on one thread.
//!
//! Once each node judges each message itself, as it would alone on its machine: nothing is shared. So the signatures,
//! checked a hundred times each, are much of the work; how far they alone would let it go is printed beside it. And once the
//! nodes share a [`SignatureMemo`]. What counts is the CPU time of the one thread, which never waits: virtual time skips
//! what others would wait for.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::Duration;

use carrick_core::{Delivery, NetworkId, Node, SignatureMemo, Subscription, Topic};
use carrick_transport_memory::{Conditions, MemoryConfig, MemoryNetwork};
use futures::{FutureExt as _, StreamExt as _};
use libp2p_identity::Keypair;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngCore as _, SeedableRng as _};
use tokio::time::sleep;

use crate::Result;
use crate::gate::cpu_seconds;
use crate::table::{Good, Row};

const NODES: u64 = 100;
/// Of the whole network, each of another node.
const MESSAGES_A_SECOND: u32 = 10;
const PAYLOAD: usize = 256;
/// Earlier nodes that each is linked with; so a node has six links on average.
const BOOTSTRAP: usize = 3;
/// Simulated seconds of one run.
const SECONDS: u32 = 10;
/// More messages than are on their way at once.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1_000).expect("not zero");

/// All runs, after one that does not count.
pub(crate) fn run(runs: u32) -> Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(async {
        let mut each_itself = Network::open(None).await?;
        let mut with_memo = Network::open(Some(SignatureMemo::new(REMEMBERED))).await?;
        let mut speeds = [const { Vec::new() }; 3];
        for run in 0..=runs {
            let spent = [each_itself.run().await?, with_memo.run().await?, check_signatures()?];
            if run > 0 {
                speeds.iter_mut().zip(spent).for_each(|(all, one)| all.push(f64::from(SECONDS) / one));
            }
        }
        each_itself.close().await?;
        with_memo.close().await?;
        let [each_itself, with_memo, alone] = speeds;
        let alone = format!("the signatures alone would let it go at {:.1}", crate::stats::median(alone));
        let row = |what, speeds: &[f64]| Row::new(what, "×", speeds, Good::AtLeast, 10.0, 50.0);
        Ok(vec![
            row("sim, simulated seconds a second of CPU", &each_itself).detail(alone),
            row("sim, each signature checked once for all", &with_memo),
        ])
    })
}

/// The nodes, each with a subscriber that reads.
struct Network {
    topic: Topic,
    nodes: Vec<Node>,
    reading: Vec<Subscription>,
    said: usize,
    rng: StdRng,
}

impl Network {
    async fn open(memo: Option<SignatureMemo>) -> Result<Self> {
        let wire = MemoryNetwork::new(0);
        let mut conditions = Conditions::default();
        conditions.delay = Duration::from_millis(20);
        conditions.jitter = Duration::from_millis(10);
        wire.set_conditions(conditions);
        let (topic, mut rng) = (Topic::new("bench")?, StdRng::seed_from_u64(0));
        let (mut nodes, mut reading) = (Vec::new(), Vec::new());
        for at in 1..=NODES {
            let before: Vec<u64> = (1..at).collect();
            let mut config = MemoryConfig::default();
            config.listen = format!("/memory/{at}").parse()?;
            for to in before.choose_multiple(&mut rng, BOOTSTRAP) {
                config.bootstrap.push(format!("/memory/{to}").parse()?);
            }
            let mut builder = Node::builder().network(NetworkId::new("bench")?).seed(at);
            if let Some(memo) = &memo {
                builder = builder.signature_memo(memo);
            }
            let node = builder.mount("memory", wire.transport_with(config)).open().await?;
            reading.push(node.subscribe(&topic).await?);
            nodes.push(node);
        }
        // All links come up, and who listens where is told to everybody.
        sleep(Duration::from_secs(60)).await;
        Ok(Self { topic, nodes, reading, said: 0, rng })
    }

    /// Seconds of work for some simulated ones.
    async fn run(&mut self) -> Result<f64> {
        let start = cpu_seconds();
        let mut heard = 0;
        let messages = SECONDS * MESSAGES_A_SECOND;
        for _ in 0..messages {
            let mut payload = vec![0; PAYLOAD];
            self.rng.fill_bytes(&mut payload);
            self.nodes[self.said % self.nodes.len()].publish(&self.topic, payload).await?;
            self.said += 1;
            sleep(Duration::from_secs(1) / MESSAGES_A_SECOND).await;
            heard += self.hear();
        }
        let spent = cpu_seconds() - start;
        // What is on its way yet belongs to no run.
        sleep(Duration::from_secs(1)).await;
        heard += self.hear();
        let expected = messages as usize * (self.nodes.len() - 1);
        if heard != expected {
            return Err(format!("{heard} of {expected} messages were heard; the run is void").into());
        }
        Ok(spent)
    }

    fn hear(&mut self) -> usize {
        let messages = |reader: &mut Subscription| {
            let next = || reader.next().now_or_never().flatten();
            std::iter::from_fn(next).filter(|delivery| matches!(delivery, Delivery::Message(_))).count()
        };
        self.reading.iter_mut().map(messages).sum()
    }

    async fn close(self) -> Result<()> {
        for node in self.nodes {
            node.close().await?;
        }
        Ok(())
    }
}

/// Seconds of work for as many signatures as a run checks.
fn check_signatures() -> Result<f64> {
    let key = Keypair::generate_ed25519();
    let message = [0; PAYLOAD + 128];
    let (signature, public) = (key.sign(&message)?, key.public());
    let start = cpu_seconds();
    for _ in 0..u64::from(SECONDS * MESSAGES_A_SECOND) * (NODES - 1) {
        if !public.verify(black_box(&message), &signature) {
            return Err("the signature does not hold".into());
        }
    }
    Ok(cpu_seconds() - start)
}
