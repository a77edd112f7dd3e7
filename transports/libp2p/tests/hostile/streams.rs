//! Streams that are opened and not used.

use std::time::Duration;

use futures::future::join_all;

use crate::bitswap::BITSWAP;
use crate::raw::DAG;
use crate::stage::{Foe, Stage, config, limits};

/// Streams opened at once.
const AT_ONCE: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_silent_streams_are_refused_and_their_peer_is_banned() {
    // So long a silent one is borne.
    let mut patient = limits();
    patient.fetch_idle = Duration::from_secs(60);
    patient.streams_per_peer = 32;
    let mut stage = Stage::with(patient, config()).await;
    let foe = stage.foe().await;
    let mut held = Vec::new();
    let open = async move |foe: &mut Foe, n: u64| {
        // Bitswap is not spoken with a node that speaks DAGs, so those are over at once.
        let protocol = if n.is_multiple_of(8) { BITSWAP } else { DAG };
        held.push(join_all((0..AT_ONCE).map(|_| foe.raw.open(protocol.clone()))).await);
        // More than there may be; what was refused is over.
        held.truncate(4);
    };
    stage.casts_out(foe, open).await;
    assert!(stage.counted("streams_refused") >= 20 * 32);
}
