//! A program that is run to its end, with a deadline.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;

/// Runs a program with an input and gives its output. One that is late is killed.
///
/// # Errors
/// It cannot be started, is late, or fails; then with what it wrote to standard error.
pub(crate) fn run(command: &mut Command, input: Vec<u8>, within: Duration) -> Result<Vec<u8>> {
    let end = Instant::now() + within;
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|e| format!("{command:?}: {e}"))?;
    let mut stdin = child.stdin.take().ok_or("its input is piped")?;
    // A program need not read all of it.
    thread::spawn(move || stdin.write_all(&input));
    let stdout = read(child.stdout.take().ok_or("its output is piped")?);
    let stderr = read(child.stderr.take().ok_or("its errors are piped")?);
    let left = || end.saturating_duration_since(Instant::now());
    let read = stdout.recv_timeout(left()).and_then(|out| Ok((out, stderr.recv_timeout(left())?)));
    let Ok((out, errors)) = read else {
        let _ = child.kill();
        let _ = child.wait();
        return Err(format!("{command:?} did not end within {} s and was killed", within.as_secs_f32()));
    };
    let status = child.wait().map_err(|e| format!("{command:?}: {e}"))?;
    if status.success() {
        return Ok(out);
    }
    Err(format!("{command:?}: {status}: {}", String::from_utf8_lossy(&errors).trim()))
}

/// Reads to the end, in a thread of its own.
fn read(mut from: impl Read + Send + 'static) -> std::sync::mpsc::Receiver<Vec<u8>> {
    let (tell, told) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        let _ = tell.send(bytes);
    });
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, input: &[u8], within: Duration) -> Result<Vec<u8>> {
        run(Command::new("sh").args(["-c", script]), input.to_vec(), within)
    }

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn gives_the_output_of_what_succeeds_and_the_errors_of_what_fails() {
        let large = vec![7; 1 << 20];
        assert_eq!(shell("cat", &large, PATIENCE), Ok(large));
        let error = shell("echo out; echo why >&2; exit 3", b"", PATIENCE).expect_err("fails");
        assert!(error.contains("exit status: 3") && error.ends_with("why"), "{error}");
    }

    #[test]
    fn what_is_late_is_killed() {
        let start = Instant::now();
        let error = shell("exec sleep 60", b"", Duration::from_millis(100)).expect_err("is late");
        assert!(error.contains("did not end within 0.1 s"), "{error}");
        assert!(start.elapsed() < PATIENCE);
    }
}
