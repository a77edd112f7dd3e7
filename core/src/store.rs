//! A store in memory: for tests, simulations, and nodes that may forget everything.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use futures::stream::{self, BoxStream, StreamExt};
use serde::{Deserialize, Serialize};

use crate::{Block, Error, ErrorKind, Owner, Pin, Result, Site, Store, Usage};

/// The configuration of a [`MemoryStore`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct MemoryStoreConfig {
    /// Bytes of blocks kept at most; a `put` that would exceed it is refused whole, with `Full`. Default: no bound.
    pub max_bytes: Option<u64>,
}

impl MemoryStoreConfig {
    /// A store with a quota in bytes, or without one.
    pub fn new(max_bytes: Option<u64>) -> Self {
        Self { max_bytes }
    }
}

/// Keeps blocks, pins and metadata in sorted maps; all is gone when it is closed or dropped.
///
/// Nothing is written anywhere, so nothing survives the process: "durable" is as long as that. No call ever waits, and
/// what it lists is what was there when it was called; so a seeded run repeats exactly. Blocks are copied in, so that
/// a small one cannot keep the large buffer it was cut from.
#[derive(Debug)]
pub struct MemoryStore {
    max_bytes: Option<u64>,
    /// `None` once closed.
    maps: Mutex<Option<Maps>>,
}

/// Keyed by the bytes of the CID, whose order the contract promises.
#[derive(Debug, Default)]
struct Maps {
    blocks: BTreeMap<Vec<u8>, Block>,
    block_bytes: u64,
    pins: BTreeMap<(Vec<u8>, Owner), Pin>,
    meta: BTreeMap<String, Bytes>,
}

register_store!("memory", MemoryStoreConfig, MemoryStore::open);

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(MemoryStoreConfig::default())
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new(config: MemoryStoreConfig) -> Self {
        Self { max_bytes: config.max_bytes, maps: Mutex::new(Some(Maps::default())) }
    }

    async fn open(config: MemoryStoreConfig, _: Site) -> Result<Self> {
        Ok(Self::new(config))
    }

    /// Works on the maps; never across an await.
    fn with<T>(&self, operation: &'static str, work: impl FnOnce(&mut Maps) -> T) -> Result<T> {
        self.lock().as_mut().map(work).ok_or_else(|| closed(operation))
    }

    /// A panic while the lock was held leaves the maps usable: every change to them is one insert or remove.
    fn lock(&self) -> MutexGuard<'_, Option<Maps>> {
        self.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream of what `list` finds now.
    fn listed<T: Send + 'static>(
        &self,
        operation: &'static str,
        list: impl FnOnce(&Maps) -> Vec<T>,
    ) -> BoxStream<'_, Result<T>> {
        match self.with(operation, |maps| list(maps)) {
            Ok(found) => stream::iter(found.into_iter().map(Ok)).boxed(),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }
}

impl Maps {
    /// Writes all blocks or, beyond the quota, none.
    fn put(&mut self, blocks: &[Block], max_bytes: Option<u64>) -> Result<()> {
        let new: BTreeMap<Vec<u8>, &Block> = blocks
            .iter()
            .map(|block| (block.cid().to_bytes(), block))
            .filter(|(key, _)| !self.blocks.contains_key(key))
            .collect();
        let total = self.block_bytes + new.values().map(|block| block.size() as u64).sum::<u64>();
        if let Some(max) = max_bytes.filter(|max| total > *max) {
            let detail = format!("the blocks would take {total} bytes; the quota is {max}");
            let mend = "raise `max_bytes` of the store, or unpin and collect what is not needed";
            return Err(Error::new(ErrorKind::Full, "put", detail).mend(mend));
        }
        self.block_bytes = total;
        self.blocks.extend(
            new.into_iter().map(|(key, block)| {
                (key, Block::hashed(*block.cid(), Bytes::copy_from_slice(block.bytes())))
            }),
        );
        Ok(())
    }

    fn delete(&mut self, cid: &Cid) -> bool {
        let deleted = self.blocks.remove(&cid.to_bytes());
        self.block_bytes -= deleted.as_ref().map_or(0, |block| block.size() as u64);
        deleted.is_some()
    }

    fn set_meta(&mut self, entries: &[(String, Option<Bytes>)]) {
        for (key, value) in entries {
            match value {
                Some(value) => self.meta.insert(key.clone(), Bytes::copy_from_slice(value)),
                None => self.meta.remove(key),
            };
        }
    }
}

/// The blocks need no second hash on the way out: they were checked on the way in, and memory does not rot as disks do.
#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, cid: &Cid) -> Result<Option<Block>> {
        self.with("get", |maps| maps.blocks.get(&cid.to_bytes()).cloned())
    }

    async fn has(&self, cid: &Cid) -> Result<bool> {
        self.with("has", |maps| maps.blocks.contains_key(&cid.to_bytes()))
    }

    async fn put(&self, blocks: &[Block]) -> Result<()> {
        self.with("put", |maps| maps.put(blocks, self.max_bytes))?
    }

    async fn delete(&self, cid: &Cid) -> Result<bool> {
        self.with("delete", |maps| maps.delete(cid))
    }

    fn blocks(&self) -> BoxStream<'_, Result<Cid>> {
        self.listed("blocks", |maps| maps.blocks.values().map(|block| *block.cid()).collect())
    }

    async fn usage(&self) -> Result<Usage> {
        self.with("usage", |maps| Usage::new(maps.blocks.len() as u64, maps.block_bytes))
    }

    async fn pin(&self, pin: &Pin) -> Result<()> {
        let key = (pin.cid.to_bytes(), pin.owner.clone());
        self.with("pin", |maps| drop(maps.pins.insert(key, pin.clone())))
    }

    async fn unpin(&self, cid: &Cid, owner: &Owner) -> Result<bool> {
        let key = (cid.to_bytes(), owner.clone());
        self.with("unpin", |maps| maps.pins.remove(&key).is_some())
    }

    fn pins(&self, owner: Option<&Owner>) -> BoxStream<'_, Result<Pin>> {
        let wanted = |pin: &&Pin| owner.is_none_or(|owner| pin.owner == *owner);
        self.listed("pins", |maps| maps.pins.values().filter(wanted).cloned().collect())
    }

    async fn meta(&self, key: &str) -> Result<Option<Bytes>> {
        self.with("meta", |maps| maps.meta.get(key).cloned())
    }

    async fn set_meta(&self, entries: &[(String, Option<Bytes>)]) -> Result<()> {
        self.with("set_meta", |maps| maps.set_meta(entries))
    }

    fn list_meta(&self, prefix: &str) -> BoxStream<'_, Result<(String, Bytes)>> {
        self.listed("list_meta", |maps| {
            maps.meta
                .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
                .take_while(|(key, _)| key.starts_with(prefix))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect()
        })
    }

    async fn close(&self) -> Result<()> {
        self.lock().take();
        Ok(())
    }
}

fn closed(operation: &'static str) -> Error {
    Error::new(ErrorKind::Closed, operation, "the store is closed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RAW;
    use crate::conformance::store::StoreFixture;

    impl StoreFixture for MemoryStore {
        async fn open(max_bytes: Option<u64>) -> Self {
            Self::new(MemoryStoreConfig::new(max_bytes))
        }

        fn store(&self) -> &dyn Store {
            self
        }
    }

    crate::store_suite!(MemoryStore);

    #[tokio::test]
    async fn a_small_block_does_not_keep_a_large_buffer() {
        let store = MemoryStore::default();
        let buffer = Bytes::from(vec![7; 1 << 20]);
        let block = Block::new(RAW, buffer.slice(..16));
        store.put(std::slice::from_ref(&block)).await.expect("put");
        drop(block);
        assert!(buffer.is_unique(), "the store holds a share of the buffer");
    }

    #[tokio::test]
    async fn it_is_registered_under_its_name() {
        let registry = crate::Registry::linked().expect("no name twice");
        let entry = registry.find(crate::Kind::Store, "memory").expect("linked");
        assert_eq!(entry.package, "carrick-core");
    }
}
