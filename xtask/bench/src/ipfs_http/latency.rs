//! From publishing to delivery between two nodes, message by message, against the same daemons without them.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use carrick_core::{Delivery, Node, PeerAddr, Subscription, Topic};
use carrick_interop::Daemon;
use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use rand::RngCore as _;
use tokio::time::{sleep, timeout};

use super::open;
use super::plain::Plain;
use crate::Result;
use crate::stats::median;
use crate::table::{Good, Row};

const PAYLOAD: usize = 256;
/// What a message of that payload has as an envelope, so that the plain side sends as much.
const ENVELOPE: usize = PAYLOAD + 200;
/// Messages of one pair, of each side.
const MESSAGES: u32 = 50;
/// Slower than the transport's pace, which nothing here has to wait for.
const PAUSE: Duration = Duration::from_millis(25);
/// Longer than any message takes that is not lost.
const LOST: Duration = Duration::from_secs(5);
/// `bench` in multibase.
const PLAIN_TOPIC: &str = "uYmVuY2g";

/// All pairs: the sides take turns message by message. The first pair does not count.
pub(super) async fn run(daemons: &[Daemon], pairs: u32) -> Result<Row> {
    let mut nodes = Nodes::open(daemons).await?;
    let mut plain = Subscribed::open(daemons).await?;
    let (mut ratios, mut last) = (Vec::new(), [0.0; 2]);
    for pair in 0..=pairs {
        let mut took = [vec![], vec![]];
        for message in 0..MESSAGES {
            for side in [(pair + message) % 2, (pair + message + 1) % 2] {
                let sending = async { if side == 0 { plain.send().await } else { nodes.send().await } };
                let seconds =
                    timeout(LOST, sending).await.map_err(|_| "a message was lost; the run is void")??;
                took[side as usize].push(seconds);
                sleep(PAUSE).await;
            }
        }
        last = took.map(median);
        if pair > 0 {
            ratios.push(last[1] / last[0]);
        }
    }
    nodes.close().await?;
    let [plain, ours] = last.map(|seconds| seconds * 1e3);
    let detail = format!("in the last pair {ours:.1} ms, plain {plain:.1} ms");
    let what = "ipfs-http, latency p50, of plain HTTP";
    Ok(Row::new(what, "×", &ratios, Good::AtMost, 1.3, 1.1).detail(detail))
}

/// A node that publishes and one that listens.
struct Nodes {
    topic: Topic,
    from: Node,
    to: Node,
    heard: Subscription,
}

impl Nodes {
    async fn open(daemons: &[Daemon]) -> Result<Self> {
        let topic = Topic::new("latency")?;
        let (from, _) = open(&daemons[0].api, Node::builder()).await?;
        let (to, _) = open(&daemons[1].api, Node::builder()).await?;
        from.connect(&daemons[1].addrs[0].parse::<PeerAddr>()?).await?;
        let heard = to.subscribe(&topic).await?;
        let _reading = from.subscribe(&topic).await?;
        from.ready(&topic, 1).await?;
        to.ready(&topic, 1).await?;
        Ok(Self { topic, from, to, heard })
    }

    async fn send(&mut self) -> Result<f64> {
        let payload = random(PAYLOAD);
        let start = Instant::now();
        let publishing = self.from.publish(&self.topic, payload.clone());
        let hearing = async {
            loop {
                match self.heard.next().await {
                    Some(Delivery::Message(message)) if *message.payload() == payload => {
                        return Ok(start.elapsed());
                    }
                    Some(_) => {}
                    None => return Err("the subscription ended"),
                }
            }
        };
        let (published, heard) = tokio::join!(publishing, hearing);
        published?;
        Ok(heard?.as_secs_f64())
    }

    async fn close(self) -> Result<()> {
        self.from.close().await?;
        Ok(self.to.close().await?)
    }
}

/// The same without nodes.
struct Subscribed {
    from: Plain,
    heard: Incoming,
    line: BytesMut,
}

impl Subscribed {
    async fn open(daemons: &[Daemon]) -> Result<Self> {
        let [from, to] = [Plain::new(&daemons[0]), Plain::new(&daemons[1])];
        let heard = to.begin(&format!("pubsub/sub?arg={PLAIN_TOPIC}")).await?;
        let known = format!("pubsub/peers?arg={PLAIN_TOPIC}");
        while !String::from_utf8_lossy(&from.call(&known).await?).contains(&daemons[1].id) {
            sleep(PAUSE).await;
        }
        Ok(Self { from, heard, line: BytesMut::new() })
    }

    async fn send(&mut self) -> Result<f64> {
        let start = Instant::now();
        let command = format!("pubsub/pub?arg={PLAIN_TOPIC}");
        let publishing = self.from.give(&command, std::iter::once(random(ENVELOPE)));
        let hearing = async {
            while !self.line.contains(&b'\n') {
                let frame = self.heard.frame().await.ok_or("the subscription ended")??;
                self.line.extend_from_slice(frame.data_ref().map_or(&[], |bytes| &bytes[..]));
            }
            self.line.clear();
            Result::<_>::Ok(start.elapsed())
        };
        let (published, heard) = tokio::join!(publishing, hearing);
        published?;
        Ok(heard?.as_secs_f64())
    }
}

fn random(bytes: usize) -> Bytes {
    let mut payload = vec![0; bytes];
    rand::rng().fill_bytes(&mut payload);
    payload.into()
}
