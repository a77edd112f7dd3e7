//! Hostile bytes against a decoder: it refuses them, fast and in little memory, whatever they are.
//!
//! Good inputs are changed in the ways that break decoders: bits, lengths and numbers at their borders, cuts, tails, pieces of
//! one in another, the same few bytes a thousand times. A run is made from a seed; one that fails prints the seed that makes
//! the same bytes again.
//!
//! ```
//! use carrick_core::conformance::decoder::Decoder;
//!
//! /// A length, and so many bytes.
//! fn read(bytes: &[u8]) -> bool {
//!     let Some((length, rest)) = bytes.split_first() else { return false };
//!     rest.len() == usize::from(*length) && rest.to_vec() == rest
//! }
//!
//! fn decoders() -> Vec<Decoder> {
//!     let samples = vec![vec![2, 7, 7]];
//!     vec![Decoder { name: "frame", read, check: |_| (), samples, longest: 256, memory: 255 }]
//! }
//!
//! carrick_core::decoder_suite!(decoders(); frame);
//! ```
//!
//! | variable | what it sets |
//! |---|---|
//! | `MUTATIONS` | how many inputs each decoder gets: 1,000,000, in a debug build 10,000 |
//! | `MUTATION_SEED` | the seed of the first one; each of the others has the next number |

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::mutation::mutation;
use crate::Limits;
use crate::links::frames::{FrameKind, HEAD_BYTES, Head};

/// Makes a test of every decoder: `decoder_suite!(decoders(); frame block);` with a list of [`Decoder`]s and their names.
/// The calling crate needs `allocation-counter`.
#[macro_export]
macro_rules! decoder_suite {
    ($decoders:expr; $($name:ident)+) => {
        $(
            #[test]
            #[allow(clippy::print_stdout, reason = "figures for whoever runs it with --nocapture")]
            fn $name() {
                let all: Vec<$crate::conformance::decoder::Decoder> = $decoders;
                let decoder = all.iter().find(|decoder| decoder.name == stringify!($name)).expect("a decoder");
                let tried = decoder.attack(|run| allocation_counter::measure(run).bytes_max as usize);
                println!("{}: {tried}", decoder.name);
            }
        )+

        #[test]
        fn every_decoder_is_tried() {
            let all: Vec<_> = $decoders.iter().map(|decoder| decoder.name).collect();
            assert_eq!(all, [$(stringify!($name)),+]);
        }
    };
}

/// What a decoder may take beyond [`Decoder::memory`], in bytes.
pub const SLACK_BYTES: usize = 64 << 10;
/// Most processor time that one input may take, and as much again for each MiB of it, in proportion; more in a debug build,
/// whose code is so much slower.
pub const MOST_TIME: Duration = Duration::from_millis(if cfg!(debug_assertions) { 1_000 } else { 10 });

/// A decoder of bytes that strangers write, and what it may take for them.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// Says in a failure what failed.
    pub name: &'static str,
    /// Reads bytes as the program does and answers whether it took them. This is what is measured.
    pub read: fn(&[u8]) -> bool,
    /// Looks at bytes that were taken, and panics, as a test does, where they break a promise: for example that what they say
    /// has only this one encoding.
    pub check: fn(&[u8]),
    /// Good inputs of every kind, among them the largest; at least one.
    pub samples: Vec<Vec<u8>>,
    /// The longest input that the program gives to the decoder, in bytes.
    pub longest: usize,
    /// The memory that a good input may take, in bytes: all that is held at once, a copy of the input included.
    pub memory: usize,
}

/// Reads frames one after the other, as a stream brings them, each by `read`; false with the first that is refused, and where
/// a frame is cut. For [`Decoder::read`].
pub fn frames<K: FrameKind>(mut bytes: &[u8], limits: &Limits, read: fn(K, &[u8]) -> bool) -> bool {
    while let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() {
        let Ok(head) = Head::decode(*head, limits) else { return false };
        let Some((body, rest)) = rest.split_at_checked(head.length) else { return false };
        if !read(head.kind, body) {
            return false;
        }
        bytes = rest;
    }
    bytes.is_empty()
}

/// What a run has seen.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Tried {
    /// Inputs.
    pub inputs: u64,
    /// Those that the decoder took.
    pub taken: u64,
    /// The most memory that one took, in bytes.
    pub memory: usize,
    /// The most processor time that one took.
    pub time: Duration,
}

impl Decoder {
    /// Reads and checks some bytes without measuring, as a fuzzer wants it. Answers whether they were taken.
    pub fn run(&self, bytes: &[u8]) -> bool {
        let taken = (self.read)(bytes);
        if taken {
            (self.check)(bytes);
        }
        taken
    }

    /// Tries the samples, and then changed ones; `peak` runs what it is given and answers the most memory that was held
    /// meanwhile, in bytes.
    ///
    /// # Panics
    /// When a sample is refused, and with the input when one makes the decoder panic, or take more memory than
    /// [`Self::memory`] and [`SLACK_BYTES`], or more time than [`MOST_TIME`] allows.
    pub fn attack(&self, peak: impl Fn(&mut dyn FnMut()) -> usize) -> Tried {
        let mut tried = Tried::default();
        for (at, sample) in self.samples.iter().enumerate() {
            match self.try_one(sample, &peak, &mut tried) {
                Ok(true) => {}
                Ok(false) => panic!("{} refused sample {at}: {}", self.name, Hex(sample)),
                Err(why) => panic!("{} {why}; sample {at}: {}", self.name, Hex(sample)),
            }
        }
        let first = number("MUTATION_SEED").unwrap_or_default();
        let default = if cfg!(debug_assertions) { 10_000 } else { 1_000_000 };
        for seed in first..first + number("MUTATIONS").unwrap_or(default) {
            let input = mutation(&self.samples, self.longest, seed);
            if let Err(why) = self.try_one(&input, &peak, &mut tried) {
                panic!(
                    "{} {why}; again: MUTATION_SEED={seed} MUTATIONS=1; the {} bytes: {}",
                    self.name,
                    input.len(),
                    Hex(&input)
                );
            }
        }
        tried
    }

    fn try_one(
        &self,
        input: &[u8],
        peak: &impl Fn(&mut dyn FnMut()) -> usize,
        tried: &mut Tried,
    ) -> Result<bool, String> {
        let (mut taken, mut memory) = (Ok(false), 0);
        let mut once = || {
            let start = processor_time();
            memory = peak(&mut || taken = catch_unwind(AssertUnwindSafe(|| (self.read)(input))));
            processor_time().saturating_sub(start)
        };
        let most_time = most_time(input.len());
        let mut time = once();
        if time > most_time {
            // What is slow is slow again; the machine's own work, which is counted too, is not.
            time = (0..4).fold(time, |least, _| least.min(once()));
        }
        let taken = taken.and_then(|taken| {
            catch_unwind(AssertUnwindSafe(|| {
                if taken {
                    (self.check)(input)
                }
            }))
            .map(|()| taken)
        });
        let taken = taken.map_err(|_| "panicked".to_owned())?;
        if memory > self.memory + SLACK_BYTES {
            return Err(format!("took {memory} bytes of memory; {} are declared", self.memory));
        }
        if time > most_time {
            return Err(format!("took {time:?}"));
        }
        tried.inputs += 1;
        tried.taken += u64::from(taken);
        tried.memory = tried.memory.max(memory);
        tried.time = tried.time.max(time);
        Ok(taken)
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inputs, taken, memory, time } = self;
        write!(f, "{inputs} inputs, {taken} of them taken; at most {memory} bytes and {time:?}")
    }
}

fn most_time(input_bytes: usize) -> Duration {
    let kibibytes = u32::try_from(input_bytes >> 10).unwrap_or(u32::MAX);
    MOST_TIME + MOST_TIME.saturating_mul(kibibytes) / 1_024
}

/// What this thread has worked so far: others that share the processor do not count.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")))
}

/// Bytes as far as a person looks at them.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(1_024)];
        shown.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        if shown.len() < self.0.len() { f.write_str("…") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attack(read: fn(&[u8]) -> bool, memory: usize) -> Result<Tried, String> {
        let decoder =
            Decoder { name: "it", read, check: |_| (), samples: vec![vec![0; 40]], longest: 100, memory: 0 };
        let attack = || decoder.attack(|run| (run(), memory).1);
        catch_unwind(AssertUnwindSafe(attack)).map_err(|panic| *panic.downcast::<String>().expect("text"))
    }

    #[test]
    fn a_decoder_that_holds_is_tried_to_the_end() {
        let tried = attack(|bytes| bytes.len() <= 100 && bytes[..] != [1], SLACK_BYTES).expect("holds");
        assert_eq!(tried.inputs, tried.taken, "{tried}");
        assert!(tried.inputs >= 10_000, "{tried}");
    }

    #[test]
    fn what_is_long_may_take_longer() {
        assert_eq!(most_time(0), MOST_TIME);
        assert_eq!(most_time(1 << 19), MOST_TIME * 3 / 2);
        assert_eq!(most_time(2 << 20), 3 * MOST_TIME);
    }

    #[test]
    fn whatever_is_broken_is_told_with_the_seed() {
        let told = attack(|bytes| bytes[39] == 0, 0).expect_err("panics when it is cut");
        assert!(told.starts_with("it panicked; again: MUTATION_SEED="), "{told}");
        let told = attack(|bytes| bytes == [0; 40], SLACK_BYTES + 1).expect_err("takes too much");
        assert!(told.contains("bytes of memory; 0 are declared"), "{told}");
        let slow = |bytes: &[u8]| {
            let start = processor_time();
            while bytes != [0; 40] && processor_time() - start <= MOST_TIME {}
            true
        };
        let told = attack(slow, 0).expect_err("takes too long");
        assert!(told.starts_with("it took "), "{told}");
    }
}
