//! Connections that others open.

use std::sync::Arc;

use quinn::{Endpoint, Incoming};
use tokio::time::timeout;

use super::Shared;

/// Takes connections of one endpoint until the transport closes.
///
/// While more than half of the handshakes are taken, whoever has not proved that it receives at its address
/// is asked to come again with a proof, which costs us nothing; when all are taken, newcomers are refused.
pub(crate) async fn accept(shared: Arc<Shared>, endpoint: Endpoint) {
    loop {
        let incoming = tokio::select! {
            biased;
            () = shared.closing.cancelled() => return,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { return };
        let many = shared.handshakes.available_permits() < shared.host.limits().handshakes.div_ceil(2);
        if many && !incoming.remote_address_validated() && incoming.may_retry() {
            // `may_retry` was asked.
            let _ = incoming.retry();
            continue;
        }
        let Ok(permit) = shared.handshakes.clone().try_acquire_owned() else {
            shared.host.count("refused", 1);
            incoming.refuse();
            continue;
        };
        let task = shared.clone();
        shared.host.spawn(async move {
            let _permit = permit;
            let deadline = task.host.limits().handshake;
            if !matches!(timeout(deadline, handshake(&task, incoming)).await, Ok(true)) {
                task.host.count("handshakes_failed", 1);
            }
        });
    }
}

/// TLS, then the hello; answers whether it got as far as an answer.
async fn handshake(shared: &Arc<Shared>, incoming: Incoming) -> bool {
    let Ok(connecting) = incoming.accept() else { return false };
    let Ok(connection) = connecting.await else { return false };
    shared.welcome(connection).await.is_ok()
}
