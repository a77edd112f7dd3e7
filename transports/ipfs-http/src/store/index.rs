//! What the daemon cannot hold: which blocks there are, under which CID and how large; pins; metadata. All of it lies in a
//! small database of the node's own, as metadata of that:
//!
//! | key | value |
//! |---|---|
//! | `cid/CID` | the size of a block |
//! | `hash/HASH/CID` | nothing: the same block by its hash, which is all that the daemon knows it by |
//! | `owed/HASH` | nothing: a block that is gone here, and not yet released in the daemon |
//! | `meta/KEY` | a piece of metadata of the node's |
//! | `usage` | how many blocks there are, and how many bytes: written with each change of them |
//! | `daemon` | the daemon that holds the blocks |
//!
//! CIDs and hashes are written in hexadecimal, which sorts as their bytes do.

use std::path::Path;

use carrick_core::{Block, Bytes, Cid, Error, ErrorKind, RAW, Result, Site, Store as _, Usage};
use carrick_plugin_store_fjall::{FjallConfig, FjallStore};
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};

const CID: &str = "cid/";
const HASH: &str = "hash/";
const OWED: &str = "owed/";
const META: &str = "meta/";
const USAGE: &str = "usage";
const DAEMON: &str = "daemon";
/// Less than this on the disk is none; the database needs it to tidy up.
const RESERVE_BYTES: u64 = 8 << 20;

type Entry = (String, Option<Bytes>);

/// Which blocks there are.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) inner: FjallStore,
}

/// What is left when a block was taken out.
pub(super) struct Removed {
    pub(super) usage: Usage,
    /// Whether no other CID names the same bytes.
    pub(super) last: bool,
}

impl Index {
    pub(super) async fn open(path: &Path, site: Site) -> Result<Self> {
        let mut config = FjallConfig::default();
        config.path = path.to_owned();
        config.reserve_bytes = RESERVE_BYTES;
        Ok(Self { inner: FjallStore::open(config, site).await? })
    }

    /// The size of a block that is there.
    pub(super) async fn size(&self, cid: &Cid) -> Result<Option<u64>> {
        self.inner.meta(&cid_key(cid)).await?.as_deref().map(read_number).transpose()
    }

    pub(super) fn blocks(&self) -> BoxStream<'_, Result<Cid>> {
        self.inner.list_meta(CID).and_then(async |(key, _)| read_cid(&key[CID.len()..])).boxed()
    }

    pub(super) async fn usage(&self) -> Result<Usage> {
        let Some(value) = self.inner.meta(USAGE).await? else { return Ok(Usage::new(0, 0)) };
        let (blocks, bytes) = value.split_at_checked(8).ok_or_else(|| damaged("the usage is cut"))?;
        Ok(Usage::new(read_number(blocks)?, read_number(bytes)?))
    }

    /// Enters blocks, after which so much is there; none of them is owed any longer.
    pub(super) async fn add(&self, blocks: &[Block], usage: Usage) -> Result<()> {
        let entries = blocks.iter().flat_map(|block| {
            let (cid, size) = (block.cid(), (block.size() as u64).to_be_bytes());
            [
                (cid_key(cid), Some(Bytes::copy_from_slice(&size))),
                (hash_key(cid), Some(Bytes::new())),
                (owed_key(cid), None),
            ]
        });
        self.inner.set_meta(&entries.chain([usage_entry(usage)]).collect::<Vec<Entry>>()).await
    }

    /// Takes a block out, and owes it to the daemon if `owe` says so and no other CID names it.
    pub(super) async fn remove(&self, cid: &Cid, owe: bool) -> Result<Option<Removed>> {
        let Some(size) = self.size(cid).await? else { return Ok(None) };
        let same = self.inner.list_meta(&hash_prefix(cid)).take(2).try_collect::<Vec<_>>().await?;
        let last = same.len() == 1;
        let before = self.usage().await?;
        let usage = Usage::new(before.blocks.saturating_sub(1), before.bytes.saturating_sub(size));
        let mut entries = vec![(cid_key(cid), None), (hash_key(cid), None), usage_entry(usage)];
        if owe && last {
            entries.push((owed_key(cid), Some(Bytes::new())));
        }
        self.inner.set_meta(&entries).await?;
        Ok(Some(Removed { usage, last }))
    }

    /// What the daemon holds for nobody, each by the name under which it has the bytes.
    pub(super) async fn owed(&self) -> Result<Vec<Cid>> {
        self.inner.list_meta(OWED).and_then(async |(key, _)| read_cid(&key[OWED.len()..])).try_collect().await
    }

    pub(super) async fn paid(&self, cids: &[Cid]) -> Result<()> {
        let entries: Vec<Entry> = cids.iter().map(|cid| (owed_key(cid), None)).collect();
        self.inner.set_meta(&entries).await
    }

    /// The daemon that holds the blocks.
    pub(super) async fn daemon(&self) -> Result<Option<Bytes>> {
        self.inner.meta(DAEMON).await
    }

    pub(super) async fn set_daemon(&self, id: &str) -> Result<()> {
        self.inner.set_meta(&[(DAEMON.into(), Some(Bytes::copy_from_slice(id.as_bytes())))]).await
    }

    pub(super) async fn meta(&self, key: &str) -> Result<Option<Bytes>> {
        self.inner.meta(&[META, key].concat()).await
    }

    pub(super) async fn set_meta(&self, entries: &[Entry]) -> Result<()> {
        let entries = entries.iter().map(|(key, value)| ([META, key].concat(), value.clone()));
        self.inner.set_meta(&entries.collect::<Vec<_>>()).await
    }

    pub(super) fn list_meta(&self, prefix: &str) -> BoxStream<'_, Result<(String, Bytes)>> {
        let all = self.inner.list_meta(&[META, prefix].concat());
        all.map_ok(|(key, value)| (key[META.len()..].to_owned(), value)).boxed()
    }
}

fn cid_key(cid: &Cid) -> String {
    format!("{CID}{}", hex(&cid.to_bytes()))
}

fn hash_prefix(cid: &Cid) -> String {
    format!("{HASH}{}/", hex(&cid.hash().to_bytes()))
}

fn hash_key(cid: &Cid) -> String {
    format!("{}{}", hash_prefix(cid), hex(&cid.to_bytes()))
}

fn owed_key(cid: &Cid) -> String {
    format!("{OWED}{}", hex(&Cid::new_v1(RAW, *cid.hash()).to_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|four| char::from_digit(four.into(), 16))
        .collect()
}

fn read_cid(hex: &str) -> Result<Cid> {
    let bytes =
        hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let bytes: Option<Vec<u8>> = bytes.collect();
    bytes
        .and_then(|bytes| Cid::try_from(bytes).ok())
        .ok_or_else(|| damaged("an entry of the index is no CID"))
}

fn usage_entry(usage: Usage) -> Entry {
    let numbers = [usage.blocks.to_be_bytes(), usage.bytes.to_be_bytes()].concat();
    (USAGE.into(), Some(numbers.into()))
}

fn read_number(value: &[u8]) -> Result<u64> {
    let number = value.try_into().map_err(|_| damaged("an entry of the index is no number"))?;
    Ok(u64::from_be_bytes(number))
}

fn damaged(detail: &str) -> Error {
    Error::new(ErrorKind::Integrity, "store", detail)
}
