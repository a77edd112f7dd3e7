//! A whole file: from Kubo, to Kubo, and between nodes by either protocol, against one from Kubo to Kubo.
//!
//! The content is new in each run, and so are the daemons of each turn: nothing is there before it is fetched.

use carrick_core::Cid;
use carrick_interop::{Daemon, Kubo};

use super::{Served, Task, Took, start};
use crate::Result;
use crate::ipfs_http::{Plain, add, complete, kubo, with_program};
use crate::process::{Fetched, Usage, reset_peak};
use crate::stats::median;
use crate::table::{Good, Row};

/// Who gets the file of whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    KuboFromKubo,
    FromKubo,
    ToKubo,
    Bitswap,
    Dag,
}

const SIDES: [Side; 5] = [Side::KuboFromKubo, Side::FromKubo, Side::ToKubo, Side::Bitswap, Side::Dag];

type Turn = [Took; SIDES.len()];

/// All turns, every second one the other way round.
pub(super) async fn run(size_mib: u64, turns: u32) -> Result<Vec<Row>> {
    let mut done = Vec::new();
    for turn in 0..turns {
        let kubo = kubo(&["--durable", "--no-quic"])?;
        let mut took = [Took::new(0.0, Default::default()); SIDES.len()];
        let mut order = SIDES;
        if turn % 2 == 1 {
            order.reverse();
        }
        for side in order {
            let run = run_side(side, &kubo, size_mib).await?;
            eprintln!(
                "file, turn {}, {side:?}: {:.0} MiB/s, {:.2} s of CPU, {:.0} MiB",
                turn + 1,
                size_mib as f64 / run.seconds,
                run.cpu_seconds,
                run.peak_mib
            );
            took[side as usize] = run;
        }
        done.push(took);
    }
    Ok(rows(&done, size_mib))
}

fn rows(turns: &[Turn], size_mib: u64) -> Vec<Row> {
    let middle = |side: Side, value: fn(&Took) -> f64| {
        median(turns.iter().map(|turn| value(&turn[side as usize])).collect())
    };
    let detail = |side| {
        let speed = |side| size_mib as f64 / middle(side, |took| took.seconds);
        let cpu = |side| middle(side, |took| took.cpu_seconds) * 1024.0 / size_mib as f64;
        let told = |side| {
            let peak = middle(side, |took| took.peak_mib);
            format!("{:.0} MiB/s, {:.2} s of CPU a GiB, {peak:.0} MiB", speed(side), cpu(side))
        };
        format!("{}; Kubo from Kubo {}", told(side), told(Side::KuboFromKubo))
    };
    let ratios = |side: Side, ratio: fn(&Took, &Took) -> f64| -> Vec<f64> {
        turns.iter().map(|turn| ratio(&turn[side as usize], &turn[Side::KuboFromKubo as usize])).collect()
    };
    let wall = |what: &str, side, floor, aim| {
        let ratios = ratios(side, |ours, theirs| theirs.seconds / ours.seconds);
        Row::new(&format!("libp2p, {what} {size_mib} MiB"), "×", &ratios, Good::AtLeast, floor, aim)
            .detail(detail(side))
    };
    let most =
        |what, side, ratio, floor, aim| Row::new(what, "×", &ratios(side, ratio), Good::AtMost, floor, aim);
    let cpu = |ours: &Took, theirs: &Took| ours.cpu_seconds / theirs.cpu_seconds;
    let peak = |ours: &Took, theirs: &Took| ours.peak_mib / theirs.peak_mib;
    vec![
        wall("get from Kubo,", Side::FromKubo, 1.0, 1.5),
        wall("Kubo's get from a node,", Side::ToKubo, 1.0, 1.2),
        wall("node from node by bitswap,", Side::Bitswap, 2.0, 4.0),
        most("its CPU, of Kubo's", Side::Bitswap, cpu, 0.5, 0.25),
        most("its peak memory, of Kubo's", Side::Bitswap, peak, 1.0, 0.5),
        wall("node from node by /carrick/dag,", Side::Dag, 3.0, 5.0),
        most("its CPU, of Kubo's", Side::Dag, cpu, 0.5, 0.25),
        most("its peak memory, of Kubo's", Side::Dag, peak, 1.0, 0.5),
    ]
}

async fn run_side(side: Side, kubo: &Kubo, size_mib: u64) -> Result<Took> {
    let [from, to] = [&kubo.daemons()[0], &kubo.daemons()[1]];
    match side {
        Side::KuboFromKubo => {
            let root = add(from, size_mib).await?;
            let ends = [Of::daemon(from)?, Of::daemon(to)?];
            let seconds = with_program(to, &root, size_mib).await?;
            Ok(Took::new(seconds, [ends[0].used()?, ends[1].used()?]))
        }
        Side::FromKubo => {
            let root = add(from, size_mib).await?;
            let serving = Of::daemon(from)?;
            let got = get(&from.addrs[0], &root.to_string(), true, size_mib).await?;
            Ok(Took::new(got.seconds, [serving.used()?, got.usage]))
        }
        Side::ToKubo => {
            let mut server = start(&Task::ServeFile { size_mib })?;
            let Served { addr, root } = server.line().await?;
            Plain::new(to).call(&format!("swarm/connect?arg={addr}")).await?;
            let (before, getting) = (server.usage().await?, Of::daemon(to)?);
            let seconds = with_program(to, &root.parse::<Cid>()?, size_mib).await?;
            let served = server.usage().await?.since(&before);
            let took = Took::new(seconds, [served, getting.used()?]);
            server.end().await?;
            Ok(took)
        }
        Side::Bitswap | Side::Dag => {
            let mut server = start(&Task::ServeFile { size_mib })?;
            let Served { addr, root } = server.line().await?;
            let before = server.usage().await?;
            let got = get(&addr, &root, side == Side::Dag, size_mib).await?;
            let served = server.usage().await?.since(&before);
            server.end().await?;
            Ok(Took::new(got.seconds, [served, got.usage]))
        }
    }
}

async fn get(addr: &str, root: &str, dag: bool, size_mib: u64) -> Result<Fetched> {
    let mut client = start(&Task::Get { addr: addr.to_owned(), root: root.to_owned(), dag })?;
    let fetched: Fetched = client.line().await?;
    client.end().await?;
    complete("the node", fetched.bytes, size_mib)?;
    Ok(fetched)
}

/// What a daemon uses from here on.
struct Of {
    process: String,
    before: Usage,
}

impl Of {
    fn daemon(daemon: &Daemon) -> Result<Self> {
        let process = daemon.pid.to_string();
        reset_peak(&process)?;
        let before = Usage::of(&process)?;
        Ok(Self { process, before })
    }

    fn used(&self) -> Result<Usage> {
        Ok(Usage::of(&self.process)?.since(&self.before))
    }
}
