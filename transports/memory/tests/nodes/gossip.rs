//! Messages: bounded, counted.

use std::sync::Arc;

use carrick_core::{
    Bytes, ErrorKind, Lane, Limits, MessageId, Outgoing, Receipt, Result, Skip, Topic, Transport,
};
use carrick_transport_memory::MemoryNetwork;

use crate::common::{Joined, PATIENCE, builder, kind, line, open, topic};

fn outgoing(topic: &Topic, bytes: Bytes, lane: Lane) -> Outgoing {
    Outgoing { id: MessageId::of(&bytes), topic: topic.clone(), bytes, lane }
}

async fn publish(from: &Joined, message: &Outgoing) -> Result<Receipt> {
    from.memory.broadcast().expect("has it").publish(message).await
}

#[tokio::test(start_paused = true)]
async fn who_takes_smaller_messages_only_is_left_out() {
    let wire = MemoryNetwork::new(1);
    let a = open(&wire, builder(1)).await;
    let mut limits = Limits::default();
    limits.payload_bytes = 1 << 10;
    let small = open(&wire, builder(2).limits(limits.clone())).await;
    a.dial(&small).await;
    let _reading = small.node.subscribe(&topic()).await.expect("subscribes");
    let sized = |bytes: usize| outgoing(&topic(), vec![0; bytes].into(), Lane::Own);
    let receipt = publish(&a, &sized(limits.envelope_bytes() + 1)).await.expect("within our own limit");
    assert_eq!(receipt, Receipt::counted(0, vec![(Skip::TooLarge, 1)]));
    let receipt = publish(&a, &sized(limits.envelope_bytes())).await.expect("within both limits");
    assert_eq!(receipt, Receipt::counted(1, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_and_counts() {
    let wire = MemoryNetwork::new(1);
    let mut limits = Limits::default();
    limits.payload_bytes = 1 << 10;
    limits.send_queue_bytes = limits.envelope_bytes();
    let a = open(&wire, builder(1).limits(limits)).await;
    let b = open(&wire, builder(2)).await;
    a.dial(&b).await;
    let _reading = b.node.subscribe(&topic()).await.expect("subscribes");
    // Nothing here yields, so the far end reads nothing meanwhile.
    let message = |lane| outgoing(&topic(), vec![0; 2 << 10].into(), lane);
    for _ in 0..5 {
        assert_eq!(publish(&a, &message(Lane::Own)).await.expect("taken"), Receipt::counted(1, vec![]));
    }
    let receipt = publish(&a, &message(Lane::Relay)).await.expect("an answer");
    assert_eq!(receipt, Receipt::counted(0, vec![(Skip::QueueFull, 1)]));
    assert_eq!(a.node.counter("dropped"), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_many_threads_links_come_and_go_while_messages_flow() {
    let wire = MemoryNetwork::new(1);
    let nodes = Arc::new(line(&wire, 6).await);
    let mut readers = Vec::new();
    for joined in nodes.iter() {
        readers.push(joined.node.subscribe(&topic()).await.expect("subscribes"));
    }
    let publishing = (0..6).map(|at| {
        let nodes = nodes.clone();
        tokio::spawn(async move {
            for n in 0..50 {
                nodes[at].node.publish(&topic(), format!("{n} of {at}")).await.expect("publishes");
            }
        })
    });
    let linking = (0..6).map(|at| {
        let nodes = nodes.clone();
        tokio::spawn(async move {
            for step in 1..50 {
                let other = &nodes[(at + step) % 6];
                // Oneself is among them, and a link may be there or gone: all that matters is that nothing hangs.
                let _ = nodes[at].memory.dial(&other.addr()).await;
                let _ = nodes[at].memory.disconnect(&other.node.peer_id().into()).await;
            }
        })
    });
    let all = publishing.chain(linking).collect::<Vec<_>>();
    let done = tokio::time::timeout(PATIENCE, futures::future::join_all(all)).await.expect("nothing hangs");
    assert!(done.into_iter().all(|task| task.is_ok()));
    for joined in nodes.iter() {
        joined.node.close().await.expect("closes");
        assert_eq!(kind(joined.memory.peers().await), ErrorKind::Closed);
    }
}
