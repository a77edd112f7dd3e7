//! The bounds of bitswap: what is not the node's to set. All are per node unless they say otherwise.

use std::time::Duration;

/// Entries of one peer's wantlist, as Kubo has it; also for lists that say they are whole.
pub(crate) const WANTLIST: usize = 1_024;
/// What peers want and we have not, remembered for when it comes: entries of all wantlists together.
pub(crate) const WAITING: usize = 32_768;
/// A block up to so many bytes goes out where only HAVE was asked for, as from Kubo.
pub(crate) const SMALL_BLOCK: usize = 1_024;
/// An answer is about so many bytes of blocks; a larger block goes alone. What is behind it waits for all of it, so that on a
/// slow line less is better, and on a fast one it is enough.
pub(crate) const ANSWER: usize = 256 << 10;
/// Presences in one message.
pub(crate) const PRESENCES: usize = 512;
/// Bytes of blocks read for one peer that it has not taken yet, once it has shown that it takes them. One more block may be
/// above it. To begin with it is one block.
pub(crate) const OUTSTANDING: usize = 2 << 20;
/// The same for all peers together.
pub(crate) const OUTSTANDING_ALL: usize = 32 << 20;
/// Entries of one peer that are looked up before the next one's turn.
pub(crate) const TURN: usize = 16;
/// Peers for whom the store is read at the same time.
pub(crate) const READERS: usize = 16;
/// How long a peer's turn waits when the host was busy.
pub(crate) const BUSY: Duration = Duration::from_secs(1);
/// Blocks that we have not a peer may ask for at once, and later again in each second, before it is needless.
pub(crate) const ABSENT: u32 = 8_192;
pub(crate) const ABSENT_PER_SECOND: u32 = 128;
/// So many more are one misdeed.
pub(crate) const NEEDLESS: u32 = 16;
/// CIDs remembered as larger than [`SMALL_BLOCK`], so that HAVE costs no reading.
pub(crate) const LARGE: usize = 16_384;

/// Blocks wanted at the same time.
pub(crate) const WANTS: usize = 16_384;
/// Callers waiting for blocks.
pub(crate) const REQUESTS: usize = 32_768;
/// Blocks asked of one peer at the same time.
pub(crate) const WINDOW: usize = 512;
/// Their bytes, as far as the blocks that it sent before tell.
pub(crate) const WINDOW_BYTES: usize = 16 << 20;
/// Questions whether it has a block, to one peer and not answered yet.
pub(crate) const QUESTIONS: usize = 1_024;
/// Peers asked at once whether they have a block of which nobody is known to have it; when none of them has it, as many more.
pub(crate) const BROADCAST: usize = 32;
/// Peers of which a want knows something.
pub(crate) const STANDS: usize = 128;
/// Peers that a session prefers: they had blocks of it before.
pub(crate) const GOOD: usize = 16;
/// Hinted and found peers of a session.
pub(crate) const HINTS: usize = 64;
/// Entries in one wantlist message of ours.
pub(crate) const ENTRIES: usize = 512;
/// Blocks remembered as no longer wanted of a peer that may still send them: more than its windows hold.
pub(crate) const SETTLED: usize = 2 * (WINDOW + QUESTIONS);
/// How long a peer may be silent before another one is asked as well.
pub(crate) const LATE: Duration = Duration::from_secs(5);
/// How long a block may be outstanding while the peer sends others, before somebody else is asked as well.
pub(crate) const OVERDUE: Duration = Duration::from_secs(20);
/// How long all that is asked of one peer may take it, as far as its pace tells: nothing is asked long before its turn.
pub(crate) const AHEAD: Duration = Duration::from_secs(10);
/// How long connected peers have before the finder is asked.
pub(crate) const BEFORE_FINDER: Duration = Duration::from_secs(1);
/// How soon whoever had no room for a question or a want is tried again, where nothing else tells.
pub(crate) const AGAIN: Duration = Duration::from_secs(1);
/// Searches for providers at the same time; more wait.
pub(crate) const FINDS: usize = 32;
/// Questions of [`having`](super::Bitswap::having) at the same time.
pub(crate) const PROBES: usize = 256;
