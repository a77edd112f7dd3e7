//! Ten members of a topic, all connected with each other, that publish together; nodes in turns with the library alone.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::member::{Heard, Load, Order};
use super::relay::Relay;
use super::{Task, start};
use crate::Result;
use crate::process::Role;
use crate::stats::median;
use crate::table::{Good, Row};

const MEMBERS: usize = 10;
/// 500 messages a second, together, for 6 s.
const LOAD: Load = Load { every: Duration::from_millis(20), messages: 300 };
/// As many a second, where bytes are counted.
const COUNTED: Load = Load { messages: 150, ..LOAD };
/// Pairs in which bytes are counted.
const COUNTS: u32 = 3;
/// Until the mesh stands: some heartbeats.
const MESHED: Duration = Duration::from_millis(2_500);
/// Longer than anything takes that is not lost.
const LOST: Duration = Duration::from_secs(60);

/// What is measured, and against what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Node,
    Bare,
}

impl Side {
    /// The two in the order ABBA.
    pub(super) fn in_turn(pair: u32) -> [Self; 2] {
        if pair.is_multiple_of(2) { [Self::Node, Self::Bare] } else { [Self::Bare, Self::Node] }
    }

    pub(super) fn task(self) -> Task {
        match self {
            Self::Node => Task::Node,
            Self::Bare => Task::Bare,
        }
    }
}

/// One run of one side.
#[derive(Clone, Copy, Debug, Default)]
struct Spread {
    /// Of all members, for each message that reached one.
    cpu_micros: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// On the wire, for each message that reached a member; 0 where they were not counted.
    bytes: f64,
    lost: usize,
}

/// All pairs.
pub(super) async fn run(pairs: u32) -> Result<Vec<Row>> {
    let [mut turns, mut counted] = [const { Vec::new() }; 2];
    for pair in 0..pairs {
        turns.push(both(pair, LOAD, false).await?);
    }
    for pair in 0..pairs.min(COUNTS) {
        counted.push(both(pair, COUNTED, true).await?);
    }
    Ok(rows(&turns, &counted))
}

async fn both(pair: u32, load: Load, counting: bool) -> Result<[Spread; 2]> {
    let mut turn = [Spread::default(); 2];
    for side in Side::in_turn(pair) {
        let spread = spread(side, load, counting).await?;
        let Spread { cpu_micros, p50_ms, p99_ms, bytes, lost } = spread;
        eprintln!(
            "gossip, pair {}, {side:?}: {cpu_micros:.0} µs, p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms, {bytes:.0} B, {lost} lost",
            pair + 1
        );
        turn[side as usize] = spread;
    }
    Ok(turn)
}

fn rows(turns: &[[Spread; 2]], counted: &[[Spread; 2]]) -> Vec<Row> {
    let row = |what: &str, of: &[[Spread; 2]], value: fn(&Spread) -> f64, unit: &str, floor, aim| {
        let ratios: Vec<f64> = of.iter().map(|[ours, bare]| value(ours) / value(bare)).collect();
        let [ours, bare] =
            [0, 1].map(|side: usize| median(of.iter().map(|turn| value(&turn[side])).collect()));
        Row::new(&format!("libp2p, {what}, of bare gossipsub"), "×", &ratios, Good::AtMost, floor, aim)
            .detail(format!("{ours:.2} {unit}, bare {bare:.2} {unit}"))
    };
    let lost = |side: usize| turns.iter().map(|turn| turn[side].lost).sum::<usize>();
    let mut cpu = row("CPU a delivery", turns, |s| s.cpu_micros, "µs", 1.25, 1.05);
    cpu.detail += &format!("; {} lost, bare {}", lost(0), lost(1));
    vec![
        cpu,
        row("latency p50", turns, |s| s.p50_ms, "ms", 1.3, 1.1),
        row("latency p99", turns, |s| s.p99_ms, "ms", 1.3, 1.1),
        row("bytes a delivery", counted, |s| s.bytes, "B", 1.05, 1.0),
    ]
}

async fn spread(side: Side, load: Load, counting: bool) -> Result<Spread> {
    let (mut members, relays) = open(side, counting).await?;
    sleep(MESHED).await;
    let before: u64 = relays.iter().map(Relay::bytes).sum();
    for (number, member) in (0..).zip(&mut members) {
        tell(member, &Order::Load { number, load }).await?;
    }
    let mut latencies = Vec::new();
    let mut cpu_seconds = 0.0;
    for member in &mut members {
        let heard = member.line::<Heard>();
        let heard = timeout(load.span() + LOST, heard).await.map_err(|_| "a member hangs")??;
        latencies.extend(heard.latencies);
        cpu_seconds += heard.usage.cpu_seconds;
    }
    let bytes = relays.iter().map(Relay::bytes).sum::<u64>() - before;
    for member in members {
        member.end().await?;
    }
    let expected = MEMBERS * (MEMBERS - 1) * load.messages as usize;
    if latencies.len() > expected {
        return Err("a message came twice; the run is void".into());
    }
    latencies.sort_unstable();
    let each = |total: f64| total / latencies.len().max(1) as f64;
    let at = |share: f64| {
        let at = (latencies.len().saturating_sub(1) as f64 * share).round() as usize;
        latencies.get(at).map_or(f64::NAN, |micros| f64::from(*micros) / 1e3)
    };
    Ok(Spread {
        cpu_micros: each(cpu_seconds * 1e6),
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        bytes: each(bytes as f64),
        lost: expected - latencies.len(),
    })
}

/// Members that are all connected with each other, each over a relay where bytes are counted.
async fn open(side: Side, counting: bool) -> Result<(Vec<Role>, Vec<Relay>)> {
    let (mut members, mut addrs) = (Vec::new(), Vec::new());
    let mut relays = Vec::new();
    for _ in 0..MEMBERS {
        let mut member = start(&side.task())?;
        let addr: String = member.line().await?;
        tell(&mut member, &Order::Dial(addrs.clone())).await?;
        timeout(LOST, member.line::<()>()).await.map_err(|_| "a member does not connect")??;
        if counting {
            let relay = Relay::to(&addr, Duration::ZERO).await?;
            addrs.push(relay.addr().to_owned());
            relays.push(relay);
        } else {
            addrs.push(addr);
        }
        members.push(member);
    }
    for member in &mut members {
        tell(member, &Order::Ready(MEMBERS - 1)).await?;
        timeout(LOST, member.line::<()>()).await.map_err(|_| "the members do not see each other")??;
    }
    Ok((members, relays))
}

async fn tell(member: &mut Role, order: &Order) -> Result<()> {
    member.tell(&serde_json::to_string(order)?).await
}
