//! Requests between Carrick nodes: a block, whether somebody has it, a whole DAG in one round trip.
//!
//! Each request is a stream of its own: a [frame](super::frames) that asks, and frames that answer. A wire says how a stream
//! is opened ([`Provider`]) and how an answer is written ([`Reply`]; over any stream of bytes, [`ByteReply`]). All else is
//! here: what is asked and answered, who is to blame for what, and that nothing waits for ever.
//! `docs/transports/exchange.md` states every byte, and `tests/vectors/exchange/` pins them.
//!
//! | asks | answers |
//! |---|---|
//! | [`ask_block`], inside [`search`](super::search) | [`serve`] |
//! | [`ask_has`] | the same |
//! | [`fetch_dag`], provider after provider | the same |

mod ask;
mod bytes;
#[cfg(feature = "fuzzing")]
pub(crate) mod decoders;
mod serve;
mod walk;
mod wire;

use ::bytes::Bytes;
use tokio::io::AsyncRead;

use super::Miss;
use super::frames::{Broken, Hears};
use crate::Remote;

pub use ask::{ask_block, ask_has};
pub use bytes::ByteReply;
pub use serve::{Reply, serve};
pub use walk::fetch_dag;
pub use wire::{AskBlock, AskDag, Kind, MAX_CID_BYTES, MAX_HAVE, ask_has_frame, block_head, read_cid};

/// A peer that is asked, over a stream for each request.
pub trait Provider: Hears + 'static {
    /// The answer of one request. Dropping it before the end cancels the request on the wire.
    type Answer: AsyncRead + Unpin + Send;

    /// Who it is.
    fn remote(&self) -> &Remote;

    /// Opens a stream, writes a request and answers what is read from it. It has as long as an answer may be silent.
    ///
    /// # Errors
    /// `Lost` where there is no connection any more, `Busy` where our own side has no room for one more stream.
    ///
    /// # Cancel safety
    /// Dropping the future gives the stream up.
    fn open(&self, request: Bytes) -> impl Future<Output = Result<Self::Answer, Miss>> + Send;

    /// It broke the format: it is to be blamed, and its connection ended.
    fn broke(&self, broken: &Broken);

    /// A DAG begins to be fetched from it, or is not fetched any more. Its stream may wait for a slow caller: a wire whose
    /// streams share a window gives it more.
    fn walks(&self, begins: bool);
}
