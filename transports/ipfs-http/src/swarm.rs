//! Looking at the daemon: who it is, who is connected, who is on which topic, and telling what changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use carrick_core::{Direction, ErrorKind, Multiaddr, Notice, PeerId, PeerInfo, Remote, Topic};
use futures::stream::{self, StreamExt as _};
use tokio::time::{Instant, sleep};

use crate::probe::{again, who};
use crate::pubsub::wire_name;
use crate::rpc::calls::{
    Identity, Names, PubsubLs, PubsubPeers, Swarm, SwarmPeer, SwarmPeers, encoded, short,
};
use crate::rpc::{Fault, Payload};
use crate::shared::{Own, Shared, lock};

/// How often the daemon is asked at once when something has changed, and how soon the first time.
const QUICK: u32 = 6;
const QUICKEST: Duration = Duration::from_millis(25);
/// Topics that are asked about at once: a slow answer holds up no other, and other calls find room.
const AT_ONCE: usize = 8;

/// Asks who is connected, and tells what changed.
pub(crate) async fn look(shared: &Shared) -> Result<BTreeMap<Remote, PeerInfo>, Fault> {
    let (asked, call) = (Instant::now(), SwarmPeers { direction: true });
    let answer = shared.rpc.json(call, Payload::Nothing).await;
    let swarm: Swarm = answer.inspect_err(|fault| away(shared, fault))?;
    let mut found = BTreeMap::new();
    for peer in swarm.peers.0 {
        if found.len() == shared.host.limits().connections {
            break;
        }
        if let Some(info) = info(&peer) {
            found.entry(info.remote.clone()).or_insert(info);
        }
    }
    replace_links(shared, asked, &found);
    Ok(found)
}

/// A daemon by its id.
pub(crate) fn remote(id: &str) -> Option<Remote> {
    Some(Remote::Foreign(short::<PeerId>(id)?.to_string().into()))
}

pub(crate) fn info(peer: &SwarmPeer) -> Option<PeerInfo> {
    let mut info = PeerInfo::new(remote(&peer.peer)?);
    info.addrs = short(&peer.addr).into_iter().collect();
    info.direction = match peer.direction {
        1 => Some(Direction::Inbound),
        2 => Some(Direction::Outbound),
        _ => None,
    };
    Some(info)
}

fn replace_links(shared: &Shared, asked: Instant, found: &BTreeMap<Remote, PeerInfo>) {
    let mut links = lock(&shared.links);
    let changes = links.replace(asked, found);
    // Told under the lock: two looks at once must not tell in another order than they looked.
    for gone in changes.gone {
        leave_all(shared, &gone);
        shared.host.notice(Notice::Down(gone));
    }
    for info in changes.new {
        shared.host.notice(Notice::Up(info.remote, info.addrs));
    }
}

/// Asks who takes part in a topic, and tells what changed.
async fn look_at(shared: &Shared, topic: &Topic) -> Result<Vec<Remote>, Fault> {
    let (asked, arg) = (Instant::now(), encoded(wire_name(shared, topic).as_bytes()));
    let answer: Names = shared.rpc.json(PubsubPeers { arg }, Payload::Nothing).await?;
    let mut found: BTreeSet<Remote> = answer.strings.0.iter().filter_map(|id| remote(id)).collect();
    if has_neighbour(shared, topic).await? {
        found.insert(shared.own_daemon());
    }
    replace_peers(shared, topic, asked, found.clone());
    Ok(found.into_iter().collect())
}

/// Whether our own daemon takes part for another program. It names itself to nobody, and where this node takes part too,
/// only what it brings shows that it is not alone.
async fn has_neighbour(shared: &Shared, topic: &Topic) -> Result<bool, Fault> {
    if let Some(joined) = lock(&shared.topics).get(topic) {
        return Ok(joined.has_neighbour(shared));
    }
    let on: Names = shared.rpc.json(PubsubLs {}, Payload::Nothing).await?;
    Ok(on.strings.0.contains(&encoded(wire_name(shared, topic).as_bytes())))
}

/// Asks who takes part in a topic, and goes on looking: for as long as the node keeps a message, if it has not joined it.
pub(crate) async fn keep_looking_at(shared: &Shared, topic: &Topic) -> Result<Vec<Remote>, Fault> {
    {
        let (limits, mut topics) = (shared.host.limits(), lock(&shared.peers));
        let until = Instant::now() + limits.outbox_time;
        let is_joined = lock(&shared.topics).contains_key(topic);
        if !is_joined && (topics.contains_key(topic) || topics.len() < 2 * limits.topics_per_peer) {
            topics.entry(topic.clone()).or_default().until = Some(until);
        }
    }
    look_at(shared, topic).await
}

fn replace_peers(shared: &Shared, topic: &Topic, asked: Instant, found: BTreeSet<Remote>) {
    let mut topics = lock(&shared.peers);
    let Some(known) = topics.get_mut(topic).filter(|known| known.as_of.is_none_or(|as_of| as_of <= asked))
    else {
        return;
    };
    known.as_of = Some(asked);
    let before = std::mem::replace(&mut known.peers, found);
    for left in before.difference(&known.peers) {
        shared.host.notice(Notice::Left(left.clone(), topic.clone()));
    }
    for new in known.peers.difference(&before) {
        shared.host.notice(Notice::Joined(new.clone(), topic.clone()));
    }
}

/// Whoever is gone takes part in nothing; once it is back it is told of anew.
fn leave_all(shared: &Shared, remote: &Remote) {
    for (topic, on) in lock(&shared.peers).iter_mut() {
        if on.peers.remove(remote) {
            shared.host.notice(Notice::Left(remote.clone(), topic.clone()));
        }
    }
}

/// Stops looking for those on a topic; from now on nobody is known to be there.
pub(crate) fn forget_peers(shared: &Shared, topic: &Topic) {
    let mut topics = lock(&shared.peers);
    if let Some(on) = topics.remove(topic) {
        all_left(shared, topic, on.peers);
    }
}

fn all_left(shared: &Shared, topic: &Topic, peers: BTreeSet<Remote>) {
    for left in peers {
        shared.host.notice(Notice::Left(left, topic.clone()));
    }
}

/// The topics to ask about. Those on which nothing waits any more are forgotten.
fn topics_to_look_at(shared: &Shared) -> Vec<Topic> {
    let (now, mut topics) = (Instant::now(), lock(&shared.peers));
    topics.retain(|topic, on| {
        let waits = on.until.is_none_or(|at| at >= now);
        if !waits {
            all_left(shared, topic, std::mem::take(&mut on.peers));
        }
        waits
    });
    topics.keys().cloned().collect()
}

/// Looks at the daemon again and again for as long as the transport is open.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let (mut quick, mut topics_known, mut lost_at) = (0, true, Instant::now());
    loop {
        match survey(&shared).await {
            Ok(()) if shared.there.swap(true, Ordering::Relaxed) => {}
            Ok(()) => {
                tracing::info!(at = %shared.rpc.endpoint(), "the daemon is back");
                shared.host.fact("state", "answers");
                // Over a connection that only seems to stand nothing would ever come.
                lock(&shared.topics).values().for_each(|joined| joined.renewal.if_older(lost_at));
                // It may have been given another repository, or have lost what was not on its disk yet.
                shared.host.notice(Notice::Forgot);
                again(&shared).await;
            }
            Err(fault) => {
                away(&shared, &fault);
                lost(&shared);
                lost_at = Instant::now();
            }
        }
        if shared.there.load(Ordering::Relaxed) {
            let polled = poll_topics(&shared).await;
            if let (Err(fault), true) = (&polled, topics_known) {
                tracing::warn!(%fault, "the daemon does not tell who is on which topic");
            }
            topics_known = polled.is_ok();
        }
        let pause = shared.config.poll.0;
        let pause = if quick > 0 { pause.min(QUICKEST * 2_u32.pow(QUICK - quick)) } else { pause };
        quick = u32::saturating_sub(quick, 1);
        tokio::select! {
            biased;
            () = shared.wake.notified() => quick = QUICK,
            () = sleep(pause) => {}
        }
    }
}

/// Asks who is on which topic, and whether the daemon still knows of the subscriptions.
async fn poll_topics(shared: &Shared) -> Result<(), Fault> {
    let looks = topics_to_look_at(shared).into_iter();
    let looks = looks.map(|topic| async move { look_at(shared, &topic).await.err() });
    let mut looks = stream::iter(looks).buffer_unordered(AT_ONCE);
    let mut failed = None;
    while let Some(looked) = looks.next().await {
        match looked {
            // Nor will the others be answered: the next survey shows whether the daemon is there.
            Some(fault) if matches!(fault.kind, ErrorKind::Timeout | ErrorKind::Unreachable) => {
                return Err(fault);
            }
            // One that fails is no reason not to ask about the others.
            looked => failed = failed.or(looked),
        }
    }
    renew_silent(shared);
    let joined: Vec<Topic> = lock(&shared.topics).keys().cloned().collect();
    if !joined.is_empty() {
        renew_forgotten(shared, &joined).await?;
    }
    failed.map_or(Ok(()), Err)
}

/// Opens anew the subscriptions that did not bring back what was sent.
fn renew_silent(shared: &Shared) {
    let overdue = lock(&shared.echoes).overdue();
    let topics = lock(&shared.topics);
    for (topic, sent) in overdue {
        if let Some(joined) = topics.get(&topic) {
            joined.renewal.if_older(sent);
        }
    }
}

/// Opens anew the subscriptions that the daemon does not know of.
async fn renew_forgotten(shared: &Shared, joined: &[Topic]) -> Result<(), Fault> {
    let asked = Instant::now();
    let known: Names = shared.rpc.json(PubsubLs {}, Payload::Nothing).await?;
    let known: BTreeSet<String> = known.strings.0.into_iter().collect();
    for topic in joined {
        // A subscription may stand that the daemon has forgotten: nothing would ever come over it.
        let forgotten = !known.contains(&encoded(wire_name(shared, topic).as_bytes()));
        if let (true, Some(joined)) = (forgotten, lock(&shared.topics).get(topic)) {
            joined.renewal.if_older(asked);
        }
    }
    Ok(())
}

/// Notes that the daemon does not answer, whoever found that out: it may be back before the next poll.
fn away(shared: &Shared, fault: &Fault) {
    if shared.there.swap(false, Ordering::Relaxed) {
        shared.host.fact("state", &format!("does not answer: {fault}"));
        tracing::warn!(%fault, "the daemon does not answer");
    }
}

/// What is connected where nobody can be asked is not known, and nobody can be reached over it.
fn lost(shared: &Shared) {
    replace_links(shared, Instant::now(), &BTreeMap::new());
    for topic in topics_to_look_at(shared) {
        replace_peers(shared, &topic, Instant::now(), BTreeSet::new());
    }
}

/// The addresses at which a daemon says that it is reached; each ends with its id.
pub(crate) fn addresses(identity: &Identity) -> Vec<Multiaddr> {
    let all = identity.addresses.0.iter();
    all.filter_map(|addr| short(addr)).collect()
}

/// Our own daemon, as it describes itself.
pub(crate) fn own(identity: &Identity) -> Own {
    Own { id: identity.id.as_str().into(), listen: addresses(identity) }
}

/// Asks who our daemon is, and tells when that is another one, or it is reached elsewhere. Of many who ask at once one asks
/// for all.
pub(crate) async fn identify(shared: &Shared) -> Result<(), Fault> {
    let wanted = Instant::now();
    let mut asked = shared.identified.lock().await;
    if asked.0 >= wanted {
        let failed = asked.1.as_ref().map(|(kind, why)| Fault::new(*kind, why.clone()));
        return failed.map_or(Ok(()), Err);
    }
    let asking = Instant::now();
    let answer = who(&shared.rpc).await;
    *asked = (asking, answer.as_ref().err().map(|fault| (fault.kind, fault.to_string())));
    let now = own(&answer?);
    let before = std::mem::replace(&mut *lock(&shared.own), now.clone());
    if before.id != now.id {
        tracing::warn!(before = %before.id, now = %now.id, "another daemon answers; from now on it is this node's");
        shared.host.count("daemon_changed", 1);
        shared.host.fact("daemon", &now.id);
        shared.host.notice(Notice::Forgot);
    }
    if before != now {
        shared.host.notice(Notice::Listening(now.listen));
    }
    Ok(())
}

/// Asks our daemon who it is and who is connected.
async fn survey(shared: &Shared) -> Result<(), Fault> {
    identify(shared).await?;
    look(shared).await.map(drop)
}
