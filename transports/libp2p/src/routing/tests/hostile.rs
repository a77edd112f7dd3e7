//! Peers that lie, and peers that are not wanted.

use carrick_core::{Multiaddr, PeerId, Protocol};
use futures::StreamExt as _;
use libp2p::kad::{self, store::MemoryStore};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{StreamProtocol, identify};

use super::net::{Peer, WAITS, id, swarm, within};

#[derive(NetworkBehaviour)]
struct Liar {
    identify: identify::Behaviour,
    kad: kad::Behaviour<MemoryStore>,
}

fn addr(text: &str) -> Multiaddr {
    text.parse().expect("a multiaddr")
}

/// A server of the tests' table that says that `victim` listens there. Where it listens itself.
async fn liar(n: u8, victim: PeerId, addrs: &[Multiaddr]) -> Multiaddr {
    let mut swarm = swarm(n, |identify| {
        let config = kad::Config::new(StreamProtocol::new("/carrick/test-net/kad/1.0.0"));
        let mut kad = kad::Behaviour::with_config(id(n), MemoryStore::new(id(n)), config);
        kad.set_mode(Some(kad::Mode::Server));
        for addr in addrs {
            kad.add_address(&victim, addr.clone());
        }
        Liar { identify, kad }
    });
    swarm.listen_on(addr("/memory/0")).expect("listens");
    let listens = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address;
        }
    };
    tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    listens
}

#[tokio::test]
async fn poisoned_addresses_are_neither_told_on_nor_dialled() {
    let poison = [
        "/ip4/127.0.0.1/tcp/22",
        "/ip6/::1/tcp/22",
        "/memory/1234567",
        "/ip4/0.0.0.0/tcp/1",
        "/ip4/192.0.2.1/tcp/1",
        "/ip4/224.0.0.1/udp/1/quic-v1",
    ]
    .map(addr);
    let good = addr("/ip4/10.0.0.9/tcp/1");
    let victim = id(50);
    let said = [poison.to_vec(), vec![good.clone()]].concat();
    let liar = liar(66, victim, &said).await;
    let asker = Peer::new(1).await;
    // It can be reached elsewhere than on this machine, so loopback means nothing from others.
    asker.act(|swarm| swarm.add_external_address(addr("/ip4/10.0.0.7/tcp/1"))).await;
    asker.act(move |swarm| swarm.dial(liar).expect("dials")).await;
    asker.has(id(66)).await;
    let found = within(asker.finder.find_peer(victim)).await.expect("answers");
    assert_eq!(found, std::slice::from_ref(&good));
    let known = asker.act(move |swarm| swarm.behaviour_mut().routing.would_dial(victim)).await;
    assert!(known.iter().all(|addr| *addr == good), "{known:?}");
}

#[tokio::test]
async fn an_address_of_another_peer_is_not_taken_for_this_one() {
    let asker = Peer::new(1).await;
    let victim = id(50);
    let foreign = addr("/memory/77").with(Protocol::P2p(id(51)));
    asker.act(move |swarm| swarm.behaviour_mut().routing.claim(victim, vec![foreign], None)).await;
    assert!(asker.act(move |swarm| swarm.behaviour_mut().routing.would_dial(victim)).await.is_empty());
}

#[tokio::test]
async fn an_address_by_which_a_peer_was_dialled_is_passed_on_only_where_it_passes() {
    let (asker, other) = (Peer::new(1).await, Peer::new(2).await);
    asker.meet(&other).await;
    // From now on loopback means nothing to others, and the other one is known to listen elsewhere, too.
    asker.act(|swarm| swarm.add_external_address(addr("/ip4/10.0.0.7/tcp/1"))).await;
    let (id, good) = (other.id, addr("/ip4/10.0.0.8/tcp/1"));
    let here = other.addr.clone();
    let both = vec![good.clone(), here.clone()];
    let over = Some(here.clone());
    asker.act(move |swarm| swarm.behaviour_mut().routing.claim(id, both, over)).await;
    let told = asker.act(move |swarm| swarm.behaviour_mut().routing.told_of(id)).await;
    assert_eq!(told, [good.with(Protocol::P2p(id))], "and not {here}");
}

#[tokio::test]
async fn a_peer_that_floods_is_banned() {
    let server = Peer::new(1).await;
    let flood = id(66);
    for _ in 0..6 {
        server.act(move |swarm| swarm.behaviour_mut().routing.flooded(flood, 50_000)).await;
        server.act(|swarm| swarm.behaviour_mut().routing.sweep_now()).await;
    }
    assert!(!server.host.admits(&flood));
    server.stores(0).await;
    let status = server.node.status().await.expect("answers");
    assert!(status.counters["libp2p"]["provider_records_evicted"] > 100_000);
}

#[tokio::test]
async fn a_banned_peer_is_forgotten_with_all_it_announced() {
    let (server, banned) = (Peer::new(1).await, Peer::new(2).await);
    banned.meet(&server).await;
    within(banned.finder.announce(&super::net::cid(1), WAITS)).await.expect("somebody is told");
    server.stores(1).await;
    server.ban(banned.id).await;
    let id = banned.id;
    server.act(|swarm| swarm.behaviour_mut().routing.sweep_now()).await;
    server.stores(0).await;
    assert!(!server.act(move |swarm| swarm.behaviour_mut().routing.in_tables(&id)).await);
    assert!(server.act(|swarm| swarm.behaviour_mut().routing.known(9)).await.is_empty());
}
