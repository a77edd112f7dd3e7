//! What is fetched: blocks of 1 MiB that no two are equal, the same on both sides.

use bytes::Bytes;
use carrick_core::{RAW, cid_of};

use crate::Result;
use crate::process::Usage;

/// The size of a block.
pub(crate) const BLOCK: usize = 1 << 20;

/// The n-th block: words of a multiplicative sequence, seeded by its number.
pub(crate) fn block(n: u64) -> Bytes {
    let seed = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let words = (0..BLOCK as u64 / 8).map(|word| seed ^ word.wrapping_mul(0xD1B5_4A32_D192_ED03));
    words.flat_map(u64::to_le_bytes).collect()
}

/// Hashes as much on one thread, and tells what that cost. One block again and again, so that it lies in the cache: a
/// node hashes a block that was just received.
pub(crate) fn hash(size_mib: u64) -> Result<()> {
    let block = block(0);
    let before = Usage::now()?;
    for _ in 0..size_mib {
        std::hint::black_box(cid_of(RAW, std::hint::black_box(&block)));
    }
    println!("{}", serde_json::to_string(&Usage::now()?.since(&before))?);
    Ok(())
}
