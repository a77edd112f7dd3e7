//! A hundred nodes of a small ledger in one process, on a bad network, in virtual time; one seed, one run.
//!
//! `cargo run --release --example simulated -- 7`. The last line is the hash of all that was heard, and when: the same for
//! the same seed, in every process. `docs/simulation.md` tells how to do this with a ledger of yours.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example speaks to its reader")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use carrick::memory::{Conditions, MemoryConfig, MemoryNetwork};
use carrick::{
    Block, Clock, Context, DAG_CBOR, Delivery, Keypair, MemoryStore, Message, Need, NetworkId, Node,
    PeerAddr, PeerId, RAW, Result, Store, Subscription, Time, Topic, TopicRules, Validator, Verdict,
    async_trait, cid_of,
};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::{Instant, sleep};

const NODES: usize = 100;
/// The first of them write, the others only read.
const WRITERS: usize = 20;

fn main() -> ExitCode {
    let word = std::env::args().nth(1).unwrap_or_else(|| "7".into());
    let Ok(seed) = word.parse() else {
        eprintln!("simulated: the seed is {word:?}; it must be a number from 0 to {}", u64::MAX);
        return ExitCode::from(2);
    };
    // One thread, and a clock that jumps to the next timer when nobody has anything to do.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    match runtime.expect("a runtime").block_on(story(seed)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("simulated: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What happens to them. Answers whether all agree in the end.
async fn story(seed: u64) -> Result<bool> {
    let mut ledger = Ledger::begin(seed).await?;
    ledger.say(&format!("{NODES} nodes, {} links", ledger.links().await?));
    let mut bad = Conditions::default();
    (bad.delay, bad.jitter) = (Duration::from_millis(20), Duration::from_millis(40));
    (bad.loss, bad.duplicate) = (0.1, 0.05);
    ledger.wire.set_conditions(bad);
    ledger.write().await?;
    ledger.say("a tenth of all messages lost, the others 20 to 60 ms late");

    let side: Vec<PeerId> = ledger.seats.iter().step_by(3).map(Seat::peer).collect();
    ledger.wire.partition(&[&side]);
    ledger.write().await?;
    ledger.say(&format!("parted, {} from {}", side.len(), NODES - side.len()));

    // Who writes must remember what it wrote: only readers lose their store.
    ledger.crash(5, 10, true);
    ledger.crash(WRITERS, 10, false);
    ledger.write().await?;
    ledger.say("20 crashed, 10 of them without their store");

    ledger.wire.heal();
    ledger.wire.set_conditions(Conditions::default());
    ledger.start_all().await?;
    // Links come back when bootstrap peers are dialled again, after at most 30 s.
    ledger.wait(60).await;
    ledger.write().await?;
    ledger.say("healed and restarted");

    let (least, most) = ledger.kept().await?;
    let agree = least == most && most.len() == ledger.written;
    match agree {
        true => println!("all {NODES} nodes keep the same {} entries", most.len()),
        false => println!("of {} entries all keep {}, some {}", ledger.written, least.len(), most.len()),
    }
    println!("hash of the run: {}", cid_of(RAW, ledger.trace.as_bytes()));
    Ok(agree)
}

/// The network of a ledger, and what happened on it.
struct Ledger {
    wire: MemoryNetwork,
    seats: Vec<Seat>,
    rng: StdRng,
    began: Instant,
    trace: String,
    written: usize,
    heard: usize,
}

/// A node in all its lives.
struct Seat {
    key: Keypair,
    seed: u64,
    store: Arc<MemoryStore>,
    config: MemoryConfig,
    life: Option<(Node, Subscription)>,
}

impl Ledger {
    /// Opens the nodes; each looks for two of those before it.
    async fn begin(seed: u64) -> Result<Self> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut seats = Vec::new();
        for at in 1..=NODES as u64 {
            let mut config = MemoryConfig::default();
            config.listen = format!("/memory/{at}").parse().expect("an address");
            let before: Vec<u64> = (1..at).collect();
            for other in before.choose_multiple(&mut rng, 2) {
                config.bootstrap.push(format!("/memory/{other}").parse::<PeerAddr>()?);
            }
            let mut secret: [u8; 32] = rng.random();
            let key = Keypair::ed25519_from_bytes(&mut secret).expect("any 32 bytes are a key");
            seats.push(Seat { key, seed: rng.random(), store: Arc::default(), config, life: None });
        }
        let (wire, began) = (MemoryNetwork::new(seed), Instant::now());
        let mut ledger = Self { wire, seats, rng, began, trace: String::new(), written: 0, heard: 0 };
        println!("seed {seed}");
        ledger.start_all().await?;
        ledger.wait(5).await;
        Ok(ledger)
    }

    /// Starts those that are down.
    async fn start_all(&mut self) -> Result<()> {
        for seat in self.seats.iter_mut().filter(|seat| seat.life.is_none()) {
            let clock = Virtual(self.began);
            let node = Node::builder()
                .network(NetworkId::new("simulated")?)
                .identity(seat.key.clone())
                .seed(seat.seed)
                .clock(clock)
                .store(seat.store.clone())
                .validator(Arc::new(Rules))
                .topic(log(), TopicRules::kept())
                .mount("memory", self.wire.transport_with(seat.config.clone()))
                .open()
                .await?;
            let subscription = node.subscribe(&log()).await?;
            seat.life = Some((node, subscription));
        }
        Ok(())
    }

    /// Ends some in the middle of whatever they do.
    fn crash(&mut self, from: usize, count: usize, with_store: bool) {
        for seat in &mut self.seats[from..from + count] {
            seat.life = None;
            if !with_store {
                seat.store = Arc::default();
            }
        }
    }

    /// Every writer that is up adds an entry, one after the other.
    async fn write(&mut self) -> Result<()> {
        for at in 0..WRITERS {
            if let Some((node, _)) = &self.seats[at].life {
                node.publish(&log(), format!("entry {} of {at}", self.written)).await?;
                self.written += 1;
            }
            let pause = self.rng.random_range(0..200);
            sleep(Duration::from_millis(pause)).await;
            self.hear();
        }
        self.wait(10).await;
        Ok(())
    }

    async fn wait(&mut self, seconds: u64) {
        sleep(Duration::from_secs(seconds)).await;
        self.hear();
    }

    /// Writes down what came since it was asked last.
    fn hear(&mut self) {
        let now = self.began.elapsed();
        for (at, seat) in self.seats.iter_mut().enumerate() {
            let Some((_, subscription)) = &mut seat.life else { continue };
            while let Some(Some(delivery)) = subscription.next().now_or_never() {
                if let Delivery::Message(message) = delivery {
                    self.heard += 1;
                    // Writing to a String cannot fail.
                    let _ = writeln!(self.trace, "{now:?} {at} {}", message.id());
                }
            }
        }
    }

    /// What all keep, and what any keeps: the same where they agree.
    async fn kept(&self) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
        let (mut least, mut most) = (None::<BTreeSet<String>>, BTreeSet::new());
        for seat in &self.seats {
            let cids: Vec<_> = seat.store.blocks().try_collect().await?;
            // A message is a block.
            let messages = cids.iter().filter(|cid| cid.codec() == DAG_CBOR);
            let kept: BTreeSet<String> = messages.map(ToString::to_string).collect();
            most.extend(kept.iter().cloned());
            least = Some(least.map_or(kept.clone(), |least| least.intersection(&kept).cloned().collect()));
        }
        Ok((least.unwrap_or_default(), most))
    }

    async fn links(&self) -> Result<usize> {
        let mut ends = 0;
        for (node, _) in self.seats.iter().filter_map(|seat| seat.life.as_ref()) {
            ends += node.peers().await?.len();
        }
        Ok(ends / 2)
    }

    fn say(&self, what: &str) {
        let (time, written, heard) = (self.began.elapsed().as_secs_f64(), self.written, self.heard);
        println!("{time:7.1} s  {what}: {written} entries written, {heard} times heard");
    }
}

impl Seat {
    fn peer(&self) -> PeerId {
        self.key.public().to_peer_id()
    }
}

fn log() -> Topic {
    Topic::new("log").expect("a topic")
}

/// The virtual clock, from a fixed day on.
#[derive(Debug)]
struct Virtual(Instant);

impl Clock for Virtual {
    fn now(&self) -> Time {
        Time(1_700_000_000_000 + self.0.elapsed().as_millis() as u64)
    }
}

/// The rule of the ledger: no entry before the one that it follows, which is fetched if it is missing.
#[derive(Debug)]
struct Rules;

#[async_trait]
impl Validator for Rules {
    async fn message(&self, cx: &Context<'_>, message: &Message) -> Verdict {
        let mut missing = Vec::new();
        for parent in message.parents() {
            match cx.store.has(parent).await {
                Ok(true) => {}
                Ok(false) => missing.push(Need::Message(*parent)),
                Err(error) => return Verdict::Ignore(error.to_string().into()),
            }
        }
        if missing.is_empty() { Verdict::Accept } else { Verdict::Defer(missing) }
    }

    async fn block(&self, _: &Context<'_>, _: &Block) -> Verdict {
        Verdict::Accept
    }

    async fn accepted(&self, _: &Context<'_>, _: &Message) -> Result<()> {
        Ok(())
    }
}
