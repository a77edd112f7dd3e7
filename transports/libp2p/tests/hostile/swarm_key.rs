//! Private networks: who has another key, or none, is not there.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use carrick_core::{ErrorKind, Keypair};

use crate::raw::Raw;
use crate::stage::{addr, config, limits, network, node, soon};

fn key(folder: &Path, digit: &str) -> PathBuf {
    let path = folder.join(format!("{digit}.key"));
    let text = format!("/key/swarm/psk/1.0.0/\n/base16/\n{}\n", digit.repeat(64));
    std::fs::write(&path, text).expect("writes");
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_and_none_are_refused_in_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let with = |digit: Option<&str>| {
        let mut config = config();
        config.swarm_key = digit.map(|digit| key(folder.path(), digit));
        config
    };
    let network = network();
    let inside = node(&network, limits(), with(Some("a"))).await;
    let friend = node(&network, limits(), with(Some("a"))).await;
    soon(friend.connect(&addr(&inside))).await.expect("they have one key");
    for digit in [Some("b"), None] {
        let stranger = node(&network, limits(), with(digit)).await;
        let began = Instant::now();
        let error = soon(stranger.connect(&addr(&inside))).await.expect_err("another key");
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        assert!(soon(inside.connect(&addr(&stranger))).await.is_err());
    }
    assert!(soon(Raw::silent(&addr(&inside), &Keypair::generate_ed25519())).await.is_err());
    assert_eq!(inside.peers().await.expect("peers").len(), 1);
}
