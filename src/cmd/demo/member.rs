//! One node of the demo: a process that runs `carrick up`, in a folder made as by `carrick init`.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use carrick::{Clock, ErrorKind, SystemClock};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::super::CONFIG_FILE;
use crate::control::client::{self, Client};
use crate::control::wire::{Event, Peer, Ready};
use crate::fault::{Failure, Fault, Outcome};

/// A node that runs.
pub(super) struct Member {
    /// From 1, as people count.
    pub(super) number: usize,
    pub(super) ready: Ready,
    pub(super) client: Client,
    /// How others name the link to it: by its id, or that of its daemon.
    pub(super) link: String,
    home: Home,
    process: Process,
    /// Since when it runs, in Unix milliseconds.
    started: u64,
}

/// What outlives the process of a node.
#[derive(Clone)]
pub(super) struct Home {
    pub(super) dir: PathBuf,
    /// What differs from its configuration, as `--set` takes it.
    pub(super) set: Vec<String>,
    /// The id of its daemon, where it has one.
    pub(super) daemon: Option<String>,
}

/// A child that dies with us: it is killed when this is dropped, and stops by itself when its standard input ends.
struct Process {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Member {
    /// Starts a node in its folder, and waits until it is ready.
    pub(super) async fn start(number: usize, home: Home) -> Outcome<Self> {
        let started = SystemClock.now().as_millis();
        let mut process = Process::start(&home)
            .map_err(|error| Fault::new(ErrorKind::Unexpected, "demo", format!("node {number}: {error}")))?;
        let first = super::step("start", async { Ok(process.stdout.next_line().await?) }).await?;
        let ready = first.and_then(|line| serde_json::from_str::<Ready>(&line).ok());
        let Some(ready) = ready else { return Err(broken(number, &home.dir, "did not start")) };
        let client = Client::new(ready.control.clone());
        let link = home.daemon.clone().unwrap_or_else(|| ready.peer.clone());
        Ok(Self { number, ready, client, link, home, process, started })
    }

    /// Kills it, as a power cut would. What is left is its folder.
    pub(super) async fn kill(mut self) -> Outcome<Home> {
        let killed = self.process.child.kill().await;
        killed.map_err(|error| {
            Fault::new(ErrorKind::Unexpected, "demo", format!("node {}: {error}", self.number))
        })?;
        Ok(self.home)
    }

    /// That it ended by itself, if it did.
    pub(super) fn fallen(&mut self) -> Option<Failure> {
        let ended = self.process.child.try_wait().ok()??;
        Some(broken(self.number, &self.home.dir, &format!("ended by itself ({ended})")))
    }

    /// Tells it to end.
    pub(super) fn stop(&mut self) {
        drop(self.process.child.stdin.take());
    }

    /// Waits until it ended, which must go well.
    pub(super) async fn ended(mut self) -> Outcome {
        let ended = self.process.child.wait().await;
        match ended.is_ok_and(|status| status.success()) {
            true => Ok(()),
            false => Err(broken(self.number, &self.home.dir, "did not end well")),
        }
    }

    /// Where others reach it.
    pub(super) fn address(&self) -> Option<&String> {
        self.ready.transports.iter().flat_map(|transport| &transport.listen).next()
    }

    /// Waits until this node has a link to `other` that is not older than either of them, and knows that it takes part in
    /// the topic.
    pub(super) async fn until_linked(&self, other: &Self, topic: &str) -> Outcome {
        let fresh = self.started.max(other.started);
        let linked = |peer: &Peer| {
            peer.peer == other.link
                && peer.since.is_none_or(|since| since >= fresh)
                && peer.topics.iter().any(|joined| joined == topic)
        };
        self.until_peers(|peers| peers.iter().any(linked)).await
    }

    /// Waits until this node's peers are as they should be.
    pub(super) async fn until_peers(&self, fit: impl Fn(&[Peer]) -> bool) -> Outcome {
        // The events come first, so that none is missed between looking and waiting.
        let mut events = self.client.events().await?;
        while !fit(&self.client.peers().await?) {
            next_event(&mut events).await?;
        }
        Ok(())
    }
}

/// Reads on to an event that may have changed something.
async fn next_event(events: &mut client::Lines) -> Outcome {
    match events.next::<Event>().await? {
        Some(_) => Ok(()),
        None => Err(Fault::new(ErrorKind::Closed, "demo", "a node ended its events").into()),
    }
}

impl Process {
    fn start(home: &Home) -> std::io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["up", "--json", "--until-stdin-ends", "--config"]).arg(home.dir.join(CONFIG_FILE));
        home.set.iter().for_each(|value| {
            command.arg("--set").arg(value);
        });
        for (name, _) in std::env::vars_os() {
            // What is set for a node of the user's own is not meant for these.
            if name.to_string_lossy().starts_with("CARRICK_") {
                command.env_remove(name);
            }
        }
        let log = File::options().create(true).append(true).open(log_of(&home.dir))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| std::io::Error::other("no standard output"))?;
        Ok(Self { child, stdout: BufReader::new(stdout).lines() })
    }
}

fn log_of(dir: &Path) -> PathBuf {
    dir.join("log")
}

/// A node that failed, with the last lines of its log.
fn broken(number: usize, dir: &Path, what: &str) -> Failure {
    let log = std::fs::read_to_string(log_of(dir)).unwrap_or_default();
    let mut last = VecDeque::new();
    for line in log.lines().filter(|line| !line.trim().is_empty()) {
        last.push_back(line);
        if last.len() > 3 {
            last.pop_front();
        }
    }
    let said = if last.is_empty() { "it said nothing".into() } else { last.make_contiguous().join(" | ") };
    let fault = Fault::new(ErrorKind::Unexpected, "demo", format!("node {number} {what}: {said}"));
    fault.mend("--keep DIR keeps the whole log").into()
}
