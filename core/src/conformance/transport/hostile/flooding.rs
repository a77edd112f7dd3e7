//! Too much of what costs its sender nothing.

use super::{Kit, OFFENCES, Outcome, RawWire, Stage, blames, topic};
use crate::{Limits, Topic};

fn nth(n: u64) -> Topic {
    Topic::new(format!("topic-{n}")).expect("a topic")
}

pub(in super::super) async fn more_topics_than_allowed_end_in_a_ban(kit: Kit) -> Outcome {
    let limit = 4;
    let limits = Limits { topics_per_peer: limit, ..Limits::default() };
    let mut stage = Stage::with(&kit, |builder| builder.limits(limits)).await;
    let attacked = stage.attacked.clone();
    let one_too_many = async |foe: &mut dyn RawWire, offences: u64| {
        assert!(offences < OFFENCES || !blames(&attacked), "cut off {offences} times, and not banned");
        for n in 0..=limit as u64 {
            if !foe.join(&nth(n)).await {
                return false;
            }
            let peers = attacked.peers().await.expect("peers");
            assert!(peers.iter().all(|info| info.topics.len() <= limit), "more topics than allowed");
        }
        if blames(&attacked) {
            kit.soon("the end of its link", foe.ended()).await;
        }
        true
    };
    stage.withstands(one_too_many).await
}

pub(in super::super) async fn flood_of_joins_ends_in_a_ban(kit: Kit) -> Outcome {
    let toggle = async |foe: &mut dyn RawWire, n: u64| match n % 2 {
        0 => foe.join(&nth(0)).await,
        _ => foe.leave(&nth(0)).await,
    };
    Stage::new(&kit).await.withstands(toggle).await
}

pub(in super::super) async fn bad_messages_end_in_a_ban(kit: Kit) -> Outcome {
    let bad = async |foe: &mut dyn RawWire, n: u64| {
        if n.is_multiple_of(2) {
            return foe.message(&topic(), &[0xff, n as u8]).await;
        }
        // The words of somebody else, changed: its signature does not hold.
        let mut forged = kit.letter(n, "they said this").encoded().to_vec();
        *forged.last_mut().expect("not empty") ^= 1;
        foe.message(&topic(), &forged).await
    };
    Stage::new(&kit).await.withstands(bad).await
}

pub(in super::super) async fn flood_of_replays_ends_in_a_ban(kit: Kit) -> Outcome {
    let mut stage = Stage::new(&kit).await;
    let once = kit.letter(1, "once");
    let again = async |foe: &mut dyn RawWire, _: u64| foe.message(&topic(), once.encoded()).await;
    // Each of them a message of its own, all of them older than what is kept count of.
    let old = async |foe: &mut dyn RawWire, n: u64| {
        let number = if n == 0 { 1 << 40 } else { n };
        foe.message(&topic(), kit.letter(number, "old").encoded()).await
    };
    match stage.withstands(again).await {
        Outcome::Kept => stage.withstands(old).await,
        unsupported => unsupported,
    }
}

pub(in super::super) async fn flood_of_records_ends_in_a_ban(kit: Kit) -> Outcome {
    // Every other one is known.
    let told = async |foe: &mut dyn RawWire, n: u64| foe.record(&kit.invented(n % 2 * n)).await;
    Stage::new(&kit).await.withstands(told).await
}

pub(in super::super) async fn flood_on_other_topics_ends_in_a_ban(kit: Kit) -> Outcome {
    let unwanted = async |foe: &mut dyn RawWire, _: u64| foe.message(&nth(0), b"whatever").await;
    Stage::new(&kit).await.withstands(unwanted).await
}
