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
    /// `None`, as the floor and the aim, where it is only told.
    pub(crate) good: Option<Good>,
    pub(crate) floor: Option<f64>,
    pub(crate) aim: Option<f64>,
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
        Self { aim: Some(aim), ..Self::bounded(what, unit, values, good, floor) }
    }

    /// One with a floor alone.
    pub(crate) fn bounded(what: &str, unit: &'static str, values: &[f64], good: Good, floor: f64) -> Self {
        Self { good: Some(good), floor: Some(floor), ..Self::told(what, unit, values) }
    }

    /// One that nothing is demanded of.
    pub(crate) fn told(what: &str, unit: &'static str, values: &[f64]) -> Self {
        let Middle { median, low, high } = Middle::of(values);
        let (what, pairs) = (what.to_owned(), values.len());
        let (good, floor, aim, detail) = (None, None, None, String::new());
        Self { what, unit, median, low, high, good, floor, aim, pairs, detail }
    }

    pub(crate) fn detail(mut self, detail: String) -> Self {
        self.detail = detail;
        self
    }

    fn reached(&self) -> &'static str {
        let Some(good) = self.good else { return "" };
        let reaches = |bar: Option<f64>| {
            bar.map(|bar| match good {
                Good::AtLeast => self.median >= bar,
                Good::AtMost => self.median <= bar,
            })
        };
        match (reaches(self.floor), reaches(self.aim)) {
            (_, Some(true)) => "aim",
            (Some(true), _) => "floor",
            _ => "MISSED",
        }
    }

    fn bar(&self, bar: Option<f64>) -> String {
        let sign = if self.good == Some(Good::AtLeast) { "≥" } else { "≤" };
        bar.map(|bar| format!("{sign}{bar}")).unwrap_or_default()
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
        let unit = row.unit;
        println!(
            "{:<44} {:>8} {:>17} {:>7} {:>7}  {}",
            row.what,
            format!("{:.2}{unit}", row.median),
            format!("{:.2} to {:.2}", row.low, row.high),
            row.bar(row.floor),
            row.bar(row.aim),
            row.reached()
        );
        if !row.detail.is_empty() {
            println!("    {}", row.detail);
        }
    }
    Ok(())
}
