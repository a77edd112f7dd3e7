//! What a node knows when it comes back.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;

use super::host::Disk;
use super::net::{Peer, Setup, WAITS, cid, within};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_node_that_comes_back_finds_its_peers_again_and_announces_when_it_is_time() {
    let setup = Setup { store: Arc::new(Disk::default()), ..Setup::default() };
    let other = Peer::new(1).await;
    let provider = Peer::with(2, setup.clone()).await;
    provider.meet(&other).await;
    for n in 0..3 {
        within(provider.finder.announce(&cid(n), WAITS)).await.expect("somebody is told");
    }
    other.stores(3).await;
    let (gone, clock) = (provider.id, provider.clock.clone());
    provider.close().await;
    other.until("gone", move |swarm| !swarm.is_connected(&gone)).await;
    // The other forgot everything.
    other.act(move |swarm| swarm.behaviour_mut().routing.forget(&gone)).await;
    other.stores(0).await;

    clock.advance(Duration::from_secs(1));
    let provider = Peer::with(2, setup).await;
    let (id, addr) = (other.id, other.addr.clone());
    assert_eq!(provider.act(|swarm| swarm.behaviour_mut().routing.roots()).await, 3);
    assert_eq!(provider.act(|swarm| swarm.behaviour_mut().routing.known(9)).await, [(id, vec![addr])]);
    // The table dials it by itself, because it is in it.
    other.has(provider.id).await;
    let counters = provider.node.status().await.expect("answers").counters;
    let told =
        counters.get("libp2p").map_or(0, |all| all.keys().filter(|name| name.contains("announced")).count());
    assert_eq!(told, 0, "nothing is announced because of the restart");
    clock.advance(22 * HOUR);
    other.stores(3).await;
}

#[tokio::test]
async fn a_node_that_comes_back_still_knows_what_others_provide() {
    let setup = Setup { store: Arc::new(Disk::default()), ..Setup::default() };
    let (between, provider) = (Peer::with(1, setup.clone()).await, Peer::new(2).await);
    provider.meet(&between).await;
    within(provider.finder.announce(&cid(1), WAITS)).await.expect("somebody is told");
    between.stores(1).await;
    between.close().await;
    let between = Peer::with(1, setup).await;
    between.stores(1).await;
    let asker = Peer::new(3).await;
    asker.meet(&between).await;
    let found = within(asker.finder.providers(&cid(1), 1).next()).await;
    assert_eq!(found, Some((provider.id, vec![provider.addr.clone()])));
}

#[tokio::test]
async fn what_nobody_was_told_before_the_end_is_told_after_it() {
    let setup = Setup { store: Arc::new(Disk::default()), ..Setup::default() };
    let provider = Peer::with(2, setup.clone()).await;
    within(provider.finder.announce(&cid(1), WAITS)).await.expect_err("nobody is there");
    provider.close().await;
    let (provider, other) = (Peer::with(2, setup).await, Peer::new(1).await);
    other.meet(&provider).await;
    other.stores(1).await;
}

#[tokio::test]
async fn what_was_withdrawn_stays_so() {
    let setup = Setup { store: Arc::new(Disk::default()), ..Setup::default() };
    let provider = Peer::with(2, setup.clone()).await;
    within(provider.finder.announce(&cid(1), WAITS)).await.expect_err("nobody is there");
    within(provider.finder.withdraw(&[cid(1)])).await.expect("answers");
    provider.close().await;
    let provider = Peer::with(2, setup).await;
    assert_eq!(provider.act(|swarm| swarm.behaviour_mut().routing.roots()).await, 0);
}
