//! The frames of `/carrick/link/1.0.0`, the stream that stands as long as the link between two nodes of Carrick.
//!
//! A frame is its length (unsigned varint, of what follows), a kind byte and a body. Bodies are canonical dag-cbor maps, but
//! that of a record, which is the record. `docs/transports/libp2p.md` states every byte.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use carrick_core::limits::MAX_RECORD_BYTES;
use carrick_core::links::Reason;
use carrick_core::{NetworkId, PeerRecord};
use futures::{AsyncRead, AsyncReadExt as _};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

/// The version of the hello.
pub(crate) const VERSION: u64 = 1;
/// Longest text of a farewell.
const MAX_TEXT_BYTES: usize = 256;
/// Longest hello or farewell: its text, or the name of a network, and what stands around it.
const MAX_MAP_BYTES: usize = MAX_TEXT_BYTES + 128;

const HELLO: u8 = 1;
const BYE: u8 = 2;
const RECORD: u8 = 3;

/// What the two ends of a link say beside messages and blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// The first of each end.
    Hello(Hello),
    /// Why there is no link, or not any more.
    Bye(Bye),
    /// Where a peer listens, signed by it.
    Record(Bytes),
}

/// Who we are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hello {
    /// [`VERSION`].
    pub(crate) v: u64,
    /// The network; of another one nothing is taken.
    pub(crate) network: NetworkId,
    /// Names the running instance: another one means that the peer was started again.
    pub(crate) session: u64,
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bye {
    /// A [`Reason`] by number.
    pub(crate) code: u64,
    /// For a person; at most 256 bytes.
    pub(crate) text: String,
}

impl From<Reason> for Bye {
    fn from(reason: Reason) -> Self {
        Self { code: reason as u64, text: reason.text().into() }
    }
}

impl Bye {
    /// The reason; what the far end thinks of us is a goodbye.
    pub(crate) fn reason(&self) -> Reason {
        Reason::from_code(self.code).told()
    }

    /// What a person is shown of the far end's words.
    pub(crate) fn shown(&self) -> String {
        self.text.chars().filter(|c| !c.is_control()).take(MAX_TEXT_BYTES).collect()
    }
}

impl Frame {
    /// A record, as it came.
    pub(crate) fn record(record: &PeerRecord) -> Self {
        Self::Record(record.encoded().clone())
    }

    /// The whole frame.
    pub(crate) fn encode(&self) -> Bytes {
        let (kind, body) = match self {
            Self::Hello(hello) => (HELLO, cbor(hello)),
            Self::Bye(bye) => (BYE, cbor(bye)),
            Self::Record(record) => (RECORD, record.clone()),
        };
        let mut buffer = unsigned_varint::encode::usize_buffer();
        let length = unsigned_varint::encode::usize(1 + body.len(), &mut buffer);
        let mut frame = BytesMut::with_capacity(length.len() + 1 + body.len());
        frame.put_slice(length);
        frame.put_u8(kind);
        frame.put_slice(&body);
        frame.freeze()
    }

    /// Reads what follows the length.
    pub(crate) fn decode(frame: Bytes) -> Result<Self, Reason> {
        let (&kind, body) = frame.split_first().ok_or(Reason::Malformed)?;
        match kind {
            HELLO => {
                // Alone and first: another version may have other fields, and is refused as what it is.
                #[derive(Deserialize)]
                struct Version {
                    v: u64,
                }
                let Version { v } = serde_ipld_dagcbor::from_slice(body).map_err(|_| Reason::Malformed)?;
                if v != VERSION {
                    return Err(Reason::Version);
                }
                read_cbor(body).map(Self::Hello)
            }
            BYE => {
                let bye: Bye = read_cbor(body)?;
                if bye.text.len() > MAX_TEXT_BYTES { Err(Reason::Malformed) } else { Ok(Self::Bye(bye)) }
            }
            RECORD => Ok(Self::Record(frame.slice(1..))),
            _ => Err(Reason::Malformed),
        }
    }

    /// Reads a frame from a stream. Waits without end for its first byte, and no longer than `limit` for the rest.
    ///
    /// # Cancel safety
    /// Not safe: what was read of it is lost.
    pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin), limit: Duration) -> Result<Self, Reason> {
        let mut first = [0];
        from.read_exact(&mut first).await.map_err(|_| Reason::Goodbye)?;
        timeout(limit, Self::read_rest(first, from)).await.unwrap_or(Err(Reason::Stalled))
    }

    /// The same without a clock, of bytes that are all there.
    #[cfg(feature = "fuzzing")]
    pub(crate) async fn read_now(from: &mut (impl AsyncRead + Unpin)) -> Result<Self, Reason> {
        let mut first = [0];
        from.read_exact(&mut first).await.map_err(|_| Reason::Goodbye)?;
        Self::read_rest(first, from).await
    }

    async fn read_rest(first: [u8; 1], from: &mut (impl AsyncRead + Unpin)) -> Result<Self, Reason> {
        let length = match unsigned_varint::aio::read_usize(first.chain(&mut *from)).await {
            Ok(length) => length,
            Err(unsigned_varint::io::ReadError::Io(_)) => return Err(Reason::Goodbye),
            Err(_) => return Err(Reason::Malformed),
        };
        if !(1..=1 + MAX_RECORD_BYTES).contains(&length) {
            return Err(Reason::Malformed);
        }
        // Before anything is waited for: what is no frame may be shorter than it says.
        let mut kind = [0];
        from.read_exact(&mut kind).await.map_err(|_| Reason::Goodbye)?;
        let most = match kind {
            [HELLO | BYE] => MAX_MAP_BYTES,
            [RECORD] => MAX_RECORD_BYTES,
            _ => return Err(Reason::Malformed),
        };
        if length > 1 + most {
            return Err(Reason::Malformed);
        }
        let mut frame = vec![kind[0]; length];
        from.read_exact(&mut frame[1..]).await.map_err(|_| Reason::Goodbye)?;
        Self::decode(frame.into())
    }
}

fn cbor<T: Serialize>(value: &T) -> Bytes {
    serde_ipld_dagcbor::to_vec(value).expect("maps of text, bytes and numbers always encode").into()
}

/// Reads a canonical body: whatever encodes to other bytes than those that came is refused.
fn read_cbor<T: Serialize + DeserializeOwned>(body: &[u8]) -> Result<T, Reason> {
    let value: T = serde_ipld_dagcbor::from_slice(body).map_err(|_| Reason::Malformed)?;
    if cbor(&value) == body { Ok(value) } else { Err(Reason::Malformed) }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, TryStreamExt as _, stream};

    use super::*;

    fn hello() -> Hello {
        Hello { v: VERSION, network: NetworkId::new("net").expect("a name"), session: 7 }
    }

    async fn read(bytes: &[u8]) -> Result<Frame, Reason> {
        Frame::read(&mut futures::io::Cursor::new(bytes), Duration::from_secs(1)).await
    }

    #[tokio::test]
    async fn what_is_written_is_read() {
        let frames = [
            Frame::Hello(hello()),
            Frame::Bye(Reason::Network.into()),
            Frame::Record(Bytes::from_static(b"record")),
        ];
        for frame in frames {
            assert_eq!(read(&frame.encode()).await, Ok(frame));
        }
    }

    #[tokio::test]
    async fn what_is_too_long_is_refused_before_it_is_there() {
        assert_eq!(read(&[0xff, 0xff, 0x7f]).await, Err(Reason::Malformed));
        assert_eq!(read(&[0xff; 16]).await, Err(Reason::Malformed));
        let length = [0x81, 0x10];
        assert_eq!(
            read(&[&length[..], &[RECORD; 2_049]].concat()).await,
            Ok(Frame::Record([RECORD; 2_048][..].into()))
        );
        assert_eq!(read(&[&length[..], &[HELLO]].concat()).await, Err(Reason::Malformed), "not that long");
        assert_eq!(read(&[5, RECORD, 1]).await, Err(Reason::Goodbye), "cut off");
        assert_eq!(read(&[71, b'E']).await, Err(Reason::Malformed), "of no kind");
        assert_eq!(read(&[0, 0]).await, Err(Reason::Malformed), "nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_is_begun_has_to_end() {
        let begun = stream::iter([Ok(vec![5, RECORD])]).chain(stream::pending());
        let mut begun = std::pin::pin!(begun.into_async_read());
        assert_eq!(Frame::read(&mut begun, Duration::from_secs(10)).await, Err(Reason::Stalled));
        let nothing = stream::pending::<std::io::Result<Vec<u8>>>();
        let mut nothing = std::pin::pin!(nothing.into_async_read());
        let waiting = timeout(Duration::from_secs(3_600), Frame::read(&mut nothing, Duration::from_secs(10)));
        assert!(waiting.await.is_err(), "between frames it waits");
    }

    #[tokio::test]
    async fn another_version_is_refused_as_what_it_is() {
        let other = Frame::Hello(Hello { v: 2, ..hello() }).encode();
        assert_eq!(read(&other).await, Err(Reason::Version));
    }
}
