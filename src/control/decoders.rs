//! No bytes that come over the control socket make a decoder panic, take long or take much memory.

use std::future::Future;

use base64::Engine as _;
use bytes::Bytes;
use carrick::{Block, PeerAddr, RAW, Topic};
use carrick_core::conformance::decoder::Decoder;
use futures::FutureExt;
use http_body_util::Full;
use serde_json::json;

use super::ledger::{OfLedger, ToAppend, ToRead, ToVerify};
use super::routes::{cid, parse, seconds};
use super::sections::{Sections, encode};
use super::wire::{OfCid, OfPeer, OnTopic, ToConnect, ToFetch, ToListPins, ToPublish};

carrick_core::decoder_suite!(all(); request blocks);

/// A request and a block may be longer; what is longer takes more time and memory, but no other way.
const REQUEST_BYTES: usize = 4 << 10;
const BLOCK_BYTES: usize = 4 << 10;

fn all() -> Vec<Decoder> {
    let samples = blocks_of(&[&b"one"[..], b"", &[7; BLOCK_BYTES]]);
    vec![
        Decoder {
            name: "request",
            read: read_request,
            check: |_| (),
            samples: requests(),
            longest: REQUEST_BYTES,
            memory: 64 << 10,
        },
        Decoder {
            name: "blocks",
            read: read_blocks,
            check: |_| (),
            samples,
            longest: 4 * BLOCK_BYTES,
            memory: 8 * BLOCK_BYTES,
        },
    ]
}

/// The body of a request, whatever it asks for.
fn read_request(bytes: &[u8]) -> bool {
    [
        parse::<ToPublish>(bytes).is_ok_and(|request| Topic::new(request.topic).is_ok()),
        parse::<OnTopic>(bytes).is_ok_and(|request| Topic::new(request.topic).is_ok()),
        parse::<ToConnect>(bytes).is_ok_and(|request| request.address.parse::<PeerAddr>().is_ok()),
        parse::<OfPeer>(bytes).is_ok(),
        parse::<OfCid>(bytes).is_ok_and(|request| cid(&request.cid).is_ok()),
        parse::<ToListPins>(bytes).is_ok(),
        parse::<ToAppend>(bytes).is_ok(),
        parse::<OfLedger>(bytes).is_ok(),
        parse::<ToRead>(bytes).is_ok_and(|request| {
            request.settled().is_ok() && request.from.is_none_or(|from| cid(&from).is_ok())
        }),
        parse::<ToVerify>(bytes).is_ok(),
        parse::<ToFetch>(bytes).is_ok_and(|request| {
            seconds(request.deadline).is_ok() && seconds(request.idle).is_ok() && cid(&request.cid).is_ok()
        }),
    ]
    .contains(&true)
}

/// Blocks one after the other.
fn read_blocks(bytes: &[u8]) -> bool {
    let mut sections = Sections::new(Full::new(Bytes::copy_from_slice(bytes)), BLOCK_BYTES);
    loop {
        match now(sections.next()) {
            Ok(Some(block)) => assert!(block.size() <= BLOCK_BYTES),
            end => return end.is_ok(),
        }
    }
}

/// The output of a future that waits for nothing.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing to wait for")
}

fn requests() -> Vec<Vec<u8>> {
    let peer = "12D3KooWRm8J3iL796zPFi2EtGGtUJn58AG67gcRzQ4FENEemvpg";
    let payload = base64::engine::general_purpose::STANDARD.encode([7; 2_000]);
    let cid = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";
    [
        json!({ "topic": "readings", "payload": payload }),
        json!({ "topic": "readings" }),
        json!({ "address": format!("/ip4/10.0.0.7/udp/4600/quic-v1/p2p/{peer}") }),
        json!({ "peer": peer }),
        json!({ "cid": cid }),
        json!({ "all": true }),
        json!({ "ledger": "sensors", "payload": payload }),
        json!({ "ledger": "sensors" }),
        json!({ "ledger": "sensors", "from": cid, "follow": true }),
        json!({ "ledger": "sensors", "follow": true, "settled_after": 1.5 }),
        json!({ "ledger": "sensors", "all": true, "mend": false }),
        json!({ "cid": cid, "deadline": 1.5e3, "idle": 10 }),
    ]
    .map(|request| request.to_string().into_bytes())
    .into()
}

fn blocks_of(contents: &[&[u8]]) -> Vec<Vec<u8>> {
    let block = |content: &&[u8]| encode(Block::new(RAW, content.to_vec())).concat();
    let each: Vec<Vec<u8>> = contents.iter().map(block).collect();
    [each.clone(), vec![each.concat()]].concat()
}
