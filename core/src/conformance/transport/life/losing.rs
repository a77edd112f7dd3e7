//! Links that end: both sides notice, and what must come back does.

use futures::StreamExt as _;
use futures::future::join;

use super::super::kit::topic;
use super::super::{Member, Setup};
use super::{Kit, Outcome, is_down, is_up, proves, refusal};
use crate::{Delivery, ErrorKind, Limits, Remote};

pub(in super::super) async fn closed_peer_is_noticed(kit: Kit) -> Outcome {
    let [near, far] = kit.pair().await;
    if !proves(&near).await {
        return Outcome::Unsupported("links that prove their peer");
    }
    let mut events = near.events();
    far.close().await.expect("closes");
    kit.event("word that a peer closed", &mut events, is_down).await;
    assert!(!near.is_linked(&far.peer_id()).await, "no link is left");
    Outcome::Kept
}

pub(in super::super) async fn killed_peer_is_noticed(kit: Kit) -> Outcome {
    let [near, far] = kit.pair().await;
    if !proves(&near).await {
        return Outcome::Unsupported("links that prove their peer");
    }
    let (mut events, id) = (near.events(), far.peer_id());
    drop(far);
    kit.event("word that a peer is gone", &mut events, is_down).await;
    assert!(!near.is_linked(&id).await, "no link is left");
    Outcome::Kept
}

pub(in super::super) async fn silent_peer_is_noticed(kit: Kit) -> Outcome {
    let [one, other] = kit.pair().await;
    let (mut of_one, mut of_other) = (one.events(), other.events());
    if !kit.cut(&one, &other).await {
        return Outcome::Unsupported("cutting a link from outside");
    }
    kit.event("word of a cut", &mut of_one, is_down).await;
    kit.event("word of a cut", &mut of_other, is_down).await;
    assert!(!one.is_linked(&other.peer_id()).await && !other.is_linked(&one.peer_id()).await);
    kit.link(&one, &other).await;
    Outcome::Kept
}

/// Ends a link in whatever way there is, and waits until both ends know. Answers whether there is one.
async fn lose(kit: &Kit, one: &Member, other: &Member) -> bool {
    let (mut of_one, mut of_other) = (one.events(), other.events());
    if !kit.cut(one, other).await {
        if !(one.caps().disconnects && proves(one).await) {
            return false;
        }
        one.transport.disconnect(&Remote::Peer(other.peer_id())).await.expect("disconnects");
    }
    join(
        kit.event("the end of a link", &mut of_one, is_down),
        kit.event("the end of a link", &mut of_other, is_down),
    )
    .await;
    true
}

pub(in super::super) async fn lost_stream_gives_a_gap(kit: Kit) -> Outcome {
    if kit.lacks_broadcast().await {
        return Outcome::Unsupported("broadcast");
    }
    // Nothing is kept for who comes later, so what is published meanwhile is lost.
    let limits = Limits { outbox: 0, ..Limits::default() };
    let author = kit.node_with(|builder| builder.limits(limits)).await;
    let reader = kit.node().await;
    kit.link(&author, &reader).await;
    let members = [author.clone(), reader.clone()];
    let mut subscription = kit.subscribe(&members, &topic()).await.pop().expect("its own");
    author.publish(&topic(), "before").await.expect("publishes");
    assert_eq!(kit.text(&mut subscription).await, "before");
    if !lose(&kit, &author, &reader).await {
        return Outcome::Unsupported("ending a link");
    }
    author.publish(&topic(), "lost").await.expect("nobody there is no error");
    kit.link(&author, &reader).await;
    kit.joined(&author, &topic(), 1).await;
    author.publish(&topic(), "after").await.expect("publishes");
    let told = kit.soon("word of the gap", subscription.next()).await;
    match told {
        Some(Delivery::Gap(_)) => {}
        // Some wires tell each other later what they have.
        Some(Delivery::Message(message)) if message.payload() == "lost" => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(kit.text(&mut subscription).await, "after");
    Outcome::Kept
}

pub(in super::super) async fn restart_of_the_far_end_heals(kit: Kit) -> Outcome {
    let life = kit.lives();
    let first = kit.open(life(), Setup::default()).await;
    let addr = first.addr();
    if addr.addrs.is_empty() {
        return Outcome::Unsupported("listening");
    }
    let near = kit.bootstrapped(&first).await;
    let members = [near.clone(), first.clone()];
    let mut subscriptions = kit.subscribe(&members, &topic()).await;
    if !proves(&near).await {
        return Outcome::Unsupported("links that prove their peer");
    }
    let mut events = near.events();
    // Not closed: as a process that is killed.
    subscriptions.truncate(1);
    drop((members, first));
    kit.event("the end of the first life", &mut events, is_down).await;
    let again = kit.reopen(life, &addr.addrs).await;
    kit.event("a new link to the old address", &mut events, is_up).await;
    let members = [near, again];
    if members[0].caps().broadcast.is_none() {
        return Outcome::Kept;
    }
    subscriptions.extend(kit.subscribe(&members, &topic()).await);
    members[0].publish(&topic(), "welcome back").await.expect("publishes");
    assert_eq!(kit.text(&mut subscriptions[2]).await, "welcome back");
    Outcome::Kept
}

pub(in super::super) async fn disconnected_peer_is_left_alone(kit: Kit) -> Outcome {
    let far = kit.node().await;
    let near = kit.bootstrapped(&far).await;
    if !near.caps().disconnects {
        let remote = Remote::Peer(far.peer_id());
        assert_eq!(refusal(near.transport.disconnect(&remote).await), ErrorKind::Unsupported);
        return Outcome::Unsupported("disconnecting");
    }
    if !proves(&near).await {
        return Outcome::Unsupported("links that prove their peer");
    }
    let remote = |member: &Member| Remote::Peer(member.peer_id());
    for (one, other) in [(&near, &far), (&far, &near)] {
        let (mut of_one, mut of_other) = (one.events(), other.events());
        one.transport.disconnect(&remote(other)).await.expect("disconnects");
        kit.event("the end of the link", &mut of_one, is_down).await;
        kit.event("the end of the link", &mut of_other, is_down).await;
        one.transport.disconnect(&remote(other)).await.expect("there is no link, which is fine");
        // Long enough for a bootstrap peer to be dialled again, as a lost one is.
        join(kit.never(&mut of_one, is_up), kit.never(&mut of_other, is_up)).await;
        kit.never(&mut of_one, is_up).await;
        kit.link(other, one).await;
    }
    Outcome::Kept
}
