//! The peers that are remembered, and how they come onto the disk.

use std::sync::Arc;

use carrick_core::{Host, Multiaddr, Time};
use futures::StreamExt as _;

use super::host::{Disk, node};
use super::net::{Peer, Setup, WAITS, cid, id, within};
use crate::routing::book::{Book, PREFIX};
use crate::routing::saver::Saver;

fn addrs(port: u64) -> Vec<Multiaddr> {
    vec![format!("/ip4/10.0.0.7/tcp/{port}").parse().expect("an address")]
}

async fn saved(host: &Host) -> Vec<(String, carrick_core::Bytes)> {
    host.recall(PREFIX).map(|entry| entry.expect("reads")).collect().await
}

#[tokio::test]
async fn who_was_met_longest_ago_makes_room_and_is_gone_from_the_disk() {
    let (_node, host) = node(1, &Setup::default()).await;
    let saver = Saver::new(&host);
    let mut book = Book::new(saver.clone(), 3);
    (1..=4).for_each(|n| book.met(id(n), addrs(n.into()), vec!["/kad".into()], Time(n.into())));
    book.left(&id(2), Time(9));
    book.met(id(5), addrs(5), vec![], Time(10));
    let names = |book: &Book| book.peers().map(|(peer, _)| *peer).collect::<Vec<_>>();
    assert_eq!(names(&book), [id(5), id(2), id(4)]);
    saver.flush().await.expect("saves");
    let entries = saved(&host).await;
    assert_eq!(entries.len(), 3);

    let mut again = Book::new(saver.clone(), 3);
    assert!(entries.iter().all(|(name, value)| again.restore(name, value)));
    assert_eq!(names(&again), names(&book));
    assert_eq!(again.addresses(&id(4)), addrs(4));
    assert_eq!(again.peers().nth(2).map(|(_, known)| known.tables.clone()), Some(vec!["/kad".to_owned()]));
    again.remove(&id(4));
    again.met(id(2), vec![], vec![], Time(11));
    saver.flush().await.expect("saves");
    assert_eq!((names(&again), saved(&host).await.len()), (vec![id(5)], 1), "nowhere is no place");
}

#[tokio::test]
async fn what_is_damaged_on_the_disk_is_left_out() {
    let (_node, host) = node(1, &Setup::default()).await;
    let mut book = Book::new(Saver::new(&host), 3);
    for (name, value) in
        [("peer/x", &b"\x83"[..]), ("root/x", b""), ("peer/", b""), (&*format!("peer/{}", id(1)), b"\x80")]
    {
        assert!(!book.restore(name, value), "{name}");
    }
    assert_eq!(book.peers().count(), 0);
}

#[tokio::test]
async fn what_could_not_be_saved_is_saved_the_next_time() {
    let disk = Arc::new(Disk::default());
    let setup = Setup { store: disk.clone(), ..Setup::default() };
    let provider = Peer::with(1, setup.clone()).await;
    disk.fill(true);
    within(provider.finder.announce(&cid(1), WAITS)).await.expect_err("nobody is there");
    provider.finder.flush().await.expect_err("the disk is full");
    disk.fill(false);
    provider.close().await;
    assert_eq!(Peer::with(1, setup).await.act(|swarm| swarm.behaviour_mut().routing.roots()).await, 1);
}
