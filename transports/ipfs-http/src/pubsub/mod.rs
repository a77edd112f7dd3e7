//! Broadcast over the daemon's pubsub.
//!
//! A subscription is an answer that does not end. It is always read, since a daemon drops unseen what is not taken from
//! it; where the gate has no room the message is dropped here, where it is counted. It is opened again when it breaks, and
//! the gap is told.

mod echoes;
mod outgoing;
mod pace;
mod publish;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use carrick_core::{ErrorKind, Inbound, MessageId, Notice, PeerId, Remote, Result, Topic};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

pub(crate) use self::echoes::Echoes;
pub(crate) use self::outgoing::Waiting;
pub(crate) use self::publish::{keep_sending, max_message_bytes, publish};
use crate::rpc::calls::{Line, PubsubSub, decoded, encoded, short};
use crate::rpc::{Answer, Fault};
use crate::shared::{Shared, lock};
use crate::swarm::{forget_peers, identify};

/// What a line of a subscription may have beside a message in base64: names.
const BESIDE: usize = 8 << 10;
/// The longest wait before a broken subscription is tried again, and how long one must have stood that is tried soon.
const MAX_BACKOFF: Duration = Duration::from_secs(2);
const STABLE: Duration = Duration::from_secs(10);

/// A topic that the node takes part in.
pub(crate) struct Joined {
    /// Ends the subscription.
    left: CancellationToken,
    pub(crate) renewal: Arc<Renewal>,
    /// When our own daemon last brought what we did not send: somebody else uses it for this topic. It never says so.
    neighbour: Option<Instant>,
}

impl Joined {
    /// Whether another program was heard over our own daemon not long ago.
    pub(crate) fn has_neighbour(&self, shared: &Shared) -> bool {
        self.neighbour.is_some_and(|heard| heard.elapsed() < shared.host.limits().outbox_time)
    }
}

/// Opens a subscription anew.
pub(crate) struct Renewal {
    wanted: Notify,
    /// When the present one was opened.
    opened: Mutex<Instant>,
}

impl Renewal {
    fn new() -> Self {
        Self { wanted: Notify::new(), opened: Mutex::new(Instant::now()) }
    }

    /// Asks for it, unless it was opened since then: that one is as new as can be.
    pub(crate) fn if_older(&self, than: Instant) {
        if *lock(&self.opened) < than {
            self.wanted.notify_waiters();
        }
    }
}

/// The daemons on a topic, as ours said last.
#[derive(Default)]
pub(crate) struct OnTopic {
    pub(crate) peers: BTreeSet<Remote>,
    /// When the newest answer was asked for.
    pub(crate) as_of: Option<Instant>,
    /// How long they are looked for where the node has only published; `None` while it takes part.
    pub(crate) until: Option<Instant>,
}

/// The name of a topic between daemons.
pub(crate) fn wire_name(shared: &Shared, topic: &Topic) -> String {
    format!("carrick/{}/{topic}", shared.host.network())
}

/// Takes part in a topic.
pub(crate) async fn join(shared: &Arc<Shared>, topic: &Topic) -> Result<()> {
    if is_joined(shared, &lock(&shared.topics), topic)? {
        return Ok(());
    }
    let answer = subscribe(shared, topic).await.map_err(|fault| shared.failed("join", fault))?;
    let (left, renewal) = (shared.closed.child_token(), Arc::new(Renewal::new()));
    {
        let mut topics = lock(&shared.topics);
        // Meanwhile another may have joined it, or filled the last place.
        if is_joined(shared, &topics, topic)? {
            return Ok(());
        }
        let (left, renewal) = (left.clone(), Arc::clone(&renewal));
        topics.insert(topic.clone(), Joined { left, renewal, neighbour: None });
    }
    lock(&shared.peers).entry(topic.clone()).or_default().until = None;
    let listening = keep(Arc::clone(shared), topic.clone(), answer, renewal);
    shared.host.spawn(async move {
        left.run_until_cancelled(listening).await;
    });
    shared.wake.notify_one();
    Ok(())
}

/// # Errors
/// `TooLarge` where it is not, and there is no place for one more.
fn is_joined(shared: &Shared, topics: &BTreeMap<Topic, Joined>, topic: &Topic) -> Result<bool> {
    let limit = shared.host.limits().topics_per_peer;
    if !topics.contains_key(topic) && topics.len() >= limit {
        let detail = format!("{limit} topics are joined, which is the limit");
        return Err(shared
            .fail(ErrorKind::TooLarge, "join", detail)
            .mend("leave a topic, or raise `topics_per_peer` under [node.limits] on every node"));
    }
    Ok(topics.contains_key(topic))
}

/// Stops taking part; nothing is delivered once it returns.
pub(crate) fn leave(shared: &Shared, topic: &Topic) {
    if let Some(joined) = lock(&shared.topics).remove(topic) {
        joined.left.cancel();
        forget_peers(shared, topic);
    }
}

async fn subscribe(shared: &Shared, topic: &Topic) -> Result<Answer, Fault> {
    let arg = encoded(wire_name(shared, topic).as_bytes());
    shared.rpc.subscribe(PubsubSub { arg }).await
}

/// Reads a subscription, and opens it again for as long as the topic is joined.
async fn keep(shared: Arc<Shared>, topic: Topic, first: Answer, renewal: Arc<Renewal>) {
    let mut opened = Ok(first);
    let mut attempt = 0;
    loop {
        match opened {
            Ok(answer) => {
                let began = Instant::now();
                if attempt > 0 {
                    shared.host.count("resubscribed", 1);
                    *lock(&renewal.opened) = Instant::now();
                    shared.host.notice(Notice::Gap { topic: Some(topic.clone()), missed: None });
                    // The daemon may have been started again so soon that nothing else has noticed it.
                    shared.may_have_forgotten();
                    shared.wake.notify_one();
                }
                let fault = tokio::select! {
                    biased;
                    () = renewal.wanted.notified() => Fault::new(ErrorKind::Unexpected, "nothing comes over it"),
                    fault = read(&shared, &topic, answer) => fault,
                };
                tracing::warn!(%topic, %fault, "a subscription broke; it is opened again");
                shared.host.count("subscription_lost", 1);
                shared.wake.notify_one();
                attempt = if began.elapsed() < STABLE { attempt + 1 } else { 1 };
            }
            Err(fault) => {
                tracing::debug!(%topic, %fault, attempt, "a subscription could not be opened");
                attempt += 1;
            }
        }
        sleep(shared.host.backoff(attempt - 1).min(MAX_BACKOFF)).await;
        // Whoever answers now may be another daemon; its echoes are known by its id.
        opened = match identify(&shared).await {
            Ok(()) => subscribe(&shared, &topic).await,
            Err(fault) => Err(fault),
        };
    }
}

/// Reads until it breaks.
async fn read(shared: &Shared, topic: &Topic, answer: Answer) -> Fault {
    let mut lines = answer.lines(shared.host.limits().envelope_bytes() / 3 * 4 + BESIDE);
    loop {
        match lines.next().await {
            Ok(Some(line)) => take(shared, topic, &line),
            Ok(None) => return Fault::new(ErrorKind::Unreachable, "the daemon ended it"),
            Err(fault) => return fault,
        }
    }
}

/// Takes one line. What a line says is another daemon's word: nothing in it is believed before the gate has seen it.
fn take(shared: &Shared, topic: &Topic, line: &[u8]) {
    // Too long for any message that is taken.
    if line.is_empty() {
        return shared.host.count("oversized", 1);
    }
    let Some((from, bytes, number)) = parse(line) else {
        return shared.host.count("malformed", 1);
    };
    if bytes.len() > shared.host.limits().envelope_bytes() {
        return shared.host.count("oversized", 1);
    }
    if *from == *shared.daemon() && lock(&shared.echoes).take(topic, &MessageId::of(&bytes)) {
        return shared.host.count("echoes", 1);
    }
    let from = Remote::Foreign(from);
    if !shared.host.relays_to(&from) {
        return shared.host.count("quiet", 1);
    }
    // Held until it is delivered: once it is left, nothing comes.
    let mut topics = lock(&shared.topics);
    let Some(joined) = topics.get_mut(topic) else { return };
    if from == shared.own_daemon() {
        if !joined.has_neighbour(shared) {
            shared.wake.notify_one();
        }
        joined.neighbour = Some(Instant::now());
    }
    let Some(slot) = shared.host.try_slot(&from) else {
        // It is counted where there was no room.
        return;
    };
    let judged = slot.deliver(Inbound { from, topic: topic.clone(), bytes, wire_id: Some(number) });
    drop(topics);
    // The daemon has relayed it long ago; nobody needs the verdict here.
    shared.host.spawn(async move {
        judged.await;
    });
}

/// Who sent it, what, and under which number.
pub(crate) fn parse(line: &[u8]) -> Option<(Arc<str>, Bytes, Bytes)> {
    let line: Line = serde_json::from_slice(line).ok()?;
    let from: PeerId = short(&line.from)?;
    Some((from.to_string().into(), decoded(&line.data)?, decoded(&line.seqno)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_another_shape_is_none() {
        let good = br#"{"from":"12D3KooWJWoaqZhDaoEFshF7Rh1bpY9ohihFhzcW6d69Lr2NASuq","data":"ubTA","seqno":"uAQ","topicIDs":["u"]}"#;
        let (from, data, number) = parse(good).expect("a message");
        assert!(from.starts_with("12D3") && *data == *b"m0" && *number == [1]);
        for bad in [
            &b""[..],
            b"{}",
            b"<html>",
            br#"{"from":"me","data":"ubTA","seqno":"uAQ"}"#,
            br#"{"from":"12D3KooWJWoaqZhDaoEFshF7Rh1bpY9ohihFhzcW6d69Lr2NASuq","data":"bTA","seqno":"uAQ"}"#,
        ] {
            assert!(parse(bad).is_none(), "{:?}", String::from_utf8_lossy(bad));
        }
    }
}
