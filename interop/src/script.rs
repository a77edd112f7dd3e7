//! A script that takes one line of JSON and gives one, with a deadline for each.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Result;

/// More than a script answers before it is asked: a line for each daemon that it starts.
const ANSWERS: usize = 64;

/// How long a script may take to end what it started; then it is killed.
const GRACE: Duration = Duration::from_secs(15);

/// A running script. It ends when this is dropped, and when the process ends: its input ends then.
#[derive(Debug)]
pub(crate) struct Script {
    name: &'static str,
    child: Child,
    /// `None` once it is being ended. A thread writes, so that a script which does not read cannot hold us up.
    orders: Option<SyncSender<String>>,
    answers: Receiver<String>,
}

impl Script {
    /// Starts it; `name` is for errors.
    pub(crate) fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{program} runs {name}, and cannot be started: {e}"))?;
        let output = child.stdout.take().ok_or("its output is piped")?;
        let mut input = child.stdin.take().ok_or("its input is piped")?;
        let (tell, answers) = sync_channel(ANSWERS);
        thread::spawn(move || {
            let mut lines = BufReader::new(output).lines().map_while(std::io::Result::ok);
            lines.try_for_each(|line| tell.send(line))
        });
        let (orders, given) = sync_channel::<String>(1);
        thread::spawn(move || given.iter().try_for_each(|order| writeln!(input, "{order}")));
        Ok(Self { name, child, orders: Some(orders), answers })
    }

    /// Its next line. One that is late ends it: later it would be taken for the answer to something else.
    pub(crate) fn line(&mut self, within: Duration) -> Result<Value> {
        let name = self.name;
        match self.answers.recv_timeout(within) {
            Ok(line) => serde_json::from_str(&line).map_err(|e| format!("{name} says {line}: {e}")),
            Err(RecvTimeoutError::Disconnected) => Err(format!("{name} has ended")),
            Err(RecvTimeoutError::Timeout) => {
                self.orders = None;
                // It is waited for when this is dropped.
                let _ = self.child.kill();
                Err(format!("{name} did not answer within {} s and was killed", within.as_secs_f32()))
            }
        }
    }

    /// What it answers to an order.
    pub(crate) fn ask(&mut self, order: &Value, within: Duration) -> Result<Value> {
        let orders = self.orders.as_ref().ok_or_else(|| format!("{} was killed", self.name))?;
        orders.send(order.to_string()).map_err(|_| format!("{} has ended", self.name))?;
        let mut answer = self.line(within)?;
        if answer["ok"] == true { Ok(answer["r"].take()) } else { Err(format!("{order:.300}: {answer}")) }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.orders = None;
        let end = Instant::now() + GRACE;
        let left = || end.saturating_duration_since(Instant::now());
        // The end of its output is its own, nothing that it starts has that.
        let late = loop {
            match self.answers.recv_timeout(left()) {
                Ok(_) => {}
                Err(e) => break e == RecvTimeoutError::Timeout,
            }
        };
        if late {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shell(script: &str) -> Script {
        Script::start("a shell", Command::new("sh").args(["-c", script])).expect("starts")
    }

    const SOON: Duration = Duration::from_millis(100);
    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn an_answer_is_what_it_gave_or_what_it_said_was_wrong() {
        let mut script =
            shell(r#"read a; echo '{"ok":true,"r":[1]}'; read b; echo '{"ok":false,"error":"no"}'; read c"#);
        assert_eq!(script.ask(&json!({"op": "a"}), PATIENCE), Ok(json!([1])));
        let error = script.ask(&json!({"op": "b"}), PATIENCE).expect_err("an error");
        assert!(error.contains(r#""op":"b""#) && error.contains(r#""error":"no""#), "{error}");
    }

    #[test]
    fn one_that_is_late_is_asked_nothing_any_more() {
        // It reads nothing either: an order larger than a pipe must not hold us up.
        let mut script = shell("exec sleep 60");
        let error = script.ask(&json!({"op": "x".repeat(1 << 20)}), SOON).expect_err("late");
        assert!(error.contains("did not answer within 0.1 s"), "{error}");
        assert!(script.ask(&json!({"op": "y"}), PATIENCE).expect_err("killed").contains("was killed"));
    }

    #[test]
    fn one_that_ended_is_told_from_one_that_is_late() {
        let mut script = shell("exit 1");
        assert_eq!(script.line(PATIENCE), Err("a shell has ended".to_owned()));
    }

    #[test]
    fn it_ends_when_it_is_dropped() {
        let start = Instant::now();
        drop(shell("cat > /dev/null"));
        assert!(start.elapsed() < GRACE, "its input did not end");
    }
}
