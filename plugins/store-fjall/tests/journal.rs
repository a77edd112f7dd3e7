//! What a power loss does to the journal costs nothing that was confirmed; other damage is told, and left as it is.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::slice::from_ref;

use carrick_core::{Block, ErrorKind, RAW, Store};
use carrick_plugin_store_fjall::FjallConfig;
use common::{block, open};
use xxhash_rust::xxh3::xxh3_64;

/// A store with three blocks, each confirmed by itself, and where their writes begin and end in the journal.
struct Written {
    folder: tempfile::TempDir,
    journal: PathBuf,
    blocks: Vec<Block>,
    borders: Vec<usize>,
}

impl Written {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path(), FjallConfig::default()).await.expect("opens");
        let journal = folder.path().join("blocks/db/0.jnl");
        let blocks: Vec<Block> = (0..3).map(|n| block(n, 20_000)).collect();
        let mut borders = vec![used(&journal)];
        for block in &blocks {
            store.put(from_ref(block)).await.expect("put");
            borders.push(used(&journal));
        }
        store.close().await.expect("close");
        Self { folder, journal, blocks, borders }
    }

    /// Changes the bytes of the journal.
    fn change(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(&self.journal).expect("the journal");
        change(&mut bytes);
        fs::write(&self.journal, bytes).expect("written");
    }

    /// Opens the store twice: the first blocks are there, the others are not, and it takes new ones.
    async fn holds_the_first(&self, count: usize) {
        for round in 0..2 {
            let store = open(self.folder.path(), FjallConfig::default()).await.expect("opens");
            for (n, block) in self.blocks.iter().enumerate() {
                let found = store.get(block.cid()).await.expect("undamaged");
                assert_eq!(found.as_ref(), (n < count).then_some(block), "block {n} of {count}");
            }
            let usage = store.usage().await.expect("usage");
            assert_eq!(usage.blocks, (count + round) as u64);
            store.put(&[block(100 + round as u64, 1_000)]).await.expect("put");
            store.close().await.expect("close");
        }
    }

    /// Opening fails, says where and what to do, and changes nothing.
    async fn is_refused(&self) {
        let before = fs::read(&self.journal).expect("the journal");
        let error = open(self.folder.path(), FjallConfig::default()).await.expect_err("damaged");
        assert_eq!(error.kind(), ErrorKind::Integrity, "{error:?}");
        assert!(error.detail().contains(&self.journal.display().to_string()), "{error:?}");
        assert!(error.hint().is_some_and(|hint| hint.contains("move")), "{error:?}");
        assert!(fs::read(&self.journal).expect("the journal") == before, "the journal was changed");
    }
}

/// A store with three blocks and the content after them, of which the last bytes of the write never came.
async fn torn_with(content: impl FnOnce(u64) -> Vec<u8>) -> Written {
    let written = Written::new().await;
    let start = written.borders[2];
    let journal = fs::read(&written.journal).expect("the journal");
    let last = u64::from_le_bytes(journal[start + 5..start + 13].try_into().expect("eight bytes"));
    let store = open(written.folder.path(), FjallConfig::default()).await.expect("opens");
    store.put(&[Block::new(RAW, content(last))]).await.expect("put");
    store.close().await.expect("close");
    let end = used(&written.journal);
    written.change(|bytes| bytes.truncate(end - 1));
    written
}

/// The beginning of a write of so many items.
fn start(items: u32, seqno: u64) -> Vec<u8> {
    [[1].as_slice(), &items.to_le_bytes(), &seqno.to_le_bytes()].concat()
}

/// What an item has before its value of so many bytes.
fn item(value: usize) -> Vec<u8> {
    let value = u32::try_from(value).expect("a length").to_le_bytes();
    [[2].as_slice(), &[0; 10], &[0; 2], &value, &value].concat()
}

/// The length of a journal without the zeros it is made of in advance.
fn used(journal: &Path) -> usize {
    let bytes = fs::read(journal).expect("the journal");
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

#[tokio::test]
async fn a_last_write_that_was_cut_is_dropped() {
    let written = Written::new().await;
    let [start, end] = [written.borders[2], written.borders[3]];
    let whole = fs::read(&written.journal).expect("the journal");
    for cut in [start + 1, start + 5, start + 13, start + 40, start + 9_000, end - 13, end - 1] {
        // As a file system leaves it that lost the length, and one that lost the bytes.
        for zeros in [0, 4_096] {
            fs::write(&written.journal, &whole).expect("written");
            written.change(|bytes| {
                bytes.truncate(cut);
                bytes.resize(cut + zeros, 0);
            });
            let folder = tempfile::tempdir().expect("a folder");
            copy(written.folder.path(), folder.path());
            let journal = folder.path().join("blocks/db/0.jnl");
            let (blocks, borders) = (written.blocks.clone(), written.borders.clone());
            Written { folder, journal, blocks, borders }.holds_the_first(2).await;
        }
    }
}

#[tokio::test]
async fn a_last_write_whose_middle_never_came_is_dropped() {
    let written = Written::new().await;
    let [start, end] = [written.borders[2], written.borders[3]];
    // Its end reached the disk and a page of it did not.
    written.change(|bytes| bytes[start + 8_000..end - 4_000].fill(0));
    written.holds_the_first(2).await;
}

#[tokio::test]
async fn a_last_write_whose_beginning_never_came_is_dropped() {
    let written = Written::new().await;
    let start = written.borders[2];
    written.change(|bytes| bytes[start..start + 4_000].fill(0));
    written.holds_the_first(2).await;
}

#[tokio::test]
async fn garbage_after_the_last_write_is_dropped() {
    let noise = block(9, 3_000);
    for first in 0..6 {
        let written = Written::new().await;
        let end = written.borders[3];
        written.change(|bytes| {
            bytes.truncate(end);
            bytes.push(first);
            bytes.extend_from_slice(noise.bytes());
        });
        written.holds_the_first(3).await;
    }
}

#[tokio::test]
async fn damage_before_a_whole_write_is_told_and_nothing_is_cut() {
    for at in [0, 3, 13, 14, 40, 10_000] {
        let written = Written::new().await;
        let start = written.borders[1];
        written.change(|bytes| bytes[start + at] ^= 0x40);
        written.is_refused().await;
    }
    let written = Written::new().await;
    let [start, end] = [written.borders[0], written.borders[2]];
    written.change(|bytes| bytes[start..end].fill(0));
    written.is_refused().await;
}

#[tokio::test]
async fn a_journal_longer_than_any_gets_is_told_and_not_read() {
    let written = Written::new().await;
    let length = (1 << 30) + 1;
    let file = fs::OpenOptions::new().write(true).open(&written.journal).expect("the journal");
    file.set_len(length).expect("a hole");
    let error = open(written.folder.path(), FjallConfig::default()).await.expect_err("damaged");
    assert_eq!(error.kind(), ErrorKind::Integrity, "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("move")), "{error:?}");
    assert_eq!(file.metadata().expect("there").len(), length, "the journal was changed");
}

#[tokio::test]
async fn journals_are_read_as_one() {
    let written = Written::new().await;
    let end = written.borders[2];
    let next = written.journal.with_file_name("1.jnl");
    written.change(|bytes| {
        fs::write(&next, &bytes[end..]).expect("written");
        bytes.truncate(end);
        bytes[end - 100] ^= 1;
    });
    written.is_refused().await;
    // The database begins another journal even after a write failed halfway.
    fs::write(&next, vec![0; 10_000]).expect("written");
    written.holds_the_first(1).await;
}

#[tokio::test]
async fn a_journal_kept_as_content_is_no_sign_of_damage() {
    let mut written = Written::new().await;
    let end = written.borders[3];
    let journal = fs::read(&written.journal).expect("the journal")[..end].to_vec();
    let store = open(written.folder.path(), FjallConfig::default()).await.expect("opens");
    store.put(&[Block::new(RAW, journal)]).await.expect("put");
    store.close().await.expect("close");
    let end = used(&written.journal);
    written.change(|bytes| bytes[end - 13] ^= 1);
    written.borders.push(end);
    written.holds_the_first(3).await;
}

#[tokio::test]
async fn content_that_looks_like_a_later_write_is_no_sign_of_damage() {
    for seqno in [0, u64::MAX >> 1, u64::MAX] {
        let forged = |_| {
            let item = [item(3), b"abc".to_vec()].concat();
            [&start(1, seqno), &item, [3].as_slice(), &xxh3_64(&item).to_le_bytes(), b"FJL\x03"].concat()
        };
        torn_with(forged).await.holds_the_first(3).await;
    }
}

#[tokio::test]
async fn content_that_looks_like_many_writes_is_no_sign_of_damage() {
    // Each byte begins a write, of items without end; and as many items as one likes.
    torn_with(|_| vec![1; 200_000]).await.holds_the_first(3).await;
    let cleared = |_| (0..200_000).map(|n| if n % 9 < 5 { 4 } else { 1 }).collect();
    torn_with(cleared).await.holds_the_first(3).await;
}

#[tokio::test]
async fn content_that_takes_long_to_search_is_no_sign_of_damage() {
    // Writes one in the other, numbered as the next one is, each of them up to the end.
    let nested = |last: u64| {
        let end = 2_000_000;
        let mut content = Vec::with_capacity(end + 13);
        while content.len() + 34 <= end {
            content.extend(start(1, last + 2));
            content.extend(item(end - content.len() - 21));
        }
        content.resize(end, 9);
        [&content, [3].as_slice(), &[7; 8], b"FJL\x03"].concat()
    };
    torn_with(nested).await.holds_the_first(3).await;
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            fs::create_dir(&to).expect("made");
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).expect("copied");
        }
    }
}
