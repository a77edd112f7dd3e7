//! A peer that says what it likes. Written from the description of the wire, not with the code that is tried: so the
//! format cannot change unseen.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use carrick_core::conformance::transport::RawWire;
use carrick_core::{Bytes, Keypair, NetworkId, PeerAddr, PeerRecord, Protocol, Topic, async_trait};
use futures::{SinkExt, StreamExt as _};
use libp2p_core::upgrade::OutboundConnectionUpgrade as _;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_util::bytes::BytesMut;
use tokio_util::codec::{Framed, LengthDelimitedCodec};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt as _, TokioAsyncReadCompatExt as _};

/// Our number of the first stream.
const PORT: [u8; 4] = [7, 0, 0, 0];
/// What the multiplexer says of itself: version 3, no timeout, chunks of 16 KiB, a window of 64 KiB, 16 requests.
const MUX_HELLO: &[u8] = b"\x02CHMUX\0\x03\0\0\0\0\0\0\0\0\0\x40\0\0\0\0\x01\0\x10\0";

/// Most bytes in one frame.
const CHUNK: usize = 16 << 10;
/// When it has read so many, half of a window, the far end gives credit for as many more.
const PART: usize = 128 << 10;

/// The first frame of each end, or why there is none.
#[derive(Debug, Serialize, Deserialize)]
enum Frame {
    Hello { network: String, session: u64, requests: u16, topics: Vec<String> },
    Bye(u8),
}

/// A connection whose far end was told a key.
#[derive(Debug)]
pub(crate) struct Raw {
    frames: Framed<Compat<libp2p_noise::Output<Compat<TcpStream>>>, LengthDelimitedCodec>,
    /// The far end's number of the first stream,
    theirs: [u8; 4],
    /// and how many bytes it may still be sent on it.
    credit: usize,
}

impl Raw {
    /// Connects and proves a key, and says nothing.
    pub(crate) async fn connect(to: &PeerAddr, key: &Keypair) -> io::Result<Self> {
        let tcp = to.addrs[0].iter().find_map(|part| match part {
            Protocol::Tcp(port) => Some(port),
            _ => None,
        });
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, tcp.expect("a port"))).await?;
        let noise = libp2p_noise::Config::new(key).map_err(io::Error::other)?;
        let noise = noise.with_prologue(b"carrick tcp 3".to_vec());
        let (_, stream) = noise.upgrade_outbound(stream.compat(), "").await.map_err(io::Error::other)?;
        let frames = LengthDelimitedCodec::builder().new_framed(stream.compat());
        Ok(Self { frames, theirs: [0; 4], credit: 0 })
    }

    /// Opens the first stream and says hello on it, as any peer does; waits for that of the far end.
    pub(crate) async fn greet(&mut self, network: &NetworkId) -> io::Result<()> {
        // Reset, hello, and the wish for a stream, which the far end numbers, too.
        self.write(&[&[1], MUX_HELLO, &[&[4][..], &PORT, &[1]].concat()]).await?;
        self.credit = number(&self.read_until(2).await?[20..24]);
        self.theirs = self.read_until(5).await?[5..9].try_into().expect("four bytes");
        let (network, session) = (network.as_str().to_owned(), rand::random());
        let hello = Frame::Hello { network, session, requests: 16, topics: vec![] };
        self.put(&postcard::to_allocvec(&hello).expect("encodes")).await?;
        self.read_until(7).await?;
        match postcard::take_from_bytes(&self.read().await?) {
            Ok((Frame::Hello { .. }, [])) => Ok(()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Sends bytes on the first stream, as one; waits for credit, like everybody.
    async fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        while self.credit < bytes.len() {
            self.credit += number(&self.read_until(9).await?[5..9]);
        }
        self.credit -= bytes.len();
        self.write(&[&[&[7][..], &self.theirs, &[3]].concat(), bytes]).await
    }

    /// Says a frame. Once the far end has ended the link, that is lost.
    async fn say(&mut self, frame: &impl Serialize) -> bool {
        let _ = self.put(&postcard::to_allocvec(frame).expect("encodes")).await;
        true
    }

    /// Answers one request for a block, whatever it asks for, with this one: lets time pass, and sends so much that the far end
    /// gives credit for more when it has read that; again and again.
    pub(crate) async fn serve_slowly(&mut self, block: &[u8], pause: Duration) -> io::Result<()> {
        let request = self.read_until(4).await?;
        let (theirs, ours) = (&request[1..5], &[9, 0, 0, 0]);
        self.write(&[&[&[5][..], theirs, ours].concat()]).await?;
        let answer = postcard::to_allocvec(&(6_u8, block.len() as u32)).expect("encodes");
        self.write(&[&[&[7][..], theirs, &[3]].concat(), &answer]).await?;
        let last = block.len().div_ceil(CHUNK) - 1;
        for (nth, chunk) in block.chunks(CHUNK).enumerate() {
            if nth % (PART / CHUNK) == 0 {
                tokio::time::advance(pause).await;
            }
            let place = u8::from(nth == 0) | u8::from(nth == last) << 1;
            self.write(&[&[&[7][..], theirs, &[place]].concat(), chunk]).await?;
            if (nth + 1) % (PART / CHUNK) == 0 {
                self.read_until(9).await?;
            }
        }
        Ok(())
    }

    async fn read_until(&mut self, kind: u8) -> io::Result<BytesMut> {
        loop {
            let frame = self.read().await?;
            if frame[0] == kind {
                return Ok(frame);
            }
        }
    }

    async fn write(&mut self, frames: &[&[u8]]) -> io::Result<()> {
        for frame in frames {
            self.frames.feed(Bytes::copy_from_slice(frame)).await?;
        }
        SinkExt::<Bytes>::flush(&mut self.frames).await
    }

    async fn read(&mut self) -> io::Result<BytesMut> {
        self.frames.next().await.ok_or(io::ErrorKind::UnexpectedEof)?
    }
}

/// The multiplexer writes the lowest byte first.
fn number(bytes: &[u8]) -> usize {
    u32::from_le_bytes(bytes.try_into().expect("four bytes")) as usize
}

#[async_trait]
impl RawWire for Raw {
    async fn ended(&mut self) {
        while let Ok(frame) = self.read().await {
            if frame[0] == 9 {
                self.credit += number(&frame[5..9]);
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> bool {
        // Fails where the far end has ended the link, which is what it should do.
        let stream = self.frames.get_mut();
        let _ = stream.write_all(bytes).await;
        let _ = stream.flush().await;
        true
    }

    fn endless(&self) -> Option<Bytes> {
        Some(Bytes::from_static(&[0xff; 4]))
    }

    async fn join(&mut self, topic: &Topic) -> bool {
        self.say(&(2_u8, topic.as_str(), true)).await
    }

    async fn leave(&mut self, topic: &Topic) -> bool {
        self.say(&(2_u8, topic.as_str(), false)).await
    }

    async fn message(&mut self, topic: &Topic, bytes: &[u8]) -> bool {
        self.say(&(4_u8, topic.as_str())).await;
        let _ = self.put(bytes).await;
        true
    }

    async fn record(&mut self, record: &PeerRecord) -> bool {
        self.say(&(3_u8, &record.encoded()[..])).await
    }
}
