//! Handing messages to the daemon.

use bytes::Buf as _;
use carrick_core::{ErrorKind, MessageId, Outgoing, Receipt, Result, Topic};
use ipfs_api_backend_hyper::IpfsApi as _;
use tokio::time::timeout;

use super::{OnTopic, wire_name};
use crate::rpc::Fault;
use crate::shared::{Shared, lock};
use crate::swarm::keep_looking_at;

/// What a message may have beside its bytes, within the 1 MiB that Kubo carries: number, key, signature and topic.
const WIRE_BYTES: usize = (1 << 20) - 1024;
/// How many messages may wait to be published.
pub(crate) const MAX_WAITING: usize = 1024;
/// How often a message is given again that was overtaken.
const OVERTAKEN: u32 = 3;

/// Hands a message to the daemon.
pub(crate) async fn publish(shared: &Shared, message: &Outgoing) -> Result<Receipt> {
    let (size, limit) = (message.bytes.len(), max_message_bytes(shared));
    if size > limit {
        let detail = format!("a message of {size} bytes; at most {limit} are allowed");
        return Err(shared.fail(ErrorKind::TooLarge, "publish", detail));
    }
    let patience = shared.rpc.patience();
    let room = shared.waiting.try_acquire();
    if room.is_err() || !shared.pace.wait(patience).await {
        let rate = shared.config.publish_rate;
        return Err(shared
            .fail(ErrorKind::Busy, "publish", format!("more than {rate} messages a second wait"))
            .mend("publish less, or raise `publish_rate` where the daemon is seen to carry more"));
    }
    let (comes_back, id) = (lock(&shared.topics).contains_key(&message.topic), MessageId::of(&message.bytes));
    if comes_back {
        lock(&shared.echoes).note(&message.topic, id);
    }
    let sent = timeout(patience, send(shared, message)).await;
    if let Err(fault) = sent.unwrap_or_else(|_| Err(Fault::silent("the message was not taken", patience))) {
        if comes_back {
            lock(&shared.echoes).take(&message.topic, &id);
        }
        return Err(shared.failed("publish", fault));
    }
    // Whom it reaches the daemon does not say; that there is nobody it does.
    Ok(if is_alone(shared, &message.topic).await { Receipt::counted(0, vec![]) } else { Receipt::unknown() })
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

/// One at a time: a daemon numbers what it is given at once, and then drops what it finds overtaken.
async fn send(shared: &Shared, message: &Outgoing) -> Result<(), Fault> {
    let _turn = shared.sending.lock().await;
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
