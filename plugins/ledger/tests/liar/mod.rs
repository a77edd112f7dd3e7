//! A node that says and serves what no node should, and an honest ledger that has to live with it.
#![allow(dead_code, unused_imports, reason = "each test takes what it needs")]

pub(crate) mod page;
mod told;

use std::sync::Arc;
use std::time::Duration;

use carrick_core::conformance::forged::Forged;
use carrick_core::{
    Block, Bytes, Cid, Keypair, MemoryStore, Node, PeerId, Remote, Store, Subscription, Topic, TopicRules,
};
use carrick_plugin_ledger::Rule;
use carrick_transport_memory::MemoryNetwork;
use ipld_core::ipld::Ipld;
use tokio::time::{sleep, timeout};

pub(crate) use self::told::Told;
use crate::member::{Member, PATIENCE, agree, forged};

/// Fails the test where it would hang. The clock of the tests is paused, so this takes no time.
pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("it hangs")
}

/// Waits until a node has counted so many.
pub(crate) async fn counted(node: &Node, name: &str, at_least: u64) {
    let counted = async {
        while node.counter(name) < at_least {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let counted = timeout(PATIENCE, counted).await;
    assert!(counted.is_ok(), "{name} is {} and not {at_least}", node.counter(name));
}

/// Tells heads as a ledger does, and on the topic of the entries says whatever it likes.
pub(crate) struct Liar {
    pub(crate) node: Node,
    key: Keypair,
    entries: Topic,
    heads: Topic,
    _reads: [Subscription; 2],
}

impl Liar {
    pub(crate) async fn open(wire: &MemoryNetwork) -> Self {
        Self::with(wire, Keypair::generate_ed25519(), Arc::new(MemoryStore::default())).await
    }

    /// One that serves from a store of its own making.
    pub(crate) async fn with(wire: &MemoryNetwork, key: Keypair, store: Arc<dyn Store>) -> Self {
        let entries = Topic::new("ledger/test").expect("a topic");
        let heads = Topic::reserved("carrick/heads/test").expect("a topic");
        let node = Member::stranger(wire, |node| {
            let mut limits = carrick_core::Limits::default();
            (limits.payload_bytes, limits.block_bytes, limits.send_queue_bytes) = (1 << 20, 8 << 20, 8 << 20);
            // What is published on it goes out as it is.
            let node = node.topic(entries.clone(), TopicRules::raw()).limits(limits);
            node.identity(key.clone()).store(store)
        });
        let node = node.await;
        let _reads = [
            node.subscribe(&entries).await.expect("subscribes"),
            node.subscribe(&heads).await.expect("subscribes"),
        ];
        Self { node, key, entries, heads, _reads }
    }

    /// Connects to a member, and waits until both see each other on the topics.
    pub(crate) async fn meet(&self, member: &Member) {
        member.meet_node(&self.node).await;
        for topic in [&self.entries, &self.heads] {
            within(self.node.ready(topic, 1)).await.expect("ready");
        }
    }

    pub(crate) fn peer(&self) -> PeerId {
        self.node.peer_id()
    }

    pub(crate) fn key(&self) -> &Keypair {
        &self.key
    }

    /// An entry that is good unless it is changed.
    pub(crate) fn entry(&self, payload: &str) -> Forged {
        forged(&self.entries, &self.key, payload)
    }

    /// A message that is good, and no entry: it travels where heads do.
    pub(crate) fn no_entry(&self) -> Forged {
        forged(&self.heads, &self.key, "no heads either").with(|message| message.number = 1)
    }

    /// Says it to whoever is there.
    pub(crate) async fn says(&self, forged: &Forged) {
        self.says_bytes(forged.encode()).await;
    }

    pub(crate) async fn says_bytes(&self, bytes: Bytes) {
        let published = within(self.node.publish(&self.entries, bytes)).await.expect("publishes");
        assert_eq!(published.skipped, []);
    }

    /// Has it ready for whoever asks.
    pub(crate) async fn has(&self, blocks: impl IntoIterator<Item = Block>) {
        let blocks: Vec<Block> = blocks.into_iter().collect();
        within(self.node.put_blocks(&blocks)).await.expect("stores");
    }

    /// Tells heads as if it had so many entries.
    pub(crate) async fn tells(&self, heads: &[Cid], entries: u64, pages: Option<Cid>) {
        let mut told = vec![
            ("v".to_owned(), Ipld::Integer(1)),
            ("heads".to_owned(), Ipld::List(heads.iter().copied().map(Ipld::Link).collect())),
            ("entries".to_owned(), Ipld::Integer(entries.into())),
        ];
        told.extend(pages.map(|pages| ("pages".to_owned(), Ipld::Link(pages))));
        let told = serde_ipld_dagcbor::to_vec(&Ipld::Map(told.into_iter().collect())).expect("encodes");
        within(self.node.publish(&self.heads, told)).await.expect("publishes");
    }
}

/// Two honest nodes, and a liar that knows one of them.
pub(crate) struct Attacked {
    pub(crate) wire: MemoryNetwork,
    pub(crate) near: Member,
    pub(crate) far: Member,
    pub(crate) liar: Liar,
    pub(crate) told: Told,
}

impl Attacked {
    pub(crate) async fn begin(seed: u64) -> Self {
        Self::ruled(seed, vec![]).await
    }

    pub(crate) async fn ruled(seed: u64, rules: Vec<Arc<dyn Rule>>) -> Self {
        let told = Told::listen();
        let wire = MemoryNetwork::new(seed);
        let (near, far) = (Member::ruled(&wire, rules.clone()).await, Member::ruled(&wire, rules).await);
        near.join(&far).await;
        let liar = Liar::open(&wire).await;
        liar.meet(&near).await;
        Self { wire, near, far, liar, told }
    }

    /// What the nearer node thinks of the liar: 0 is the best.
    pub(crate) async fn standing(&self) -> f64 {
        standing(&self.near, &self.liar.peer()).await.expect("connected")
    }

    /// What the nearer node refused it did not pass on. Heads are passed on, and who hears of them asks whoever told them.
    pub(crate) fn nothing_was_passed_on(&self) {
        for refused in ["malformed", "rejected", "ignored", "deferred", "newer_version", "oversized"] {
            assert_eq!(self.far.node.counter(refused), 0, "{refused}");
        }
    }

    /// Nothing bad is anywhere, nobody honest is blamed, and what is appended reaches both, who have so many entries before.
    pub(crate) async fn nobody_else_is_harmed(&self, bad: &[Cid], entries: usize) -> Vec<Cid> {
        let Self { near, far, .. } = self;
        let appended = [near.append("of the nearer one").await, {
            far.until(entries + 1).await;
            far.append("of the farther one").await
        }];
        let log = agree(&[near, far], entries + 2).await;
        assert_eq!(log[entries..], appended, "they follow all that was there");
        for member in [near, far] {
            for bad in bad {
                assert!(!member.node.store().has(bad).await.expect("reads"), "{bad} is stored");
            }
        }
        assert_eq!(standing(near, &far.node.peer_id()).await, Some(0.0));
        assert_eq!(standing(far, &near.node.peer_id()).await, Some(0.0));
        log
    }
}

/// What a member thinks of a peer; `None` where it is not connected.
pub(crate) async fn standing(member: &Member, peer: &PeerId) -> Option<f64> {
    let peers = within(member.node.peers()).await.expect("open");
    peers.iter().find(|found| found.remote == Remote::Peer(*peer)).map(|found| found.reputation)
}
