//! Blocks: our requests to a peer and its requests to us, many at once over the one connection, each with a number.

use std::collections::BTreeMap;
use std::sync::Arc;

use carrick_core::{Bytes, Cid};
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::link::{Link, locked};
use crate::shared::Shared;
use crate::wire::{End, Frame, No, read_bytes};

/// Our requests that have no answer yet.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    last: u64,
    open: BTreeMap<u64, Open>,
}

/// It counts until it is answered, wanted or not: so what a far end has to remember of us is bounded.
#[derive(Debug)]
struct Open {
    most: usize,
    answer: oneshot::Sender<Result<Bytes, No>>,
    _room: OwnedSemaphorePermit,
}

/// Cancels a request on the wire if it is dropped before the answer.
struct Cancel<'a>(&'a Link, u64);

impl Drop for Cancel<'_> {
    fn drop(&mut self) {
        if locked(&self.0.asked).open.contains_key(&self.1) {
            self.0.tell(&Frame::Cancel { request: self.1 });
        }
    }
}

impl Link {
    /// Asks for a block of at most so many bytes. `None` when the link ends.
    pub(crate) async fn ask(&self, cid: &Cid, most: usize) -> Option<Result<Bytes, No>> {
        let _room = self.room.clone().acquire_owned().await.ok()?;
        let (answer, answered) = oneshot::channel();
        let request = {
            let mut asked = locked(&self.asked);
            asked.last += 1;
            let request = asked.last;
            asked.open.insert(request, Open { most, answer, _room });
            request
        };
        let _cancel = Cancel(self, request);
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        self.tell(&Frame::Ask { request, cid: &cid.to_bytes(), most });
        self.ended.run_until_cancelled(answered).await?.ok()
    }

    /// Reads an answer. The length of a block is compared with what was asked for before there is room for it.
    pub(crate) async fn take_answer(
        &self,
        from: &mut OwnedReadHalf,
        request: u64,
        bytes: Result<u32, No>,
    ) -> Result<(), End> {
        let open = locked(&self.asked).open.remove(&request).ok_or(End::Broken)?;
        let answer = match bytes {
            Ok(length) if length as usize > open.most => return Err(End::Broken),
            Ok(length) => Ok(read_bytes(from, length as usize, self.host.limits().fetch_deadline).await?),
            Err(no) => Err(no),
        };
        // Nobody waits for it where the fetch was dropped meanwhile.
        let _ = open.answer.send(answer);
        Ok(())
    }

    /// Answers a request, in a task of its own.
    pub(crate) fn serve(
        self: &Arc<Self>,
        shared: &Shared,
        request: u64,
        cid: Cid,
        most: usize,
    ) -> Result<(), End> {
        let wanted = self.ended.child_token();
        {
            let mut serving = locked(&self.serving);
            if serving.len() >= self.host.limits().streams_per_peer {
                self.tell(&Frame::Answer { request, bytes: Err(No::Busy) });
                return Ok(());
            }
            if serving.insert(request, wanted.clone()).is_some() {
                return Err(End::Broken);
            }
        }
        let link = self.clone();
        shared.spawn(async move {
            let no = wanted.run_until_cancelled(link.look_up(request, &cid, most)).await;
            locked(&link.serving).remove(&request);
            // A link that ends has no more answers: what is not there here may be elsewhere.
            if let Some(no) = no.unwrap_or(Some(No::Absent))
                && !link.ended.is_cancelled()
            {
                link.tell(&Frame::Answer { request, bytes: Err(no) });
            }
        });
        Ok(())
    }

    /// Hands a block to the writer; or says why not.
    async fn look_up(&self, request: u64, cid: &Cid, most: usize) -> Option<No> {
        match self.host.block(&self.remote(), cid).await {
            Ok(Some(served)) if served.bytes().len() > most => Some(No::TooLarge),
            // Fails only where the link ended.
            Ok(Some(served)) => self.blocks.send((request, served)).await.err().map(|_| No::Busy),
            Ok(None) => Some(No::Absent),
            Err(_) => Some(No::Busy),
        }
    }
}
