//! More strangers than friends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join, join_all};
use tokio::time::sleep;

use super::{Kit, Member, Outcome, RawWire, Stage, is_cast_out, topic};
use crate::{ErrorKind, Keypair, Limits, Membership, PeerId, Topic};

/// Keeps some out.
#[derive(Debug)]
struct Without(BTreeSet<PeerId>);

impl Membership for Without {
    fn admits(&self, peer: &PeerId) -> bool {
        !self.0.contains(peer)
    }

    fn may_publish(&self, author: &PeerId, _: &Topic) -> bool {
        self.admits(author)
    }
}

pub(in super::super) async fn ten_strangers_for_each_friend_change_nothing(kit: Kit) -> Outcome {
    let keys: Vec<Keypair> = (0..30).map(|_| kit.stranger()).collect();
    let (admitted, strangers) = keys.split_at(10);
    let kept_out = strangers.iter().map(|key| key.public().to_peer_id()).collect();
    let mut stage = Stage::with(&kit, |builder| builder.membership(Arc::new(Without(kept_out)))).await;
    let attacked = stage.attacked.clone();
    if !attacked.caps().admits_in_handshake {
        return Outcome::Unsupported("refusing in the handshake");
    }
    let garbage = async |foe: &mut dyn RawWire, n: u64| foe.message(&topic(), &[0xff, n as u8]).await;
    let offending = join_all(admitted.iter().map(|key| is_cast_out(&kit, &attacked, key, garbage)));
    let knocking = async {
        for _ in 0..5 {
            let knocks = join_all(strangers.iter().map(|key| kit.hostile(&attacked, key))).await;
            assert!(knocks.iter().all(Result::is_err), "a stranger got in");
        }
        let friend = kit.node().await;
        get_in(&kit, &friend, &attacked).await;
        friend
    };
    let (ended, _friend) = stage.under(join(offending, knocking)).await;
    let peers = attacked.peers().await.expect("peers").len();
    assert_eq!(peers, 3, "the friends and nobody else");
    ended.into_iter().find(|outcome| *outcome != Outcome::Kept).unwrap_or(Outcome::Kept)
}

/// Dials until it is taken: what is full answers `Busy`.
async fn get_in(kit: &Kit, friend: &Member, to: &Member) {
    let dialling = async {
        while let Err(error) = friend.connect(&to.addr()).await {
            assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
            sleep(Duration::from_millis(1)).await;
        }
    };
    kit.soon("a place", dialling).await;
}

pub(in super::super) async fn greeting_that_does_not_come_holds_no_place(kit: Kit) -> Outcome {
    let limits = Limits { handshakes: 4, handshake: Duration::from_secs(2), ..Limits::default() };
    let mut stage = Stage::with(&kit, |builder| builder.limits(limits)).await;
    let mut silent = Vec::new();
    for _ in 0..4 {
        match kit.half_open(&stage.attacked).await {
            Ok(foe) => silent.push(foe),
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                return Outcome::Unsupported("connecting without a greeting");
            }
            // All places are taken.
            Err(_) => {}
        }
    }
    assert!(!silent.is_empty(), "nobody connected without a greeting");
    let (friend, attacked) = (kit.node().await, stage.attacked.clone());
    let waiting = async {
        get_in(&kit, &friend, &attacked).await;
        for foe in &mut silent {
            kit.soon("the end of a silent connection", foe.ended()).await;
        }
    };
    stage.under(waiting).await;
    Outcome::Kept
}
