//! A daemon whose disk is really full: a small one in memory, which needs Linux and namespaces for users.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::slice::from_ref;

use carrick_core::{ErrorKind, Store};
use carrick_interop::Kubo;

use crate::{block, config, open};

const PLACE: &str = "CARRICK_TEST_SMALL_DISK";

/// Runs the next one again, where it may mount.
#[test]
fn a_daemon_with_a_full_disk_loses_nothing() {
    carrick_interop::install("kubo").expect("there");
    let place = tempfile::tempdir().expect("a folder");
    let disk = place.path().join("disk");
    fs::create_dir(&disk).expect("made");
    let ran = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount"])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", "full::on_a_small_disk", "--nocapture"])
        .env(PLACE, place.path())
        // Where the daemon's repository is made.
        .env("TMPDIR", &disk)
        .status()
        .expect("`unshare` of util-linux is needed");
    assert!(ran.success(), "it failed, or this machine does not allow namespaces for users; see above");
}

/// Not a test by itself.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_small_disk() {
    let Some(place) = std::env::var_os(PLACE).map(PathBuf::from) else { return };
    let disk = place.join("disk");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(&disk).status();
    assert!(mounted.is_ok_and(|status| status.success()), "nothing can be mounted at {}", disk.display());
    let mut kubo = Kubo::run(1, &[]).expect("a daemon");
    let store = open(config(&kubo.daemons()[0]), &place.join("data")).await.expect("opens");
    let mut confirmed = Vec::new();
    let error = loop {
        let block = block(confirmed.len() as u64, 200_000);
        match store.put(from_ref(&block)).await {
            Ok(()) => confirmed.push(block),
            Err(error) => break error,
        }
        if confirmed.len() == 10 {
            let mut file = File::create(disk.join("other")).expect("made");
            while file.write_all(&[1; 1 << 12]).is_ok() {}
        }
    };
    assert_eq!(error.kind(), ErrorKind::Full, "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("make room")), "{error:?}");
    for block in &confirmed {
        assert_eq!(store.get(block.cid()).await.expect("undamaged").as_ref(), Some(block));
    }
    fs::remove_file(disk.join("other")).expect("there");
    // A daemon may only write again after it was restarted.
    kubo.kill(0).expect("dies");
    kubo.start(0).expect("starts");
    let more = block(1 << 32, 200_000);
    store.put(from_ref(&more)).await.expect("there is room again");
    for block in confirmed.iter().chain([&more]) {
        assert_eq!(store.get(block.cid()).await.expect("undamaged").as_ref(), Some(block));
    }
}
