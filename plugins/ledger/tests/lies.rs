//! What a liar tells of how far it is: heads that nobody serves, histories without end, pages that mislead. It costs the liar, or
//! nobody; everybody else has what there is.

mod hooked;
mod liar;
mod member;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use carrick_core::{
    Block, Cid, DAG_CBOR, Keypair, MemoryStore, Result, Store, Topic, Verdict, async_trait, cid_of,
};
use carrick_transport_memory::{Conditions, MemoryNetwork};
use tokio::time::timeout;

use hooked::{Asked, Hook, Hooked};
use liar::{Attacked, Liar, Told, counted, standing, within};
use member::{Member, agree};

const MINUTE: Duration = Duration::from_secs(60);

/// Entries of a history: more than are fetched for the sake of one message by far.
const DEEP: u64 = 10_000;

/// What nobody has.
fn nowhere(n: u64) -> Cid {
    cid_of(DAG_CBOR, &n.to_be_bytes())
}

/// Has a store say that it has everything, and never get round to reading it.
#[derive(Debug, Default)]
struct Hanging;

#[async_trait]
impl Hook for Hanging {
    async fn before(&self, asked: Asked<'_>) -> Result<()> {
        if let Asked::Get(_) = asked {
            std::future::pending().await
        }
        Ok(())
    }

    fn says_it_has_all(&self) -> bool {
        true
    }
}

/// Has a store take for each block almost as long as is borne.
#[derive(Debug, Default)]
struct Slow;

#[async_trait]
impl Hook for Slow {
    async fn before(&self, asked: Asked<'_>) -> Result<()> {
        if let Asked::Get(_) = asked {
            tokio::time::sleep(Duration::from_secs(9)).await;
        }
        Ok(())
    }
}

/// Two honest nodes that have something to tell each other and no other way than by heads, while the nearer one knows liars.
struct Besieged {
    wire: MemoryNetwork,
    near: Member,
    far: Member,
    liars: Vec<Liar>,
    told: Told,
    /// How many heads they told.
    lies: AtomicU64,
}

impl Besieged {
    async fn by(seed: u64, liars: usize, store: impl Fn() -> Arc<dyn Store>) -> Self {
        let told = Told::listen();
        let wire = MemoryNetwork::new(seed);
        let mut keys: Vec<Keypair> = (0..=liars).map(|_| Keypair::generate_ed25519()).collect();
        // Whatever goes by the peer id favours the liars.
        keys.sort_by_key(|key| key.public().to_peer_id());
        let honest = keys.pop().expect("there is one");
        let near = Member::open(&wire).await;
        let far = Member::with(&wire, honest, Arc::new(MemoryStore::default()), vec![]).await;
        for n in 0..30 {
            far.append(&format!("{n}")).await;
        }
        let mut all = Vec::new();
        for key in keys {
            let liar = Liar::with(&wire, key, store()).await;
            liar.meet(&near).await;
            all.push(liar);
        }
        Self { wire, near, far, liars: all, told, lies: AtomicU64::new(0) }
    }

    /// Each liar tells a head of its own.
    async fn lie(&self, entries: u64, pages: Option<Cid>) {
        self.tell_lies(entries, pages).await;
        self.are_heard(entries).await;
    }

    async fn tell_lies(&self, entries: u64, pages: Option<Cid>) {
        for liar in &self.liars {
            let head = nowhere(self.lies.fetch_add(1, Ordering::Relaxed));
            liar.tells(&[head], entries, pages).await;
        }
    }

    /// Before anybody else is.
    async fn are_heard(&self, entries: u64) {
        let heard = async {
            while self.near.ledger.expected().expect("open") < entries {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        within(heard).await;
    }

    /// Both come to have all entries, within a time.
    async fn comes_together_within(&self, time: Duration) {
        let Self { near, far, .. } = self;
        near.join(far).await;
        let together = timeout(time, async {
            near.until(30).await;
            near.append("of the nearer one").await;
            far.until(31).await;
        });
        assert!(together.await.is_ok(), "{} of 30 after {time:?}", near.ledger.count().expect("open"));
        agree(&[near, far], 31).await;
        assert_eq!(standing(near, &far.node.peer_id()).await, Some(0.0));
        assert_eq!(standing(far, &near.node.peer_id()).await, Some(0.0));
    }
}

#[tokio::test(start_paused = true)]
async fn heads_that_nobody_has_hold_up_nothing_and_nobody_is_blamed() {
    let besieged = Besieged::by(1, 1, || Arc::new(MemoryStore::default())).await;
    besieged.lie(1, None).await;
    besieged.comes_together_within(Duration::from_secs(15)).await;
    assert_eq!(standing(&besieged.near, &besieged.liars[0].peer()).await, Some(0.0));
    assert!(besieged.told.says(&nowhere(0), "an entry could not be fetched"), "{}", besieged.told.lines());
}

#[tokio::test(start_paused = true)]
async fn whoever_tells_heads_and_does_not_answer_is_blamed_and_holds_up_nobody() {
    let besieged = Besieged::by(2, 1, || Arc::new(Hooked::new(Hanging))).await;
    besieged.lie(1, None).await;
    besieged.comes_together_within(Duration::from_secs(15)).await;
    counted(&besieged.near.node, "misdeed_stalled", 1).await;
    let standing = standing(&besieged.near, &besieged.liars[0].peer()).await;
    assert!(standing.is_some_and(|standing| standing < -5.0), "{standing:?}");
}

/// More than are asked at once.
#[tokio::test(start_paused = true)]
async fn many_who_tell_heads_and_do_not_answer_hold_up_nobody() {
    let besieged = Besieged::by(3, 12, || Arc::new(Hooked::new(Hanging))).await;
    besieged.lie(1, None).await;
    besieged.comes_together_within(2 * MINUTE).await;
}

/// A wire that brings no answer is nobody's fault.
#[tokio::test(start_paused = true)]
async fn whoever_tells_heads_over_a_wire_that_stops_then_holds_up_nobody() {
    let besieged = Besieged::by(4, 12, || Arc::new(MemoryStore::default())).await;
    let wire_takes = |delay: Duration| {
        let mut slow = Conditions::default();
        slow.delay = delay;
        for liar in &besieged.liars {
            besieged.wire.set_conditions_between(besieged.near.node.peer_id(), liar.peer(), slow);
        }
    };
    wire_takes(Duration::from_millis(50));
    besieged.tell_lies(1, None).await;
    // They are on their way.
    tokio::time::sleep(Duration::from_millis(10)).await;
    wire_takes(Duration::from_secs(3_600));
    besieged.are_heard(1).await;
    besieged.comes_together_within(2 * MINUTE).await;
    for liar in &besieged.liars {
        assert_eq!(standing(&besieged.near, &liar.peer()).await, Some(0.0));
    }
}

/// They tell others before the time of the first is over.
#[tokio::test(start_paused = true)]
async fn many_who_tell_heads_again_and_again_and_do_not_answer_hold_up_nobody() {
    let besieged = Besieged::by(5, 12, || Arc::new(Hooked::new(Hanging))).await;
    besieged.lie(1, None).await;
    let lying = async {
        loop {
            tokio::time::sleep(Duration::from_secs(10)).await;
            besieged.tell_lies(1, None).await;
        }
    };
    tokio::select! {
        () = besieged.comes_together_within(5 * MINUTE) => {}
        () = lying => {}
    }
}

/// Entries each of which follows the one before, of two authors in turn: of one fewer may wait.
fn chain(liar: &Liar, length: u64) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let authors = [liar.key().clone(), Keypair::generate_ed25519()];
    for n in 0..length {
        let before = blocks.last().map(|before| *before.cid());
        let next = liar.entry("deep").after(before).with(|entry| {
            entry.author = authors[n as usize % 2].clone();
            entry.number += n;
        });
        blocks.push(next.block());
    }
    blocks
}

/// More than are asked at once, each with a history of its own, of which another entry comes each time before it is given up.
#[tokio::test(start_paused = true)]
async fn many_whose_histories_come_slowly_and_do_not_end_hold_up_nobody() {
    let besieged = Besieged::by(8, 12, || Arc::new(Hooked::new(Slow))).await;
    for liar in &besieged.liars {
        let blocks = chain(liar, 200);
        let tip = *blocks.last().expect("there are some").cid();
        liar.has(blocks).await;
        liar.tells(&[tip], 200, None).await;
    }
    besieged.are_heard(200).await;
    besieged.comes_together_within(2 * MINUTE).await;
    assert!(besieged.told.lines().contains("nothing became an entry for 60 s"), "{}", besieged.told.lines());
    for liar in &besieged.liars {
        assert_eq!(standing(&besieged.near, &liar.peer()).await, Some(0.0), "it is doubted, not banned");
    }
}

/// More than may come for nothing, and something of another topic that is accepted each time it comes.
#[tokio::test(start_paused = true)]
async fn whoever_adds_a_message_of_another_topic_is_doubted_all_the_same() {
    let attacked = Attacked::begin(9).await;
    let liar = &attacked.liar;
    let other = liar.no_entry();
    let heads = Topic::reserved("carrick/heads/test").expect("a topic");
    for member in [&attacked.near, &attacked.far] {
        assert_eq!(within(member.node.admit(&heads, other.encode(), None)).await, Verdict::Accept);
    }
    let mut told = vec![other.cid()];
    liar.has([other.block()]).await;
    for n in 0..20 {
        let entry = liar.entry("").after([nowhere(n)]);
        let entry = entry.with(|entry| (entry.number, entry.payload) = (n, Some(vec![b'x'; 63 << 10])));
        told.push(entry.cid());
        liar.has([entry.block()]).await;
    }
    liar.tells(&told, 1, None).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(attacked.told.lines().contains("what a node told led nowhere"), "{}", attacked.told.lines());
    assert_eq!(attacked.standing().await, 0.0, "it is doubted, not banned");
    attacked.nobody_else_is_harmed(&told, 0).await;
}

/// Live it is out of reach of what is fetched for the sake of one message; by the heads all of it comes, however deep.
#[tokio::test(start_paused = true)]
async fn a_deep_history_comes_by_the_heads_and_not_for_the_sake_of_one_entry() {
    let attacked = Attacked::begin(6).await;
    let blocks = chain(&attacked.liar, DEEP);
    let tip = blocks.last().expect("there are some").clone();
    attacked.liar.has(blocks).await;
    attacked.liar.says_bytes(tip.bytes().clone()).await;
    // It and those before it, as deep as they are fetched.
    counted(&attacked.near.node, "ignored", 65).await;
    assert_eq!(attacked.near.node.counter("defer_out_of_reach"), 1);
    assert!(attacked.told.says(tip.cid(), "cause=a message it follows was refused"));
    attacked.nothing_was_passed_on();
    attacked.liar.tells(&[*tip.cid()], DEEP, None).await;
    attacked.far.until(DEEP as usize).await;
    assert_eq!(attacked.standing().await, 0.0);
    attacked.nobody_else_is_harmed(&[], DEEP as usize).await;
}

/// Not even its beginning is reached, and nothing of it is kept.
#[tokio::test(start_paused = true)]
async fn a_history_larger_than_is_fetched_at_once_is_left_and_holds_up_nobody() {
    let attacked = Attacked::begin(7).await;
    let mut before = vec![];
    // 68 MiB, of which 64 are fetched.
    for n in 0..1_100 {
        let payload = Some(vec![b'x'; 63 << 10]);
        let next =
            attacked.liar.entry("").after(before).with(|entry| (entry.number, entry.payload) = (n, payload));
        let next = next.block();
        before = vec![*next.cid()];
        attacked.liar.has([next]).await;
    }
    attacked.liar.tells(&before, 1_100, None).await;
    attacked.nobody_else_is_harmed(&before, 0).await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(attacked.near.ledger.count().expect("open"), 2);
    assert_eq!(attacked.near.node.store().usage().await.expect("reads").blocks, 2, "nothing of it is kept");
    attacked.near.append("afterwards").await;
    agree(&[&attacked.near, &attacked.far], 3).await;
}
