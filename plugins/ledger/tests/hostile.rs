//! What bad input gets: its cause, a count, and blame where its sender had to know better; nobody else is harmed.

mod liar;
mod member;

use std::sync::Arc;

use carrick_core::conformance::forged::Forged;
use carrick_core::{
    Block, Bytes, Cid, DAG_CBOR, Keypair, RAW, Remote, Time, Topic, Verdict, async_trait, cid_of,
};
use carrick_plugin_ledger::{Entry, Past, Rule};

use liar::{Attacked, Liar, counted, within};
use member::{NOW, agree, forged};

const MINUTE: u64 = 60_000;

/// What nobody has.
fn nowhere(n: u64) -> Cid {
    cid_of(DAG_CBOR, &n.to_be_bytes())
}

/// What is no message at all is told from that by whoever hears it: live it costs its sender, and whoever fetched it by its
/// address blames nobody, for the bytes were the right ones. It is forged with two entries at hand, which are there.
async fn is_malformed(seed: u64, forge: impl Fn(&Liar, [Cid; 2]) -> Forged, cause: &str) {
    for live in [true, false] {
        let attacked = Attacked::begin(seed).await;
        let Attacked { near, far, liar, .. } = &attacked;
        let there = [near.append("one").await, near.append("two").await];
        far.until(2).await;
        let bad = forge(liar, there);
        if live {
            liar.says(&bad).await;
            counted(&near.node, "malformed", 1).await;
            assert!((-20.0..-19.0).contains(&attacked.standing().await), "{}", attacked.standing().await);
        } else {
            let from = Some(Remote::Peer(liar.peer()));
            let verdict = within(near.node.admit(near.ledger.topic(), bad.encode(), from)).await;
            let Verdict::Reject(why) = verdict else { panic!("{verdict:?}") };
            assert!(why.starts_with(cause), "{why}");
            assert_eq!((near.node.counter("malformed"), attacked.standing().await), (1, 0.0));
        }
        assert!(attacked.told.says(&bad.cid(), &format!("cause={cause}")), "{}", attacked.told.lines());
        attacked.nothing_was_passed_on();
        attacked.nobody_else_is_harmed(&[bad.cid()], 2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_with_more_than_64_parents_is_no_message() {
    let forge = |liar: &Liar, _: [Cid; 2]| liar.entry("of many").after((0..65).map(nowhere));
    is_malformed(1, forge, "malformed: ").await;
    // The longest list that there may be is good, if it leads somewhere.
    let there = Attacked::begin(2).await;
    let parents: Vec<Forged> =
        (0..64).map(|n| there.liar.entry("a parent").with(|parent| parent.number += n)).collect();
    let child = there.liar.entry("of 64").after(parents.iter().map(Forged::cid));
    there.liar.has(parents.iter().map(Forged::block)).await;
    there.liar.says(&child).await;
    agree(&[&there.near, &there.far], 65).await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_whose_parents_are_not_sorted_is_no_message() {
    let forge = |liar: &Liar, [one, other]: [Cid; 2]| {
        let sorted = liar.entry("turned round").after([one, other]);
        sorted.with(|forged| forged.parents.reverse())
    };
    is_malformed(3, forge, "its parents are not sorted or one stands twice").await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_names_a_parent_twice_is_no_message() {
    let forge = |liar: &Liar, [one, _]: [Cid; 2]| liar.entry("twice").after([one, one]);
    is_malformed(4, forge, "its parents are not sorted or one stands twice").await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_whose_parent_is_a_raw_block_is_no_message() {
    let forge = |liar: &Liar, _: [Cid; 2]| liar.entry("of a block").after([cid_of(RAW, b"a block")]);
    is_malformed(5, forge, "a parent is no message id").await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_whose_payload_is_over_the_limit_is_no_message() {
    let forge = |liar: &Liar, _: [Cid; 2]| {
        liar.entry("").with(|forged| forged.payload = Some(vec![b'x'; (64 << 10) + 1]))
    };
    is_malformed(6, forge, "its payload is above the inline limit").await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_of_a_version_that_never_was_is_no_message() {
    let forge = |liar: &Liar, _: [Cid; 2]| liar.entry("old").with(|forged| forged.version = 0);
    is_malformed(7, forge, "version 0 never was").await;
}

/// Half of a network may be brought up to date before the other half.
#[tokio::test(start_paused = true)]
async fn an_entry_of_a_later_version_is_nobodys_fault() {
    let attacked = Attacked::begin(8).await;
    let later = attacked.liar.entry("from tomorrow").with(|forged| forged.version = 2);
    attacked.liar.says(&later).await;
    counted(&attacked.near.node, "newer_version", 1).await;
    attacked.nothing_was_passed_on();
    attacked.liar.has([later.block()]).await;
    attacked.liar.tells(&[later.cid()], 1, None).await;
    counted(&attacked.near.node, "newer_version", 2).await;
    assert!(attacked.told.says(&later.cid(), "cause=version 2 is not spoken here"));
    assert_eq!(attacked.standing().await, 0.0);
    let verdict = within(attacked.near.node.admit(attacked.near.ledger.topic(), later.encode(), None)).await;
    assert_eq!(verdict, Verdict::Ignore("version 2 is not spoken here".into()));
    attacked.nobody_else_is_harmed(&[later.cid()], 0).await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_signed_by_another_key_is_rejected_and_its_author_is_not_blamed() {
    let attacked = Attacked::begin(9).await;
    let his = attacked.liar.entry("in his name").with(|forged| {
        (forged.author, forged.signer) = (Keypair::generate_ed25519(), Some(attacked.liar.key().clone()));
    });
    attacked.liar.says(&his).await;
    counted(&attacked.near.node, "rejected", 1).await;
    assert!(attacked.told.says(&his.cid(), "cause=its signature does not hold"));
    assert!((-10.0..-9.0).contains(&attacked.standing().await));
    attacked.nothing_was_passed_on();
    attacked.nobody_else_is_harmed(&[his.cid()], 0).await;

    let later = Attacked::begin(9).await;
    later.liar.has([his.block()]).await;
    later.liar.tells(&[his.cid()], 1, None).await;
    counted(&later.near.node, "rejected", 1).await;
    assert_eq!(later.standing().await, 0.0, "who serves what was asked for is not blamed");
    // It keeps nobody from what its author really said.
    let said = forged(later.near.ledger.topic(), &his.author, "in his name");
    later.liar.says(&said).await;
    agree(&[&later.near, &later.far], 1).await;
    later.nobody_else_is_harmed(&[his.cid()], 1).await;
}

#[tokio::test(start_paused = true)]
async fn the_parents_of_an_entry_are_fetched_from_whoever_said_it() {
    let attacked = Attacked::begin(10).await;
    let parent = attacked.liar.entry("before");
    let child = attacked.liar.entry("after").after([parent.cid()]).with(|child| child.number += 1);
    attacked.liar.has([parent.block()]).await;
    attacked.liar.says(&child).await;
    assert_eq!(agree(&[&attacked.near, &attacked.far], 2).await, [parent.cid(), child.cid()]);
    assert_eq!(attacked.near.node.counter("deferred"), 1);
    assert_eq!(attacked.standing().await, 0.0);
}

#[tokio::test(start_paused = true)]
async fn an_entry_whose_parent_nobody_has_is_ignored_and_nobody_is_blamed() {
    let attacked = Attacked::begin(11).await;
    let orphan = attacked.liar.entry("of nobody").after([nowhere(1)]);
    attacked.liar.says(&orphan).await;
    counted(&attacked.near.node, "ignored", 1).await;
    assert!(attacked.told.says(&orphan.cid(), "cause=what it waits for is out of reach"));
    assert_eq!(attacked.near.node.counter("defer_out_of_reach"), 1);
    attacked.nothing_was_passed_on();
    attacked.liar.has([orphan.block()]).await;
    attacked.liar.tells(&[orphan.cid()], 1, None).await;
    let (near, topic) = (&attacked.near.node, attacked.near.ledger.topic());
    let verdict = within(near.admit(topic, orphan.encode(), None)).await;
    assert_eq!(verdict, Verdict::Ignore("what it waits for is out of reach".into()));
    assert_eq!(attacked.standing().await, 0.0);
    attacked.nobody_else_is_harmed(&[orphan.cid()], 0).await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_follows_one_of_another_ledger_is_ignored() {
    let attacked = Attacked::begin(12).await;
    let other = Topic::new("ledger/other").expect("a topic");
    let parent = forged(&other, attacked.liar.key(), "elsewhere");
    let child = attacked.liar.entry("across").after([parent.cid()]);
    attacked.liar.has([parent.block(), child.block()]).await;
    attacked.liar.says(&child).await;
    counted(&attacked.near.node, "ignored", 1).await;
    assert!(attacked.told.says(&child.cid(), "cause=a message it follows was refused"));
    assert!(attacked.told.says(&parent.cid(), "cause=it names another topic"));
    attacked.nothing_was_passed_on();
    attacked.liar.tells(&[child.cid()], 2, None).await;
    counted(&attacked.near.node, "other_topic", 2).await;
    assert_eq!(attacked.standing().await, 0.0);
    attacked.nobody_else_is_harmed(&[parent.cid(), child.cid()], 0).await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_whose_parent_is_something_else_is_ignored() {
    let attacked = Attacked::begin(13).await;
    let block = Block::new(DAG_CBOR, Bytes::from_static(b"\xa0"));
    let child = attacked.liar.entry("of an empty map").after([*block.cid()]);
    attacked.liar.has([block.clone(), child.block()]).await;
    attacked.liar.says(&child).await;
    counted(&attacked.near.node, "ignored", 1).await;
    assert!(attacked.told.says(&child.cid(), "cause=a message it follows was refused"));
    assert!(attacked.told.says(block.cid(), "cause=malformed: "));
    attacked.nothing_was_passed_on();
    assert_eq!(attacked.standing().await, 0.0);
    attacked.nobody_else_is_harmed(&[*block.cid(), child.cid()], 0).await;
}

/// A clock that is off is no lie: live the entry is ignored, and by the heads it comes all the same.
#[tokio::test(start_paused = true)]
async fn an_entry_whose_time_is_far_off_is_ignored_live_and_taken_later() {
    for time in [0, NOW - 10 * MINUTE, NOW + 10 * MINUTE, i64::MAX as u64] {
        let attacked = Attacked::begin(14).await;
        let off = attacked.liar.entry("at another time").with(|forged| forged.time = Time(time));
        attacked.liar.says(&off).await;
        counted(&attacked.near.node, "ignored", 1).await;
        assert!(attacked.told.says(&off.cid(), "cause=its clock is too far off"), "{time}");
        assert_eq!(attacked.near.ledger.count().expect("open"), 0);
        attacked.nothing_was_passed_on();
        attacked.liar.has([off.block()]).await;
        attacked.liar.tells(&[off.cid()], 1, None).await;
        agree(&[&attacked.near, &attacked.far], 1).await;
        assert_eq!(attacked.standing().await, 0.0, "{time}");
        attacked.nobody_else_is_harmed(&[], 1).await;
    }
}

/// No node's number is so large: nothing may be added to it.
#[tokio::test(start_paused = true)]
async fn an_entry_whose_number_is_too_large_is_no_message() {
    let forge = |liar: &Liar, _: [Cid; 2]| liar.entry("the last").with(|forged| forged.number = u64::MAX);
    is_malformed(15, forge, "number 18446744073709551615").await;
}

/// Whoever passes an entry on judged it, and so had its payload.
#[tokio::test(start_paused = true)]
async fn an_entry_whose_payload_nobody_has_is_ignored_and_whoever_passed_it_on_is_blamed() {
    let attacked = Attacked::begin(16).await;
    let link = cid_of(RAW, b"a payload that nobody has");
    let empty = attacked.liar.entry("").linking(link);
    attacked.liar.says(&empty).await;
    counted(&attacked.near.node, "ignored", 1).await;
    assert!(attacked.told.says(&empty.cid(), "cause=what it waits for is out of reach"));
    assert_eq!(attacked.near.node.counter("misdeed_broken_promise"), 1);
    assert!((-7.0..-6.0).contains(&attacked.standing().await));
    attacked.nothing_was_passed_on();
    // Later it is nobody's promise.
    let (near, topic) = (&attacked.near.node, attacked.near.ledger.topic());
    let verdict = within(near.admit(topic, empty.encode(), None)).await;
    assert_eq!(verdict, Verdict::Ignore("what it waits for is out of reach".into()));
    assert_eq!(near.counter("misdeed_broken_promise"), 1);
    attacked.nobody_else_is_harmed(&[empty.cid(), link], 0).await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_whose_payload_is_larger_than_a_block_is_ignored() {
    let attacked = Attacked::begin(17).await;
    let large = Block::new(RAW, vec![b'x'; (2 << 20) + 1]);
    let entry = attacked.liar.entry("").linking(*large.cid());
    attacked.liar.node.store().put(std::slice::from_ref(&large)).await.expect("stores");
    attacked.liar.says(&entry).await;
    counted(&attacked.near.node, "ignored", 1).await;
    assert!(attacked.told.says(&entry.cid(), "cause=what it waits for is out of reach"));
    attacked.nobody_else_is_harmed(&[entry.cid(), *large.cid()], 0).await;
}

/// Refuses what says so.
#[derive(Debug)]
struct NotBad;

#[async_trait]
impl Rule for NotBad {
    async fn entry(&self, _: &Past<'_>, entry: &Entry) -> Verdict {
        match entry.payload() == "bad" {
            true => Verdict::Reject("it is bad".into()),
            false => Verdict::Accept,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_refused_entry_is_ignored_and_only_the_refused_one_is_blamed() {
    let attacked = Attacked::ruled(18, vec![Arc::new(NotBad)]).await;
    let bad = attacked.liar.entry("bad");
    let child = attacked.liar.entry("a child").after([bad.cid()]);
    let grandchild = attacked.liar.entry("a grandchild").after([child.cid()]);
    let all = [bad.cid(), child.cid(), grandchild.cid()];
    attacked.liar.has([bad.block(), child.block(), grandchild.block()]).await;
    attacked.liar.says(&bad).await;
    counted(&attacked.near.node, "rejected", 1).await;
    assert!(attacked.told.says(&bad.cid(), "cause=it is bad"));
    let blamed = attacked.standing().await;
    assert!((-10.0..-9.0).contains(&blamed), "{blamed}");
    for (at, follows) in [&child, &grandchild].into_iter().enumerate() {
        attacked.liar.says(follows).await;
        counted(&attacked.near.node, "ignored", at as u64 + 1).await;
        assert!(attacked.told.says(&follows.cid(), "cause=it follows a refused entry"));
    }
    assert!(attacked.standing().await >= blamed, "time heals, and nobody was blamed again");
    attacked.nothing_was_passed_on();
    // Nor does it come by the heads.
    attacked.liar.tells(&[grandchild.cid()], 3, None).await;
    let (near, topic) = (&attacked.near.node, attacked.near.ledger.topic());
    let verdict = within(near.admit(topic, grandchild.encode(), None)).await;
    assert_eq!(verdict, Verdict::Ignore("it follows a refused entry".into()));
    attacked.nobody_else_is_harmed(&all, 0).await;
}
