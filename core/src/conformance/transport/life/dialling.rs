//! A dial succeeds at both ends, or says why not.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join;
use libp2p_identity::PeerId;
use tokio::time::Instant;

use super::super::kit::topic;
use super::{Kit, Member, Outcome, is_up, proves, refusal};
use crate::{ErrorKind, Event, Identity, Limits, Membership, NetworkId, PeerAddr, Remote, Topic};

/// Whether it dials. What does not, refuses to.
async fn dials(near: &Member, far: &Member) -> bool {
    let dials = near.caps().dials;
    if !dials {
        assert_eq!(refusal(near.transport.dial(&far.addr()).await), ErrorKind::Unsupported);
    }
    dials
}

pub(in super::super) async fn dial_ok_means_admitted(kit: Kit) -> Outcome {
    let (near, far) = (kit.node().await, kit.node().await);
    if !dials(&near, &far).await {
        return Outcome::Unsupported("dialling");
    }
    let remote = kit.soon("a dial", near.transport.dial(&far.addr())).await.expect("it answers");
    if !proves(&near).await {
        return Outcome::Unsupported("links that prove their peer");
    }
    assert_eq!(remote, Remote::Peer(far.peer_id()));
    assert!(near.is_linked(&far.peer_id()).await, "the near end has the link");
    assert!(far.is_linked(&near.peer_id()).await, "the far end has the link");
    Outcome::Kept
}

pub(in super::super) async fn two_dials_make_one_link(kit: Kit) -> Outcome {
    let (one, other) = (kit.node().await, kit.node().await);
    if !dials(&one, &other).await {
        return Outcome::Unsupported("dialling");
    }
    let (mut of_one, mut of_other) = (one.events(), other.events());
    let (to_one, to_other) = (one.addr(), other.addr());
    let both = join(one.transport.dial(&to_other), other.transport.dial(&to_one));
    let (first, second) = kit.soon("two dials at once", both).await;
    first.and(second).expect("both succeed");
    for (from, to) in [(&one, &to_other), (&other, &to_one), (&one, &to_other)] {
        kit.soon("another dial", from.transport.dial(to)).await.expect("it finds the link there is");
    }
    for member in [&one, &other] {
        let peers = member.transport.peers().await.expect("peers");
        let remotes: BTreeSet<_> = peers.iter().map(|info| &info.remote).collect();
        assert_eq!(remotes.len(), peers.len(), "each is there once: {peers:?}");
        // A daemon may have found others by itself.
        assert!(
            !peers.is_empty() && (peers.len() == 1 || member.caps().identity != Identity::Peer),
            "{peers:?}"
        );
    }
    if proves(&one).await {
        kit.event("a link", &mut of_one, is_up).await;
        kit.event("a link", &mut of_other, is_up).await;
        let is_news = |event: &Event| matches!(event, Event::Up { .. } | Event::Down { .. });
        join(kit.never(&mut of_one, is_news), kit.never(&mut of_other, is_news)).await;
    }
    Outcome::Kept
}

pub(in super::super) async fn another_key_is_refused(kit: Kit) -> Outcome {
    let (near, far, other) = (kit.node().await, kit.node().await, kit.node().await);
    if !dials(&near, &far).await {
        return Outcome::Unsupported("dialling");
    }
    let dialled = PeerAddr::new(other.peer_id(), far.transport.listen_addrs());
    let answer = kit.soon("a dial", near.transport.dial(&dialled)).await;
    if !proves(&near).await {
        return Outcome::Unsupported("links that prove their peer");
    }
    assert_eq!(refusal(answer), ErrorKind::Unauthorized);
    assert!(
        !near.is_linked(&far.peer_id()).await && !far.is_linked(&near.peer_id()).await,
        "no link is left"
    );
    Outcome::Kept
}

pub(in super::super) async fn dead_address_is_unreachable_in_time(kit: Kit) -> Outcome {
    let limits = Limits { handshake: kit.patience() / 60, ..Limits::default() };
    let near = kit.node_with(|builder| builder.limits(limits)).await;
    let nowhere = kit.nowhere();
    if !near.caps().dials {
        assert_eq!(refusal(near.transport.dial(&nowhere).await), ErrorKind::Unsupported);
        return Outcome::Unsupported("dialling");
    }
    let began = Instant::now();
    let answer = kit.soon("a dial of nobody", near.transport.dial(&nowhere)).await;
    assert_eq!(refusal(answer), ErrorKind::Unreachable);
    assert!(began.elapsed() < kit.patience() / 6, "far longer than a handshake may take");
    Outcome::Kept
}

pub(in super::super) async fn oneself_is_not_dialled(kit: Kit) -> Outcome {
    let near = kit.node().await;
    if !dials(&near, &near).await {
        return Outcome::Unsupported("dialling");
    }
    for addr in [near.addr(), PeerAddr { peer: None, ..near.addr() }] {
        let answer = kit.soon("a dial of oneself", near.transport.dial(&addr)).await;
        assert_eq!(refusal(answer), ErrorKind::Config, "{addr}");
    }
    assert!(!near.is_linked(&near.peer_id()).await, "no link to oneself");
    Outcome::Kept
}

pub(in super::super) async fn address_of_another_transport_is_refused(kit: Kit) -> Outcome {
    let near = kit.node().await;
    let foreign: PeerAddr = "/ip4/127.0.0.1/sctp/4600".parse().expect("an address");
    let expected = if near.caps().dials { ErrorKind::Config } else { ErrorKind::Unsupported };
    assert_eq!(refusal(kit.soon("a dial", near.transport.dial(&foreign)).await), expected);
    Outcome::Kept
}

pub(in super::super) async fn another_network_is_refused(kit: Kit) -> Outcome {
    let elsewhere = NetworkId::new("elsewhere").expect("a network");
    let (one, other) = (kit.node().await, kit.node_with(|builder| builder.network(elsewhere)).await);
    nothing_crosses(&kit, &one, &other).await
}

/// Admits everybody but one.
#[derive(Debug)]
struct Without(PeerId);

impl Membership for Without {
    fn admits(&self, peer: &PeerId) -> bool {
        *peer != self.0
    }

    fn may_publish(&self, author: &PeerId, _: &Topic) -> bool {
        self.admits(author)
    }
}

pub(in super::super) async fn stranger_is_refused(kit: Kit) -> Outcome {
    let stranger = kit.node().await;
    let members = Arc::new(Without(stranger.peer_id()));
    let member = kit.node_with(|builder| builder.membership(members)).await;
    nothing_crosses(&kit, &stranger, &member).await
}

/// Neither gets a link to the other; and where links are not guarded, still no word of `one` is taken by `other`.
async fn nothing_crosses(kit: &Kit, one: &Member, other: &Member) -> Outcome {
    let (mut of_one, mut of_other) = (one.events(), other.events());
    let mut at_one = one.subscribe(&topic()).await.expect("subscribes");
    let mut at_other = other.subscribe(&topic()).await.expect("subscribes");
    let guarded = other.caps().admits_in_handshake;
    for (near, far) in [(one, other), (other, one)] {
        let answer = kit.soon("a dial", near.transport.dial(&far.addr())).await;
        if guarded {
            assert_eq!(refusal(answer), ErrorKind::Unauthorized);
            assert!(!near.is_linked(&far.peer_id()).await, "the dialler has no link");
            assert!(!far.is_linked(&near.peer_id()).await, "the other has none either");
        }
    }
    if guarded {
        let of_link = |event: &Event| {
            matches!(
                event,
                Event::Up { .. } | Event::Joined { .. } | Event::Left { .. } | Event::Learnt { .. }
            )
        };
        join(kit.never(&mut of_one, of_link), kit.never(&mut of_other, of_link)).await;
    }
    if one.caps().broadcast.is_some() {
        is_heard_by_a_friend(kit, one, "in").await;
        kit.silence(&mut at_other).await;
    }
    if !guarded {
        return Outcome::Unsupported("refusing in the handshake");
    }
    if other.caps().broadcast.is_some() {
        other.publish(&topic(), "out").await.expect("publishes");
        kit.silence(&mut at_one).await;
    }
    Outcome::Kept
}

/// Publishes, and somebody who may hear it does: so what nobody else hears was not lost.
async fn is_heard_by_a_friend(kit: &Kit, author: &Member, text: &'static str) {
    let friend = kit.node().await;
    kit.link(&friend, author).await;
    let members = [author.clone(), friend];
    let mut subscriptions = kit.subscribe(&members, &topic()).await;
    author.publish(&topic(), text).await.expect("publishes");
    assert_eq!(kit.text(&mut subscriptions[1]).await, text);
}
