//! `carrick demo`: several real nodes on this machine, each a process of its own, shown to agree.

mod content;
mod daemons;
mod fleet;
mod input;
mod ledger;
mod member;
mod partition;
mod readings;
mod report;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use carrick::ErrorKind;
use serde_json::json;

use self::daemons::Daemons;
use self::fleet::Fleet;
use self::ledger::Ledger;
use self::report::Report;
use super::Cx;
use super::args::Demo;
use crate::control::wire::Ready;
use crate::fault::{Failure, Fault, Outcome};

/// How long each step may take before the demo says which one is stuck.
const PATIENCE: Duration = Duration::from_secs(60);
/// The transports that are dialled at an address of ours, and the one whose nodes need a daemon each.
const QUIC: &str = "quic";
const LIBP2P: &str = "libp2p";
const IPFS_HTTP: &str = "ipfs-http";
/// How many readings each node appends at first.
const READINGS: usize = 3;
/// What to do about nodes that do not agree.
const LOGS: &str = "--keep DIR keeps the logs of the nodes; look there";

pub(super) async fn run(cx: &Cx, args: &Demo) -> Outcome {
    check(args)?;
    let mut daemons = Daemons::of(&args.transport)?;
    let place = Place::new(args.keep.as_deref())?;
    let played = play(cx, args, &place, &mut daemons).await;
    // However it went: they write into the place until they have ended.
    daemons.stop().await;
    played
}

async fn play(cx: &Cx, args: &Demo, place: &Place, daemons: &mut Daemons) -> Outcome {
    let started = Instant::now();
    let mut report = Report::new(args);
    let input = input::choose(args.input.as_deref(), place.path())?;
    input::check(cx, &input).await?;

    let mut fleet = Fleet::start(cx, args, place.path(), daemons).await?;
    let played = play_with(cx, &mut fleet, &input, place.path(), &mut report).await;
    played.map_err(|failure| fleet.fallen().unwrap_or(failure))?;
    step("stop", fleet.stop()).await?;
    report.seconds = started.elapsed().as_secs_f64();
    report.print(cx, &place.kept())?;
    if report.ok() {
        return Ok(());
    }
    Err(Fault::new(ErrorKind::Integrity, "demo", "the nodes do not agree; the table says where").into())
}

async fn play_with(cx: &Cx, fleet: &mut Fleet, input: &Path, place: &Path, report: &mut Report) -> Outcome {
    step("connect", fleet.connected(cx)).await?;

    let mut ledger = step("follow", Ledger::follow(fleet)).await?;
    ledger.append(fleet, 0..fleet.nodes.len(), READINGS).await?;
    let agreed = ledger.agree(cx, fleet, 0..fleet.nodes.len(), &ledger.all()).await?;
    let text = format!("each appended {READINGS} readings of this machine to the ledger: {}", agreed.text());
    cx.note_step(&ledger.line("messages", &agreed), &text);

    step("content", content::share(cx, fleet, input, place, report)).await?;
    partition::play(cx, fleet, &mut ledger).await?;
    restart(cx, fleet, &mut ledger, report).await?;
    step("verify", report.verify(cx, fleet, &ledger)).await
}

/// The last node is killed, the others append; it is started again, and has what it had and what it missed.
async fn restart(cx: &Cx, fleet: &mut Fleet, ledger: &mut Ledger, report: &Report) -> Outcome {
    let last = fleet.nodes.len() - 1;
    let home = step("kill", fleet.kill_last(cx)).await?;
    ledger.append(fleet, 0..last, 1).await?;
    let agreed = ledger.agree(cx, fleet, 0..last, &ledger.all()).await?;
    let line = json!({ "step": "without", "entries": agreed.heads.entries, "heads": agreed.heads.heads });
    cx.note_step(&line, &format!("meanwhile the others appended: {}", agreed.text()));

    fleet.start_last(home).await?;
    let Ready { peer, pid, .. } = &fleet.nodes[last].ready;
    let line = json!({ "step": "restart", "node": last + 1, "peer": peer, "pid": pid });
    cx.note_step(&line, &format!("node {} runs again", last + 1));
    step("follow", ledger.follow_again(fleet, last)).await?;
    let agreed = ledger.agree(cx, fleet, 0..=last, &ledger.all()).await?;
    step("restart", content::still_there(fleet, report, last)).await?;
    let text = format!("it has the content it had, and caught up: {}", agreed.text());
    cx.note_step(&ledger.line("catch-up", &agreed), &text);

    ledger.append(fleet, [last], 1).await?;
    let agreed = ledger.agree(cx, fleet, 0..=last, &ledger.all()).await?;
    cx.note_step(&ledger.line("last", &agreed), &format!("it appended a last reading: {}", agreed.text()));
    Ok(())
}

fn check(args: &Demo) -> Outcome {
    if args.transport == "memory" {
        let fault = Fault::new(ErrorKind::Config, "demo", "memory joins nodes inside one process only");
        return Err(fault.mend("choose a transport that crosses processes, such as quic").into());
    }
    Ok(())
}

/// One step, with the patience that it may take.
async fn step<T>(name: &str, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| {
        let message = format!("the step {name} did not end within {} s", PATIENCE.as_secs());
        Err(Failure::from(Fault::new(ErrorKind::Timeout, "demo", message).mend(LOGS)))
    })
}

impl Cx {
    /// A step that is done: an object for a program, a line beside the data for a person.
    fn note_step(&self, line: &serde_json::Value, text: &str) {
        if self.term.json {
            // Whoever stopped reading is told at the last line.
            let _ = self.term.json(line);
        } else {
            self.term.note(text);
        }
    }
}

/// Where the nodes' folders are: for a while, or kept.
enum Place {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Place {
    fn new(keep: Option<&Path>) -> Outcome<Self> {
        let failed = |path: &Path, error: &std::io::Error| {
            Fault::new(ErrorKind::Config, "demo", format!("{}: {error}", path.display()))
                .mend("choose a folder that this user may write to, with --keep or in TMPDIR")
        };
        let Some(dir) = keep else {
            let made = tempfile::Builder::new().prefix("carrick-demo-").tempdir();
            return Ok(Self::Temporary(made.map_err(|error| failed(&std::env::temp_dir(), &error))?));
        };
        std::fs::create_dir_all(dir).map_err(|error| failed(dir, &error))?;
        if std::fs::read_dir(dir).map_err(|error| failed(dir, &error))?.next().is_some() {
            let fault = Fault::new(ErrorKind::Config, "demo", format!("{} is not empty", dir.display()));
            return Err(fault.mend("--keep takes a new or empty folder").into());
        }
        Ok(Self::Kept(std::path::absolute(dir).map_err(|error| failed(dir, &error))?))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(dir) => dir.path(),
            Self::Kept(dir) => dir,
        }
    }

    fn kept(&self) -> Option<&Path> {
        match self {
            Self::Temporary(_) => None,
            Self::Kept(dir) => Some(dir),
        }
    }
}
