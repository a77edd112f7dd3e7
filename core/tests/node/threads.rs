//! The promises that hold however threads interleave.

use std::sync::Arc;

use carrick_core::{Bytes, Inbound, Relay};

use crate::support::{Envelope, Wire, on_wires, open, ready, remote, topic};

const AUTHORS: u8 = 8;
const EACH: u64 = 40;
const COPIES: u8 = 4;

/// Every message comes several times over two transports from many tasks, and some who deliver give up: it is accepted
/// once, relayed once on each transport, by who delivered it or by the node, and handed out once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_message_is_relayed_once_on_each_transport_and_handed_out_once() {
    let (left, right) = (Wire::new(), Wire::new());
    let (node, mut subscription) = open(on_wires(&[("left", &left), ("right", &right)])).await;
    let messages: Arc<Vec<Bytes>> = Arc::new(
        (0..AUTHORS)
            .flat_map(|author| (0..EACH).map(move |n| Envelope::by(author, n, n.to_string()).encode()))
            .collect(),
    );
    let mut tasks = tokio::task::JoinSet::new();
    for (at, wire) in [&left, &right].into_iter().enumerate() {
        for copy in 0..COPIES {
            let (host, messages) = (wire.host(), Arc::clone(&messages));
            tasks.spawn(async move {
                let mut accepted = Vec::new();
                for (n, bytes) in messages.iter().enumerate() {
                    let from = remote(100 + copy);
                    let slot = host.slot(&from).await;
                    let answer =
                        slot.deliver(Inbound { from, topic: topic(), bytes: bytes.clone(), wire_id: None });
                    if (n + usize::from(copy)) % 3 == 0 {
                        tokio::select! {
                            biased;
                            () = tokio::task::yield_now() => {}
                            answer = answer => {
                                if answer == Relay::Accept {
                                    accepted.push(bytes.clone());
                                }
                            }
                        }
                    } else if answer.await == Relay::Accept {
                        accepted.push(bytes.clone());
                    }
                }
                (at, accepted)
            });
        }
    }
    let mut accepted = [vec![], vec![]];
    while let Some(done) = tasks.join_next().await {
        let (at, mut of_task) = done.expect("no panic");
        accepted[at].append(&mut of_task);
    }
    until(|| node.counter("accepted") == messages.len() as u64).await;
    // What the node relays itself goes out in tasks of its own.
    for (wire, accepted) in [(&left, &accepted[0]), (&right, &accepted[1])] {
        until(|| wire.published().len() + accepted.len() >= messages.len()).await;
        for message in &*messages {
            let times = wire.relayed(message) + accepted.iter().filter(|bytes| *bytes == message).count();
            assert_eq!(times, 1);
        }
    }
    let mut numbers = vec![vec![]; AUTHORS.into()];
    for delivery in ready(&mut subscription) {
        let carrick_core::Delivery::Message(message) = delivery else { panic!("{delivery:?}") };
        let author = (0..AUTHORS).find(|n| message.author() == Some(&crate::support::peer(*n)));
        numbers[usize::from(author.expect("known"))].push(message.seqno());
    }
    for of_author in numbers {
        assert_eq!(of_author.len() as u64, EACH);
    }
}

async fn until(done: impl Fn() -> bool) {
    let waiting = async {
        while !done() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), waiting).await.expect("it comes to that");
}
