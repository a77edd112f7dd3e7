//! The one task that changes what is stored: it takes whatever puts have queued, gives them to the daemon together,
//! enters them in the index, and answers all.
//!
//! So concurrent writers share what a daemon takes long for, and no block is let go that another write counts on. A block is
//! in the index only after the daemon holds it, and out of it before the daemon lets it go: whatever breaks in between leaves
//! a block in the daemon that nobody misses.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use carrick_core::{Block, Cid, Error, ErrorKind, Result, Usage};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::daemon::Daemon;
use super::debt::Debt;
use super::index::{Index, Removed};
use crate::hold;
use crate::rpc::calls::raw;
use crate::shared::lock;

/// Most writes that wait.
const QUEUE_WRITES: usize = 1_024;
/// Most bytes that wait.
const QUEUE_BYTES: usize = 16 << 20;
/// The daemon is given no further put together with so many bytes or blocks. A single larger one goes alone.
const BATCH_BYTES: usize = 4 << 20;
const BATCH_BLOCKS: usize = 1_024;

type Answer = oneshot::Sender<Result<bool>>;

/// A write that waits for its turn.
struct Job {
    write: Write,
    answer: Answer,
    /// Its share of the queue's bytes, until it is answered.
    room: OwnedSemaphorePermit,
}

pub(super) enum Write {
    Put(Vec<Block>),
    Delete(Cid),
    /// The daemon said that it has it not.
    Lost(Cid),
}

/// The way to the task, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Queue {
    jobs: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
}

/// A write in the queue.
pub(super) struct Pending(oneshot::Receiver<Result<bool>>);

impl Pending {
    /// Waits until the write is durable, or refused; `None` when the task has ended.
    pub(super) async fn done(self) -> Option<Result<bool>> {
        self.0.await.ok()
    }
}

impl Queue {
    /// Queues a write, waiting for room.
    pub(super) async fn write(&self, write: Write) -> Pending {
        let bytes = if let Write::Put(blocks) = &write { size(blocks).min(QUEUE_BYTES) } else { 0 };
        let (answer, answered) = oneshot::channel();
        // The semaphore is never closed. A task that has ended answers by dropping the job.
        if let Ok(room) = Arc::clone(&self.room).acquire_many_owned(bytes as u32).await {
            let _ = self.jobs.send(Job { write, answer, room }).await;
        }
        Pending(answered)
    }
}

/// Cuts what one call wants to write into parts that go together.
pub(super) fn parts(blocks: &[Block]) -> Vec<Vec<Block>> {
    let mut parts: Vec<Vec<Block>> = Vec::new();
    let mut bytes = 0;
    for block in blocks {
        bytes += block.size();
        match parts.last_mut() {
            Some(part) if bytes <= BATCH_BYTES && part.len() < BATCH_BLOCKS => part.push(block.clone()),
            _ => {
                bytes = block.size();
                parts.push(vec![block.clone()]);
            }
        }
    }
    parts
}

fn size(blocks: &[Block]) -> usize {
    blocks.iter().map(Block::size).sum()
}

/// The task.
pub(super) struct Writer {
    index: Arc<Index>,
    daemon: Arc<Daemon>,
    usage: Arc<Mutex<Usage>>,
    max_bytes: Option<u64>,
    debt: Debt,
    jobs: mpsc::Receiver<Job>,
}

/// New blocks of several puts.
#[derive(Default)]
struct Group {
    new: BTreeMap<Cid, Block>,
    usage: Usage,
    waiting: Vec<(Answer, OwnedSemaphorePermit)>,
}

impl Writer {
    pub(super) fn new(
        index: Arc<Index>,
        daemon: Arc<Daemon>,
        usage: Arc<Mutex<Usage>>,
        max_bytes: Option<u64>,
        debt: Debt,
    ) -> (Queue, Self) {
        let (sender, jobs) = mpsc::channel(QUEUE_WRITES);
        let queue = Queue { jobs: sender, room: Arc::new(Semaphore::new(QUEUE_BYTES)) };
        (queue, Self { index, daemon, usage, max_bytes, debt, jobs })
    }

    /// Serves until nobody can ask any more.
    pub(super) async fn run(mut self) {
        let mut next = None;
        loop {
            let job = match next.take() {
                Some(job) => Some(job),
                None => self.next().await,
            };
            let Some(Job { write, answer, room }) = job else { return };
            match write {
                Write::Put(blocks) => next = self.put(blocks, answer, room).await,
                Write::Delete(cid) => reply(answer, self.delete(&cid).await),
                Write::Lost(cid) => reply(answer, self.lost(&cid).await),
            }
        }
    }

    /// The next write. Until it comes, what is owed is paid.
    async fn next(&mut self) -> Option<Job> {
        tokio::select! {
            job = self.jobs.recv() => job,
            () = self.debt.pay() => None,
        }
    }

    /// Puts blocks together with what else waits to be put. Answers the first other write that it met.
    async fn put(&mut self, blocks: Vec<Block>, answer: Answer, room: OwnedSemaphorePermit) -> Option<Job> {
        let mut group = Group { usage: *lock(&self.usage), ..Group::default() };
        let (mut bytes, mut number, mut next) = (size(&blocks), blocks.len(), None);
        self.add(&mut group, blocks, answer, room).await;
        while bytes < BATCH_BYTES && number < BATCH_BLOCKS {
            match self.jobs.try_recv() {
                Ok(Job { write: Write::Put(blocks), answer, room }) => {
                    bytes += size(&blocks);
                    number += blocks.len();
                    self.add(&mut group, blocks, answer, room).await;
                }
                other => {
                    next = other.ok();
                    break;
                }
            }
        }
        self.keep(group).await;
        next
    }

    /// Adds a put to those that go together, unless there is nothing to do for it, or no room.
    async fn add(
        &mut self,
        group: &mut Group,
        blocks: Vec<Block>,
        answer: Answer,
        room: OwnedSemaphorePermit,
    ) {
        match self.choose(group, blocks).await {
            Ok(true) => group.waiting.push((answer, room)),
            Ok(false) => reply(answer, Ok(true)),
            Err(error) => reply(answer, Err(error)),
        }
    }

    /// Takes those blocks into the group that are not there yet; `false` if all are.
    async fn choose(&mut self, group: &mut Group, blocks: Vec<Block>) -> Result<bool> {
        let (mut new, mut waits) = (BTreeMap::new(), false);
        for block in blocks {
            waits |= group.new.contains_key(block.cid());
            if !group.new.contains_key(block.cid()) && self.index.size(block.cid()).await?.is_none() {
                new.insert(*block.cid(), block);
            }
        }
        let bytes = new.values().map(|block| block.size() as u64).sum::<u64>();
        let total = group.usage.bytes.saturating_add(bytes);
        if let Some(max) = self.max_bytes.filter(|max| bytes > 0 && total > *max) {
            let detail = format!("the blocks would take {total} bytes; the quota is {max}");
            return Err(Error::new(ErrorKind::Full, "put", detail)
                .mend("raise `max_bytes` of the store, or delete what is not needed"));
        }
        group.usage = Usage::new(group.usage.blocks + new.len() as u64, total);
        waits |= !new.is_empty();
        group.new.extend(new);
        Ok(waits)
    }

    /// Has the daemon hold the new blocks, enters them, and answers who waits.
    async fn keep(&mut self, group: Group) {
        let Group { new, usage, waiting } = group;
        let blocks: Vec<Block> = new.into_values().collect();
        let kept = self.hold(&blocks, usage).await;
        if kept.is_ok() {
            *lock(&self.usage) = usage;
            for block in &blocks {
                self.debt.strike(&raw(block.cid()));
            }
        }
        for (answer, _room) in waiting {
            reply(answer, kept.clone().map(|()| true));
        }
    }

    async fn hold(&mut self, blocks: &[Block], usage: Usage) -> Result<()> {
        self.debt.leave(&blocks.iter().map(|block| raw(block.cid())).collect()).await;
        // An empty one is known by its CID.
        let given = blocks.iter().filter(|block| block.size() > 0);
        let given: Vec<_> = given.map(|block| (*block.cid(), block.bytes().clone())).collect();
        if !given.is_empty() {
            hold::hold(&self.daemon.rpc, &given).await.map_err(|fault| fault.into_error("put"))?;
            self.daemon.is_the_same("put").await?;
        }
        if blocks.is_empty() { Ok(()) } else { self.index.add(blocks, usage).await }
    }

    async fn delete(&mut self, cid: &Cid) -> Result<bool> {
        let Some(Removed { usage, last }) = self.index.remove(cid, true).await? else { return Ok(false) };
        *lock(&self.usage) = usage;
        if last {
            self.debt.owe(raw(cid));
        }
        Ok(true)
    }

    /// Takes a block out that the daemon has lost; `false` if it has not.
    async fn lost(&mut self, cid: &Cid) -> Result<bool> {
        self.daemon.is_the_same("get").await?;
        let missing = hold::missing(&self.daemon.rpc, std::slice::from_ref(cid)).await;
        if missing.map_err(|fault| fault.into_error("get"))?.is_empty() {
            return Ok(false);
        }
        if let Some(Removed { usage, .. }) = self.index.remove(cid, false).await? {
            *lock(&self.usage) = usage;
            tracing::warn!(%cid, daemon = ?self.daemon, "the daemon has lost a block that it held");
        }
        Ok(true)
    }
}

/// Answers one caller, who may have gone.
fn reply(answer: Answer, outcome: Result<bool>) {
    let _ = answer.send(outcome);
}
