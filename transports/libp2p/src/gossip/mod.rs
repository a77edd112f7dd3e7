//! Messages, by gossipsub: how the library is set up here. [`Gossip`] is what goes on over it.

mod guard;
mod state;

use std::sync::Arc;
use std::time::Duration;

use carrick_core::{ErrorKind, Host, Result, Topic};
use libp2p::gossipsub::{self, MessageAuthenticity, PeerScoreParams, PeerScoreThresholds, TopicScoreParams};

use crate::Libp2pConfig;

pub(crate) use guard::Guarded;
use guard::{Filter, Notes, Transform, filter};
pub(crate) use state::Gossip;

/// Gossipsub, for the topics of one network.
type Gossipsub = gossipsub::Behaviour<Transform, Filter>;

/// The score of a peer whose reputation is low: below the one at which messages are sent, and above that at which nothing is taken.
/// What it sends still goes to the node, which judges how long it bears that.
const MUTED: f64 = -60.0;
/// Below it gossipsub sends no messages to a peer: the library's default.
const PUBLISH: f64 = -50.0;
/// Below it gossipsub takes nothing of a peer: the library's default.
const GRAYLIST: f64 = -80.0;
/// GRAFTs that come too early, and promises that were not kept, before they count. Who joins many topics and leaves them again is
/// hasty, not hostile: the two ends' messages cross.
const HASTE: f64 = 32.0;
/// What one invalid message costs, as a square. Little: the node bans for them, before gossipsub stops to show them.
const INVALID: f64 = -0.05;

/// Builds the behaviour.
///
/// # Errors
/// `Config`.
pub(crate) fn behaviour(config: &Libp2pConfig, host: &Host) -> Result<Guarded> {
    let wrong = |why: String| host.fail(ErrorKind::Config, "open", why);
    let built = config.gossipsub.build(host.limits())?;
    let signed = MessageAuthenticity::Signed(host.keypair().clone());
    let notes = Notes::default();
    let (filter, transform) = (filter(host, notes.clone()), Transform(notes.clone()));
    let mut behaviour =
        Gossipsub::new_with_subscription_filter_and_transform(signed, built.clone(), filter, transform)
            .map_err(|why| wrong(why.into()))?;
    let params = PeerScoreParams {
        app_specific_weight: 1.0,
        behaviour_penalty_weight: -1.0,
        behaviour_penalty_threshold: HASTE,
        // Nodes of one house or one cloud share an address, and are no worse for it.
        ip_colocation_factor_weight: 0.0,
        decay_interval: config.gossipsub.heartbeat_interval.0.max(Duration::from_secs(1)),
        ..PeerScoreParams::default()
    };
    behaviour
        .with_peer_score(
            params,
            PeerScoreThresholds {
                publish_threshold: PUBLISH,
                graylist_threshold: GRAYLIST,
                ..PeerScoreThresholds::default()
            },
        )
        .map_err(wrong)?;
    Ok(Guarded::new(behaviour, host, built, notes))
}

/// How a topic counts in the score of a peer. Nobody is expected to deliver a certain number of messages: a ledger may be silent
/// for an hour.
fn topic_score() -> TopicScoreParams {
    TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        first_message_deliveries_weight: 0.1,
        first_message_deliveries_cap: 100.0,
        invalid_message_deliveries_weight: INVALID,
        invalid_message_deliveries_decay: 0.9,
        ..TopicScoreParams::default()
    }
}

/// Names of topics on the wire: `carrick/NETWORK/TOPIC`, as nodes behind a daemon have them.
#[derive(Clone, Debug)]
pub(crate) struct Names(Arc<str>);

impl Names {
    pub(crate) fn new(host: &Host) -> Self {
        Self(format!("carrick/{}/", host.network()).into())
    }

    /// The name of a topic.
    pub(crate) fn of(&self, topic: &Topic) -> String {
        format!("{}{topic}", self.0)
    }

    /// The topic behind a name; `None` for one of another network, or of none.
    pub(crate) fn topic(&self, name: &str) -> Option<Topic> {
        Topic::from_wire(name.strip_prefix(&*self.0)?).ok()
    }
}
