//! What a transport says of links, of peers and of itself is true.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::super::kit::topic;
use super::{Kit, Member, Outcome, proves, refusal};
use crate::{
    Block, Capabilities, Context, ErrorKind, Event, Identity, Message, Multiaddr, PeerAddr, Privacy,
    Protocol, RelayGate, Remote, Result, Validator, Verdict,
};

/// Accepts everything and notes over which link it came.
#[derive(Debug, Default)]
struct Notes(Mutex<Vec<Option<Remote>>>);

#[async_trait]
impl Validator for Notes {
    async fn message(&self, cx: &Context<'_>, _: &Message) -> Verdict {
        self.0.lock().expect("nobody panicked").push(cx.from.cloned());
        Verdict::Accept
    }

    async fn block(&self, _: &Context<'_>, _: &Block) -> Verdict {
        Verdict::Accept
    }

    async fn accepted(&self, _: &Context<'_>, _: &Message) -> Result<()> {
        Ok(())
    }
}

pub(in super::super) async fn link_is_named_truthfully(kit: Kit) -> Outcome {
    if kit.lacks_broadcast().await {
        return Outcome::Unsupported("broadcast");
    }
    let notes = Arc::new(Notes::default());
    let (author, between) = (kit.node().await, kit.node().await);
    let reader = kit.node_with(|builder| builder.validator(notes.clone())).await;
    kit.link(&author, &between).await;
    kit.link(&between, &reader).await;
    let members = [author, between, reader];
    let mut subscriptions = kit.subscribe(&members, &topic()).await;
    members[0].publish(&topic(), "passed on").await.expect("publishes");
    if members[0].never_relays() {
        kit.silence(&mut subscriptions[2]).await;
        return Outcome::Unsupported("relaying");
    }
    assert_eq!(kit.text(&mut subscriptions[2]).await, "passed on");
    let named = notes.0.lock().expect("nobody panicked").clone();
    if proves(&members[2]).await {
        assert_eq!(named, [Some(Remote::Peer(members[1].peer_id()))]);
    } else {
        assert!(!named.contains(&Some(Remote::Peer(members[0].peer_id()))), "the author is not the link");
    }
    Outcome::Kept
}

pub(in super::super) async fn foreign_link_is_not_a_peer(kit: Kit) -> Outcome {
    let members = kit.pair().await;
    let ids = members.each_ref().map(|member| member.peer_id());
    for member in &members {
        for info in member.transport.peers().await.expect("peers") {
            match (member.caps().identity, &info.remote) {
                (Identity::Daemon, remote) => assert_eq!(remote.peer(), None, "a daemon is no peer"),
                (Identity::Mixed, Remote::Foreign(_)) => {}
                (_, remote) => {
                    assert!(
                        remote.peer().is_some_and(|id| ids.contains(id)),
                        "{remote} is none of the nodes"
                    );
                }
            }
        }
    }
    match members[0].caps().identity {
        Identity::Peer => Outcome::Unsupported("links without a proven peer"),
        Identity::Daemon | Identity::Mixed => Outcome::Kept,
    }
}

pub(in super::super) async fn peer_record_crosses(kit: Kit) -> Outcome {
    let ends = [kit.node().await, kit.node().await];
    let mut events = ends.each_ref().map(|end| end.events());
    let between = kit.node().await;
    for end in &ends {
        kit.link(end, &between).await;
    }
    let [one, other] = &ends;
    let bare = |member: &Member| PeerAddr::new(member.peer_id(), vec![]);
    if !proves(one).await {
        assert_eq!(refusal(one.connect(&bare(other)).await), ErrorKind::NotFound);
        return Outcome::Unsupported("passing records on");
    }
    // Whom the one in between met first hears of the second, and the other way round.
    for (events, far) in events.iter_mut().zip([other, one]) {
        let id = far.peer_id();
        let is_learnt = |event: &Event| matches!(event, Event::Learnt { peer } if *peer == id);
        kit.event("a record that is passed on", events, is_learnt).await;
    }
    let remote = kit.soon("a dial by id", one.connect(&bare(other))).await.expect("its address is known");
    assert_eq!(remote, Remote::Peer(other.peer_id()));
    Outcome::Kept
}

pub(in super::super) async fn listen_addrs_are_dialable(kit: Kit) -> Outcome {
    let far = kit.node().await;
    let addrs = far.transport.listen_addrs();
    if addrs.is_empty() {
        return Outcome::Unsupported("listening");
    }
    let with_id = |addr: &Multiaddr| addr.clone().with(Protocol::P2p(far.peer_id()));
    assert_eq!(far.listen_addrs(), addrs.iter().map(with_id).collect::<Vec<_>>());
    for addr in addrs {
        let near = kit.node().await;
        let dialled = PeerAddr { addrs: vec![addr.clone()], ..far.addr() };
        let answer = kit.soon("a dial of one address", near.transport.dial(&dialled)).await;
        assert!(answer.is_ok(), "{addr} does not work: {answer:?}");
    }
    Outcome::Kept
}

pub(in super::super) async fn capabilities_hold(kit: Kit) -> Outcome {
    let near = kit.node().await;
    let caps = near.caps();
    let contradictions = contradictions(&caps);
    assert!(
        contradictions.is_empty(),
        "the capabilities contradict themselves: {}",
        contradictions.join("; ")
    );
    kit.link(&near, &kit.node().await).await;
    assert_eq!(near.caps(), caps, "they do not change while it is open");
    let shown = near.transports().remove(0).capabilities;
    assert_eq!(shown, caps, "what the node shows is what the transport says");
    Outcome::Kept
}

/// What in the capabilities cannot all be true; that each part is there, every case asks when it opens a node.
fn contradictions(caps: &Capabilities) -> Vec<&'static str> {
    let proves = caps.identity == Identity::Peer;
    let (broadcast, fetch) = (caps.broadcast.as_ref(), caps.fetch.as_ref());
    let rules = [
        (broadcast.is_some() || fetch.is_some(), "it carries something"),
        (proves || !caps.admits_in_handshake, "who is admitted in the handshake proves a key in it"),
        (
            proves || caps.privacy != Privacy::Handshake,
            "what the handshake keeps private, proves a key in it",
        ),
        (broadcast.is_none_or(|caps| caps.max_message_bytes > 0), "a message may have some bytes"),
        (fetch.is_none_or(|caps| caps.max_block_bytes > 0), "a block may have some bytes"),
        (
            broadcast
                .is_none_or(|caps| caps.relay != RelayGate::AfterVerdict || !caps.hold_verdict.is_zero()),
            "what relays after the verdict waits for it",
        ),
    ];
    rules.into_iter().filter(|(holds, _)| !holds).map(|(_, rule)| rule).collect()
}
