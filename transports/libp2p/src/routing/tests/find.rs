//! Announce and find, among nodes of which the asker knows one.

use carrick_core::ErrorKind;
use futures::StreamExt as _;
use futures::future::join_all;
use libp2p::swarm::dial_opts::DialOpts;

use super::net::{Peer, Setup, WAITS, cid, id, within};
use crate::routing::{DhtMode, Routing};

/// Three nodes in a row; the first knows the second alone, and so does the third.
async fn three(setup: impl Fn() -> Setup) -> [Peer; 3] {
    let peers = [Peer::with(1, setup()).await, Peer::with(2, setup()).await, Peer::with(3, setup()).await];
    peers[0].meet(&peers[1]).await;
    peers[2].meet(&peers[1]).await;
    peers
}

#[tokio::test]
async fn content_is_found_through_a_peer_that_has_it_not() {
    // In the last, by the LAN's table beside the public one, in which nobody is.
    for routing in [Routing::Private, Routing::Lan, Routing::Ipfs] {
        let [asker, between, provider] = three(|| Setup { routing, ..Setup::default() }).await;
        within(provider.finder.announce(&cid(1), WAITS)).await.expect("somebody is told");
        between.stores(1).await;
        let found: Vec<_> = within(asker.finder.providers(&cid(1), 10).collect()).await;
        assert_eq!(found, [(provider.id, vec![provider.addr.clone()])], "{routing:?}");
        let none: Vec<_> = within(asker.finder.providers(&cid(2), 10).collect()).await;
        assert_eq!(none, []);
    }
}

#[tokio::test]
async fn two_cids_of_one_hash_are_one() {
    let [asker, between, provider] = three(Setup::default).await;
    within(provider.finder.announce(&cid(1), WAITS)).await.expect("somebody is told");
    between.stores(1).await;
    let other = carrick_core::Cid::new_v1(carrick_core::DAG_CBOR, *cid(1).hash());
    let found = within(asker.finder.providers(&other, 1).next()).await;
    assert_eq!(found.map(|(peer, _)| peer), Some(provider.id));
}

#[tokio::test]
async fn a_peer_whose_id_alone_is_known_is_found_and_can_be_dialled() {
    let asker = Peer::new(1).await;
    let between = Peer::new(2).await;
    let wanted = Peer::new(3).await;
    asker.meet(&between).await;
    wanted.meet(&between).await;
    let addrs = within(asker.finder.find_peer(wanted.id)).await.expect("answers");
    assert_eq!(addrs, std::slice::from_ref(&wanted.addr));
    let peer = wanted.id;
    let options = DialOpts::peer_id(peer).addresses(addrs).build();
    // The search may have connected to it already.
    asker.act(move |swarm| swarm.is_connected(&peer) || swarm.dial(options).is_ok()).await;
    asker.until("connected", move |swarm| swarm.is_connected(&peer)).await;
    let nobody = within(asker.finder.find_peer(id(99))).await.expect("answers");
    assert_eq!(nobody, []);
}

#[tokio::test]
async fn what_was_announced_to_nobody_goes_out_by_itself_when_somebody_comes() {
    let provider = Peer::new(1).await;
    let error = within(provider.finder.announce(&cid(1), WAITS)).await.expect_err("nobody is there");
    assert_eq!((error.kind(), error.transport()), (ErrorKind::NoPeers, Some("libp2p")), "{error}");
    let other = Peer::new(2).await;
    provider.meet(&other).await;
    other.stores(1).await;
}

#[tokio::test]
async fn what_is_withdrawn_is_announced_no_more_and_not_said_by_the_node_itself() {
    let [_asker, _between, provider] = three(Setup::default).await;
    within(provider.finder.announce(&cid(1), WAITS)).await.expect("somebody is told");
    within(provider.finder.withdraw(&[cid(1)])).await.expect("answers");
    assert_eq!(provider.act(|swarm| swarm.behaviour_mut().routing.roots()).await, 0);
}

#[tokio::test]
async fn what_is_withdrawn_and_announced_again_while_it_is_announced_is_provided() {
    let [_asker, _between, provider] = three(Setup::default).await;
    let (root, roots, finder) = (cid(1), [cid(1)], &provider.finder);
    let all = futures::future::join3(
        finder.announce(&root, WAITS),
        finder.withdraw(&roots),
        finder.announce(&root, WAITS),
    );
    let (first, withdrawn, again) = within(all).await;
    first.and(withdrawn).and(again).expect("somebody is told");
    assert_eq!(provider.act(|swarm| swarm.behaviour_mut().routing.roots()).await, 1);
}

#[tokio::test]
async fn a_search_ends_when_enough_were_found_and_when_nobody_listens_any_more() {
    let [asker, between, provider] = three(Setup::default).await;
    for peer in [&between, &provider] {
        within(peer.finder.announce(&cid(1), WAITS)).await.expect("somebody is told");
    }
    between.stores(1).await;
    let one: Vec<_> = within(asker.finder.providers(&cid(1), 1).collect()).await;
    assert_eq!(one.len(), 1);
    let dropped = asker.finder.providers(&cid(3), 5);
    drop(dropped);
    drop(within(asker.finder.providers(&cid(1), 5).next()).await);
    asker.until("nothing is under way", |swarm| swarm.behaviour_mut().routing.under_way() == 0).await;
}

#[tokio::test]
async fn a_search_does_not_wait_behind_announcements_and_nobody_waits_for_those_of_many() {
    const MANY: u64 = 1_000;
    let [asker, _between, _other] = three(Setup::default).await;
    let roots: Vec<_> = (0..MANY).map(cid).collect();
    within(join_all(roots.iter().map(|root| asker.finder.announce(root, WAITS)))).await;
    let found: Vec<_> = within(asker.finder.providers(&cid(MANY), 1).collect()).await;
    let told = asker.node.counter("announced");
    assert!(found.is_empty() && told < MANY / 2, "{told} announcements went before it");
    let node = asker.node.clone();
    asker.until("all are told", move |_| node.counter("announced") == MANY).await;
}

#[tokio::test]
async fn a_client_asks_and_announces_and_is_asked_by_nobody() {
    let server = Peer::new(1).await;
    let client = Peer::with(2, Setup { dht: DhtMode::Client, ..Setup::default() }).await;
    let addr = server.addr.clone();
    client.act(move |swarm| swarm.dial(addr).expect("dials")).await;
    client.has(server.id).await;
    within(client.finder.announce(&cid(1), WAITS)).await.expect("the server is told");
    server.stores(1).await;
    assert!(
        !server
            .act({
                let id = client.id;
                move |swarm| swarm.behaviour_mut().routing.in_tables(&id)
            })
            .await
    );
    assert!(!client.act(|swarm| swarm.behaviour_mut().routing.serves()).await);
    assert!(server.act(|swarm| swarm.behaviour_mut().routing.serves()).await);
}

#[tokio::test]
async fn the_public_network_is_served_once_an_address_is_confirmed_and_no_longer() {
    let addr: carrick_core::Multiaddr = "/ip4/8.8.8.8/tcp/4001".parse().expect("an address");
    let peer = Peer::with(1, Setup { routing: Routing::Ipfs, ..Setup::default() }).await;
    let serves = |swarm: &mut libp2p::Swarm<super::net::Both>| swarm.behaviour_mut().routing.serves_world();
    assert!(!peer.act(serves).await);
    peer.act({
        let addr = addr.clone();
        move |swarm| swarm.add_external_address(addr)
    })
    .await;
    peer.until("a server", serves).await;
    peer.act(move |swarm| swarm.remove_external_address(&addr)).await;
    peer.until("a client", move |swarm| !serves(swarm)).await;
    let server = Setup { routing: Routing::Ipfs, dht: DhtMode::Server, ..Setup::default() };
    assert!(Peer::with(2, server).await.act(serves).await, "because it was told so");
}

#[tokio::test]
async fn without_routing_nothing_is_told_and_nobody_is_found() {
    let setup = || Setup { routing: Routing::None, ..Setup::default() };
    let peer = Peer::with(1, setup()).await;
    within(peer.finder.announce(&cid(1), WAITS)).await.expect("there is nothing to do");
    assert_eq!(within(peer.finder.providers(&cid(1), 5).collect::<Vec<_>>()).await, []);
    assert_eq!(within(peer.finder.find_peer(id(9))).await.expect("answers"), []);
    // Peers are remembered all the same.
    let other = Peer::with(2, setup()).await;
    let addr = other.addr.clone();
    peer.act(move |swarm| swarm.dial(addr).expect("dials")).await;
    let expected = vec![(other.id, vec![other.addr.clone()])];
    peer.until("known", move |swarm| swarm.behaviour().routing.known(5) == expected).await;
}

#[tokio::test]
async fn the_swarm_that_ended_is_closed_to_questions() {
    let peer = Peer::new(1).await;
    let finder = peer.finder.clone();
    peer.close().await;
    assert_eq!(within(finder.announce(&cid(1), WAITS)).await.expect_err("closed").kind(), ErrorKind::Closed);
    assert_eq!(within(finder.find_peer(id(9))).await.expect_err("closed").kind(), ErrorKind::Closed);
    assert_eq!(within(finder.providers(&cid(1), 5).collect::<Vec<_>>()).await, []);
}

#[tokio::test]
async fn peers_of_peers_come_into_the_table_by_themselves() {
    let [one, _between, other] = three(Setup::default).await;
    one.has(other.id).await;
    other.has(one.id).await;
}
