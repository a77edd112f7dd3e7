//! Blocks: our requests and those of the far end, each on a stream of its own. Who wants no answer drops its end of it.

use std::sync::Arc;
use std::time::Duration;

use carrick_core::links::{Asks, Hub, Link, Miss, Reason};
use carrick_core::{Bytes, Cid, async_trait};
use remoc::chmux::{Listener, Receiver, Sender};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::bytes::BytesMut;

use crate::wire::{Frame, MAX_FRAME_BYTES, Streams, receive};

#[async_trait]
impl Asks for Streams {
    async fn ask(&self, cid: &Cid, most: usize, idle: Duration) -> Result<Bytes, Miss> {
        // The far end takes no more than it said; that they are many is no fault of its own.
        let _room =
            timeout(idle, self.room.acquire()).await.map_err(|_| Miss::Busy)?.map_err(|_| Miss::Lost)?;
        let (mut to, mut from) = within(idle, self.client.connect()).await?.map_err(|_| Miss::Lost)?;
        let ask = Frame::Ask { cid: &cid.to_bytes(), most: u32::try_from(most).unwrap_or(u32::MAX) };
        within(idle, to.send(ask.encode())).await?.map_err(|_| Miss::Lost)?;
        let answer = within(idle, receive(&mut from, MAX_FRAME_BYTES)).await??;
        let length = match Frame::decode(&answer)? {
            Frame::Block { bytes } if bytes as usize <= most => bytes as usize,
            Frame::Absent => return Err(Miss::Absent),
            Frame::TooLarge => return Err(Miss::TooLarge),
            Frame::Busy => return Err(Miss::Busy),
            _ => return Err(Miss::Malformed),
        };
        let mut bytes = BytesMut::new();
        // However large it is: nobody is to blame while bytes move.
        while bytes.len() < length {
            let chunk = within(idle, from.recv_chunk()).await?;
            bytes.extend_from_slice(&chunk.ok().flatten().ok_or(Miss::Lost)?);
        }
        if bytes.len() == length { Ok(bytes.freeze()) } else { Err(Miss::Malformed) }
    }
}

/// Answers requests of the far end, so many at once; more wait there.
pub(crate) async fn serve(hub: &Arc<Hub<Streams>>, link: &Arc<Link<Streams>>, mut listener: Listener) {
    let places = Arc::new(Semaphore::new(hub.host().limits().streams_per_peer));
    while let Ok(place) = places.clone().acquire_owned().await
        && let Ok(Some((to, from))) = listener.accept().await
    {
        let (of, link) = (hub.clone(), link.clone());
        hub.spawn(async move {
            if let Err(why @ Reason::Malformed) = answer(&of, &link, to, from).await {
                of.end(&link, why);
            }
            drop(place);
        });
    }
}

async fn answer(
    hub: &Hub<Streams>,
    link: &Link<Streams>,
    mut to: Sender,
    mut from: Receiver,
) -> Result<(), Reason> {
    let limits = hub.host().limits();
    let ask = within(limits.fetch_idle, receive(&mut from, MAX_FRAME_BYTES)).await??;
    let Frame::Ask { cid, most } = Frame::decode(&ask)? else { return Err(Reason::Malformed) };
    let cid = Cid::try_from(cid).map_err(|_| Reason::Malformed)?;
    let found = tokio::select! {
        () = to.closed() => return Ok(()),
        found = hub.look_up(link, &cid, most as usize) => found,
    };
    let frame = match &found {
        Ok(served) => Frame::Block { bytes: u32::try_from(served.bytes().len()).unwrap_or(u32::MAX) },
        Err(Miss::Absent) => Frame::Absent,
        Err(Miss::TooLarge) => Frame::TooLarge,
        Err(_) => Frame::Busy,
    };
    let answering = async {
        to.send(frame.encode()).await?;
        // Its share of serving memory is held until the last of its bytes left.
        if let Ok(served) = found { to.send(served.into_bytes()).await } else { Ok(()) }
    };
    // Fails where nobody waits for it any more.
    let _ = timeout(limits.fetch_deadline, answering).await;
    Ok(())
}

async fn within<T>(idle: Duration, doing: impl Future<Output = T>) -> Result<T, Reason> {
    timeout(idle, doing).await.map_err(|_| Reason::Stalled)
}
