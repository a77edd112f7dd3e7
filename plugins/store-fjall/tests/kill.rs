//! What `put` confirmed survives SIGKILL at any moment.
//!
//! The test runs itself as a child process that writes and says what was confirmed, kills it, and looks.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use carrick_core::{Cid, Store};
use carrick_plugin_store_fjall::FjallConfig;
use common::{block, open};

const CHILD: &str = "CARRICK_TEST_STORE_CHILD";
const ROUNDS: u64 = 20;

#[test]
fn confirmed_blocks_survive_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut confirmed = Vec::new();
    for round in 0..ROUNDS {
        let mut child = start(folder.path(), round);
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        // Another number of writes each round, so that the kill comes at other moments of the store's life.
        let until = 1 + (round as usize * 7) % 40;
        confirmed.extend(lines.by_ref().take(until).filter_map(read_cid));
        child.kill().expect("killed");
        confirmed.extend(lines.filter_map(read_cid));
        let status = child.wait().expect("gone");
        assert_eq!(status.signal(), Some(9), "the child of round {round} ended by itself: {status}");
        check(folder.path(), &confirmed);
    }
    assert!(confirmed.len() >= ROUNDS as usize, "the children wrote {} blocks only", confirmed.len());
}

/// Not a test by itself: writes until it is killed.
#[test]
fn writes_until_killed() {
    let Ok(place) = std::env::var(CHILD) else { return };
    let (round, folder) = place.split_once(':').expect("round:folder");
    let (round, folder) = (round.parse::<u64>().expect("a number"), PathBuf::from(folder));
    runtime().block_on(async {
        let store = open(&folder, FjallConfig::default()).await.expect("opens");
        for n in 0.. {
            let block = block(round << 32 | n, 1 + (n as usize * 37_711) % 300_000);
            store.put(std::slice::from_ref(&block)).await.expect("put");
            writeln!(std::io::stdout(), "confirmed {}", block.cid()).expect("said");
        }
    });
}

fn start(folder: &Path, round: u64) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "writes_until_killed", "--nocapture"])
        .env(CHILD, format!("{round}:{}", folder.display()))
        .stdout(Stdio::piped())
        .spawn()
        .expect("started")
}

/// The CID in a line of the child's, if it is one: the test harness says things too, and the last line may be cut.
fn read_cid(line: std::io::Result<String>) -> Option<Cid> {
    line.ok()?.split_once("confirmed ")?.1.parse().ok()
}

fn check(folder: &Path, confirmed: &[Cid]) {
    runtime().block_on(async {
        let store = open(folder, FjallConfig::default()).await.expect("opens after a kill");
        for cid in confirmed {
            assert!(store.get(cid).await.expect("undamaged").is_some(), "{cid} was confirmed and is gone");
        }
        store.close().await.expect("close");
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}
