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
/// No journal gets so long: the database begins another one long before. One that claims more is not read into memory.
const MOST_BYTES: u64 = 1 << 30;
static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];
/// The least a batch takes: a start, an item with a key of one byte and no value, an end.
const LEAST_BATCH_BYTES: usize = 13 + 22 + 13;
/// Sequence numbers the database may take between two batches for work of its own: one for a table written, or for
/// tables made into one. That is a few for each memtable, and more at once only after an import, which nobody does here.
const OWN_NUMBERS: usize = 1_024;
/// Bytes of likely batches read while one is searched behind a torn one; content can be made to look like many of them.
const SEARCH_BYTES: usize = 256 << 20;

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
        let length = fs::metadata(&journal).map_err(io)?.len();
        if length > MOST_BYTES {
            let detail = format!("{} is damaged: no journal gets {length} bytes long", journal.display());
            return Err(Error::new(ErrorKind::Integrity, "open", detail).mend(RESTORE));
        }
        let bytes = content(&journal).map_err(io)?;
        if let Some(torn) = torn.as_ref().filter(|_| !bytes.is_empty()) {
            return Err(damaged(&torn.journal, torn.at));
        }
        let at = self::torn(&bytes, &mut last).map_err(|at| damaged(&journal, at))?;
        torn = at.map(|at| Torn { journal, at, bytes: bytes.len() - at }).or(torn);
    }
    Ok(torn)
}

/// Where the last write of a journal is torn, if it is; the error is where something before it is damaged. `last` is the
/// sequence number of the last sound batch, and becomes that of this journal's.
pub(crate) fn torn(bytes: &[u8], last: &mut Option<u64>) -> std::result::Result<Option<usize>, usize> {
    let whole = skip_sound(bytes, last);
    if whole == bytes.len() {
        return Ok(None);
    }
    if sound_batch_follows(bytes, whole, *last) { Err(whole) } else { Ok(Some(whole)) }
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
    // At once: while it grows there are two of it.
    let mut bytes = Vec::with_capacity(usize::try_from(file.metadata()?.len()).unwrap_or_default());
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
    while let Some(start) = Start::read(bytes, at)
        && let Some(batch) = start.batch(bytes, &mut { usize::MAX }).filter(Batch::is_sound)
    {
        (at, *last) = (batch.end, Some(start.seqno));
    }
    at
}

/// Whether a sound batch that can have come after `last` lies behind the broken one at `at`.
///
/// A broken one without a shape is searched too, and what it holds may be made by others to look like batches; their
/// checksum has no key. So only those count whose number can come next, which is looked at before anything else is. If
/// so many of them are forged that the search gets nowhere, what is there is content, and the write that holds it torn.
fn sound_batch_follows(bytes: &[u8], at: usize, last: Option<u64>) -> bool {
    let broken = Start::read(bytes, at);
    // Where the broken one has its shape, what looks like a batch inside it is content.
    let shape = broken.and_then(|start| start.batch(bytes, &mut { usize::MAX }));
    let from = shape.map_or(at + 1, |batch| batch.end);
    // With neither number every one is as likely, and who cannot tell, keeps everything.
    let last = last.or(broken.map(|start| start.seqno));
    let mut budget = SEARCH_BYTES;
    (from..bytes.len()).any(|place| {
        Start::read(bytes, place)
            .filter(|start| last.is_none_or(|last| start.can_follow(last, place - at)))
            .and_then(|start| start.batch(bytes, &mut budget))
            .is_some_and(|batch| batch.is_sound())
    })
}

/// The beginning of a batch.
#[derive(Clone, Copy)]
struct Start {
    count: u32,
    seqno: u64,
    /// Where its items begin.
    items: usize,
}

impl Start {
    fn read(bytes: &[u8], at: usize) -> Option<Self> {
        let mut rest = Cursor { bytes, at };
        rest.tag(START)?;
        let count = u32::from_le_bytes(rest.array()?);
        let seqno = u64::from_le_bytes(rest.array()?);
        Some(Self { count, seqno, items: rest.at })
    }

    /// Whether a batch with this number can come after the one numbered `last`, with so many bytes of others between.
    fn can_follow(self, last: u64, between: usize) -> bool {
        let most = OWN_NUMBERS + between / LEAST_BATCH_BYTES;
        self.seqno.checked_sub(last).is_some_and(|step| step > 0 && step <= most as u64)
    }

    /// Reads the batch, taking its bytes from the budget.
    fn batch<'a>(self, bytes: &'a [u8], budget: &mut usize) -> Option<Batch<'a>> {
        let mut rest = Cursor { bytes, at: self.items };
        for _ in 0..self.count {
            let item = rest.at;
            rest.skip_item()?;
            *budget = budget.checked_sub(rest.at - item)?;
        }
        let items = &bytes[self.items..rest.at];
        rest.tag(END)?;
        let checksum = u64::from_le_bytes(rest.array()?);
        let whole = rest.take(MAGIC.len())? == MAGIC;
        whole.then_some(Batch { items, checksum, end: rest.at })
    }
}

/// A run of bytes in the shape of a batch.
struct Batch<'a> {
    items: &'a [u8],
    checksum: u64,
    end: usize,
}

impl Batch<'_> {
    /// Whether its checksum holds.
    fn is_sound(&self) -> bool {
        xxh3_64(self.items) == self.checksum
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

/// A journal of so many batches, with items of both kinds.
#[cfg(feature = "fuzzing")]
pub(crate) fn sample(batches: u64) -> Vec<u8> {
    let cleared = [&[CLEAR][..], &[0; 8]].concat();
    let written = [&[ITEM][..], &[0; 10], &[3, 0], &[7, 0, 0, 0], &[7, 0, 0, 0], b"keycontent"].concat();
    let items = [written, cleared].concat();
    let batch = |seqno: u64| {
        let start = [&[START][..], &2_u32.to_le_bytes(), &seqno.to_le_bytes()].concat();
        [&start[..], &items, &[END], &xxh3_64(&items).to_le_bytes(), MAGIC].concat()
    };
    (0..batches).flat_map(batch).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(seqno: u64) -> Vec<u8> {
        let item = [[CLEAR; 1].as_slice(), &[0; 8]].concat();
        let start = [[START].as_slice(), &1_u32.to_le_bytes(), &seqno.to_le_bytes()].concat();
        [&start, &item, [END].as_slice(), &xxh3_64(&item).to_le_bytes(), MAGIC].concat()
    }

    #[test]
    fn a_batch_follows_if_its_number_can_come_next() {
        let last = 1_000;
        let most = last + OWN_NUMBERS as u64;
        for (seqno, follows) in
            [(0, false), (last, false), (last + 1, true), (most, true), (most + 1, false), (u64::MAX, false)]
        {
            let bytes = [[0; 7].as_slice(), &batch(seqno)].concat();
            assert_eq!(sound_batch_follows(&bytes, 0, Some(last)), follows, "{seqno} after {last}");
        }
        // Where much is broken, many may have been in it.
        let bytes = [vec![0; 10 * LEAST_BATCH_BYTES], batch(most + 10)].concat();
        assert!(sound_batch_follows(&bytes, 0, Some(last)));
    }

    #[test]
    fn the_first_batch_of_all_is_followed_by_its_own_number() {
        let broken = &batch(1_000)[..20];
        for (seqno, follows) in [(1_000, false), (1_001, true), (u64::MAX, false)] {
            let bytes = [broken, &batch(seqno)].concat();
            assert_eq!(sound_batch_follows(&bytes, 0, None), follows, "{seqno}");
        }
        assert!(sound_batch_follows(&[[0; 20].as_slice(), &batch(u64::MAX)].concat(), 0, None));
    }
}
