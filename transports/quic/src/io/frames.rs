//! QUIC streams, as the frames of the core need them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use carrick_core::links::frames::{self, Fault, within};
use quinn::{RecvStream, SendStream};
use tokio::io::{AsyncRead, ReadBuf};

use crate::error::{of_read, of_write};

/// Reads the frames of one stream. Dropping it before the end tells the far end to stop sending.
pub(crate) type Reader = frames::Reader<Recv>;

/// A stream to read from, which tells a [`Fault`] as its error.
pub(crate) struct Recv(pub(crate) RecvStream);

impl AsyncRead for Recv {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(self.0.poll_read(cx, buf.initialize_unfilled())).map_err(of_read)?;
        buf.advance(read);
        Poll::Ready(Ok(()))
    }
}

/// Writes chunks as they are; gives up when the far end takes no byte for `idle`.
pub(crate) async fn write(
    stream: &mut SendStream,
    mut chunks: &mut [Bytes],
    idle: Option<Duration>,
) -> Result<(), Fault> {
    while !chunks.is_empty() {
        let written = within(idle, stream.write_chunks(chunks)).await?.map_err(of_write)?;
        chunks = &mut chunks[written.chunks..];
    }
    Ok(())
}
