//! Links: who may have one, how it ends, what is left of it.

use super::{Kit, Outcome};
use crate::Remote;

pub(super) async fn dial_ok_means_admitted(kit: Kit) -> Outcome {
    let (near, far) = (kit.node().await, kit.node().await);
    let remote = kit.soon("a dial", near.transport.dial(&far.addr())).await.expect("it answers");
    assert_eq!(remote, Remote::Peer(far.peer_id()));
    assert!(near.is_linked(&far.peer_id()).await, "the near end has the link");
    assert!(far.is_linked(&near.peer_id()).await, "the far end has the link");
    Outcome::Kept
}
