//! The validator in real nodes.

use std::sync::Arc;
use std::time::Duration;

use carrick_core::node::Delivery;
use carrick_core::{ErrorKind, Kind, NetworkId, Node, PeerAddr, Registry, Topic, TopicPattern};
use carrick_plugin_validators::{Authors, AuthorsConfig};
use carrick_transport_memory::MemoryNetwork;
use futures::StreamExt;

fn builder(wire: &MemoryNetwork) -> carrick_core::node::NodeBuilder {
    let network = NetworkId::new("test").expect("a network");
    Node::builder().network(network).mount("memory", wire.transport())
}

fn guard(node: &Node) -> Arc<Authors> {
    let guarded = TopicPattern::new("ledger/*").expect("a pattern");
    Arc::new(Authors::new(AuthorsConfig::new([guarded], [node.peer_id()])).expect("valid"))
}

#[tokio::test(start_paused = true)]
async fn a_stranger_is_heard_on_other_topics_only() {
    let wire = MemoryNetwork::new(1);
    let named = builder(&wire).open().await.expect("opens");
    let stranger = builder(&wire).open().await.expect("opens");
    let guarded = builder(&wire).validator(guard(&named)).open().await.expect("opens");
    let (ledger, other) = (Topic::new("ledger/a").expect("a topic"), Topic::new("other").expect("a topic"));
    let on_both = (
        guarded.subscribe(&ledger).await.expect("subscribes"),
        guarded.subscribe(&other).await.expect("subscribes"),
    );
    for node in [&named, &stranger] {
        node.connect(&PeerAddr::from(guarded.listen_addrs().remove(0))).await.expect("connects");
        node.publish(&ledger, "entry").await.expect("publishes");
        node.publish(&other, "note").await.expect("publishes");
    }
    let mut heard = Vec::new();
    let mut all = futures::stream::select(on_both.0, on_both.1);
    while let Ok(Some(delivery)) = tokio::time::timeout(Duration::from_secs(60), all.next()).await {
        if let Delivery::Message(message) = delivery {
            heard.push((message.topic().clone(), message.author().copied().expect("signed")));
        }
    }
    heard.sort();
    let mut expected =
        [(ledger, named.peer_id()), (other.clone(), named.peer_id()), (other, stranger.peer_id())];
    expected.sort();
    assert_eq!(heard, expected);
}

#[tokio::test(start_paused = true)]
async fn ones_own_messages_are_judged_too() {
    let wire = MemoryNetwork::new(1);
    let named = builder(&wire).open().await.expect("opens");
    let node = builder(&wire).validator(guard(&named)).open().await.expect("opens");
    let refused =
        node.publish(&Topic::new("ledger/a").expect("a topic"), "entry").await.expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::Rejected);
    assert!(refused.detail().contains("may not publish on ledger/a"), "{refused}");
}

#[test]
fn it_is_registered_under_its_name() {
    // Naming the crate links it.
    let _ = std::any::type_name::<Authors>();
    let registry = Registry::linked().expect("no name twice");
    let entry = registry.find(Kind::Validator, "authors").expect("linked");
    assert_eq!(entry.package, "carrick-plugin-validators");
}
