//! Content comes whole and checked, or not at all.

use super::{Kit, Outcome};
use crate::{Block, RAW};

pub(super) async fn block_is_fetched(kit: Kit) -> Outcome {
    let [near, far] = kit.pair().await;
    if near.caps().fetch.is_none() {
        assert!(near.transport.fetch().is_none(), "what is not promised is not there");
        return Outcome::Unsupported("fetch");
    }
    let block = Block::new(RAW, &b"content"[..]);
    far.put_blocks(std::slice::from_ref(&block)).await.expect("puts");
    let fetched = kit.soon("a block", near.block(block.cid(), vec![])).await.expect("it comes");
    assert_eq!(fetched, block);
    Outcome::Kept
}
