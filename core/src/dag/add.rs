//! A stream of bytes becomes a file.

use bytes::BufMut;
use cid::Cid;
use futures::try_join;
use rust_unixfs::file::adder::FileAdder;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::disk::stream_error;
use super::layout::Shape;
use super::{BlockSink, Layout};
use crate::{Block, Error, ErrorKind, Result};

/// What was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Added {
    /// The root.
    pub cid: Cid,
    /// Bytes of file content.
    pub bytes: u64,
    /// Blocks handed to the sink; content that repeats counts each time.
    pub blocks: u64,
    /// Bytes of all blocks, repeats counted: what Kubo calls the cumulative size.
    pub dag_size: u64,
}

/// Adds what `reader` yields as one file; the sink gets each block as it is made, the root last.
///
/// Memory is three chunks of the layout, whatever the length. The next chunk is read while one is hashed and stored.
///
/// # Errors
/// Whatever the sink says; `Unexpected` when the reader fails. Blocks made before stay in the sink.
///
/// # Cancel safety
/// Dropping the future leaves some blocks in the sink and no root.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> carrick_core::Result<()> {
/// use carrick_core::dag::{Layout, NullSink, add_file};
///
/// let added = add_file(&b"hello world"[..], Layout::default(), &mut NullSink).await?;
/// assert_eq!(added.cid.to_string(), "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e");
/// # Ok(())
/// # }
/// ```
pub async fn add_file(
    reader: impl AsyncRead + Unpin + Send,
    layout: Layout,
    sink: &mut impl BlockSink,
) -> Result<Added> {
    add_shaped(reader, layout.shape(), sink, |_| ()).await
}

/// As [`add_file`]; `grown` hears the bytes of each chunk that is done.
pub(super) async fn add_shaped<R: AsyncRead + Unpin + Send, S: BlockSink>(
    mut reader: R,
    shape: Shape,
    sink: &mut S,
    mut grown: impl FnMut(u64) + Send,
) -> Result<Added> {
    let mut file = Growing { adder: shape.file_adder(), sink, last: None, blocks: 0, dag_size: 0 };
    let (mut chunk, mut next) = (Vec::new(), Vec::new());
    let mut bytes = 0;
    fill(&mut reader, &mut chunk, shape.chunk).await?;
    while !chunk.is_empty() {
        // A short chunk was the last: some readers (a terminal) would wait for more if asked again.
        let room = if chunk.len() == shape.chunk { shape.chunk } else { 0 };
        try_join!(fill(&mut reader, &mut next, room), file.push(&chunk))?;
        bytes += chunk.len() as u64;
        grown(chunk.len() as u64);
        std::mem::swap(&mut chunk, &mut next);
    }
    file.finish(bytes).await
}

/// Reads until `buffer` holds `room` bytes or the stream ends.
async fn fill(reader: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>, room: usize) -> Result<()> {
    buffer.clear();
    buffer.reserve(room);
    while buffer.len() < room {
        let left = room - buffer.len();
        let read = reader.read_buf(&mut (&mut *buffer).limit(left)).await;
        if read.map_err(|source| stream_error("put", source))? == 0 {
            break;
        }
    }
    Ok(())
}

/// A file whose end has not been seen yet.
struct Growing<'a, S> {
    adder: FileAdder,
    sink: &'a mut S,
    last: Option<Cid>,
    blocks: u64,
    dag_size: u64,
}

impl<S: BlockSink> Growing<'_, S> {
    async fn push(&mut self, mut chunk: &[u8]) -> Result<()> {
        while !chunk.is_empty() {
            let (made, taken) = self.adder.push(chunk);
            chunk = &chunk[taken..];
            self.put(made).await?;
        }
        // Hashing a chunk takes about a millisecond; a sink and a reader in memory would never let others run.
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn finish(mut self, bytes: u64) -> Result<Added> {
        let made = std::mem::take(&mut self.adder).finish();
        self.put(made).await?;
        let cid = self.last.ok_or_else(|| {
            Error::new(ErrorKind::Unexpected, "put", "the file was built without a single block")
        })?;
        Ok(Added { cid, bytes, blocks: self.blocks, dag_size: self.dag_size })
    }

    async fn put(&mut self, made: impl Iterator<Item = (Cid, Vec<u8>)> + Send) -> Result<()> {
        for (cid, bytes) in made {
            self.last = Some(cid);
            self.blocks += 1;
            self.dag_size += bytes.len() as u64;
            self.sink.put(Block::hashed(cid, bytes.into())).await?;
        }
        Ok(())
    }
}
