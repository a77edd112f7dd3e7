//! The numbers authors used, topic by topic: a guard against replays that are older than the list of seen ids.
//!
//! Of each author and topic the highest accepted number is kept and which of the 1,023 below it were used, as in the
//! anti-replay window of IPsec (RFC 4303, section 3.4.3). Anything lower counts as used. It is saved after a message was
//! accepted, so a crash may let a message come again but never lose one.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cid::Cid;
use libp2p_identity::PeerId;
use lru::LruCache;
use tokio::time::{Duration, Instant};

use crate::{Message, Topic};

const WORDS: usize = 16;
const WINDOW: u64 = 64 * WORDS as u64;
/// Where the windows are saved in the store's metadata.
pub(crate) const PREFIX: &str = "numbers/";
/// Accepted messages kept to prove an equivocation with.
const RECENT: usize = 1_024;
const RECENT_BYTES: usize = 8 << 20;
/// How long no message waits for its parent after one did in vain: where messages are being lost, waiting for each would
/// slow down those that come.
const IMPATIENT: Duration = Duration::from_secs(1);

type Key = (PeerId, Topic);

#[derive(Debug)]
pub(crate) struct Numbers(Mutex<State>);

#[derive(Debug)]
struct State {
    windows: LruCache<Key, Window>,
    next_id: u64,
    /// Whose window must be saved, or deleted where there is none any more. Encoded when it is saved: a message marks it,
    /// and there are many between two saves.
    dirty: BTreeSet<Key>,
    recent: Recent,
}

#[derive(Clone, Debug)]
struct Window {
    highest: u64,
    /// Bit `n` says that `highest - n` was used.
    used: [u64; WORDS],
    last: Cid,
    /// Until then no message waits for its parent. Neither this nor what follows is saved.
    impatient_until: Option<Instant>,
    /// Names it among the recent messages; no two windows ever have the same.
    id: u64,
    /// It is among those to save already.
    dirty: bool,
    /// Its name in the store, once it was saved: to write a peer id takes longer than all else that saving takes.
    name: Option<Box<str>>,
}

/// What the numbers say of a message.
#[derive(Debug)]
pub(crate) enum Number {
    /// Its author never used it.
    Fresh,
    /// It was used, or is too old to tell.
    Used,
    /// Another message with the same number was accepted: here it is.
    Equivocation(Message),
}

/// What a message follows beside its author's last one that was seen.
#[derive(Debug)]
pub(crate) struct PassedOver {
    pub(crate) parents: Vec<Cid>,
    /// The last one.
    pub(crate) last: Cid,
    /// The highest number until then.
    pub(crate) highest: u64,
}

impl Window {
    fn new(highest: u64, last: Cid) -> Self {
        Self { highest, used: [0; WORDS], last, impatient_until: None, id: 0, dirty: false, name: None }
    }

    fn used(&self, number: u64) -> bool {
        if number > self.highest {
            return false;
        }
        let below = self.highest - number;
        below >= WINDOW || self.used[(below / 64) as usize] >> (below % 64) & 1 == 1
    }

    /// Whether a number lies below the window, and above another one.
    fn lies_below(&self, number: u64, above: u64) -> bool {
        number > above && self.highest.checked_sub(number).is_some_and(|below| below >= WINDOW)
    }

    fn mark(&mut self, number: u64) {
        if number > self.highest {
            self.shift(number - self.highest);
            self.highest = number;
        }
        let below = self.highest - number;
        if below < WINDOW {
            self.used[(below / 64) as usize] |= 1 << (below % 64);
        }
    }

    fn shift(&mut self, by: u64) {
        let (words, bits) = ((by / 64).min(WORDS as u64) as usize, by % 64);
        for at in (0..WORDS).rev() {
            let low = at.checked_sub(words).map_or(0, |from| self.used[from]);
            let carry = at.checked_sub(words + 1).map_or(0, |from| self.used[from]);
            self.used[at] = if bits == 0 { low } else { low << bits | carry >> (64 - bits) };
        }
    }

    fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(8 + WORDS * 8 + self.last.encoded_len());
        out.extend_from_slice(&self.highest.to_be_bytes());
        self.used.iter().for_each(|word| out.extend_from_slice(&word.to_be_bytes()));
        out.extend(self.last.to_bytes());
        out.into()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (highest, rest) = bytes.split_first_chunk()?;
        let (words, last) = rest.split_at_checked(WORDS * 8)?;
        let mut used = [0; WORDS];
        for (word, bytes) in used.iter_mut().zip(words.chunks_exact(8)) {
            *word = u64::from_be_bytes(bytes.try_into().ok()?);
        }
        let (highest, last) = (u64::from_be_bytes(*highest), Cid::try_from(last).ok()?);
        Some(Self { used, ..Self::new(highest, last) })
    }
}

impl State {
    /// Begins a window; answers whose was pushed out for it.
    fn add(&mut self, key: Key, window: Window) -> Option<Key> {
        self.next_id += 1;
        self.windows.push(key, Window { id: self.next_id, ..window }).map(|(pushed_out, _)| pushed_out)
    }
}

/// The last accepted messages, by the id of their window and their number: a key that is cheap to hash.
#[derive(Debug, Default)]
struct Recent {
    by_number: HashMap<(u64, u64), Message>,
    order: VecDeque<(u64, u64)>,
    bytes: usize,
}

impl Recent {
    fn keep(&mut self, window: u64, message: &Message) {
        let key = (window, message.seqno());
        self.bytes += message.held_bytes();
        if let Some(old) = self.by_number.insert(key, message.clone()) {
            self.bytes -= old.held_bytes();
            return;
        }
        self.order.push_back(key);
        while self.order.len() > RECENT || self.bytes > RECENT_BYTES {
            let Some(oldest) = self.order.pop_front() else { return };
            if let Some(message) = self.by_number.remove(&oldest) {
                self.bytes -= message.held_bytes();
            }
        }
    }
}

impl Numbers {
    pub(crate) fn new(authors: usize) -> Self {
        let authors = NonZeroUsize::new(authors).unwrap_or(NonZeroUsize::MIN);
        let windows = LruCache::sparse(authors);
        Self(Mutex::new(State { windows, next_id: 0, dirty: BTreeSet::new(), recent: Recent::default() }))
    }

    /// Takes back what [`take_dirty`](Self::take_dirty) saved in an earlier life. A damaged entry is left out.
    pub(crate) fn restore(&self, key: &str, value: &[u8]) {
        if let (Some(key), Some(window)) = (key_of(key), Window::decode(value)) {
            self.lock().add(key, window);
        }
    }

    /// Judges a message's number. Of one that is too old for the window it is not known whether it was used, unless somebody
    /// remembers above which none was.
    pub(crate) fn check(&self, author: &PeerId, message: &Message, unused_above: Option<u64>) -> Number {
        let state = self.lock();
        let Some(window) = state.windows.peek(&(*author, message.topic().clone())) else {
            return Number::Fresh;
        };
        match state.recent.by_number.get(&(window.id, message.seqno())) {
            Some(same) if same.id() == message.id() => Number::Used,
            Some(other) => Number::Equivocation(other.clone()),
            None if unused_above.is_some_and(|above| window.lies_below(message.seqno(), above)) => {
                Number::Fresh
            }
            None if window.used(message.seqno()) => Number::Used,
            None => Number::Fresh,
        }
    }

    /// Marks an accepted message's number as used. Answers what it passed over, if something of its author was seen before: a
    /// sign of a gap.
    pub(crate) fn mark(&self, author: PeerId, message: &Message) -> Option<PassedOver> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let key = (author, message.topic().clone());
        let before = state.windows.peek(&key).map(|window| (window.last, window.highest));
        if before.is_none() {
            let fresh = Window::new(message.seqno(), *message.id().cid());
            let pushed_out = state.add(key.clone(), fresh);
            state.dirty.extend(pushed_out);
        }
        let window = state.windows.get_mut(&key)?;
        if message.seqno() >= window.highest {
            window.last = *message.id().cid();
        }
        window.mark(message.seqno());
        if !std::mem::replace(&mut window.dirty, true) {
            state.dirty.insert(key);
        }
        state.recent.keep(window.id, message);
        let (last, highest) = before?;
        let parents: Vec<Cid> = message.parents().iter().filter(|parent| **parent != last).copied().collect();
        (!parents.is_empty()).then_some(PassedOver { parents, last, highest })
    }

    /// The parents that a message may have come before, if they are worth waiting for.
    pub(crate) fn awaited(&self, author: &PeerId, message: &Message) -> Vec<Cid> {
        let state = self.lock();
        let window = state.windows.peek(&(*author, message.topic().clone()));
        let worth = window.is_none_or(|window| {
            message.seqno() > window.highest
                && window.impatient_until.is_none_or(|until| until <= Instant::now())
        });
        let last = window.map(|window| window.last);
        message.parents().iter().filter(|parent| worth && Some(**parent) != last).copied().collect()
    }

    /// A message did not come before those that follow it.
    pub(crate) fn lost(&self, author: &PeerId, topic: &Topic) {
        if let Some(window) = self.lock().windows.peek_mut(&(*author, topic.clone())) {
            window.impatient_until = Some(Instant::now() + IMPATIENT);
        }
    }

    /// The author's last message and highest number on a topic.
    pub(crate) fn last(&self, author: PeerId, topic: &Topic) -> Option<(Cid, u64)> {
        self.lock().windows.peek(&(author, topic.clone())).map(|window| (window.last, window.highest))
    }

    /// What must be saved, once.
    pub(crate) fn take_dirty(&self) -> Vec<(String, Option<Bytes>)> {
        let mut guard = self.lock();
        let State { windows, dirty, .. } = &mut *guard;
        let save = |key| match windows.peek_mut(&key) {
            Some(window) => {
                window.dirty = false;
                let name = window.name.get_or_insert_with(|| name(&key).into());
                (name.to_string(), Some(window.encode()))
            }
            None => (name(&key), None),
        };
        std::mem::take(dirty).into_iter().map(save).collect()
    }

    /// An entry that [`take_dirty`](Self::take_dirty) gave could not be saved.
    pub(crate) fn unsaved(&self, name: &str) {
        if let Some(key) = key_of(name) {
            self.lock().dirty.insert(key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name((author, topic): &Key) -> String {
    format!("{PREFIX}{author}/{topic}")
}

/// What [`name`] was made of.
fn key_of(name: &str) -> Option<Key> {
    let (author, topic) = name.strip_prefix(PREFIX)?.split_once('/')?;
    Some((author.parse().ok()?, Topic::from_wire(topic).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Body, Draft};

    fn window(highest: u64) -> Window {
        Window::new(highest, crate::cid_of(crate::DAG_CBOR, b"x"))
    }

    #[test]
    fn each_number_is_used_once_within_the_window() {
        let mut window = window(5_000);
        window.mark(5_000);
        for number in [4_999, 5_001, 4_100, 6_023, 5_500] {
            assert!(!window.used(number), "{number} is fresh");
            window.mark(number);
            assert!(window.used(number), "{number} is used");
        }
        assert!(window.used(5_000) && window.used(4_999), "what lies below the window counts as used");
        assert!(!window.used(5_501) && !window.used(6_022));
        window.mark(u64::MAX);
        assert!(window.used(6_022) && !window.used(u64::MAX - 1));
    }

    #[test]
    fn a_saved_window_is_the_same() {
        let mut before = window(7);
        before.mark(7);
        before.mark(3);
        let after = Window::decode(&before.encode()).expect("decodes");
        assert!((0..9).all(|n| before.used(n) == after.used(n)) && before.last == after.last);
        assert!(Window::decode(&before.encode()[..20]).is_none());
    }

    #[test]
    fn what_is_kept_as_proof_is_bounded_with_the_payloads_that_travelled_apart() {
        let key = libp2p_identity::Keypair::generate_ed25519();
        let topic = Topic::new("t").expect("a topic");
        let network = crate::NetworkId::new("n").expect("a network");
        let mut recent = Recent::default();
        for seqno in 0..10 {
            let body = Body::Linked(crate::Block::new(crate::RAW, vec![seqno as u8; 2 << 20]));
            let time = crate::Time(0);
            let draft = Draft { network: &network, topic: &topic, seqno, time, parents: vec![], body };
            let message = draft.sign(&key).expect("signs");
            recent.keep(1, &message);
        }
        assert!(recent.by_number.len() <= RECENT_BYTES / (2 << 20), "{} are kept", recent.by_number.len());
    }
}
