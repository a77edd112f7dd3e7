//! The receiving end of a link: room in the gate first, then the next message, then the verdict, then on to others.

use std::sync::Arc;

use carrick_core::{Inbound, Lane, Relay, Remote};
use tokio::sync::Semaphore;

use crate::MemoryNetwork;
use crate::flight::Flight;
use crate::queue::Message;
use crate::state::Reading;

/// Starts to read a new link. The task belongs to the node that reads, and ends with the link.
pub(crate) fn start(network: &MemoryNetwork, reading: Reading) {
    let (network, host) = (network.clone(), reading.host.clone());
    host.spawn(async move {
        tokio::select! {
            biased;
            () = reading.ended.cancelled() => {}
            () = read(&network, &reading) => {}
        }
    });
}

async fn read(network: &MemoryNetwork, link: &Reading) {
    let from = Remote::Peer(link.from);
    // A message may wait for its verdict without holding room in the gate, so those that wait are bounded here too.
    let verdicts = Arc::new(Semaphore::new(2 * link.host.limits().gate_per_remote));
    let conditions = || network.state().weather.of(link.host.me(), link.from);
    let mut flight = Flight::over(link.pipe.clone());
    loop {
        let message = tokio::select! {
            biased;
            message = flight.arrives() => message,
            () = link.queue.ready(), if flight.has_room(&conditions()) => {
                learn(network, link);
                if let Some(message) = link.queue.pop() {
                    flight.leave(network, &conditions(), message);
                }
                continue;
            }
        };
        let Ok(waits) = verdicts.clone().acquire_owned().await else { return };
        let slot = link.host.slot(&from).await;
        network.turn().await;
        if !is_wanted(network, link, &message) {
            continue;
        }
        let verdict = slot.deliver(Inbound {
            from: from.clone(),
            topic: message.topic.clone(),
            bytes: message.bytes.clone(),
            wire_id: Some(message.wire_id()),
        });
        let (network, at, from) = (network.clone(), link.at, link.from);
        link.host.spawn(async move {
            let relay = verdict.await;
            drop(waits);
            if relay == Relay::Accept {
                // A transport that closed meanwhile relays no more.
                let _ = network.state().send(at, &message, Lane::Relay, Some(&from));
            }
        });
    }
}

/// Takes in what the far end knows of peers.
fn learn(network: &MemoryNetwork, link: &Reading) {
    let from = Remote::Peer(link.from);
    while let Some(record) = link.queue.pop_record() {
        if link.host.learn(&from, record.clone()) {
            network.state().spread(link.at, &record, &link.from);
        }
    }
}

/// Whether the node still takes part in the topic, and the message did not begin here: it comes back where links form a
/// circle.
fn is_wanted(network: &MemoryNetwork, link: &Reading, message: &Message) -> bool {
    let state = network.state();
    message.source != link.host.me()
        && state.place(link.at).is_some_and(|place| place.topics.contains(&message.topic))
}
