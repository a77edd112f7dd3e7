//! A message is good when the node says so, and not before.

use std::sync::Arc;

use async_trait::async_trait;

use super::kit::topic;
use super::{Kit, Outcome};
use crate::{Block, Context, Message, Result, Validator, Verdict};

/// Judges a message by what it says.
#[derive(Debug)]
struct ByPayload;

#[async_trait]
impl Validator for ByPayload {
    async fn message(&self, _: &Context<'_>, message: &Message) -> Verdict {
        match &message.payload()[..] {
            b"reject" => Verdict::Reject("it says so".into()),
            b"ignore" => Verdict::Ignore("it says so".into()),
            _ => Verdict::Accept,
        }
    }

    async fn block(&self, _: &Context<'_>, _: &Block) -> Verdict {
        Verdict::Accept
    }

    async fn accepted(&self, _: &Context<'_>, _: &Message) -> Result<()> {
        Ok(())
    }
}

pub(super) async fn rejected_is_not_handed_out(kit: Kit) -> Outcome {
    let author = kit.node().await;
    let judge = kit.node_with(|builder| builder.validator(Arc::new(ByPayload))).await;
    kit.link(&author, &judge).await;
    let members = [author.clone(), judge];
    let mut subscriptions = kit.subscribe(&members, &topic()).await;
    for payload in ["one", "reject", "two"] {
        author.publish(&topic(), payload).await.expect("publishes");
    }
    for payload in ["one", "two"] {
        assert_eq!(kit.text(&mut subscriptions[1]).await, payload);
    }
    kit.silence(&mut subscriptions[1]).await;
    Outcome::Kept
}
