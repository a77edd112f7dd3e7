//! One run: what is done to a network, drawn from a seed.

use std::collections::BTreeSet;
use std::time::Duration;

use carrick::{Block, MessageId, PeerId, RAW, Result, SignatureMemo, Topic};
use carrick_transport_memory::{Conditions, MemoryNetwork};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::sleep;

use crate::flaw::Flaw;
use crate::member::{Member, log, news};
use crate::trace::Trace;
use crate::{check, setting};

/// How large a run is.
pub(crate) struct Plan {
    /// How many nodes.
    pub(crate) nodes: u64,
    /// How many of them write; the others only read, and may lose what they stored.
    pub(crate) writers: u64,
    /// How many things are done to them, one after the other.
    pub(crate) steps: u32,
    /// What is wrong with it.
    pub(crate) flaw: Option<Flaw>,
    /// Whether the nodes share which signatures held.
    pub(crate) memo: Option<SignatureMemo>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { nodes: 20, writers: 14, steps: 120, flaw: None, memo: None }
    }
}

impl Plan {
    /// The default, or as large as the environment says.
    pub(crate) fn chosen() -> Self {
        let default = Self::default();
        setting::nodes().map_or(default, |nodes| Self { nodes, writers: nodes * 7 / 10, ..Self::default() })
    }

    /// A short run of a few nodes.
    pub(crate) fn small(flaw: Option<Flaw>) -> Self {
        Self { nodes: 8, writers: 5, steps: 60, flaw, memo: None }
    }
}

/// A network in the middle of a run.
pub(crate) struct World {
    pub(crate) wire: MemoryNetwork,
    pub(crate) members: Vec<Member>,
    pub(crate) trace: Trace,
    /// The messages of the log that an honest node was told are published.
    pub(crate) acknowledged: BTreeSet<MessageId>,
    /// The messages that must not be accepted.
    pub(crate) bad: BTreeSet<MessageId>,
    /// How many blocks each member should have that were put there.
    pub(crate) put: Vec<usize>,
    /// The last news, and whose they are.
    pub(crate) told: Vec<(usize, MessageId)>,
    seed: u64,
    rng: StdRng,
    said: u32,
}

/// Runs a plan and checks what came of it. Answers the hash of everything that was seen.
///
/// # Panics
/// When a promise is broken.
pub(crate) async fn run(plan: &Plan, seed: u64) -> String {
    let mut world = World::begin(plan, seed).await;
    for _ in 0..plan.steps {
        world.step(plan).await;
    }
    world.restart_all().await;
    for at in 0..world.members.len() {
        world.put(at).await;
    }
    if let Some(flaw) = plan.flaw {
        flaw.spoil(&mut world);
    }
    world.calm(plan).await;
    world.tell_news(plan).await;
    check::all(&mut world).await;
    world.end().await;
    world.trace.hash()
}

impl World {
    async fn begin(plan: &Plan, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let wire = MemoryNetwork::new(seed);
        let mut members = Vec::new();
        for at in 1..=plan.nodes {
            // Whoever came before, two of them: so all are linked, over several ways.
            let before: Vec<u64> = (1..at).collect();
            let bootstrap: Vec<u64> = before.choose_multiple(&mut rng, 2).copied().collect();
            let mut member = Member::new(at, seed, plan, &bootstrap);
            member.start(&wire, seed).await;
            members.push(member);
        }
        let (trace, acknowledged, bad) = (Trace::begin(), BTreeSet::new(), BTreeSet::new());
        let (put, told) = (vec![0; members.len()], vec![]);
        let mut world = Self { wire, members, trace, acknowledged, bad, put, told, seed, rng, said: 0 };
        world.wait(Duration::from_secs(5)).await;
        world
    }

    /// Does one thing, and lets time pass.
    async fn step(&mut self, plan: &Plan) {
        match self.rng.random_range(0..100) {
            0..55 => self.publish(plan).await,
            55..65 => {
                if let Some(at) = self.pick(|member| member.node().is_some()) {
                    self.put(at).await;
                }
            }
            65..75 => self.fetch().await,
            75..82 => self.conditions(),
            82..87 => self.partition(),
            87..91 => self.wire.heal(),
            91..94 => self.crash(plan).await,
            94..98 => self.restart().await,
            _ => self.turn_clock(),
        }
        let pause = Duration::from_millis(self.rng.random_range(0..400));
        self.wait(pause).await;
    }

    /// Lets time pass and writes down what is heard meanwhile, and what happens to each.
    pub(crate) async fn wait(&mut self, time: Duration) {
        sleep(time).await;
        for member in &mut self.members {
            for message in member.hear() {
                self.trace.note((member.at, message.id()));
            }
            for event in member.events() {
                self.trace.note((member.at, event));
            }
        }
    }

    fn honest(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|at| self.members[*at].honest).collect()
    }

    fn pick(&mut self, from: impl Fn(&Member) -> bool) -> Option<usize> {
        let some: Vec<usize> = (0..self.members.len()).filter(|at| from(&self.members[*at])).collect();
        some.choose(&mut self.rng).copied()
    }

    /// A writer says something, three in four times on the log. The dishonest one says only bad things.
    async fn publish(&mut self, plan: &Plan) {
        let writers = plan.writers;
        let writes = |member: &Member| member.node().is_some() && (member.at <= writers || !member.honest);
        let Some(at) = self.pick(writes) else { return };
        let topic = if self.rng.random_bool(0.75) { log() } else { news() };
        self.said += 1;
        let how = if self.members[at].honest { "good" } else { "bad" };
        let payload = format!("{how} {}", self.said);
        let said = self.say(at, &topic, payload).await;
        self.trace.note(said.map_err(|error| error.to_string()));
    }

    async fn say(&mut self, at: usize, topic: &Topic, payload: String) -> Result<MessageId> {
        let member = &mut self.members[at];
        let id = member.say(topic, payload).await?;
        if !member.honest {
            self.bad.insert(id);
        } else if *topic == log() {
            self.acknowledged.insert(id);
        }
        Ok(id)
    }

    async fn put(&mut self, at: usize) {
        let size = self.rng.random_range(0..50_000);
        let mut content = vec![0; size];
        self.rng.fill(&mut content[..]);
        let block = Block::new(RAW, content);
        let member = &mut self.members[at];
        let node = member.node().expect("it is up");
        node.put_blocks(std::slice::from_ref(&block)).await.expect("there is room");
        member.put.push(block);
        self.put[at] += 1;
    }

    /// Asks for something that was put somewhere. It may be out of reach; if it comes it is right.
    async fn fetch(&mut self) {
        let put: Vec<Block> = self.members.iter().flat_map(|member| member.put.iter().cloned()).collect();
        let (Some(at), Some(block)) =
            (self.pick(|member| member.node().is_some()), put.choose(&mut self.rng))
        else {
            return;
        };
        if let Some(node) = self.members[at].node() {
            match tokio::time::timeout(Duration::from_secs(2), node.block(block.cid(), vec![])).await {
                Ok(Ok(came)) => assert_eq!(&came, block),
                Ok(Err(error)) => self.trace.note(error.kind()),
                Err(_) => self.trace.note("late"),
            }
        }
    }

    fn conditions(&mut self) {
        let mut conditions = Conditions::default();
        conditions.delay = Duration::from_millis(self.rng.random_range(0..100));
        conditions.jitter = Duration::from_millis(self.rng.random_range(0..50));
        conditions.loss = self.rng.random_range(0.0..0.3);
        conditions.duplicate = self.rng.random_range(0.0..0.2);
        conditions.reorder = self.rng.random_range(0.0..0.3);
        conditions.bandwidth = self.rng.random_bool(0.5).then(|| self.rng.random_range(10_000..10_000_000));
        self.wire.set_conditions(conditions);
    }

    fn partition(&mut self) {
        let likelihood = self.rng.random_range(0.1..0.6);
        let peers = self.members.iter().map(Member::peer);
        let side: Vec<PeerId> = peers.filter(|_| self.rng.random_bool(likelihood)).collect();
        self.wire.partition(&[&side]);
    }

    async fn crash(&mut self, plan: &Plan) {
        let Some(at) = self.pick(|member| member.node().is_some()) else { return };
        // Who wrote must remember it: what it signed next would follow nothing else.
        let with_store = self.members[at].at <= plan.writers || self.rng.random_bool(0.5);
        self.trace.note(("crash", at, with_store, self.members[at].counters().await));
        self.members[at].crash(with_store);
        if !with_store {
            self.put[at] = 0;
        }
    }

    async fn restart(&mut self) {
        let Some(at) = self.pick(|member| member.node().is_none()) else { return };
        self.members[at].start(&self.wire, self.seed).await;
        self.trace.note(("restart", at));
    }

    async fn restart_all(&mut self) {
        for member in self.members.iter_mut().filter(|member| member.node().is_none()) {
            member.start(&self.wire, self.seed).await;
        }
    }

    fn turn_clock(&mut self) {
        let Some(at) = self.pick(|_| true) else { return };
        let off = self.rng.random_range(-50_000..50_000);
        self.members[at].clock.set_off(off);
    }

    /// The network is well again, all nodes are up and find each other; each says a last word on the log.
    async fn calm(&mut self, plan: &Plan) {
        if plan.flaw != Some(Flaw::Parted) {
            self.wire.heal();
        }
        self.wire.set_conditions(Conditions::default());
        self.members.iter().for_each(|member| member.clock.set_off(0));
        self.wait(Duration::from_secs(120)).await;
        for round in 0..2 {
            for at in self.honest() {
                self.say(at, &log(), format!("good last word {round} of {at}")).await.expect("publishes");
            }
            self.wait(Duration::from_secs(60)).await;
        }
    }

    /// Each tells news: where nothing is lost, every subscriber hears it.
    async fn tell_news(&mut self, plan: &Plan) {
        if plan.flaw == Some(Flaw::Lossy) {
            let mut conditions = Conditions::default();
            conditions.loss = 0.9;
            self.wire.set_conditions(conditions);
        }
        for at in self.honest() {
            let id = self.say(at, &news(), format!("good news of {at}")).await.expect("publishes");
            self.told.push((at, id));
        }
        self.wait(Duration::from_secs(10)).await;
    }

    async fn end(&mut self) {
        for member in &mut self.members {
            self.trace.note((member.at, member.counters().await));
            member.close().await;
        }
        self.members.clear();
        check::nothing_is_left().await;
    }
}
