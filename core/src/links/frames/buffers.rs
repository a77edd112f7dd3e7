//! The memory that the blocks of one transfer land in, used again.
//!
//! A fresh buffer for each block would cost more than to fill it: the allocator gives one of this size back to the kernel,
//! and the next one is cleared page by page. So a block's buffer comes back when its last reference goes. One that the
//! user keeps does not come back, and is missed by nobody.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;

/// Buffers that wait to be filled again; beyond them the oldest goes.
const WAITING: usize = 4;
/// Smaller buffers stay with the allocator, which keeps them at hand itself.
const SMALLEST: usize = 128 << 10;

/// The buffers of one transfer. Those that wait go with it.
#[derive(Debug, Default)]
pub(super) struct Buffers(Arc<Waiting>);

type Waiting = Mutex<VecDeque<Vec<u8>>>;

/// A buffer in use.
struct Lent {
    bytes: Vec<u8>,
    home: Weak<Waiting>,
}

impl Buffers {
    /// A buffer of exactly this length, to be filled: what stands in it is zeros or an older block. One that is used again
    /// need not be cleared, and a large new one comes cleared from the kernel.
    pub(super) fn take(&self, length: usize) -> Vec<u8> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = waiting.iter().rposition(|buffer| buffer.len() == length);
        let buffer = fits.and_then(|at| waiting.remove(at));
        drop(waiting);
        buffer.unwrap_or_else(|| vec![0; length])
    }

    /// A filled buffer, which comes back when nobody holds it any more.
    pub(super) fn lend(&self, bytes: Vec<u8>) -> Bytes {
        if bytes.len() < SMALLEST {
            return bytes.into();
        }
        Bytes::from_owner(Lent { bytes, home: Arc::downgrade(&self.0) })
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(home) = self.home.upgrade() else { return };
        let buffer = std::mem::take(&mut self.bytes);
        let mut waiting = home.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push_back(buffer);
        let oldest = if waiting.len() > WAITING { waiting.pop_front() } else { None };
        // The memory goes back after the lock is open again.
        drop(waiting);
        drop(oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = SMALLEST;

    fn filled(buffers: &Buffers, length: usize) -> Bytes {
        let mut buffer = buffers.take(length);
        buffer.fill(7);
        buffers.lend(buffer)
    }

    fn waiting(buffers: &Buffers) -> usize {
        buffers.0.lock().expect("no panic").len()
    }

    #[test]
    fn a_buffer_comes_back_when_its_last_reference_goes() {
        let buffers = Buffers::default();
        let block = filled(&buffers, SIZE);
        let (part, place) = (block.slice(1..3), block.as_ptr());
        drop(block);
        assert_eq!((waiting(&buffers), &part[..]), (0, &[7, 7][..]));
        drop(part);
        assert_eq!(waiting(&buffers), 1);
        let again = buffers.take(SIZE);
        assert!(again.len() == SIZE && again.as_ptr() == place);
    }

    #[test]
    fn only_so_many_wait_and_none_outlives_the_transfer() {
        let buffers = Buffers::default();
        let blocks: Vec<_> = (0..2 * WAITING).map(|_| filled(&buffers, SIZE)).collect();
        drop(blocks);
        assert_eq!(waiting(&buffers), WAITING);
        let kept = filled(&buffers, SIZE);
        drop(buffers);
        assert_eq!(kept.len(), SIZE);
    }

    #[test]
    fn a_block_holds_no_more_memory_than_it_needs() {
        let buffers = Buffers::default();
        drop(filled(&buffers, 2 * SIZE));
        let other = buffers.take(SIZE);
        assert_eq!((other.len(), other.capacity()), (SIZE, SIZE));
        drop(filled(&buffers, 9));
        assert_eq!(waiting(&buffers), 1, "small ones stay with the allocator");
    }
}
