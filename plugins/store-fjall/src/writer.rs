//! The one thread that writes: it takes whatever has queued, writes it as one batch, flushes once, and answers all.
//!
//! So concurrent writers share a flush, which is what a write to disk costs, and nothing blocks the async runtime. The
//! queue is bounded in count and in bytes; who finds it full waits.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use carrick_core::{Error, ErrorKind, Result, Usage};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use crate::batch::{Batch, Committed, FLOOR_BYTES, Room, Write, free_bytes};
use crate::database::Database;
use crate::error::{closed, failed};

/// Most writes that wait, and most that share a flush.
const QUEUE_WRITES: usize = 1_024;
/// Most bytes that wait.
const QUEUE_BYTES: usize = 16 << 20;
/// A batch takes no further write once it has this many bytes. A single larger write goes alone.
pub(crate) const BATCH_BYTES: usize = 4 << 20;
/// How long a write waits for the database's background, which may be tidying up much, before it is to be tried again.
const PATIENCE: Duration = Duration::from_secs(60);

type Answer = oneshot::Sender<Result<bool>>;

/// A write, who waits for it, and its share of the queue's bytes.
struct Request {
    write: Write,
    answer: Answer,
    room: OwnedSemaphorePermit,
}

/// A request whose write was taken. Its bytes count until it is answered.
struct Waiter {
    operation: &'static str,
    answer: Answer,
    _room: OwnedSemaphorePermit,
}

impl Request {
    fn waiter(self) -> Waiter {
        Waiter { operation: self.write.operation(), answer: self.answer, _room: self.room }
    }
}

/// The queue to the writing thread. Dropping it lets the thread finish what waits, and end.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: Mutex<Option<mpsc::Sender<Request>>>,
    room: Arc<Semaphore>,
    ended: watch::Receiver<()>,
    shared: Arc<Shared>,
}

/// What the thread tells everybody.
#[derive(Debug)]
struct Shared {
    usage: Mutex<Usage>,
    flushes: AtomicU64,
}

/// A write in the queue.
pub(crate) struct Pending {
    operation: &'static str,
    answer: oneshot::Receiver<Result<bool>>,
}

impl Pending {
    /// Waits until the write is durable, or refused. Answers whether there was something to delete.
    pub(crate) async fn done(self) -> Result<bool> {
        let gone = || Error::new(ErrorKind::Unexpected, self.operation, "the writing thread is gone");
        self.answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

impl Writer {
    /// Starts the thread. `disk` is where free space is looked for.
    pub(crate) fn start(db: Database, room: Room, disk: PathBuf) -> Result<Self> {
        Self::start_with(db, room, disk, PATIENCE)
    }

    fn start_with(db: Database, room: Room, disk: PathBuf, patience: Duration) -> Result<Self> {
        let usage = db.usage()?;
        let shared = Arc::new(Shared { usage: Mutex::new(usage), flushes: AtomicU64::new(0) });
        let (queue, requests) = mpsc::channel(QUEUE_WRITES);
        let (ending, ended) = watch::channel(());
        let thread =
            Thread { db, room, disk, usage, was_full: false, patience, broken: None, shared: shared.clone() };
        let body = move || {
            thread.run(requests);
            drop(ending);
        };
        std::thread::Builder::new().name("carrick-store".into()).spawn(body).map_err(|source| {
            Error::new(ErrorKind::Unexpected, "open", "no thread for writing").from_source(source)
        })?;
        Ok(Self {
            queue: Mutex::new(Some(queue)),
            room: Arc::new(Semaphore::new(QUEUE_BYTES)),
            ended,
            shared,
        })
    }

    /// Queues a write, waiting for room.
    pub(crate) async fn queue(&self, write: Write) -> Result<Pending> {
        let operation = write.operation();
        let queue = self.sender().ok_or_else(|| closed(operation))?;
        let bytes = u32::try_from(write.size().min(QUEUE_BYTES)).unwrap_or(u32::MAX);
        let room = self.room.clone().acquire_many_owned(bytes).await.map_err(|_| closed(operation))?;
        let (answer, answered) = oneshot::channel();
        // A thread that is gone answers by dropping the request; see `Pending::done`.
        let _ = queue.send(Request { write, answer, room }).await;
        Ok(Pending { operation, answer: answered })
    }

    /// The counters after the last flush.
    pub(crate) fn usage(&self, operation: &'static str) -> Result<Usage> {
        self.sender().ok_or_else(|| closed(operation))?;
        Ok(*self.shared.usage.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How often the disk was flushed.
    pub(crate) fn flushes(&self) -> u64 {
        self.shared.flushes.load(Ordering::Relaxed)
    }

    /// Takes no more writes, and returns when those that waited are answered and the thread let go of the database.
    pub(crate) async fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }

    fn sender(&self) -> Option<mpsc::Sender<Request>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The writing thread.
struct Thread {
    db: Database,
    room: Room,
    disk: PathBuf,
    usage: Usage,
    /// Whether the disk was ever found full. The database's own threads fail then, too, some time later, and do not say why.
    was_full: bool,
    patience: Duration,
    /// Set by the first failed write. After it the database cannot tell what is on disk, so it only reads.
    broken: Option<Broken>,
    shared: Arc<Shared>,
}

impl Thread {
    /// Serves until nobody can ask any more.
    fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        while let Some(first) = requests.blocking_recv() {
            let mut bytes = first.write.size();
            let mut group = vec![first];
            while bytes < BATCH_BYTES && group.len() < QUEUE_WRITES {
                let Ok(next) = requests.try_recv() else { break };
                bytes += next.write.size();
                group.push(next);
            }
            self.serve(group);
        }
    }

    /// Writes a group as one batch and answers everybody in it.
    fn serve(&mut self, group: Vec<Request>) {
        if let Some(broken) = &self.broken {
            return refuse(group.into_iter().map(Request::waiter), broken);
        }
        self.look_at_disk();
        let mut batch = Batch::new(&self.db, &self.room, self.usage, &self.disk);
        let mut waiting = Vec::with_capacity(group.len());
        for Request { write, answer, room } in group {
            let operation = write.operation();
            match batch.add(write) {
                Ok(changed) => waiting.push((Waiter { operation, answer, _room: room }, changed)),
                Err(error) => reply(answer, Err(error)),
            }
        }
        let ready = wait_for_background(&self.db, self.patience);
        if matches!(ready, Ok(false)) {
            return waiting.into_iter().for_each(|(waiter, _)| {
                let busy = busy(waiter.operation, self.patience);
                reply(waiter.answer, Err(busy));
            });
        }
        match ready.and_then(|_| batch.commit()) {
            Ok(committed) => {
                self.committed(committed);
                waiting.into_iter().for_each(|(waiter, changed)| reply(waiter.answer, Ok(changed)));
            }
            Err(cause) => {
                self.look_at_disk();
                let broken = self.broken.insert(Broken {
                    cause: Arc::new(cause),
                    full: self.was_full.then(|| self.disk.clone()),
                });
                let cause = broken.error("write");
                tracing::error!(%cause, "the store failed to write and only reads until it is opened again");
                refuse(waiting.into_iter().map(|(waiter, _)| waiter), broken);
            }
        }
    }

    fn look_at_disk(&mut self) {
        self.was_full |= free_bytes(&self.disk) < FLOOR_BYTES;
    }

    fn committed(&mut self, committed: Committed) {
        self.usage = committed.usage;
        self.shared.flushes.fetch_add(u64::from(committed.flushed), Ordering::Relaxed);
        *self.shared.usage.lock().unwrap_or_else(PoisonError::into_inner) = committed.usage;
    }
}

/// The failed write that stopped the store.
struct Broken {
    cause: Arc<fjall::Error>,
    /// The disk, if it was full.
    full: Option<PathBuf>,
}

impl Broken {
    fn error(&self, operation: &'static str) -> Error {
        let error = failed(operation, self.cause.clone());
        let told = error.kind() == ErrorKind::Full || matches!(*self.cause, fjall::Error::Poisoned);
        let Some(disk) = self.full.as_ref().filter(|_| told) else {
            return error.mend(
                "the store only reads now: make room if the disk was full, look after it otherwise, then start the \
                 node again",
            );
        };
        let detail = format!("the disk of {} ran full: {}", disk.display(), error.detail());
        Error::new(ErrorKind::Full, operation, detail)
            .mend("the store only reads now: make room on the disk, then start the node again")
    }
}

/// Answers everybody with the failed write that stopped the store.
fn refuse(waiting: impl Iterator<Item = Waiter>, broken: &Broken) {
    for Waiter { operation, answer, .. } in waiting {
        reply(answer, Err(broken.error(operation)));
    }
}

/// Answers one caller, who may have gone.
fn reply(answer: Answer, outcome: Result<bool>) {
    let _ = answer.send(outcome);
}

/// Lets the database's own threads catch up; `false` when they did not in time. A write would wait for them inside the database
/// too, but without a deadline and without noticing that they failed.
fn wait_for_background(db: &Database, patience: Duration) -> fjall::Result<bool> {
    let started = Instant::now();
    while !db.keeps_up()? {
        if started.elapsed() > patience {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(true)
}

/// Nothing was written, and nothing is wrong but that the disk is slow.
fn busy(operation: &'static str, waited: Duration) -> Error {
    let detail = format!("the store is tidying up, and took no write for {} s", waited.as_secs_f64());
    Error::new(ErrorKind::Busy, operation, detail)
        .mend("try again; a disk that is this slow should be looked after")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Space;
    use carrick_core::{Block, RAW};

    #[tokio::test]
    async fn a_write_that_the_background_holds_up_is_to_be_tried_again_and_breaks_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let db = Database::open_without_background(folder.path()).expect("opens");
        let room = Room { max_bytes: None, reserve_bytes: 0 };
        let disk = folder.path().to_owned();
        let writer = Writer::start_with(db.clone(), room, disk, Duration::from_millis(20)).expect("starts");
        let put = async |n: u8| {
            let block = Block::new(RAW, vec![n; 1_000]);
            writer.queue(Write::Put(vec![block])).await.expect("queued").done().await
        };
        // Nobody writes tables, so that what is sealed stays so.
        for n in 0..2 {
            put(n).await.expect("room");
            db.space(Space::Blocks).rotate_memtable().expect("sealed");
        }
        for _ in 0..2 {
            let error = put(9).await.expect_err("held up");
            assert_eq!(error.kind(), ErrorKind::Busy);
            assert!(error.hint().is_some());
        }
    }
}
