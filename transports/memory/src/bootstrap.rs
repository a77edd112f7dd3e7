//! Keeps a node connected to the peers that its configuration names.

use carrick_core::{ErrorKind, Host, PeerAddr};

use crate::MemoryNetwork;
use crate::config::numbers;
use crate::transport::dial;

/// Dials a bootstrap peer again and again, for as long as the node is on the network.
pub(crate) async fn keep(network: MemoryNetwork, at: u64, host: Host, peer: PeerAddr) {
    let mut failures = 0_u32;
    loop {
        let missing = {
            let state = network.state();
            if state.place(at).is_none() {
                return;
            }
            state.misses(at, numbers(&peer), peer.peer)
        };
        match if missing { dial(&network, at, &peer) } else { Ok(host.me().into()) } {
            Ok(_) => failures = 0,
            // It names the node itself, as when all nodes share one configuration.
            Err(error) if error.kind() == ErrorKind::Config => return,
            Err(error) => {
                failures = failures.saturating_add(1);
                tracing::debug!(%error, %peer, "bootstrap");
            }
        }
        tokio::time::sleep(host.backoff(failures)).await;
    }
}
