//! The command line: a file for each command.

mod args;
mod connect;
mod demo;
mod get;
mod init;
mod ledger;
mod logs;
mod ls;
mod payload;
mod peers;
mod pin;
mod plugins;
mod publish;
mod put;
mod rm;
mod shell;
mod stat;
mod status;
mod subscribe;
mod up;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use carrick::ErrorKind;
use carrick::config::{Config, Sources};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use self::args::{Cli, Command, Global};
use crate::control::client::Client;
use crate::control::content::{self, Kept};
use crate::control::socket_path;
use crate::control::wire::{Fetched, ToFetch};
use crate::fault::{Failure, Fault, Outcome};
use crate::terminal::Terminal;

/// The file that is looked for in the current folder.
const CONFIG_FILE: &str = "carrick.toml";
/// How long what is still running may take to end, once the command has.
const LAST_TASKS: Duration = Duration::from_millis(200);

/// What every command gets.
pub(crate) struct Cx {
    pub(crate) term: Terminal,
    global: Global,
}

/// Reads the command line, runs the command, prints what failed, chooses the exit code.
pub(crate) fn main() -> ExitCode {
    let arguments = gather_sets(std::env::args_os().collect());
    let json = arguments.iter().any(|argument| argument == "--json");
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, json),
    };
    let Global { json, quiet, color, verbose, .. } = cli.global;
    let term = Terminal { json, quiet, color };
    let outcome = logs::start(verbose, quiet, color).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let outcome = runtime.block_on(run(Cx { term, global: cli.global }, cli.command));
        runtime.shutdown_timeout(LAST_TASKS);
        outcome
    });
    match outcome {
        Ok(()) | Err(Failure::NobodyReads) => ExitCode::SUCCESS,
        Err(Failure::Interrupted) => ExitCode::from(130),
        Err(Failure::Fault(fault)) => {
            term.fault(&fault);
            ExitCode::from(fault.exit_code())
        }
    }
}

/// Help and version are no errors; wrong usage is, and is told as any other error.
fn usage(error: &clap::Error, json: bool) -> ExitCode {
    use clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand as Nothing;
    if !error.use_stderr() || error.kind() == Nothing {
        let _ = error.print();
        return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
    }
    let text = error.to_string();
    let line = |begins: &str| text.lines().find_map(|line| line.trim().strip_prefix(begins));
    let mend = match (line("tip: "), line("Usage: ")) {
        (Some(tip), _) => tip.into(),
        (None, Some(usage)) => format!("write it as {usage}; --help says more"),
        (None, None) => "--help says what is allowed".to_string(),
    };
    let fault = Fault::new(ErrorKind::Config, "usage", first_paragraph(&text)).mend(mend);
    Terminal { json, quiet: false, color: Default::default() }.fault(&fault);
    ExitCode::from(fault.exit_code())
}

/// What clap says before its tips and the usage, in one line: what is missing stands below the first one.
fn first_paragraph(text: &str) -> String {
    let text = text.trim_start().trim_start_matches("error: ");
    let lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ")
}

/// Brings all `--set` to the front: clap forgets those before the command when there are some after it.
fn gather_sets(arguments: Vec<OsString>) -> Vec<OsString> {
    let (mut sets, mut others) = (Vec::new(), Vec::new());
    let mut arguments = arguments.into_iter();
    let program = arguments.next();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            others.push(argument);
            others.extend(arguments.by_ref());
        } else if argument == "--set" {
            sets.push(argument);
            sets.extend(arguments.next());
        } else if argument.to_str().is_some_and(|text| text.starts_with("--set=")) {
            sets.push(argument);
        } else {
            others.push(argument);
        }
    }
    program.into_iter().chain(sets).chain(others).collect()
}

async fn run(cx: Cx, command: Command) -> Outcome {
    // The node closes in its own time; everything else is simply dropped.
    if let Command::Up(args) = command {
        return up::run(&cx, &args).await;
    }
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
        _ = terminate.recv() => Err(Failure::Interrupted),
        outcome = dispatch(&cx, command) => outcome,
    }
}

async fn dispatch(cx: &Cx, command: Command) -> Outcome {
    match command {
        Command::Init(args) => init::run(cx, &args),
        Command::Up(args) => up::run(cx, &args).await,
        Command::Status => status::run(cx).await,
        Command::Put(args) => put::run(cx, &args).await,
        Command::Get(args) => get::run(cx, &args).await,
        Command::Ls { content } => ls::run(cx, &content).await,
        Command::Stat { cid } => stat::run(cx, &cid).await,
        Command::Rm { cids } => rm::run(cx, &cids).await,
        Command::Pin(what) => pin::run(cx, &what).await,
        Command::Gc => rm::gc(cx).await,
        Command::Publish(args) => publish::run(cx, &args).await,
        Command::Subscribe(args) => subscribe::run(cx, &args).await,
        Command::Ledger(what) => ledger::run(cx, &what).await,
        Command::Peers => peers::run(cx).await,
        Command::Connect { address } => connect::connect(cx, &address).await,
        Command::Disconnect { peer } => connect::disconnect(cx, &peer).await,
        Command::Plugins => plugins::run(cx),
        Command::Demo(args) => demo::run(cx, &args).await,
        Command::Completions { shell } => shell::completions(cx, shell),
        Command::Man => shell::man(cx),
    }
}

impl Cx {
    /// Has a node fetch everything under a CID, and shows how far it is.
    async fn fetch(&self, client: &Client, want: &ToFetch) -> Outcome<(Fetched, Kept)> {
        let bar = self.term.progress("fetching", None);
        let fetched = content::fetch(client, want, |bytes| bar.set_position(bytes)).await;
        bar.finish_and_clear();
        Ok(fetched?)
    }

    /// The configuration, from the file and everything laid over it.
    fn config(&self) -> Outcome<Config> {
        let mut sources = Sources::process();
        sources.file = Some(self.config_file()?);
        sources.profile = self.global.profile.clone().or_else(profile_of_environment);
        sources.set = self.global.set.clone();
        Ok(Config::load(&sources)?)
    }

    fn config_file(&self) -> Outcome<PathBuf> {
        let named = self.global.config.clone().or_else(|| {
            let named = std::env::var_os("CARRICK_CONFIG").filter(|name| !name.is_empty());
            named.map(PathBuf::from)
        });
        if let Some(file) = named {
            return Ok(file);
        }
        let here = PathBuf::from(CONFIG_FILE);
        if here.exists() {
            return Ok(here);
        }
        let fault = Fault::new(ErrorKind::Config, "configuration", "there is no carrick.toml in this folder");
        Err(fault.mend("`carrick init` makes one here; --config FILE names one elsewhere").into())
    }

    /// The running node of this configuration.
    fn client(&self) -> Outcome<Client> {
        Ok(Client::new(socket_path(&self.config()?.data_dir())?))
    }
}

/// A variable that is empty names nothing.
fn profile_of_environment() -> Option<String> {
    std::env::var("CARRICK_PROFILE").ok().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_before_and_after_the_command_are_all_kept() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert_eq!(
            gather_sets(words("carrick --set a=1 put --set=b=2 x -- --set c")),
            words("carrick --set a=1 --set=b=2 put x -- --set c")
        );
        let cli = Cli::try_parse_from(gather_sets(words("carrick --set a=1 status --set b=2 --json")))
            .expect("good");
        assert_eq!(cli.global.set, ["a=1", "b=2"]);
        assert!(cli.global.json);
    }
}
