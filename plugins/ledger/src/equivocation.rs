//! Entries of one author that have one number: finding them, whenever the second one comes, and keeping the evidence.
//!
//! Two keys in the store, beside those of [`saved`](crate::saved), under `ledger/NAME/`:
//!
//! | key | value |
//! |---|---|
//! | `number/AUTHOR/BELOW` | the digest of the entry whose number is 2⁶⁴ − 1 − `BELOW`; of the last one where there are more |
//! | `fork/AUTHOR/NUMBER/PLACE` | nothing: an entry whose number another one has too |
//!
//! They are written together with the record of the entry: some 115 bytes an entry, of which those of one author share most.
//! `AUTHOR` is the author's key. The highest number of an author comes first, so that it is found at once; what is above it
//! is new, and the store is not asked.
//!
//! An entry's number is looked up when it is judged, before anything that follows it is: so who judges an entry knows of
//! every equivocation among its ancestors, whatever else this node knows.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use async_stream::try_stream;
use carrick_core::{Bytes, Cid, Error, ErrorKind, Limits, PeerId, Result, Store};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use lru::LruCache;

use crate::Entry;
use crate::inner::{Inner, lock};
use crate::place::{Digest, PLACE, Place};
use crate::saved::Shelf;
use crate::stop::Forks;

/// Two entries of one author that have one number: both signatures are the proof.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Equivocation {
    /// Who signed both.
    pub author: PeerId,
    /// The number of both.
    pub number: u64,
    /// Which, in the order of the log.
    pub entries: [Cid; 2],
}

/// Entries that were judged and are no entries yet, beside those that the gate has at once: our own, of which it has no bound,
/// and those that were let through and could not be stored, of which nobody tells us.
const JUDGED: usize = 4_096;
/// Others with the number of one that was judged, which are remembered at most: so what an author signs while nothing can be
/// stored takes no more than it signs. Of more than that which come at once, one may not be told; all are listed.
const OTHERS: usize = 8;
/// Authors of which it is remembered whether they equivocated, and how high their numbers are.
const FORKERS: NonZeroUsize = NonZeroUsize::new(1_024).expect("not zero");
const AUTHORS: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

/// Who has a number, and which one: an author's number names one entry, unless its author equivocates.
type Numbered = (PeerId, u64);

/// What is known of the numbers of entries, beside what the store knows.
#[derive(Debug)]
pub(crate) struct Numbers(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Entries that were judged and are none yet.
    judged: BTreeMap<(Numbered, Place), Judged>,
    /// The same, the oldest first, by when they were judged.
    order: BTreeMap<u64, (Numbered, Place)>,
    /// How many were judged until now.
    turn: u64,
    /// How many there are at most.
    most: usize,
    /// No entry of the author has a higher number.
    highest: LruCache<PeerId, u64>,
    /// What the authors forked; `None` for one who did not.
    forks: LruCache<PeerId, Option<Arc<Forks>>>,
    /// Rises when somebody forks.
    found: u64,
}

/// An entry that was judged.
#[derive(Debug)]
struct Judged {
    turn: u64,
    /// Others that have the same number, found then or since.
    others: BTreeSet<Place>,
}

/// What memory tells of the others that have a number.
enum Others {
    /// There are none.
    None,
    /// The store may know more.
    OnTheirWay(BTreeSet<Place>),
}

impl Numbers {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State {
            judged: BTreeMap::new(),
            order: BTreeMap::new(),
            turn: 0,
            most: JUDGED,
            highest: LruCache::sparse(AUTHORS),
            forks: LruCache::sparse(FORKERS),
            found: 0,
        }))
    }

    /// Has room for all that the gate of a node judges at once: what is forgotten before it is an entry may equivocate unseen.
    pub(crate) fn fit(&self, limits: &Limits) {
        lock(&self.0).most = JUDGED.saturating_add(limits.gate_total).saturating_add(limits.waiting);
    }

    /// Notes that an entry has a number.
    fn begin(&self, number: Numbered, place: Place) -> Others {
        let state = &mut *lock(&self.0);
        state.judge(number, place);
        if let Some(highest) = state.highest.get_mut(&number.0)
            && *highest < number.1
        {
            *highest = number.1;
            return Others::None;
        }
        let others = state.of(number, number).map(|(_, other, _)| *other);
        // One less than are remembered: the store may know one more.
        Others::OnTheirWay(others.filter(|other| *other != place).take(OTHERS - 1).collect())
    }

    /// Whether it is known how high an author's numbers are.
    fn is_known(&self, author: &PeerId) -> bool {
        lock(&self.0).highest.contains(author)
    }

    /// Notes the highest number of an author in the store.
    fn learn(&self, author: PeerId, in_store: u64) {
        let state = &mut *lock(&self.0);
        let on_their_way = state.of((author, 0), (author, u64::MAX)).map(|(number, ..)| number).next_back();
        let highest = on_their_way.unwrap_or_default().max(in_store);
        if state.highest.get(&author).is_none_or(|known| *known < highest) {
            state.highest.put(author, highest);
        }
    }

    /// Notes which others have the same, and with those that are no entries yet this one: any of them may be the last to become one.
    fn found(&self, number: Numbered, place: Place, others: BTreeSet<Place>) {
        let state = &mut *lock(&self.0);
        state.found += 1;
        state.forks.pop(&number.0);
        for other in &others {
            if let Some(judged) = state.judged.get_mut(&(number, *other)) {
                judged.know(place);
            }
        }
        let judged = state.judge(number, place);
        others.into_iter().for_each(|other| judged.know(other));
    }

    /// Others that have the same number, as far as an entry was judged and it is remembered.
    fn others(&self, number: Numbered, place: Place) -> Option<BTreeSet<Place>> {
        lock(&self.0).judged.get(&(number, place)).map(|judged| judged.others.clone())
    }

    /// It is an entry now, as some of the others are that have its number; answers the one of which it is to be told.
    fn end(&self, number: Numbered, place: Place, entries: &[Place]) -> Option<Place> {
        let state = &mut *lock(&self.0);
        let judged = state.judged.remove(&(number, place))?;
        state.order.remove(&judged.turn);
        let other = *entries.iter().find(|other| judged.others.contains(other))?;
        // It may have become one at the same time, and is told once.
        if let Some(judged) = state.judged.get_mut(&(number, other)) {
            judged.others.remove(&place);
        }
        Some(other)
    }
}

impl Judged {
    fn know(&mut self, other: Place) {
        if self.others.len() < OTHERS {
            self.others.insert(other);
        }
    }
}

impl State {
    fn judge(&mut self, number: Numbered, place: Place) -> &mut Judged {
        let Self { judged, order, turn, most, .. } = self;
        if !judged.contains_key(&(number, place)) {
            *turn += 1;
            order.insert(*turn, (number, place));
            if order.len() > *most
                && let Some((_, oldest)) = order.pop_first()
            {
                judged.remove(&oldest);
            }
        }
        judged.entry((number, place)).or_insert_with(|| Judged { turn: *turn, others: BTreeSet::new() })
    }

    /// What was judged, from one number on to another.
    fn of(
        &self,
        from: Numbered,
        to: Numbered,
    ) -> impl DoubleEndedIterator<Item = (u64, &Place, &BTreeSet<Place>)> + use<'_> {
        let range = (from, Place::of(0, [0; 32]))..=(to, Place::of(u64::MAX, [0xff; 32]));
        self.judged.range(range).map(|(((_, number), place), judged)| (*number, place, &judged.others))
    }
}

impl Inner {
    /// Looks for other entries with the number of one that the rules let through, and remembers them until it is
    /// an entry: to be done before anything that follows it is judged.
    pub(crate) async fn note_number(
        &self,
        store: &dyn Store,
        entry: &Entry,
        place: Place,
    ) -> Result<BTreeSet<Place>> {
        let number = (*entry.author(), entry.number());
        // Those on their way first: one that leaves is in the store by then.
        let mut others = match self.numbers.begin(number, place) {
            Others::None => return Ok(BTreeSet::new()),
            Others::OnTheirWay(others) => others,
        };
        if !self.numbers.is_known(entry.author()) {
            let highest = self.shelf.highest(store, entry.author()).await?;
            self.numbers.learn(*entry.author(), highest);
        }
        others.extend(self.shelf.other(store, number, place).await?);
        if !others.is_empty() {
            self.numbers.found(number, place, others.clone());
        }
        Ok(others)
    }

    /// What is written with the record of an entry that was judged.
    pub(crate) async fn number_keys(
        &self,
        store: &dyn Store,
        entry: &Entry,
        place: Place,
    ) -> Result<Vec<(String, Bytes)>> {
        let number = (*entry.author(), entry.number());
        let others = match self.numbers.others(number, place) {
            Some(others) => others,
            None => self.note_number(store, entry, place).await?,
        };
        let forked = others.iter().chain((!others.is_empty()).then_some(&place));
        let forks = forked.map(|fork| (self.shelf.fork_key(number, fork), Bytes::new()));
        let itself = (self.shelf.number_key(number), Bytes::copy_from_slice(place.digest()));
        Ok(forks.chain([itself]).collect())
    }

    /// One that was judged is an entry, for the first time if it is `new`. Whichever becomes one later tells of both.
    pub(crate) async fn end_number(&self, entry: &Entry, place: Place, new: bool) -> Result<()> {
        let number = (*entry.author(), entry.number());
        let mut entries = Vec::new();
        for other in self.numbers.others(number, place).filter(|_| new).into_iter().flatten() {
            if self.place(&other.cid()).await?.is_some() {
                entries.push(other);
            }
        }
        if let Some(other) = self.numbers.end(number, place, &entries) {
            self.tell_equivocation(&other, entry).await;
        }
        Ok(())
    }

    /// Tells the node of two entries with one number.
    async fn tell_equivocation(&self, first: &Place, second: &Entry) {
        let told = async {
            let on_its_way = lock(&self.under_way).entry(first.digest());
            let first = match on_its_way {
                Some(first) => first,
                None => self.read(first).await?,
            };
            self.node()?.tell_equivocation(first.message(), second.message());
            Ok::<_, Error>(())
        };
        if let Err(error) = told.await {
            tracing::warn!(%error, second = %second.cid(), "an equivocation is in the ledger and was not told");
        }
    }

    /// What an author forked, as far as it is known here; `None` where it did not.
    pub(crate) async fn forks(&self, author: &PeerId) -> Result<Option<Arc<Forks>>> {
        let (found, mut entries) = {
            let state = &mut *lock(&self.numbers.0);
            if let Some(forks) = state.forks.get(author) {
                return Ok(forks.clone());
            }
            let judged =
                state.of((*author, 0), (*author, u64::MAX)).filter(|(_, _, others)| !others.is_empty());
            let judged = judged.flat_map(|(number, place, others)| {
                others.iter().chain([place]).map(move |place| (*place, number))
            });
            (state.found, judged.collect::<Vec<_>>())
        };
        let node = self.node()?;
        let mut kept = self.shelf.forks(&**node.store(), &format!("{}/", name(author)));
        while let Some(((_, number), place)) = kept.try_next().await? {
            entries.push((place, number));
        }
        let forks = Forks::new(entries).map(Arc::new);
        let state = &mut *lock(&self.numbers.0);
        if state.found == found {
            state.forks.put(*author, forks.clone());
        }
        Ok(forks)
    }

    /// The equivocations among the entries: of each number the first in the order with each other one.
    pub(crate) fn equivocations(self: Arc<Self>) -> BoxStream<'static, Result<Equivocation>> {
        Box::pin(try_stream! {
            let store = Arc::clone(self.node()?.store());
            let mut kept = self.shelf.forks(&*store, "");
            let mut first: Option<(Numbered, Cid)> = None;
            while let Some((numbered, place)) = kept.try_next().await? {
                let cid = place.cid();
                // The node may have died before it was accepted.
                if self.place(&cid).await?.is_none() {
                    continue;
                }
                match first {
                    Some((number, first)) if number == numbered => {
                        let (author, number) = number;
                        yield Equivocation { author, number, entries: [first, cid] };
                    }
                    _ => first = Some((numbered, cid)),
                }
            }
        })
    }
}

impl Shelf {
    fn number_key(&self, (author, number): Numbered) -> String {
        let mut key = self.numbers_of(&author);
        HEXLOWER.encode_append(&(u64::MAX - number).to_be_bytes(), &mut key);
        key
    }

    fn numbers_of(&self, author: &PeerId) -> String {
        // With room for a number, which is appended for each entry.
        let mut key = String::with_capacity(self.prefix().len() + 80);
        key.extend([self.prefix(), "number/", &name(author), "/"]);
        key
    }

    fn fork_key(&self, (author, number): Numbered, place: &Place) -> String {
        let place = HEXLOWER.encode(&place.to_bytes());
        format!("{}fork/{}/{number:016x}/{place}", self.prefix(), name(&author))
    }

    /// The highest number of an author, 0 where there is none.
    async fn highest(&self, store: &dyn Store, author: &PeerId) -> Result<u64> {
        let numbers = self.numbers_of(author);
        let Some((key, _)) = store.list_meta(&numbers).try_next().await? else { return Ok(0) };
        let below = key.strip_prefix(&numbers).and_then(|below| u64::from_str_radix(below, 16).ok());
        below.map(|below| u64::MAX - below).ok_or_else(|| damaged(&key))
    }

    /// Another entry that has a number, one of them where there are more.
    async fn other(&self, store: &dyn Store, number: Numbered, place: Place) -> Result<Option<Place>> {
        let key = self.number_key(number);
        let Some(digest) = store.meta(&key).await? else { return Ok(None) };
        let digest: Digest = digest.as_ref().try_into().map_err(|_| damaged(&key))?;
        if digest != *place.digest()
            && let Some(record) = self.record(store, &digest).await?
        {
            return Ok(Some(record.place));
        }
        // That one was not stored after all, or it is this one, which comes again.
        let mut forks = self.forks(store, &format!("{}/{:016x}/", name(&number.0), number.1));
        while let Some((_, fork)) = forks.try_next().await? {
            if fork != place && self.record(store, fork.digest()).await?.is_some() {
                return Ok(Some(fork));
            }
        }
        Ok(None)
    }

    /// Entries whose number another one has too, by author, number and place: those whose keys go on so.
    fn forks<'a>(&self, store: &'a dyn Store, on: &str) -> BoxStream<'a, Result<(Numbered, Place)>> {
        let all = format!("{}fork/", self.prefix());
        let listed = store.list_meta(&format!("{all}{on}"));
        let read = move |(key, _): (String, Bytes)| {
            let fork = key.strip_prefix(&all).and_then(read_fork).ok_or_else(|| damaged(&key));
            std::future::ready(fork)
        };
        listed.and_then(read).boxed()
    }
}

fn read_fork(key: &str) -> Option<(Numbered, Place)> {
    let mut parts = key.split('/');
    let author = author(parts.next()?)?;
    let number = u64::from_str_radix(parts.next()?, 16).ok()?;
    let place: [u8; PLACE] = HEXLOWER.decode(parts.next()?.as_bytes()).ok()?.try_into().ok()?;
    Some(((author, number), Place::from_bytes(&place)))
}

/// What the bytes of every ed25519 peer id begin with: an identity multihash of 36 bytes, a key of type 1 with 32 bytes.
const ED25519: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// An author in a key: shorter than a peer id, and sooner written.
fn name(author: &PeerId) -> String {
    let bytes = author.to_bytes();
    BASE64URL_NOPAD.encode(bytes.strip_prefix(&ED25519[..]).unwrap_or(&bytes))
}

/// What [`name`] was made of. Authors have ed25519 keys.
fn author(name: &str) -> Option<PeerId> {
    let key = BASE64URL_NOPAD.decode(name.as_bytes()).ok()?;
    PeerId::from_bytes(&[&ED25519[..], &key].concat()).ok()
}

pub(crate) fn no_record(place: &Place) -> Error {
    Error::new(
        ErrorKind::Integrity,
        "ledger",
        format!("the record of the entry {} is not there", place.cid()),
    )
}

fn damaged(key: &str) -> Error {
    Error::new(ErrorKind::Integrity, "ledger", format!("{key:?} in the store is damaged"))
}

#[cfg(test)]
mod tests {
    use carrick_core::Keypair;

    use super::*;

    fn peer() -> PeerId {
        Keypair::generate_ed25519().public().to_peer_id()
    }

    #[test]
    fn a_fork_is_read_from_its_key() {
        let (shelf, author) = (Shelf::new("test"), peer());
        let place = Place::of(7, [9; 32]);
        let key = shelf.fork_key((author, 1 << 62), &place);
        let short = key.strip_prefix("ledger/test/fork/").expect("its prefix");
        assert_eq!(read_fork(short), Some(((author, 1 << 62), place)));
        for cut in 0..short.len() {
            assert!(read_fork(&short[..cut]).is_none(), "{cut}");
        }
    }

    #[test]
    fn what_is_on_its_way_is_found_and_its_number_bounded() {
        let (numbers, author) = (Numbers::new(), peer());
        let place = |n: u64| Place::of(n, [0; 32]);
        let others = |number: Numbered, at: Place| match numbers.begin(number, at) {
            Others::None => None,
            Others::OnTheirWay(others) => Some(others),
        };
        assert_eq!(others((author, 5), place(1)), Some(BTreeSet::new()), "the store knows");
        assert_eq!(others((author, 6), place(2)), Some(BTreeSet::new()));
        numbers.learn(author, 4);
        assert_eq!(others((author, 6), place(3)), Some(BTreeSet::from([place(2)])));
        assert_eq!(others((author, 7), place(4)), None, "it is new");
        assert_eq!(others((author, 7), place(5)), Some(BTreeSet::from([place(4)])));
        for n in 0..2 * JUDGED as u64 {
            numbers.begin((author, n + 10), place(n));
        }
        let state = lock(&numbers.0);
        assert_eq!((state.judged.len(), state.order.len()), (JUDGED, JUDGED));
    }

    #[test]
    fn of_two_the_later_one_tells_whichever_was_judged_first() {
        let place = |n: u64| Place::of(n, [0; 32]);
        for [earlier, later] in [[1, 2], [2, 1]] {
            let (numbers, number) = (Numbers::new(), (peer(), 7));
            numbers.begin(number, place(1));
            numbers.begin(number, place(2));
            numbers.found(number, place(2), BTreeSet::from([place(1)]));
            let ends = |n, entries: &[Place]| numbers.end(number, place(n), entries);
            assert_eq!(ends(earlier, &[]), None);
            assert_eq!(ends(later, &[place(earlier)]), Some(place(earlier)));
        }
    }

    #[test]
    fn two_that_become_entries_at_once_are_told_once() {
        let (numbers, number, place) = (Numbers::new(), (peer(), 7), |n: u64| Place::of(n, [0; 32]));
        numbers.begin(number, place(1));
        numbers.begin(number, place(2));
        numbers.found(number, place(2), BTreeSet::from([place(1)]));
        // Each saw the other one.
        assert_eq!(numbers.end(number, place(1), &[place(2)]), Some(place(2)));
        assert_eq!(numbers.end(number, place(2), &[place(1)]), None);
    }

    #[test]
    fn very_many_with_one_number_take_no_more_room_each() {
        let (numbers, number) = (Numbers::new(), (peer(), 7));
        for n in 0..1_000 {
            let place = Place::of(n, [0; 32]);
            if let Others::OnTheirWay(others) = numbers.begin(number, place) {
                numbers.found(number, place, others);
            }
        }
        let most = lock(&numbers.0).judged.values().map(|judged| judged.others.len()).max();
        assert!(most.is_some_and(|most| most <= OTHERS), "{most:?}");
    }
}
