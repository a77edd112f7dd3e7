//! A command line that can be run, timed out and shown to a person.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;

/// A program, its arguments, the variables it is given, and how long it may take.
///
/// `Display` writes what a person types in a shell.
#[derive(Debug)]
pub(crate) struct Command {
    program: PathBuf,
    args: Vec<String>,
    vars: Vec<(String, String)>,
    folder: Option<PathBuf>,
    deadline: Option<Duration>,
    shown_as: Option<String>,
}

/// Cargo (the one that started us, if any) with arguments separated by blanks.
pub(crate) fn cargo(args: &str) -> Command {
    let program = "cargo".into();
    Command { program, args: words(args), vars: vec![], folder: None, deadline: None, shown_as: None }
}

/// A program that we have built, which a person would start by `shown_as`.
pub(crate) fn built(program: &Path, shown_as: String) -> Command {
    let (program, shown_as) = (program.into(), Some(shown_as));
    Command { program, args: vec![], vars: vec![], folder: None, deadline: None, shown_as }
}

impl Command {
    /// Adds one argument, blanks and all.
    pub(crate) fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments separated by blanks.
    pub(crate) fn args(mut self, args: &str) -> Self {
        self.args.extend(words(args));
        self
    }

    /// Sets an environment variable.
    pub(crate) fn var(mut self, name: &str, value: &str) -> Self {
        self.vars.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs it in a folder, which is not shown.
    pub(crate) fn folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Ends the command and all that it started when it has run for so long.
    pub(crate) fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Runs it to its end; anything but success is an error.
    pub(crate) fn run(&self) -> Result<()> {
        let child = self.spawn(Stdio::inherit())?;
        succeeded(self.wait(child)?)
    }

    /// Runs it and gives what it wrote to standard output.
    pub(crate) fn read(&self) -> Result<String> {
        let output = self.process().stderr(Stdio::inherit()).output().map_err(|e| self.not_started(&e))?;
        succeeded(output.status)?;
        String::from_utf8(output.stdout).map_err(|e| format!("wrote no UTF-8: {e}"))
    }

    /// Runs it, shows its standard output as it comes, and gives the last line of it.
    pub(crate) fn last_line(&self) -> Result<String> {
        let mut child = self.spawn(Stdio::piped())?;
        let output = child.stdout.take().ok_or("has no standard output")?;
        let reader = thread::spawn(move || {
            BufReader::new(output)
                .lines()
                .map_while(std::io::Result::ok)
                .inspect(|line| println!("{line}"))
                .last()
        });
        let status = self.wait(child)?;
        let last = reader.join().map_err(|_| "the reader of its output panicked")?;
        succeeded(status)?;
        last.ok_or_else(|| "wrote nothing".to_owned())
    }

    fn process(&self) -> Process {
        let cargo = (self.program == Path::new("cargo")).then(|| std::env::var_os("CARGO")).flatten();
        let mut process = cargo.map_or_else(|| Process::new(&self.program), Process::new);
        process.args(&self.args).envs(self.vars.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = &self.folder {
            process.current_dir(folder);
        }
        process
    }

    fn spawn(&self, output: Stdio) -> Result<Child> {
        let mut process = self.process();
        if self.deadline.is_some() {
            // A group of its own, so that the deadline reaches what it started too. It gets no keyboard.
            process.process_group(0).stdin(Stdio::null());
        }
        process.stdout(output).spawn().map_err(|e| self.not_started(&e))
    }

    fn wait(&self, mut child: Child) -> Result<ExitStatus> {
        let Some(deadline) = self.deadline else {
            return child.wait().map_err(|e| e.to_string());
        };
        let start = Instant::now();
        while start.elapsed() < deadline {
            if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(50));
        }
        end_group(&mut child);
        Err(format!("did not end within {} s and was killed", deadline.as_secs()))
    }

    fn not_started(&self, e: &std::io::Error) -> String {
        format!("cannot start {}: {e}", self.program.display())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.vars {
            write!(f, "{name}={} ", quoted(value))?;
        }
        match &self.shown_as {
            Some(text) => f.write_str(text)?,
            None => write!(f, "{}", self.program.display())?,
        }
        self.args.iter().try_for_each(|arg| write!(f, " {}", quoted(arg)))
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn succeeded(status: ExitStatus) -> Result<()> {
    if status.success() { Ok(()) } else { Err(status.to_string()) }
}

/// Kills a child that leads a process group, with the group.
fn end_group(child: &mut Child) {
    // Both may find nobody any more: then there is nothing left to end.
    let _ = Process::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).status();
    let _ = child.kill();
    let _ = child.wait();
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{word}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        built(Path::new("/bin/sh"), "sh".to_owned()).arg("-c").arg(script)
    }

    #[test]
    fn is_shown_as_typed_in_a_shell() {
        let doc = cargo("doc --no-deps").arg("--config").arg("a = 1").var("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(doc.to_string(), "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --config 'a = 1'");
    }

    #[test]
    fn a_failure_is_an_error() {
        assert_eq!(shell("exit 3").run(), Err("exit status: 3".to_owned()));
    }

    #[test]
    fn the_last_line_is_kept() {
        assert_eq!(shell("echo one; echo two").last_line(), Ok("two".to_owned()));
    }

    #[test]
    fn the_deadline_ends_children_too() {
        // The grandchild holds the pipe: reading it to the end proves that it is gone.
        let start = Instant::now();
        let result = shell("sleep 60 & sleep 60").deadline(Duration::from_millis(100)).last_line();
        assert_eq!(result, Err("did not end within 0 s and was killed".to_owned()));
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}
