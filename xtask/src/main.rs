//! The project's own chores, called as `cargo xtask NAME`.
//!
//! Each chore is a list of steps. A step says its name before it begins and its time when it ends; the first
//! that fails stops the chore and names the command to repeat. Only the test suites are all run, whichever fails.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a chore talks to the person who started it")]

mod arrows;
mod check;
mod command;
mod links;
mod report;
mod suites;
mod test;
mod tools;
mod workspace;

use std::process::ExitCode;

use report::Report;

/// A chore's result; the text says what failed, for a person.
type Result<T> = std::result::Result<T, String>;

const USAGE: &str = "\
Usage: cargo xtask CHORE

  check   format, lints, documentation and its links, dependency arrows, licences and banned crates
  test    installs what the tests need, then all tests, the examples and the demo
  bench   measures Carrick against what it is built on; takes --help
";

fn main() -> ExitCode {
    let chores: Vec<String> = std::env::args().skip(1).collect();
    if let [chore, options @ ..] = &chores[..]
        && chore == "bench"
    {
        return finish(go_to_root().and_then(|()| bench(options)));
    }
    let chore: fn(&mut Report) -> Result<()> = match chores.iter().map(String::as_str).collect::<Vec<_>>()[..]
    {
        ["check"] => check::run,
        ["test"] => test::run,
        ["help" | "-h" | "--help"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut report = Report::new();
    let result = go_to_root().and_then(|()| chore(&mut report));
    report.print();
    finish(result)
}

/// The benchmarks are a program of their own, built as users build theirs.
fn bench(options: &[String]) -> Result<()> {
    let run = command::cargo("run --quiet --release --package carrick-bench --");
    options.iter().fold(run, |run, option| run.arg(option)).run()
}

fn finish(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Makes a chore the same from whichever folder it is called.
fn go_to_root() -> Result<()> {
    let root = workspace::Workspace::read()?.root;
    std::env::set_current_dir(&root).map_err(|e| format!("cannot enter {}: {e}", root.display()))
}
