//! States of a fold in the store, so that a restart does not begin at the first entry.
//!
//! A state is saved after every so many entries, in one of a few slots: by how often two divides its number. So the last of
//! each kind is kept, and a late entry puts a restart back twice as far as need be, not to the beginning.

use std::fmt;

use carrick_core::{Bytes, Cid, Error, ErrorKind, Result, Store};
use futures::TryStreamExt as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ladder::Point;
use crate::ledger::check_name;

/// A state is saved after each so many entries.
pub(crate) const EVERY: usize = 1_024;
/// Slots: enough for 2^31 times as many entries.
const SLOTS: u32 = 32;
/// Bytes of a saved state at most.
const MAX_BYTES: usize = 16 << 20;
/// The version of the format.
const FORMAT: u64 = 1;

/// Where the states of one fold are saved.
pub(crate) struct Snapshots<S> {
    /// Before the names of its slots.
    prefix: String,
    /// Of the fold, as its author says.
    version: u64,
    encode: fn(&Record<S>) -> Result<Vec<u8>>,
    decode: fn(&[u8]) -> Result<Record<S>>,
}

/// What is saved, as CBOR, which takes keys of any type.
#[derive(Serialize, Deserialize)]
struct Record<S> {
    format: u64,
    version: u64,
    /// The last entry that is folded, and how many are.
    #[serde(with = "as_text")]
    last: Cid,
    entries: u64,
    state: S,
}

impl<S: Serialize + DeserializeOwned> Snapshots<S> {
    /// # Errors
    /// `Config` for what is no name.
    pub(crate) fn new(ledger: &str, name: &str, version: u64) -> Result<Self> {
        check_name(name, "a fold")?;
        Ok(Self {
            prefix: format!("fold/{ledger}/{name}/"),
            version,
            encode: |record| {
                cbor4ii::serde::to_vec(Vec::new(), record)
                    .map_err(|error| Error::new(ErrorKind::Unsupported, "save", error.to_string()))
            },
            decode: |bytes| {
                cbor4ii::serde::from_slice(bytes)
                    .map_err(|error| Error::new(ErrorKind::Integrity, "resume", error.to_string()))
            },
        })
    }
}

impl<S> Snapshots<S> {
    /// # Errors
    /// `TooLarge`, `Unsupported` for a state that has no encoding; what the store answers.
    pub(crate) async fn write(&self, store: &dyn Store, point: Point, state: S) -> Result<()> {
        let Some(last) = point.last else { return Ok(()) };
        let slot = (point.entries / EVERY).trailing_zeros().min(SLOTS - 1);
        let entries = point.entries as u64;
        let bytes = (self.encode)(&Record { format: FORMAT, version: self.version, last, entries, state })?;
        if bytes.len() > MAX_BYTES {
            let detail = format!("a state of {} bytes; at most {MAX_BYTES} are saved", bytes.len());
            return Err(Error::new(ErrorKind::TooLarge, "save", detail));
        }
        store.set_meta(&[(format!("{}{slot:02}", self.prefix), Some(bytes.into()))]).await
    }

    /// What is saved of this version, in the order of the log. What cannot be read is left out: it is computed again.
    ///
    /// # Errors
    /// What the store answers.
    pub(crate) async fn read(&self, store: &dyn Store) -> Result<Vec<(Point, S)>> {
        let slots: Vec<(String, Bytes)> = store.list_meta(&self.prefix).try_collect().await?;
        let mut states: Vec<(Point, S)> = slots.iter().filter_map(|(_, bytes)| self.one(bytes)).collect();
        states.sort_by_key(|(point, _)| point.entries);
        Ok(states)
    }

    fn one(&self, bytes: &[u8]) -> Option<(Point, S)> {
        // The state of another version may have another form: it is not looked at.
        let head: Head = cbor4ii::serde::from_slice(bytes).ok()?;
        if head.format != FORMAT || head.version != self.version {
            return None;
        }
        let Record { last, entries, state, .. } = (self.decode)(bytes)
            .inspect_err(|error| tracing::warn!(%error, at = self.prefix, "a saved state is not read"))
            .ok()?;
        Some((Point { last: Some(last), entries: usize::try_from(entries).ok()? }, state))
    }
}

/// What a saved state begins with.
#[derive(Deserialize)]
struct Head {
    format: u64,
    version: u64,
}

impl<S> fmt::Debug for Snapshots<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshots").field("prefix", &self.prefix).field("version", &self.version).finish()
    }
}

/// A CID as text: its own form belongs to DAG-CBOR.
mod as_text {
    use carrick_core::Cid;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(cid: &Cid, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&cid.to_string())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Cid, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use carrick_core::{DAG_CBOR, MemoryStore, cid_of};

    use super::*;

    type State = BTreeMap<(u8, String), f64>;

    fn point(times: usize) -> Point {
        Point { last: Some(cid_of(DAG_CBOR, &times.to_be_bytes())), entries: times * EVERY }
    }

    fn state(times: usize) -> State {
        [((7, "a key that is no text".into()), times as f64), ((8, String::new()), f64::INFINITY)].into()
    }

    #[tokio::test]
    async fn few_states_are_kept_and_those_of_another_version_are_not_read() {
        let store = MemoryStore::default();
        let saved = Snapshots::<State>::new("l", "f", 1).expect("a name");
        for times in 1..=100 {
            saved.write(&store, point(times), state(times)).await.expect("written");
        }
        // The last that no power of two divides, the last that two divides and four does not, and so on.
        let kept = [64, 80, 88, 96, 98, 99, 100].map(|times| (point(times), state(times)));
        assert_eq!(saved.read(&store).await.expect("read"), kept);
        for (name, version) in [("f", 2), ("g", 1)] {
            let other = Snapshots::<State>::new("l", name, version).expect("a name");
            assert!(other.read(&store).await.expect("read").is_empty());
        }
    }

    #[tokio::test]
    async fn what_does_not_fit_or_is_damaged_is_not_saved_and_not_read() {
        let store = MemoryStore::default();
        let saved = Snapshots::<Vec<u8>>::new("l", "f", 1).expect("a name");
        let large = saved.write(&store, point(1), vec![255; MAX_BYTES]).await.expect_err("too large");
        assert_eq!(large.kind(), ErrorKind::TooLarge);
        let key = "fold/l/f/00".to_owned();
        saved.write(&store, point(1), vec![1; 9]).await.expect("written");
        let whole = store.meta(&key).await.expect("read").expect("there");
        for cut in 0..whole.len() {
            store.set_meta(&[(key.clone(), Some(whole.slice(..cut)))]).await.expect("written");
            assert!(saved.read(&store).await.expect("read").is_empty(), "{cut} of {}", whole.len());
        }
    }
}
