//! The promises that every store keeps.

mod common;

use carrick_core::Store;
use carrick_core::conformance::store::StoreFixture;
use carrick_plugin_store_fjall::{FjallConfig, FjallStore};
use common::open;

struct OnDisk {
    store: FjallStore,
    _folder: tempfile::TempDir,
}

impl StoreFixture for OnDisk {
    async fn open(max_bytes: Option<u64>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = FjallConfig::default();
        config.max_bytes = max_bytes;
        Self { store: open(folder.path(), config).await.expect("opens"), _folder: folder }
    }

    fn store(&self) -> &dyn Store {
        &self.store
    }
}

carrick_core::store_suite!(OnDisk);
