//! Answers over any stream of bytes.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};

use super::Reply;
use crate::links::frames::{Fault, within};

/// A block that is copied behind its head, so that the two are one write.
const SMALL: usize = 8 << 10;

/// A [`Reply`] over a stream of bytes, for wires whose streams copy what they are given and cannot be told why they end.
///
/// On such a wire the asker leaves its own side of the stream open until it has its answer. Ending that side, or sending
/// more on it, cancels the request.
#[derive(Debug)]
pub struct ByteReply<S> {
    stream: WriteHalf<S>,
}

impl<S: AsyncRead + AsyncWrite> ByteReply<S> {
    /// Splits a stream that the far end opened into its request and the answer.
    pub fn split(stream: S) -> (ReadHalf<S>, Self) {
        let (request, stream) = tokio::io::split(stream);
        (request, Self { stream })
    }

    async fn write_all(&mut self, mut bytes: Bytes, idle: Duration) -> Result<(), Fault>
    where
        S: Send,
    {
        while !bytes.is_empty() {
            // Step by step: each shows that the answer is taken.
            if within(Some(idle), self.stream.write_buf(&mut bytes)).await?? == 0 {
                return Err(Fault::Stopped);
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Send + 'static> Reply for ByteReply<S> {
    type Request = ReadHalf<S>;

    fn prioritise(&mut self, _: i8) {}

    async fn write(&mut self, head: Bytes, bytes: Bytes, idle: Duration) -> Result<(), Fault> {
        if bytes.len() <= SMALL {
            let mut both = BytesMut::with_capacity(head.len() + bytes.len());
            both.put(head);
            both.put(bytes);
            self.write_all(both.freeze(), idle).await?;
        } else {
            self.write_all(head, idle).await?;
            self.write_all(bytes, idle).await?;
        }
        Ok(within(Some(idle), self.stream.flush()).await??)
    }

    fn stopped(&self, rest: ReadHalf<S>) -> impl Future<Output = ()> + Send + 'static {
        until_anything(rest)
    }

    async fn finish(mut self, stopped: impl Future<Output = ()> + Send, idle: Duration) -> Result<(), Fault> {
        tokio::select! {
            biased;
            () = stopped => Ok(()),
            // Fails otherwise only where the asker went: then nobody waits for the end.
            ended = within(Some(idle), self.stream.shutdown()) => ended.map(|_| ()),
        }
    }
}

/// Waits until a byte comes, or the end.
async fn until_anything(mut rest: impl AsyncRead + Unpin) {
    let _ = rest.read_u8().await;
}
