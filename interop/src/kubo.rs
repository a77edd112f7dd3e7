//! Kubo daemons, driven through `kubo_peer.py`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::peer::parsed;
use crate::script::Script;
use crate::{Result, install, program, script};

/// Longer than `kubo_peer.py` gives a daemon to start.
const PATIENCE: Duration = Duration::from_secs(90);

/// A running daemon.
#[derive(Clone, Debug, Deserialize)]
pub struct Daemon {
    /// Its peer id.
    pub id: String,
    /// Its RPC, `http://127.0.0.1:PORT`; stays the same when it is started again.
    pub api: String,
    /// The same as a multiaddr.
    pub api_multiaddr: String,
    /// The same on a Unix socket, with `--unix`.
    pub api_unix: Option<String>,
    /// Where other daemons reach it, each with `/p2p/ID`.
    pub addrs: Vec<String>,
    /// Its process.
    pub pid: u32,
    /// The program `ipfs` that runs it.
    pub program: PathBuf,
    /// Its repository.
    pub repo: PathBuf,
    /// What its RPC demands as `Authorization`, with `--bearer` or `--basic`.
    pub authorization: Option<String>,
}

impl Daemon {
    /// Runs a command of the program `ipfs` over its RPC, as `["cat", CID]`, and gives what it writes.
    ///
    /// # Errors
    /// The command fails, or does not end within 90 s.
    pub fn ipfs(&self, args: &[&str]) -> Result<Vec<u8>> {
        self.ipfs_with(args, b"")
    }

    /// The same for a command that reads standard input, as `["add", "-Q"]`.
    ///
    /// # Errors
    /// The command fails, or does not end within 90 s.
    pub fn ipfs_with(&self, args: &[&str], input: &[u8]) -> Result<Vec<u8>> {
        let mut command = Command::new(&self.program);
        let foreign = |name: &str| name.starts_with("IPFS_") || name.to_ascii_lowercase().contains("proxy");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(foreign)) {
            command.env_remove(name);
        }
        command
            .env("IPFS_PATH", &self.repo)
            .env("IPFS_TELEMETRY", "off")
            .args(["--api", &self.api_multiaddr]);
        if let Some((scheme, secret)) =
            self.authorization.as_deref().and_then(|header| header.split_once(' '))
        {
            command.arg("--api-auth").arg(format!("{}:{secret}", scheme.to_ascii_lowercase()));
        }
        program::run(command.args(args), input.to_vec(), PATIENCE)
    }

    /// Calls its RPC as any other program does: a command with its query, and a file where the command takes one.
    ///
    /// # Errors
    /// No answer, or one that is not 200.
    pub fn post(&self, command: &str, file: Option<&[u8]>) -> Result<Vec<u8>> {
        let host = self.api.trim_start_matches("http://");
        let body = file.map_or_else(Vec::new, |file| [PART.as_bytes(), file, END.as_bytes()].concat());
        let kind = file.map_or("", |_| "Content-Type: multipart/form-data; boundary=part\r\n");
        let auth =
            self.authorization.iter().map(|auth| format!("Authorization: {auth}\r\n")).collect::<String>();
        // Of the old version there is no answer in chunks.
        let head = format!(
            "POST /api/v0/{command} HTTP/1.0\r\nHost: {host}\r\n{auth}{kind}Content-Length: {}\r\n\r\n",
            body.len()
        );
        let asked = || {
            let mut stream = TcpStream::connect(host)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(&[head.as_bytes(), &body].concat())?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            std::io::Result::Ok(answer)
        };
        let answer = asked().map_err(|e| format!("{command} at {host}: {e}"))?;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(answer.len());
        let (head, body) = answer.split_at(end);
        let body = body.get(4..).unwrap_or_default().to_vec();
        if head.split(|byte| *byte == b' ').nth(1) == Some(b"200") {
            return Ok(body);
        }
        Err(format!("{command}: {}", String::from_utf8_lossy(&answer)))
    }
}

const PART: &str = "--part\r\nContent-Disposition: form-data; name=\"file\"; filename=\"file\"\r\n\
                    Content-Type: application/octet-stream\r\n\r\n";
const END: &str = "\r\n--part--\r\n";

/// Some daemons with repositories of their own, on loopback. They end when this is dropped, and when the process ends.
#[derive(Debug)]
pub struct Kubo {
    script: Script,
    daemons: Vec<Daemon>,
}

impl Kubo {
    /// Starts `count` daemons, with options of `kubo_peer.py`; installs Kubo first if need be.
    ///
    /// # Errors
    /// What is missing, or what the daemons said when they did not start.
    pub fn run(count: usize, options: &[&str]) -> Result<Self> {
        if std::env::var_os("CARRICK_IPFS").is_none() {
            install("kubo")?;
        }
        let mut command = Command::new("python3");
        command.arg(script("kubo_peer.py")).args(["run", &count.to_string()]).args(options);
        let script = Script::start("kubo_peer.py", &mut command)?;
        let mut kubo = Self { script, daemons: vec![] };
        for _ in 0..count {
            let daemon = parsed(kubo.script.line(PATIENCE)?)?;
            kubo.daemons.push(daemon);
        }
        Ok(kubo)
    }

    /// The daemons, in their order.
    pub fn daemons(&self) -> &[Daemon] {
        &self.daemons
    }

    /// Runs a command of the program `ipfs` against a daemon, see [`Daemon::ipfs`].
    ///
    /// # Errors
    /// There is no such daemon, the command fails, or does not end within 90 s.
    pub fn ipfs(&self, n: usize, args: &[&str]) -> Result<Vec<u8>> {
        self.daemons.get(n).ok_or("there is no such daemon")?.ipfs(args)
    }

    /// Kills a daemon as a crash does.
    ///
    /// # Errors
    /// What went wrong.
    pub fn kill(&mut self, n: usize) -> Result<()> {
        self.order(&json!({"op": "kill", "n": n})).map(drop)
    }

    /// Starts a killed daemon again: the same repository, the same addresses.
    ///
    /// # Errors
    /// What went wrong.
    pub fn start(&mut self, n: usize) -> Result<()> {
        let answer = self.order(&json!({"op": "start", "n": n}))?;
        *self.daemons.get_mut(n).ok_or("there is no such daemon")? = parsed(answer)?;
        Ok(())
    }

    /// Gives a killed daemon another peer id, as a new repository has; it is known by it once it is started.
    ///
    /// # Errors
    /// What went wrong.
    pub fn renew(&mut self, n: usize) -> Result<()> {
        self.order(&json!({"op": "renew", "n": n})).map(drop)
    }

    /// Stops a daemon in the middle: it takes connections and never answers.
    ///
    /// # Errors
    /// What went wrong.
    pub fn freeze(&mut self, n: usize) -> Result<()> {
        self.order(&json!({"op": "freeze", "n": n})).map(drop)
    }

    /// Lets a frozen daemon go on.
    ///
    /// # Errors
    /// What went wrong.
    pub fn thaw(&mut self, n: usize) -> Result<()> {
        self.order(&json!({"op": "thaw", "n": n})).map(drop)
    }

    /// Connects two daemons.
    ///
    /// # Errors
    /// What went wrong.
    pub fn connect(&mut self, one: usize, other: usize) -> Result<()> {
        self.order(&json!({"op": "connect", "a": one, "b": other})).map(drop)
    }

    fn order(&mut self, order: &Value) -> Result<Value> {
        self.script.ask(order, PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_keeps_its_address_and_its_name_when_it_is_started_again() {
        let mut kubo = Kubo::run(2, &["--connect"]).expect("two daemons");
        let before = kubo.daemons()[0].clone();
        assert!(before.addrs.iter().all(|addr| addr.ends_with(&before.id)), "{before:?}");
        kubo.kill(0).expect("dies");
        assert!(kubo.connect(0, 1).is_err(), "the dead do nothing");
        kubo.start(0).expect("starts");
        kubo.connect(1, 0).expect("is reached where it was");
        assert_eq!(kubo.daemons()[0].addrs, before.addrs);
        kubo.kill(0).expect("dies");
        kubo.renew(0).expect("is another one");
        kubo.start(0).expect("starts");
        let after = &kubo.daemons()[0];
        assert!(after.api == before.api && after.id != before.id, "{after:?}");
    }
}
