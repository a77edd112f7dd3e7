//! The entries in the store's metadata that say what a topic keeps within bounds.
//!
//! Of a topic of `n` bytes there is `kept/n/TOPIC/HASH` for each message, the hash in hex, and `keeping/TOPIC` once all that
//! the topic keeps has an entry. The length tells topics apart of which one begins like the other.

use std::collections::BTreeSet;

use bytes::Bytes;
use cid::Cid;
use data_encoding::HEXLOWER;
use futures::TryStreamExt as _;

use super::contents::{Contents, Item};
use crate::{Digest, Owner, Result, Store, Time, Topic, digest_of};

/// Where the entries are.
pub(crate) const PREFIX: &str = "kept/";
const MARKS: &str = "keeping/";
/// Entries written at once.
const AT_ONCE: usize = 1_024;

type Entry = (String, Option<Bytes>);

fn mark(topic: &Topic) -> String {
    format!("{MARKS}{topic}")
}

fn prefix(topic: &Topic) -> String {
    format!("{PREFIX}{}/{topic}/", topic.as_str().len())
}

/// Where the entry of a message is.
pub(super) fn key(topic: &Topic, digest: &Digest) -> String {
    prefix(topic) + &HEXLOWER.encode(digest)
}

/// The entry of a message.
pub(super) fn entry(topic: &Topic, digest: &Digest, item: &Item) -> Entry {
    (key(topic, digest), Some(encode(item)))
}

fn encode(item: &Item) -> Bytes {
    let mut value = Vec::with_capacity(64);
    value.extend_from_slice(&item.since.as_millis().to_be_bytes());
    value.extend_from_slice(&item.seqno.to_be_bytes());
    value.extend_from_slice(&item.bytes.to_be_bytes());
    if let Some(link) = item.link.as_deref() {
        value.extend(link.to_bytes());
    }
    value.into()
}

fn decode(name: &str, value: &[u8]) -> Option<(Digest, Item)> {
    let digest = HEXLOWER.decode(name.as_bytes()).ok()?.try_into().ok()?;
    let (since, rest) = value.split_first_chunk()?;
    let (seqno, rest) = rest.split_first_chunk()?;
    let (bytes, link) = rest.split_first_chunk()?;
    let link = if link.is_empty() { None } else { Some(Box::new(Cid::try_from(link).ok()?)) };
    let [since, seqno, bytes] = [since, seqno, bytes].map(|number| u64::from_be_bytes(*number));
    Some((digest, Item { since: Time(since), seqno, bytes, link, written: true }))
}

/// The topics whose entries are complete.
pub(super) async fn topics(store: &dyn Store) -> Result<Vec<Topic>> {
    let marks: Vec<_> = store.list_meta(MARKS).try_collect().await?;
    Ok(marks.iter().filter_map(|(mark, _)| Topic::from_wire(mark.strip_prefix(MARKS)?).ok()).collect())
}

/// What a topic keeps; `None` where that is not known. A damaged entry is left out.
pub(super) async fn read(store: &dyn Store, topic: &Topic) -> Result<Option<Contents>> {
    if store.meta(&mark(topic)).await?.is_none() {
        return Ok(None);
    }
    let (prefix, mut contents) = (prefix(topic), Contents::default());
    let mut entries = store.list_meta(&prefix);
    while let Some((key, value)) = entries.try_next().await? {
        match key.strip_prefix(&prefix).and_then(|name| decode(name, &value)) {
            Some((digest, item)) => contents.add(digest, item),
            None => tracing::warn!(key, "an entry of what a topic keeps is damaged"),
        }
    }
    Ok(Some(contents))
}

/// The messages that a topic pinned.
pub(super) async fn pinned_messages(store: &dyn Store, topic: &Topic) -> Result<Vec<Cid>> {
    let mut pins = store.pins(Some(&Owner::topic(topic)));
    let mut messages = Vec::new();
    while let Some(pin) = pins.try_next().await? {
        messages.extend(digest_of(&pin.cid).map(|_| pin.cid));
    }
    Ok(messages)
}

/// Writes the entries of all that a topic keeps, in the place of those there are.
pub(super) async fn write(store: &dyn Store, topic: &Topic, contents: &Contents) -> Result<()> {
    let entries: Vec<Entry> = contents.iter().map(|(digest, item)| entry(topic, digest, item)).collect();
    let names: BTreeSet<&String> = entries.iter().map(|(key, _)| key).collect();
    let mut changes = stale(store, topic, |key| !names.contains(key)).await?;
    changes.extend(entries.iter().cloned());
    for some in changes.chunks(AT_ONCE) {
        store.set_meta(some).await?;
    }
    store.set_meta(&[(mark(topic), Some(Bytes::new()))]).await
}

/// Deletes the entries of a topic that is bounded no more. Its pins stay.
pub(super) async fn forget(store: &dyn Store, topic: &Topic) -> Result<()> {
    // First the mark: what is left behind is no more taken to be complete.
    store.set_meta(&[(mark(topic), None)]).await?;
    for some in stale(store, topic, |_| true).await?.chunks(AT_ONCE) {
        store.set_meta(some).await?;
    }
    Ok(())
}

async fn stale(store: &dyn Store, topic: &Topic, stale: impl Fn(&String) -> bool) -> Result<Vec<Entry>> {
    let entries: Vec<_> = store.list_meta(&prefix(topic)).try_collect().await?;
    Ok(entries.into_iter().filter(|(key, _)| stale(key)).map(|(key, _)| (key, None)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let topic = Topic::new("a/b").expect("a topic");
        for link in [None, Some(Box::new(crate::cid_of(crate::RAW, b"payload")))] {
            let item = Item { since: Time(5), seqno: 6, bytes: 7, link, written: true };
            let digest = std::array::from_fn(|n| n as u8 * 7);
            let (key, value) = entry(&topic, &digest, &item);
            let name = key.strip_prefix(&prefix(&topic)).expect("of the topic");
            assert_eq!(decode(name, &value.expect("a value")), Some((digest, item)));
        }
        assert_eq!(decode("é", b""), None);
    }

    #[test]
    fn no_entry_of_one_topic_is_one_of_another() {
        let [short, long] = ["a", "a/b"].map(|name| Topic::new(name).expect("a topic"));
        assert!(!key(&long, &[0; 32]).starts_with(&prefix(&short)));
    }
}
