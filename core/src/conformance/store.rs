//! What a [`Store`] promises. `store_suite!(Fixture)` makes a test of each case.

use std::future::Future;

use bytes::Bytes;
use cid::Cid;
use futures::future::join_all;
use futures::stream::TryStreamExt;

use crate::{Block, Claim, ErrorKind, Kept, Owner, Pin, PinDepth, RAW, Result, Store, Usage};

/// Opens a kind of store to be tried.
pub trait StoreFixture: Sized + Send + Sync {
    /// An empty store in a place of its own, which holds at most `max_bytes` of blocks.
    fn open(max_bytes: Option<u64>) -> impl Future<Output = Self> + Send;

    /// The store.
    fn store(&self) -> &dyn Store;
}

/// Makes a named test of every promise of a store: `store_suite!(MyFixture);` with a
/// [`StoreFixture`](crate::conformance::store::StoreFixture). The calling crate needs tokio with `macros` and `rt`.
#[macro_export]
macro_rules! store_suite {
    ($fixture:ty) => {
        $crate::store_suite!($fixture:
            a_block_comes_back,
            an_absent_block_is_none,
            a_block_written_twice_counts_once,
            a_deleted_block_is_gone,
            blocks_are_listed_in_the_order_of_their_bytes,
            concurrent_writers_all_succeed,
            a_full_store_refuses_and_stays_readable,
            pins_belong_to_their_owners,
            pinning_again_replaces_the_depth,
            metadata_is_written_listed_and_deleted,
            what_is_kept_together_is_there,
            a_closed_store_answers_closed,
        );
    };
    ($fixture:ty: $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $case() {
                $crate::conformance::store::$case::<$fixture>().await;
            }
        )+
    };
}

/// Blocks of all kinds come back as they were: empty, large, and of a CID of version 0.
pub async fn a_block_comes_back<F: StoreFixture>() {
    let fixture = F::open(None).await;
    let blocks = [numbered(1), Block::new(RAW, Bytes::new()), Block::new(RAW, vec![7; 2 << 20]), version_0()];
    fixture.store().put(&blocks).await.expect("put");
    for block in &blocks {
        assert!(fixture.store().has(block.cid()).await.expect("has"));
        assert_eq!(fixture.store().get(block.cid()).await.expect("get").as_ref(), Some(block));
        let claim = fixture.store().claim(block.cid()).await.expect("claim").expect("it is there");
        assert_eq!(claim.check().as_ref().expect("its bytes"), block);
    }
}

/// Blocks, pins and metadata that are written together are all there; what does not fit leaves no pin and no metadata.
pub async fn what_is_kept_together_is_there<F: StoreFixture>() {
    let fixture = F::open(Some(4 << 10)).await;
    let store = fixture.store();
    let kept = |block: Block| Kept {
        pins: vec![Pin { cid: *block.cid(), owner: Owner::user(), depth: PinDepth::Block }],
        meta: vec![(format!("of/{}", block.cid()), Some(Bytes::from_static(b"it")))],
        blocks: vec![block],
    };
    let (fits, large) = (kept(numbered(1)), kept(Block::new(RAW, vec![7; 8 << 10])));
    store.keep(&fits).await.expect("keeps");
    store.keep(&fits).await.expect("keeps again");
    assert_eq!(store.keep(&large).await.expect_err("too large").kind(), ErrorKind::Full);
    assert_eq!(store.get(fits.blocks[0].cid()).await.expect("get").as_ref(), Some(&fits.blocks[0]));
    let pins: Vec<Pin> = store.pins(None).try_collect().await.expect("pins");
    assert_eq!(pins, fits.pins);
    let meta: Vec<(String, Bytes)> = store.list_meta("of/").try_collect().await.expect("metadata");
    assert_eq!(
        meta,
        fits.meta.into_iter().map(|(key, value)| (key, value.expect("set"))).collect::<Vec<_>>()
    );
    let gone = Kept { meta: vec![(meta[0].0.clone(), None)], ..Kept::default() };
    store.keep(&gone).await.expect("keeps");
    assert_eq!(store.meta(&meta[0].0).await.expect("meta"), None);
}

/// What was never written is absent, which is no error.
pub async fn an_absent_block_is_none<F: StoreFixture>() {
    let fixture = F::open(None).await;
    let cid = *numbered(1).cid();
    assert_eq!(fixture.store().get(&cid).await.expect("get"), None);
    assert!(fixture.store().claim(&cid).await.expect("claim").is_none());
    assert!(!fixture.store().has(&cid).await.expect("has"));
    assert!(!fixture.store().delete(&cid).await.expect("delete"));
    fixture.store().put(&[]).await.expect("nothing to write");
    assert_eq!(usage(fixture.store()).await, Usage::new(0, 0));
}

/// Twice in one call, or in two, is once.
pub async fn a_block_written_twice_counts_once<F: StoreFixture>() {
    let fixture = F::open(None).await;
    let block = numbered(1);
    let size = block.size() as u64;
    for _ in 0..2 {
        fixture.store().put(&[block.clone(), block.clone()]).await.expect("put");
        assert_eq!(usage(fixture.store()).await, Usage::new(1, size));
    }
}

/// A deleted block is neither found, listed nor counted, whoever pinned it, and can be written again.
pub async fn a_deleted_block_is_gone<F: StoreFixture>() {
    let fixture = F::open(None).await;
    let store = fixture.store();
    let (gone, stays) = (numbered(1), numbered(2));
    store.put(&[gone.clone(), stays.clone()]).await.expect("put");
    store.pin(&Pin::recursive(*gone.cid(), Owner::user())).await.expect("pin");
    assert!(store.delete(gone.cid()).await.expect("delete"));
    assert!(!store.delete(gone.cid()).await.expect("delete"));
    assert_eq!(store.get(gone.cid()).await.expect("get"), None);
    assert_eq!(listed(store).await, [*stays.cid()]);
    assert_eq!(usage(store).await, Usage::new(1, stays.size() as u64));
    store.put(std::slice::from_ref(&gone)).await.expect("put");
    assert_eq!(store.get(gone.cid()).await.expect("get"), Some(gone));
}

/// The list is whole and sorted, however long it is.
pub async fn blocks_are_listed_in_the_order_of_their_bytes<F: StoreFixture>() {
    let fixture = F::open(None).await;
    let mut blocks: Vec<Block> = (0..1_500).map(numbered).collect();
    blocks.push(version_0());
    fixture.store().put(&blocks).await.expect("put");
    let mut expected: Vec<Cid> = blocks.iter().map(|block| *block.cid()).collect();
    expected.sort_by_key(Cid::to_bytes);
    assert_eq!(listed(fixture.store()).await, expected);
}

/// Many writers at once, all of them answered, each block once.
pub async fn concurrent_writers_all_succeed<F: StoreFixture>() {
    let fixture = F::open(None).await;
    let store = fixture.store();
    let writes = (0..64).map(|n| async move { store.put(&[numbered(n), numbered(n / 2)]).await });
    for written in join_all(writes).await {
        written.expect("put");
    }
    assert_eq!(usage(store).await.blocks, 64);
}

/// Beyond the quota the answer is `Full`; what is there stays, deleting makes room again.
pub async fn a_full_store_refuses_and_stays_readable<F: StoreFixture>() {
    let size = numbered(0).size() as u64;
    let fixture = F::open(Some(2 * size)).await;
    let store = fixture.store();
    let [first, second, third] = [numbered(1), numbered(2), numbered(3)];
    store.put(&[first.clone(), second.clone()]).await.expect("exactly full");
    let refused = store.put(std::slice::from_ref(&third)).await.expect_err("above the quota");
    assert_eq!(refused.kind(), ErrorKind::Full);
    assert_eq!(usage(store).await, Usage::new(2, 2 * size));
    store.put(std::slice::from_ref(&first)).await.expect("what is there costs nothing");
    assert_eq!(store.get(second.cid()).await.expect("get"), Some(second));
    store.pin(&Pin::recursive(*first.cid(), Owner::user())).await.expect("pins take no block's room");
    assert!(store.delete(first.cid()).await.expect("delete"));
    store.put(&[third]).await.expect("there is room again");
}

/// Each owner has its own pin on a block; the list is sorted by CID and owner, and can be narrowed to an owner.
pub async fn pins_belong_to_their_owners<F: StoreFixture>() {
    let fixture = F::open(None).await;
    let store = fixture.store();
    let (user, ledger) = (Owner::user(), Owner::new("ledger/sensors"));
    let mut expected = Vec::new();
    for cid in [*numbered(1).cid(), *version_0().cid(), *numbered(2).cid()] {
        for owner in [&user, &ledger] {
            let pin = Pin { cid, owner: owner.clone(), depth: PinDepth::Block };
            store.pin(&pin).await.expect("pin");
            expected.push(pin);
        }
    }
    expected.sort_by_key(|pin| (pin.cid.to_bytes(), pin.owner.clone()));
    assert_eq!(pins(store, None).await.expect("pins"), expected);

    let cid = expected[0].cid;
    assert!(store.unpin(&cid, &user).await.expect("unpin"));
    assert!(!store.unpin(&cid, &user).await.expect("unpin"));
    assert!(!store.unpin(&cid, &Owner::new("ledger")).await.expect("no such owner"));
    expected.retain(|pin| pin.cid != cid || pin.owner != user);
    assert_eq!(pins(store, None).await.expect("pins"), expected);
    expected.retain(|pin| pin.owner == ledger);
    assert_eq!(pins(store, Some(&ledger)).await.expect("pins"), expected);
}

/// An owner has one pin on a block, with the depth it asked for last.
pub async fn pinning_again_replaces_the_depth<F: StoreFixture>() {
    let fixture = F::open(None).await;
    let mut pin = Pin { cid: *numbered(1).cid(), owner: Owner::user(), depth: PinDepth::Block };
    for depth in [PinDepth::Block, PinDepth::Recursive] {
        pin.depth = depth;
        fixture.store().pin(&pin).await.expect("pin");
        assert_eq!(pins(fixture.store(), None).await.expect("pins"), [pin.clone()]);
    }
}

/// Metadata is written and deleted in one go, read by key and listed by prefix.
pub async fn metadata_is_written_listed_and_deleted<F: StoreFixture>() {
    let fixture = F::open(None).await;
    let store = fixture.store();
    let entry = |key: &str, value: &'static [u8]| (key.to_string(), Some(Bytes::from_static(value)));
    let written = [entry("b/2", b"two"), entry("b/1", b""), entry("a", b"other"), entry("c", b"other")];
    store.set_meta(&written).await.expect("set");
    assert_eq!(store.meta("b/1").await.expect("meta"), Some(Bytes::new()), "empty is not absent");
    assert_eq!(metadata(store, "b/").await, ["b/1", "b/2"]);
    assert_eq!(metadata(store, "").await, ["a", "b/1", "b/2", "c"]);

    let changes = [("b/1".to_string(), None), ("absent".to_string(), None), entry("b/2", b"new")];
    store.set_meta(&changes).await.expect("set");
    assert_eq!(store.meta("b/1").await.expect("meta"), None);
    assert_eq!(store.meta("b/2").await.expect("meta"), Some(Bytes::from_static(b"new")));
    assert_eq!(metadata(store, "b/").await, ["b/2"]);
}

/// Closing twice is fine; after it, everything else is `Closed`.
pub async fn a_closed_store_answers_closed<F: StoreFixture>() {
    let fixture = F::open(None).await;
    let store = fixture.store();
    let (block, pin) = (numbered(1), Pin::recursive(*numbered(1).cid(), Owner::user()));
    store.put(std::slice::from_ref(&block)).await.expect("put");
    store.close().await.expect("close");
    store.close().await.expect("close again");
    let cid = block.cid();
    let answers = [
        ("get", store.get(cid).await.map(drop)),
        ("claim", store.claim(cid).await.map(drop)),
        ("has", store.has(cid).await.map(drop)),
        ("put", store.put(std::slice::from_ref(&block)).await),
        ("delete", store.delete(cid).await.map(drop)),
        ("blocks", store.blocks().try_collect::<Vec<_>>().await.map(drop)),
        ("usage", store.usage().await.map(drop)),
        ("pin", store.pin(&pin).await),
        ("unpin", store.unpin(cid, &pin.owner).await.map(drop)),
        ("pins", pins(store, None).await.map(drop)),
        ("meta", store.meta("key").await.map(drop)),
        ("set_meta", store.set_meta(&[("key".to_string(), None)]).await),
        ("list_meta", store.list_meta("").try_collect::<Vec<_>>().await.map(drop)),
    ];
    for (call, answer) in answers {
        assert_eq!(answer.expect_err(call).kind(), ErrorKind::Closed, "{call}");
    }
}

/// A small block, another one for each number, all of one size.
fn numbered(n: u32) -> Block {
    Block::new(RAW, format!("block {n:010}"))
}

/// A block under a CID of version 0, whose bytes begin otherwise than those of version 1.
fn version_0() -> Block {
    let bytes = Bytes::from_static(b"version 0");
    let hash = *Block::new(RAW, bytes.clone()).cid().hash();
    let cid = Cid::new_v0(hash).expect("sha2-256");
    Claim::new(cid, bytes).check().expect("the right bytes")
}

async fn usage(store: &dyn Store) -> Usage {
    store.usage().await.expect("usage")
}

async fn listed(store: &dyn Store) -> Vec<Cid> {
    store.blocks().try_collect().await.expect("blocks")
}

async fn pins(store: &dyn Store, owner: Option<&Owner>) -> Result<Vec<Pin>> {
    store.pins(owner).try_collect().await
}

async fn metadata(store: &dyn Store, prefix: &str) -> Vec<String> {
    let entries: Vec<(String, Bytes)> = store.list_meta(prefix).try_collect().await.expect("list_meta");
    entries.into_iter().map(|(key, _)| key).collect()
}
