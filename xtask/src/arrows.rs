//! Proves which way dependencies point.
//!
//! `src` → `plugins`, `transports` → `core`: a transport or plugin knows no sibling, and the core knows
//! neither them nor any library that opens a socket. Normal and build dependencies count, with all features,
//! on every platform; what tests need is free.

use std::collections::BTreeSet;
use std::path::Path;

use crate::Result;
use crate::command::{Command, cargo};
use crate::workspace::Workspace;

const CORE: &str = "carrick-core";

/// Libraries that open sockets or speak a network protocol.
///
/// `mio` and `socket2` are how tokio's `net` feature shows.
const NETWORK: [&str; 13] = [
    "h2",
    "hickory-proto",
    "hyper",
    "mio",
    "native-tls",
    "openssl",
    "quinn",
    "quinn-proto",
    "quinn-udp",
    "reqwest",
    "rustls",
    "socket2",
    "tungstenite",
];

/// What may depend on a sibling, and why that is right.
///
/// The store `ipfs-http` keeps in a database what a daemon cannot hold; to write another one would be worse, see decision
/// 0020.
const SIBLINGS: [(&str, &str); 1] = [("carrick-transport-ipfs-http", "carrick-plugin-store-fjall")];

/// How a person finds out where a dependency comes from.
const SHOW: &str = "to see the way: cargo tree --package PACKAGE --invert DEPENDENCY \
     --all-features --edges normal,build --target all";

/// Where a package stands, told by its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    Core,
    Transport,
    Plugin,
    /// The root package, examples, chores: may depend on everything.
    Top,
}

/// Fails with a line for each arrow that points the wrong way.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let mut faults = Vec::new();
    for package in &workspace.packages {
        let folder = workspace.folder(package);
        let layer = Layer::of(folder);
        faults.extend(misnamed(layer, folder, &package.name));
        if layer != Layer::Top {
            let tree = tree(&package.name).read()?;
            faults.extend(wrong_arrows(layer, &package.name, &tree));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(format!("\n  {}\n  {SHOW}", faults.join("\n  "))) }
}

impl Layer {
    fn of(folder: &Path) -> Self {
        if folder == Path::new("core") {
            Self::Core
        } else if folder.starts_with("transports") {
            Self::Transport
        } else if folder.starts_with("plugins") {
            Self::Plugin
        } else {
            Self::Top
        }
    }

    /// Why a package of this layer may not depend on another; `None` if it may.
    fn forbids(self, dependency: &str) -> Option<&'static str> {
        let ours = dependency == "carrick" || dependency.starts_with("carrick-");
        match self {
            Self::Core if ours => Some("the core depends on no crate of ours"),
            Self::Core if is_network(dependency) => Some("the core opens no socket"),
            Self::Transport | Self::Plugin if ours && dependency != CORE => {
                Some("transports and plugins depend on the core and on no sibling")
            }
            _ => None,
        }
    }
}

fn is_network(name: &str) -> bool {
    NETWORK.contains(&name) || (name.starts_with("libp2p") && name != "libp2p-identity")
}

fn misnamed(layer: Layer, folder: &Path, name: &str) -> Option<String> {
    let last = folder.file_name()?.to_string_lossy();
    let expected = match layer {
        Layer::Core => CORE.to_owned(),
        Layer::Transport => format!("carrick-transport-{last}"),
        Layer::Plugin => format!("carrick-plugin-{last}"),
        Layer::Top => return None,
    };
    (name != expected)
        .then(|| format!("{} holds `{name}`, which should be called `{expected}`", folder.display()))
}

/// All that a package is built from, one package a line.
fn tree(package: &str) -> Command {
    cargo(&format!("tree --package {package} --all-features --edges normal,build --target all --prefix none"))
        .arg("--format")
        .arg("{p}")
}

fn wrong_arrows(layer: Layer, package: &str, tree: &str) -> Vec<String> {
    let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let dependencies = names.into_iter().filter(|name| *name != package);
    let dependencies = dependencies.filter(|name| !SIBLINGS.contains(&(package, name)));
    let fault = |name| layer.forbids(name).map(|why| format!("{package} depends on {name}: {why}"));
    dependencies.filter_map(fault).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The dependencies that a tree of these packages would be blamed for.
    fn blamed(layer: Layer, packages: &[&str]) -> Vec<String> {
        let tree: String = packages.iter().map(|name| format!("{name} v1.2.3 (*)\n")).collect();
        let blame = |fault: &String| Some(fault.split_once(" depends on ")?.1.split_once(':')?.0.to_owned());
        wrong_arrows(layer, packages[0], &tree).iter().filter_map(blame).collect()
    }

    #[test]
    fn the_core_knows_no_network() {
        let packages = [CORE, "tokio", "libp2p-identity", "mio", "libp2p-swarm", "mio"];
        assert_eq!(blamed(Layer::Core, &packages), ["libp2p-swarm", "mio"]);
    }

    #[test]
    fn the_core_knows_no_crate_of_ours() {
        let packages = [CORE, "carrick-transport-memory", "carrick"];
        assert_eq!(blamed(Layer::Core, &packages), ["carrick", "carrick-transport-memory"]);
    }

    #[test]
    fn a_transport_knows_the_core_alone() {
        let packages = ["carrick-transport-quic", CORE, "quinn", "carrick-plugin-ledger"];
        assert_eq!(blamed(Layer::Transport, &packages), ["carrick-plugin-ledger"]);
    }

    #[test]
    fn a_reasoned_sibling_is_for_one_package() {
        let store = "carrick-plugin-store-fjall";
        assert_eq!(blamed(Layer::Transport, &["carrick-transport-ipfs-http", CORE, store]), [""; 0]);
        assert_eq!(blamed(Layer::Transport, &["carrick-transport-quic", CORE, store]), [store]);
    }

    #[test]
    fn the_root_may_depend_on_all() {
        assert_eq!(Layer::of(Path::new("")), Layer::Top);
        assert!(Layer::Top.forbids("carrick-transport-quic").is_none());
    }

    #[test]
    fn a_folder_gives_the_package_its_name() {
        let folder = Path::new("transports/ipfs-http");
        assert!(misnamed(Layer::of(folder), folder, "carrick-transport-ipfs-http").is_none());
        assert!(misnamed(Layer::of(folder), folder, "carrick-ipfs").is_some());
    }
}
