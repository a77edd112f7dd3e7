//! The plugin as a program uses it: chosen by its name, judging for a node.

use std::path::Path;
use std::time::Duration;

use carrick::config::Config;
use carrick::{Delivery, ErrorKind, Kind, Node, PeerAddr, Registry, Topic};
// Links the plugin.
use custom_validator as _;
use futures::StreamExt as _;

const NODE: &str = "[node]\nnetwork = \"test\"\ntransport = \"memory\"\nstore = \"memory\"\n";

fn config(data_dir: &Path, rules: &str) -> String {
    format!("{NODE}data_dir = {data_dir:?}\n{rules}")
}

async fn open(folder: &tempfile::TempDir, name: &str, rules: &str) -> Node {
    let config = config(&folder.path().join(name), rules);
    let plan =
        Config::from_toml(&config).and_then(|config| config.check(&Registry::linked()?)).expect("good");
    plan.open().await.expect("opens")
}

/// The error of opening a node with these rules, as a person reads it.
async fn refused(rules: &str) -> (ErrorKind, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path(), rules);
    let checked = Config::from_toml(&config).and_then(|config| config.check(&Registry::linked()?));
    let error = match checked {
        Ok(plan) => plan.open().await.expect_err("refused"),
        Err(error) => error,
    };
    (error.kind(), error.to_string())
}

#[test]
fn it_is_linked_under_its_name() {
    let registry = Registry::linked().expect("no name twice");
    let entry = registry.find(Kind::Validator, "readings").expect("linked");
    assert_eq!(entry.package, "custom-validator");
    assert_eq!(entry.keys(), ["topics", "min_celsius", "max_celsius"]);
}

#[tokio::test]
async fn a_wrong_table_is_explained_before_anything_opens() {
    let (kind, text) = refused("[[validator]]\nkind = \"readings\"\nmax = 40").await;
    assert_eq!(kind, ErrorKind::Config);
    assert!(text.contains("max: unknown key; known keys: topics, min_celsius, max_celsius"), "{text}");

    let (kind, text) = refused("[[validator]]\nkind = \"readings\"\nmin_celsius = 70").await;
    assert_eq!(kind, ErrorKind::Config);
    assert!(text.ends_with("min_celsius 70 is above max_celsius 60"), "{text}");
}

#[tokio::test]
async fn a_bad_reading_of_our_own_is_not_published() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = open(&folder, "node", "[[validator]]\nkind = \"readings\"\ntopics = [\"readings\"]").await;
    let readings = Topic::new("readings").expect("a topic");
    let error = node.publish(&readings, r#"{"celsius":-400}"#).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert_eq!(error.detail(), "refused here: -400 °C is not plausible");

    let chat = Topic::new("chat").expect("a topic");
    node.publish(&chat, "not ours to judge").await.expect("accepted");
    node.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_reading_of_others_reaches_nobody_and_costs_its_sender() {
    let folder = tempfile::tempdir().expect("a folder");
    let honest = open(&folder, "honest", "[[validator]]\nkind = \"readings\"").await;
    let liar = open(&folder, "liar", "").await;
    let readings = Topic::new("readings").expect("a topic");
    let mut subscription = honest.subscribe(&readings).await.expect("subscribes");
    let address = PeerAddr::from(honest.listen_addrs()[0].clone());
    liar.connect(&address).await.expect("connects");
    let within = Duration::from_secs(20);
    tokio::time::timeout(within, liar.ready(&readings, 1)).await.expect("in time").expect("ready");

    for payload in [r#"{"celsius":-400}"#, r#"{"celsius":21.5}"#] {
        liar.publish(&readings, payload).await.expect("the liar judges nothing");
    }
    let first = tokio::time::timeout(within, subscription.next()).await.expect("in time");
    let Some(Delivery::Message(message)) = first else { panic!("no message: {first:?}") };
    assert_eq!(message.payload().as_ref(), br#"{"celsius":21.5}"#);
    assert_eq!(honest.counter("rejected"), 1);
    // The verdict is counted first, then the sender blamed.
    let blamed = async {
        while honest.peers().await.expect("peers").iter().all(|peer| peer.reputation > -9.0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(within, blamed).await.expect("the liar is blamed");
    for node in [liar, honest] {
        node.close().await.expect("closes");
    }
}
