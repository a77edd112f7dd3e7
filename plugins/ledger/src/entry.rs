//! What a ledger consists of.

use carrick_core::{Bytes, Cid, Message, PeerId, Time};

/// An entry: a message that every node accepts, and where it stands. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Entry {
    clock: u64,
    author: PeerId,
    message: Message,
}

impl Entry {
    /// `None` for a bare payload, which nobody signed.
    pub(crate) fn new(clock: u64, message: Message) -> Option<Self> {
        Some(Self { clock, author: *message.author()?, message })
    }

    /// Its address, which is the hash of all of it.
    pub fn cid(&self) -> &Cid {
        self.message.id().cid()
    }

    /// 1 + the highest clock among its parents; 1 where it has none. Computed, never sent.
    pub fn clock(&self) -> u64 {
        self.clock
    }

    /// Who signed it.
    pub fn author(&self) -> &PeerId {
        &self.author
    }

    /// Its author's number: rises from entry to entry, and may skip.
    pub fn number(&self) -> u64 {
        self.message.seqno()
    }

    /// When its author says it was made; nobody checked that of entries that came late.
    pub fn time(&self) -> Time {
        self.message.time()
    }

    /// The entries that its author knew last, at most 64; none at a beginning.
    pub fn parents(&self) -> &[Cid] {
        self.message.parents()
    }

    /// What its author had to say.
    pub fn payload(&self) -> &Bytes {
        self.message.payload()
    }

    /// It as it was signed.
    pub fn message(&self) -> &Message {
        &self.message
    }
}
