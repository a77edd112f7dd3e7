//! Who signed a message: keys of authors heard lately, and signatures that held for another node of this process.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use libp2p_identity::{PeerId, PublicKey};
use lru::LruCache;

use crate::types::public_key;
use crate::{Message, MessageId};

/// To decode a key costs a tenth of checking a signature.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1_024).expect("not zero");

/// Signatures that held, shared by the nodes of one process: each is checked once and not once for each node, so that a
/// simulated network of a hundred nodes runs twice as fast. Cloning is cheap; all clones are the same memo.
///
/// A message is remembered by its id, the hash of the whole envelope with author and signature in it. So what another node
/// finds here is what it would have found out itself. What does not hold is not remembered.
#[derive(Clone, Debug)]
pub struct SignatureMemo(Arc<Mutex<LruCache<MessageId, ()>>>);

impl SignatureMemo {
    /// Remembers the last `capacity` messages, of each only its id. Give it as many as are on their way at once.
    pub fn new(capacity: NonZeroUsize) -> Self {
        Self(Arc::new(Mutex::new(LruCache::sparse(capacity))))
    }

    fn knows(&self, id: &MessageId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).is_some()
    }

    fn remember(&self, id: MessageId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(id, ());
    }
}

/// What a node knows of authors. A peer id holds its key, so what is remembered can be neither stale nor forged.
#[derive(Debug)]
pub(super) struct Authors {
    keys: Mutex<LruCache<PeerId, PublicKey>>,
    memo: Option<SignatureMemo>,
}

impl Authors {
    pub(super) fn new(memo: Option<SignatureMemo>) -> Self {
        Self { keys: Mutex::new(LruCache::sparse(REMEMBERED)), memo }
    }

    /// Whether the author of a message signed it.
    pub(super) fn signed(&self, author: &PeerId, message: &Message) -> bool {
        if self.memo.as_ref().is_some_and(|memo| memo.knows(message.id())) {
            return true;
        }
        let holds = self.key(author).is_some_and(|key| message.signature_holds(&key));
        if let (true, Some(memo)) = (holds, &self.memo) {
            memo.remember(*message.id());
        }
        holds
    }

    /// The key inside a peer id; `None` when it carries no ed25519 key.
    fn key(&self, author: &PeerId) -> Option<PublicKey> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = keys.get(author) {
            return Some(key.clone());
        }
        let key = public_key(author)?;
        keys.put(*author, key.clone());
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use libp2p_identity::Keypair;

    use super::*;
    use crate::types::{Body, Draft};
    use crate::{NetworkId, Time, Topic};

    #[test]
    fn what_held_for_one_node_is_not_checked_by_another() {
        let key = Keypair::generate_ed25519();
        let (network, topic) = (NetworkId::new("n").expect("a network"), Topic::new("t").expect("a topic"));
        let body = Body::Inline(bytes::Bytes::new());
        let draft =
            Draft { network: &network, topic: &topic, seqno: 1, time: Time(0), parents: vec![], body };
        let (message, author) = (draft.sign(&key).expect("signs"), key.public().to_peer_id());
        let memo = SignatureMemo::new(REMEMBERED);
        let nodes = [Authors::new(Some(memo.clone())), Authors::new(Some(memo)), Authors::new(None)];

        let stranger = Keypair::generate_ed25519().public().to_peer_id();
        assert!(
            nodes.iter().all(|node| !node.signed(&stranger, &message)),
            "what does not hold is no memory"
        );
        assert!(nodes.iter().all(|node| node.signed(&author, &message)));
        let looked_at_the_key = nodes.map(|node| node.keys.into_inner().expect("a lock").contains(&author));
        assert_eq!(looked_at_the_key, [true, false, true]);
    }
}
