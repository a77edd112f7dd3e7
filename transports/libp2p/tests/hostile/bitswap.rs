//! Bitswap, spoken by hand over the whole stack. What its state machine does with each message is tried where it is.

use std::time::{Duration, Instant};

use carrick_core::{Block, Cid, PeerId, RAW};
use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::StreamProtocol;
use libp2p::swarm::Stream;
use prost::Message as _;

use crate::raw::{Raw, number};
use crate::stage::{Stage, addr, soon};

pub(crate) const BITSWAP: StreamProtocol = StreamProtocol::new("/ipfs/bitswap/1.2.0");

#[derive(Clone, PartialEq, prost::Message)]
struct Message {
    #[prost(message, optional, tag = "1")]
    wantlist: Option<Wantlist>,
    #[prost(message, repeated, tag = "3")]
    payload: Vec<Payload>,
    #[prost(message, repeated, tag = "4")]
    presences: Vec<Presence>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wantlist {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<Entry>,
    #[prost(bool, tag = "2")]
    full: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Entry {
    #[prost(bytes = "vec", tag = "1")]
    cid: Vec<u8>,
    #[prost(int32, tag = "4")]
    want_type: i32,
    #[prost(bool, tag = "5")]
    send_dont_have: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Payload {
    #[prost(bytes = "vec", tag = "1")]
    prefix: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    data: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Presence {
    #[prost(bytes = "vec", tag = "1")]
    cid: Vec<u8>,
    /// 0: it is there.
    #[prost(int32, tag = "2")]
    kind: i32,
}

/// Nobody has it.
fn absent() -> Cid {
    *Block::new(RAW, number().to_be_bytes().to_vec()).cid()
}

/// A peer that is no node, as Kubo is none.
struct Stranger {
    raw: Raw,
    stream: Stream,
}

impl Stranger {
    async fn of(stage: &Stage) -> Self {
        let (raw, mut incoming) = Raw::answering(&addr(&stage.attacked), BITSWAP).await.expect("connects");
        tokio::spawn(async move {
            while let Some(mut stream) = incoming.next().await {
                tokio::spawn(async move { while let Ok(1..) = stream.read(&mut [0; 4_096]).await {} });
            }
        });
        Self::linked(stage, raw).await
    }

    async fn linked(stage: &Stage, raw: Raw) -> Self {
        stage.links(&raw.key.public().to_peer_id()).await;
        let stream = raw.open(BITSWAP).await.expect("opens");
        Self { raw, stream }
    }

    fn id(&self) -> PeerId {
        self.raw.key.public().to_peer_id()
    }

    async fn send(&mut self, bytes: &[u8]) {
        if !self.raw.write(&mut self.stream, bytes).await
            && let Ok(stream) = self.raw.open(BITSWAP).await
        {
            self.stream = stream;
        }
    }
}

/// A stranger does this until it is banned.
async fn casts_out(stage: &mut Stage, mut bytes: impl FnMut() -> Vec<u8>) {
    let mut foe = Stranger::of(stage).await;
    let banned = stage.ban_of(foe.id());
    let attack = async {
        let offending = async {
            loop {
                foe.send(&bytes()).await;
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = banned => {}
            () = offending => {}
        }
        soon(foe.raw.ended()).await;
    };
    stage.under(attack).await;
    assert_eq!(stage.linked().await.len(), 2, "the two others are left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_16_mib_is_refused_by_its_length() {
    let mut stage = Stage::new().await;
    let mut length = vec![];
    prost::encoding::encode_varint(16 << 20, &mut length);
    length.resize(8_192, 0);
    casts_out(&mut stage, || length.clone()).await;
    assert!(stage.counted("bitswap_malformed") >= 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wantlist_without_end_of_what_nobody_has_ends_in_a_ban() {
    let mut stage = Stage::new().await;
    let wants = || {
        let entry = || Entry { cid: absent().to_bytes(), want_type: 0, send_dont_have: true };
        let wantlist = Some(Wantlist { entries: (0..1_024).map(|_| entry()).collect(), full: false });
        Message { wantlist, ..Message::default() }.encode_length_delimited_to_vec()
    };
    casts_out(&mut stage, wants).await;
}

/// The next message on a stream.
async fn message(from: &mut Stream) -> std::io::Result<Message> {
    let length = unsigned_varint::aio::read_usize(&mut *from).await.map_err(std::io::Error::other)?;
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    Ok(Message::decode(&body[..])?)
}

/// No attack: a stranger as Kubo is one, which waits for what it wants.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_later_goes_to_who_waits_for_it() {
    let stage = Stage::new().await;
    let (raw, mut incoming) = Raw::answering(&addr(&stage.attacked), BITSWAP).await.expect("connects");
    let mut stranger = Stranger::linked(&stage, raw).await;
    let block = Block::new(RAW, b"stored later".to_vec());
    let entry = Entry { cid: block.cid().to_bytes(), want_type: 0, send_dont_have: true };
    let wantlist = Some(Wantlist { entries: vec![entry], full: false });
    stranger.send(&Message { wantlist, ..Message::default() }.encode_length_delimited_to_vec()).await;
    let mut answers = soon(incoming.next()).await.expect("a stream");
    let absent = soon(message(&mut answers)).await.expect("an answer");
    assert_eq!(absent.presences.iter().map(|presence| presence.kind).collect::<Vec<_>>(), [1]);
    stage.attacked.put_blocks(std::slice::from_ref(&block)).await.expect("puts");
    let come = soon(message(&mut answers)).await.expect("the block");
    assert_eq!(come.payload[0].data, &block.bytes()[..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_that_nobody_asked_for_end_in_a_ban() {
    let mut stage = Stage::new().await;
    let block = || {
        let data = [&number().to_be_bytes()[..], &[7; 10_000]].concat();
        // CIDv1, raw, sha2-256 of 32 bytes.
        let payload = vec![Payload { prefix: vec![1, 0x55, 0x12, 32], data }];
        Message { payload, ..Message::default() }.encode_length_delimited_to_vec()
    };
    casts_out(&mut stage, block).await;
    assert!(stage.counted("bitswap_unrequested") > 1_000);
}

/// Reads wantlists, and says that it has everything.
async fn says_it_has(mut from: Stream, to: &mut Stream) -> std::io::Result<()> {
    loop {
        let wanted = message(&mut from).await?.wantlist.into_iter().flat_map(|list| list.entries);
        let presences = wanted.map(|entry| Presence { cid: entry.cid, kind: 0 }).collect();
        let answer = Message { presences, ..Message::default() };
        to.write_all(&answer.encode_length_delimited_to_vec()).await?;
        to.flush().await?;
    }
}

/// The node gets a block that a foe and an honest node are asked for.
async fn gets_it_all_the_same(liar: bool) -> Duration {
    let mut stage = Stage::new().await;
    let (raw, mut incoming) = Raw::answering(&addr(&stage.attacked), BITSWAP).await.expect("connects");
    let mut foe = Stranger::linked(&stage, raw).await;
    let id = foe.id();
    let answering = tokio::spawn(async move {
        let mut unanswered = vec![];
        while let Some(stream) = incoming.next().await {
            if liar {
                let _ = says_it_has(stream, &mut foe.stream).await;
            } else {
                unanswered.push(stream);
            }
        }
        drop(foe);
    });
    let content = Block::new(RAW, b"what the author has".to_vec());
    stage.author.put_blocks(std::slice::from_ref(&content)).await.expect("puts");
    let attacked = stage.attacked.clone();
    let getting = async {
        let began = Instant::now();
        soon(attacked.block(content.cid(), vec![id])).await.expect("it comes");
        began.elapsed()
    };
    let took = stage.under(getting).await;
    answering.abort();
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_never_answers_is_passed_over() {
    let took = gets_it_all_the_same(false).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_says_it_has_and_never_sends_is_passed_over() {
    let took = gets_it_all_the_same(true).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
}
