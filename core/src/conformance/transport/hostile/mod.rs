//! Peers that keep no rule: who keeps them gets every message all the while, and the foe is out or harmless.

mod crowding;
mod flooding;
mod withholding;

use std::pin::pin;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::join;
use tokio::time::Instant;

pub(super) use self::crowding::*;
pub(super) use self::flooding::*;
pub(super) use self::withholding::*;
use super::kit::topic;
use super::{Kit, Member, Outcome, RawWire};
use crate::{Event, Identity, Keypair, NodeBuilder, RelayGate, Remote, Subscription};

const NO_FOE: Outcome = Outcome::Unsupported("a hostile peer that says this");

/// Offences after which a foe is out,
const OFFENCES: u64 = 20;
/// or the time after which it is.
const TIME: Duration = Duration::from_secs(10);
/// More than a foe needs for that.
const FLOOD: u64 = 5_000;
/// Messages that arrive beside an attack, every one.
const MESSAGES: u64 = 200;

/// An author, a reader, and between them the node that foes attack: every message goes through it, or, where nothing is
/// relayed, to it.
struct Stage<'a> {
    kit: &'a Kit,
    author: Member,
    attacked: Member,
    _reader: Member,
    subscriptions: Vec<Subscription>,
    published: u64,
}

impl<'a> Stage<'a> {
    async fn new(kit: &'a Kit) -> Self {
        Self::with(kit, |builder| builder).await
    }

    /// With something special about the node in the middle.
    async fn with(kit: &'a Kit, change: impl FnOnce(NodeBuilder) -> NodeBuilder) -> Self {
        let (author, reader) = (kit.node().await, kit.node().await);
        let attacked = kit.node_with(change).await;
        kit.link(&author, &attacked).await;
        kit.link(&attacked, &reader).await;
        let members = [author, attacked, reader];
        let subscriptions = kit.subscribe(&members, &topic()).await;
        let [author, attacked, _reader] = members;
        Self { kit, author, attacked, _reader, subscriptions, published: 0 }
    }

    /// A message of so many bytes, or a few more, goes from end to end.
    async fn deliver(&mut self, bytes: usize) {
        self.published += 1;
        let text = format!("honest {:bytes$}", self.published);
        self.author.publish(&topic(), text.clone()).await.expect("publishes");
        let end = if self.attacked.never_relays() { 1 } else { 2 };
        // A foe's own words may come between.
        while self.kit.text(&mut self.subscriptions[end]).await != text {}
    }

    /// All messages arrive beside an attack, and another one after it.
    async fn under<T>(&mut self, attack: impl Future<Output = T>) -> T {
        let honest = async {
            for _ in 0..MESSAGES {
                self.deliver(0).await;
            }
        };
        let (attacked, ()) = join(attack, honest).await;
        self.deliver(0).await;
        attacked
    }

    /// All messages arrive beside a foe, which ends banned.
    async fn withstands(&mut self, offend: impl AsyncFnMut(&mut dyn RawWire, u64) -> bool) -> Outcome {
        let (kit, attacked) = (self.kit, self.attacked.clone());
        self.under(is_cast_out(kit, &attacked, &kit.stranger(), offend)).await
    }
}

/// Whether links prove a key, and bring what their far end had to judge first: else nobody can be blamed.
fn blames(member: &Member) -> bool {
    let judges = member.broadcast_caps().relay == RelayGate::AfterVerdict;
    judges && member.caps().identity == Identity::Peer
}

/// A foe offends until it is banned, however often it comes back. `offend` answers whether the wire has words for it.
async fn is_cast_out(
    kit: &Kit,
    attacked: &Member,
    key: &Keypair,
    mut offend: impl AsyncFnMut(&mut dyn RawWire, u64) -> bool,
) -> Outcome {
    let mut events = attacked.events();
    let Some(mut foe) = kit.foe(attacked, key).await else { return NO_FOE };
    let remote = remote(key);
    let is_ban = |event: &Event| matches!(event, Event::Banned { remote: who } if *who == remote);
    let (began, mut offences) = (Instant::now(), 0);
    let offending = async {
        loop {
            if foe.ended().now_or_never().is_some() {
                match kit.hostile(attacked, key).await {
                    Ok(again) => foe = again,
                    Err(_) => return true,
                }
            }
            if !offend(&mut *foe, offences).await {
                return false;
            }
            offences += 1;
            if offences == FLOOD || (offences > OFFENCES && began.elapsed() > TIME) {
                return true;
            }
            tokio::task::yield_now().await;
        }
    };
    let mut banned = pin!(kit.event("a ban", &mut events, is_ban));
    let said = tokio::select! {
        biased;
        _ = &mut banned => None,
        said = offending => Some(said),
    };
    match said {
        Some(false) => return NO_FOE,
        Some(true) if !blames(attacked) => return Outcome::Unsupported("links that can be blamed"),
        Some(true) => drop(banned.await),
        None => {}
    }
    let took = began.elapsed();
    assert!(offences <= OFFENCES || took <= TIME, "banned after {offences} offences and {took:?}");
    kit.soon("the end of its link", foe.ended()).await;
    assert!(kit.hostile(attacked, key).await.is_err(), "it is refused from now on");
    Outcome::Kept
}

fn remote(key: &Keypair) -> Remote {
    Remote::Peer(key.public().to_peer_id())
}
