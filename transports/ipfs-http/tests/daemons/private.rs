//! A private network of daemons: a swarm key keeps strangers out, and nodes notice nothing of it.

use carrick_core::{ErrorKind, PeerAddr};
use carrick_interop::Kubo;

use super::{config, hears, open, pair, soon, topic};

const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn nodes_behind_daemons_with_a_swarm_key_meet_and_a_stranger_does_not_get_in() {
    let kubo = Kubo::run(2, &["--psk", KEY]).expect("daemons");
    let [one, other] = pair(&kubo).await;
    let mut subscription = other.subscribe(&topic()).await.expect("subscribes");
    let _also = one.subscribe(&topic()).await.expect("subscribes");
    soon("a reader", one.ready(&topic(), 1)).await.expect("ready");
    hears(&one, "among ourselves", &mut subscription).await;
    let strangers = Kubo::run(1, &[]).expect("a daemon without the key");
    let (stranger, transport) = open(config(&strangers.daemons()[0])).await.expect("opens");
    let inside: PeerAddr = kubo.daemons()[0].addrs[0].parse().expect("an address");
    let refused = soon("an answer", stranger.connect(&inside)).await.expect_err("it has no key");
    assert_eq!(refused.kind(), ErrorKind::Unreachable, "{refused}");
    assert!(transport.peers().await.expect("peers").is_empty());
}
