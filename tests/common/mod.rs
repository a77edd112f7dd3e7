//! The real program, run in folders of its own.

#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod ledger;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longer than anything takes that works, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where every node of the tests listens: only here, on a free port.
pub(crate) const LOCAL: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

/// The program, in a folder, with nothing of ours in its environment.
pub(crate) fn carrick(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carrick"));
    command.current_dir(dir).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARRICK_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end.
pub(crate) fn run<S: AsRef<OsStr>>(dir: &Path, arguments: impl IntoIterator<Item = S>) -> Ran {
    Ran(carrick(dir).args(arguments).output().expect("the program runs"))
}

/// Runs a command to its end, with something to read.
pub(crate) fn feed(dir: &Path, arguments: &[&str], input: &[u8]) -> Ran {
    let mut command = carrick(dir);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program runs");
    child.stdin.take().expect("piped").write_all(input).expect("it reads");
    Ran(child.wait_with_output().expect("it ends"))
}

/// A command that ended.
pub(crate) struct Ran(pub(crate) Output);

impl Ran {
    pub(crate) fn code(&self) -> i32 {
        self.0.status.code().expect("no signal")
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).expect("text")
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).expect("text")
    }

    /// Ended well, or says why not.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code(), 0, "{}", self.stderr());
        self
    }

    /// Ended with this code.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "{}{}", self.stdout(), self.stderr());
        self
    }

    /// The objects on standard output.
    #[track_caller]
    pub(crate) fn json(&self) -> Vec<Value> {
        self.stdout().lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// The CID of what was put, the first of it.
    #[track_caller]
    pub(crate) fn cid(&self) -> String {
        self.json()[0]["cid"].as_str().expect("a CID").to_owned()
    }

    /// The error object on standard error.
    #[track_caller]
    pub(crate) fn error(&self) -> Value {
        let stderr = self.stderr();
        let line = stderr.lines().last().expect("a line on standard error");
        serde_json::from_str::<Value>(line).expect(line)["error"].clone()
    }
}

/// A folder for a node, as `carrick init` makes it.
pub(crate) fn init(dir: &Path, name: &str, bootstrap: Option<&str>) -> PathBuf {
    let mut arguments = vec!["init", name, "--network", "test", "--listen", LOCAL];
    arguments.extend(bootstrap.into_iter().flat_map(|addr| ["--bootstrap", addr]));
    run(dir, arguments).ok();
    dir.join(name)
}

/// A folder for a node over the Kubo daemon at `api`.
pub(crate) fn init_over_kubo(dir: &Path, name: &str, api: &str) -> PathBuf {
    run(dir, ["init", name, "--network", "test", "--transport", "ipfs-http"]).ok();
    edit(dir, name, |text| text.replace("# api = \"http://127.0.0.1:5001\"", &format!("api = {api:?}")));
    dir.join(name)
}

/// Changes the configuration of a node.
pub(crate) fn edit(dir: &Path, name: &str, change: impl Fn(&str) -> String) {
    let file = dir.join(name).join("carrick.toml");
    let text = std::fs::read_to_string(&file).expect("written");
    std::fs::write(&file, change(&text)).expect("written");
}

/// A running node; it dies with the test.
pub(crate) struct Up {
    pub(crate) child: Child,
    pub(crate) ready: Value,
    pub(crate) dir: PathBuf,
    pub(crate) stdout: BufReader<ChildStdout>,
}

impl Up {
    pub(crate) fn start(dir: &Path) -> Self {
        let mut command = carrick(dir);
        command.args(["up", "--json"]).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program runs");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line");
        let ready = serde_json::from_str(&line).expect("the node is ready");
        Self { child, ready, dir: dir.to_path_buf(), stdout }
    }

    /// An address that another node can dial.
    pub(crate) fn addr(&self) -> String {
        self.ready["transports"][0]["listen"][0].as_str().expect("it listens").to_string()
    }

    pub(crate) fn peer(&self) -> String {
        self.ready["peer"].as_str().expect("a peer id").to_string()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A command on this node.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        run(&self.dir, arguments)
    }

    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Stops it in the middle of whatever it does, until it is thawed.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills it as a crash does.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// What it still says, and its exit code.
    pub(crate) fn end(mut self) -> (String, i32) {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("text");
        let code = self.child.wait().expect("it ends").code().expect("no signal");
        (rest, code)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command that goes on, read line by line.
pub(crate) struct Lines {
    child: Child,
    lines: Receiver<String>,
}

impl Lines {
    /// A subscription that is live.
    pub(crate) fn subscribe(node: &Up, arguments: &[&str]) -> Self {
        let mut command = carrick(&node.dir);
        command.args(["subscribe", "--json"]).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program runs");
        let lines = told(&mut child);
        let mut line = String::new();
        BufReader::new(child.stderr.take().expect("piped")).read_line(&mut line).expect("a line");
        assert!(line.contains("subscribed"), "{line}");
        Self { child, lines }
    }

    /// What a command prints, as it comes.
    pub(crate) fn run(node: &Up, arguments: &[&str]) -> Self {
        let mut command = carrick(&node.dir);
        let mut child =
            command.args(arguments).arg("--json").stdout(Stdio::piped()).spawn().expect("it runs");
        let lines = told(&mut child);
        Self { child, lines }
    }

    pub(crate) fn json(&mut self) -> Value {
        self.within(PATIENCE).expect("a line comes in time")
    }

    /// The next line, if it comes within so long.
    pub(crate) fn within(&mut self, time: Duration) -> Option<Value> {
        let line = self.lines.recv_timeout(time).ok()?;
        Some(serde_json::from_str(&line).expect("an object"))
    }

    pub(crate) fn code(mut self) -> i32 {
        self.child.wait().expect("it ends").code().expect("no signal")
    }
}

/// The lines that a program prints, as they come.
fn told(child: &mut Child) -> Receiver<String> {
    let stdout = BufReader::new(child.stdout.take().expect("piped")).lines();
    let (tell, lines) = channel();
    std::thread::spawn(move || stdout.map_while(Result::ok).try_for_each(|line| tell.send(line)));
    lines
}

/// Asks again and again until it is so: a command has no events.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until a node's peers are as they should be.
pub(crate) fn until_peers(node: &Up, fits: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let mut peers = vec![];
    until("the right peers", || {
        peers = node.run(["peers", "--json"]).ok().json();
        fits(&peers)
    });
    peers
}

/// Waits until a node sees so many peers on a topic.
pub(crate) fn until_on_topic(node: &Up, topic: &str, count: usize) {
    let on =
        |peer: &&Value| peer["topics"].as_array().is_some_and(|topics| topics.iter().any(|t| t == topic));
    until_peers(node, |peers| peers.iter().filter(on).count() >= count);
}
