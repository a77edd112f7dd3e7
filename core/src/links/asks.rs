//! Fetching blocks over the links of a hub.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use futures::{StreamExt as _, stream};
use tokio::time::sleep;

use super::{Hub, Link, Miss, Reason, Wire, search};
use crate::{Claims, ErrorKind, Fetch, Fetched, Misdeed, PeerAddr, Result, Want, WantDag};

/// Peers asked at once whether they have a block.
const ASKED_AT_ONCE: usize = 16;

/// A wire that asks its far end for single blocks. Then its [`Hub`] is the [`Fetch`] of the transport.
#[async_trait]
pub trait Asks: Wire {
    /// Asks for a block of at most `most` bytes; no longer than `idle` may pass without a byte.
    ///
    /// # Errors
    /// Why there is none. Who is to blame for it is blamed by the hub: `Malformed` ends the link, `Stalled` costs reputation
    /// where `idle` was all of [`fetch_idle`](crate::Limits::fetch_idle). So answer `Stalled` only for what the far end held
    /// up: not for your own queue (that is `Busy`), nor over a way that may be dead.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the request on the wire and frees both ends.
    async fn ask(&self, cid: &Cid, most: usize, idle: Duration) -> std::result::Result<Bytes, Miss>;
}

impl<W: Asks> Hub<W> {
    async fn ask(
        &self,
        link: &Arc<Link<W>>,
        cid: &Cid,
        most: usize,
        idle: Duration,
    ) -> std::result::Result<Bytes, Miss> {
        let asking = link.ended().run_until_cancelled(link.wire.ask(cid, most, idle));
        let answer = asking.await.unwrap_or(Err(Miss::Lost));
        match answer {
            Err(Miss::Malformed) => self.end(link, Reason::Malformed),
            // Who got only a share of the time is not to blame.
            Err(Miss::Stalled) if idle >= self.host().limits().fetch_idle => {
                self.host().report(link.remote(), Misdeed::Stalled);
            }
            _ => {}
        }
        answer
    }
}

#[async_trait]
impl<W: Asks> Fetch for Hub<W> {
    async fn block(&self, want: &Want) -> Result<Fetched> {
        self.open("block")?;
        let most = want.limit_bytes.min(self.host().limits().block_bytes);
        let providers = self.to_ask(&want.hints, &want.avoid);
        search(self.host(), want, providers, |link, idle| async move {
            let bytes = self.ask(&link, &want.cid, most, idle).await?;
            Ok((bytes, link.remote().clone()))
        })
        .await
    }

    async fn dag(&self, _: &WantDag) -> Result<Claims> {
        self.open("dag")?;
        // The node then asks block by block.
        Err(self.host().fail(ErrorKind::Unsupported, "dag", "this wire fetches single blocks"))
    }

    async fn provide(&self, cids: &[Cid]) -> Result<()> {
        self.open("provide")?;
        self.host().check_provided(cids).await
    }

    async fn withdraw(&self, _: &[Cid]) -> Result<()> {
        self.open("withdraw")
    }

    async fn announce(&self, _: &Cid) -> Result<()> {
        self.open("announce")
    }

    async fn providers(&self, cid: &Cid, limit: usize) -> Result<Vec<PeerAddr>> {
        self.open("providers")?;
        let idle = self.host().limits().fetch_idle;
        let asking = self.table().providers(&[], &[], 0).into_iter().map(|link| async move {
            // No byte may come: who has it says that it is too large, unless it is empty.
            let answer = self.ask(&link, cid, 0, idle).await;
            matches!(answer, Ok(_) | Err(Miss::TooLarge)).then_some(link.peer())
        });
        let found = stream::iter(asking).buffer_unordered(ASKED_AT_ONCE).filter_map(std::future::ready);
        let in_time = found.take(limit).take_until(sleep(idle));
        Ok(in_time.map(|peer| PeerAddr::new(peer, self.host().addresses(&peer))).collect().await)
    }
}
