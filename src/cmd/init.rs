//! `carrick init`: a commented configuration and an identity.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use carrick::config::Config;
use carrick::node::identity;
use carrick::{ErrorKind, Keypair, NetworkId, Registry};
use rand::Rng;
use serde::Serialize;

use super::args::Init;
use super::{CONFIG_FILE, Cx};
use crate::fault::{Fault, Outcome};
use crate::terminal::quoted;

/// The data folder that is written into the file.
const DATA_DIR: &str = "data";

/// What was made.
#[derive(Debug, Serialize)]
pub(super) struct Made {
    config: PathBuf,
    peer: String,
    network: NetworkId,
    transport: String,
}

pub(super) fn run(cx: &Cx, args: &Init) -> Outcome {
    let made = make(args)?;
    if cx.term.json {
        return cx.term.json(&made);
    }
    cx.term.line(format!("wrote    {}", made.config.display()))?;
    cx.term.line(format!("peer     {}", made.peer))?;
    cx.term.line(format!("network  {}", made.network))?;
    let cd = if args.dir == Path::new(".") { String::new() } else { format!("cd {} && ", quoted(&args.dir)) };
    cx.term.note(format!("start it with: {cd}carrick up"));
    Ok(())
}

/// Makes a folder for a node: what `carrick init` does, also for the demo.
pub(super) fn make(args: &Init) -> Outcome<Made> {
    let config = args.dir.join(CONFIG_FILE);
    if !args.force && fs::symlink_metadata(&config).is_ok() {
        return Err(refuse(
            format!("{} is there already", config.display()),
            "carrick init --force replaces it",
        )
        .into());
    }
    let network = match &args.network {
        Some(network) => network.clone(),
        None => random_network()?,
    };
    let text = text_of(args, &network);
    // Written and read by the same rules: what the transport does not know is refused before there is a file.
    Config::from_toml(&text)?.check(&Registry::linked()?)?;
    fs::create_dir_all(&args.dir).map_err(|error| unwritten(&args.dir, &error))?;
    let data_dir = args.dir.join(DATA_DIR);
    let key = identity_of(&data_dir, args.force)?;
    write_whole(&config, &text)?;
    Ok(Made {
        config: std::path::absolute(&config).unwrap_or(config),
        peer: key.public().to_peer_id().to_string(),
        network,
        transport: args.transport.clone(),
    })
}

/// A new key, or the one that is there: a lost key is a lost peer. A damaged one is moved aside when that is forced.
fn identity_of(data_dir: &Path, force: bool) -> Outcome<Keypair> {
    let file = identity::path(data_dir);
    if fs::symlink_metadata(&file).is_err() {
        return Ok(identity::load_or_create(data_dir)?);
    }
    if !force {
        return Err(refuse(
            format!("{} is there already", file.display()),
            "carrick init --force writes the configuration and keeps the identity",
        )
        .into());
    }
    match identity::load(data_dir) {
        Err(error) if error.detail().contains("damaged") => {
            let aside = file.with_extension("key.damaged");
            fs::rename(&file, &aside).map_err(|error| unwritten(&aside, &error))?;
            Ok(identity::create(data_dir)?)
        }
        loaded => Ok(loaded?),
    }
}

fn random_network() -> Outcome<NetworkId> {
    let mut rng = rand::rng();
    let name: String =
        (0..12).map(|_| char::from(b"abcdefghijklmnopqrstuvwxyz234567"[rng.random_range(0..32)])).collect();
    Ok(NetworkId::new(format!("net-{name}"))?)
}

fn text_of(args: &Init, network: &NetworkId) -> String {
    let transport = &args.transport;
    let (listen, bootstrap) = match transport.as_str() {
        "memory" => ("/memory/7", "/memory/8"),
        "ipfs-http" => ("", "/ip4/10.0.0.7/tcp/4001/p2p/12D3KooW…"),
        "libp2p" => ("/ip4/0.0.0.0/tcp/4601", "/ip4/10.0.0.7/tcp/4601/p2p/12D3KooW…"),
        _ => ("/ip4/0.0.0.0/udp/4600/quic-v1", "/ip4/10.0.0.7/udp/4600/quic-v1/p2p/12D3KooW…"),
    };
    format!(
        r#"# A Carrick node. Start it in this folder with `carrick up`.
# Every value can also be set by a variable, CARRICK_NODE__NETWORK, or a flag, --set node.network=….

[node]
network   = "{network}"   # the same on all nodes of the network
data_dir  = "{DATA_DIR}"   # identity, blocks and control socket; counts from this file's folder
transport = "{transport}"
# members = ["12D3KooW…"]   # who may connect and publish; without it anybody who knows the network's name

[transport.{transport}]
{}{}
{}
# Rules of a topic:
# [topic."readings"]
# keep = "everything"   # keep every message as a block, so that others can fetch it later

# Limits that differ from their defaults:
# [node.limits]
# fetch_deadline = 60
"#,
        listen_line(args, listen),
        list("bootstrap", &args.bootstrap, bootstrap),
        ledger(args.ledger.as_deref()),
    )
}

/// A ledger, or the same as a comment with an example.
fn ledger(name: Option<&str>) -> String {
    let authors = "authors = \"any\"   # or a list of peer ids, the same on all nodes";
    let equivocation =
        "# equivocation = \"stop-author\"   # refuse an author that forks; the same on all nodes";
    match name {
        Some(name) => format!("[ledger.{name}]\n{authors}\n{equivocation}\n"),
        None => format!(
            "# A log that many write, the same on all nodes:\n# [ledger.sensors]\n# {authors}\n{equivocation}\n"
        ),
    }
}

/// `memory` listens at one address, the others at several; behind a daemon it is the daemon that listens.
fn listen_line(args: &Init, example: &str) -> String {
    let addrs = listen_of(args);
    match (args.transport.as_str(), addrs.as_slice()) {
        ("ipfs-http", []) => "# api = \"http://127.0.0.1:5001\"   # the daemon's RPC\n".into(),
        ("memory", []) => format!("# listen = \"{example}\"\n"),
        ("memory", [one]) => format!("listen = {one:?}\n"),
        _ => list("listen", &addrs, example),
    }
}

/// Where a node of ours listens unless told: a fixed port, so that its address survives a restart.
fn listen_of(args: &Init) -> Vec<String> {
    let usual = match args.transport.as_str() {
        "quic" => vec!["/ip4/0.0.0.0/udp/4600/quic-v1"],
        "libp2p" => vec!["/ip4/0.0.0.0/tcp/4601", "/ip4/0.0.0.0/udp/4601/quic-v1"],
        _ => vec![],
    };
    if args.listen.is_empty() {
        return usual.into_iter().map(Into::into).collect();
    }
    args.listen.iter().map(ToString::to_string).collect()
}

/// A line with a list of addresses, or the same as a comment with an example.
fn list(key: &str, values: &[impl ToString], example: &str) -> String {
    if values.is_empty() {
        return format!("# {key} = [\"{example}\"]\n");
    }
    let values: Vec<String> = values.iter().map(|value| format!("{:?}", value.to_string())).collect();
    format!("{key} = [{}]\n", values.join(", "))
}

/// Written beside and renamed: the file is there whole or not at all.
fn write_whole(path: &Path, text: &str) -> Outcome {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || {
        let mut file = tempfile::Builder::new().permissions(readable()).tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|error: io::Error| unwritten(path, &error).into())
}

/// A temporary file is private; the configuration holds no secret, and others may read it.
fn readable() -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    fs::Permissions::from_mode(0o644)
}

fn refuse(message: String, hint: &str) -> Fault {
    Fault::new(ErrorKind::Config, "init", message).mend(hint)
}

fn unwritten(path: &Path, error: &io::Error) -> Fault {
    let message = format!("{} cannot be written: {error}", path.display());
    if error.kind() == io::ErrorKind::StorageFull {
        return Fault::new(ErrorKind::Full, "init", message).mend("make room on the disk");
    }
    refuse(message, "choose a folder that this user may write to")
}
