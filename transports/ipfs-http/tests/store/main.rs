//! The store in a daemon: every promise of the contract, and what is special to it, on real daemons.

mod breaks;
mod collects;
#[cfg(target_os = "linux")]
mod full;
mod holds;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use carrick_core::conformance::store::StoreFixture;
use carrick_core::{Block, Limits, RAW, Result, Site, Store};
use carrick_interop::{Daemon, Kubo};
use carrick_transport_ipfs_http::{IpfsHttpStore, IpfsHttpStoreConfig};
use tokio::time::{sleep, timeout};

/// Daemons that no case uses now; they end with this process.
static IDLE: Mutex<Vec<Kubo>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A store with a daemon of its own.
struct InDaemon {
    store: IpfsHttpStore,
    _folder: tempfile::TempDir,
    kubo: Mutex<Option<Kubo>>,
}

impl StoreFixture for InDaemon {
    async fn open(max_bytes: Option<u64>) -> Self {
        let kubo = lock(&IDLE).pop();
        let kubo = kubo.unwrap_or_else(|| Kubo::run(1, &[]).expect("a daemon"));
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = config(&kubo.daemons()[0]);
        config.max_bytes = max_bytes;
        let store = open(config, folder.path()).await.expect("opens");
        Self { store, _folder: folder, kubo: Mutex::new(Some(kubo)) }
    }

    fn store(&self) -> &dyn Store {
        &self.store
    }
}

impl Drop for InDaemon {
    fn drop(&mut self) {
        lock(&IDLE).extend(lock(&self.kubo).take());
    }
}

carrick_core::store_suite!(InDaemon);

fn config(daemon: &Daemon) -> IpfsHttpStoreConfig {
    let mut config = IpfsHttpStoreConfig::default();
    config.api = daemon.api.parse().expect("an address");
    config
}

async fn open(config: IpfsHttpStoreConfig, data_dir: &Path) -> Result<IpfsHttpStore> {
    IpfsHttpStore::open(config, Site::new("ipfs-http", data_dir, Limits::default())).await
}

/// A block of so many bytes, another one for each number.
fn block(n: u64, size: usize) -> Block {
    let mut state = n;
    let bytes = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    });
    Block::new(RAW, bytes.take(size).collect::<Vec<u8>>())
}

/// What the daemon has pinned in one way, as any other program sees it.
fn pinned(daemon: &Daemon, how: &str) -> Vec<String> {
    let answer = daemon.post(&format!("pin/ls?type={how}&quiet=true&stream=true"), None).expect("lists");
    let lines = String::from_utf8(answer).expect("text");
    lines
        .lines()
        .filter_map(|line| Some(line.split('"').find(|word| word.starts_with("baf"))?.to_owned()))
        .collect()
}

/// Looks until it is so: a daemon tells nobody what it holds no longer.
async fn until(so: impl Fn() -> bool) {
    let looking = async {
        while !so() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(60), looking).await.expect("it is so before long");
}
