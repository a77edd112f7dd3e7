//! Runs steps one after the other and keeps their times for the table at the end.

use std::time::{Duration, Instant};

use crate::Result;
use crate::command::Command;

/// The steps done so far.
pub(crate) struct Report {
    steps: Vec<(String, Duration, bool)>,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { steps: Vec::new() }
    }

    /// Runs a command as a step, its output going where ours goes.
    pub(crate) fn command(&mut self, title: &str, command: &Command) -> Result<()> {
        self.step(title, &command.to_string(), || command.run())
    }

    /// Runs a piece of work as a step; `again` is what a person types to repeat it.
    pub(crate) fn step<T>(
        &mut self,
        title: &str,
        again: &str,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        println!("==> {title}");
        let start = Instant::now();
        let result = work();
        let took = start.elapsed();
        println!("    {:.1} s", took.as_secs_f64());
        self.steps.push((title.to_owned(), took, result.is_ok()));
        result.map_err(|why| format!("{title}: {why}\n  to repeat it: {again}"))
    }

    /// Prints the table of all steps.
    pub(crate) fn print(&self) {
        let total: Duration = self.steps.iter().map(|(_, took, _)| *took).sum();
        println!();
        for (title, took, ok) in &self.steps {
            row(if *ok { "ok" } else { "FAILED" }, title, *took);
        }
        row("", "total", total);
    }
}

fn row(state: &str, title: &str, took: Duration) {
    println!("{state:<6}  {title:<44}  {:>7.1} s", took.as_secs_f64());
}
