//! A disk that is really full: a small one in memory, which needs Linux and namespaces for users.

#![cfg(target_os = "linux")]

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::slice::from_ref;

use carrick_core::{Block, Bytes, Error, ErrorKind, Store};
use carrick_plugin_store_fjall::{FjallConfig, FjallStore};
use common::{block, open};

const PLACE: &str = "CARRICK_TEST_SMALL_DISKS";

/// Runs the next one again, where it may mount.
#[test]
fn a_full_disk_loses_nothing() {
    let place = tempfile::tempdir().expect("a folder");
    let ran = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount"])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", "on_small_disks", "--nocapture"])
        .env(PLACE, place.path())
        .status()
        .expect("`unshare` of util-linux is needed");
    assert!(ran.success(), "it failed, or this machine does not allow namespaces for users; see above");
}

/// Not a test by itself.
#[tokio::test]
async fn on_small_disks() {
    let Some(place) = std::env::var_os(PLACE).map(PathBuf::from) else { return };
    // Small and large writes meet the end of the disk at other places.
    for size in [200, 30_000, 700_000] {
        let disk = place.join(size.to_string());
        mount(&disk);
        a_full_disk(&disk, size).await;
    }
}

async fn a_full_disk(disk: &Path, size: usize) {
    let ballast = disk.join("ballast");
    fs::write(&ballast, vec![1; 16 << 20]).expect("room");
    let store = unreserved(disk).await;
    let mut confirmed = Vec::new();
    let error = loop {
        let block = block(confirmed.len() as u64, size);
        // Somebody else takes the room that the store believed in.
        match store.put(from_ref(&block)).await {
            Ok(()) => confirmed.push(block),
            Err(error) => break error,
        }
        if confirmed.len() == 20 {
            fill_up(&disk.join("other"));
        }
    };
    is_full(&error, disk);
    let entry = [("key".into(), Some(Bytes::from(vec![1; 1 << 20])))];
    let error = loop {
        // The database tidies up meanwhile, and frees what it wrote twice.
        fill_up(&disk.join("other"));
        if let Err(error) = store.set_meta(&entry).await {
            break error;
        }
    };
    is_full(&error, disk);
    holds(&store, &confirmed).await;
    store.close().await.expect("close");

    fs::remove_file(&ballast).expect("there");
    let store = unreserved(disk).await;
    holds(&store, &confirmed).await;
    store.put(&[block(1 << 32, size)]).await.expect("there is room again");
    store.close().await.expect("close");
}

fn mount(disk: &Path) {
    fs::create_dir(disk).expect("made");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=32m", "tmpfs"]).arg(disk).status();
    assert!(mounted.is_ok_and(|status| status.success()), "nothing can be mounted at {}", disk.display());
}

/// Writes until nothing fits any more.
fn fill_up(file: &Path) {
    let mut file = File::options().create(true).append(true).open(file).expect("made");
    for size in [1 << 16, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
}

async fn unreserved(disk: &Path) -> FjallStore {
    let mut config = FjallConfig::default();
    config.reserve_bytes = 0;
    open(&disk.join("data"), config).await.expect("opens")
}

/// What, where, and what to do.
fn is_full(error: &Error, disk: &Path) {
    assert_eq!(error.kind(), ErrorKind::Full, "{error:?}");
    assert!(error.detail().contains(&disk.display().to_string()), "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("make room")), "{error:?}");
}

async fn holds(store: &FjallStore, confirmed: &[Block]) {
    for block in confirmed {
        assert_eq!(store.get(block.cid()).await.expect("undamaged").as_ref(), Some(block));
    }
    assert!(store.usage().await.expect("usage").blocks >= confirmed.len() as u64);
}
