//! What everybody has from its author is not sent a second time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use carrick_core::config::Seconds;
use carrick_core::{Multiaddr, NetworkId, Node, PeerAddr, PeerId, Subscription, Topic};
use carrick_transport_libp2p::{Libp2p, Libp2pConfig, Routing};
use futures::StreamExt as _;
use libp2p::gossipsub::{
    self, AllowAllSubscriptionFilter, DataTransform, IdentTopic, Message, MessageAuthenticity, RawMessage,
    TopicHash,
};
use libp2p::swarm::NetworkBehaviour;
use libp2p::{SwarmBuilder, identify, noise, tcp, yamux};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(30);
const MESSAGES: usize = 20;
/// Above the size from which on peers say what they have.
const BYTES: usize = 2_000;

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("in time")
}

/// Counts large messages as they come, copies too.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicUsize>);

impl DataTransform for Counting {
    fn inbound_transform(&self, raw: RawMessage) -> std::io::Result<Message> {
        self.0.fetch_add(usize::from(raw.data.len() >= BYTES), Ordering::Relaxed);
        let RawMessage { source, data, sequence_number, topic, .. } = raw;
        Ok(Message { source, data, sequence_number, topic })
    }

    fn outbound_transform(&self, _: &TopicHash, data: Vec<u8>) -> std::io::Result<Vec<u8>> {
        Ok(data)
    }
}

#[derive(NetworkBehaviour)]
struct Listening {
    gossipsub: gossipsub::Behaviour<Counting, AllowAllSubscriptionFilter>,
    identify: identify::Behaviour,
}

/// A peer that is the library alone.
struct Listener {
    came: Counting,
    /// How large each message is that is news to it.
    news: mpsc::UnboundedReceiver<usize>,
    mesh: watch::Receiver<Vec<PeerId>>,
}

impl Listener {
    fn new(topic: &str, peers: &[&Node]) -> Self {
        let came = Counting::default();
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .expect("TCP")
            .with_behaviour(|key| Listening {
                gossipsub: gossipsub::Behaviour::new_with_transform(
                    MessageAuthenticity::Signed(key.clone()),
                    gossipsub::Config::default(),
                    came.clone(),
                )
                .expect("a configuration"),
                identify: identify::Behaviour::new(identify::Config::new("test/1".into(), key.public())),
            })
            .expect("a behaviour")
            .build();
        let topic = IdentTopic::new(topic);
        swarm.behaviour_mut().gossipsub.subscribe(&topic).expect("subscribes");
        for peer in peers {
            let addr: Multiaddr = peer.listen_addrs().remove(0);
            swarm.dial(addr).expect("dials");
        }
        let (tell, news) = mpsc::unbounded_channel();
        let (meshed, mesh) = watch::channel(vec![]);
        tokio::spawn(async move {
            while let Some(event) = swarm.next().await {
                let gossipsub = &swarm.behaviour().gossipsub;
                meshed.send_replace(gossipsub.mesh_peers(&topic.hash()).copied().collect());
                if let libp2p::swarm::SwarmEvent::Behaviour(ListeningEvent::Gossipsub(
                    gossipsub::Event::Message { message, .. },
                )) = event
                {
                    // Nobody listens at the end.
                    let _ = tell.send(message.data.len());
                }
            }
        });
        Self { came, news, mesh }
    }

    /// Waits for so many messages of a size.
    async fn hears(&mut self, count: usize, fits: impl Fn(usize) -> bool) {
        for _ in 0..count {
            while !fits(soon(self.news.recv()).await.expect("it runs")) {}
        }
    }
}

async fn node(network: &NetworkId, forward_delay: Duration) -> Node {
    let mut config = Libp2pConfig::default();
    config.listen = Some(vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")]);
    config.neighbours = 0;
    config.routing = Routing::None;
    config.gossipsub.forward_delay = Seconds(forward_delay);
    let builder = Node::builder().network(network.clone());
    builder.mount("libp2p", move |host| Libp2p::open(config, host)).open().await.expect("opens")
}

/// An author, a node that is connected with it, a peer of both, and one of that node alone.
struct Stage {
    author: Node,
    between: Node,
    of_both: Listener,
    of_one: Listener,
    _subscribed: [Subscription; 2],
}

impl Stage {
    async fn new(name: &str) -> Self {
        let network = NetworkId::new(name).expect("a network");
        // As long as the peer may need to say what it has, on the busiest machine.
        let delay = Duration::from_secs(1);
        let (author, between) = (node(&network, delay).await, node(&network, delay).await);
        let subscribed = [
            author.subscribe(&topic()).await.expect("subscribes"),
            between.subscribe(&topic()).await.expect("subscribes"),
        ];
        let there = PeerAddr::new(between.peer_id(), between.listen_addrs());
        soon(author.connect(&there)).await.expect("connects");
        let wire = format!("carrick/{name}/{}", topic());
        let mut of_both = Listener::new(&wire, &[&author, &between]);
        let mut of_one = Listener::new(&wire, &[&between]);
        soon(author.ready(&topic(), 2)).await.expect("ready");
        soon(between.ready(&topic(), 3)).await.expect("ready");
        for listener in [&mut of_both, &mut of_one] {
            let meshed = listener.mesh.wait_for(|mesh| mesh.contains(&between.peer_id()));
            soon(meshed).await.expect("it runs");
        }
        Self { author, between, of_both, of_one, _subscribed: subscribed }
    }

    async fn end(self) {
        for node in [self.author, self.between] {
            node.close().await.expect("closes");
        }
    }
}

fn topic() -> Topic {
    Topic::new("readings").expect("a topic")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_peer_has_of_its_author_is_not_passed_on_to_it() {
    let mut stage = Stage::new("copies").await;
    for n in 0..MESSAGES {
        stage.author.publish(&topic(), vec![n as u8; BYTES]).await.expect("publishes");
    }
    stage.of_both.hears(MESSAGES, |size| size >= BYTES).await;
    // Once this one has them, it was decided whether the other one gets a copy; that would come before what comes next.
    stage.of_one.hears(MESSAGES, |size| size >= BYTES).await;
    stage.between.publish(&topic(), "the end").await.expect("publishes");
    stage.of_both.hears(1, |size| size < BYTES).await;
    assert_eq!(stage.of_both.came.0.load(Ordering::Relaxed), MESSAGES, "copies came");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_message_does_not_overtake_a_large_one_that_waits() {
    let mut stage = Stage::new("order").await;
    for n in 0..MESSAGES {
        stage
            .author
            .publish(&topic(), vec![n as u8; if n % 2 == 0 { BYTES } else { 1 }])
            .await
            .expect("publishes");
    }
    for n in 0..MESSAGES {
        let size = soon(stage.of_one.news.recv()).await.expect("it runs");
        assert_eq!(size >= BYTES, n % 2 == 0, "message {n} has {size} bytes");
    }
    stage.end().await;
}
