//! What is missing of an author's messages, followed back from one that came.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cid::Cid;

use super::Torn;
use crate::node::core::Core;
use crate::{Block, DAG_CBOR, Limits, Message, MessageId, Remote, Verdict};

/// An author's messages from one that came back to what was here before.
#[derive(Debug)]
pub(super) struct Line<'a> {
    torn: &'a Torn,
    /// What is missing, as far as it is known yet.
    wanted: Vec<Cid>,
    met: BTreeSet<Cid>,
    /// What was fetched, by its number.
    found: BTreeMap<(u64, MessageId), (Message, Option<Remote>)>,
    /// The first that cannot be had.
    lost: Option<Cid>,
    mended: usize,
    messages_left: usize,
    bytes_left: usize,
}

impl<'a> Line<'a> {
    pub(super) fn new(torn: &'a Torn, limits: &Limits) -> Self {
        let (mut messages_left, mut bytes_left) = (limits.repair_messages, limits.repair_bytes);
        if let Some(bounds) = torn.rules.bounds() {
            messages_left = messages_left.min(bounds.messages);
            bytes_left = bytes_left.min(usize::try_from(bounds.bytes).unwrap_or(usize::MAX));
        }
        Self {
            torn,
            wanted: torn.missing.clone(),
            met: torn.missing.iter().copied().collect(),
            found: BTreeMap::new(),
            lost: None,
            mended: 0,
            messages_left,
            bytes_left,
        }
    }

    /// What is to be fetched.
    pub(super) fn wanted(&self) -> impl Iterator<Item = Cid> {
        self.wanted.iter().copied()
    }

    /// Whether more is to be fetched, and may be.
    pub(super) fn goes_on(&self) -> bool {
        !self.wanted.is_empty() && self.messages_left > 0 && self.bytes_left > 0
    }

    /// How many links back, and how many bytes.
    pub(super) fn budget(&self) -> (u32, u64) {
        let depth = u32::try_from(self.messages_left.saturating_sub(1)).unwrap_or(u32::MAX);
        (depth, self.bytes_left as u64)
    }

    /// How many messages passed the gate.
    pub(super) fn mended(&self) -> usize {
        self.mended
    }

    /// The newest that is missing in the end.
    pub(super) fn missing(&self) -> Option<Cid> {
        let unjudged = self.found.keys().next_back().map(|(_, id)| *id.cid());
        self.lost.or(unjudged).or(self.wanted.first().copied())
    }

    /// Takes what is here already: it came meanwhile, was kept before, or was stored before a crash and never passed the gate.
    pub(super) async fn look_at_home(&mut self, core: &Core) {
        let mut at = 0;
        while let Some(cid) = self.wanted.get(at).copied() {
            if core.gate.knows(&MessageId::from_cid(cid)) {
                self.wanted.remove(at);
            } else if self.goes_on()
                && let Ok(Some(block)) = core.store.get(&cid).await
            {
                // One of another line is not missing.
                self.take(at, core, block, None);
            } else {
                at += 1;
            }
        }
    }

    /// Takes a block that was missing, and wants what it follows. What is none of this author's messages here is lost.
    pub(super) fn meet(&mut self, core: &Core, block: Block, from: Option<Remote>) {
        let cid = *block.cid();
        let Some(at) = self.wanted.iter().position(|wanted| *wanted == cid) else {
            // It is under something that is not followed.
            self.spend(block.size());
            return;
        };
        if !self.take(at, core, block, from) {
            self.lost.get_or_insert(cid);
        }
    }

    /// Takes one that is wanted; `false` where it is not of this line.
    fn take(&mut self, at: usize, core: &Core, block: Block, from: Option<Remote>) -> bool {
        self.wanted.remove(at);
        self.spend(block.size());
        let Some(message) = self.read(core, block) else { return false };
        if core.gate.had(&message, self.torn.above) {
            return true;
        }
        for parent in message.parents() {
            let here = *parent == self.torn.have || core.gate.knows(&MessageId::from_cid(*parent));
            if !here && self.met.len() < MAX_MET && self.met.insert(*parent) {
                self.wanted.push(*parent);
            }
        }
        self.found.insert((message.seqno(), *message.id()), (message, from));
        true
    }

    fn spend(&mut self, bytes: usize) {
        self.messages_left = self.messages_left.saturating_sub(1);
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
    }

    /// A message as it can be in this line: of the author, on the topic, older than what follows it, and not older than what is
    /// kept. The gate looks at all else.
    fn read(&self, core: &Core, block: Block) -> Option<Message> {
        if block.cid().codec() != DAG_CBOR {
            return None;
        }
        let id = MessageId::from_cid(*block.cid());
        let message =
            Message::decode(id, block.into_bytes(), &core.network, core.limits.payload_bytes).ok()?;
        let oldest = self.torn.rules.bounds().filter(|_| self.torn.rules.time);
        let oldest = oldest.and_then(|bounds| bounds.oldest(core.clock.now()));
        let fits = message.author() == Some(&self.torn.author)
            && *message.topic() == self.torn.topic
            && message.seqno() < self.torn.below
            && oldest.is_none_or(|oldest| message.time() >= oldest);
        fits.then_some(message)
    }

    /// The oldest of what was fetched and not judged yet.
    pub(super) fn oldest(&self) -> Option<(MessageId, Bytes, Option<Remote>)> {
        let ((_, id), (message, from)) = self.found.first_key_value()?;
        Some((*id, message.encoded().clone(), from.clone()))
    }

    /// What the gate said of the oldest. What it refuses for good is nothing that is missing.
    pub(super) fn judged(&mut self, id: &MessageId, verdict: &Verdict) {
        self.found.pop_first();
        match verdict {
            Verdict::Accept => self.mended += 1,
            Verdict::Reject(_) => {}
            // The newest is told.
            Verdict::Ignore(_) | Verdict::Defer(_) => self.lost = Some(*id.cid()),
        }
    }
}

/// Names that one line may come across: messages that name many others are not followed into all of them.
const MAX_MET: usize = 4_096;
