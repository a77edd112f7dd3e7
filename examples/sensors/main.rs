//! Three sensors keep one ledger over QUIC on this machine, by a rule of their own; a liar gets nowhere.
//!
//! `cargo run --release --example sensors`. Each node is a process of its own in real life, and here all are in one, to be
//! seen together. `cargo run --release --example sensors -- one` is one real sensor, in a folder that `carrick init` made.
//! `docs/tutorial.md` builds all of it, step by step.

#![allow(clippy::print_stdout, reason = "an example speaks to its reader")]

mod plausible;
mod sensor;
mod summary;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use carrick::config::Config;
use carrick::ledger::{Folded, Ledger};
use carrick::{Node, PeerAddr, Registry, Result};
use futures::StreamExt as _;
use summary::Summary;
use tokio::time::{sleep, timeout};

const NAMES: [&str; 3] = ["north", "east", "south"];
/// What they measure, in this order.
const READINGS: [[f64; 3]; 4] =
    [[19.5, 21.0, 23.5], [19.8, 21.4, 24.1], [20.1, 21.9, 24.6], [20.6, 22.1, 24.4]];
/// Nothing here takes longer unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often we look at a counter, which tells nobody that it grew.
const POLL: Duration = Duration::from_millis(10);

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    if std::env::args().nth(1).is_some_and(|argument| argument == "one") {
        sensor::run().await?;
        return Ok(ExitCode::SUCCESS);
    }
    let agree = timeout(PATIENCE, story()).await??;
    println!("\n{}", if agree { "all three agree" } else { "THEY DO NOT AGREE" });
    Ok(if agree { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What happens to them. Answers whether all agree in the end.
async fn story() -> Result<bool, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let mut seats: Vec<Seat> = vec![];
    for name in NAMES {
        let config = config(folder.path(), name, &seats)?;
        let (node, ledger) = sensor::open(&config).await?;
        seats.push(Seat { name, summary: ledger.fold(Summary)?, node, ledger });
    }
    for seat in &seats {
        seat.node.ready(seat.ledger.topic(), NAMES.len() - 1).await?;
    }
    println!("three nodes, joined by QUIC; each appends {} readings\n", READINGS.len());
    for round in READINGS {
        // All at the same time: the ledger finds one order.
        let append = seats.iter().zip(round).map(|(seat, celsius)| seat.ledger.append(reading(celsius)));
        futures::future::try_join_all(append).await?;
    }
    let mut entries = READINGS.len() * NAMES.len();
    let before = tell(&seats, entries).await?;

    println!("\nsouth tries what the rule refuses:");
    for lie in [reading(75.0), reading(35.0), r#"{"fahrenheit":75}"#.to_owned()] {
        match seats[2].ledger.append(lie.clone()).await {
            Ok(_) => return Err(format!("{lie} was taken").into()),
            Err(error) => println!("  {lie:<18} {}", error.detail()),
        }
    }

    println!("\na fourth node has not the rule, takes the log, and appends {}:", reading(75.0));
    let liar = Ledger::new("sensors", vec![])?;
    let plan = config(folder.path(), "liar", &seats)?.check(&Registry::linked()?)?;
    let node = liar.mount(plan.builder()?).open().await?;
    node.ready(liar.topic(), NAMES.len()).await?;
    grown(&liar, entries).await?;
    // What south tried was counted, too.
    let refused = seats.iter().map(|seat| seat.node.counter("rejected")).collect::<Vec<_>>();
    let lie = liar.append(reading(75.0)).await?.cid;
    for (seat, before) in seats.iter().zip(refused) {
        while seat.node.counter("rejected") == before {
            sleep(POLL).await;
        }
        let refused = seat.ledger.entry(&lie).await?.is_none();
        println!("  {:<5} {}", seat.name, if refused { "refused it" } else { "HAS IT" });
        if !refused {
            return Ok(false);
        }
    }

    println!("\nand north goes on:\n");
    seats[0].ledger.append(reading(20.9)).await?;
    entries += 1;
    let agree = before && tell(&seats, entries).await?;
    node.close().await?;
    for seat in seats {
        seat.node.close().await?;
    }
    Ok(agree)
}

/// A sensor's place in this program.
struct Seat {
    name: &'static str,
    node: Node,
    ledger: Ledger,
    summary: Folded<Summary>,
}

/// A `carrick.toml`, for a node that joins those that are there.
fn config(folder: &Path, name: &str, there: &[Seat]) -> Result<Config> {
    let addresses = there.iter().flat_map(|seat| seat.node.listen_addrs());
    let bootstrap: Vec<String> = addresses.map(|address| PeerAddr::from(address).to_string()).collect();
    Config::from_toml(&format!(
        r#"
        [node]
        network = "weather"
        transport = "quic"
        data_dir = {:?}

        [transport.quic]
        listen = ["/ip4/127.0.0.1/udp/0/quic-v1"]
        bootstrap = {bootstrap:?}
        "#,
        folder.join(name)
    ))
}

fn reading(celsius: f64) -> String {
    format!(r#"{{"celsius":{celsius}}}"#)
}

/// Waits until a ledger has so many entries.
async fn grown(ledger: &Ledger, entries: usize) -> Result<()> {
    let mut changes = ledger.watch();
    while ledger.count()? < entries && changes.next().await.is_some() {}
    Ok(())
}

/// Prints what each node says of each sensor, once it has all entries. Answers whether they say the same.
async fn tell(seats: &[Seat], entries: usize) -> Result<bool> {
    println!("{:<12}{:<14}{:<14}{:<14}{:<9}head", "latest, mean", "  north", "  east", "  south", "entries");
    let mut said = Vec::new();
    for seat in seats {
        grown(&seat.ledger, entries).await?;
        let view = seat.summary.current().await?;
        print!("{:<12}", format!("{} says", seat.name));
        for sensor in seats.iter().filter_map(|seat| view.state.get(&seat.node.peer_id())) {
            print!("{:>6.1} {:>5.2}  ", sensor.latest, sensor.mean());
        }
        let heads = seat.ledger.heads()?;
        let ends: Vec<String> = heads.iter().map(|head| head.to_string()[50..].to_owned()).collect();
        println!("{:>7}  …{}", view.entries, ends.join(" …"));
        said.push((view.state, view.entries, heads));
    }
    Ok(said.iter().all(|other| *other == said[0]))
}
