//! Ledgers of real nodes, in one process and in virtual time.

mod member;

use std::sync::Arc;

use carrick_core::{
    Block, Bytes, Context, ErrorKind, Keypair, MemoryStore, Message, NetworkId, Node, NodeBuilder, Result,
    Topic, Validator, Verdict, async_trait,
};
use carrick_plugin_ledger::{Change, Entry, Ledger, Past, Rule};
use carrick_transport_memory::MemoryNetwork;
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::time::timeout;

use member::{Member, PATIENCE, agree};

#[tokio::test(start_paused = true)]
async fn many_writers_end_with_the_same_log() {
    let wire = MemoryNetwork::new(1);
    let members = [Member::open(&wire).await, Member::open(&wire).await, Member::open(&wire).await];
    members[0].join(&members[1]).await;
    members[1].join(&members[2]).await;
    let writing = members.iter().enumerate().map(async |(at, member)| {
        for n in 0..20 {
            member.append(&format!("{n} of {at}")).await;
        }
    });
    futures::future::join_all(writing).await;
    agree(&members.each_ref(), 60).await;
}

#[tokio::test(start_paused = true)]
async fn an_author_never_loses_the_thread() {
    let wire = MemoryNetwork::new(2);
    let member = Member::open(&wire).await;
    let appends = (0..50).map(|n| member.ledger.append(format!("{n}")));
    let made = futures::future::try_join_all(appends).await.expect("appends");
    let entries: Vec<Entry> = member.ledger.entries(None).try_collect().await.expect("reads");
    for (at, entry) in entries.iter().enumerate() {
        assert_eq!((entry.clock(), entry.author()), (at as u64 + 1, &member.node.peer_id()));
        assert_eq!(entry.parents(), at.checked_sub(1).map(|before| *entries[before].cid()).as_slice());
        assert!(made.iter().any(|made| made.cid == *entry.cid() && made.clock == entry.clock()));
    }
}

/// What a reader has not stored yet is there for what follows it: it asks nobody.
#[tokio::test(start_paused = true)]
async fn a_stream_is_taken_as_it_comes() {
    let wire = MemoryNetwork::new(12);
    let (writer, reader) = (Member::open(&wire).await, Member::open(&wire).await);
    writer.join(&reader).await;
    let appends = (0..200).map(|n| writer.ledger.append(format!("{n}")));
    futures::future::try_join_all(appends).await.expect("appends");
    agree(&[&writer, &reader], 200).await;
    assert_eq!((reader.node.counter("deferred"), reader.node.counter("ignored")), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_comes_late_gets_everything() {
    let wire = MemoryNetwork::new(3);
    let early = Member::open(&wire).await;
    for n in 0..300 {
        early.append(&format!("{n}")).await;
    }
    // As large as a payload is that travels apart.
    early.append(&"large".repeat(50_000)).await;
    let late = Member::open(&wire).await;
    late.meet(&early).await;
    let log = agree(&[&early, &late], 301).await;
    let last = late.ledger.entry(&log[300]).await.expect("reads").expect("an entry");
    assert_eq!(last.payload().len(), 250_000);
}

#[tokio::test(start_paused = true)]
async fn both_sides_of_a_partition_come_together() {
    let wire = MemoryNetwork::new(4);
    let (one, other) = (Member::open(&wire).await, Member::open(&wire).await);
    one.join(&other).await;
    one.append("together").await;
    other.until(1).await;
    wire.partition(&[&[one.node.peer_id()], &[other.node.peer_id()]]);
    for n in 0..30 {
        one.append(&format!("one {n}")).await;
        other.append(&format!("other {n}")).await;
    }
    assert_eq!(one.ledger.count().expect("open"), 31);
    wire.heal();
    one.meet(&other).await;
    let log = agree(&[&one, &other], 61).await;
    // Two heads, which the next entry joins.
    let joining = one.append("joined").await;
    let joined = one.ledger.entry(&joining).await.expect("reads").expect("an entry");
    assert_eq!(joined.parents().len(), 2);
    assert!(joined.parents().iter().all(|parent| log[59..].contains(parent)));
    agree(&[&one, &other], 62).await;
}

#[tokio::test(start_paused = true)]
async fn a_ledger_goes_on_where_it_stopped() {
    let wire = MemoryNetwork::new(5);
    let (key, store) = (Keypair::generate_ed25519(), Arc::new(MemoryStore::default()));
    let first = Member::with(&wire, key.clone(), Arc::clone(&store) as _, vec![]).await;
    for n in 0..10 {
        first.append(&format!("{n}")).await;
    }
    let log = first.log().await;
    // As after a power cut: nothing is closed.
    drop(first);
    let again = Member::with(&wire, key, store, vec![]).await;
    assert_eq!(again.log().await, log);
    let next = again.append("next").await;
    let next = again.ledger.entry(&next).await.expect("reads").expect("an entry");
    assert_eq!((next.parents(), next.clock()), (&log[9..], 11));
}

/// Refuses what says so.
#[derive(Debug)]
struct NotBad;

#[async_trait]
impl Rule for NotBad {
    async fn entry(&self, past: &Past<'_>, entry: &Entry) -> Verdict {
        for parent in entry.parents() {
            let parent = past.entry(parent).await.expect("reads").expect("parents are there");
            assert!(parent.clock() < entry.clock());
        }
        match entry.payload() == "bad" {
            true => Verdict::Reject("it is bad".into()),
            false => Verdict::Accept,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_rule_refuses_gets_nowhere_and_neither_does_what_follows_it() {
    let wire = MemoryNetwork::new(6);
    let strict = async || Member::ruled(&wire, vec![Arc::new(NotBad)]).await;
    let (lax, one, other) = (Member::open(&wire).await, strict().await, strict().await);
    let good = lax.append("good").await;
    let bad = lax.append("bad").await;
    let child = lax.append("a child of it").await;
    one.join(&other).await;
    one.meet(&lax).await;
    one.until(1).await;
    let next = one.append("goes on").await;
    assert_eq!(agree(&[&one, &other], 2).await, [good, next]);
    // Its own entries come to it all the same: it has what they follow.
    lax.until(4).await;
    for member in [&one, &other] {
        for refused in [bad, child] {
            assert!(!member.node.store().has(&refused).await.expect("reads"));
        }
    }
    let refused = one.ledger.append("bad").await.expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::Rejected);
    assert_eq!(one.ledger.count().expect("open"), 2);
}

/// Takes messages of another topic that name a head of the ledger.
#[derive(Debug)]
struct NamesAHead(Ledger);

#[async_trait]
impl Validator for NamesAHead {
    async fn message(&self, _: &Context<'_>, message: &Message) -> Verdict {
        if message.topic() == self.0.topic() {
            return Verdict::Accept;
        }
        match self.0.heads() {
            Ok(heads) if heads.iter().any(|head| *message.payload() == head.to_string()) => Verdict::Accept,
            _ => Verdict::Ignore("it names no head".into()),
        }
    }

    async fn block(&self, _: &Context<'_>, _: &Block) -> Verdict {
        Verdict::Accept
    }

    async fn accepted(&self, _: &Context<'_>, _: &Message) -> Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_validator_of_another_topic_reads_the_heads_of_a_ledger_that_it_holds() {
    let wire = MemoryNetwork::new(13);
    let judged = |node: NodeBuilder, ledger: &Ledger| node.validator(Arc::new(NamesAHead(ledger.clone())));
    let member = Member::made(&wire, vec![], judged).await;
    let topic = Topic::new("chat").expect("a topic");
    let head = member.append("first").await;
    member.node.publish(&topic, head.to_string()).await.expect("it names the head");
    let next = member.append("next").await;
    let refused = member.node.publish(&topic, head.to_string()).await.expect_err("it is none any more");
    assert_eq!(refused.kind(), ErrorKind::Rejected);
    member.node.publish(&topic, next.to_string()).await.expect("it names the head");
}

#[tokio::test(start_paused = true)]
async fn a_late_entry_is_told_with_its_rank() {
    let wire = MemoryNetwork::new(7);
    let (one, other) = (Member::open(&wire).await, Member::open(&wire).await);
    for n in 0..5 {
        one.append(&format!("{n}")).await;
    }
    let lone = other.append("at the same time as the first").await;
    let mut changes = one.ledger.watch();
    one.meet(&other).await;
    let change = timeout(PATIENCE, changes.next()).await.expect("in time").expect("open");
    let Change::Inserted { at, entry } = change else { panic!("{change:?}") };
    assert_eq!((*entry.cid(), Some(at)), (lone, one.ledger.rank(&lone).await.expect("open")));
    assert!(at < 2, "{at}");
    let next = one.append("next").await;
    let change = changes.next().await.expect("open");
    assert!(matches!(change, Change::Appended(entry) if *entry.cid() == next));
}

#[tokio::test(start_paused = true)]
async fn the_log_is_read_from_anywhere() {
    let wire = MemoryNetwork::new(8);
    let member = Member::open(&wire).await;
    for n in 0..600 {
        member.append(&format!("{n}")).await;
    }
    let log = member.log().await;
    let from = member.ledger.entries(Some(log[400])).map_ok(|entry| *entry.cid());
    assert_eq!(from.try_collect::<Vec<_>>().await.expect("reads"), log[400..]);
    let stranger = carrick_core::cid_of(carrick_core::DAG_CBOR, b"of another ledger");
    let absent: Result<Vec<Entry>> = member.ledger.entries(Some(stranger)).try_collect().await;
    assert_eq!(absent.expect_err("there is none").kind(), ErrorKind::NotFound);
}

#[test]
fn a_name_is_checked() {
    for good in ["a", "sensors-2026", "a.b_c"] {
        assert_eq!(Ledger::new(good, vec![]).expect("a name").topic().as_str(), format!("ledger/{good}"));
    }
    for bad in ["", "A", "a/b", "ü", &"a".repeat(65)] {
        assert_eq!(Ledger::new(bad, vec![]).expect_err(bad).kind(), ErrorKind::Config);
    }
}

/// Two of one name would take each other's entries for their own.
#[tokio::test]
async fn a_node_has_one_ledger_of_a_name() {
    let [one, other] = [(); 2].map(|()| Ledger::new("twice", vec![]).expect("a name"));
    let node = Node::builder().network(NetworkId::new("test").expect("a network"));
    let node = node.mount("memory", MemoryNetwork::new(11).transport());
    let refused = other.mount(one.mount(node)).open().await.expect_err("two of a name");
    assert_eq!(refused.kind(), ErrorKind::Config);
    assert!(refused.to_string().contains("ledger/twice"), "{refused}");
}

#[tokio::test]
async fn a_closed_ledger_says_so() {
    let wire = MemoryNetwork::new(9);
    let member = Member::open(&wire).await;
    member.node.close().await.expect("closes");
    let append = member.ledger.append(Bytes::new()).await.expect_err("closed");
    assert_eq!(append.kind(), ErrorKind::Closed);
    assert_eq!(member.ledger.heads().expect_err("closed").kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_ledger_does_not_keep_its_node_open() {
    let wire = MemoryNetwork::new(10);
    let (one, other) = (Member::open(&wire).await, Member::open(&wire).await);
    one.join(&other).await;
    let Member { node, ledger } = one;
    drop(node);
    let alone = async {
        while !other.node.peers().await.expect("open").is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, alone).await.expect("its links end");
    assert_eq!(ledger.append(Bytes::new()).await.expect_err("closed").kind(), ErrorKind::Closed);
}
