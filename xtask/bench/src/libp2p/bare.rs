//! Gossipsub of the library alone, with the parameters of `GossipsubConfig::default()`: what a program has that uses it as its
//! documentation says. Every message is accepted at once.

use std::time::Duration;

use futures::StreamExt as _;
use libp2p::gossipsub::{
    self, ConfigBuilder, Event, IdentTopic, MessageAcceptance, MessageAuthenticity, ValidationMode,
};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, Swarm, SwarmBuilder, identify, noise, ping, tcp, yamux};

use tokio::task::JoinSet;

use super::member::{Heard, Order, Orders, Run};
use super::{WIRE_TOPIC, tell};
use crate::Result;
use crate::process::resident_mib;

/// What a message of Carrick has around its payload, so that as many bytes are sent here.
const ENVELOPE: usize = 231;
/// As of the envelopes that a node takes.
const MAX_TRANSMIT: usize = 96 << 10;
const PING: Duration = Duration::from_secs(4);
const IDLE: Duration = Duration::from_secs(60);

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    gossipsub: gossipsub::Behaviour,
}

fn swarm() -> Result<Swarm<Behaviour>> {
    let config = ConfigBuilder::default()
        .validate_messages()
        .validation_mode(ValidationMode::Strict)
        .heartbeat_initial_delay(Duration::from_millis(100))
        .connection_handler_queue_len(1_024)
        .max_control_message_size(16_384)
        .max_transmit_size(MAX_TRANSMIT)
        .build()?;
    let builder = SwarmBuilder::with_new_identity().with_tokio();
    let builder =
        builder.with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)?;
    let builder = builder.with_behaviour(|key| {
        let identify = identify::Config::new("ipfs/0.1.0".into(), key.public());
        Ok(Behaviour {
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(PING).with_timeout(PING)),
            gossipsub: gossipsub::Behaviour::new(MessageAuthenticity::Signed(key.clone()), config)?,
        })
    })?;
    Ok(builder.with_swarm_config(|config| config.with_idle_connection_timeout(IDLE)).build())
}

/// The swarm and what it takes part in.
struct Bare {
    swarm: Swarm<Behaviour>,
    topic: IdentTopic,
}

impl Bare {
    fn new() -> Result<Self> {
        let (mut swarm, topic) = (swarm()?, IdentTopic::new(WIRE_TOPIC));
        swarm.behaviour_mut().gossipsub.subscribe(&topic)?;
        Ok(Self { swarm, topic })
    }

    /// Waits for the next event; a message is accepted, and its payload given.
    async fn step(&mut self) -> Option<Vec<u8>> {
        let event = self.swarm.select_next_some().await;
        let SwarmEvent::Behaviour(BehaviourEvent::Gossipsub(Event::Message {
            propagation_source,
            message_id,
            message,
        })) = event
        else {
            return None;
        };
        let gossipsub = &mut self.swarm.behaviour_mut().gossipsub;
        gossipsub.report_message_validation_result(
            &message_id,
            &propagation_source,
            MessageAcceptance::Accept,
        );
        Some(message.data)
    }

    /// Where others dial it.
    async fn listen(&mut self) -> Result<String> {
        self.swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;
        loop {
            if let SwarmEvent::NewListenAddr { address, .. } = self.swarm.select_next_some().await {
                return Ok(format!("{address}/p2p/{}", self.swarm.local_peer_id()));
            }
        }
    }

    async fn dial(&mut self, addr: &str) -> Result<()> {
        self.swarm.dial(addr.parse::<Multiaddr>()?)?;
        let connected = self.swarm.connected_peers().count();
        while self.swarm.connected_peers().count() == connected {
            self.step().await;
        }
        Ok(())
    }

    /// Until so many take part in the topic.
    async fn ready(&mut self, peers: usize) {
        let topic = self.topic.hash();
        let gossipsub = |bare: &Self| {
            let all = bare.swarm.behaviour().gossipsub.all_peers();
            all.filter(|(_, topics)| topics.contains(&&topic)).count()
        };
        while gossipsub(self) < peers {
            self.step().await;
        }
    }

    async fn run(&mut self, mut run: Run) -> Result<Heard> {
        let mut over = std::pin::pin!(run.over());
        loop {
            tokio::select! {
                () = &mut over => return run.done(),
                payload = run.due() => {
                    let mut data = payload.to_vec();
                    data.resize(data.len() + ENVELOPE, 0);
                    self.swarm.behaviour_mut().gossipsub.publish(self.topic.clone(), data)?;
                }
                came = self.step() => if let Some(payload) = came {
                    run.heard(&payload);
                },
            }
        }
    }
}

/// Does as it is told.
pub(super) async fn member() -> Result<()> {
    let mut bare = Bare::new()?;
    tell(&bare.listen().await?)?;
    let mut orders = Orders::new();
    loop {
        let order = tokio::select! {
            order = orders.next() => order?,
            _ = bare.step() => continue,
        };
        match order {
            None => return Ok(()),
            Some(Order::Dial(addrs)) => {
                for addr in addrs {
                    bare.dial(&addr).await?;
                }
                tell(&())?;
            }
            Some(Order::Ready(peers)) => {
                bare.ready(peers).await;
                tell(&())?;
            }
            Some(Order::Resident) => tell(&resident_mib()?)?,
            Some(Order::Load { number, load }) => {
                let run = Run::new(number, load)?;
                tell(&bare.run(run).await?)?;
            }
        }
    }
}

/// Many peers that take part and say nothing.
pub(super) async fn crowd(addr: &str, count: usize) -> Result<()> {
    let mut peers = JoinSet::new();
    for _ in 0..count {
        let mut bare = Bare::new()?;
        bare.dial(addr).await?;
        peers.spawn(async move {
            loop {
                bare.step().await;
            }
        });
    }
    tell(&())?;
    while Orders::new().next().await?.is_some() {}
    Ok(())
}
