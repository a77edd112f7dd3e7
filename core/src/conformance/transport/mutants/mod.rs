//! Transports that are broken on purpose: each must be caught by its case, or the case proves nothing.

mod broadcast;
mod dag;
mod fetch;
mod hostile;
mod life;
mod load;
mod validation;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use libp2p_identity::Keypair;

use super::{Fixture, RawWire, Setup, Wrapped, Wrapper};
use crate::{Host, NetworkId, PeerAddr, PeerId, Result, Transport};

/// A way to break a transport.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Mutant {
    /// Its name.
    pub name: &'static str,
    /// What it does wrong.
    pub flaw: &'static str,
    /// The case that must catch it.
    pub case: &'static str,
    make: fn() -> Arc<dyn Wrapper>,
}

impl fmt::Debug for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// All of them, in the order of their cases.
pub fn mutants() -> impl Iterator<Item = &'static Mutant> {
    let groups = [
        broadcast::MUTANTS,
        validation::MUTANTS,
        fetch::MUTANTS,
        dag::MUTANTS,
        life::MUTANTS,
        load::MUTANTS,
        hostile::MUTANTS,
    ];
    groups.into_iter().flatten()
}

/// What a mutant remembers.
fn lock<T>(memory: &Mutex<T>) -> MutexGuard<'_, T> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A wire on which every transport has the flaw of a mutant.
#[derive(Debug)]
pub struct Mutated<F> {
    inner: F,
    mutant: Mutant,
}

impl<F> Mutated<F> {
    /// Breaks a wire.
    pub fn new(inner: F, mutant: Mutant) -> Self {
        Self { inner, mutant }
    }
}

#[async_trait]
impl<F: Fixture> Fixture for Mutated<F> {
    async fn open(&self, host: Host, setup: Setup) -> Result<Arc<dyn Transport>> {
        let wrapper = (self.mutant.make)();
        let wrapped = Wrapped::open(wrapper, host, |host| self.inner.open(host, setup)).await?;
        Ok(Arc::new(wrapped))
    }

    fn nowhere(&self) -> PeerAddr {
        self.inner.nowhere()
    }

    async fn cut(&self, one: &PeerId, other: &PeerId) -> bool {
        self.inner.cut(one, other).await
    }

    async fn hostile(&self, to: &PeerAddr, network: &NetworkId, key: &Keypair) -> Result<Box<dyn RawWire>> {
        self.inner.hostile(to, network, key).await
    }

    async fn half_open(&self, to: &PeerAddr, key: &Keypair) -> Result<Box<dyn RawWire>> {
        self.inner.half_open(to, key).await
    }

    async fn settle(&self) {
        self.inner.settle().await;
    }

    async fn collect_garbage(&self) {
        self.inner.collect_garbage().await;
    }

    fn allocated(&self) -> Option<usize> {
        self.inner.allocated()
    }

    fn patience(&self) -> Duration {
        self.inner.patience()
    }

    fn silence(&self) -> Duration {
        self.inner.silence()
    }
}
