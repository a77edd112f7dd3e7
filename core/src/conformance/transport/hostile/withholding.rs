//! Peers that take and do not give.

use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::sleep;

use super::super::provider::{asks_host, no_fetch, raw};
use super::{Kit, MESSAGES, NO_FOE, Outcome, RawWire, Stage, blames, is_cast_out, topic};
use crate::dag::Layout;
use crate::{GetOptions, Limits, Overload};

pub(in super::super) async fn content_announced_and_not_delivered_ends_in_a_ban(kit: Kit) -> Outcome {
    let limits = Limits { fetch_idle: Duration::from_millis(500), ..Limits::default() };
    let mut stage = Stage::with(&kit, |builder| builder.limits(limits)).await;
    let (author, attacked) = (stage.author.clone(), stage.attacked.clone());
    let Some(caps) = attacked.caps().fetch else { return no_fetch(&attacked).await };
    if !(asks_host(&caps) && caps.names_provider && blames(&attacked)) {
        return Outcome::Unsupported("naming who did not answer");
    }
    let key = kit.stranger();
    let liar = key.public().to_peer_id();
    let given_up = || attacked.counter("defer_out_of_reach") + attacked.counter("quiet");
    let withhold = async |foe: &mut dyn RawWire, n: u64| {
        let content = raw(format!("content {n}"));
        if n.is_multiple_of(2) {
            let before = given_up();
            let said = foe.message(&topic(), kit.letter_about(n, content).encoded()).await;
            if said {
                kit.until("that a message is given up", || given_up() > before).await;
            }
            return said;
        }
        author.put_blocks(std::slice::from_ref(&content)).await.expect("puts");
        let getting = async {
            // On a busy machine the author may be slow too.
            while attacked.block(content.cid(), vec![liar]).await.is_err() {}
        };
        kit.soon("what the author has", getting).await;
        true
    };
    stage.under(is_cast_out(&kit, &attacked, &key, withhold)).await
}

pub(in super::super) async fn peer_that_never_reads_harms_nobody(kit: Kit) -> Outcome {
    let limits = Limits {
        payload_bytes: 32 << 10,
        send_queue_bytes: 64 << 10,
        receive_window_bytes: 64 << 10,
        fetch_idle: Duration::from_secs(1),
        ..Limits::default()
    };
    let mut stage = Stage::with(&kit, |builder| builder.limits(limits)).await;
    let (author, attacked) = (stage.author.clone(), stage.attacked.clone());
    if attacked.never_relays() {
        return Outcome::Unsupported("relaying");
    }
    let Some(mut foe) = kit.foe(&attacked, &kit.stranger()).await else { return NO_FOE };
    if !foe.join(&topic()).await {
        return NO_FOE;
    }
    kit.soon("that it joined", attacked.ready(&topic(), 3)).await.expect("ready");
    // Far more than its queue and all windows hold.
    for _ in 0..MESSAGES {
        stage.deliver(20_000).await;
    }
    // Where a wire does not wait, the far end reads, and drops at its own end.
    if attacked.broadcast_caps().overload == Overload::WireWaits {
        assert!(attacked.counter("dropped") > 0, "what is not read is dropped, and counted");
    }
    if attacked.caps().fetch.is_none() {
        return no_fetch(&attacked).await;
    }
    let content = attacked.put(&vec![7; 1 << 20][..], Layout::default()).await.expect("puts").cid;
    for _ in 0..50 {
        foe.ask(&content).await;
    }
    let getting = async {
        while author.get(&content, GetOptions::default()).await.is_err() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    kit.soon("content that a foe asks for too", getting).await;
    stage.deliver(0).await;
    // Nothing tells it from an honest node whose gate is full.
    assert!(foe.ended().now_or_never().is_none(), "its link was ended");
    assert_eq!(attacked.counter("misdeed_stalled"), 0, "somebody was blamed");
    Outcome::Kept
}
