//! What a topic keeps, by age. About 200 bytes of memory for each message.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use cid::Cid;

use crate::types::Bounds;
use crate::{Digest, Time};

/// A message that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// What its age counts from.
    pub(super) since: Time,
    /// Its author's number: several may be of one moment.
    pub(super) seqno: u64,
    pub(super) bytes: u64,
    /// The payload that travelled apart.
    pub(super) link: Option<Box<Cid>>,
    /// It is in the store; until then it does not leave.
    pub(super) written: bool,
}

impl Item {
    /// A block of which nothing is known: the oldest of all.
    pub(super) fn unreadable() -> Self {
        Self { since: Time(0), seqno: 0, bytes: 0, link: None, written: true }
    }

    fn age(&self, digest: &Digest) -> Age {
        (self.since, self.seqno, *digest)
    }
}

/// Orders messages.
type Age = (Time, u64, Digest);

/// A message that left.
#[derive(Debug)]
pub(super) struct Gone {
    pub(super) digest: Digest,
    pub(super) item: Item,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Contents {
    by_age: BTreeSet<Age>,
    items: HashMap<Digest, Item>,
    bytes: u64,
    /// How many messages have a payload.
    payloads: HashMap<Cid, u32>,
}

impl Contents {
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.items.contains_key(digest)
    }

    /// Whether a message would stay if it were added.
    pub(super) fn takes(&self, digest: &Digest, item: &Item, bounds: Bounds, now: Time) -> bool {
        let too_old = bounds.oldest(now).is_some_and(|oldest| item.since < oldest);
        if too_old || item.bytes > bounds.bytes {
            return false;
        }
        let has_room =
            self.items.len() < bounds.messages && self.bytes.saturating_add(item.bytes) <= bounds.bytes;
        has_room || self.by_age.first().is_none_or(|oldest| *oldest < item.age(digest))
    }

    pub(super) fn add(&mut self, digest: Digest, item: Item) {
        let Entry::Vacant(vacant) = self.items.entry(digest) else { return };
        self.by_age.insert(item.age(&digest));
        self.bytes = self.bytes.saturating_add(item.bytes);
        if let Some(link) = item.link.as_deref() {
            *self.payloads.entry(*link).or_default() += 1;
        }
        vacant.insert(item);
    }

    pub(super) fn written(&mut self, digest: &Digest) {
        if let Some(item) = self.items.get_mut(digest) {
            item.written = true;
        }
    }

    pub(super) fn remove(&mut self, digest: &Digest) -> Option<Item> {
        let item = self.items.remove(digest)?;
        self.by_age.remove(&item.age(digest));
        self.bytes = self.bytes.saturating_sub(item.bytes);
        if let Some(link) = item.link.as_deref()
            && let Entry::Occupied(mut uses) = self.payloads.entry(*link)
        {
            *uses.get_mut() -= 1;
            if *uses.get() == 0 {
                uses.remove();
            }
        }
        Some(item)
    }

    /// Takes out what is too much or too old, the oldest first.
    pub(super) fn trim(&mut self, bounds: Bounds, now: Time) -> Vec<Gone> {
        let oldest = bounds.oldest(now);
        let (mut gone, mut count, mut bytes) = (Vec::new(), self.items.len(), self.bytes);
        for (since, _, digest) in &self.by_age {
            let too_old = oldest.is_some_and(|oldest| *since < oldest);
            if !too_old && count <= bounds.messages && bytes <= bounds.bytes {
                break;
            }
            if let Some(item) = self.items.get(digest).filter(|item| item.written) {
                count -= 1;
                bytes = bytes.saturating_sub(item.bytes);
                gone.push(*digest);
            }
        }
        let take = |digest| self.remove(&digest).map(|item| Gone { digest, item });
        gone.into_iter().filter_map(take).collect()
    }

    /// When the oldest came.
    pub(super) fn oldest(&self) -> Option<Time> {
        self.by_age.first().map(|(since, ..)| *since)
    }

    /// Whether a message that is kept has this payload.
    pub(super) fn needs(&self, payload: &Cid) -> bool {
        self.payloads.contains_key(payload)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Digest, &Item)> {
        self.items.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TopicRules;

    fn bounds(messages: Option<u64>, bytes: Option<u64>, seconds: Option<u64>) -> Bounds {
        let rules = TopicRules {
            keep: crate::Keep::Everything,
            keep_messages: messages,
            keep_bytes: bytes,
            keep_for: seconds.map(std::time::Duration::from_secs),
            ..TopicRules::default()
        };
        rules.bounds().expect("bounds")
    }

    fn item(since: u64, bytes: u64) -> Item {
        Item { since: Time(since * 1_000), seqno: 0, bytes, link: None, written: true }
    }

    fn filled(items: &[(u8, u64, u64)]) -> Contents {
        let mut contents = Contents::default();
        for (name, since, bytes) in items {
            contents.add([*name; 32], item(*since, *bytes));
        }
        contents
    }

    fn trimmed(contents: &mut Contents, bounds: Bounds, now: u64) -> Vec<u8> {
        contents.trim(bounds, Time(now * 1_000)).iter().map(|gone| gone.digest[0]).collect()
    }

    #[test]
    fn the_oldest_leave_first_whichever_bound_is_met() {
        let items = [(1, 30, 100), (2, 10, 50), (3, 20, 10), (4, 40, 10)];
        assert_eq!(trimmed(&mut filled(&items), bounds(Some(2), None, None), 99), [2, 3]);
        assert_eq!(trimmed(&mut filled(&items), bounds(None, Some(110), None), 99), [2, 3]);
        assert_eq!(trimmed(&mut filled(&items), bounds(None, None, Some(60)), 90), [2, 3]);
        let mut contents = filled(&items);
        assert_eq!(trimmed(&mut contents, bounds(Some(3), Some(20), Some(75)), 90), [2, 3, 1]);
        assert_eq!((contents.bytes, contents.oldest()), (10, Some(Time(40_000))));
        assert!(trimmed(&mut contents, bounds(Some(3), Some(20), Some(75)), 90).is_empty());
    }

    #[test]
    fn those_of_one_moment_leave_in_the_order_of_their_numbers() {
        let mut contents = Contents::default();
        for (name, seqno) in [(1, 2), (2, 3), (3, 1)] {
            contents.add([name; 32], Item { seqno, ..item(10, 1) });
        }
        assert_eq!(trimmed(&mut contents, bounds(Some(1), None, None), 0), [3, 1]);
    }

    #[test]
    fn what_would_leave_at_once_is_not_taken() {
        let contents = filled(&[(1, 10, 10), (2, 20, 10)]);
        let takes =
            |since, bytes, bounds| contents.takes(&[9; 32], &item(since, bytes), bounds, Time(50_000));
        assert!(takes(5, 10, bounds(Some(3), None, None)));
        assert!(!takes(5, 10, bounds(Some(2), None, None)) && takes(15, 10, bounds(Some(2), None, None)));
        assert!(!takes(5, 5, bounds(None, Some(24), None)) && takes(15, 5, bounds(None, Some(24), None)));
        assert!(!takes(30, 25, bounds(None, Some(24), None)), "it never fits");
        assert!(!takes(39, 1, bounds(None, None, Some(10))) && takes(40, 1, bounds(None, None, Some(10))));
    }

    #[test]
    fn what_is_being_written_stays_until_it_is_there() {
        let mut contents = filled(&[(1, 10, 10)]);
        contents.add([2; 32], Item { written: false, ..item(5, 10) });
        assert_eq!(trimmed(&mut contents, bounds(Some(1), None, None), 0), [1]);
        contents.add([3; 32], item(20, 10));
        contents.written(&[2; 32]);
        assert_eq!(trimmed(&mut contents, bounds(Some(1), None, None), 0), [2]);
    }

    #[test]
    fn a_payload_is_needed_as_long_as_one_message_has_it() {
        let payload = crate::cid_of(crate::RAW, b"payload");
        let mut contents = Contents::default();
        for name in [1, 2] {
            contents.add([name; 32], Item { link: Some(Box::new(payload)), ..item(name.into(), 1) });
        }
        assert_eq!(trimmed(&mut contents, bounds(Some(1), None, None), 0), [1]);
        assert!(contents.needs(&payload));
        contents.remove(&[2; 32]);
        assert!(!contents.needs(&payload));
    }
}
