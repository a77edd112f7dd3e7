//! Broadcast over the daemon's pubsub.
//!
//! A subscription is an answer that does not end. It is always read, since a daemon drops unseen what is not taken from
//! it; where the gate has no room the message is dropped here, where it is counted. It is opened again when it breaks, and
//! the gap is told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use carrick_core::{ErrorKind, Inbound, MessageId, Notice, Outgoing, PeerId, Receipt, Remote, Result, Topic};
use ipfs_api_backend_hyper::IpfsApi as _;
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::rpc::calls::{Line, PubsubSub, decoded, encoded, short};
use crate::rpc::{Answer, Fault};
use crate::shared::{Shared, lock};
use crate::swarm::{forget_peers, identify, look_at};

/// What a message may have beside its bytes, within the 1 MiB that Kubo carries: number, key, signature and topic.
pub(crate) const WIRE_BYTES: usize = (1 << 20) - 1024;
/// What a line of a subscription may have beside a message in base64: names.
const BESIDE: usize = 8 << 10;
/// The longest wait before a broken subscription is tried again.
const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// How many of our own messages are remembered until they come back.
const MAX_ECHOES: usize = 1024;
/// How many messages may wait to be published.
pub(crate) const MAX_WAITING: usize = 1024;

/// How often a message is given again that was overtaken.
const OVERTAKEN: u32 = 3;

/// A topic that the node takes part in.
pub(crate) struct Joined {
    /// Ends the subscription.
    left: CancellationToken,
    pub(crate) renewal: Arc<Renewal>,
    /// Whether our own daemon brought what we did not send: somebody else uses it for this topic. It never says so.
    has_neighbour: AtomicBool,
}

/// Opens a subscription anew.
pub(crate) struct Renewal {
    wanted: Notify,
    /// When the present one was opened.
    opened: std::sync::Mutex<Instant>,
}

impl Renewal {
    fn new() -> Self {
        Self { wanted: Notify::new(), opened: std::sync::Mutex::new(Instant::now()) }
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
        topics.insert(topic.clone(), Joined { left, renewal, has_neighbour: AtomicBool::new(false) });
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
                if attempt > 0 {
                    shared.host.count("resubscribed", 1);
                    *lock(&renewal.opened) = Instant::now();
                    shared.host.notice(Notice::Gap { topic: Some(topic.clone()), missed: None });
                    // The daemon may have been started again so soon that nothing else has noticed it.
                    shared.host.notice(Notice::Forgot);
                    shared.wake.notify_one();
                }
                let fault = tokio::select! {
                    biased;
                    () = renewal.wanted.notified() => Fault::new(ErrorKind::Unexpected, "the daemon forgot it"),
                    fault = read(&shared, &topic, answer) => fault,
                };
                tracing::warn!(%topic, %fault, "a subscription broke; it is opened again");
                shared.host.count("subscription_lost", 1);
                shared.wake.notify_one();
                attempt = 1;
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
    let topics = lock(&shared.topics);
    let Some(joined) = topics.get(topic) else { return };
    if from == shared.own_daemon() {
        joined.has_neighbour.store(true, Ordering::Relaxed);
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
    look_for_a_while(shared, topic);
    let alone = look_at(shared, topic).await.is_ok_and(|peers| peers.is_empty());
    if lock(&shared.topics).get(topic).is_some_and(|joined| joined.has_neighbour.load(Ordering::Relaxed)) {
        return false;
    }
    if alone {
        shared.wake.notify_one();
    }
    alone
}

fn look_for_a_while(shared: &Shared, topic: &Topic) {
    if lock(&shared.topics).contains_key(topic) {
        return;
    }
    let limits = shared.host.limits();
    let mut topics = lock(&shared.peers);
    if topics.contains_key(topic) || topics.len() < 2 * limits.topics_per_peer {
        topics.entry(topic.clone()).or_default().until = Some(Instant::now() + limits.outbox_time);
    }
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

/// Our own messages that the daemon will bring back to us, the oldest first; one that is sent twice comes back twice. Each is
/// known by its bytes: a bare payload has its id only once the daemon has given it a number.
#[derive(Default)]
pub(crate) struct Echoes(VecDeque<(Topic, MessageId)>);

impl Echoes {
    fn note(&mut self, topic: &Topic, id: MessageId) {
        if self.0.len() == MAX_ECHOES {
            self.0.pop_front();
        }
        self.0.push_back((topic.clone(), id));
    }

    /// Whether it is one; each comes back once.
    fn take(&mut self, topic: &Topic, id: &MessageId) -> bool {
        let at = self.0.iter().position(|(on, expected)| expected == id && on == topic);
        at.is_some_and(|at| self.0.remove(at).is_some())
    }
}

/// Spreads messages over time.
pub(crate) struct Pace {
    step: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    pub(crate) fn new(rate: u32) -> Self {
        Self { step: Duration::from_secs(1) / rate.max(1), next: Mutex::new(Instant::now()) }
    }

    /// Waits for its turn; false when that would take longer than `patience`.
    async fn wait(&self, patience: Duration) -> bool {
        let now = Instant::now();
        let turn = {
            let mut next = self.next.lock().await;
            let turn = (*next).max(now);
            if turn - now > patience {
                return false;
            }
            *next = turn + self.step;
            turn
        };
        // A timer that is due already still takes until its next tick, which is most of what a message needs.
        if turn > now {
            sleep_until(turn).await;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_is_known_once_for_each_time_it_was_sent() {
        let mut echoes = Echoes::default();
        let (here, there) = (Topic::new("here").expect("a topic"), Topic::new("there").expect("a topic"));
        let (one, other) = (MessageId::of(b"one"), MessageId::of(b"other"));
        echoes.note(&here, one);
        echoes.note(&here, one);
        assert!(echoes.take(&here, &one) && !echoes.take(&there, &one) && echoes.take(&here, &one));
        assert!(!echoes.take(&here, &one) && !echoes.take(&here, &other));
        for _ in 0..2 * MAX_ECHOES {
            echoes.note(&here, one);
            assert!(echoes.take(&here, &one), "however often it was sent before");
        }
        (0..2 * MAX_ECHOES).for_each(|n| echoes.note(&here, MessageId::of(&n.to_be_bytes())));
        assert_eq!(echoes.0.len(), MAX_ECHOES);
    }

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

    #[tokio::test(start_paused = true)]
    async fn messages_are_spread_over_time_and_do_not_wait_for_ever() {
        let (pace, began) = (Pace::new(100), Instant::now());
        for _ in 0..11 {
            assert!(pace.wait(Duration::from_secs(1)).await);
        }
        assert_eq!(began.elapsed(), Duration::from_millis(100));
        assert!(!pace.wait(Duration::ZERO).await, "it would have to wait");
    }
}
