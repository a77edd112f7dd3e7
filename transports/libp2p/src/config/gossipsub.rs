//! `[transport.libp2p.gossipsub]`: the parameters of gossipsub, by the names of the library.

use std::time::Duration;

use carrick_core::config::Seconds;
use carrick_core::{Limits, Result};
use libp2p::gossipsub::{Config, ConfigBuilder, ValidationMode};
use serde::{Deserialize, Serialize};

use super::wrong;

/// What a message has beside the envelope: source, number, topic, signature and key.
const AROUND_A_MESSAGE: usize = 1_024;
/// What the id of a message takes in a packet, at most: its source in base58, and its number.
const AN_ID: usize = 80;
/// What stands around a list of ids: the name of the topic, above all.
const AROUND_IDS: usize = 512;
/// What the library may have read of the next messages when it measures one: it counts them in, and gives up the stream.
const READ_AHEAD: usize = 16 << 10;

/// The table `[transport.libp2p.gossipsub]`. The names are those of the specification and the library; so are the defaults,
/// but for `heartbeat_initial_delay` and `connection_handler_queue_len`.
///
/// All nodes of a network should have the same values. [The page of the transport] says what to change for two nodes, and for
/// two hundred.
///
/// [The page of the transport]: https://github.com/carrick-net/carrick/blob/main/docs/transports/libp2p.md
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct GossipsubConfig {
    /// Peers of a topic that messages are passed on to (D). Default 6, range 1 to 64.
    pub mesh_n: usize,
    /// Fewer than so many, and others are looked for (D_low). Default 5, range 1 to `mesh_n`.
    pub mesh_n_low: usize,
    /// More than so many, and some are let go (D_high). Default 12, range `mesh_n` to 128.
    pub mesh_n_high: usize,
    /// Those of them that this node dialled, at least (D_out). Default 2, range 0 to half of `mesh_n` and at most
    /// `mesh_n_low`.
    pub mesh_outbound_min: usize,
    /// Peers outside of the mesh that are told which messages there are (D_lazy). Default 6, range 0 to 64.
    pub gossip_lazy: usize,
    /// The share of all peers that is told so, where that is more. Default 0.25, range 0 to 1.
    pub gossip_factor: f64,
    /// How often the mesh is looked after, in seconds. Default 1, range 0.05 to 60.
    pub heartbeat_interval: Seconds,
    /// How much later than one `heartbeat_interval` it is looked after first, in seconds. Default 0.1: the library has 5. Range 0.001 to 60.
    pub heartbeat_initial_delay: Seconds,
    /// Heartbeats for which a message is kept, so that it can be asked for and passed on. What the node decides later than
    /// `(history_length - 1) × heartbeat_interval` is published anew, which goes to more peers than the mesh: so that should be
    /// more than `validation` in `[node.limits]`. Default 5, range 2 to 120.
    pub history_length: usize,
    /// Heartbeats of which peers are told which messages there are. Default 3, range 1 to `history_length`.
    pub history_gossip: usize,
    /// How long peers of a topic that this node publishes on and has not joined are remembered, in seconds. Default 60.
    pub fanout_ttl: Seconds,
    /// Whether own messages go to all peers of the topic rather than to the mesh. Turn it off where payloads above 100 KiB go
    /// to more than ten peers. Default true.
    pub flood_publish: bool,
    /// How long the number of a message is remembered, in seconds. Default 60, range 1 to 3600.
    pub duplicate_cache_time: Seconds,
    /// How long a peer that was let go is not asked again, in seconds. Default 60, range 1 to 3600.
    pub prune_backoff: Seconds,
    /// Messages that wait for one peer; what is above is lost, counted and told. Default 1,024 (the library has 5,000), range
    /// 16 to 65,536.
    pub connection_handler_queue_len: usize,
    /// How long an own message may wait in it, in seconds. Default 5.
    pub publish_queue_duration: Seconds,
    /// How long a message of others may wait in it, in seconds. Default 1.
    pub forward_queue_duration: Seconds,
    /// From so many bytes on peers are told not to send what came already (IDONTWANT). Default 1,000.
    pub idontwant_message_size_threshold: usize,
    /// How long a message of such a size that came from its author waits from then on before it is passed on, in seconds: its
    /// author sends it to others at the same time, and they say meanwhile that they have it. Default 0.025, range 0.001 to 1 and at most half
    /// of `(history_length - 1) × heartbeat_interval`.
    pub forward_delay: Seconds,
    /// Largest packet of control, in bytes: what is above it ends its stream. No more messages are told of or asked for at once
    /// than fit into it. Default 65,536 (the library has 16,384, and tells of more messages than that holds), range 1,024 to
    /// 1,048,576.
    pub max_control_message_size: usize,
}

impl Default for GossipsubConfig {
    fn default() -> Self {
        Self {
            mesh_n: 6,
            mesh_n_low: 5,
            mesh_n_high: 12,
            mesh_outbound_min: 2,
            gossip_lazy: 6,
            gossip_factor: 0.25,
            heartbeat_interval: Seconds::new(1),
            heartbeat_initial_delay: Seconds(Duration::from_millis(100)),
            history_length: 5,
            history_gossip: 3,
            fanout_ttl: Seconds::new(60),
            flood_publish: true,
            duplicate_cache_time: Seconds::new(60),
            prune_backoff: Seconds::new(60),
            connection_handler_queue_len: 1_024,
            publish_queue_duration: Seconds::new(5),
            forward_queue_duration: Seconds::new(1),
            idontwant_message_size_threshold: 1_000,
            forward_delay: Seconds(Duration::from_millis(25)),
            max_control_message_size: 64 << 10,
        }
    }
}

impl GossipsubConfig {
    /// Checks ranges, and what must hold between keys.
    pub(super) fn check(&self) -> Result<()> {
        let counts = [
            ("mesh_n", self.mesh_n, 1, 64),
            ("mesh_n_low", self.mesh_n_low, 1, self.mesh_n),
            ("mesh_n_high", self.mesh_n_high, self.mesh_n, 128),
            ("mesh_outbound_min", self.mesh_outbound_min, 0, self.mesh_n_low.min(self.mesh_n / 2)),
            ("gossip_lazy", self.gossip_lazy, 0, 64),
            ("history_length", self.history_length, 2, 120),
            ("history_gossip", self.history_gossip, 1, self.history_length),
            ("connection_handler_queue_len", self.connection_handler_queue_len, 16, 65_536),
            ("max_control_message_size", self.max_control_message_size, 1_024, 1 << 20),
        ];
        for (key, found, least, most) in counts {
            if !(least..=most).contains(&found) {
                return Err(wrong(format!("gossipsub.{key} is {found}; allowed is {least} to {most}")));
            }
        }
        if !(0.0..=1.0).contains(&self.gossip_factor) {
            let found = self.gossip_factor;
            return Err(wrong(format!("gossipsub.gossip_factor is {found}; allowed is 0 to 1")));
        }
        self.check_times()?;
        let (delay, hold) = (self.forward_delay.0, self.hold());
        if delay > hold / 2 {
            return Err(wrong(format!(
                "gossipsub.forward_delay is {} s; allowed is half of what heartbeat_interval and history_length keep a message \
                 for, which is {} s",
                delay.as_secs_f64(),
                hold.as_secs_f64()
            )));
        }
        Ok(())
    }

    fn check_times(&self) -> Result<()> {
        let times = [
            ("heartbeat_interval", self.heartbeat_interval, 0.05, 60.0),
            ("heartbeat_initial_delay", self.heartbeat_initial_delay, 0.001, 60.0),
            ("duplicate_cache_time", self.duplicate_cache_time, 1.0, 3_600.0),
            ("prune_backoff", self.prune_backoff, 1.0, 3_600.0),
            ("forward_delay", self.forward_delay, 0.001, 1.0),
        ];
        for (key, Seconds(found), least, most) in times {
            let found = found.as_secs_f64();
            if !(least..=most).contains(&found) {
                return Err(wrong(format!("gossipsub.{key} is {found} s; allowed is {least} to {most}")));
            }
        }
        Ok(())
    }

    /// How long a message can be passed on after it came. One less than the history: the next heartbeat may come at once.
    pub(crate) fn hold(&self) -> Duration {
        let heartbeats = u32::try_from(self.history_length.saturating_sub(1)).unwrap_or(u32::MAX);
        self.heartbeat_interval.0 * heartbeats
    }

    /// The library's configuration.
    pub(crate) fn build(&self, limits: &Limits) -> Result<Config> {
        let mut config = ConfigBuilder::default();
        config
            .validate_messages()
            .validation_mode(ValidationMode::Strict)
            .mesh_n(self.mesh_n)
            .mesh_n_low(self.mesh_n_low)
            .mesh_n_high(self.mesh_n_high)
            .mesh_outbound_min(self.mesh_outbound_min)
            .gossip_lazy(self.gossip_lazy)
            .gossip_factor(self.gossip_factor)
            .heartbeat_interval(self.heartbeat_interval.0)
            .heartbeat_initial_delay(self.heartbeat_initial_delay.0)
            .history_length(self.history_length)
            .history_gossip(self.history_gossip)
            .fanout_ttl(self.fanout_ttl.0)
            .flood_publish(self.flood_publish)
            .duplicate_cache_time(self.duplicate_cache_time.0)
            .prune_backoff(self.prune_backoff.0)
            .connection_handler_queue_len(self.connection_handler_queue_len)
            .publish_queue_duration(self.publish_queue_duration.0)
            .forward_queue_duration(self.forward_queue_duration.0)
            .idontwant_message_size_threshold(self.idontwant_message_size_threshold)
            .max_control_message_size(self.max_control_message_size)
            .max_control_messages_sent(self.max_control_message_size.saturating_sub(AROUND_IDS) / AN_ID)
            .max_transmit_size(limits.envelope_bytes() + AROUND_A_MESSAGE + READ_AHEAD);
        config.build().map_err(|error| wrong(format!("gossipsub: {error}")))
    }
}
