//! The receiving end of a link: room in the gate first, then the next message, then the verdict, then on to others.

use std::sync::Arc;

use carrick_core::{Inbound, Lane, PeerId, Relay, Remote};
use futures::FutureExt as _;
use tokio::sync::Semaphore;

use crate::MemoryNetwork;
use crate::flight::{Flight, IN_FLIGHT};
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
    let most_verdicts = 2 * link.host.limits().gate_per_remote;
    let verdicts = Arc::new(Semaphore::new(most_verdicts));
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
                    link.host.peak("in_flight_bytes", flight.bytes(), IN_FLIGHT);
                }
                continue;
            }
        };
        let Ok(waits) = verdicts.clone().acquire_owned().await else { return };
        link.host.peak("verdicts", most_verdicts - verdicts.available_permits(), most_verdicts);
        let slot = link.host.slot(&from).await;
        network.turn().await;
        if !is_wanted(network, link, &message) {
            continue;
        }
        let mut verdict = slot.deliver(Inbound {
            from: from.clone(),
            topic: message.topic.clone(),
            bytes: message.bytes.clone(),
            wire_id: Some(message.wire_id()),
        });
        // Most messages came another way before, and the verdict is there at once: that needs no task.
        if let Some(verdict) = (&mut verdict).now_or_never() {
            relay(network, link.at, &link.from, &message, verdict);
            continue;
        }
        let (network, at, from) = (network.clone(), link.at, link.from);
        link.host.spawn(async move {
            let verdict = verdict.await;
            drop(waits);
            relay(&network, at, &from, &message, verdict);
        });
    }
}

/// Passes on what was accepted. A transport that closed meanwhile relays no more.
fn relay(network: &MemoryNetwork, at: u64, from: &PeerId, message: &Message, verdict: Relay) {
    if verdict == Relay::Accept {
        let _ = network.state().send(at, message, Lane::Relay, Some(from));
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
