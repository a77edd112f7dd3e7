//! Greetings that do not come, are none, or come twice; and more connections than anybody needs.

use std::time::{Duration, Instant};

use carrick_core::{ErrorKind, Keypair, Limits, Protocol};
use futures::AsyncReadExt as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::bitswap::BITSWAP;
use crate::raw::{HELLO, LINK, RECORD, Raw, frame, hello};
use crate::stage::{Stage, addr, config, limits, node, soon};

/// No attack: strangers as there are on the public network. RSA keys are those of the old Kubo.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_with_keys_of_other_kinds_are_taken_over_tcp_and_quic() {
    let mut both = config();
    let listen = ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"];
    both.listen = Some(listen.map(|addr| addr.parse().expect("an address")).into());
    let stage = Stage::with(limits(), both).await;
    let mut strangers = Vec::new();
    for over_quic in [false, true] {
        let mut to = addr(&stage.attacked);
        to.addrs.retain(|addr| addr.iter().any(|part| part == Protocol::QuicV1) == over_quic);
        assert!(!to.addrs.is_empty());
        for key in [Keypair::generate_secp256k1(), Keypair::generate_ecdsa()] {
            let raw = Raw::connect(&to, &key, &[BITSWAP]).await.expect("connects");
            strangers.push((key.public().to_peer_id(), raw));
        }
    }
    for (id, _) in &strangers {
        stage.links(id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_says_hello_is_let_go() {
    let mut stage = Stage::new().await;
    let to = addr(&stage.attacked);
    let attack = async {
        let began = Instant::now();
        let mut silent = Vec::new();
        for _ in 0..20 {
            silent.push(Raw::silent(&to, &Keypair::generate_ed25519()).await.expect("connects"));
        }
        // One of them keeps its connection busy, and says that it is a node.
        let busy = Raw::connect(&to, &Keypair::generate_ed25519(), &[LINK]).await.expect("connects");
        let mut streams = Vec::new();
        while let Ok(stream) = busy.open(LINK).await {
            streams.push(stream);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for foe in &silent {
            soon(foe.ended()).await;
        }
        assert!(began.elapsed() < limits().handshake * 4, "{:?}", began.elapsed());
    };
    stage.under(attack).await;
    assert!(stage.counted("greetings_missed") >= 20);
    assert_eq!(stage.linked().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn greetings_that_are_none_end_in_a_ban() {
    let mut stage = Stage::new().await;
    let to = addr(&stage.attacked);
    let key = Keypair::generate_ed25519();
    let (banned, network) = (stage.ban_of(key.public().to_peer_id()), stage.network.clone());
    let attack = async {
        let nonsense: [Vec<u8>; 6] = [
            vec![0; 64],
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            vec![0xff; 64],
            frame(RECORD, b"before any hello"),
            frame(HELLO, b"no map"),
            frame(HELLO, &vec![7; 1 << 20]),
        ];
        for bytes in nonsense {
            let Ok(raw) = Raw::connect(&to, &key, &[LINK]).await else { break };
            let Ok(mut stream) = raw.open(LINK).await else { break };
            raw.write(&mut stream, &bytes).await;
            soon(raw.ended()).await;
        }
        banned.await;
        assert!(Raw::node(&to, &network, &key).await.is_err());
    };
    stage.under(attack).await;
    assert!((5..=6).contains(&stage.counted("misdeed_malformed")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_on_the_link_that_is_none_ends_it() {
    let mut stage = Stage::new().await;
    let network = stage.network.clone();
    let bad: [Vec<u8>; 4] = [
        frame(HELLO, &hello(network.as_str())),
        // Says that it is a gigabyte.
        vec![0x80, 0x80, 0x80, 0x80, 0x04, RECORD],
        frame(RECORD, &vec![7; 1 << 20]),
        frame(RECORD, b"no record"),
    ];
    for (bytes, times) in bad.into_iter().zip(1..) {
        let mut foe = stage.foe().await;
        stage
            .under(async {
                foe.say(&bytes).await;
                soon(foe.raw.ended()).await;
            })
            .await;
        assert_eq!(stage.counted("misdeed_malformed"), times);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_is_begun_and_not_ended_ends_the_link() {
    let mut stage = Stage::new().await;
    let mut foe = stage.foe().await;
    let attack = async {
        assert!(foe.say(&[200, 1, RECORD]).await);
        soon(foe.raw.ended()).await;
    };
    stage.under(attack).await;
    assert_eq!(stage.counted("misdeed_stalled"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_network_is_told_so_and_not_blamed() {
    let mut stage = Stage::new().await;
    let to = addr(&stage.attacked);
    let attack = async {
        let raw = Raw::connect(&to, &Keypair::generate_ed25519(), &[LINK]).await.expect("connects");
        let mut stream = raw.open(LINK).await.expect("opens");
        assert!(raw.write(&mut stream, &frame(HELLO, &hello("elsewhere"))).await);
        let mut said = Vec::new();
        soon(stream.read_to_end(&mut said)).await.expect("reads");
        assert!(String::from_utf8_lossy(&said).contains("it belongs to another network"), "{said:?}");
        soon(raw.ended()).await;
    };
    stage.under(attack).await;
    assert_eq!(stage.counted("misdeed_malformed"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_peer_has_a_few_connections_and_no_more() {
    let mut stage = Stage::new().await;
    let (to, network) = (addr(&stage.attacked), stage.network.clone());
    let attack = async {
        let key = Keypair::generate_ed25519();
        let (first, _link) = Raw::node(&to, &network, &key).await.expect("is taken");
        let mut more = Vec::new();
        for _ in 0..20 {
            more.extend(Raw::connect(&to, &key, &[LINK]).await);
        }
        let ended =
            futures::future::join_all(more.iter().map(|raw| async {
                tokio::time::timeout(Duration::from_secs(1), raw.ended()).await.is_ok()
            }));
        let stand = ended.await.iter().filter(|ended| !**ended).count();
        assert!(stand <= 7, "{stand} more stand");
        drop(first);
    };
    stage.under(attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_leave_places_to_nodes() {
    let mut few = limits();
    few.connections = 8;
    let stage = Stage::with(few, config()).await;
    let to = addr(&stage.attacked);
    let mut strangers = Vec::new();
    // Beside the author and the reader.
    for _ in 0..4 {
        let key = Keypair::generate_ed25519();
        strangers.push(Raw::connect(&to, &key, &[BITSWAP]).await.expect("connects"));
        stage.links(&key.public().to_peer_id()).await;
    }
    for _ in 0..8 {
        let one_more = Raw::connect(&to, &Keypair::generate_ed25519(), &[BITSWAP]).await.expect("connects");
        soon(one_more.ended()).await;
    }
    assert_eq!(stage.counted("strangers_refused"), 8);
    let key = Keypair::generate_ed25519();
    let _node = soon(Raw::node(&to, &stage.network, &key)).await.expect("is taken");
    stage.links(&key.public().to_peer_id()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_connections_are_let_go_and_friends_get_in() {
    let mut few = limits();
    few.handshakes = 16;
    let mut stage = Stage::with(few, config()).await;
    let to = addr(&stage.attacked);
    let network = stage.network.clone();
    let port = to.addrs[0].iter().find_map(|part| match part {
        Protocol::Tcp(port) => Some(port),
        _ => None,
    });
    let socket = ("127.0.0.1", port.expect("a port"));
    let attack = async {
        let mut half_open = Vec::new();
        for _ in 0..200 {
            half_open.push(TcpStream::connect(socket).await.expect("connects"));
        }
        let friend = node(&network, Limits::default(), config()).await;
        let getting_in = async {
            while let Err(error) = friend.connect(&to).await {
                assert!(
                    matches!(
                        error.kind(),
                        ErrorKind::Busy | ErrorKind::Unreachable | ErrorKind::Unauthorized
                    ),
                    "{error}"
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        soon(getting_in).await;
        for socket in &mut half_open {
            // Whatever it says first, it ends it.
            let _ = soon(socket.read_to_end(&mut Vec::new())).await;
        }
    };
    stage.under(attack).await;
    assert!(stage.counted("handshakes_failed") >= 100);
}
