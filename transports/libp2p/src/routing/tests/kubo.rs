//! The LAN table together with Kubo, in both directions.

use carrick_core::{Cid, PeerAddr};
use carrick_interop::{Daemon, Kubo};
use futures::StreamExt as _;

use super::net::{Peer, Setup, WAITS, cid, within};
use crate::routing::Routing;

/// Calls a daemon's RPC outside of the runtime.
async fn post(daemon: &Daemon, command: String, file: Option<&'static [u8]>) -> String {
    let daemon = daemon.clone();
    let answer = tokio::task::spawn_blocking(move || daemon.post(&command, file)).await.expect("no panic");
    String::from_utf8_lossy(&answer.expect("200")).into_owned()
}

fn tcp(daemon: &Daemon) -> PeerAddr {
    let addr = daemon.addrs.iter().find(|addr| addr.contains("/tcp/")).expect("it listens on TCP");
    addr.parse().expect("an address")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_finds_what_the_other_provides_through_a_daemon_that_has_it_not() {
    // Daemons of a LAN table; the asking one knows the one between alone, and so do we.
    let kubo =
        tokio::task::spawn_blocking(|| Kubo::run(2, &["--connect"])).await.expect("no panic").expect("runs");
    let (between, far) = (&kubo.daemons()[0], &kubo.daemons()[1]);
    let ours = Peer::with(1, Setup { routing: Routing::Lan, tcp: true, ..Setup::default() }).await;
    let to = tcp(between);
    let id = to.peer.expect("it has an id");
    ours.act(move |swarm| swarm.dial(to.addrs[0].clone()).expect("dials")).await;
    ours.has(id).await;

    within(ours.finder.announce(&cid(1), WAITS)).await.expect("the daemons are told");
    let found = post(far, format!("routing/findprovs?arg={}&num-providers=1", cid(1)), None).await;
    assert!(found.contains(&ours.id.to_string()), "{found}");
    assert!(found.contains(&ours.addr.to_string()), "with our address: {found}");

    let added =
        post(far, "add?cid-version=1&raw-leaves=true&quieter=true".into(), Some(b"of a daemon")).await;
    let name = added.split('"').find(|text| text.starts_with("bafk")).expect("a CID");
    post(far, format!("routing/provide?arg={name}"), None).await;
    let name: Cid = name.parse().expect("a CID");
    let found = within(ours.finder.providers(&name, 1).next()).await;
    let (peer, addrs) = found.expect("somebody provides it");
    assert_eq!(peer.to_string(), far.id);
    assert!(addrs.contains(&tcp(far).addrs[0]), "{addrs:?}");
    let addrs = within(ours.finder.find_peer(peer)).await.expect("answers");
    assert!(addrs.contains(&tcp(far).addrs[0]), "{addrs:?}");
}
