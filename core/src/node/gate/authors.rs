//! The keys of authors heard lately: to decode one costs a tenth of checking a signature.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use libp2p_identity::{PeerId, PublicKey};
use lru::LruCache;

use crate::types::public_key;

const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1_024).expect("not zero");

/// A peer id holds its key, so what is remembered can be neither stale nor forged.
#[derive(Debug)]
pub(super) struct AuthorKeys(Mutex<LruCache<PeerId, PublicKey>>);

impl AuthorKeys {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::sparse(REMEMBERED)))
    }

    /// The key inside a peer id; `None` when it carries no ed25519 key.
    pub(super) fn of(&self, author: &PeerId) -> Option<PublicKey> {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = keys.get(author) {
            return Some(key.clone());
        }
        let key = public_key(author)?;
        keys.put(*author, key.clone());
        Some(key)
    }
}
