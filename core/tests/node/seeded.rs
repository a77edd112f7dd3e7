//! A seeded run repeats exactly: the same keys, clock, seed and paused time give the same trace.

use std::time::Duration;

use carrick_core::{Delivery, Node, Relay, Remote, Subscription, Verdict};

use crate::support::{Envelope, Judge, Wire, key, on, open, ready, settle, topic};

/// A node of a small mesh, with what it wrote down.
struct Member {
    wire: Wire,
    node: Node,
    subscription: Subscription,
    carried: usize,
}

async fn member(n: u8) -> Member {
    let wire = Wire::new();
    let judge = Judge::new().messages(|message, _| async move {
        tokio::time::sleep(Duration::from_millis(message.seqno() % 7)).await;
        if message.payload().starts_with(b"bad") { Verdict::Reject("bad".into()) } else { Verdict::Accept }
    });
    let (node, subscription) = open(on(&wire).identity(key(n)).seed(n.into()).validator(judge.arc())).await;
    Member { wire, node, subscription, carried: 0 }
}

/// Three nodes; what one publishes is carried to the others, who relay it on, until nothing moves.
async fn run() -> Vec<String> {
    let mut trace = Vec::new();
    let mut mesh = [member(1).await, member(2).await, member(3).await];
    for round in 0..6_u8 {
        for member in &mesh {
            member.node.publish(&topic(), format!("round {round}")).await.expect("publishes");
            trace.push(format!("jitter {:?}", member.wire.host().backoff(round.into())));
        }
        let stranger = Envelope::by(9, round.into(), if round % 2 == 0 { "bad" } else { "good" }).encode();
        let mut answers = Vec::new();
        for to in 0..mesh.len() {
            answers.push(mesh[to].wire.hand(
                &Remote::Peer(key(9).public().to_peer_id()),
                &topic(),
                stranger.clone(),
            ));
            for from in 0..mesh.len() {
                let out = mesh[from].wire.published();
                for message in &out[mesh[from].carried..] {
                    let sender = Remote::Peer(mesh[from].node.peer_id());
                    answers.push(mesh[to].wire.hand(&sender, &topic(), message.bytes.clone()));
                }
            }
        }
        for member in &mut mesh {
            member.carried = member.wire.published().len();
        }
        let answers: Vec<Relay> = crate::support::within(futures::future::join_all(answers)).await;
        trace.push(format!("{answers:?}"));
        settle().await;
        for member in &mut mesh {
            for delivery in ready(&mut member.subscription) {
                trace.push(match delivery {
                    Delivery::Message(message) => format!("{} got {}", member.node.peer_id(), message.id()),
                    other => format!("{other:?}"),
                });
            }
            trace.push(format!("{:?}", member.node.status().await.expect("status").counters));
        }
    }
    trace
}

#[test]
fn a_seeded_run_of_three_nodes_repeats() {
    let trace = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(run())
    };
    let first = trace();
    assert!(first.iter().filter(|line| line.contains(" got ")).count() >= 3 * 6 * 2);
    for _ in 0..3 {
        assert_eq!(trace(), first);
    }
}
