//! A link at work: its first stream, written and read, and its end.

use std::sync::Arc;
use std::time::Duration;

use carrick_core::Bytes;
use carrick_core::links::{Hub, Link, Packed, Reason};
use futures::future::join3;
use remoc::chmux::{ChMuxError, Receiver, Sender};
use tokio::time::{sleep, timeout};
use tokio_util::codec::LengthDelimitedCodecError;

use crate::blocks::serve;
use crate::hello::{Carrier, Connection};
use crate::wire::{self, Frame, MAX_FRAME_BYTES, Streams, receive};

/// How long an ended link may take for what is queued and for the goodbye.
const FAREWELL: Duration = Duration::from_millis(500);

/// Carries a link from its hello to its end.
pub(crate) async fn run(hub: Arc<Hub<Streams>>, link: Arc<Link<Streams>>, connection: Connection) {
    let Connection { carrier, listener, mut to, mut from, .. } = connection;
    let reading = async { hub.end(&link, read(&hub, &link, &mut from).await) };
    let writing = async {
        if let Err(why) = write(&hub, &link, &mut to).await {
            hub.end(&link, why);
        }
    };
    let ending = async {
        link.ended().cancelled().await;
        sleep(FAREWELL).await;
    };
    tokio::select! {
        _ = join3(reading, writing, serve(&hub, &link, listener)) => {}
        () = carry(&hub, &link, carrier) => {}
        () = ending => {}
    }
    hub.end(&link, Reason::Goodbye);
}

/// Carries all streams, and leaves a moment to those who read what came last.
async fn carry(hub: &Hub<Streams>, link: &Arc<Link<Streams>>, carrier: Carrier) {
    match carrier.await {
        Err(ChMuxError::Protocol(_)) => hub.end(link, Reason::Malformed),
        Err(ChMuxError::StreamError(error))
            if error.get_ref().is_some_and(|error| error.is::<LengthDelimitedCodecError>()) =>
        {
            hub.end(link, Reason::Malformed);
        }
        _ => sleep(FAREWELL).await,
    }
}

/// Writes what waits until the link ends, and then why.
async fn write(hub: &Hub<Streams>, link: &Link<Streams>, to: &mut Sender) -> Result<(), Reason> {
    loop {
        let (frame, envelope) = tokio::select! {
            biased;
            frame = link.frame() => (frame, None),
            message = link.messages.pop() => match message {
                Some(Packed { head, bytes }) => (head, Some(bytes)),
                None => break,
            },
        };
        // Who reads nothing is not to blame: its gate may be full. What waits for it is bounded.
        let writing = async {
            to.send(frame).await?;
            if let Some(bytes) = envelope { to.send(bytes).await } else { Ok(()) }
        };
        writing.await.map_err(|_| Reason::Goodbye)?;
    }
    hub.until_over(link).await;
    let _ = to.send(Frame::Bye(link.why() as u8).encode()).await;
    // What was sent goes first.
    link.wire.client.terminate();
    Ok(())
}

/// Reads until the link ends; answers why.
async fn read(hub: &Arc<Hub<Streams>>, link: &Arc<Link<Streams>>, from: &mut Receiver) -> Reason {
    let reading = async {
        loop {
            if let Err(why) = read_one(hub, link, from).await {
                return why;
            }
        }
    };
    link.ended().run_until_cancelled(reading).await.unwrap_or(Reason::Goodbye)
}

async fn read_one(
    hub: &Arc<Hub<Streams>>,
    link: &Arc<Link<Streams>>,
    from: &mut Receiver,
) -> Result<(), Reason> {
    match Frame::decode(&receive(from, MAX_FRAME_BYTES).await?)? {
        Frame::Message { topic } => {
            let topic = wire::topic(topic)?;
            let limits = hub.host().limits();
            // While the gate is full the envelope stays unread, and the far end waits.
            let room = hub.room(link).await;
            let reading = receive(from, limits.envelope_bytes());
            let bytes = timeout(limits.fetch_deadline, reading).await.map_err(|_| Reason::Stalled)??;
            hub.deliver(link, room, topic, bytes);
            Ok(())
        }
        Frame::Topic { name, joined } => hub.heard(link, wire::topic(name)?, joined),
        Frame::Record(bytes) => hub.learn(link, Bytes::copy_from_slice(bytes)),
        Frame::Bye(why) => Err(Reason::from_code(why.into()).told()),
        _ => Err(Reason::Malformed),
    }
}
