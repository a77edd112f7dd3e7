//! Looking for providers.

use std::sync::Arc;

use carrick_core::Cid;
use futures::StreamExt as _;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::super::client::WantId;
use super::Shared;

impl Shared {
    /// Looks for providers of a block until nobody needs them, there are no more, or it takes too long.
    pub(super) async fn find(self: Arc<Self>, id: WantId, cid: Cid, cancel: CancellationToken) {
        let mut providers = self.finder.find(cid);
        let finding = async {
            while let Some(peer) = providers.next().await {
                if peer != self.host.me() {
                    self.with(|state, now| state.client.found(id, peer, now));
                }
            }
        };
        let finding = timeout(self.host.limits().fetch_deadline, finding);
        if cancel.run_until_cancelled(finding).await.is_some() {
            self.with(|state, now| {
                state.finds.remove(&id);
                state.client.find_ended(id, now);
            });
        }
    }
}
