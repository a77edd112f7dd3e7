//! Records that were lost, made anew from the entries, which are kept apart from them.

use std::collections::{BTreeMap, BTreeSet};

use carrick_core::dag::parents;
use carrick_core::{Block, Cid, ErrorKind, Owner, Result, Store};
use futures::TryStreamExt as _;

use crate::index::Record;
use crate::place::{Digest, Place, cid, digest};
use crate::saved::{KEYS_AT_ONCE, Shelf};

/// Entries without a record, with their parents.
type Lost = BTreeMap<Digest, Vec<Digest>>;

impl Shelf {
    /// Makes the records anew that these lack, and those `named` beside them, as far as their entries are kept; answers them.
    pub(crate) async fn found_again(
        &self,
        store: &dyn Store,
        records: &[Record],
        named: impl IntoIterator<Item = Digest>,
    ) -> Result<Vec<Record>> {
        let mut places: BTreeMap<Digest, Place> =
            records.iter().map(|record| (*record.place.digest(), record.place)).collect();
        let of_these = records.iter().flat_map(|record| &record.parents).map(|parent| *parent.digest());
        let asked = named.into_iter().chain(of_these).filter(|name| !places.contains_key(name)).collect();
        let lost = self.lost(store, asked, &mut places).await?;
        let found = made_anew(&lost, &mut places);
        for some in found.chunks(KEYS_AT_ONCE) {
            // Whether it is on a page is told by its `fresh` key.
            let key =
                |record: &Record| (self.key("entry", record.place.digest()), Some(record.encode().into()));
            store.set_meta(&some.iter().map(key).collect::<Vec<_>>()).await?;
        }
        if !found.is_empty() {
            let entries = found.len();
            tracing::warn!(entries, "records of entries were lost, and are made anew");
        }
        Ok(found)
    }

    /// Those of these that have no record and are kept, and so what they follow; notes where the others stand.
    async fn lost(
        &self,
        store: &dyn Store,
        mut next: Vec<Digest>,
        places: &mut BTreeMap<Digest, Place>,
    ) -> Result<Lost> {
        let (mut lost, mut gone, mut kept) = (Lost::new(), BTreeSet::new(), None);
        while let Some(name) = next.pop() {
            if places.contains_key(&name) || lost.contains_key(&name) || gone.contains(&name) {
                continue;
            }
            if let Some(record) = self.record(store, &name).await? {
                places.insert(name, record.place);
                continue;
            }
            if kept.is_none() {
                kept = Some(self.kept(store).await?);
            }
            // What is not kept was never an entry, but for a crash.
            let is_kept = kept.as_ref().is_some_and(|kept| kept.contains(&cid(&name)));
            match if is_kept { read(store, &name).await? } else { None } {
                Some(entry) => {
                    let before: Vec<Digest> = parents(&entry).iter().filter_map(digest).collect();
                    next.extend(&before);
                    lost.insert(name, before);
                }
                None => drop(gone.insert(name)),
            }
        }
        Ok(lost)
    }

    /// The entries that the node keeps.
    async fn kept(&self, store: &dyn Store) -> Result<BTreeSet<Cid>> {
        let owner = Owner::new(format!("topic/{}", self.prefix().trim_end_matches('/')));
        store.pins(Some(&owner)).map_ok(|pin| pin.cid).try_collect().await
    }
}

/// An entry, where it can be read.
async fn read(store: &dyn Store, name: &Digest) -> Result<Option<Block>> {
    match store.get(&cid(name)).await {
        Err(error) if error.kind() == ErrorKind::Integrity => Ok(None),
        read => read,
    }
}

/// The records of those that have all of their parents, each after these.
fn made_anew(lost: &Lost, places: &mut BTreeMap<Digest, Place>) -> Vec<Record> {
    let (mut waits, mut children) = (BTreeMap::new(), BTreeMap::<Digest, Vec<Digest>>::new());
    let (mut ready, mut made) = (Vec::new(), Vec::new());
    for (name, before) in lost {
        let before: Vec<_> = before.iter().filter(|parent| lost.contains_key(*parent)).collect();
        if before.is_empty() {
            ready.push(*name);
        }
        waits.insert(*name, before.len());
        for parent in before {
            children.entry(*parent).or_default().push(*name);
        }
    }
    while let Some(name) = ready.pop() {
        let before: Option<Vec<Place>> =
            lost[&name].iter().map(|parent| places.get(parent).copied()).collect();
        if let Some(record) = before.and_then(|before| Record::new(&cid(&name), before)) {
            places.insert(name, record.place);
            made.push(record);
        }
        for child in children.remove(&name).unwrap_or_default() {
            let waits = waits.entry(child).or_default();
            *waits = waits.saturating_sub(1);
            if *waits == 0 {
                ready.push(child);
            }
        }
    }
    made
}
