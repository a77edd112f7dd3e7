//! A peer that is being asked.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use carrick_core::links::Miss;
use carrick_core::links::exchange::Provider;
use carrick_core::links::frames::{Broken, Heard, Hears};
use carrick_core::{PeerId, Remote};
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use super::Dag;
use super::stream::Io;
use crate::streams::OpenError;

/// What came of one peer, over all streams of ours, since somebody began to ask it.
#[derive(Debug)]
pub(super) struct Life {
    bytes: AtomicU64,
    /// Pings that it answered.
    pongs: AtomicU64,
    /// Whether its connection is QUIC, which ends by itself before a request has waited for all of `fetch_idle`.
    quic: AtomicBool,
    began: Instant,
}

impl Life {
    /// So many bytes of an answer came.
    pub(super) fn came(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn new() -> Self {
        let (bytes, pongs, quic) = Default::default();
        Self { bytes, pongs, quic, began: Instant::now() }
    }

    /// It answered a ping.
    pub(super) fn pong(&self) {
        self.pongs.fetch_add(1, Ordering::Relaxed);
    }

    /// Grows while it is known that the far end is there.
    fn signs(&self) -> u64 {
        match self.quic.load(Ordering::Relaxed) {
            true => u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX),
            false => self.pongs.load(Ordering::Relaxed),
        }
    }
}

/// A peer that is being asked. All that ask it at once share its life.
pub(super) struct Asked {
    dag: Arc<Dag>,
    peer: PeerId,
    remote: Remote,
    life: Arc<Life>,
}

impl Asked {
    pub(super) fn new(dag: &Arc<Dag>, peer: PeerId) -> Arc<Self> {
        let mut lives = dag.lives();
        let known = lives.get(&peer).and_then(Weak::upgrade);
        let life = known.unwrap_or_else(|| {
            let life = Arc::new(Life::new());
            lives.insert(peer, Arc::downgrade(&life));
            life
        });
        drop(lives);
        Arc::new(Self { dag: dag.clone(), peer, remote: Remote::Peer(peer), life })
    }
}

impl Drop for Asked {
    /// The last one takes the life out. Streams that it asked on are gone before it.
    fn drop(&mut self) {
        let mut lives = self.dag.lives();
        if Arc::strong_count(&self.life) == 1 {
            lives.remove(&self.peer);
        }
    }
}

impl Hears for Asked {
    fn heard(&self) -> Heard {
        Heard { answers: self.life.bytes.load(Ordering::Relaxed), signs: self.life.signs() }
    }
}

impl Provider for Asked {
    type Answer = Io;

    fn remote(&self) -> &Remote {
        &self.remote
    }

    async fn open(&self, request: Bytes) -> Result<Io, Miss> {
        let opened = self.dag.streams.open(self.peer, &self.dag.protocols).await;
        let (_, held) = opened.map_err(|why| match why {
            OpenError::Timeout => Miss::Stalled,
            OpenError::NotConnected | OpenError::Unsupported | OpenError::Broken => Miss::Lost,
        })?;
        self.life.quic.store(held.quic, Ordering::Relaxed);
        let mut stream = Io::new(held, Some(self.life.clone()));
        stream.write_all(&request).await.map_err(|_| Miss::Lost)?;
        stream.flush().await.map_err(|_| Miss::Lost)?;
        Ok(stream)
    }

    fn broke(&self, broken: &Broken) {
        self.dag.broken(self.peer, broken);
    }

    /// The window of a stream is its own here.
    fn walks(&self, _: bool) {}
}
