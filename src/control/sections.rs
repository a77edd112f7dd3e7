//! Blocks in a body, framed as in a CAR without its header: the length of what follows as a varint, the CID, the bytes.

use std::io::Cursor;

use bytes::{Buf, Bytes, BytesMut};
use carrick::{Block, Cid, Claim, Error, ErrorKind, Result};
use http_body_util::BodyExt;
use hyper::body::Body;

/// More than any CID takes.
const MAX_CID: usize = 128;

/// The two parts of a block's section: what goes before the bytes, and the bytes, without a copy.
pub(crate) fn encode(block: Block) -> [Bytes; 2] {
    let cid = block.cid().to_bytes();
    let mut buffer = unsigned_varint::encode::u64_buffer();
    let length = unsigned_varint::encode::u64((cid.len() + block.size()) as u64, &mut buffer);
    [Bytes::from([length, &cid].concat()), block.into_bytes()]
}

/// Reads sections from a body as it arrives, each block checked against its CID.
pub(crate) struct Sections<B> {
    body: B,
    buffer: BytesMut,
    limit: usize,
}

impl<B: Body<Data = Bytes> + Unpin> Sections<B>
where
    B::Error: std::error::Error + Send + Sync + 'static,
{
    /// Takes blocks of at most `limit` bytes.
    pub(crate) fn new(body: B, limit: usize) -> Self {
        Self { body, buffer: BytesMut::new(), limit }
    }

    /// The next block; `None` at the end, which must be the end of a section.
    pub(crate) async fn next(&mut self) -> Result<Option<Block>> {
        let Some(length) = self.length().await? else { return Ok(None) };
        while self.buffer.len() < length {
            if !self.more().await? {
                return Err(malformed("it ends in the middle of a block"));
            }
        }
        let mut section = self.buffer.split_to(length).freeze();
        let mut cursor = Cursor::new(&section);
        let cid = Cid::read_bytes(&mut cursor).map_err(|source| malformed("no CID").from_source(source))?;
        let read = usize::try_from(cursor.position()).unwrap_or(length);
        section.advance(read);
        if section.len() > self.limit {
            return Err(too_large(section.len(), self.limit));
        }
        Claim::new(cid, section).check().map(Some)
    }

    async fn length(&mut self) -> Result<Option<usize>> {
        loop {
            match unsigned_varint::decode::u64(&self.buffer) {
                Ok((length, rest)) => {
                    let used = self.buffer.len() - rest.len();
                    let length = usize::try_from(length).unwrap_or(usize::MAX);
                    if length > self.limit + MAX_CID {
                        return Err(too_large(length, self.limit));
                    }
                    self.buffer.advance(used);
                    return Ok(Some(length));
                }
                Err(unsigned_varint::decode::Error::Insufficient) => {
                    if !self.more().await? {
                        let whole = self.buffer.is_empty();
                        return if whole { Ok(None) } else { Err(malformed("it ends in a length")) };
                    }
                }
                Err(source) => return Err(malformed("a length is no varint").from_source(source)),
            }
        }
    }

    /// Waits for more bytes; `false` at the end.
    async fn more(&mut self) -> Result<bool> {
        match self.body.frame().await {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.buffer.extend_from_slice(data);
                }
                Ok(true)
            }
            Some(Err(source)) => {
                Err(Error::new(ErrorKind::Closed, "put", "the sender went away").from_source(source))
            }
            None => Ok(false),
        }
    }
}

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::Config, "put", format!("the blocks are malformed: {what}"))
}

fn too_large(found: usize, limit: usize) -> Error {
    Error::new(ErrorKind::TooLarge, "put", format!("a block of {found} bytes; at most {limit} are allowed"))
        .mend("choose a layout with smaller chunks, or raise [node.limits] block_bytes on all nodes")
}

#[cfg(test)]
mod tests {
    use carrick::RAW;
    use http_body_util::Full;

    use super::*;

    async fn read(bytes: Vec<u8>, limit: usize) -> Result<Vec<Block>> {
        let mut sections = Sections::new(Full::new(Bytes::from(bytes)), limit);
        let mut blocks = Vec::new();
        while let Some(block) = sections.next().await? {
            blocks.push(block);
        }
        Ok(blocks)
    }

    #[tokio::test]
    async fn blocks_cross_unchanged() {
        let blocks =
            [Block::new(RAW, &b"one"[..]), Block::new(RAW, &b""[..]), Block::new(RAW, vec![7; 5_000])];
        let bytes = blocks.iter().cloned().flat_map(encode).flatten().collect();
        assert_eq!(read(bytes, 5_000).await.expect("good"), blocks);
    }

    #[tokio::test]
    async fn bad_sections_are_refused() {
        let good: Vec<u8> = encode(Block::new(RAW, &b"content"[..])).into_iter().flatten().collect();
        let kind =
            async |bytes: &[u8]| read(bytes.to_vec(), 100).await.map_err(|error| error.kind()).map(|_| ());
        assert_eq!(kind(&good[..good.len() - 1]).await, Err(ErrorKind::Config), "cut off");
        let mut wrong = good.clone();
        wrong[good.len() - 1] ^= 1;
        assert_eq!(kind(&wrong).await, Err(ErrorKind::Integrity), "wrong bytes");
        assert_eq!(kind(&[0xff; 12]).await, Err(ErrorKind::Config), "a length without end");
        let huge =
            unsigned_varint::encode::u64(u64::MAX, &mut unsigned_varint::encode::u64_buffer()).to_vec();
        assert_eq!(kind(&huge).await, Err(ErrorKind::TooLarge), "a length of 2^64");
        let large: Vec<u8> = encode(Block::new(RAW, vec![0; 101])).into_iter().flatten().collect();
        assert_eq!(kind(&large).await, Err(ErrorKind::TooLarge), "one byte too many");
    }
}
