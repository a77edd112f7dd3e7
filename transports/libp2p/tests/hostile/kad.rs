//! Kademlia, spoken by hand.

use carrick_core::{Multiaddr, PeerId};
use carrick_transport_libp2p::{DhtMode, Routing};
use futures::AsyncReadExt as _;
use libp2p::StreamProtocol;
use libp2p::swarm::Stream;
use prost::Message as _;

use crate::raw::{delimited, number};
use crate::stage::{Foe, Stage, config, limits, soon};

#[derive(Clone, PartialEq, prost::Message)]
struct Message {
    /// 2: adds a provider, 3: asks for providers, 4: asks for peers.
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(bytes = "vec", tag = "2")]
    key: Vec<u8>,
    #[prost(message, repeated, tag = "8")]
    closer: Vec<Peer>,
    #[prost(message, repeated, tag = "9")]
    providers: Vec<Peer>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Peer {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    addrs: Vec<Vec<u8>>,
    #[prost(int32, tag = "3")]
    connection: i32,
}

fn key() -> Vec<u8> {
    // As a multihash looks.
    [&[0x12, 32][..], &[number().to_be_bytes(); 4].concat()].concat()
}

fn provides(key: &[u8], provider: PeerId, addrs: &[&str]) -> Vec<u8> {
    let addrs = addrs.iter().map(|addr| addr.parse::<Multiaddr>().expect("an address").to_vec()).collect();
    let peer = Peer { id: provider.to_bytes(), addrs, connection: 1 };
    let message = Message { kind: 2, key: key.to_vec(), providers: vec![peer], ..Message::default() };
    message.encode_length_delimited_to_vec()
}

/// Whom the node names as providers.
async fn providers(foe: &Foe, stream: &mut Stream, key: &[u8]) -> Vec<PeerId> {
    let asks = Message { kind: 3, key: key.to_vec(), ..Message::default() };
    assert!(foe.raw.write(stream, &asks.encode_length_delimited_to_vec()).await);
    let length = soon(unsigned_varint::aio::read_usize(&mut *stream)).await.expect("an answer");
    let mut body = vec![0; length];
    soon(stream.read_exact(&mut body)).await.expect("reads");
    let answer = Message::decode(&body[..]).expect("an answer");
    answer.providers.iter().map(|peer| PeerId::from_bytes(&peer.id).expect("a peer")).collect()
}

fn private(stage: &Stage) -> StreamProtocol {
    StreamProtocol::try_from_owned(format!("/carrick/{}/kad/1.0.0", stage.network)).expect("a protocol")
}

#[tokio::test(flavor = "multi_thread")]
async fn records_without_end_replace_each_other_and_their_peer_is_banned() {
    let mut stage = Stage::new().await;
    let foe = stage.foe().await;
    let mut stream = soon(foe.raw.open(private(&stage))).await.expect("it serves");
    let flood = async move |foe: &mut Foe, _: u64| {
        let many: Vec<u8> =
            (0..100).flat_map(|_| provides(&key(), foe.id(), &["/ip4/127.0.0.1/tcp/9"])).collect();
        if !foe.raw.write(&mut stream, &many).await {
            std::future::pending().await
        }
    };
    stage.casts_out(foe, flood).await;
    assert!(stage.counted("provider_records_evicted") > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_announces_for_somebody_else() {
    let mut stage = Stage::new().await;
    let foe = stage.foe().await;
    let mut stream = soon(foe.raw.open(private(&stage))).await.expect("it serves");
    let asker = stage.foe().await;
    let mut asks = soon(asker.raw.open(private(&stage))).await.expect("it serves");
    let (attacked, author) = (stage.attacked.peer_id(), stage.author.peer_id());
    let attack = async {
        let key = key();
        for victim in [attacked, author, foe.id()] {
            assert!(foe.raw.write(&mut stream, &provides(&key, victim, &["/ip4/127.0.0.1/tcp/9"])).await);
        }
        // Nobody is told of itself, so somebody else asks.
        soon(async { while providers(&asker, &mut asks, &key).await != [foe.id()] {} }).await;
    };
    stage.under(attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_public_network_addresses_of_this_house_are_not_taken() {
    let mut public = config();
    public.routing = Routing::Ipfs;
    public.dht = DhtMode::Server;
    let mut stage = Stage::with(limits(), public).await;
    let foe = stage.foe().await;
    let asker = stage.foe().await;
    let public = StreamProtocol::new("/ipfs/kad/1.0.0");
    let mut stream = soon(foe.raw.open(public.clone())).await.expect("it serves");
    let mut asks = soon(asker.raw.open(public)).await.expect("it serves");
    let attack = async {
        let (bad, good) = (key(), key());
        let poison =
            ["/ip4/127.0.0.1/tcp/22", "/ip4/192.168.1.1/tcp/80", "/ip6/::1/tcp/22", "/dns4/localhost/tcp/1"];
        assert!(foe.raw.write(&mut stream, &provides(&bad, foe.id(), &poison)).await);
        assert!(foe.raw.write(&mut stream, &provides(&good, foe.id(), &["/ip4/8.8.8.8/tcp/4001"])).await);
        soon(async { while providers(&asker, &mut asks, &good).await != [foe.id()] {} }).await;
        assert!(providers(&asker, &mut asks, &bad).await.is_empty());
    };
    stage.under(attack).await;
    stage.counts("provider_records_poisoned", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packet_too_large_ends_its_stream_alone() {
    let mut stage = Stage::new().await;
    let foe = stage.foe().await;
    let protocol = private(&stage);
    let attack = async {
        for _ in 0..20 {
            let mut stream = soon(foe.raw.open(protocol.clone())).await.expect("opens");
            foe.raw.write(&mut stream, &delimited(&vec![0; 1 << 20])).await;
            let ended = soon(stream.read(&mut [0])).await;
            assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
        }
        let mut stream = soon(foe.raw.open(protocol)).await.expect("opens");
        assert!(providers(&foe, &mut stream, &key()).await.is_empty());
    };
    stage.under(attack).await;
    assert_eq!(stage.linked().await.len(), 3, "the stream ended, and nothing else");
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_whose_answers_nobody_reads_cost_little() {
    let mut stage = Stage::new().await;
    let foe = stage.foe().await;
    let protocol = private(&stage);
    let attack = async {
        let asks = Message { kind: 4, key: key(), ..Message::default() }.encode_length_delimited_to_vec();
        let asks = asks.repeat(100);
        let mut unread = Vec::new();
        for _ in 0..40 {
            let mut stream = soon(foe.raw.open(protocol.clone())).await.expect("opens");
            let writing = foe.raw.write(&mut stream, &asks);
            // It stops to read while its answers are not read.
            let _ = tokio::time::timeout(std::time::Duration::from_millis(50), writing).await;
            unread.push(stream);
        }
    };
    stage.under(attack).await;
}
