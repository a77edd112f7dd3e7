//! CARv1: many blocks in one stream of bytes. <https://ipld.io/specs/transport/car/carv1/>
//!
//! Headers and writing are iroh-car's. Sections are read here: its reader takes a file that was cut off inside a
//! length for a whole one, allows 4 MiB whatever the limit for blocks is, and does not hash.

use std::collections::HashSet;
use std::io::{self, Cursor};

use bytes::Bytes;
use cid::Cid;
use futures::{Stream, stream};
use iroh_car::{CarHeader, CarWriter};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, BufReader, BufWriter};

use super::disk::stream_error;
use super::{BlockSource, MAX_PENDING, links};
use crate::{Block, Claim, Error, ErrorKind, Result};

/// Room for about 1,600 roots.
const MAX_HEADER_BYTES: usize = 64 << 10;
/// No CID of a hash we take is longer.
const MAX_CID_BYTES: usize = 64;
const BUFFER_BYTES: usize = 64 << 10;
/// The header of version 2, which is the same in every file.
const VERSION_2: &[u8] = b"\xa1\x67version\x02";

/// What was exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// Blocks, each counted once.
    pub blocks: u64,
    /// Their sizes together, without header and CIDs.
    pub bytes: u64,
}

/// Writes everything under `roots` as a CARv1: parents before children, depth first, each block once.
///
/// That is the order of `ipfs dag export`. Memory grows by about 100 bytes a block, to know what was written.
///
/// # Errors
/// `Config` without a root; `NotFound` for a missing block; what [`links`] says; `Unexpected` when the writer
/// fails. What was written before then is a CAR that lacks blocks.
pub async fn export_car(
    source: &(impl BlockSource + ?Sized),
    roots: &[Cid],
    writer: impl AsyncWrite + Unpin + Send,
) -> Result<Exported> {
    if roots.is_empty() {
        return Err(Error::new(ErrorKind::Config, "export", "a CAR needs at least one root"));
    }
    let header = CarHeader::new_v1(roots.to_vec());
    let mut car = CarWriter::new(header, BufWriter::with_capacity(BUFFER_BYTES, writer));
    let mut exported = Exported::default();
    let mut written = HashSet::new();
    let mut pending: Vec<Cid> = roots.iter().rev().copied().collect();
    while let Some(cid) = pending.pop() {
        if !written.insert(cid) {
            continue;
        }
        let block = source.block(&cid).await?;
        let below = links(&block)?;
        pending.extend(below.into_iter().rev().filter(|link| !written.contains(link)));
        if pending.len() > MAX_PENDING {
            let detail = format!("more than {MAX_PENDING} links wait to be followed");
            return Err(Error::new(ErrorKind::TooLarge, "export", detail));
        }
        car.write(cid, block.bytes()).await.map_err(car_error)?;
        exported.blocks += 1;
        exported.bytes += block.size() as u64;
    }
    car.finish().await.map_err(car_error)?;
    Ok(exported)
}

fn car_error(source: iroh_car::Error) -> Error {
    match source {
        iroh_car::Error::Io(source) => stream_error("export", source),
        other => {
            Error::new(ErrorKind::Unexpected, "export", "the CAR could not be encoded").from_source(other)
        }
    }
}

/// Reads a CARv1, block by block; each is hashed before it is handed out.
#[derive(Debug)]
pub struct CarReader<R> {
    reader: BufReader<R>,
    roots: Vec<Cid>,
    limit: usize,
    blocks: u64,
}

impl<R: AsyncRead + Unpin + Send> CarReader<R> {
    /// Reads the header. `block_limit` is the largest block taken, in bytes.
    ///
    /// # Errors
    /// `Integrity` for what is no CAR; `Unsupported` for version 2; `TooLarge` for a header above 64 KiB; `Unexpected`
    /// when the stream fails.
    pub async fn new(reader: R, block_limit: usize) -> Result<Self> {
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, reader);
        let header = section(&mut reader, MAX_HEADER_BYTES).await?;
        let header = header.ok_or_else(|| damaged("it is empty"))?;
        if header == VERSION_2 {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "import",
                "a CAR of version 2; version 1 is read",
            )
            .mend("`ipfs dag export` writes version 1"));
        }
        let header = CarHeader::decode(&header)
            .map_err(|source| damaged("its header is no CARv1 header").from_source(source))?;
        Ok(Self { reader, roots: header.roots().to_vec(), limit: block_limit + MAX_CID_BYTES, blocks: 0 })
    }

    /// The roots that the header names. Whether their blocks are in the file is not promised.
    pub fn roots(&self) -> &[Cid] {
        &self.roots
    }

    /// The next block; `None` at the end.
    ///
    /// # Errors
    /// `Integrity` when bytes and CID do not match, or the file is damaged or cut off; `TooLarge`; `Rejected` for a
    /// hash that proves nothing; `Unexpected` when the stream fails. After an error nothing more can be read.
    ///
    /// # Cancel safety
    /// Dropping the future loses the place in the stream: begin again.
    pub async fn next(&mut self) -> Result<Option<Block>> {
        let Some(bytes) = section(&mut self.reader, self.limit).await? else { return Ok(None) };
        let mut cursor = Cursor::new(&bytes);
        let cid = Cid::read_bytes(&mut cursor)
            .map_err(|source| damaged(format!("block {} has no CID", self.blocks)).from_source(source))?;
        let start = cursor.position() as usize;
        let block = Claim::new(cid, Bytes::from(bytes).slice(start..)).check()?;
        self.blocks += 1;
        Ok(Some(block))
    }

    /// All blocks, ending with the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Block>> + Send {
        stream::try_unfold(self, |mut car| async move { Ok(car.next().await?.map(|block| (block, car))) })
    }
}

/// Reads a length and that many bytes; `None` where the stream ends before the length.
async fn section(reader: &mut (impl AsyncRead + Unpin), limit: usize) -> Result<Option<Vec<u8>>> {
    let Some(length) = varint(reader).await? else { return Ok(None) };
    if length > limit as u64 {
        let detail = format!("a section of {length} bytes; at most {limit} are taken");
        return Err(Error::new(ErrorKind::TooLarge, "import", detail));
    }
    let mut bytes = vec![0; length as usize];
    reader.read_exact(&mut bytes).await.map_err(cut_off)?;
    Ok(Some(bytes))
}

async fn varint(reader: &mut (impl AsyncRead + Unpin)) -> Result<Option<u64>> {
    let mut value = 0;
    // Nine bytes, as the multiformats allow; 63 bits.
    for shift in (0..63).step_by(7) {
        let byte = match reader.read_u8().await {
            Ok(byte) => byte,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && shift == 0 => return Ok(None),
            Err(error) => return Err(cut_off(error)),
        };
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(Some(value));
        }
    }
    Err(damaged("a length does not fit in 63 bits"))
}

fn cut_off(source: io::Error) -> Error {
    if source.kind() == io::ErrorKind::UnexpectedEof {
        damaged("it is cut off in the middle of a section")
    } else {
        stream_error("import", source)
    }
}

fn damaged(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Integrity, "import", format!("the CAR is damaged: {why}"))
}
