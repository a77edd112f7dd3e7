//! What is printed at the end.

use serde::Serialize;

use crate::Result;
use crate::stats::Middle;

/// Which way is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Good {
    AtLeast,
    AtMost,
}

/// One thing measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) good: Good,
    pub(crate) floor: f64,
    pub(crate) aim: f64,
    pub(crate) pairs: usize,
    pub(crate) detail: String,
}

impl Row {
    pub(crate) fn new(
        what: &str,
        unit: &'static str,
        values: &[f64],
        good: Good,
        floor: f64,
        aim: f64,
    ) -> Self {
        let Middle { median, low, high } = Middle::of(values);
        let (what, pairs) = (what.to_owned(), values.len());
        Self { what, unit, median, low, high, good, floor, aim, pairs, detail: String::new() }
    }

    pub(crate) fn detail(mut self, detail: String) -> Self {
        self.detail = detail;
        self
    }

    fn reached(&self) -> &'static str {
        let reaches = |bar: f64| match self.good {
            Good::AtLeast => self.median >= bar,
            Good::AtMost => self.median <= bar,
        };
        match (reaches(self.floor), reaches(self.aim)) {
            (_, true) => "aim",
            (true, false) => "floor",
            (false, false) => "MISSED",
        }
    }
}

/// Prints the rows as a table, or as one JSON object each.
pub(crate) fn print(rows: &[Row], json: bool) -> Result<()> {
    if json {
        for row in rows {
            println!("{}", serde_json::to_string(row)?);
        }
        return Ok(());
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("\nload average {}", load.split_whitespace().take(3).collect::<Vec<_>>().join(" "));
    println!("{:<44} {:>8} {:>17} {:>7} {:>7}  reached", "what", "median", "95 % interval", "floor", "aim");
    for row in rows {
        let sign = if row.good == Good::AtLeast { "≥" } else { "≤" };
        let unit = row.unit;
        println!(
            "{:<44} {:>8} {:>17} {:>7} {:>7}  {}",
            row.what,
            format!("{:.2}{unit}", row.median),
            format!("{:.2} to {:.2}", row.low, row.high),
            format!("{sign}{}", row.floor),
            format!("{sign}{}", row.aim),
            row.reached()
        );
        if !row.detail.is_empty() {
            println!("    {}", row.detail);
        }
    }
    Ok(())
}
