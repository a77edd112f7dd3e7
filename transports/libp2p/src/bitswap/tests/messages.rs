//! The message: what is read and written, and every bound.

use bytes::Bytes;
use carrick_core::{Block, Cid, RAW};
use prost::Message as _;

use super::super::address;
use super::super::frame::{Outgoing, Version};
use super::super::message::{
    Ask, Broken, Entry, MAX_BLOCKS, MAX_MESSAGE, Message, Payload, Prefix, Wantlist, Wire,
};
use super::{question, raw, want};

/// What is written, without its length.
fn written(out: Outgoing<Bytes>, version: Version) -> Bytes {
    let bytes: Vec<u8> = out.encode(version).iter().flat_map(|part| part.as_ref().to_vec()).collect();
    let (length, body) = unsigned_varint::decode::usize(&bytes).expect("a length");
    assert_eq!(length, body.len(), "the length before it");
    Bytes::copy_from_slice(body)
}

fn sent(blocks: &[Block]) -> Vec<(Cid, Bytes)> {
    blocks.iter().map(|block| (*block.cid(), block.bytes().clone())).collect()
}

fn blocks(mut message: Message) -> Vec<(Prefix, Bytes)> {
    message.take_blocks().collect::<Result<_, _>>().expect("blocks")
}

#[test]
fn what_is_written_is_read() {
    let (small, large) = (raw("small"), raw(vec![7; 100_000]));
    let asks = vec![want(&small), question(&large), Ask { cancel: true, ..want(&large) }];
    let out = Outgoing {
        full: true,
        asks: asks.clone(),
        blocks: sent(&[small.clone(), large.clone()]),
        presences: vec![(*small.cid(), true), (*large.cid(), false)],
        pending_bytes: 9,
    };
    let message = Message::decode(written(out, Version::V1_2)).expect("a message");
    assert!(message.is_full());
    let read: Vec<_> = message.asks().map(|ask| ask.expect("an ask").expect("known")).collect();
    assert_eq!(read, asks);
    let presences: Vec<_> = message.presences().map(|p| p.expect("one").expect("known")).collect();
    assert_eq!(presences, [(*small.cid(), true), (*large.cid(), false)]);
    let blocks = blocks(message);
    assert_eq!(
        blocks,
        [(Prefix::of(small.cid()), small.bytes().clone()), (Prefix::of(large.cid()), large.bytes().clone())]
    );
}

/// The bytes that go-bitswap writes for such a message, put together by hand from its schema.
#[test]
fn the_bytes_are_those_of_the_schema() {
    let block = raw("hello world");
    let cid = block.cid().to_bytes();
    assert_eq!(cid.len(), 36);
    let out = Outgoing { asks: vec![Ask { priority: 7, ..question(&block) }], ..Outgoing::default() };
    let entry = [&[0x0a, 36][..], &cid, &[0x10, 7, 0x20, 1, 0x28, 1]].concat();
    let list = [&[0x0a, entry.len() as u8][..], &entry].concat();
    assert_eq!(written(out, Version::V1_2), [&[0x0a, list.len() as u8][..], &list].concat());

    let out = Outgoing { blocks: sent(std::slice::from_ref(&block)), ..Outgoing::default() };
    let field = [&[0x0a, 4, 1, 0x55, 0x12, 0x20, 0x12, 11][..], b"hello world"].concat();
    assert_eq!(written(out, Version::V1_1), [&[0x1a, field.len() as u8][..], &field].concat());

    let out = Outgoing::<Bytes> { presences: vec![(*block.cid(), false)], ..Outgoing::default() };
    let field = [&[0x0a, 36][..], &cid, &[0x10, 1]].concat();
    assert_eq!(written(out, Version::V1_2), [&[0x22, field.len() as u8][..], &field].concat());
}

#[test]
fn old_peers_get_blocks_only() {
    let block = Block::new(0x70, &b"\n\x02\x08\x01"[..]);
    let out = || Outgoing {
        blocks: sent(std::slice::from_ref(&block)),
        presences: vec![(*block.cid(), true)],
        ..Outgoing::default()
    };
    let old = Message::decode(written(out(), Version::V1_0)).expect("a message");
    assert_eq!(old.presences().count(), 0);
    let (prefix, bytes) = blocks(old).remove(0);
    assert_eq!(prefix, Prefix::V0);
    let claim = address::claim(prefix, bytes).expect("a hash we know");
    assert_eq!(*claim.cid(), Cid::new_v0(*block.cid().hash()).expect("sha2-256"));
    let newer = Message::decode(written(out(), Version::V1_1)).expect("a message");
    assert_eq!((newer.presences().count(), blocks(newer)[0].0), (0, Prefix::of(block.cid())));
}

#[test]
fn blocks_are_slices_of_the_message() {
    let block = raw(vec![7; 100_000]);
    let bytes = written(Outgoing { blocks: sent(&[block]), ..Outgoing::default() }, Version::V1_2);
    let within = bytes.as_ptr_range();
    let (_, data) = blocks(Message::decode(bytes).expect("a message")).remove(0);
    assert!(within.contains(&data.as_ptr()), "it was copied");
}

#[test]
fn large_blocks_are_written_from_where_they_are() {
    let block = raw(vec![7; 100_000]);
    let at = block.bytes().as_ptr();
    let parts = Outgoing { blocks: sent(&[block]), ..Outgoing::default() }.encode(Version::V1_2);
    assert!(parts.iter().any(|part| part.as_ref().as_ptr() == at), "it was copied");
}

#[test]
fn a_message_of_more_than_4_mib_is_refused() {
    let payload = |bytes| Wire {
        payload: vec![Payload { prefix: Prefix::V0.encode().into(), data: vec![0; bytes].into() }],
        ..Wire::default()
    };
    let largest = payload(MAX_MESSAGE - 16).encode_to_vec();
    assert_eq!(largest.len(), MAX_MESSAGE);
    assert!(Message::decode(largest.into()).is_ok());
    let above = payload(MAX_MESSAGE - 15).encode_to_vec();
    assert_eq!(Message::decode(above.into()).err(), Some(Broken::TooLong(MAX_MESSAGE as u64 + 1)));
}

#[test]
fn more_items_than_fit_honestly_are_refused_before_they_are_held() {
    // Two bytes each: in memory they would take many times as much.
    for tag in [0x12_u8, 0x1a, 0x22] {
        let empty = [tag, 0].repeat(1 << 20);
        assert_eq!(Message::decode(empty.into()).err(), Some(Broken::TooManyItems(1 << 20)));
    }
    let entries = vec![Entry::default(); 1 << 20];
    let list = Wire { wantlist: Some(Wantlist { entries, full: false }), ..Wire::default() };
    assert_eq!(Message::decode(list.encode_to_vec().into()).err(), Some(Broken::TooManyItems(1 << 20)));
}

#[test]
fn more_blocks_than_anybody_asks_for_are_refused_before_they_are_hashed() {
    let of = |count| {
        let blocks = vec![Bytes::from_static(b"8 bytes."); count];
        Message::decode(Wire { blocks, ..Wire::default() }.encode_to_vec().into())
    };
    assert!(of(MAX_BLOCKS).is_ok());
    assert_eq!(of(MAX_BLOCKS + 1).err(), Some(Broken::TooManyItems(MAX_BLOCKS + 1)));
}

#[test]
fn a_whole_wantlist_of_the_largest_message_is_read() {
    let asks: Vec<_> = (0..80_000_u32).map(|n| want(&raw(n.to_be_bytes()))).collect();
    let message = Message::decode(written(Outgoing { asks, ..Outgoing::default() }, Version::V1_2));
    assert_eq!(message.expect("a message").ask_count(), 80_000);
}

#[test]
fn a_cid_of_more_than_168_bytes_is_refused() {
    let ask = |bytes: Vec<u8>| {
        let entries = vec![Entry { cid: bytes.into(), ..Entry::default() }];
        let wire = Wire { wantlist: Some(Wantlist { entries, full: false }), ..Wire::default() };
        let message = Message::decode(wire.encode_to_vec().into()).expect("a message");
        message.asks().next().expect("one")
    };
    let long = |digest: usize| {
        let mut buffer = unsigned_varint::encode::usize_buffer();
        let length = unsigned_varint::encode::usize(digest, &mut buffer);
        [&[1, 0x55, 0x00][..], length, &vec![7; digest]].concat()
    };
    // An address of a hash that nobody here can have, but an address.
    assert_eq!(ask(long(163)), Ok(None));
    assert_eq!(ask(long(164)), Err(Broken::Cid));
    assert_eq!(ask(b"no address".to_vec()), Err(Broken::Cid));
    let known = raw("x").cid().to_bytes();
    assert!(ask(known.clone()).is_ok_and(|ask| ask.is_some()));
    assert_eq!(ask([&known[..], &[0]].concat()), Err(Broken::Cid));
}

#[test]
fn prefixes_are_four_numbers() {
    let cid = *raw("x").cid();
    assert_eq!(Prefix::decode(&Prefix::of(&cid).encode()), Ok(Prefix::of(&cid)));
    for broken in [&[][..], &[1, 0x55, 0x12], &[1, 0x55, 0x12, 0x20, 0], &[0xff; 50]] {
        assert_eq!(Prefix::decode(broken), Err(Broken::Prefix));
    }
}

#[test]
fn only_hashes_that_prove_something_are_taken() {
    let bytes = || Bytes::from_static(b"hello world");
    let prefix = |version, codec, hash, digest| Prefix { version, codec, hash, digest };
    let sha = address::claim(prefix(1, RAW, 0x12, 32), bytes()).expect("known");
    assert_eq!(sha.cid().to_string(), "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e");
    let blake3 = address::claim(prefix(1, RAW, 0x1e, 32), bytes()).expect("known");
    assert!(blake3.check().is_ok());
    for refused in
        [prefix(1, RAW, 0, 11), prefix(1, RAW, 0x11, 20), prefix(1, RAW, 0x12, 20), prefix(2, RAW, 0x12, 32)]
    {
        assert!(address::claim(refused, bytes()).is_none(), "{refused:?}");
    }
}

#[test]
fn what_is_no_protobuf_is_refused() {
    for broken in [&[0x0a, 5, 1][..], &[0xff; 12], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]] {
        assert_eq!(Message::decode(Bytes::copy_from_slice(broken)).err(), Some(Broken::Protobuf));
    }
}

#[test]
fn the_samples_of_the_decoder_are_good() {
    for decoder in super::super::decoders::decoders() {
        assert!(decoder.samples.iter().all(|sample| (decoder.read)(sample)), "{}", decoder.name);
    }
}
