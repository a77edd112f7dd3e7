//! The end of a node: bounded, final, and nothing is left of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{join_all, join3};
use tokio::runtime::Handle;
use tokio::time::sleep;

use super::super::kit::topic;
use super::super::{Member, Setup};
use super::{Kit, Outcome, is_down, proves, refusal};
use crate::{
    Discovery, ErrorKind, Lane, MessageId, Outgoing, PeerAddr, RAW, Remote, Result, Transport, Want, WantDag,
    cid_of,
};

/// How many tasks there are, those of all nodes of this case.
fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

pub(in super::super) async fn close_is_bounded_and_idempotent(kit: Kit) -> Outcome {
    let [near, far] = kit.pair().await;
    for _ in 0..2 {
        kit.soon("that a transport closes", near.transport.close()).await.expect("closes");
    }
    for member in [&near, &far] {
        for _ in 0..2 {
            kit.soon("that a node closes", member.close()).await.expect("closes");
        }
    }
    Outcome::Kept
}

/// What every method answers that may fail, but those that cannot be called on it at all.
async fn answers(
    transport: &dyn Transport,
    addr: &PeerAddr,
    remote: &Remote,
) -> Vec<(&'static str, ErrorKind)> {
    let caps = transport.capabilities();
    let mut answers = vec![("peers", refusal(transport.peers().await))];
    if caps.dials {
        answers.push(("dial", refusal(transport.dial(addr).await)));
    }
    if caps.disconnects {
        answers.push(("disconnect", refusal(transport.disconnect(remote).await)));
    }
    if let Some(broadcast) = transport.broadcast() {
        let (id, bytes) = (MessageId::of(b"x"), Bytes::from_static(b"x"));
        let outgoing = Outgoing { id, topic: topic(), bytes, lane: Lane::Own };
        answers.push(("join", refusal(broadcast.join(&topic()).await)));
        answers.push(("leave", refusal(broadcast.leave(&topic()).await)));
        answers.push(("publish", refusal(broadcast.publish(&outgoing).await)));
        answers.push(("topic_peers", refusal(broadcast.topic_peers(&topic()).await)));
    }
    if let Some(fetch) = transport.fetch() {
        let (cid, wait) = (cid_of(RAW, b"x"), Duration::from_secs(1));
        answers.push(("block", refusal(fetch.block(&Want::new(cid, wait)).await)));
        answers.push(("provide", refusal(fetch.provide(&[cid]).await)));
        answers.push(("withdraw", refusal(fetch.withdraw(&[cid]).await)));
        answers.push(("announce", refusal(fetch.announce(&cid).await)));
        let caps = caps.fetch.as_ref();
        if caps.is_some_and(|caps| caps.dag_in_one_request) {
            answers.push(("dag", refusal(fetch.dag(&WantDag::new(cid, wait)).await)));
        }
        if caps.is_some_and(|caps| caps.discovery != Discovery::None) {
            answers.push(("providers", refusal(fetch.providers(&cid, 1).await)));
        }
    }
    answers
}

async fn all_closed(member: &Member, other: &Member) {
    let remote = Remote::Peer(other.peer_id());
    for (method, kind) in answers(&*member.transport, &other.addr(), &remote).await {
        assert_eq!(kind, ErrorKind::Closed, "{method}");
    }
    assert!(member.transport.listen_addrs().is_empty(), "it listens nowhere");
}

pub(in super::super) async fn after_close_everything_is_closed(kit: Kit) -> Outcome {
    let [near, far] = kit.pair().await;
    let listen = near.transport.listen_addrs();
    near.close().await.expect("closes");
    all_closed(&near, &far).await;
    // Nor is it mistaken for who listens there next.
    let next = kit.reopen(kit.lives(), &listen).await;
    kit.link(&next, &far).await;
    all_closed(&near, &far).await;
    drop(near);
    let other = kit.node().await;
    kit.link(&other, &next).await;
    if proves(&next).await {
        assert!(next.is_linked(&far.peer_id()).await, "its link outlives the one before");
    }
    Outcome::Kept
}

/// Does something again and again until the node is closed.
async fn until_closed<T>(act: impl AsyncFn(usize) -> Result<T>) {
    for n in 0.. {
        match act(n).await {
            Err(error) if error.kind() == ErrorKind::Closed => return,
            _ => sleep(Duration::from_millis(1)).await,
        }
    }
}

pub(in super::super) async fn close_while_busy_leaves_nothing(kit: Kit) -> Outcome {
    let before = tasks();
    let members = kit.pair().await;
    let store = Arc::downgrade(members[0].store());
    let mut subscriptions = kit.subscribe(&members, &topic()).await;
    let [near, far] = members;
    let (listen, mut of_far) = (near.transport.listen_addrs(), far.events());
    let publishing = until_closed(async |n| near.publish(&topic(), n.to_string()).await);
    let fetching = until_closed(async |n| near.block(&cid_of(RAW, &n.to_be_bytes()), vec![]).await);
    let closing = async {
        if near.caps().broadcast.is_some() {
            for n in 0..10 {
                assert_eq!(kit.text(&mut subscriptions[1]).await, n.to_string());
            }
        }
        near.close().await.expect("closes in time, all the same")
    };
    kit.soon("that a busy node closes", join3(publishing, fetching, closing)).await;
    if proves(&far).await {
        kit.event("word that the peer closed", &mut of_far, is_down).await;
    }
    kit.reopen(kit.lives(), &listen).await.close().await.expect("closes");
    drop((near, subscriptions));
    kit.until("the store is let go", || store.strong_count() == 0).await;
    far.close().await.expect("closes");
    drop(far);
    kit.until("no task is left", || tasks() <= before).await;
    Outcome::Kept
}

pub(in super::super) async fn dropping_without_close_frees_socket_and_store(kit: Kit) -> Outcome {
    let before = tasks();
    let members = kit.pair().await;
    let store = Arc::downgrade(members[0].store());
    let subscriptions = kit.subscribe(&members, &topic()).await;
    let [near, far] = members;
    let listen = near.transport.listen_addrs();
    drop((near, subscriptions));
    kit.until("the store is let go", || store.strong_count() == 0).await;
    let next = kit.reopen(kit.lives(), &listen).await;
    kit.link(&far, &next).await;
    drop((far, next));
    kit.until("no task is left", || tasks() <= before).await;
    Outcome::Kept
}

pub(in super::super) async fn a_hundred_lives_leave_nothing(kit: Kit) -> Outcome {
    let before = tasks();
    let far = kit.node().await;
    let mut nodes = Vec::new();
    for _ in 0..10 {
        let life = kit.lives();
        let first = kit.open(life(), Setup::default()).await;
        nodes.push((life, first));
    }
    // Side by side, because saying goodbye takes a while on some wires.
    let lives = nodes.into_iter().map(async |(life, mut member)| {
        for n in 1..=10 {
            kit.link(&member, &far).await;
            let (listen, store) = (member.transport.listen_addrs(), Arc::downgrade(member.store()));
            kit.soon("that a node closes", member.close()).await.expect("closes");
            drop(member);
            kit.until("the store is let go", || store.strong_count() == 0).await;
            if n == 10 {
                break;
            }
            member = kit.reopen(&life, &listen).await;
        }
    });
    join_all(lives).await;
    if proves(&far).await {
        assert_eq!(far.transport.peers().await.expect("peers").len(), 0, "no link is left");
    }
    far.close().await.expect("closes");
    drop(far);
    kit.until("no task is left", || tasks() <= before).await;
    Outcome::Kept
}
