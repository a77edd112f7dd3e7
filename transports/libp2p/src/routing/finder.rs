//! The handle: what the rest of the transport asks of routing.

use std::time::Duration;

use bytes::Bytes;
use carrick_core::{Cid, Error, ErrorKind, Host, Multiaddr, PeerId, Result};
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::jobs::{Provider, Reply, TooMany};
use super::saver::Saver;
use super::schedule::Outcome;

/// Lookups that may wait for the swarm, and announcements; who asks waits for room.
pub(super) const WAITING: usize = 256;
/// Most providers that one search answers.
pub(crate) const MAX_PROVIDERS: usize = 256;
/// How long the swarm has, at the end, to say what strangers announced.
const SAVING: Duration = Duration::from_millis(100);
/// How long an answer may take in all: two rounds of a lookup, and a turn.
const DEADLINE: Duration = Duration::from_secs(150);

/// Something to tell the network, on its way to the swarm.
#[derive(Debug)]
pub(super) enum Tell {
    Announce { root: Bytes, reply: Reply },
    Withdraw { roots: Vec<Bytes>, reply: oneshot::Sender<()> },
}

/// Something to find out: somebody waits for it, and it does not wait behind what is only told.
#[derive(Debug)]
pub(super) enum Lookup {
    Providers { key: Bytes, limit: usize, to: mpsc::Sender<Provider> },
    Peer { peer: PeerId, reply: oneshot::Sender<Vec<Multiaddr>> },
}

/// Announces, and finds providers and peers. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Finder {
    host: Host,
    tells: mpsc::Sender<Tell>,
    lookups: mpsc::Sender<Lookup>,
    saves: mpsc::Sender<oneshot::Sender<()>>,
    saver: Saver,
}

/// Where the swarm takes them.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) tells: mpsc::Receiver<Tell>,
    pub(super) lookups: mpsc::Receiver<Lookup>,
    /// What strangers announced is to be saved now.
    pub(super) saves: mpsc::Receiver<oneshot::Sender<()>>,
}

impl Finder {
    pub(super) fn new(host: Host, saver: Saver) -> (Self, Inbox) {
        let (tells, told) = mpsc::channel(WAITING);
        let (lookups, looked_up) = mpsc::channel(WAITING);
        let (saves, to_save) = mpsc::channel(1);
        let inbox = Inbox { tells: told, lookups: looked_up, saves: to_save };
        (Self { host, tells, lookups, saves, saver }, inbox)
    }

    /// Tells the network that this node provides a root, now and again until it is [withdrawn](Self::withdraw), also after a
    /// restart. Does nothing without a table.
    ///
    /// Waits so long for the peers nearest to it to be told: then it goes on without anybody who waits, and is no error.
    ///
    /// What is provided is named by the hash alone, as Kubo does: two CIDs with one hash are one. Where many are announced already
    /// nobody waits for its turn, and this answers at once.
    ///
    /// # Errors
    /// `NoPeers` when nobody was there, `Timeout`: the root is provided all the same, and announced when there is somebody;
    /// `Full` when as many roots are provided as may be; `Closed`.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it open whether the root is provided; an announcement that began goes on.
    pub(crate) async fn announce(&self, root: &Cid, waits: Duration) -> Result<()> {
        let root = key(root);
        let answer = self.send("announce", &self.tells, |reply| Tell::Announce { root, reply }).await?;
        let Ok(answer) = timeout(waits, answer).await else { return Ok(()) };
        match answer.map_err(|_| self.closed("announce"))? {
            Ok(None | Some(Outcome::Told)) => Ok(()),
            Ok(Some(Outcome::NoPeers)) => {
                Err(self.failed(ErrorKind::NoPeers, "announce", "nobody is there to tell yet"))
            }
            Ok(Some(Outcome::Timeout)) => Err(self.failed(
                ErrorKind::Timeout,
                "announce",
                "the peers nearest to it did not answer in time",
            )),
            Err(TooMany) => Err(self.failed(
                ErrorKind::Full,
                "announce",
                &format!("{} roots are announced, and no more may be", super::MAX_ROOTS),
            )),
        }
    }

    /// Ends [`announce`](Self::announce); what others were told lives out its time, at most 48 hours.
    ///
    /// # Errors
    /// `Timeout`, `Closed`.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it open whether it is still provided.
    pub(crate) async fn withdraw(&self, roots: &[Cid]) -> Result<()> {
        let roots = roots.iter().map(key).collect();
        self.ask("withdraw", &self.tells, |reply| Tell::Withdraw { roots, reply }).await
    }

    /// Peers that say they have what a CID names, as they are found, each once, at most `limit` and
    /// [`MAX_PROVIDERS`]; this node itself and peers that are not admitted are left out. Their addresses may be none, where
    /// nobody knew them.
    ///
    /// Ends when nobody nearer is left to ask, or after some time. Dropping the stream ends the search.
    pub(crate) fn providers(&self, cid: &Cid, limit: usize) -> BoxStream<'static, Provider> {
        let limit = limit.min(MAX_PROVIDERS);
        if limit == 0 {
            return stream::empty().boxed();
        }
        let (to, found) = mpsc::channel(limit);
        let (key, lookups) = (key(cid), self.lookups.clone());
        let begun = async move {
            // When the swarm has ended, the other end of `found` goes with the lookup.
            let _ = lookups.send(Lookup::Providers { key, limit, to }).await;
            stream::unfold(found, |mut found| async { Some((found.recv().await?, found)) })
        };
        begun.flatten_stream().take_until(sleep(DEADLINE)).boxed()
    }

    /// Where a peer listens, as the network knows it; none when nobody does. What this node knew before comes first.
    ///
    /// # Errors
    /// `Timeout`, `Closed`.
    ///
    /// # Cancel safety
    /// Dropping the future ends the search.
    pub(crate) async fn find_peer(&self, peer: PeerId) -> Result<Vec<Multiaddr>> {
        self.ask("find_peer", &self.lookups, |reply| Lookup::Peer { peer, reply }).await
    }

    /// Writes what must survive a restart and is not on the disk yet: before the transport closes.
    ///
    /// # Errors
    /// Those of [`Host::save`].
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn flush(&self) -> Result<()> {
        // Where the swarm has ended already, or is busy, what it saved last is there.
        let _ = timeout(SAVING, self.ask("flush", &self.saves, |reply| reply)).await;
        self.saver.flush().await
    }

    async fn ask<T, Q>(
        &self,
        what: &'static str,
        to: &mpsc::Sender<Q>,
        question: impl FnOnce(oneshot::Sender<T>) -> Q,
    ) -> Result<T> {
        let answer = self.send(what, to, question).await?;
        let answered = timeout(DEADLINE, answer).await.map_err(|_| self.late(what))?;
        answered.map_err(|_| self.closed(what))
    }

    /// Asks, and answers where the answer comes.
    async fn send<T, Q>(
        &self,
        what: &'static str,
        to: &mpsc::Sender<Q>,
        question: impl FnOnce(oneshot::Sender<T>) -> Q,
    ) -> Result<oneshot::Receiver<T>> {
        let (reply, answer) = oneshot::channel();
        let sent = timeout(DEADLINE, to.send(question(reply))).await.map_err(|_| self.late(what))?;
        sent.map_err(|_| self.closed(what))?;
        Ok(answer)
    }

    fn late(&self, what: &'static str) -> Error {
        self.failed(ErrorKind::Timeout, what, "the network did not answer in time")
    }

    fn closed(&self, what: &'static str) -> Error {
        self.failed(ErrorKind::Closed, what, "the transport is closed")
    }

    fn failed(&self, kind: ErrorKind, operation: &'static str, detail: &str) -> Error {
        Error::new(kind, operation, detail).on(self.host.instance().to_owned())
    }
}

/// What content is called in a table: its hash.
pub(super) fn key(cid: &Cid) -> Bytes {
    cid.hash().to_bytes().into()
}
