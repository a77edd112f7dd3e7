//! Bytes that no honest peer sends: blamed, cut off, and nobody else suffers.

use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};

use super::super::RawWire;
use super::super::kit::topic;
use super::{Kit, Member, Outcome};

const UNSUPPORTED: Outcome = Outcome::Unsupported("raw bytes on the wire");

/// It is cut off and blamed, and a neighbour is still served.
async fn is_cut_off(kit: &Kit, mut foe: Box<dyn RawWire>, members: &[Member], offences: u64) {
    kit.soon("the end of a hostile link", foe.ended()).await;
    kit.until("blame", || members[0].counter("misdeed_malformed") == offences).await;
    let mut subscriptions = kit.subscribe(members, &topic()).await;
    members[0].publish(&topic(), "still here").await.expect("publishes");
    assert_eq!(kit.text(&mut subscriptions[1]).await, "still here");
}

pub(in super::super) async fn oversize_frame_costs_no_memory(kit: Kit) -> Outcome {
    let members = kit.pair().await;
    let Some(mut foe) = kit.foe(&members[0], &kit.stranger()).await else { return UNSUPPORTED };
    // Nothing of the body follows: whoever makes room for it and waits is found out.
    let Some(claim) = foe.endless() else { return UNSUPPORTED };
    foe.send(&claim).await;
    is_cut_off(&kit, foe, &members, 1).await;
    Outcome::Kept
}

pub(in super::super) async fn malformed_frame_is_reported_and_survived(kit: Kit) -> Outcome {
    let members = kit.pair().await;
    let mut rng = StdRng::seed_from_u64(1);
    let mut nonsense = vec![vec![0; 64], vec![0xff; 64], b"GET / HTTP/1.1\r\n\r\n".to_vec()];
    nonsense.extend((0..5).map(|_| {
        let mut bytes = vec![0; 64];
        rng.fill_bytes(&mut bytes);
        bytes
    }));
    for (bytes, offences) in nonsense.into_iter().zip(1..) {
        let Some(mut foe) = kit.foe(&members[0], &kit.stranger()).await else { return UNSUPPORTED };
        if !foe.send(&bytes).await {
            return UNSUPPORTED;
        }
        is_cut_off(&kit, foe, &members, offences).await;
    }
    Outcome::Kept
}
