//! `rate` in real nodes.

mod support;

use std::sync::Arc;
use std::time::Duration;

use carrick_core::{
    Block, Context, ErrorKind, Kind, Message, Need, Node, RAW, Registry, Result, Subscription, Validator,
    Verdict, async_trait,
};
use carrick_plugin_validators::{Rate, RateConfig};
use carrick_transport_memory::MemoryNetwork;

use support::{Hands, guarded, is_silent, line, next, node, reputation, topic};

/// Three messages a minute.
fn rate() -> RateConfig {
    RateConfig::new(guarded(), 3, 60.0)
}

fn validator(config: RateConfig) -> Arc<Rate> {
    Arc::new(Rate::new(config).expect("valid"))
}

async fn publish(node: &Node, payloads: impl IntoIterator<Item = &str>) {
    for payload in payloads {
        node.publish(&topic("guarded/a"), payload.to_owned()).await.expect("its own node does not mind");
    }
}

/// Is asked after the rate. It takes a second, so that many messages are judged at once, and refuses what calls itself bad.
#[derive(Debug)]
struct Later;

#[async_trait]
impl Validator for Later {
    async fn message(&self, cx: &Context<'_>, message: &Message) -> Verdict {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if message.payload().starts_with(b"bad") {
            return Verdict::Ignore("it says so".into());
        }
        let wanted = Block::new(RAW, message.payload().clone());
        match message.payload().starts_with(b"defer") && !cx.store.has(wanted.cid()).await.expect("reads") {
            true => Verdict::Defer(vec![Need::Block(*wanted.cid())]),
            false => Verdict::Accept,
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
async fn what_exceeds_the_rate_is_ignored_and_nobody_but_its_author_notices() {
    let (wire, on, clock) = (MemoryNetwork::new(1), topic("guarded/a"), Hands::at(0));
    let loud = node(&wire, 1).open().await.expect("opens");
    let quiet = node(&wire, 2).open().await.expect("opens");
    let near = node(&wire, 3).clock(clock.clone()).validator(validator(rate())).open().await.expect("opens");
    let far = node(&wire, 4).open().await.expect("opens");
    let mut heard = near.subscribe(&on).await.expect("subscribes");
    let mut relayed = far.subscribe(&on).await.expect("subscribes");
    line(&on, &[&loud, &near, &far]).await;
    line(&on, &[&quiet, &near]).await;

    publish(&loud, ["1", "2", "3", "4", "5"]).await;
    publish(&quiet, ["quiet"]).await;
    let mut all = Vec::new();
    for _ in 0..4 {
        all.push(next(&mut heard).await);
        assert_eq!(Some(&next(&mut relayed).await), all.last());
    }
    all.sort();
    assert_eq!(all, ["1", "2", "3", "quiet"]);
    assert!(is_silent(&mut heard).await && is_silent(&mut relayed).await);
    assert_eq!((near.counter("ignored"), near.counter("rejected")), (2, 0));
    for (of, whom) in [(&near, &loud), (&near, &quiet), (&near, &far), (&far, &near)] {
        assert_eq!(reputation(of, whom).await, 0.0);
    }

    clock.set(20_000);
    publish(&loud, ["6", "7"]).await;
    assert_eq!((next(&mut heard).await, next(&mut relayed).await), ("6".into(), "6".into()));
    assert!(is_silent(&mut heard).await, "a third of the window lets one pass");
}

/// A node that publishes, one that asks [`Later`] after the rate, and what that hears.
async fn guarded_by_two() -> (Node, Node, Subscription) {
    let (wire, on) = (MemoryNetwork::new(1), topic("guarded/a"));
    let loud = node(&wire, 1).open().await.expect("opens");
    let guard = node(&wire, 2).validator(validator(rate())).validator(Arc::new(Later));
    let guard = guard.open().await.expect("opens");
    let heard = guard.subscribe(&on).await.expect("subscribes");
    line(&on, &[&loud, &guard]).await;
    (loud, guard, heard)
}

#[tokio::test(start_paused = true)]
async fn messages_that_are_judged_at_once_count_together() {
    let (loud, _guard, mut heard) = guarded_by_two().await;
    publish(&loud, ["1", "2", "3", "4", "5"]).await;
    for expected in ["1", "2", "3"] {
        assert_eq!(next(&mut heard).await, expected);
    }
    assert!(is_silent(&mut heard).await);
}

/// The clock of the node stands still: nothing leaks.
#[tokio::test(start_paused = true)]
async fn what_others_refuse_does_not_count_for_long_and_what_is_deferred_counts_once() {
    let (loud, guard, mut heard) = guarded_by_two().await;
    publish(&loud, ["bad 1", "bad 2", "bad 3"]).await;
    assert!(is_silent(&mut heard).await);
    for payload in ["defer 1", "defer 2", "defer 3"] {
        loud.put_blocks(&[Block::new(RAW, payload)]).await.expect("puts");
        publish(&loud, [payload]).await;
        assert_eq!(next(&mut heard).await, payload);
    }
    assert_eq!(guard.counter("deferred"), 3);
    publish(&loud, ["4"]).await;
    assert!(is_silent(&mut heard).await);
}

#[tokio::test(start_paused = true)]
async fn ones_own_node_refuses_to_exceed_it_and_says_why() {
    let (clock, wire) = (Hands::at(0), MemoryNetwork::new(1));
    let own = node(&wire, 1).clock(clock.clone()).validator(validator(rate())).open().await.expect("opens");
    for name in ["guarded/a", "guarded/b", "guarded/a"] {
        own.publish(&topic(name), "within").await.expect("publishes");
    }
    let refused = own.publish(&topic("guarded/c"), "beyond").await.expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::Rejected);
    let says = format!("more than 3 messages of {} within 60 s", own.peer_id());
    assert!(refused.detail().ends_with(&says), "{refused}");
    own.publish(&topic("free"), "elsewhere").await.expect("not guarded");
    clock.set(-3_600_000);
    own.publish(&topic("guarded/a"), "an hour back").await.expect_err("refused still");
    clock.set(-3_600_000 + 20_000);
    own.publish(&topic("guarded/a"), "no lasting lock-out").await.expect("publishes");
}

#[tokio::test(start_paused = true)]
async fn what_is_fetched_later_is_accepted_and_does_not_count() {
    let (wire, on) = (MemoryNetwork::new(1), topic("guarded/a"));
    let loud = node(&wire, 1).open().await.expect("opens");
    let open = node(&wire, 2).open().await.expect("opens");
    let guard = node(&wire, 3).validator(validator(rate())).open().await.expect("opens");
    let mut heard = open.subscribe(&on).await.expect("subscribes");
    let mut guarded = guard.subscribe(&on).await.expect("subscribes");
    line(&on, &[&loud, &open]).await;
    publish(&loud, ["1", "2", "3", "4", "5"]).await;
    for _ in 0..5 {
        let message = support::message(&mut heard).await;
        assert_eq!(guard.admit(&on, message.encoded().clone(), None).await, Verdict::Accept);
        next(&mut guarded).await;
    }
    line(&on, &[&loud, &guard]).await;
    publish(&loud, ["6", "7", "8", "9"]).await;
    for expected in ["6", "7", "8"] {
        assert_eq!(next(&mut guarded).await, expected);
    }
    assert!(is_silent(&mut guarded).await);
}

#[tokio::test(start_paused = true)]
async fn whoever_is_pushed_out_begins_anew() {
    let (wire, on) = (MemoryNetwork::new(1), topic("guarded/a"));
    let [first, second] = [node(&wire, 1), node(&wire, 2)].map(|builder| builder.open());
    let (first, second) = (first.await.expect("opens"), second.await.expect("opens"));
    let mut one = rate();
    (one.messages, one.authors) = (1, 1);
    let guard = node(&wire, 3).validator(validator(one)).open().await.expect("opens");
    let mut heard = guard.subscribe(&on).await.expect("subscribes");
    for author in [&first, &second] {
        line(&on, &[author, &guard]).await;
    }
    publish(&first, ["first", "too many"]).await;
    assert_eq!(next(&mut heard).await, "first");
    assert!(is_silent(&mut heard).await);
    publish(&second, ["second"]).await;
    assert_eq!(next(&mut heard).await, "second");
    publish(&first, ["first again"]).await;
    assert_eq!(next(&mut heard).await, "first again");
}

#[test]
fn it_is_registered_under_its_name() {
    // Naming the crate links it.
    let _ = std::any::type_name::<Rate>();
    let registry = Registry::linked().expect("no name twice");
    let entry = registry.find(Kind::Validator, "rate").expect("linked");
    assert_eq!(entry.package, "carrick-plugin-validators");
}
