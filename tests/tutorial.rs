//! `docs/tutorial.md`: its commands are run, and its sources are those of the example.
//!
//! `<!-- on one and two -->` above a block of commands names the machines; the block of text behind it is their output, in
//! which `…` stands for the rest of a line. `<!-- from FILE -->` stands above a whole file: `UPDATE_DOCS=1 cargo test --test
//! tutorial` copies those anew.

mod common;
#[path = "../examples/sensors/plausible.rs"]
mod plausible;
#[path = "../examples/sensors/sensor.rs"]
#[allow(dead_code, clippy::print_stdout, reason = "only what opens the node is of use here")]
mod sensor;
#[path = "../examples/sensors/summary.rs"]
#[allow(dead_code, reason = "nothing is printed here")]
mod summary;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use carrick::config::Config;
use carrick::ledger::Ledger;
use carrick::{ErrorKind, Node};
use common::{LOCAL, Ran, Up, edit, until};

const NAMES: [&str; 3] = ["one", "two", "three"];

#[test]
fn sources_are_those_of_the_example() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = root.join("docs/tutorial.md");
    let page = fs::read_to_string(&file).expect("the page");
    let (mut fresh, mut lines, mut copied) = (String::new(), page.lines(), 0);
    while let Some(line) = lines.next() {
        fresh += &format!("{line}\n");
        let Some(source) = directive(line).and_then(|said| said.strip_prefix("from ")) else { continue };
        let fence = lines.next().expect("a fence");
        lines.by_ref().find(|line| *line == "```").expect("its end");
        let source = fs::read_to_string(root.join(source)).expect(source);
        fresh += &format!("{fence}\n{source}```\n");
        copied += 1;
    }
    assert_eq!(copied, 3);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, fresh).expect("writes");
    } else {
        assert!(fresh == page, "no longer as in examples/sensors; set UPDATE_DOCS=1 to copy anew");
    }
}

/// The crate of the page needs nothing that the example has not, in the same versions.
#[test]
fn the_manifest_asks_for_what_the_example_is_built_with() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/tutorial.md")).expect("the page");
    let ours = fs::read_to_string(root.join("Cargo.toml")).expect("our manifest");
    let block = page.split("```toml\n[dependencies]\n").nth(1).expect("a block of dependencies");
    let version = |line: &str| line.split('"').nth(1).map(str::to_owned).expect("a version");
    for line in block.lines().take_while(|line| *line != "```") {
        let (name, _) = line.split_once(" = ").expect("a dependency");
        let built = match name {
            "carrick" => env!("CARGO_PKG_VERSION").to_owned(),
            _ => version(ours.lines().find(|ours| ours.starts_with(&format!("{name} = "))).expect(name)),
        };
        let asked = version(line);
        assert!(built == asked || built.starts_with(&format!("{asked}.")), "{name} {asked}, not {built}");
    }
}

#[test]
fn commands_do_what_the_page_says() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut machines = NAMES.map(|name| Machine::new(dir.path().join(name)));
    let (mut address, mut programs) = (String::new(), None);
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tutorial.md"));
    let page = page.expect("the page");
    let mut lines = page.lines().peekable();
    let mut ran = 0;
    while let Some(line) = lines.next() {
        let Some(said) = directive(line) else { continue };
        if said == "kill three" {
            machines[2].up = None;
        } else if said == "thermometer on one and two" {
            programs = Some(Programs::start(&mut machines));
        } else if said == "refused by one and two" {
            programs.as_ref().expect("they run").refuse_what_comes();
        }
        let Some(on) = said.strip_prefix("on ") else { continue };
        assert_eq!(lines.next(), Some("```sh"), "{said}");
        let commands: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let expected = output(&mut lines);
        let mut outputs = vec![];
        for (name, machine) in NAMES.iter().zip(&mut machines) {
            if !on.starts_with("all") && !on.split(" and ").any(|one| one == *name) {
                continue;
            }
            for command in &commands {
                outputs.push(machine.run(&command.replace("ADDRESS", &address), expected.as_deref()));
                ran += 1;
            }
        }
        if address.is_empty() {
            address = machines[0].up.as_ref().expect("the first is up").addr();
        }
        if on.ends_with(", alike") {
            assert!(outputs.iter().all(|output| *output == outputs[0]), "{commands:?}: {outputs:?}");
        }
    }
    assert_eq!(ran, 27, "each block was run");
}

/// What a line says to this test.
fn directive(line: &str) -> Option<&str> {
    line.strip_prefix("<!-- ")?.strip_suffix(" -->")
}

/// The output that is shown behind a block of commands, if it comes next.
fn output<'a>(lines: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>) -> Option<String> {
    lines.next_if_eq(&"")?;
    lines.next_if_eq(&"```text")?;
    Some(lines.take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect())
}

fn matches(said: &str, expected: &str) -> bool {
    let alike = |said: &str, expected: &str| match expected.split_once('…') {
        Some((start, _)) => said.starts_with(start),
        None => said == expected,
    };
    said.lines().count() == expected.lines().count()
        && said.lines().zip(expected.lines()).all(|(said, expected)| alike(said, expected))
}

/// A machine of the page: a folder of its own.
struct Machine {
    at: PathBuf,
    up: Option<Up>,
}

impl Machine {
    fn new(at: PathBuf) -> Self {
        fs::create_dir(&at).expect("made");
        Self { at, up: None }
    }

    /// Runs a command as a shell does, until it prints what it should: what others wrote may still be on its way.
    fn run(&mut self, command: &str, expected: Option<&str>) -> String {
        if let Some(folder) = command.strip_prefix("cd ") {
            self.at.push(folder);
            return String::new();
        }
        if command == "carrick up" {
            self.up = Some(Up::start(&self.at));
            return String::new();
        }
        let mut command = command.to_owned();
        if command.starts_with("carrick init") {
            // All are on one machine here.
            command += &format!(" --listen {LOCAL}");
        }
        let once = command.contains(" append ") || expected.is_none();
        let mut said = String::new();
        until(&format!("{command} to print {expected:?}"), || {
            said = self.shell(&command).ok().stdout();
            once || expected.is_some_and(|expected| matches(&said, expected))
        });
        assert!(expected.is_none_or(|expected| matches(&said, expected)), "{command}: {said}");
        said
    }

    fn shell(&self, command: &str) -> Ran {
        let programs = Path::new(env!("CARGO_BIN_EXE_carrick")).parent().expect("a folder");
        let mut paths = vec![programs.to_path_buf()];
        paths.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).current_dir(&self.at);
        shell.env("PATH", std::env::join_paths(paths).expect("paths"));
        Ran(shell.output().expect("a shell"))
    }
}

/// The program of the page on two machines, in this process.
struct Programs {
    runtime: tokio::runtime::Runtime,
    nodes: Vec<(Node, Ledger)>,
}

impl Programs {
    fn start(machines: &mut [Machine]) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let mut nodes = vec![];
        for machine in &mut machines[..2] {
            let up = machine.up.take().expect("it is up");
            let listens = up.addr().split("/p2p/").next().expect("an address").to_owned();
            up.terminate();
            assert_eq!(up.end().1, 0);
            // The first keeps its port, as it would on a machine of its own.
            edit(&machine.at, ".", |text| {
                let ledger = "[ledger.sensors]\nauthors = \"any\"";
                assert!(text.contains(ledger), "{text}");
                text.replace(ledger, "# ").replace(LOCAL, &listens)
            });
            let config = Config::from_file(machine.at.join("carrick.toml")).expect("a configuration");
            nodes.push(runtime.block_on(sensor::open(&config)).expect("opens"));
        }
        let third = machines[2].up.as_ref().expect("it is up");
        until("the third to find them", || {
            let status = third.run(["ledger", "status", "sensors", "--json"]).ok().json();
            status[0]["peers"].as_array().is_some_and(|peers| peers.len() == 2)
        });
        for (_, ledger) in &nodes {
            let lie = runtime.block_on(ledger.append(r#"{"celsius":99}"#)).expect_err("a lie");
            assert_eq!(
                (lie.kind(), lie.detail().contains("99 °C is not plausible")),
                (ErrorKind::Rejected, true)
            );
        }
        Self { runtime, nodes }
    }

    /// Waits until both have refused what somebody else wrote.
    fn refuse_what_comes(&self) {
        for (node, ledger) in &self.nodes {
            // The first is what it tried itself.
            until("a refusal", || node.counter("rejected") >= 2);
            assert_eq!(ledger.count().expect("open"), 3);
            let view = self.runtime.block_on(async { ledger.fold(summary::Summary)?.current().await });
            let state = view.expect("folds").state;
            assert_eq!(state.values().map(|sensor| sensor.latest).fold(f64::MIN, f64::max), 21.6);
        }
    }
}
