//! The decoders of requests and answers: see `crate::decoders`.

use std::sync::LazyLock;

use cid::Cid;

use super::{AskBlock, AskDag, Kind, MAX_HAVE, read_cid};
use crate::conformance::decoder::{self, Decoder};
use crate::conformance::golden::unhex;
use crate::limits::MAX_ROOTS;
use crate::links::frames::{FrameKind as _, HEAD_BYTES};
use crate::{Follow, Limits, RAW, cid_of};

static LIMITS: LazyLock<Limits> = LazyLock::new(Limits::default);

/// All of them.
pub(crate) fn all() -> Vec<Decoder> {
    let decoder = |name, read, check, longest, samples, memory| Decoder {
        name,
        read,
        check,
        samples,
        longest,
        memory: longest + memory,
    };
    let longest = |kind: Kind| kind.limit(&LIMITS);
    let dag_bytes = (MAX_ROOTS + MAX_HAVE) * size_of::<Cid>() + longest(Kind::AskDag);
    vec![
        decoder("requests", requests, |_| (), longest(Kind::AskDag), vec![vectors().concat()], dag_bytes),
        decoder("ask_block", ask_block, ask_block_again, longest(Kind::AskBlock), bodies(Kind::AskBlock), 0),
        decoder("ask_has", ask_has, |_| (), longest(Kind::AskHas), bodies(Kind::AskHas), 0),
        decoder("ask_dag", ask_dag, ask_dag_again, longest(Kind::AskDag), large(), dag_bytes),
        decoder("block", block, |_| (), 256, bodies(Kind::Block), 0),
    ]
}

/// Frames, one after the other, as a stream brings them.
fn requests(bytes: &[u8]) -> bool {
    decoder::frames(bytes, &LIMITS, read)
}

/// The body of a frame of any kind.
fn read(kind: Kind, bytes: &[u8]) -> bool {
    match kind {
        Kind::AskBlock => ask_block(bytes),
        Kind::AskHas => ask_has(bytes),
        Kind::AskDag => ask_dag(bytes),
        Kind::Block => block(bytes),
        Kind::Absent | Kind::Present | Kind::End | Kind::Limit | Kind::Busy => bytes.is_empty(),
    }
}

/// A request for a block.
fn ask_block(bytes: &[u8]) -> bool {
    AskBlock::decode(bytes).is_ok()
}

fn ask_block_again(bytes: &[u8]) {
    let ask = AskBlock::decode(bytes).expect("was read already");
    assert_eq!(ask.encode()[HEAD_BYTES..], *bytes);
}

/// The question for a block.
fn ask_has(bytes: &[u8]) -> bool {
    read_cid(Kind::AskHas, bytes).is_ok_and(|cid| cid.to_bytes() == bytes)
}

/// A request for a DAG.
fn ask_dag(bytes: &[u8]) -> bool {
    AskDag::decode(bytes).is_ok()
}

fn ask_dag_again(bytes: &[u8]) {
    let ask = AskDag::decode(bytes).expect("was read already");
    assert_eq!(ask.encode()[HEAD_BYTES..], *bytes);
}

/// The beginning of a block frame; the block itself is a [`Claim`](crate::Claim).
fn block(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first() else { return false };
    let cid = rest.get(..usize::from(*length));
    cid.is_some_and(|cid| read_cid(Kind::Block, cid).is_ok())
}

/// All golden frames.
fn vectors() -> Vec<Vec<u8>> {
    macro_rules! vectors {
        ($($name:literal)+) => {
            [$(include_str!(concat!("../../../tests/vectors/exchange/", $name, ".hex"))),+]
        };
    }
    vectors!("ask-block" "ask-has" "ask-dag" "block" "absent" "present" "end" "limit" "busy")
        .map(unhex)
        .into()
}

/// The bodies of the golden frames of a kind.
fn bodies(kind: Kind) -> Vec<Vec<u8>> {
    let frames = vectors().into_iter().filter(|frame| frame[HEAD_BYTES - 1] == kind.number());
    frames.map(|frame| frame[HEAD_BYTES..].to_vec()).collect()
}

/// The golden request for a DAG, and the largest.
fn large() -> Vec<Vec<u8>> {
    let cids = |count: usize| (0..count).map(|n| cid_of(RAW, &n.to_be_bytes())).collect();
    let largest = AskDag {
        have: cids(MAX_HAVE),
        depth: u32::MAX,
        limit: u64::MAX,
        roots: cids(MAX_ROOTS),
        follow: Follow::All,
    };
    [bodies(Kind::AskDag), vec![largest.encode()[HEAD_BYTES..].to_vec()]].concat()
}
