//! What topics keep within bounds: the oldest messages leave when newer ones come, or with time.
//!
//! Each kept message has an entry in the store's metadata, written before it is pinned: so what is kept is known again when
//! the node opens, without reading any message, and no pin is ever forgotten. A message that leaves is unpinned before its
//! entry goes. Topics that keep everything for good have no entries and cost nothing here.

mod contents;
mod index;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cid::Cid;
use futures::StreamExt as _;
use futures::future::join;
use futures::stream;
use tokio::sync::OnceCell;

use self::contents::{Contents, Gone, Item};
pub(crate) use self::index::PREFIX;
use super::core::{Core, lock};
use super::counters::NODE;
use crate::types::Bounds;
use crate::{
    Digest, Error, Kept, Message, MessageId, Owner, Path, Pin, PinDepth, Result, Time, Topic, TopicRules,
    cid_of_digest, digest_of,
};

/// How often it is looked for messages that have become too old, at most and at least.
const LOOK: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// Metadata that is written with a message.
pub(in crate::node) type Notes = Vec<(String, Option<Bytes>)>;
/// How many messages are let go of at once.
const AT_ONCE: usize = 64;

/// The topics that keep messages within bounds.
#[derive(Debug, Default)]
pub(crate) struct Shelves {
    topics: Mutex<BTreeMap<Topic, Arc<OnceCell<Shelf>>>>,
    /// Entries of messages that left, to be deleted with whatever is saved next.
    left: Mutex<BTreeSet<String>>,
}

/// What one topic keeps.
#[derive(Debug, Default)]
struct Shelf {
    contents: Mutex<Contents>,
    /// Held by whoever pins or unpins a payload: several messages may have the same.
    payloads: tokio::sync::Mutex<()>,
    /// Somebody looks for what becomes too old.
    looked_after: AtomicBool,
}

impl Shelves {
    fn of(&self, topic: &Topic) -> Arc<OnceCell<Shelf>> {
        Arc::clone(lock(&self.topics).entry(topic.clone()).or_default())
    }

    /// What must be deleted, once.
    pub(crate) fn take_left(&self) -> BTreeSet<String> {
        std::mem::take(&mut lock(&self.left))
    }

    /// An entry that [`take_left`](Self::take_left) gave could not be deleted.
    pub(crate) fn unsaved(&self, entry: String) {
        lock(&self.left).insert(entry);
    }
}

impl Core {
    /// Finds out what each topic keeps, and lets go of what is too much. What was noted of topics without bounds is dropped.
    pub(crate) async fn open_shelves(self: &Arc<Self>) -> Result<()> {
        let topics = self.topics.all_rules();
        let bounded = |topic: &Topic| topics.get(topic).is_some_and(|rules| rules.bounds().is_some());
        for topic in index::topics(&*self.store).await? {
            if !bounded(&topic) {
                index::forget(&*self.store, &topic).await?;
            }
        }
        for (topic, rules) in &topics {
            if let Some(bounds) = rules.bounds() {
                self.open_shelf(topic).await?;
                self.trim(topic, bounds).await;
            }
        }
        Ok(())
    }

    /// The rules of a topic are others now.
    pub(crate) fn rules_changed(self: &Arc<Self>, topic: Topic, rules: TopicRules) {
        let core = Arc::clone(self);
        let known = lock(&self.shelves.topics).contains_key(&topic);
        match rules.bounds() {
            Some(bounds) => self.tasks.spawn(async move {
                match core.open_shelf(&topic).await {
                    Ok(()) => core.trim(&topic, bounds).await,
                    Err(error) => core.shelf_failed(&topic, &error),
                }
            }),
            None if known => self.tasks.spawn(async move {
                lock(&core.shelves.topics).remove(&topic);
                if let Err(error) = index::forget(&*core.store, &topic).await {
                    core.shelf_failed(&topic, &error);
                }
            }),
            None => {}
        }
    }

    fn shelf_failed(&self, topic: &Topic, error: &Error) {
        tracing::warn!(%error, %topic, "what a topic keeps could not be looked through");
        self.counters.count(NODE, "store_failed");
    }

    async fn open_shelf(self: &Arc<Self>, topic: &Topic) -> Result<()> {
        let shelf = self.shelves.of(topic);
        let shelf = shelf.get_or_try_init(|| self.read_shelf(topic)).await?;
        if !shelf.looked_after.swap(true, Ordering::Relaxed) {
            let (core, topic) = (Arc::clone(self), topic.clone());
            self.tasks.spawn(async move { core.keep_trimming(&topic).await });
        }
        Ok(())
    }

    async fn read_shelf(&self, topic: &Topic) -> Result<Shelf> {
        let contents = match index::read(&*self.store, topic).await? {
            Some(contents) => contents,
            None => self.index_pins(topic).await?,
        };
        Ok(Shelf { contents: Mutex::new(contents), ..Shelf::default() })
    }

    /// A topic that kept everything for good, or nothing, is bounded from now on: what it pinned is looked through, once.
    async fn index_pins(&self, topic: &Topic) -> Result<Contents> {
        let mut contents = Contents::default();
        for cid in index::pinned_messages(&*self.store, topic).await? {
            // What cannot be read leaves first.
            let message = self.kept(&MessageId::from_cid(cid)).await.ok().flatten();
            let item = message.map_or_else(Item::unreadable, |message| self.item(&message));
            if let Some(digest) = digest_of(&cid) {
                contents.add(digest, Item { written: true, ..item });
            }
        }
        index::write(&*self.store, topic, &contents).await?;
        Ok(contents)
    }

    fn item(&self, message: &Message) -> Item {
        let now = self.clock.now();
        let rules = self.topics.rules(message.topic(), Path::CatchUp).unwrap_or_default();
        let since = if rules.time { message.time().min(now) } else { now };
        Item {
            since,
            seqno: message.seqno(),
            bytes: message.held_bytes() as u64,
            link: message.link().copied().map(Box::new),
            written: false,
        }
    }

    /// Stores a message with its notes, and its payload where that is a block of its own: for good, or within the bounds of its
    /// topic.
    ///
    /// One that is older than all that is kept, where there is no room for more, is not stored; nor one that is too old or
    /// too large. Neither is an error: as if it had been kept and had left.
    pub(in crate::node) async fn keep(
        self: &Arc<Self>,
        message: &Message,
        rules: &TopicRules,
        notes: Notes,
    ) -> Result<()> {
        match (rules.bounds(), digest_of(message.id().cid())) {
            (Some(bounds), Some(digest)) => self.keep_within(message, digest, bounds, notes).await,
            _ => self.store_kept(message, None, notes, async {}).await,
        }
    }

    async fn keep_within(
        self: &Arc<Self>,
        message: &Message,
        digest: Digest,
        bounds: Bounds,
        notes: Notes,
    ) -> Result<()> {
        let topic = message.topic();
        self.open_shelf(topic).await?;
        let shelf = self.shelves.of(topic);
        let Some(shelf) = shelf.get() else { return Ok(()) };
        let item = self.item(message);
        {
            let mut contents = lock(&shelf.contents);
            if contents.has(&digest) {
                return Ok(());
            }
            if !contents.takes(&digest, &item, bounds, self.clock.now()) {
                drop(contents);
                self.counters.count(NODE, "not_kept");
                return Ok(());
            }
            contents.add(digest, item.clone());
        }
        let entry = index::entry(topic, &digest, &item);
        lock(&self.shelves.left).remove(&entry.0);
        let stored = async {
            self.store.set_meta(std::slice::from_ref(&entry)).await?;
            self.store_kept(message, Some(shelf), notes, self.trim(topic, bounds)).await
        };
        let stored = stored.await;
        let mut contents = lock(&shelf.contents);
        match &stored {
            Ok(()) => contents.written(&digest),
            Err(_) => drop(contents.remove(&digest)),
        }
        stored
    }

    /// Stores and pins a message, and meanwhile makes room.
    async fn store_kept(
        &self,
        message: &Message,
        shelf: Option<&Shelf>,
        notes: Notes,
        room: impl Future<Output = ()>,
    ) -> Result<()> {
        let block = message.to_block();
        let cids: Vec<Cid> = [Some(block.cid()), message.link()].into_iter().flatten().copied().collect();
        let hold = self.holds.hold();
        hold.add(&cids).await;
        let owner = Owner::topic(message.topic());
        let pin = |cid: &Cid| Pin { cid: *cid, owner: owner.clone(), depth: PinDepth::Block };
        let kept = Kept { pins: cids.iter().map(pin).collect(), blocks: vec![block], meta: notes };
        let stored = async {
            let _alone = match shelf.filter(|_| message.link().is_some()) {
                Some(shelf) => Some(shelf.payloads.lock().await),
                None => None,
            };
            self.store.keep(&kept).await
        };
        join(stored, room).await.0?;
        if let Some(router) = self.router() {
            router.tell_stored(&cids[..1]);
            router.hand_over_later(&cids[..1]);
        }
        Ok(())
    }

    /// Lets go of what is too much or too old.
    async fn trim(&self, topic: &Topic, bounds: Bounds) {
        let shelf = self.shelves.of(topic);
        let Some(shelf) = shelf.get() else { return };
        let gone = lock(&shelf.contents).trim(bounds, self.clock.now());
        stream::iter(gone).for_each_concurrent(AT_ONCE, |gone| self.let_go(topic, shelf, gone)).await;
    }

    async fn let_go(&self, topic: &Topic, shelf: &Shelf, gone: Gone) {
        let owner = Owner::topic(topic);
        let unpinned = async {
            self.store.unpin(&cid_of_digest(&gone.digest), &owner).await?;
            if let Some(payload) = gone.item.link.as_deref() {
                let _alone = shelf.payloads.lock().await;
                if !lock(&shelf.contents).needs(payload) {
                    self.store.unpin(payload, &owner).await?;
                }
            }
            Result::Ok(())
        };
        match unpinned.await {
            Ok(()) => {
                self.counters.count(NODE, "retired");
                lock(&self.shelves.left).insert(index::key(topic, &gone.digest));
                self.unsaved.notify_one();
            }
            Err(error) => {
                self.shelf_failed(topic, &error);
                lock(&shelf.contents).add(gone.digest, gone.item);
            }
        }
    }

    /// Lets go of what becomes too old, for as long as the topic has bounds.
    async fn keep_trimming(&self, topic: &Topic) {
        loop {
            // Its rules are in force where messages are fetched later too.
            let bounds = self.topics.rules(topic, Path::CatchUp).and_then(|rules| rules.bounds());
            let Some(bounds) = bounds else { return };
            self.trim(topic, bounds).await;
            tokio::time::sleep(self.until_next_end(topic, bounds)).await;
        }
    }

    fn until_next_end(&self, topic: &Topic, bounds: Bounds) -> Duration {
        let [least, most] = LOOK;
        let shelf = self.shelves.of(topic);
        let oldest: Option<Time> = shelf.get().and_then(|shelf| lock(&shelf.contents).oldest());
        let left = oldest
            .and_then(|oldest| bounds.end(oldest))
            .map(|end| Duration::from_millis(end.as_millis().saturating_sub(self.clock.now().as_millis())));
        left.unwrap_or(most).clamp(least, most)
    }
}
