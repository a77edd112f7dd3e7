//! Logs, on standard error.

use carrick::ErrorKind;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::fault::{Fault, Outcome};
use crate::terminal::Color;

/// Chooses targets and levels, as `carrick=debug,quinn=info`; stronger than -v and -q.
const VARIABLE: &str = "CARRICK_LOG";

/// Starts logging: warnings, with `-v` what our own crates do, with `-vv` everything, with `-q` errors only.
pub(crate) fn start(verbose: u8, quiet: bool, color: Color) -> Outcome {
    let targets = match std::env::var(VARIABLE) {
        Ok(text) => text.parse().map_err(|error| {
            Fault::new(ErrorKind::Config, "logs", format!("{VARIABLE}={text}: {error}"))
                .mend("write TARGET=LEVEL,… such as carrick=debug,quinn=info")
        })?,
        Err(_) => levels(verbose, quiet),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(color.on_stderr());
    tracing_subscriber::registry().with(lines).with(targets).init();
    Ok(())
}

fn levels(verbose: u8, quiet: bool) -> Targets {
    match (quiet, verbose) {
        (true, _) => Targets::new().with_default(LevelFilter::ERROR),
        (false, 0) => Targets::new().with_default(LevelFilter::WARN),
        (false, 1) => {
            Targets::new().with_default(LevelFilter::WARN).with_target("carrick", LevelFilter::INFO)
        }
        (false, _) => {
            Targets::new().with_default(LevelFilter::INFO).with_target("carrick", LevelFilter::DEBUG)
        }
    }
}
