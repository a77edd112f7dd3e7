//! What the daemon holds for the node: blocks that were given to it, pinned so that its garbage collection leaves them.
//!
//! Ours are pinned directly, one by one. People pin recursively, and Kubo keeps the two apart, so that neither takes away
//! what the other holds.

use std::collections::BTreeSet;

use bytes::Bytes;
use carrick_core::dag::DAG_PB;
use carrick_core::{Cid, DAG_CBOR, ErrorKind, RAW};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use ipfs_api_prelude::ApiRequest;
use iroh_car::{CarHeader, CarWriter};

use crate::rpc::calls::{
    BlockPut, BlockStat, DagImport, NAMED_AT_ONCE, PinAdd, PinLs, PinRm, Pins, Stats, Stored, raw, short,
};
use crate::rpc::{Fault, Payload, Rpc};

/// The largest block that daemons give each other.
pub(crate) const WIRE_BYTES: usize = 2 << 20;
/// How many blocks are asked about or put at once.
const AT_ONCE: usize = 16;
/// Longer than what stands before a block in a CAR.
const SECTION: usize = 128;
/// How often a garbage collection of the daemon may come between giving and pinning.
const GARBAGE_COLLECTIONS: usize = 2;
const BLAKE3: u64 = 0x1e;

/// Whether all of them are pinned by us. One that is not, or that somebody else has pinned, makes it false.
pub(crate) async fn are_pinned(rpc: &Rpc, cids: &[Cid]) -> Result<bool, Fault> {
    for some in cids.chunks(NAMED_AT_ONCE) {
        match confirmed(rpc, some, PinLs).await {
            Ok(()) => {}
            Err(fault) if fault.kind == ErrorKind::NotFound => return Ok(false),
            Err(fault) => return Err(fault),
        }
    }
    Ok(true)
}

/// Those that the daemon has not in its own store.
pub(crate) async fn missing(rpc: &Rpc, cids: &[Cid]) -> Result<Vec<Cid>, Fault> {
    let asking = stream::iter(cids.to_vec()).map(|cid| async move {
        let call = BlockStat { arg: raw(&cid).to_string(), offline: true };
        match rpc.json::<_, Stored>(call, Payload::Nothing).await {
            Ok(stored) if stored.is(&cid) => Ok(None),
            Ok(_) => Err(Fault::junk(format_args!("nothing of {cid}")).of(BlockStat::PATH, rpc.endpoint())),
            Err(fault) if fault.kind == ErrorKind::NotFound => Ok(Some(cid)),
            Err(fault) => Err(fault),
        }
    });
    asking.buffered(AT_ONCE).try_filter_map(async |missing| Ok(missing)).try_collect().await
}

/// Gives the daemon blocks of any size and pins them.
pub(crate) async fn hold(rpc: &Rpc, blocks: &[(Cid, Bytes)]) -> Result<(), Fault> {
    let cids: Vec<Cid> = blocks.iter().map(|(cid, _)| raw(cid)).collect();
    give_and_pin(rpc, &cids, || give_all(rpc, blocks), |fault| fault).await
}

/// Gives the daemon blocks of any size.
async fn give_all(rpc: &Rpc, blocks: &[(Cid, Bytes)]) -> Result<(), Fault> {
    // No CAR takes a block of 8 MiB.
    let (large, usual): (Vec<_>, Vec<_>) =
        blocks.iter().cloned().partition(|(_, bytes)| bytes.len() > WIRE_BYTES);
    for one in &large {
        give(rpc, std::slice::from_ref(one)).await?;
    }
    if usual.is_empty() { Ok(()) } else { give(rpc, &usual).await }
}

/// Has blocks given to the daemon and pins them; again where its garbage collection came in between.
pub(crate) async fn give_and_pin<G: Future<Output = Result<(), E>>, E>(
    rpc: &Rpc,
    cids: &[Cid],
    giving: impl Fn() -> G,
    failed: impl Fn(Fault) -> E,
) -> Result<(), E> {
    let mut collections = 0..GARBAGE_COLLECTIONS;
    loop {
        giving().await?;
        match pin(rpc, cids).await {
            Err(fault) if fault.kind == ErrorKind::NotFound && collections.next().is_some() => {}
            pinned => return pinned.map_err(failed),
        }
    }
}

/// Gives the daemon blocks, which it hashes. A block that is put by itself goes to those who wait for it under that name.
/// Many that link to nothing go in one call, of which nobody hears; what links goes after them: others wait for a root, and
/// then find the rest.
pub(crate) async fn give(rpc: &Rpc, blocks: &[(Cid, Bytes)]) -> Result<(), Fault> {
    let links = |cid: &Cid| matches!(cid.codec(), DAG_PB | DAG_CBOR);
    let (nodes, leaves): (Vec<_>, Vec<_>) = blocks.iter().cloned().partition(|(cid, _)| links(cid));
    if leaves.len() > AT_ONCE {
        import(rpc, &leaves).await?;
    } else {
        put_each(rpc, leaves).await?;
    }
    put_each(rpc, nodes).await
}

async fn put_each(rpc: &Rpc, blocks: Vec<(Cid, Bytes)>) -> Result<(), Fault> {
    let putting = stream::iter(blocks).map(async |(cid, bytes)| put(rpc, &cid, bytes).await);
    putting.buffer_unordered(AT_ONCE).try_collect().await
}

async fn put(rpc: &Rpc, cid: &Cid, bytes: Bytes) -> Result<(), Fault> {
    let (name, cid_codec, format) = match cid.codec() {
        DAG_PB if u64::from(cid.version()) == 0 => (*cid, None, Some("v0")),
        codec @ (DAG_PB | DAG_CBOR) => (*cid, Some(codec), None),
        // The daemon may not know the codec, and has the bytes under every name.
        _ => (raw(cid), Some(RAW), None),
    };
    let mhtype = if cid.hash().code() == BLAKE3 { "blake3" } else { "sha2-256" };
    let call = BlockPut { cid_codec, format, mhtype, pin: false, allow_big_block: true };
    let stored: Stored = rpc.upload(call, bytes).await?;
    if short::<Cid>(&stored.key) == Some(name) {
        return Ok(());
    }
    Err(Fault::new(ErrorKind::Integrity, format!("the daemon stored {name} as {:.100}", stored.key)))
}

async fn import(rpc: &Rpc, blocks: &[(Cid, Bytes)]) -> Result<(), Fault> {
    let car = car(blocks)
        .await
        .map_err(|error| Fault::new(ErrorKind::Unexpected, error.to_string()).because(error))?;
    let stats: Stats = rpc.upload(DagImport { pin_roots: false, stats: true }, car).await?;
    // Where the answer breaks off on its way, nothing else tells that not all are there.
    match stats.stats.block_count == blocks.len() as u64 {
        true => Ok(()),
        false => Err(Fault::cut(format_args!("{} of {} blocks", stats.stats.block_count, blocks.len()))),
    }
}

/// Blocks as a CARv1, each under its raw name. It needs a root, which means nothing here.
async fn car(blocks: &[(Cid, Bytes)]) -> Result<Bytes, iroh_car::Error> {
    let roots = blocks.iter().take(1).map(|(cid, _)| raw(cid)).collect();
    let size = blocks.iter().map(|(_, bytes)| bytes.len() + SECTION).sum::<usize>();
    let mut car = CarWriter::new(CarHeader::new_v1(roots), Vec::with_capacity(size + SECTION));
    for (cid, bytes) in blocks {
        car.write(raw(cid), bytes).await?;
    }
    Ok(car.finish().await?.into())
}

/// Pins blocks that the daemon has. Those that somebody has pinned recursively stay as they are.
///
/// # Errors
/// `NotFound` when it lacks one of them.
pub(crate) async fn pin(rpc: &Rpc, cids: &[Cid]) -> Result<(), Fault> {
    many(rpc, cids, PinAdd, by_others).await
}

/// Takes our pins away. The blocks go with the daemon's next garbage collection, unless somebody else has pinned what they
/// belong to: only that knows it, since it looks at all that is under a pin, and under any name of a block.
pub(crate) async fn release(rpc: &Rpc, cids: &[Cid]) -> Result<(), Fault> {
    many(rpc, cids, PinRm, |fault| fault.kind == ErrorKind::NotFound || by_others(fault)).await
}

/// Makes a call of many blocks, and passes over those that need none. It ends at the first of these, so then each of the
/// others is named by itself.
async fn many<R: ApiRequest>(
    rpc: &Rpc,
    cids: &[Cid],
    call: impl Fn(Vec<String>) -> R,
    needless: impl Fn(&Fault) -> bool,
) -> Result<(), Fault> {
    let done = |answered: Result<(), Fault>| match answered {
        Err(fault) if needless(&fault) => Ok(false),
        answered => answered.map(|()| true),
    };
    for some in cids.chunks(NAMED_AT_ONCE) {
        if !done(confirmed(rpc, some, &call).await)? {
            for one in some.chunks(1) {
                done(confirmed(rpc, one, &call).await)?;
            }
        }
    }
    Ok(())
}

/// Makes a call whose answer names the blocks that it was made for: of a 200 nothing else tells that it is Kubo's, and whole.
async fn confirmed<R: ApiRequest>(
    rpc: &Rpc,
    cids: &[Cid],
    call: impl Fn(Vec<String>) -> R,
) -> Result<(), Fault> {
    let names = cids.iter().map(|cid| raw(cid).to_string()).collect();
    let answer: Pins = rpc.json(call(names), Payload::Nothing).await?;
    let named: BTreeSet<Cid> = answer.pins.0.iter().filter_map(|name| short(name)).collect();
    match cids.iter().find(|cid| !named.contains(&raw(cid))) {
        Some(cid) => Err(Fault::junk(format_args!("nothing of {cid}")).of(R::PATH, rpc.endpoint())),
        None => Ok(()),
    }
}

/// Whether a pin is somebody else's.
fn by_others(fault: &Fault) -> bool {
    fault.says("pinned recursively")
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use carrick_core::Block;
    use carrick_core::dag::CarReader;

    use super::*;

    #[tokio::test]
    async fn blocks_travel_as_a_car() {
        let blocks = [Block::new(RAW, &b"one"[..]), Block::new(RAW, &b"two"[..])];
        let given = blocks.each_ref().map(|block| (*block.cid(), block.bytes().clone()));
        let car = car(&given).await.expect("writes");
        let mut reader = CarReader::new(Cursor::new(car), 1 << 20).await.expect("a CAR");
        for block in &blocks {
            let read = reader.next().await.expect("reads").expect("one more");
            assert_eq!((read.cid(), read.bytes()), (block.cid(), block.bytes()));
        }
        assert!(reader.next().await.expect("reads").is_none());
    }
}
