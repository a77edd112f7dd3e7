//! What a person types.

use std::path::PathBuf;
use std::time::Duration;

use carrick::dag::Layout;
use carrick::{Cid, Multiaddr, NetworkId, PeerAddr, PeerId, Topic};
use clap::{Args, Parser, Subcommand, ValueHint};

use super::payload::Payload;
use crate::terminal::Color;

/// Broadcast messages and fetch content by its address, over the network you choose.
#[derive(Debug, Parser)]
#[command(name = "carrick", version, max_term_width = 110, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
First steps: `carrick demo` shows several nodes at work on this machine; `carrick init` and `carrick up` run one of \
your own, which the other commands then use.

Exit codes: 0 done, 1 unexpected failure, 2 wrong usage or configuration, 3 no running node or nobody reached, 4 not \
found or too late, 5 refused, 6 bytes do not match, 130 interrupted.";

/// Options of every command, taken before and after it.
#[derive(Args, Clone, Debug)]
pub(crate) struct Global {
    /// The configuration [default: $CARRICK_CONFIG, then carrick.toml in the current folder]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// Sets one value, stronger than file and environment; read as TOML, a bare word as a string
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Lays the tables [profile.NAME] over the others [default: $CARRICK_PROFILE]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Prints one JSON object a line, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// When to use colour: auto, always or never
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_possible_values = true)]
    pub(crate) color: Color,
    /// Logs more: -v what the node does, -vv everything; CARRICK_LOG=TARGET=LEVEL,… chooses
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Logs errors only, prints no hints and no progress
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Writes a configuration and an identity into a folder
    Init(Init),
    /// Runs the node until it is interrupted
    Up(Up),
    /// Shows the running node: addresses, transports, peers, store, counters
    Status,
    /// Puts files, folders or standard input into the store and prints the CID
    Put(Put),
    /// Fetches a file or folder by its CID
    Get(Get),
    /// Lists what a folder holds, or what a block links to
    Ls {
        /// A CID, and a path inside it; its block is fetched where it is not here
        #[arg(value_name = "CID[/PATH]")]
        content: ContentPath,
    },
    /// Shows what a CID is, what is here of it, and who pinned it
    Stat {
        /// The CID
        #[arg(value_name = "CID", value_parser = cid)]
        cid: Cid,
    },
    /// Takes your pin away and deletes what nothing else holds
    Rm {
        /// What `put` printed, or `pin add` was given
        #[arg(required = true, value_name = "CID", value_parser = cid)]
        cids: Vec<Cid>,
    },
    /// Says what no garbage collection may take
    #[command(subcommand)]
    Pin(Pin),
    /// Deletes every block that no pin holds
    Gc,
    /// Publishes a message to everybody on a topic
    Publish(Publish),
    /// Prints the messages of a topic as they come
    Subscribe(Subscribe),
    /// Writes and reads ledgers, which the configuration names
    #[command(subcommand)]
    Ledger(Ledger),
    /// Lists the connected peers
    Peers,
    /// Connects to a peer
    Connect {
        /// Where it is, as its `carrick up` prints it, or the id of a peer whose address is known
        #[arg(value_parser = peer_addr)]
        address: PeerAddr,
    },
    /// Ends the connection to a peer
    Disconnect {
        /// Its id
        #[arg(value_parser = peer_id)]
        peer: PeerId,
    },
    /// Lists the plugins linked into this program
    Plugins,
    /// Starts several nodes on this machine and shows that they agree
    Demo(Demo),
    /// Prints a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Prints the manual page
    Man,
}

#[derive(Args, Debug)]
pub(crate) struct Init {
    /// The folder, made when it is missing
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// The network to join [default: a new one with a random name]
    #[arg(long, value_name = "ID", value_parser = network)]
    pub(crate) network: Option<NetworkId>,
    /// The transport
    #[arg(long, value_name = "NAME", default_value = "quic")]
    pub(crate) transport: String,
    /// An address to listen on; may be given several times
    #[arg(long, value_name = "ADDR", value_parser = listen)]
    pub(crate) listen: Vec<Multiaddr>,
    /// A peer to stay connected to; may be given several times
    #[arg(long, value_name = "ADDR", value_parser = peer_addr)]
    pub(crate) bootstrap: Vec<PeerAddr>,
    /// A ledger to take part in
    #[arg(long, value_name = "NAME")]
    pub(crate) ledger: Option<String>,
    /// Replaces carrick.toml; an identity is kept unless it is damaged, and then moved aside
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Up {
    /// Also stops when standard input ends: a program that starts nodes takes them along when it dies
    #[arg(long, hide = true)]
    pub(crate) until_stdin_ends: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Put {
    /// How files become blocks: unixfs-v1-2025, kubo-cid-v1 or unixfs-v0-2015
    #[arg(long, value_name = "NAME", default_value_t)]
    pub(crate) layout: Layout,
    /// Computes the CID, stores nothing, needs no running node
    #[arg(long)]
    pub(crate) only_cid: bool,
    /// Files and folders; - is standard input
    #[arg(required = true, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) paths: Vec<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Get {
    /// What to fetch: a CID, and a path inside it
    #[arg(value_name = "CID[/PATH]")]
    pub(crate) content: ContentPath,
    /// Where to write it, whole or not at all; - is standard output, the default
    #[arg(short, long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) output: Option<PathBuf>,
    /// How long it may take in all
    #[arg(long, value_name = "TIME", value_parser = duration, allow_hyphen_values = true)]
    pub(crate) deadline: Option<Duration>,
    /// How long nothing may come
    #[arg(long, value_name = "TIME", value_parser = duration, allow_hyphen_values = true)]
    pub(crate) idle: Option<Duration>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Pin {
    /// Pins content with all under it; what is not here is fetched first
    Add {
        /// The roots
        #[arg(required = true, value_name = "CID", value_parser = cid)]
        cids: Vec<Cid>,
    },
    /// Takes your pin away; the blocks stay until the next `gc`
    Rm {
        /// The roots
        #[arg(required = true, value_name = "CID", value_parser = cid)]
        cids: Vec<Cid>,
    },
    /// Lists your pins
    Ls {
        /// Those of others too, such as topics that keep their messages
        #[arg(long)]
        all: bool,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Publish {
    /// The topic
    #[arg(value_parser = topic)]
    pub(crate) topic: Topic,
    #[command(flatten)]
    pub(crate) message: Payload,
}

#[derive(Args, Debug)]
pub(crate) struct Subscribe {
    /// The topic
    #[arg(value_parser = topic)]
    pub(crate) topic: Topic,
    /// Ends after so many messages
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) count: Option<u64>,
    /// Ends after this time; exit code 4 if fewer than N messages came (without --count: none)
    #[arg(long, value_name = "TIME", value_parser = duration, allow_hyphen_values = true)]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Ledger {
    /// Appends an entry; it is durable when this returns, and reaches every node of the ledger
    Append {
        /// The ledger
        name: String,
        #[command(flatten)]
        payload: Payload,
    },
    /// Prints the entries in their order, the same on every node
    Log(Log),
    /// Prints the entries that no other one follows
    Heads {
        /// The ledger
        name: String,
    },
    /// Shows how far it is here, and who else takes part
    Status {
        /// The ledger
        name: String,
    },
    /// Checks the log; what was checked before and did not change is not read again
    Verify {
        /// The ledger
        name: String,
        /// Reads and checks everything anew
        #[arg(long)]
        all: bool,
        /// Fetches what is missing or damaged again, from whoever has it
        #[arg(long)]
        mend: bool,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Log {
    /// The ledger
    pub(crate) name: String,
    /// Begins with this entry
    #[arg(long, value_name = "CID", value_parser = cid)]
    pub(crate) from: Option<Cid>,
    /// Goes on with what comes; of one that comes late it tells where it stands
    #[arg(long)]
    pub(crate) follow: bool,
    /// Tells an entry once N others stand behind it
    #[arg(long, value_name = "N", value_parser = count, requires = "follow", conflicts_with = "settled_after")]
    pub(crate) settled: Option<u64>,
    /// Tells an entry once it has been here for so long
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "follow", allow_hyphen_values = true)]
    pub(crate) settled_after: Option<Duration>,
    /// Ends after so many entries
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) count: Option<u64>,
}

#[derive(Args, Debug)]
pub(crate) struct Demo {
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = nodes)]
    pub(crate) nodes: u16,
    /// The transport that joins them
    #[arg(long, value_name = "NAME", default_value = "quic")]
    pub(crate) transport: String,
    /// What they share [default: the current folder, at most 64 MiB, without target and hidden files]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) input: Option<PathBuf>,
    /// Keeps the nodes' folders, in DIR
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) keep: Option<PathBuf>,
}

/// A root, and a path below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContentPath {
    pub(crate) root: Cid,
    pub(crate) path: String,
}

impl std::str::FromStr for ContentPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (root, path) = match text.strip_prefix("/ipfs/").unwrap_or(text).split_once('/') {
            Some((root, path)) => (root, path.trim_matches('/')),
            None => (text, ""),
        };
        Ok(Self { root: cid(root)?, path: path.into() })
    }
}

fn cid(text: &str) -> Result<Cid, String> {
    let mend = "give what `carrick put` printed, such as bafy…";
    text.parse().map_err(|error| with_mend(format!("{text:?} is no CID: {error}"), mend))
}

/// A message of ours with its mend, where [`usage`](super::usage) looks for it: as one of clap's tips.
fn with_mend(message: String, mend: &str) -> String {
    format!("{message}\n\n  tip: {mend}")
}

fn told(error: carrick::Error) -> String {
    let detail = error.detail().to_string();
    match error.hint() {
        Some(hint) => with_mend(detail, hint),
        None => detail,
    }
}

fn topic(name: &str) -> Result<Topic, String> {
    Topic::new(name).map_err(told)
}

fn network(id: &str) -> Result<NetworkId, String> {
    NetworkId::new(id).map_err(told)
}

fn peer_addr(text: &str) -> Result<PeerAddr, String> {
    text.parse().map_err(told)
}

fn listen(text: &str) -> Result<Multiaddr, String> {
    let mend = "write it as /ip4/0.0.0.0/udp/4600/quic-v1";
    text.parse().map_err(|error| with_mend(format!("{text:?} is no address: {error}"), mend))
}

fn peer_id(text: &str) -> Result<PeerId, String> {
    let mend = "`carrick peers` lists the ids of those who are connected";
    text.parse().map_err(|_| with_mend(format!("{text:?} is no peer id, such as 12D3KooW…"), mend))
}

fn count(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| format!("{text:?} is no number from 1"))
}

fn nodes(text: &str) -> Result<u16, String> {
    let number = text.parse().ok().filter(|number| (2..=16).contains(number));
    number.ok_or_else(|| format!("{text:?} is no number from 2 to 16"))
}

/// Reads `90s`, `500ms`, `2m`, `1h`, or a bare number of seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let no_time = || format!("{text:?} is no time, such as 90s");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.parse().map_err(|_| no_time())?;
    let unit = match &text[digits.len()..] {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3_600.0,
        other => return Err(format!("{other:?} is no unit; allowed: ms, s, m, h, as in 90s")),
    };
    Duration::try_from_secs_f64(number * unit).map_err(|_| no_time())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_time_has_a_unit_or_is_seconds() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1_500)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "s", "5d", "-1s", "1e400"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn content_is_a_cid_and_a_path() {
        let cid = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";
        let parse = |text: &str| text.parse::<ContentPath>().map(|content| content.path);
        assert_eq!(parse(cid).as_deref(), Ok(""));
        assert_eq!(parse(&format!("{cid}/a/ü.txt")).as_deref(), Ok("a/ü.txt"));
        assert_eq!(parse(&format!("/ipfs/{cid}/a/")).as_deref(), Ok("a"));
        assert!(parse("nonsense").is_err());
    }
}
