//! Providers that routing finds, connected.

use std::sync::{Arc, OnceLock, Weak};

use carrick_core::{Cid, PeerAddr, PeerId};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};

use crate::bitswap::Finder;
use crate::shared::Shared;

/// Providers dialled at once.
const DIALS_AT_ONCE: usize = 16;

/// Finds providers for bitswap. It belongs to what it asks, and must not keep it.
#[derive(Debug, Default)]
pub(crate) struct Routed(OnceLock<Weak<Shared>>);

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shared({:?})", self.host)
    }
}

impl Routed {
    /// Over which transport.
    pub(crate) fn begin(&self, shared: &Arc<Shared>) {
        // Said once.
        let _ = self.0.set(Arc::downgrade(shared));
    }
}

impl Finder for Routed {
    fn find(&self, cid: Cid) -> BoxStream<'static, PeerId> {
        let Some(shared) = self.0.get().and_then(Weak::upgrade) else { return stream::empty().boxed() };
        let found = shared.finder.providers(&cid, usize::MAX);
        let connecting = found.map(move |(peer, addrs)| {
            let shared = Arc::clone(&shared);
            async move {
                shared.connect(&PeerAddr::new(peer, addrs)).await.ok()?;
                // Any peer can be asked by bitswap, a node of Carrick too.
                shared.net.asked_by_bitswap(peer).await;
                Some(peer)
            }
        });
        connecting.buffer_unordered(DIALS_AT_ONCE).filter_map(std::future::ready).boxed()
    }
}
