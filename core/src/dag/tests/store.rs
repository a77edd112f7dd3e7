//! The adapters between a store and a DAG.

use std::sync::{Arc, Mutex};

use futures::stream::{self, BoxStream};

use super::generate::mod251;
use super::*;
use crate::{Bytes, Owner, Pin, Store, Usage, async_trait};

/// Remembers how many blocks came in each put.
#[derive(Debug, Default)]
struct Recorder {
    blocks: Mutex<Blocks>,
    batches: Mutex<Vec<usize>>,
}

#[async_trait]
impl Store for Recorder {
    async fn get(&self, cid: &Cid) -> Result<Option<Block>> {
        Ok(self.blocks.lock().expect("whole").0.get(cid).cloned())
    }

    async fn put(&self, blocks: &[Block]) -> Result<()> {
        self.batches.lock().expect("whole").push(blocks.len());
        let mut stored = self.blocks.lock().expect("whole");
        for block in blocks {
            stored.add(block.clone());
        }
        Ok(())
    }

    async fn has(&self, _: &Cid) -> Result<bool> {
        unreachable!("not asked here")
    }

    async fn delete(&self, _: &Cid) -> Result<bool> {
        unreachable!("not asked here")
    }

    fn blocks(&self) -> BoxStream<'_, Result<Cid>> {
        stream::empty().boxed()
    }

    async fn usage(&self) -> Result<Usage> {
        Ok(Usage::default())
    }

    async fn pin(&self, _: &Pin) -> Result<()> {
        Ok(())
    }

    async fn unpin(&self, _: &Cid, _: &Owner) -> Result<bool> {
        Ok(false)
    }

    fn pins(&self, _: Option<&Owner>) -> BoxStream<'_, Result<Pin>> {
        stream::empty().boxed()
    }

    async fn meta(&self, _: &str) -> Result<Option<Bytes>> {
        Ok(None)
    }

    async fn set_meta(&self, _: &[(String, Option<Bytes>)]) -> Result<()> {
        Ok(())
    }

    fn list_meta(&self, _: &str) -> BoxStream<'_, Result<(String, Bytes)>> {
        stream::empty().boxed()
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_store_gets_batches_and_is_a_source() {
    let store = Arc::new(Recorder::default());
    let content = mod251(20 << 20);
    let mut sink = StoreSink::new(&*store);
    let added = add_file(&content[..], Layout::default(), &mut sink).await.expect("added");
    sink.finish().await.expect("written");
    assert_eq!(*store.batches.lock().expect("whole"), [8, 8, 5]);

    let source: Arc<dyn Store> = store;
    let back: Vec<Bytes> = read(source.clone(), &added.cid, ..).try_collect().await.expect("read");
    assert!(back.concat() == content);
    assert!(stat(&*source, &added.cid).await.is_ok());
    let missing = crate::cid_of(RAW, b"missing");
    assert_eq!(stat(&source, &missing).await.expect_err("missing").kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_block_that_repeats_is_written_once_a_batch() {
    let store = Recorder::default();
    let mut sink = StoreSink::new(&store);
    let added = add_file(&vec![0; 30 << 20][..], Layout::default(), &mut sink).await.expect("added");
    sink.finish().await.expect("written");
    assert_eq!((added.blocks, store.batches.lock().expect("whole").clone()), (31, vec![2]));
}
