//! Asking one provider.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cid::Cid;
use tokio::io::AsyncRead;
use tokio::time::timeout;

use super::{AskBlock, Kind, Provider, ask_has_frame, read_cid};
use crate::links::Miss;
use crate::links::frames::{Broken, Fault, Reader};
use crate::{Host, Misdeed, Want};

/// Asks a provider for a block, for use inside [`search`](crate::links::search). No longer than `idle` may pass without a
/// byte.
///
/// # Errors
/// Why there is none. Who is to blame for it is blamed already.
///
/// # Cancel safety
/// Dropping the future cancels the request on the wire and frees both ends.
pub async fn ask_block<P: Provider>(
    host: &Host,
    provider: &Arc<P>,
    want: &Want,
    idle: Duration,
) -> Result<Bytes, Miss> {
    let limit = want.limit_bytes.min(host.limits().block_bytes);
    let max_bytes = u32::try_from(limit).unwrap_or(u32::MAX);
    let ask = AskBlock { cid: want.cid, max_bytes, priority: want.priority };
    let mut reader = request(host, provider, ask.encode(), idle).await?;
    let answer = async {
        let head = reader.expect(&[Kind::Block, Kind::Absent, Kind::Limit, Kind::Busy]).await?;
        Ok(match head.kind {
            Kind::Absent => Err(Miss::Absent),
            Kind::Limit => Err(Miss::TooLarge),
            Kind::Busy => Err(Miss::Busy),
            _ => Ok(read_asked(&mut reader, head.length, &want.cid, limit).await?),
        })
    };
    answer.await.unwrap_or_else(|fault| Err(miss(host, &**provider, fault)))
}

/// Asks a provider whether it has a block. No longer than `idle` may pass without a byte.
///
/// # Errors
/// Why it did not answer. Who is to blame for it is blamed already.
///
/// # Cancel safety
/// Dropping the future cancels the request on the wire and frees both ends.
pub async fn ask_has<P: Provider>(
    host: &Host,
    provider: &Arc<P>,
    cid: &Cid,
    idle: Duration,
) -> Result<bool, Miss> {
    let mut reader = request(host, provider, ask_has_frame(cid), idle).await?;
    let answer = reader.expect(&[Kind::Present, Kind::Absent, Kind::Busy]).await;
    let head = answer.map_err(|fault| miss(host, &**provider, fault))?;
    Ok(head.kind == Kind::Present)
}

/// Reads the block that was asked for; another one breaks the protocol.
async fn read_asked<R: AsyncRead + Unpin>(
    reader: &mut Reader<R>,
    length: usize,
    asked: &Cid,
    limit: usize,
) -> Result<Bytes, Fault> {
    let (cid, bytes) = read_block(reader, length, limit).await?;
    let other = Broken::body(Kind::Block, "not the block that was asked for");
    if cid == *asked { Ok(bytes) } else { Err(other.into()) }
}

/// Reads the body of a block frame.
pub(super) async fn read_block<R: AsyncRead + Unpin>(
    reader: &mut Reader<R>,
    length: usize,
    limit: usize,
) -> Result<(Cid, Bytes), Fault> {
    let short = Broken::body(Kind::Block, "too short");
    let cid_bytes = usize::from(reader.body(length.min(1)).await?.first().copied().ok_or(short)?);
    let bytes = length.checked_sub(1 + cid_bytes).ok_or(short)?;
    let cid = read_cid(Kind::Block, &reader.body(cid_bytes).await?)?;
    if bytes > limit {
        return Err(Broken::body(Kind::Block, "a block above the limit").into());
    }
    Ok((cid, reader.body(bytes).await?))
}

/// Opens a stream, asks, and gives the reader of the answer.
pub(super) async fn request<P: Provider>(
    host: &Host,
    provider: &Arc<P>,
    request: Bytes,
    idle: Duration,
) -> Result<Reader<P::Answer>, Miss> {
    let opened = timeout(idle, provider.open(request)).await;
    // That no stream could be opened need not be its fault.
    let answer = opened.unwrap_or(Err(Miss::Stalled))?;
    Ok(Reader::new(answer, host).answer(provider.clone(), idle))
}

/// What a fault means for the search. Who says nothing at all is blamed: who has no room says so.
pub(super) fn miss<P: Provider>(host: &Host, provider: &P, fault: Fault) -> Miss {
    match fault {
        Fault::Broken(broken) => {
            provider.broke(&broken);
            Miss::Malformed
        }
        Fault::Stalled => {
            host.report(provider.remote(), Misdeed::Stalled);
            Miss::Stalled
        }
        Fault::Slow => Miss::Stalled,
        // Not every wire can say why a stream is ended half-way.
        Fault::GivenUp | Fault::Cut | Fault::Stopped => Miss::GivenUp,
        Fault::Lost(_) => Miss::Lost,
    }
}
