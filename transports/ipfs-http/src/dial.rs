//! The links of our daemon that somebody asks for: dialling, staying connected, ending.

use std::sync::Arc;
use std::time::Duration;

use carrick_core::{
    Direction, ErrorKind, Multiaddr, Notice, PeerAddr, PeerId, PeerInfo, Protocol, Remote, Result,
};
use tokio::time::{sleep, timeout};

use crate::rpc::calls::{Names, SwarmConnect, SwarmDisconnect, millis};
use crate::rpc::{Fault, Payload};
use crate::shared::{Shared, lock};
use crate::swarm::look;

/// Daemons remembered as disconnected on purpose.
const APART: usize = 1_024;

/// Where a daemon can be dialled, each with its id. None for addresses of other transports.
pub(crate) fn targets(peer: &PeerAddr) -> impl Iterator<Item = (PeerId, Multiaddr)> + '_ {
    peer.addrs.iter().filter_map(|addr| {
        let parts: Vec<Protocol<'_>> = addr.iter().collect();
        let host = matches!(
            parts.first()?,
            Protocol::Ip4(_) | Protocol::Ip6(_) | Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)
        );
        if !host || !matches!(parts.get(1)?, Protocol::Tcp(_) | Protocol::Udp(_)) {
            return None;
        }
        // A daemon's own id stands in its address; behind it may stand that of the node it serves.
        match (parts.last(), peer.peer) {
            (Some(Protocol::P2p(daemon)), _) => Some((*daemon, addr.clone())),
            (_, Some(daemon)) => Some((daemon, addr.clone().with(Protocol::P2p(daemon)))),
            (_, None) => None,
        }
    })
}

/// Connects our daemon to another one.
pub(crate) async fn dial(shared: &Shared, peer: &PeerAddr) -> Result<Remote> {
    let mut failed = shared
        .fail(ErrorKind::Config, "dial", format!("{peer} is no address of a daemon"))
        .mend("write it as /ip4/10.0.0.7/tcp/4001/p2p/12D3KooW…, as `ipfs id` prints it");
    for (daemon, addr) in targets(peer) {
        match connect(shared, &daemon, &addr).await {
            Ok(()) => return Ok(linked(shared, &daemon, addr)),
            Err(fault) => failed = shared.failed("dial", fault),
        }
    }
    Err(failed)
}

async fn connect(shared: &Shared, daemon: &PeerId, addr: &Multiaddr) -> Result<(), Fault> {
    if daemon.to_string() == *shared.daemon() {
        return Err(Fault::new(ErrorKind::Config, format!("{addr} is this node's own daemon"))
            .mend("nodes that share a daemon hear each other without a link"));
    }
    let limit = shared.host.limits().handshake;
    let call = SwarmConnect { arg: addr.to_string(), timeout: millis(limit) };
    match timeout(limit, shared.rpc.json::<_, Names>(call, Payload::Nothing)).await {
        Ok(Ok(_)) => Ok(()),
        // A dial that ends late has not found anybody, whoever noticed the end.
        Ok(Err(fault)) if fault.kind == ErrorKind::Timeout => Err(nobody(addr, limit)),
        Ok(Err(fault)) => Err(fault),
        Err(_) => Err(nobody(addr, limit)),
    }
}

fn nobody(addr: &Multiaddr, limit: Duration) -> Fault {
    Fault::new(ErrorKind::Unreachable, format!("{addr} did not answer within {} s", limit.as_secs_f64()))
        .mend("is that daemon running, and does a firewall let it through?")
}

/// Notes a link that was just made.
fn linked(shared: &Shared, daemon: &PeerId, addr: Multiaddr) -> Remote {
    let remote = Remote::Foreign(daemon.to_string().into());
    let mut info = PeerInfo::new(remote.clone());
    info.addrs = vec![addr.clone()];
    info.direction = Some(Direction::Outbound);
    let mut links = lock(&shared.links);
    if links.made(info) {
        shared.host.notice(Notice::Up(remote.clone(), vec![addr]));
    }
    drop(links);
    lock(&shared.apart).remove(&remote);
    shared.wake.notify_one();
    remote
}

/// Ends the link of our daemon to another one.
pub(crate) async fn disconnect(shared: &Shared, remote: &Remote) -> Result<()> {
    let Remote::Foreign(daemon) = remote else { return Ok(()) };
    {
        let mut apart = lock(&shared.apart);
        if apart.len() >= APART {
            apart.pop_first();
        }
        apart.insert(remote.clone());
    }
    if lock(&shared.links).lacks(remote, shared.host.limits().connections) {
        return Ok(());
    }
    let call = SwarmDisconnect { arg: format!("/p2p/{daemon}") };
    let ended = shared.rpc.json::<_, Names>(call, Payload::Nothing).await;
    lock(&shared.links).ended();
    let still = look(shared).await.map_err(|fault| shared.failed("disconnect", fault))?;
    match ended {
        // It may have gone by itself just before.
        Err(fault) if still.contains_key(remote) => Err(shared.failed("disconnect", fault)),
        _ => Ok(()),
    }
}

/// Stays connected to a daemon that the configuration names.
pub(crate) async fn stay_connected(shared: Arc<Shared>, peer: PeerAddr) {
    let mut failures = 0_u32;
    loop {
        let there = {
            let own = shared.own_daemon();
            let (links, apart) = (lock(&shared.links), lock(&shared.apart));
            // It is our own, as when all nodes share one configuration.
            let settled =
                |remote: Remote| remote == own || links.contains_key(&remote) || apart.contains(&remote);
            targets(&peer).any(|(daemon, _)| settled(Remote::Foreign(daemon.to_string().into())))
        };
        match if there { Ok(()) } else { dial(&shared, &peer).await.map(drop) } {
            Ok(()) => failures = 0,
            Err(error) => {
                failures = failures.saturating_add(1);
                tracing::debug!(%error, %peer, "bootstrap");
            }
        }
        sleep(shared.host.backoff(failures)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(addr: &str) -> Vec<String> {
        let peer: PeerAddr = addr.parse().expect("an address");
        targets(&peer).map(|(_, addr)| addr.to_string()).collect()
    }

    #[test]
    fn a_daemons_id_stands_in_its_address_and_the_nodes_behind_it() {
        let daemon = "12D3KooWJWoaqZhDaoEFshF7Rh1bpY9ohihFhzcW6d69Lr2NASuq";
        let node = "12D3KooWRm8J3iL796zPFi2EtGGtUJn58AG67gcRzQ4FENEemvoK";
        let whole = format!("/ip4/10.0.0.7/tcp/4001/p2p/{daemon}");
        assert_eq!(shown(&whole).join(" "), whole);
        assert_eq!(shown(&format!("{whole}/p2p/{node}")), [whole]);
        for other in
            ["/ip4/10.0.0.7/tcp/4001", "/memory/7", &format!("/ip4/127.0.0.1/sctp/4600/p2p/{daemon}")]
        {
            assert_eq!(shown(other), [""; 0], "{other}");
        }
    }
}
