//! Publishing: number, sign, judge, send.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use cid::Cid;
use serde::Serialize;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::core::Core;
use super::hold::Hold;
use super::router::Router;
use crate::types::{Body, Draft};
use crate::{
    Block, Error, ErrorKind, Keep, Lane, Message, MessageId, Outgoing, Path, RAW, Result, Skip, Topic,
    TopicRules, Verdict,
};

/// How many numbers are reserved at once, so that a crash cannot make one come twice.
const RESERVED: u64 = 1_024;
/// Where they are saved in the store's metadata.
const PREFIX: &str = "seqno/";

/// What became of a published message here; not who received it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Published {
    /// Its id.
    pub id: MessageId,
    /// Peers into whose send queue it went, over all transports; `None` where a wire does not tell.
    #[serde(rename = "peers")]
    pub sent_to: Option<u32>,
    /// Whether it is kept because nobody was there, and goes out when somebody joins.
    pub queued: bool,
    /// Peers on the topic that it did not go to, and why.
    pub skipped: Vec<(Skip, u32)>,
}

/// The numbers of our own messages, topic by topic. Publishing on one topic is one at a time.
#[derive(Debug, Default)]
pub(crate) struct Pen(Mutex<BTreeMap<Topic, Arc<Mutex<Option<Line>>>>>);

/// The line of a topic while somebody writes on it.
type HeldLine = OwnedMutexGuard<Option<Line>>;

impl Pen {
    /// Waits for the line of a topic. Only for topics that this node publishes on: each is remembered.
    pub(crate) async fn line(&self, topic: &Topic) -> HeldLine {
        let line = Arc::clone(self.0.lock().await.entry(topic.clone()).or_default());
        line.lock_owned().await
    }
}

/// Where a topic stands.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    next: u64,
    reserved: u64,
    last: Option<MessageId>,
}

impl Router {
    /// Signs a payload and hands it to every broadcast transport. It follows the author's previous message unless it is said
    /// what it follows.
    pub(crate) async fn publish(
        self: &Arc<Self>,
        topic: &Topic,
        payload: Bytes,
        follows: Option<Vec<Cid>>,
    ) -> Result<Published> {
        let core = &self.core;
        let rules = core.topics.rules(topic, Path::Own).unwrap_or_default();
        if !core.may_publish(&core.me, topic) {
            let detail = format!("this node is no member that may publish on {topic}");
            return Err(Error::new(ErrorKind::Unauthorized, "publish", detail)
                .mend(format!("have whoever decides on members let {} publish there", core.me)));
        }
        if self.broadcast_bits() == 0 {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "publish",
                "no transport of this node carries broadcast",
            )
            .mend("name one under broadcast in [node]"));
        }
        let hold = core.holds.hold();
        // Held until the message is on its way, so that the next one cannot overtake it.
        let (message, _line) = if rules.raw {
            (self.write_raw(topic, payload)?, Some(self.pen.line(topic).await))
        } else {
            self.write(topic, payload, follows, rules, &hold).await?
        };
        if core.outbox.has(topic) && core.links.in_topic(topic) > 0 {
            self.send_kept(topic).await;
        }
        let outgoing = Outgoing {
            id: *message.id(),
            topic: topic.clone(),
            bytes: message.encoded().clone(),
            lane: Lane::Own,
        };
        let reach = self.broadcast(&outgoing).await;
        let queued = !reach.reached() && rules.keep == Keep::Nothing && core.limits.outbox > 0;
        if queued {
            core.keep_for_later(outgoing);
            // Whoever joined while the transports were asked was told of before there was anything to send.
            if core.links.in_topic(topic) > 0 {
                core.flush_outbox(topic);
            }
        }
        if message.link().is_some() {
            core.linger(hold);
        }
        if let (Some(error), false) = (reach.error, reach.any_ok) {
            return Err(error);
        }
        Ok(Published { id: *message.id(), sent_to: reach.sent_to, queued, skipped: reach.skipped })
    }

    fn write_raw(&self, topic: &Topic, payload: Bytes) -> Result<Message> {
        if !self.carries_raw() {
            let detail = format!(
                "{topic} is a raw topic, and no broadcast transport of this node carries bare payloads"
            );
            return Err(Error::new(ErrorKind::Unsupported, "publish", detail).mend(
                "name one under broadcast that carries raw topics, or take raw out of the topic's rules",
            ));
        }
        if payload.len() > self.core.limits.payload_bytes {
            return Err(too_large(payload.len(), self.core.limits.payload_bytes));
        }
        let id = MessageId::of_raw(None, &payload);
        Ok(Message::raw(id, topic.clone(), payload, self.core.clock.now()))
    }

    /// Signs the next message of a topic and passes it through the gate. The next one waits until the line is dropped; on a ledger,
    /// where what a message follows tells its order, it waits for nothing.
    async fn write(
        self: &Arc<Self>,
        topic: &Topic,
        payload: Bytes,
        follows: Option<Vec<Cid>>,
        rules: TopicRules,
        hold: &Hold,
    ) -> Result<(Message, Option<HeldLine>)> {
        let core = &self.core;
        let body = self.body(payload, hold).await?;
        let mut line = self.pen.line(topic).await;
        let mut now = match line.take() {
            Some(line) => line,
            None => first_line(core, topic).await?,
        };
        if now.next >= now.reserved {
            now.reserved = now.next.saturating_add(RESERVED);
            let value = Bytes::copy_from_slice(&now.reserved.to_be_bytes());
            core.store.set_meta(&[(format!("{PREFIX}{topic}"), Some(value))]).await?;
        }
        let draft = Draft {
            network: &core.network,
            topic,
            seqno: now.next,
            time: core.clock.now(),
            parents: follows.clone().unwrap_or_else(|| now.last.iter().map(|id| *id.cid()).collect()),
            body,
        };
        let message = draft.sign(&core.key)?;
        now.next += 1;
        let mut line = Some(line);
        if follows.is_some() && rules.is_a_ledger() {
            line.take().into_iter().for_each(|mut line| *line = Some(now.clone()));
        }
        let verdict = core.judge_own(message.clone(), rules).await;
        if let Some(line) = &mut line {
            now.last = verdict.is_accept().then_some(*message.id()).or(now.last);
            **line = Some(now);
        }
        match verdict {
            Verdict::Accept => Ok((message, line)),
            Verdict::Ignore(cause) | Verdict::Reject(cause) => {
                Err(Error::new(ErrorKind::Rejected, "publish", format!("refused here: {cause}")))
            }
            Verdict::Defer(_) => Err(Error::new(ErrorKind::Rejected, "publish", "it could not be judged")),
        }
    }

    /// Inline, or above the limit a block of its own, which is stored and provided first.
    async fn body(&self, payload: Bytes, hold: &Hold) -> Result<Body> {
        let limits = &self.core.limits;
        if payload.len() <= limits.payload_bytes {
            return Ok(Body::Inline(payload));
        }
        if payload.len() > limits.block_bytes {
            return Err(too_large(payload.len(), limits.block_bytes));
        }
        let block = Block::new(RAW, payload);
        hold.add([block.cid()]).await;
        self.put_blocks(std::slice::from_ref(&block)).await?;
        Ok(Body::Linked(block))
    }
}

fn too_large(size: usize, limit: usize) -> Error {
    let detail = format!("the payload is {size} bytes; the limit is {limit}");
    Error::new(ErrorKind::TooLarge, "publish", detail).mend("put it and publish its CID")
}

/// Where a topic stood when the node last ran, but not below the time in milliseconds: there a fresh one begins, and there
/// one goes on whose data folder was put back to an earlier day, above the numbers that it does not remember.
async fn first_line(core: &Core, topic: &Topic) -> Result<Line> {
    let saved = core.store.meta(&format!("{PREFIX}{topic}")).await?;
    let reserved = saved.and_then(|bytes| Some(u64::from_be_bytes(bytes.as_ref().try_into().ok()?)));
    let last = core.gate.numbers.last(core.me, topic);
    let after_last = last.map(|(_, highest)| highest.saturating_add(1));
    let now = core.clock.now().as_millis();
    let next = reserved.max(after_last).unwrap_or_default().max(now);
    Ok(Line { next, reserved: next, last: last.map(|(cid, _)| MessageId::from_cid(cid)) })
}
