//! Floods of gossipsub.

use carrick_core::{Keypair, Skip, Topic};

use crate::raw::rpc::{self, Control, Graft, IHave, IWant, Message, Rpc};
use crate::raw::{GOSSIP, Raw, delimited, number};
use crate::stage::{Foe, Stage, addr, config, limits, soon, topic};

fn control(control: Control) -> Rpc {
    Rpc { control: Some(control), ..Rpc::default() }
}

/// Ids that nobody has.
fn ids(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|_| number().to_be_bytes().to_vec()).collect()
}

/// An hour of nothing.
async fn nothing() {
    std::future::pending().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_announced_without_end_ends_in_a_ban() {
    let mut stage = Stage::new().await;
    let foe = stage.foe().await;
    let named = foe.named(topic().as_str());
    let flood = async move |foe: &mut Foe, _: u64| {
        let ihave = vec![IHave { topic: named.clone(), ids: ids(100) }];
        if !foe.gossip(&control(Control { ihave, ..Control::default() })).await {
            nothing().await;
        }
    };
    stage.casts_out(foe, flood).await;
    assert!(stage.counted("gossip_excess") > 0);
}

/// The only one on a topic of its own.
#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_into_the_queue_of_who_does_not_read_is_told() {
    let mut narrow = config();
    narrow.gossipsub.connection_handler_queue_len = 16;
    let mut stage = Stage::with(limits(), narrow).await;
    let deaf = Topic::new("deaf").expect("a topic");
    let mut foe = stage.foe().await;
    let named = foe.named(deaf.as_str());
    assert!(foe.gossip(&Rpc::subscriptions([named], true)).await);
    soon(stage.attacked.ready(&deaf, 1)).await.expect("open");
    let node = stage.attacked.clone();
    let publishing = async {
        for _ in 0..1_000 {
            let published = node.publish(&deaf, vec![7; 60_000]).await.expect("publishes");
            if published.skipped == [(Skip::QueueFull, 1)] {
                return;
            }
        }
        panic!("60 MB went nowhere, and nobody was told");
    };
    stage.under(soon(publishing)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_messages_without_end_is_banned() {
    let mut stage = Stage::new().await;
    let foe = stage.foe().await;
    let flood = async |foe: &mut Foe, _: u64| {
        let iwant = vec![IWant { ids: ids(100) }];
        if !foe.gossip(&control(Control { iwant, ..Control::default() })).await {
            nothing().await;
        }
    };
    stage.casts_out(foe, flood).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_grafts_and_prunes_without_end_is_banned() {
    let mut stage = Stage::new().await;
    let mut foe = stage.foe().await;
    let named = foe.named(topic().as_str());
    assert!(foe.gossip(&Rpc::subscriptions([named.clone()], true)).await);
    let flood = async move |foe: &mut Foe, _: u64| {
        let both = || vec![Graft { topic: named.clone() }];
        if !foe.gossip(&control(Control { prune: both(), graft: both(), ..Control::default() })).await {
            nothing().await;
        }
    };
    stage.casts_out(foe, flood).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_and_leaves_without_end_is_banned() {
    let mut stage = Stage::new().await;
    let foe = stage.foe().await;
    let named = foe.named(topic().as_str());
    let flood = async move |foe: &mut Foe, n: u64| {
        if !foe.gossip(&Rpc::subscriptions([named.clone()], n.is_multiple_of(2))).await {
            nothing().await;
        }
    };
    stage.casts_out(foe, flood).await;
    assert!(stage.counted("needless") > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_topics_are_too_many() {
    let mut stage = Stage::new().await;
    let foe = stage.foe().await;
    let flood = async |foe: &mut Foe, n: u64| {
        let topics: Vec<_> = (0..300).map(|at| foe.named(&format!("t{}", 300 * n + at))).collect();
        if !foe.gossip(&Rpc::subscriptions(topics, true)).await {
            nothing().await;
        }
    };
    stage.casts_out(foe, flood).await;
    assert!(stage.counted("subscriptions_refused") > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_of_others_are_nobody_s_and_cost_nothing() {
    let mut stage = Stage::new().await;
    let mut foe = stage.foe().await;
    let attack = async {
        for n in 0..334 {
            let topics = (0..300).map(|at| format!("carrick/elsewhere/t{}", 300 * n + at));
            assert!(foe.gossip(&Rpc::subscriptions(topics, true)).await, "a daemon may have as many");
        }
    };
    stage.under(attack).await;
    assert_eq!(stage.linked().await.len(), 3, "nobody is blamed for topics of other networks");
}

#[tokio::test(flavor = "multi_thread")]
async fn words_in_the_name_of_somebody_else_are_not_delivered() {
    let mut stage = Stage::new().await;
    let foe = stage.foe().await;
    let (named, victim) = (foe.named(topic().as_str()), Keypair::generate_ed25519());
    let forged = async move |foe: &mut Foe, n: u64| {
        let mut message = Message::signed(&foe.raw.key, named.clone(), b"whatever");
        match n % 3 {
            // Its own signature, under the name of somebody else.
            0 => message.from = victim.public().to_peer_id().to_bytes(),
            1 => message.signature[7] ^= 1,
            _ => message.signature.clear(),
        }
        if !foe.gossip(&Rpc { publish: vec![message], ..Rpc::default() }).await {
            nothing().await;
        }
    };
    stage.casts_out(foe, forged).await;
    assert_eq!(stage.counted("malformed"), 0, "none of them came as far as the gate");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_topics_that_nobody_joined_are_not_kept() {
    let mut stage = Stage::new().await;
    let foe = stage.foe().await;
    let flood = async |foe: &mut Foe, n: u64| {
        let topic = if n.is_multiple_of(2) { "carrick/elsewhere/t".to_owned() } else { foe.named("other") };
        let rpc = Rpc::message(&foe.raw.key, topic, &[7; 60_000]);
        if !foe.gossip(&rpc).await {
            nothing().await;
        }
    };
    stage.casts_out(foe, flood).await;
    assert!(stage.counted("unjoined") > 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_again_and_again_ends_in_a_ban() {
    let mut stage = Stage::new().await;
    let foe = stage.foe().await;
    let again = Rpc::message(&foe.raw.key, foe.named(topic().as_str()), b"again");
    let flood = async move |foe: &mut Foe, _: u64| {
        if !foe.gossip(&again).await {
            nothing().await;
        }
    };
    stage.casts_out(foe, flood).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_above_the_limit_ends_its_stream_alone() {
    let mut stage = Stage::new().await;
    let mut foe = stage.foe().await;
    let too_large = delimited(&vec![0; 4 << 20]);
    let attack = async {
        for _ in 0..10 {
            assert!(!foe.raw_gossip(&too_large).await, "it is taken");
        }
    };
    stage.under(attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_node_is_to_blame_for_its_own_words_alone() {
    let mut stage = Stage::new().await;
    let (key, to) = (Keypair::generate_ed25519(), addr(&stage.attacked));
    let banned = stage.ban_of(key.public().to_peer_id());
    let named = rpc::named(&stage.network, topic().as_str());
    let attack = async {
        let raw = Raw::connect(&to, &key, &[GOSSIP]).await.expect("connects");
        let mut stream = raw.open(GOSSIP).await.expect("opens");
        // What somebody else said and it only passes on.
        for _ in 0..30 {
            let others = Rpc::message(&Keypair::generate_ed25519(), named.clone(), &ids(1)[0]);
            assert!(raw.write(&mut stream, &others.framed()).await);
        }
        stage.counts("malformed", 30).await;
        assert_eq!(stage.counted("banned"), 0);
        while raw.write(&mut stream, &Rpc::message(&key, named.clone(), &ids(1)[0]).framed()).await {
            tokio::task::yield_now().await;
        }
        banned.await;
    };
    attack.await;
    stage.under(async {}).await;
}
