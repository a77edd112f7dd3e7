//! What a daemon offers: asked at the start, and again when it is back.

use carrick_core::{ErrorKind, Node};
use carrick_interop::{Daemon, Kubo};
use carrick_transport_ipfs_http::{Auth, IpfsHttpConfig, Scheme};

use super::node::until;
use super::{config, open, soon};

fn fact(node: &Node, what: &str) -> String {
    node.transports()[0].facts.get(what).cloned().unwrap_or_default()
}

/// Shows the secret of the daemon.
fn with_secret(daemon: &Daemon, secret: &tempfile::NamedTempFile) -> IpfsHttpConfig {
    std::fs::write(secret.path(), "s3cret").expect("written");
    let mut config = config(daemon);
    config.auth = Some(Auth { scheme: Scheme::Bearer, file: Some(secret.path().into()), env: None });
    config
}

#[tokio::test]
async fn a_secret_that_opens_too_little_is_told_with_the_path_it_must_open() {
    const ALL: [&str; 8] = ["id", "version", "pubsub", "swarm", "block", "dag/import", "pin", "routing"];
    let secret = tempfile::NamedTempFile::new().expect("a file");
    let opened = async |lacking: &str, pin| {
        let paths = ALL.iter().filter(|part| **part != lacking).map(|part| format!("--allow=/api/v0/{part}"));
        let options: Vec<String> = ["--bearer=s3cret".to_owned()].into_iter().chain(paths).collect();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let kubo = Kubo::run(1, &options).expect("a daemon");
        let mut config = with_secret(&kubo.daemons()[0], &secret);
        config.pin = pin;
        open(config).await
    };
    let (node, _) = opened("nothing", true).await.expect("these are all");
    for part in ["pubsub", "block", "dag/import", "pin", "routing"] {
        assert_eq!(fact(&node, part), "on", "{part}");
    }
    for lacking in ["pubsub", "swarm", "block", "dag/import", "pin"] {
        let error = opened(lacking, true).await.expect_err(lacking);
        assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
        let path = format!("/api/v0/{lacking}");
        assert!(error.hint().is_some_and(|hint| hint.contains(&path)), "{error:?}");
    }
    for (lacking, pin) in [("pin", false), ("routing", true)] {
        let (node, _) = opened(lacking, pin).await.expect("it does without");
        assert_eq!(fact(&node, lacking), format!("closed: the secret must open /api/v0/{lacking}"));
    }
}

#[tokio::test]
async fn a_daemon_that_comes_back_without_pubsub_is_noticed_and_so_is_that_it_has_it_again() {
    let mut kubo = Kubo::run(1, &[]).expect("a daemon");
    let (node, transport) = open(config(&kubo.daemons()[0])).await.expect("opens");
    for (on, said) in [("false", "off"), ("true", "on")] {
        kubo.daemons()[0]
            .post(&format!("config?arg=Pubsub.Enabled&arg={on}&bool=true"), None)
            .expect("is set");
        kubo.kill(0).expect("dies");
        soon("that it is noticed", until(async || transport.peers().await.is_err())).await;
        kubo.start(0).expect("starts");
        soon(said, until(async || fact(&node, "pubsub") == said)).await;
        assert_eq!(fact(&node, "pin"), "on");
    }
}
