//! What a parent tells a member of the network and hears of it, and the member that is a node.

use std::time::Duration;

use bytes::Bytes;
use carrick_core::{Delivery, Node, PeerAddr, Topic};
use futures::StreamExt as _;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines, Stdin};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::{TOPIC, node, tell};
use crate::Result;
use crate::process::{Usage, resident_mib};

/// Bytes of a payload.
pub(super) const PAYLOAD: usize = 1_024;
/// How long the last messages may take once nothing more is published.
const DRAIN: Duration = Duration::from_millis(1_500);

/// What a member is told. It answers each.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Connect.
    Dial(Vec<String>),
    /// Wait until so many take part in the topic.
    Ready(usize),
    /// Publish, and listen, as the member of this number.
    Load { number: u8, load: Load },
    /// Tell the resident memory, in MiB.
    Resident,
}

/// What each member publishes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Load {
    /// Between two messages.
    pub(super) every: Duration,
    pub(super) messages: u32,
}

impl Load {
    /// When everything is published.
    pub(super) fn span(&self) -> Duration {
        self.every * self.messages
    }
}

/// What a member did and heard.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Heard {
    /// From publishing to here, in microseconds, of each message of others.
    pub(super) latencies: Vec<u32>,
    pub(super) usage: Usage,
}

/// One run of a member.
pub(super) struct Run {
    number: u8,
    before: Usage,
    ticks: tokio::time::Interval,
    left: u32,
    end: Instant,
    latencies: Vec<u32>,
}

impl Run {
    pub(super) fn new(number: u8, load: Load) -> Result<Self> {
        // They do not all publish at once.
        let first = Instant::now() + load.every * u32::from(number) / 10;
        let mut ticks = interval_at(first, load.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let end = first + load.span() + DRAIN;
        Ok(Self { number, before: Usage::now()?, ticks, left: load.messages, end, latencies: vec![] })
    }

    /// Waits until the next message is due.
    pub(super) async fn due(&mut self) -> Bytes {
        if self.left == 0 {
            std::future::pending::<()>().await;
        }
        self.ticks.tick().await;
        self.left -= 1;
        let mut payload = vec![self.number; PAYLOAD];
        payload[..8].copy_from_slice(&now().to_be_bytes());
        payload.into()
    }

    pub(super) fn over(&self) -> impl Future<Output = ()> + use<> {
        sleep_until(self.end)
    }

    /// A message came.
    pub(super) fn heard(&mut self, payload: &[u8]) {
        let Some((stamp, rest)) = payload.split_first_chunk() else { return };
        if rest.first() != Some(&self.number) {
            let micros = now().saturating_sub(u64::from_be_bytes(*stamp)) / 1_000;
            self.latencies.push(u32::try_from(micros).unwrap_or(u32::MAX));
        }
    }

    pub(super) fn done(self) -> Result<Heard> {
        Ok(Heard { latencies: self.latencies, usage: Usage::now()?.since(&self.before) })
    }
}

/// Orders as they come.
pub(super) struct Orders(Lines<BufReader<Stdin>>);

impl Orders {
    pub(super) fn new() -> Self {
        Self(BufReader::new(tokio::io::stdin()).lines())
    }

    /// The next one; `None` once the parent has heard enough.
    pub(super) async fn next(&mut self) -> Result<Option<Order>> {
        let line = self.0.next_line().await?;
        Ok(line.map(|line| serde_json::from_str(&line)).transpose()?)
    }
}

/// A node that does as it is told.
pub(super) async fn node() -> Result<()> {
    let (node, topic) = (node::open(Node::builder(), node::config()?).await?, Topic::new(TOPIC)?);
    let mut subscription = node.subscribe(&topic).await?;
    tell(&node::addr(&node)?)?;
    let mut orders = Orders::new();
    while let Some(order) = orders.next().await? {
        match order {
            Order::Dial(addrs) => {
                for addr in addrs {
                    node.connect(&addr.parse::<PeerAddr>()?).await?;
                }
                tell(&())?;
            }
            Order::Ready(peers) => {
                node.ready(&topic, peers).await?;
                tell(&())?;
            }
            Order::Resident => tell(&resident_mib()?)?,
            Order::Load { number, load } => {
                let heard = run(&node, &topic, &mut subscription, Run::new(number, load)?).await?;
                tell(&heard)?;
            }
        }
    }
    Ok(node.close().await?)
}

async fn run(
    node: &Node,
    topic: &Topic,
    subscription: &mut carrick_core::Subscription,
    mut run: Run,
) -> Result<Heard> {
    let (sender, mut due) = tokio::sync::mpsc::channel::<Bytes>(1_024);
    let (publisher, on) = (node.clone(), topic.clone());
    let publishing = tokio::spawn(async move {
        while let Some(payload) = due.recv().await {
            publisher.publish(&on, payload).await?;
        }
        Result::<()>::Ok(())
    });
    let mut over = std::pin::pin!(run.over());
    loop {
        tokio::select! {
            () = &mut over => break,
            payload = run.due() => sender.send(payload).await?,
            delivery = subscription.next() => match delivery {
                Some(Delivery::Message(message)) => run.heard(message.payload()),
                Some(_) => {}
                None => return Err("the subscription ended".into()),
            },
        }
    }
    drop(sender);
    publishing.await??;
    run.done()
}

/// Nanoseconds of a clock that all processes of the machine share.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
