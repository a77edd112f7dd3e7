//! A peer that says what it likes. Written from the description of the wire, not with the code that is tried: so the
//! format cannot change unseen.

use carrick_core::conformance::transport::RawWire;
use carrick_core::{Bytes, Keypair, NetworkId, PeerAddr, Protocol, PublicKey, async_trait};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The frames of a handshake, and those before them in the order of the wire.
#[derive(Debug, Serialize, Deserialize)]
enum Frame {
    Hello { network: String, key: Vec<u8>, nonce: [u8; 32] },
    Proof(Vec<u8>),
    Welcome,
}

/// A connection after its handshake.
#[derive(Debug)]
pub(crate) struct Raw(TcpStream);

impl Raw {
    /// Connects and proves a key, as any peer does.
    pub(crate) async fn open(to: &PeerAddr, network: &NetworkId, key: &Keypair) -> std::io::Result<Self> {
        let tcp = to.addrs[0].iter().find_map(|part| match part {
            Protocol::Tcp(port) => Some(port),
            _ => None,
        });
        let mut raw = Self(TcpStream::connect(("127.0.0.1", tcp.expect("a port"))).await?);
        let (network, nonce) = (network.as_str().to_owned(), [7; 32]);
        raw.write(&Frame::Hello { network: network.clone(), key: key.public().encode_protobuf(), nonce })
            .await?;
        let Frame::Hello { key: far, nonce: far_nonce, .. } = raw.read().await? else {
            return Err(std::io::ErrorKind::InvalidData.into());
        };
        let far = PublicKey::try_decode_protobuf(&far).expect("a key").to_peer_id().to_bytes();
        let near = key.public().to_peer_id().to_bytes();
        let Frame::Proof(_) = raw.read().await? else { return Err(std::io::ErrorKind::InvalidData.into()) };
        let statement =
            [&b"carrick tcp 1 dialler "[..], &nonce, &far_nonce, &near, &far, network.as_bytes()].concat();
        raw.write(&Frame::Proof(key.sign(&statement).expect("signs"))).await?;
        match raw.read().await? {
            Frame::Welcome => Ok(raw),
            _ => Err(std::io::ErrorKind::InvalidData.into()),
        }
    }

    async fn write(&mut self, frame: &Frame) -> std::io::Result<()> {
        let bytes = postcard::to_allocvec(frame).expect("encodes");
        self.0.write_u32(bytes.len() as u32).await?;
        self.0.write_all(&bytes).await
    }

    async fn read(&mut self) -> std::io::Result<Frame> {
        let mut bytes = vec![0; self.0.read_u32().await? as usize];
        self.0.read_exact(&mut bytes).await?;
        postcard::from_bytes(&bytes).map_err(|_| std::io::ErrorKind::InvalidData.into())
    }
}

#[async_trait]
impl RawWire for Raw {
    async fn send(&mut self, bytes: &[u8]) -> bool {
        // Fails where the far end has ended the link, which is what it should do.
        let _ = self.0.write_all(bytes).await;
        true
    }

    fn endless(&self) -> Option<Bytes> {
        Some(Bytes::from_static(&[0xff; 4]))
    }

    async fn ended(&mut self) {
        let mut rest = vec![0; 1_024];
        while self.0.read(&mut rest).await.is_ok_and(|read| read > 0) {}
    }
}
