//! What a process used, as the kernel counts it, and processes in another role.

use std::process::Stdio;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::Result;

/// `sysconf(_SC_CLK_TCK)` is 100 on every Linux that Rust runs on.
const TICKS_A_SECOND: f64 = 100.0;

/// CPU time and memory of a process.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// User and system time, in seconds.
    pub(crate) cpu_seconds: f64,
    /// The most memory that was resident, in MiB.
    pub(crate) peak_mib: f64,
}

impl Usage {
    /// Of this process, up to now.
    pub(crate) fn now() -> Result<Self> {
        Self::of("self")
    }

    /// Of the process of this number, up to now.
    pub(crate) fn of(process: &str) -> Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
        // The name before the last bracket may have blanks; user and system time are the 14th and 15th fields.
        let after = stat.rsplit_once(')').ok_or("no name in /proc/PID/stat")?.1;
        let fields: Vec<&str> = after.split_whitespace().collect();
        let ticks = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
        Ok(Self { cpu_seconds: ticks / TICKS_A_SECOND, peak_mib: memory_mib(process, "VmHWM:")? })
    }

    /// What was used since `before`; the peak stays the peak.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self { cpu_seconds: self.cpu_seconds - before.cpu_seconds, ..*self }
    }
}

/// Makes what is resident now the peak of a process. Linux knows that as the 5 of `clear_refs`.
pub(crate) fn reset_peak(process: &str) -> Result<()> {
    Ok(std::fs::write(format!("/proc/{process}/clear_refs"), "5")?)
}

/// What is resident of this process now, in MiB.
pub(crate) fn resident_mib() -> Result<f64> {
    memory_mib("self", "VmRSS:")
}

fn memory_mib(process: &str, what: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let found =
        status.lines().find_map(|line| line.strip_prefix(what)).ok_or_else(|| format!("no {what}"))?;
    let kib: f64 = found.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

/// What a client tells at its end.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Fetched {
    /// Bytes of content that came; on the verified side each was checked.
    pub(crate) bytes: u64,
    /// From the first request to the last byte.
    pub(crate) seconds: f64,
    /// What it cost the client meanwhile.
    pub(crate) usage: Usage,
}

/// A process of this program in another role; killed when it is dropped.
pub(crate) struct Role {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Role {
    pub(crate) fn start(args: &[&str]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = child.stdin.take().ok_or("no stdin")?;
        let output = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
        Ok(Self { child, input, output })
    }

    /// The next line it prints, as JSON.
    pub(crate) async fn line<T: DeserializeOwned>(&mut self) -> Result<T> {
        let line = self.output.next_line().await?.ok_or("a process of the benchmark ended early")?;
        Ok(serde_json::from_str(&line)?)
    }

    /// Asks a server what it used so far.
    pub(crate) async fn usage(&mut self) -> Result<Usage> {
        self.tell("usage").await?;
        self.line().await
    }

    /// Gives it a line to read.
    pub(crate) async fn tell(&mut self, line: &str) -> Result<()> {
        Ok(self.input.write_all(format!("{line}\n").as_bytes()).await?)
    }

    /// Waits for its end.
    pub(crate) async fn end(mut self) -> Result<()> {
        drop(self.input);
        let status = self.child.wait().await?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("a process of the benchmark failed: {status}").into())
        }
    }
}

/// Answers a server's questions until its parent closes standard input.
pub(crate) async fn answer_usage() -> Result<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while lines.next_line().await?.is_some() {
        println!("{}", serde_json::to_string(&Usage::now()?)?);
    }
    Ok(())
}
