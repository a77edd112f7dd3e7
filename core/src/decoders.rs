//! The decoders of this crate, with good inputs and what each may take: for `tests/decoders.rs`, which tries them with
//! changed inputs. No part of the public interface.

use std::future::Future;
use std::sync::LazyLock;

use bytes::Bytes;
use cid::Cid;
use futures::{FutureExt as _, TryStreamExt as _};
use ipld_core::ipld::Ipld;
use libp2p_identity::{Keypair, PeerId};
use multiaddr::Multiaddr;

use crate::conformance::decoder::Decoder;
use crate::dag::{self, BlockSource, CarReader, DAG_PB, DirEntry, MAX_LINKS};
use crate::limits::{MAX_PARENTS, MAX_RECORD_BYTES};
use crate::links::exchange;
use crate::node::{NUMBERS_PREFIX, Numbers, identity};
use crate::types::{Body, Draft, public_key};
use crate::{
    Block, CidPolicy, Claim, DAG_CBOR, Error, ErrorKind, Limits, Message, MessageId, NetworkId, PeerAddr,
    PeerRecord, RAW, Result, Time, Topic, TopicPattern, cid_of,
};

/// The network of the golden envelopes.
static NETWORK: LazyLock<NetworkId> = LazyLock::new(|| NetworkId::new("golden-1").expect("a network id"));
/// That of the golden records.
static OF_RECORDS: LazyLock<NetworkId> =
    LazyLock::new(|| NetworkId::new("sensors-2026").expect("a network id"));
static LIMITS: LazyLock<Limits> = LazyLock::new(Limits::default);
const SMALL_CAR: &[u8] = include_bytes!("../tests/vectors/small.car");
/// A reader with room for the blocks of [`SMALL_CAR`]: larger ones would only be hashed for longer.
const CAR_BLOCK_BYTES: usize = 4 << 10;
/// What the reader of a CAR has for its header and for what it reads ahead, and the 1 MiB that serde sets aside at most for
/// a list of roots which says that it is long.
const CAR_BYTES: usize = 2 * (64 << 10) + (1 << 20);

/// All of them.
pub fn all() -> Vec<Decoder> {
    let decoder = |name, read: fn(&[u8]) -> bool, samples, longest, memory| {
        let check = match name {
            "envelope" | "record" => is_canonical,
            "unixfs" => unixfs_again,
            _ => |_: &[u8]| (),
        };
        Decoder { name, read, check, samples, longest, memory }
    };
    let (envelope_bytes, block_bytes) = (LIMITS.envelope_bytes(), LIMITS.block_bytes);
    let entries_bytes = MAX_LINKS * (size_of::<DirEntry>() + size_of::<(Cid, u64)>());
    let links_bytes = 2 * MAX_LINKS * size_of::<Cid>();
    let mut all = vec![
        decoder("envelope", envelope, envelopes(), envelope_bytes, 3 * envelope_bytes),
        decoder("record", record, records(), MAX_RECORD_BYTES, 8 * MAX_RECORD_BYTES),
        decoder("unixfs", unixfs, unixfs_nodes(), block_bytes, 2 * block_bytes + entries_bytes),
        decoder("links", links, cbor_blocks(), block_bytes, block_bytes + links_bytes),
        decoder("car", car, vec![SMALL_CAR.to_vec()], 2 * SMALL_CAR.len(), CAR_BYTES + CAR_BLOCK_BYTES),
        decoder("claim", claim, claims(), 256, 1_024),
        decoder("address", address, addresses(), MAX_RECORD_BYTES, 8 * MAX_RECORD_BYTES),
        decoder("text", text, texts(), 1_024, 16 * 1_024),
        decoder("window", window, vec![windows()], 512, 1_024),
        decoder("key", key, vec![key_file()], 512, 1_024),
    ];
    all.extend(exchange::decoders::all());
    all
}

/// An envelope and its signature.
pub fn envelope(bytes: &[u8]) -> bool {
    let id = MessageId::from_cid(cid_of(DAG_CBOR, b""));
    let encoded = Bytes::copy_from_slice(bytes);
    let Ok(message) = Message::decode(id, encoded, &NETWORK, LIMITS.payload_bytes) else { return false };
    let key = message.author().and_then(public_key);
    key.is_some_and(|key| message.signature_holds(&key))
}

/// A peer record.
pub fn record(bytes: &[u8]) -> bool {
    PeerRecord::decode(Bytes::copy_from_slice(bytes), &OF_RECORDS).is_ok()
}

/// A node of a file or folder.
pub fn unixfs(bytes: &[u8]) -> bool {
    let source = One(unhashed(DAG_PB, bytes));
    now(dag::stat(&source, source.0.cid())).is_ok()
}

/// What else is done with one.
fn unixfs_again(bytes: &[u8]) {
    let source = One(unhashed(DAG_PB, bytes));
    let _ = now(dag::list(&source, source.0.cid()));
    let _ = now(dag::read(&source, source.0.cid(), 1..).try_collect::<Vec<_>>());
}

/// A block of dag-cbor: what it links to, and what it follows if it is a message.
pub fn links(bytes: &[u8]) -> bool {
    let block = unhashed(DAG_CBOR, bytes);
    let parents = dag::parents(&block);
    let links = dag::links(&block);
    assert!(parents.len() <= MAX_PARENTS && links.as_ref().map_or(0, Vec::len) <= MAX_LINKS);
    links.is_ok()
}

/// A CAR.
pub fn car(bytes: &[u8]) -> bool {
    let blocks =
        async { CarReader::new(bytes, CAR_BLOCK_BYTES).await?.into_stream().try_fold(0, count).await };
    now(blocks).is_ok_and(|count| count > 0)
}

async fn count(before: usize, block: Block) -> Result<usize> {
    assert!(
        block.size() <= CAR_BLOCK_BYTES
            && cid_of(block.cid().codec(), block.bytes()).hash() == block.cid().hash()
    );
    Ok(before + 1)
}

/// The address of a block, and `content` behind it.
pub fn claim(bytes: &[u8]) -> bool {
    let Ok(cid) = Cid::try_from(bytes) else { return false };
    let _ = CidPolicy::check(&cid);
    Claim::new(cid, Bytes::from_static(b"content")).check().is_ok()
}

/// An address in binary form, as records have them.
pub fn address(bytes: &[u8]) -> bool {
    let Ok(addr) = Multiaddr::try_from(bytes.to_vec()) else { return false };
    let _ = PeerAddr::from(addr.clone()).to_string();
    true
}

/// A name or address as text.
pub fn text(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let names =
        [Topic::from_wire(text).is_ok(), TopicPattern::new(text).is_ok(), NetworkId::new(text).is_ok()];
    let addresses = [text.parse::<PeerAddr>().is_ok(), text.parse::<Cid>().is_ok()];
    names.contains(&true) || addresses.contains(&true)
}

/// What a node saved of an author's numbers.
pub fn window(bytes: &[u8]) -> bool {
    let numbers = Numbers::new(1);
    numbers.restore(&format!("{NUMBERS_PREFIX}{}/readings", author()), bytes);
    numbers.last(author(), &Topic::new("readings").expect("a topic")).is_some()
}

/// The file of a node's key.
pub fn key(bytes: &[u8]) -> bool {
    identity::parse(bytes).is_some()
}

/// One content has one encoding: read as just any value, it encodes to the same bytes.
fn is_canonical(bytes: &[u8]) {
    let value: Ipld = serde_ipld_dagcbor::from_slice(bytes).expect("was read already");
    assert_eq!(serde_ipld_dagcbor::to_vec(&value).expect("encodes"), bytes);
}

/// The output of a future that waits for nothing.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing to wait for")
}

/// A block under an address that is not its own, because no decoder looks at it.
fn unhashed(codec: u64, bytes: &[u8]) -> Block {
    Block::hashed(cid_of(codec, b""), Bytes::copy_from_slice(bytes))
}

/// A source of one block.
struct One(Block);

impl BlockSource for One {
    async fn block(&self, cid: &Cid) -> Result<Block> {
        let missing = || Error::new(ErrorKind::NotFound, "read", "missing");
        (cid == self.0.cid()).then(|| self.0.clone()).ok_or_else(missing)
    }
}

fn author() -> PeerId {
    keypair().public().to_peer_id()
}

fn keypair() -> Keypair {
    Keypair::ed25519_from_bytes([7; 32]).expect("a key")
}

/// The `encoded` of all vectors of a file that a decoder takes.
fn vectors(json: &str, read: fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
    let encoded = json.split("\"encoded\": \"").skip(1).filter_map(|rest| rest.split('"').next());
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16).expect("hex");
    encoded
        .map(|hex| hex.as_bytes().chunks(2).map(byte).collect())
        .filter(|bytes: &Vec<u8>| read(bytes))
        .collect()
}

fn envelopes() -> Vec<Vec<u8>> {
    let mut envelopes = vectors(include_str!("../tests/vectors/envelope.json"), envelope);
    let largest = Draft {
        network: &NETWORK,
        topic: &Topic::new("x".repeat(256)).expect("a topic"),
        seqno: 1,
        time: Time(1),
        parents: (0..MAX_PARENTS).map(|n| cid_of(DAG_CBOR, &[n as u8])).collect(),
        body: Body::Inline(vec![7; LIMITS.payload_bytes].into()),
    };
    envelopes.push(largest.sign(&keypair()).expect("signs").encoded().to_vec());
    envelopes
}

fn records() -> Vec<Vec<u8>> {
    let mut records = vectors(include_str!("../tests/vectors/peer-record.json"), record);
    let addrs = (0..32).map(|n| format!("/ip6/::1/udp/{n}/quic-v1").parse().expect("an address"));
    let aliases = (0..16).map(|n| ("kubo".to_owned(), format!("{n:064}")));
    let largest = PeerRecord::sign(&keypair(), &OF_RECORDS, 1, addrs.collect(), aliases.collect());
    records.push(largest.expect("signs").encoded().to_vec());
    records
}

/// The blocks of the CAR, and one of them with as many entries as a block has room for.
fn unixfs_nodes() -> Vec<Vec<u8>> {
    let blocks =
        async { CarReader::new(SMALL_CAR, CAR_BLOCK_BYTES).await?.into_stream().try_collect().await };
    let blocks: Result<Vec<Block>> = now(blocks);
    let nodes = blocks.expect("a CAR").into_iter().filter(|block| block.cid().codec() == DAG_PB);
    let mut nodes: Vec<Vec<u8>> = nodes.map(|block| block.bytes().to_vec()).collect();
    let folder = nodes.iter().find_map(|node| node.strip_suffix(b"\x0a\x02\x08\x01")).expect("a folder");
    let entries = folder.repeat(LIMITS.block_bytes / folder.len() - 1);
    nodes.push([&entries[..], b"\x0a\x02\x08\x01"].concat());
    nodes
}

/// Envelopes, many links in one list, and lists in lists as deep as they may be.
fn cbor_blocks() -> Vec<Vec<u8>> {
    let link = [&b"\xd8\x2a\x58\x25\x00"[..], &cid_of(RAW, b"").to_bytes()[..]].concat();
    let count = u16::try_from(LIMITS.block_bytes / link.len() - 1).expect("below 65,536");
    let many = [&[0x99][..], &count.to_be_bytes(), &link.repeat(count.into())].concat();
    let deep = [&[0x81; 127][..], b"\x80"].concat();
    let kinds = b"\xa4\x61a\x83\xf5\xf6\x20\x61b\x41\x00\x61c\xfb\x3f\xf0\0\0\0\0\0\0\x61d\xa0".to_vec();
    [envelopes(), vec![many, deep, kinds]].concat()
}

fn claims() -> Vec<Vec<u8>> {
    use multihash_codetable::{Code, MultihashDigest as _};
    let (sha2, blake3) = (Code::Sha2_256.digest(b"content"), Code::Blake3_256.digest(b"content"));
    [Cid::new_v1(RAW, sha2), Cid::new_v1(RAW, blake3), Cid::new_v0(sha2).expect("a CID")]
        .map(|cid| cid.to_bytes())
        .into()
}

fn addresses() -> Vec<Vec<u8>> {
    let peer = author();
    [
        "/ip4/10.0.0.7/udp/4600/quic-v1".to_owned(),
        format!("/ip6/fe80::1/udp/4600/quic-v1/p2p/{peer}/p2p-circuit"),
        "/dns4/example.org/tcp/443/tls/sni/example.org/ws".to_owned(),
        "/unix/tmp%2Fsocket".to_owned(),
    ]
    .map(|text| text.parse::<Multiaddr>().unwrap_or_else(|error| panic!("{text}: {error}")).to_vec())
    .into()
}

fn texts() -> Vec<Vec<u8>> {
    let peer = author();
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        text("readings/é*"),
        text("golden-1"),
        text("bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"),
        text(&format!("/ip4/10.0.0.7/udp/4600/quic-v1/p2p/{peer}")),
        text("/dns6/example.org/tcp/1/http-path/a%2Fb"),
    ]
}

fn windows() -> Vec<u8> {
    let words = [0x55; 128];
    [&7_u64.to_be_bytes()[..], &words, &cid_of(DAG_CBOR, b"last").to_bytes()].concat()
}

fn key_file() -> Vec<u8> {
    keypair().to_protobuf_encoding().expect("encodes")
}
