//! Bad input: refused, counted, its sender blamed, and the next good message goes through.

use std::num::NonZero;

use carrick_core::limits::MAX_NUMBER;
use carrick_core::{
    Bytes, Cid, DAG_CBOR, Node, NodeBuilder, RAW, Relay, Remote, SignatureMemo, Subscription, Topic, cid_of,
};
use ipld_core::ipld::Ipld;

use crate::support::{
    Envelope, NETWORK, Wire, cbor_map, foreign, head, limits, on, open, payloads, remote, text, value_bytes,
    within,
};

struct Site {
    wire: Wire,
    node: Node,
    subscription: Subscription,
    strangers: usize,
}

impl Site {
    async fn new() -> Self {
        Self::of(|builder| builder).await
    }

    async fn of(change: impl FnOnce(NodeBuilder) -> NodeBuilder) -> Self {
        let wire = Wire::new();
        let (node, subscription) = open(change(on(&wire))).await;
        Self { wire, node, subscription, strangers: 0 }
    }

    /// Everybody who sends rubbish is another remote, so that none is banned for what others did.
    fn stranger(&mut self) -> Remote {
        self.strangers += 1;
        foreign(self.strangers)
    }

    async fn refuses(&mut self, what: &str, bytes: impl Into<Bytes>) {
        let stranger = self.stranger();
        let refused = || {
            self.node.counter("malformed") + self.node.counter("rejected") + self.node.counter("oversized")
        };
        let before = refused();
        let answer = self.wire.deliver(&stranger, bytes).await;
        assert_eq!(answer, Relay::Reject, "{what}");
        assert_eq!(refused(), before + 1, "{what} is counted");
        self.wire.connect(std::slice::from_ref(&stranger));
        let peers = self.node.peers().await.expect("peers");
        assert!(peers[0].reputation <= -9.9, "{what}: its sender is blamed, {}", peers[0].reputation);
    }

    /// The next good message goes through, and nothing came before it.
    async fn goes_on(mut self) {
        let good = Envelope::by(9, 1, "good").encode();
        assert_eq!(self.wire.deliver(&remote(9), good).await, Relay::Accept);
        assert_eq!(payloads(&mut self.subscription), ["good"]);
        assert!(self.wire.published().is_empty(), "nothing refused was passed on");
    }
}

fn good() -> Envelope {
    let parent = cid_of(DAG_CBOR, b"parent");
    Envelope::by(1, 1, "payload").after([parent])
}

#[tokio::test(start_paused = true)]
async fn an_envelope_cut_short_anywhere_is_rejected() {
    let mut site = Site::new().await;
    let bytes = good().encode();
    for length in 0..bytes.len() {
        site.refuses(&format!("{length} bytes"), bytes.slice(..length)).await;
    }
    site.refuses("a byte more", [&bytes[..], &[0]].concat()).await;
    site.goes_on().await;
}

#[tokio::test(start_paused = true)]
async fn an_envelope_with_any_bit_flipped_is_rejected() {
    let mut site = Site::new().await;
    let bytes = good().encode();
    // All but those that make the version a later one: a map of many fields, a text of one letter, its value.
    let later = 3 * 8 + 1..3 * 8 + 5;
    for bit in (0..bytes.len() * 8).filter(|bit| !later.contains(bit)) {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        site.refuses(&format!("bit {bit}"), flipped).await;
    }
    assert_eq!(site.wire.deliver(&remote(1), bytes).await, Relay::Accept, "the same without a flip");
    assert_eq!(payloads(&mut site.subscription), ["payload"]);
    site.goes_on().await;
}

#[tokio::test(start_paused = true)]
async fn rubbish_is_rejected() {
    let mut site = Site::new().await;
    for (what, bytes) in [
        ("nothing", vec![]),
        ("zeros", vec![0; 300]),
        ("text", b"GET / HTTP/1.1".to_vec()),
        ("an empty map", vec![0xa0]),
        ("a list", vec![0x80]),
        ("a map without end", [&head(5, u64::MAX)[..], &[0; 16]].concat()),
        ("a string without end", [&head(3, u64::MAX)[..], b"x"].concat()),
        ("nested lists", vec![0x81; 60_000]),
        ("nested tags", [0xd8, 0x2a].repeat(30_000)),
    ] {
        site.refuses(what, bytes).await;
    }
    site.goes_on().await;
}

/// One content has one id: other encodings of it are refused although the signature holds.
#[tokio::test(start_paused = true)]
async fn an_envelope_in_another_encoding_is_rejected() {
    let mut site = Site::new().await;
    let envelope = good();
    let entries = envelope.entries();
    assert_eq!(cbor_map(&entries), envelope.encode(), "in canonical order it is the envelope itself");
    let change = |name: &str, value: Vec<u8>| {
        let mut entries = entries.clone();
        let at = entries.iter().position(|(entry, _)| entry == name).expect("there");
        entries[at].1 = value;
        cbor_map(&entries)
    };
    let insert = |at: usize, name: &str, value: Vec<u8>| {
        let mut entries = entries.clone();
        entries.insert(at, (name.into(), value));
        cbor_map(&entries)
    };
    let mut unsorted = entries.clone();
    unsorted.swap(1, 2);
    let by_bytes = {
        let mut entries = entries.clone();
        entries.sort();
        cbor_map(&entries)
    };
    let indefinite_map = {
        let mut out = vec![0xbf];
        out.extend(&cbor_map(&entries)[1..]);
        out.push(0xff);
        out
    };
    let long_head = [&[0xb8, entries.len() as u8][..], &cbor_map(&entries)[1..]].concat();
    let payload = [&[0x5f][..], &head(2, 7), b"payload", &[0xff]].concat();
    let parents = [&[0x9f][..], &value_bytes(&Ipld::Link(envelope.parents[0])), &[0xff]].concat();
    let null = vec![0xf6];
    for (what, bytes) in [
        ("a null for the absent link", insert(2, "link", null.clone())),
        ("unsorted keys", cbor_map(&unsorted)),
        ("keys sorted by their bytes alone", by_bytes),
        ("a map of indefinite length", indefinite_map),
        ("a longer head than needed", long_head),
        ("bytes of indefinite length", change("payload", payload)),
        ("a list of indefinite length", change("parents", parents)),
        ("a longer number than needed", change("seqno", vec![0x18, 1])),
        ("a float for a number", change("seqno", [&[0xfb][..], &1.0_f64.to_be_bytes()].concat())),
        ("a negative number", change("seqno", head(1, 0))),
        ("a number too large", change("seqno", [&[0xc2][..], &head(2, 9), &[1; 9]].concat())),
        ("a tagged text", change("topic", [&[0xd8, 0x20][..], &text("readings")].concat())),
        ("bytes for a text", change("topic", [&head(2, 8)[..], b"readings"].concat())),
        ("a text for bytes", change("payload", text("payload"))),
        ("a text that is not UTF-8", change("topic", [&head(3, 2)[..], &[0xff, 0xfe]].concat())),
        ("a null for the parents", change("parents", null.clone())),
        ("a null for the signature", change("sig", null)),
        ("a field twice", insert(1, "v", vec![1])),
        ("a field more", insert(entries.len(), "zzzzzzzz", vec![1])),
        ("a tag around it", [&[0xd9, 0xd9, 0xf7][..], &cbor_map(&entries)].concat()),
        ("two in one", [cbor_map(&entries), cbor_map(&entries)].concat()),
    ] {
        site.refuses(what, bytes).await;
    }
    site.goes_on().await;
}

#[tokio::test(start_paused = true)]
async fn an_envelope_with_a_field_more_is_rejected_although_it_is_signed() {
    let mut site = Site::new().await;
    let more = good().with(|e| e.extra.push(("ttl", Ipld::Integer(1))));
    site.refuses("a signed field more", more.encode()).await;
    site.goes_on().await;
}

#[tokio::test(start_paused = true)]
async fn a_signature_that_is_not_the_authors_is_rejected() {
    let mut site = Site::new().await;
    let envelope = good();
    let other = Envelope { key: crate::support::key(2), ..envelope.clone() };
    let bare = value_bytes(&Ipld::Map(envelope.fields()));
    for (what, bytes) in [
        ("another key's", other.encode()),
        ("zeros", envelope.encode_signed(vec![0; 64])),
        ("none", envelope.encode_signed(vec![])),
        ("63 bytes", envelope.encode_signed(envelope.signature()[..63].to_vec())),
        ("65 bytes", envelope.encode_signed([envelope.signature(), vec![0]].concat())),
        ("without the domain", envelope.encode_signed(envelope.key.sign(&bare).expect("signs"))),
        ("of another message", envelope.encode_signed(Envelope::by(1, 2, "payload").signature())),
        ("no field for it", bare.into()),
    ] {
        site.refuses(what, bytes).await;
    }
    site.goes_on().await;
}

/// What one node found out holds for the same bytes at another, and for no others.
#[tokio::test(start_paused = true)]
async fn a_signature_that_held_elsewhere_makes_no_other_hold() {
    let memo = SignatureMemo::new(NonZero::<usize>::MIN);
    let elsewhere = Wire::new();
    let (_node, _subscription) = open(on(&elsewhere).signature_memo(&memo)).await;
    assert_eq!(elsewhere.deliver(&remote(1), good().encode()).await, Relay::Accept);
    let mut site = Site::of(|builder| builder.signature_memo(&memo)).await;
    let other = Envelope { key: crate::support::key(2), ..good() };
    site.refuses("another key's", other.encode()).await;
    site.refuses("of the message before", good().with(|e| e.seqno += 1).encode_signed(good().signature()))
        .await;
    site.goes_on().await;
}

#[tokio::test(start_paused = true)]
async fn an_author_whose_key_is_not_in_its_id_or_not_ed25519_is_rejected() {
    let mut site = Site::new().await;
    let secp256k1 = [&[0, 37, 8, 2, 18, 33, 2][..], &[7; 32]].concat();
    let hashed = [&[0x12, 32][..], &[7; 32]].concat();
    let truncated = good().author[..37].to_vec();
    let swapped = [&[0, 36][..], &good().author[4..], &[8, 1]].concat();
    for (what, author) in [
        ("secp256k1", secp256k1),
        ("a hash of a key", hashed),
        ("cut short", truncated),
        ("nothing", vec![]),
        ("a key that is none", [&[0, 36, 8, 1, 18, 32][..], &[0xff; 32]].concat()),
        ("its fields in another order", swapped),
        ("a longer encoding", [&good().author[..], &[0]].concat()),
    ] {
        site.refuses(what, good().with(|e| e.author = author).encode()).await;
    }
    site.goes_on().await;
}

#[tokio::test(start_paused = true)]
async fn another_network_version_or_topic_is_rejected() {
    let mut site = Site::new().await;
    for network in ["other-net", "", "test-net ", "TEST-NET", &NETWORK.repeat(20)] {
        site.refuses(network, good().with(|e| e.network = network.into()).encode()).await;
    }
    site.refuses("version", good().with(|e| e.v = 0).encode()).await;
    for topic in ["other", "readings/", "_readings"] {
        site.refuses(topic, good().with(|e| e.topic = topic.into()).encode()).await;
    }
    site.goes_on().await;
}

/// Else the halves of a network would ban each other while it is brought up to date.
#[tokio::test(start_paused = true)]
async fn a_later_version_is_ignored_and_nobody_is_blamed() {
    let site = Site::new().await;
    let later = [2, 3, i128::from(u64::MAX)].map(|v| good().with(|e| e.v = v).encode());
    let other_fields = cbor_map(&[("v".into(), vec![2]), ("to".into(), text("x"))]);
    for bytes in later.into_iter().chain([other_fields.into()]) {
        for _ in 0..2 {
            assert_eq!(site.wire.deliver(&remote(1), bytes.clone()).await, Relay::Ignore);
        }
    }
    assert_eq!(site.node.counter("newer_version"), 8, "it is counted, and may come again");
    site.wire.connect(&[remote(1)]);
    assert_eq!(site.node.peers().await.expect("peers")[0].reputation, 0.0);
    site.goes_on().await;
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_none_is_rejected_inside_the_envelope() {
    let mut site = Site::new().await;
    for topic in ["", "a\nb", "a\u{7f}b", &"x".repeat(257)] {
        assert!(Topic::from_wire(topic).is_err(), "so no wire can name it");
        site.refuses(topic, good().with(|e| e.topic = topic.into()).encode()).await;
    }
    let longest = Topic::new("x".repeat(256)).expect("a topic");
    let mut subscription = site.node.subscribe(&longest).await.expect("subscribes");
    let message = Envelope::by(2, 1, "long").on(&longest).encode();
    assert_eq!(within(site.wire.hand(&remote(2), &longest, message)).await, Relay::Accept);
    assert_eq!(payloads(&mut subscription), ["long"]);
    site.goes_on().await;
}

#[tokio::test(start_paused = true)]
async fn both_payload_and_link_or_neither_is_rejected() {
    let mut site = Site::new().await;
    let link = cid_of(RAW, b"content");
    site.refuses("both", good().with(|e| e.link = Some(link)).encode()).await;
    site.refuses("neither", good().with(|e| e.payload = None).encode()).await;
    site.goes_on().await;
}

fn hashed(version: u64, codec: u64, code: u64, digest: &[u8]) -> Cid {
    let hash = cid::multihash::Multihash::wrap(code, digest).expect("fits");
    if version == 0 { Cid::new_v0(hash).expect("version 0") } else { Cid::new_v1(codec, hash) }
}

#[tokio::test(start_paused = true)]
async fn a_link_that_proves_nothing_or_is_no_raw_block_is_rejected_before_anybody_is_asked() {
    let mut site = Site::new().await;
    for (what, link) in [
        ("identity", hashed(1, RAW, 0, b"content")),
        ("sha1", hashed(1, RAW, 0x11, &[1; 20])),
        ("half a sha2-256", hashed(1, RAW, 0x12, &[1; 16])),
        ("a long sha2-256", hashed(1, RAW, 0x12, &[1; 33])),
        ("md5", hashed(1, RAW, 0xd5, &[1; 16])),
        ("dag-cbor", hashed(1, DAG_CBOR, 0x12, &[1; 32])),
        ("version 0", hashed(0, RAW, 0x12, &[1; 32])),
    ] {
        site.refuses(what, good().with(|e| (e.payload, e.link) = (None, Some(link))).encode()).await;
    }
    assert_eq!(site.wire.requests(), 0);
    site.goes_on().await;
}

#[tokio::test(start_paused = true)]
async fn parents_that_are_too_many_unsorted_doubled_or_no_messages_are_rejected() {
    let mut site = Site::new().await;
    let mut parents: Vec<_> = (0..65_u8).map(|n| cid_of(DAG_CBOR, &[n])).collect();
    parents.sort_unstable_by_key(Cid::to_bytes);
    let with = |parents: &[Cid]| good().with(|e| e.parents = parents.to_vec()).encode();
    site.refuses("65", with(&parents)).await;
    site.refuses("unsorted", with(&[parents[1], parents[0]])).await;
    site.refuses("one twice", with(&[parents[0], parents[0]])).await;
    site.refuses("raw", with(&[cid_of(RAW, b"x")])).await;
    site.refuses("identity", with(&[hashed(1, DAG_CBOR, 0, b"x")])).await;
    site.refuses("sha1", with(&[hashed(1, DAG_CBOR, 0x11, &[1; 20])])).await;
    site.refuses("blake3: no id is one", with(&[hashed(1, DAG_CBOR, 0x1e, &[1; 32])])).await;
    let most = Envelope::by(2, 1, "many").with(|e| e.parents = parents[..64].to_vec()).encode();
    assert_eq!(site.wire.deliver(&remote(2), most).await, Relay::Accept, "64 are allowed");
    assert_eq!(payloads(&mut site.subscription), ["many"]);
    site.goes_on().await;
}

#[tokio::test(start_paused = true)]
async fn an_inline_payload_is_taken_up_to_the_limit_and_not_above() {
    let mut site = Site::new().await;
    let limit = site.node.limits().payload_bytes;
    let most = Envelope::by(2, 1, vec![b'x'; limit]).encode();
    assert_eq!(site.wire.deliver(&remote(2), most).await, Relay::Accept);
    assert_eq!(payloads(&mut site.subscription)[0].len(), limit);
    site.refuses("one byte more", Envelope::by(1, 1, vec![b'x'; limit + 1]).encode()).await;
    site.goes_on().await;
}

#[tokio::test(start_paused = true)]
async fn the_largest_envelope_that_can_be_made_fits_its_limit() {
    let wire = Wire::new();
    let longest = Topic::new("x".repeat(256)).expect("a topic");
    let node = on(&wire).open().await.expect("opens");
    let mut subscription = node.subscribe(&longest).await.expect("subscribes");
    let parents = (0..64_u8).map(|n| cid_of(DAG_CBOR, &[n]));
    let payload = vec![b'x'; node.limits().payload_bytes];
    let largest = Envelope::by(1, MAX_NUMBER, payload).on(&longest).after(parents).encode();
    assert!(largest.len() <= node.limits().envelope_bytes(), "{}", largest.len());
    assert_eq!(within(wire.hand(&remote(1), &longest, largest)).await, Relay::Accept);
    assert_eq!(payloads(&mut subscription).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_larger_than_any_envelope_is_rejected_unread() {
    let mut site = Site::new().await;
    let limit = site.node.limits().envelope_bytes();
    site.refuses("at the limit", vec![0xa0; limit]).await;
    assert_eq!((site.node.counter("malformed"), site.node.counter("oversized")), (1, 0));
    site.refuses("above it", vec![0xa0; limit + 1]).await;
    assert_eq!(site.node.counter("oversized"), 1);
    site.goes_on().await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_rubbish_does_not_push_out_what_is_known_of_messages() {
    let wire = Wire::new();
    let (_node, mut subscription) = open(on(&wire).limits(limits(|l| l.seen = 16))).await;
    let message = Envelope::by(1, 1, "hello").encode();
    assert_eq!(wire.deliver(&remote(1), message.clone()).await, Relay::Accept);
    for n in 0..100_u8 {
        assert_eq!(wire.deliver(&foreign(n.into()), vec![n; 10]).await, Relay::Reject);
    }
    assert_eq!(wire.deliver(&remote(2), message).await, Relay::Duplicate);
    assert_eq!(payloads(&mut subscription), ["hello"]);
}

#[tokio::test(start_paused = true)]
async fn rubbish_blames_its_sender_each_time_and_nobody_else() {
    let site = Site::new().await;
    let rubbish = Bytes::from_static(b"rubbish");
    for n in 0..3 {
        assert_eq!(site.wire.deliver(&remote(1), rubbish.clone()).await, Relay::Reject, "copy {n}");
    }
    site.wire.connect(&[remote(1), remote(2)]);
    let scores: Vec<_> = site.node.peers().await.expect("peers").iter().map(|peer| peer.reputation).collect();
    assert_eq!(scores, [-40.0, 0.0], "20 for not reading it, 10 for each copy");
    site.goes_on().await;
}
