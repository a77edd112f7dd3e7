//! What the daemon holds for the node: blocks that were given to it, pinned so that its garbage collection leaves them.
//!
//! Ours are pinned directly, one by one. People pin recursively, and Kubo keeps the two apart, so that neither takes away
//! what the other holds.

use bytes::Bytes;
use carrick_core::{Cid, ErrorKind};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::rpc::calls::{BlockPut, BlockRm, BlockStat, DagImport, PinAdd, PinLs, PinRm, Stored, raw, short};
use crate::rpc::{Fault, Payload, Rpc};

/// The largest block that daemons give each other.
pub(crate) const WIRE_BYTES: usize = 2 << 20;
/// How many blocks one call names. A proxy before the daemon may take no longer line than 8 KiB.
const NAMED_AT_ONCE: usize = 100;
/// How many blocks are asked about at once.
const ASKED_AT_ONCE: usize = 16;
/// The header of a CARv1 without roots, with its length. <https://ipld.io/specs/transport/car/carv1/#header>
const CAR_HEADER: &[u8] = b"\x11\xa2\x65roots\x80\x67version\x01";
const BLAKE3: u64 = 0x1e;

/// Whether all of them are pinned by us. One that is not, or that somebody else has pinned, makes it false.
pub(crate) async fn are_pinned(rpc: &Rpc, cids: &[Cid]) -> Result<bool, Fault> {
    for some in cids.chunks(NAMED_AT_ONCE) {
        match rpc.bytes(PinLs(names(some)), Payload::Nothing).await {
            Ok(_) => {}
            Err(fault) if fault.kind == ErrorKind::NotFound => return Ok(false),
            Err(fault) => return Err(fault),
        }
    }
    Ok(true)
}

/// Those that the daemon has not in its own store.
pub(crate) async fn missing(rpc: &Rpc, cids: &[Cid]) -> Result<Vec<Cid>, Fault> {
    let asking = stream::iter(cids.to_vec()).map(|cid| async move {
        match rpc.bytes(BlockStat { arg: raw(&cid).to_string(), offline: true }, Payload::Nothing).await {
            Ok(_) => Ok(None),
            Err(fault) if fault.kind == ErrorKind::NotFound => Ok(Some(cid)),
            Err(fault) => Err(fault),
        }
    });
    asking.buffered(ASKED_AT_ONCE).try_filter_map(async |missing| Ok(missing)).try_collect().await
}

/// Gives the daemon blocks, in one call. It hashes them.
pub(crate) async fn give(rpc: &Rpc, blocks: &[(Cid, Bytes)]) -> Result<(), Fault> {
    let [(cid, bytes)] = blocks else {
        // An answer of many lines, or none: whatever failed ends it with an error.
        return rpc.bytes(DagImport { pin_roots: false }, Payload::Parts(car(blocks))).await.map(drop);
    };
    let mhtype = if cid.hash().code() == BLAKE3 { "blake3" } else { "sha2-256" };
    let call = BlockPut { cid_codec: "raw", mhtype, pin: false };
    let stored: Stored = rpc.json(call, Payload::Parts(vec![bytes.clone()])).await?;
    if short::<Cid>(&stored.key).is_some_and(|key| key.hash() == cid.hash()) {
        return Ok(());
    }
    Err(Fault::new(ErrorKind::Integrity, format!("the daemon stored {cid} as {:.100}", stored.key)))
}

/// Blocks as a CARv1, each under the name by which the daemon keeps it.
fn car(blocks: &[(Cid, Bytes)]) -> Vec<Bytes> {
    let sections = blocks.iter().flat_map(|(cid, bytes)| {
        let name = raw(cid).to_bytes();
        let mut buffer = unsigned_varint::encode::usize_buffer();
        let length = unsigned_varint::encode::usize(name.len() + bytes.len(), &mut buffer);
        [[length, &name].concat().into(), bytes.clone()]
    });
    std::iter::once(Bytes::from_static(CAR_HEADER)).chain(sections).collect()
}

/// Pins blocks that the daemon has. Those that somebody has pinned recursively stay as they are.
///
/// # Errors
/// `NotFound` when it lacks one of them.
pub(crate) async fn pin(rpc: &Rpc, cids: &[Cid]) -> Result<(), Fault> {
    for some in cids.chunks(NAMED_AT_ONCE) {
        let pinned = rpc.bytes(PinAdd(names(some)), Payload::Nothing).await;
        match pinned {
            Ok(_) => {}
            // At the first of them, and none after it was pinned.
            Err(fault) if by_others(&fault) => pin_each(rpc, some).await?,
            Err(fault) => return Err(fault),
        }
    }
    Ok(())
}

async fn pin_each(rpc: &Rpc, cids: &[Cid]) -> Result<(), Fault> {
    for cid in cids {
        match rpc.bytes(PinAdd(names(&[*cid])), Payload::Nothing).await {
            Err(fault) if !by_others(&fault) => return Err(fault),
            _ => {}
        }
    }
    Ok(())
}

/// Takes our pins away, and the blocks that nobody else has pinned.
pub(crate) async fn release(rpc: &Rpc, cids: &[Cid]) -> Result<(), Fault> {
    for some in cids.chunks(NAMED_AT_ONCE) {
        match rpc.bytes(PinRm(names(some)), Payload::Nothing).await {
            Err(fault) if fault.kind == ErrorKind::NotFound || by_others(&fault) => unpin_each(rpc, some).await?,
            Err(fault) => return Err(fault),
            Ok(_) => {}
        }
        // Those that are pinned all the same stay, and it says so in lines that nobody needs.
        rpc.bytes(BlockRm(names(some)), Payload::Nothing).await?;
    }
    Ok(())
}

async fn unpin_each(rpc: &Rpc, cids: &[Cid]) -> Result<(), Fault> {
    for cid in cids {
        match rpc.bytes(PinRm(names(&[*cid])), Payload::Nothing).await {
            Err(fault) if fault.kind != ErrorKind::NotFound && !by_others(&fault) => return Err(fault),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a pin is somebody else's.
fn by_others(fault: &Fault) -> bool {
    fault.says("pinned recursively")
}

fn names(cids: &[Cid]) -> Vec<String> {
    cids.iter().map(|cid| raw(cid).to_string()).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use carrick_core::dag::CarReader;
    use carrick_core::{Block, RAW};

    use super::*;

    #[tokio::test]
    async fn blocks_travel_as_a_car_under_raw_names() {
        let blocks = [Block::new(RAW, &b"one"[..]), Block::new(carrick_core::DAG_CBOR, &b"\x80"[..])];
        let car = car(&blocks.each_ref().map(|block| (*block.cid(), block.bytes().clone()))).concat();
        let mut reader = CarReader::new(Cursor::new(car), 1 << 20).await.expect("a CAR");
        assert!(reader.roots().is_empty());
        for block in &blocks {
            let read = reader.next().await.expect("reads").expect("one more");
            assert_eq!((read.cid(), read.bytes()), (&raw(block.cid()), block.bytes()));
        }
        assert!(reader.next().await.expect("reads").is_none());
    }
}
