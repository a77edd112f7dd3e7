//! The journals, looked at before the database opens them: a torn last write is dropped, other damage is told.
//!
//! The database alone drops a last write that was cut short, but does not open when the pages of one reached the disk out
//! of order; and where it meets bytes that are no write at all, it drops everything behind them, confirmed or not. Here
//! each write is on disk before the next one begins. So only the last can be torn, and what stands before a whole one
//! was confirmed.
//!
//! A journal is a run of batches: a start (tag 1, count of items `u32`, sequence number `u64`), that many items (tag 2,
//! with their lengths, or tag 4, a keyspace cleared), an end (tag 3, XXH3 of the items, `FJL` 3). Integers are little
//! endian. The file is made longer in advance, so zeros follow. Later files continue earlier ones.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use carrick_core::{Error, ErrorKind, Result};
use xxhash_rust::xxh3::xxh3_64;

use crate::error::{RESTORE, failed};

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const MAGIC: &[u8] = b"FJL\x03";
const CHUNK_BYTES: usize = 64 << 10;
static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];
/// Items looked at while whole batches are searched behind a torn one; content can be made to look like many of them.
const SEARCH_ITEMS: usize = 1 << 24;

/// A last write that was not finished.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Torn {
    pub(crate) journal: PathBuf,
    pub(crate) at: usize,
    /// How many bytes of it are there.
    pub(crate) bytes: usize,
}

impl Torn {
    /// Cuts it off.
    pub(crate) fn cut(&self) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(&self.journal)?;
        file.set_len(self.at as u64)?;
        file.sync_all()
    }
}

/// Looks for a torn last write in the database at `home`.
///
/// # Errors
/// `Integrity` when something is damaged that was confirmed.
pub(crate) fn check(home: &Path) -> Result<Option<Torn>> {
    let io = |source| failed("open", fjall::Error::Io(source));
    let mut torn: Option<Torn> = None;
    let mut last = None;
    for journal in journals(home).map_err(io)? {
        let bytes = content(&journal).map_err(io)?;
        let whole = skip_sound(&bytes, &mut last);
        if let Some(torn) = torn.as_ref().filter(|_| !bytes.is_empty()) {
            return Err(damaged(&torn.journal, torn.at));
        }
        if whole < bytes.len() {
            if sound_batch_follows(&bytes, whole, last) {
                return Err(damaged(&journal, whole));
            }
            torn = Some(Torn { journal, at: whole, bytes: bytes.len() - whole });
        }
    }
    Ok(torn)
}

fn damaged(journal: &Path, at: usize) -> Error {
    let detail = format!("{} is damaged at byte {at}, before writes that are whole", journal.display());
    Error::new(ErrorKind::Integrity, "open", detail).mend(RESTORE)
}

/// The journals, oldest first.
fn journals(home: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(home)? {
        let path = entry?.path();
        let number =
            path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse::<u64>().ok());
        found.extend(number.map(|number| (number, path)));
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Reads a journal up to its last byte that is not zero; no batch ends with a zero.
fn content(journal: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(journal)?;
    let mut bytes = Vec::new();
    let (mut chunk, mut zeros) = (Vec::with_capacity(CHUNK_BYTES), 0);
    while file.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut chunk)? > 0 {
        if chunk == ZEROS[..chunk.len()] {
            zeros += chunk.len();
        } else {
            bytes.resize(bytes.len() + zeros, 0);
            bytes.extend_from_slice(&chunk);
            zeros = 0;
        }
        chunk.clear();
    }
    bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
    Ok(bytes)
}

/// Where the sound batches at the beginning end; `last` becomes the sequence number of the last one.
fn skip_sound(bytes: &[u8], last: &mut Option<u64>) -> usize {
    let mut at = 0;
    while let Some(batch) = Batch::parse(bytes, at, &mut usize::MAX.clone()).filter(|batch| batch.sound) {
        (at, *last) = (batch.end, Some(batch.seqno));
    }
    at
}

/// Whether a sound batch later than `last` lies behind the broken one at `at`.
fn sound_batch_follows(bytes: &[u8], at: usize, last: Option<u64>) -> bool {
    let mut budget = SEARCH_ITEMS;
    // Where the broken one has its shape, what looks like a batch inside it is content.
    let from = Batch::parse(bytes, at, &mut budget).map_or(at + 1, |batch| batch.end);
    let later = |batch: Batch| batch.sound && last.is_none_or(|last| batch.seqno > last);
    // Who cannot tell, keeps everything.
    (from..bytes.len()).any(|at| Batch::parse(bytes, at, &mut budget).is_some_and(later)) || budget == 0
}

/// A run of bytes in the shape of a batch.
struct Batch {
    seqno: u64,
    end: usize,
    /// Whether its checksum holds.
    sound: bool,
}

impl Batch {
    /// Reads the batch that begins at `at`, taking its items from the budget.
    fn parse(bytes: &[u8], at: usize, budget: &mut usize) -> Option<Self> {
        let mut rest = Cursor { bytes, at };
        rest.tag(START)?;
        let count = u32::from_le_bytes(rest.array()?);
        let seqno = u64::from_le_bytes(rest.array()?);
        let items = rest.at;
        for _ in 0..count {
            *budget = budget.checked_sub(1)?;
            rest.skip_item()?;
        }
        let checked = &bytes[items..rest.at];
        rest.tag(END)?;
        let checksum = u64::from_le_bytes(rest.array()?);
        let whole = rest.take(MAGIC.len())? == MAGIC;
        whole.then(|| Self { seqno, end: rest.at, sound: xxh3_64(checked) == checksum })
    }
}

/// A place in the journal from which is read.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn tag(&mut self, wanted: u8) -> Option<()> {
        (self.array()? == [wanted]).then_some(())
    }

    fn skip_item(&mut self) -> Option<()> {
        match self.array()? {
            [ITEM] => {
                let [_kind, _compression] = self.array()?;
                let _keyspace: [u8; 8] = self.array()?;
                let key = u16::from_le_bytes(self.array()?);
                let _unpacked: [u8; 4] = self.array()?;
                let value = u32::from_le_bytes(self.array()?);
                self.take(usize::from(key))?;
                self.take(usize::try_from(value).ok()?).map(drop)
            }
            [CLEAR] => self.array::<8>().map(drop),
            _ => None,
        }
    }
}
