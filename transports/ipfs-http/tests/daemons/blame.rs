//! Who is to blame for a message that is refused: its author, never the daemon that brought it.

use std::sync::Arc;

use async_trait::async_trait;
use carrick_core::{Block, Context, Event, Events, Message, Remote, Result, Validator, Verdict};
use carrick_interop::Kubo;
use futures::StreamExt as _;

use super::{addr, builder, config, counted, heard, node, open, soon, topic};

/// Refuses whatever says that it is wrong.
#[derive(Debug)]
struct Strict;

#[async_trait]
impl Validator for Strict {
    async fn message(&self, _: &Context<'_>, message: &Message) -> Verdict {
        if message.payload().starts_with(b"wrong") {
            return Verdict::Reject("it says so itself".into());
        }
        Verdict::Accept
    }

    async fn block(&self, _: &Context<'_>, _: &Block) -> Verdict {
        Verdict::Accept
    }

    async fn accepted(&self, _: &Context<'_>, _: &Message) -> Result<()> {
        Ok(())
    }
}

/// Who was banned first; until then no link went down.
async fn banned(events: &mut Events) -> Remote {
    loop {
        match events.next().await.expect("the node is open") {
            Event::Banned { remote } => return remote,
            Event::Down { remote, .. } => panic!("{remote} was cut off"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn the_author_of_what_is_refused_is_banned_and_its_daemon_brings_others_all_the_same() {
    let kubo = Kubo::run(2, &["--connect"]).expect("daemons");
    let [far, own] = [&kubo.daemons()[0], &kubo.daemons()[1]];
    let (judge, _) = node::over(builder().validator(Arc::new(Strict)), config(own)).await.expect("opens");
    let (bad, _) = open(config(far)).await.expect("opens");
    let (good, _) = open(config(far)).await.expect("opens");
    soon("a dial", judge.connect(&addr(far))).await.expect("connects");
    let mut subscription = judge.subscribe(&topic()).await.expect("subscribes");
    let mut events = judge.events();
    soon("a message of before", heard(&bad, &topic(), "right", &mut subscription)).await;
    let saying = async {
        for n in 0.. {
            bad.publish(&topic(), format!("wrong {n}")).await.expect("publishes");
        }
    };
    let who = tokio::select! {
        who = soon("a ban", banned(&mut events)) => who,
        () = saying => unreachable!("it goes on for ever"),
    };
    assert_eq!(who, Remote::Peer(bad.peer_id()));
    assert!(counted(&judge, "rejected").await >= 10);
    let peers = judge.peers().await.expect("peers");
    assert!(peers.iter().any(|peer| peer.remote.to_string().contains(&far.id)), "{peers:?}");
    assert!(peers.iter().all(|peer| peer.reputation == 0.0), "{peers:?}");
    loop {
        match soon("the good", heard(&good, &topic(), "good", &mut subscription)).await.as_str() {
            "good" => break,
            // Of those that were sent before.
            text => assert_eq!(text, "right"),
        }
    }
}
