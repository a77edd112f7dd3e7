//! Handing messages to the daemon.

use std::sync::Arc;

use bytes::Buf as _;
use carrick_core::{Error, ErrorKind, MessageId, Notice, Outgoing, Receipt, Result, Topic};
use ipfs_api_backend_hyper::IpfsApi as _;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::outgoing::Job;
use super::pace::Pace;
use super::{OnTopic, wire_name};
use crate::rpc::Fault;
use crate::shared::{Shared, lock};
use crate::swarm::keep_looking_at;

/// What a message may have beside its bytes, within the 1 MiB that Kubo carries: number, key, signature and topic.
const WIRE_BYTES: usize = (1 << 20) - 1024;
/// How often a message is given again that was overtaken.
const OVERTAKEN: u32 = 3;

/// Hands a message to the daemon, when its turn comes.
pub(crate) async fn publish(shared: &Shared, message: &Outgoing) -> Result<Receipt> {
    let (size, limit) = (message.bytes.len(), max_message_bytes(shared));
    if size > limit {
        let detail = format!("a message of {size} bytes; at most {limit} are allowed");
        return Err(shared.fail(ErrorKind::TooLarge, "publish", detail));
    }
    // Asked before it is sent: whoever comes after that has not got it, and the node sends it again.
    let alone = is_alone(shared, &message.topic).await;
    let (done, sent) = oneshot::channel();
    let count = shared.waiting.push(Job { message: message.clone(), done });
    if count > 0 {
        shared.host.notice(Notice::Dropped { remote: shared.own_daemon(), count });
    }
    // For its turn, and then for the daemon.
    let patience = 2 * shared.rpc.patience();
    match timeout(patience, sent).await {
        Ok(Ok(sent)) => sent.map_err(|fault| shared.failed("publish", fault))?,
        Ok(Err(_)) => return Err(too_many(shared, ErrorKind::Busy)),
        Err(_) => return Err(too_many(shared, ErrorKind::Timeout)),
    }
    // Whom it reaches the daemon does not say; that there is nobody it does.
    Ok(if alone { Receipt::counted(0, vec![]) } else { Receipt::unknown() })
}

fn too_many(shared: &Shared, kind: ErrorKind) -> Error {
    let rate = shared.config.publish_rate;
    shared
        .fail(kind, "publish", format!("more than {rate} messages a second wait"))
        .mend("publish less, or raise `publish_rate` where the daemon is seen to carry more")
}

/// Whether nobody takes part in a topic. Who does is looked for as long as the node keeps the message, so that it need not be
/// asked for the next one.
async fn is_alone(shared: &Shared, topic: &Topic) -> bool {
    let known = |known: &OnTopic| !known.peers.is_empty();
    if lock(&shared.peers).get(topic).is_some_and(known) {
        return false;
    }
    let alone = keep_looking_at(shared, topic).await.is_ok_and(|peers| peers.is_empty());
    if alone {
        shared.wake.notify_one();
    }
    alone
}

/// Sends what waits for as long as the transport is open. One at a time: a daemon numbers what it is given at once, and then
/// drops what it finds overtaken.
pub(crate) async fn keep_sending(shared: Arc<Shared>) {
    let mut pace = Pace::new(shared.config.publish_rate);
    loop {
        shared.waiting.any().await;
        pace.turn().await;
        if let Some(Job { message, done }) = shared.waiting.next() {
            pace.goes();
            // Who has given up does not ask.
            let _ = done.send(send(&shared, &message).await);
        }
    }
}

async fn send(shared: &Shared, message: &Outgoing) -> Result<(), Fault> {
    let (comes_back, id) = (lock(&shared.topics).contains_key(&message.topic), MessageId::of(&message.bytes));
    if comes_back {
        lock(&shared.echoes).note(&message.topic, id);
    }
    let patience = shared.rpc.patience();
    let sent = timeout(patience, give(shared, message)).await;
    let sent = sent.unwrap_or_else(|_| Err(Fault::silent("the message was not taken", patience)));
    if let (true, Err(fault)) = (comes_back, &sent) {
        let mut echoes = lock(&shared.echoes);
        match fault.kind {
            // It may have been taken all the same.
            ErrorKind::Timeout | ErrorKind::Unreachable => echoes.doubt(&message.topic, &id),
            _ => drop(echoes.take(&message.topic, &id)),
        }
    }
    sent
}

async fn give(shared: &Shared, message: &Outgoing) -> Result<(), Fault> {
    let mut attempt = 0;
    loop {
        let name = wire_name(shared, &message.topic);
        match shared.rpc.pubsub_pub(name, message.bytes.clone().reader()).await {
            // Another program publishes through this daemon, and overtook it.
            Err(fault) if fault.says("validation ignored") && attempt < OVERTAKEN => attempt += 1,
            sent => return sent,
        }
    }
}

/// The largest message that is carried.
pub(crate) fn max_message_bytes(shared: &Shared) -> usize {
    shared.host.limits().envelope_bytes().min(WIRE_BYTES)
}
