//! The demo's own Kubo daemons, for a transport that needs one: on loopback, with repositories in its folder, and connected
//! to nobody else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use carrick::ErrorKind;
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::IPFS_HTTP;
use crate::fault::{Failure, Fault, Outcome};

/// How long a daemon may take to end: a little more than it is given below.
const GRACE: Duration = Duration::from_secs(7);

/// Runs a daemon until it ends, or until our end of the pipe is gone, however that happens; what does not end is killed.
const RUN: &str = r#"
exec 3<&0
"$0" daemon </dev/null 3<&- &
ipfs=$!
{ cat <&3; kill "$ipfs"; sleep 5; kill -9 "$ipfs"; } >/dev/null 2>&1 &
watch=$!
wait "$ipfs"
kill "$watch"
"#;

/// A running daemon. It ends when this is dropped, and when this process ends.
pub(super) struct Daemon {
    /// Its RPC, as `api` names it.
    pub(super) api: String,
    /// Its peer id.
    pub(super) id: String,
    child: Child,
}

/// The daemons, where nodes need one each.
pub(super) struct Daemons {
    program: Option<PathBuf>,
    running: Vec<Daemon>,
}

impl Daemons {
    /// None run yet. Where a transport needs them, there must be a program.
    pub(super) fn of(transport: &str) -> Outcome<Self> {
        let program = (transport == IPFS_HTTP).then(find).transpose()?;
        Ok(Self { program, running: vec![] })
    }

    /// Starts another one, where one is needed.
    pub(super) async fn start(&mut self, repo: &Path) -> Outcome<Option<&Daemon>> {
        let Some(program) = &self.program else { return Ok(None) };
        self.running.push(Daemon::start(program, repo).await?);
        Ok(self.running.last())
    }

    /// Ends all of them, and waits for that.
    pub(super) async fn stop(self) {
        join_all(self.running.into_iter().map(Daemon::stop)).await;
    }
}

/// The program: the one that is named, else that of the user, else the one that the tests build.
fn find() -> Outcome<PathBuf> {
    let in_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).map(|folder| folder.join("ipfs")).collect::<Vec<_>>());
    let peers = std::env::var_os("CARRICK_PEERS").map(PathBuf::from);
    let peers = peers.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/carrick-peers")));
    let mut found = match std::env::var_os("CARRICK_IPFS") {
        Some(named) => vec![PathBuf::from(named)],
        None => in_path.chain(peers.map(|peers| peers.join("bin/ipfs"))).collect(),
    };
    found.retain(|program| program.is_file());
    let missing = || {
        Fault::new(ErrorKind::Unreachable, "demo", "there is no Kubo on this machine: no program `ipfs`").mend(
            "install Kubo, see https://docs.ipfs.tech/install/command-line, or name it in CARRICK_IPFS; in a clone \
             of Carrick, interop/install.sh kubo builds it",
        )
    };
    Ok(found.into_iter().next().ok_or_else(missing)?)
}

impl Daemon {
    /// Makes a repository in `repo` and starts a daemon on it.
    async fn start(program: &Path, repo: &Path) -> Outcome<Self> {
        let said = ipfs(program, repo).args(["init", "--profile=test"]).kill_on_drop(true).output().await;
        let said = said.map_err(|error| broken(format!("{}: {error}", program.display())))?;
        if !said.status.success() {
            let why = String::from_utf8_lossy(&said.stderr);
            return Err(broken(format!("ipfs init: {}: {}", said.status, why.trim())));
        }
        let id = isolate(&repo.join("config"))?;
        let log = fs::File::create(repo.with_extension("log")).map_err(|error| broken(error.to_string()))?;
        let mut command = ipfs(Path::new("sh"), repo);
        command.arg("-c").arg(RUN).arg(program).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().map_err(|error| broken(format!("sh: {error}")))?;
        let api = ready(&mut child, repo).await?;
        Ok(Self { api, id, child })
    }

    async fn stop(mut self) {
        drop(self.child.stdin.take());
        // Nothing depends on how it ends: its repository is the demo's alone.
        let _ = tokio::time::timeout(GRACE, self.child.wait()).await;
    }
}

/// A program as for this repository alone: what is set for the user's own daemon is not meant for it.
fn ipfs(program: &Path, repo: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["IPFS_", "GOLOG_", "LIBP2P_"].iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(&*name);
        }
    }
    command.env("IPFS_PATH", repo).env("IPFS_TELEMETRY", "off");
    command
}

/// Lets a daemon meet only whom the demo connects it with. Answers its id.
fn isolate(file: &Path) -> Outcome<String> {
    let unread = |error: &dyn std::fmt::Display| broken(format!("{}: {error}", file.display()));
    let text = fs::read_to_string(file).map_err(|error| unread(&error))?;
    let mut config: Value = serde_json::from_str(&text).map_err(|error| unread(&error))?;
    let loopback = "/ip4/127.0.0.1/tcp/0";
    for (part, key, value) in [
        ("Addresses", "API", json!(loopback)),
        ("Addresses", "Gateway", json!([])),
        ("Addresses", "Swarm", json!([loopback])),
        ("AutoConf", "Enabled", json!(false)),
        ("AutoTLS", "Enabled", json!(false)),
        ("Pubsub", "Enabled", json!(true)),
        ("Routing", "Type", json!("none")),
        ("Swarm", "DisableNatPortMap", json!(true)),
        ("Version", "SwarmCheckEnabled", json!(false)),
    ] {
        config[part][key] = value;
    }
    config["Bootstrap"] = json!([]);
    config["Discovery"]["MDNS"]["Enabled"] = json!(false);
    config["Swarm"]["Transports"]["Network"]["Relay"] = json!(false);
    fs::write(file, config.to_string()).map_err(|error| unread(&error))?;
    match config["Identity"]["PeerID"].as_str() {
        Some(id) => Ok(id.to_owned()),
        None => Err(unread(&"it names no PeerID")),
    }
}

/// Waits until a daemon says that it is ready; answers where its RPC is.
async fn ready(child: &mut Child, repo: &Path) -> Outcome<String> {
    let stdout = child.stdout.take().ok_or_else(|| broken("it has no standard output"))?;
    let mut lines = BufReader::new(stdout).lines();
    let failed = |what: &str| {
        let log = fs::read_to_string(repo.with_extension("log")).unwrap_or_default();
        broken(format!("{what}: {}", log.lines().last().unwrap_or("it said nothing")))
    };
    loop {
        match lines.next_line().await {
            Ok(Some(line)) if line.contains("Daemon is ready") => break,
            Ok(Some(_)) => {}
            _ => return Err(failed("it ended before it was ready")),
        }
    }
    // What it says later goes nowhere, but must not fill the pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    let api = fs::read_to_string(repo.join("api")).map_err(|error| failed(&error.to_string()))?;
    Ok(api.trim().to_owned())
}

fn broken(what: impl Into<String>) -> Failure {
    let what = what.into();
    let mend = if what.contains("someone else has the lock") {
        "another `ipfs` is at work in that repository: end it, or name an empty folder with --keep"
    } else {
        "--keep DIR keeps its repository and log"
    };
    Fault::new(ErrorKind::Unexpected, "demo", format!("a Kubo daemon: {what}")).mend(mend).into()
}
