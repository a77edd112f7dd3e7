//! Where the node listens, and what others are told of that.

use std::collections::HashMap;
use std::net::{IpAddr, TcpListener};
use std::time::Duration;

use carrick_core::{ErrorKind, Host, Multiaddr, Notice, Protocol, Result};
use futures::StreamExt as _;
use libp2p::Swarm;
use libp2p::swarm::SwarmEvent;
use tokio::time::{Instant, timeout_at};

use super::{Task, bare};
use crate::address::{Rule, only_loopback};
use crate::error::innermost;
use crate::net::{Behaviour, BehaviourEvent};
use crate::way::{self, Way};

/// How long sockets may take until they listen.
const BINDING: Duration = Duration::from_secs(2);

/// What happened before the task ran.
pub(crate) type Events = Vec<SwarmEvent<BehaviourEvent>>;

/// Listens, and waits until it does: what is wrong with an address stops the start.
///
/// Answers what else happened meanwhile, for the task.
///
/// # Errors
/// `Config` for an address that is in use, or not of this machine.
pub(crate) async fn listen(swarm: &mut Swarm<Behaviour>, addrs: &[Multiaddr], host: &Host) -> Result<Events> {
    let refused = |addr: &Multiaddr, why: String| {
        host.fail(ErrorKind::Config, "open", format!("cannot listen on {addr}: {why}"))
            .mend("choose another `listen`, or port 0 for a free one")
    };
    let mut waiting = HashMap::new();
    // A relay may take its time, and may not be there yet: the task asks it.
    for addr in addrs.iter().filter(|addr| way::way(addr) != Some(Way::Relay)) {
        if let Some(socket) = taken(addr) {
            return Err(refused(addr, socket.to_string()));
        }
        let listener = swarm.listen_on(addr.clone()).map_err(|error| refused(addr, innermost(&error)))?;
        waiting.insert(listener, addr);
    }
    let mut events = vec![];
    // A wildcard stands for the interfaces that there are, which may be none yet.
    let deadline = Instant::now() + BINDING;
    while !waiting.is_empty()
        && let Ok(event) = timeout_at(deadline, swarm.select_next_some()).await
    {
        match &event {
            SwarmEvent::NewListenAddr { listener_id, .. } => drop(waiting.remove(listener_id)),
            SwarmEvent::ListenerClosed { listener_id, reason: Err(error), .. } => {
                if let Some(addr) = waiting.get(listener_id) {
                    return Err(refused(addr, error.to_string()));
                }
            }
            _ => {}
        }
        events.push(event);
    }
    Ok(events)
}

/// Why a port of TCP is taken. The library shares ports, and would listen beside another program.
fn taken(addr: &Multiaddr) -> Option<std::io::Error> {
    let mut parts = addr.iter();
    let ip: IpAddr = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    match (parts.next()?, parts.next()) {
        (Protocol::Tcp(port), None) if port != 0 => TcpListener::bind((ip, port)).err(),
        _ => None,
    }
}

impl Task {
    /// Where it listens changed: the node is told, and of what can be reached from there, others.
    pub(crate) fn listens(&mut self) {
        let mut addrs = self.shared.config.announce.clone();
        if addrs.is_empty() {
            addrs.extend(self.swarm.listeners().cloned());
            let rule =
                Rule { loopback: only_loopback(&addrs), ..Rule::new(self.shared.config.routing.scope()) };
            for addr in addrs.iter().filter(|addr| rule.passes(addr)) {
                self.swarm.add_external_address(addr.clone());
            }
            addrs.extend(self.swarm.external_addresses().map(bare));
            addrs.sort();
            addrs.dedup();
        }
        let mut known = self.shared.listening();
        if *known != addrs {
            known.clone_from(&addrs);
            self.shared.host.notice(Notice::Listening(addrs));
        }
    }

    /// It does not listen at an address any more.
    pub(super) fn listens_no_more(&mut self, addr: &Multiaddr) {
        if !self.shared.config.announce.contains(addr) {
            self.swarm.remove_external_address(addr);
        }
        self.listens();
    }

    /// Relays that are to be listened at, and are not: a reservation ended, or was refused.
    pub(super) fn look_for_relays(&mut self) {
        for addr in self.shared.config.listen_addrs() {
            if way::way(&addr) == Some(Way::Relay)
                && !self.relays.values().any(|asked| *asked == addr)
                && let Ok(id) = self.swarm.listen_on(addr.clone())
            {
                self.relays.insert(id, addr);
            }
        }
    }
}
