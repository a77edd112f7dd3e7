//! What all peers can do that are driven by a script and have no RPC.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::script::Script;
use crate::{Result, check};

/// How long a peer may take to start, and to do what is not given a time of its own.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much later than it should be done a peer may say that it was not: longer than scheduling on a busy machine.
const GRACE: Duration = Duration::from_secs(15);

/// How often [`Peer::until_peer`] and [`Peer::until_on_topic`] look.
const LOOK: Duration = Duration::from_millis(20);

/// A libp2p peer on loopback, whichever it is. It ends when this is dropped, and when the process ends.
///
/// Every method has a deadline: 60 s, or what it is given. What does not answer at all is killed, and so fails from then on.
#[derive(Debug)]
pub struct Peer {
    script: Script,
    ready: Ready,
    /// For content on its way, and for what the peer keeps.
    folder: TempDir,
    /// How many files were fetched: each has a name of its own, since one that is late may be written still.
    fetched: u64,
}

#[derive(Debug, Deserialize)]
struct Ready {
    id: String,
    addrs: Vec<String>,
}

/// A connection, as a peer sees it.
#[derive(Clone, Debug, Deserialize)]
pub struct Connection {
    /// The peer id of the other side.
    pub peer: String,
    /// Its address.
    pub addr: String,
    /// `inbound` or `outbound`; Helia's alone.
    pub direction: Option<String>,
    /// The protocol that keeps it secret, as `/noise`, or `native` over QUIC; Helia's alone.
    pub encryption: Option<String>,
    /// The protocol that makes streams of it, as `/yamux/1.0.0` or `quic`; Helia's alone.
    pub muxer: Option<String>,
}

/// A message that a peer heard from another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The peer id of its author.
    pub from: String,
    /// The author's number for it.
    pub seqno: u64,
    /// The payload.
    pub data: Vec<u8>,
    /// How many messages of this topic were dropped so far because nobody asked for them.
    pub lost: u64,
}

/// A message as a script tells it.
#[derive(Deserialize)]
struct Told {
    from: String,
    seqno: String,
    data: String,
    lost: u64,
}

impl Peer {
    /// Starts a script, `name`, with arguments that are made of the folder which it may use. `part` is what `install.sh`
    /// calls the peer.
    pub(crate) fn start(
        part: &str,
        name: &'static str,
        command: impl FnOnce(&TempDir) -> Result<Command>,
    ) -> Result<Self> {
        check(part)?;
        let folder = tempfile::Builder::new()
            .prefix("carrick-peer-")
            .tempdir()
            .map_err(|e| format!("a folder: {e}"))?;
        let mut script = Script::start(name, &mut command(&folder)?)?;
        let ready = parsed(script.line(PATIENCE)?)?;
        Ok(Self { script, ready, folder, fetched: 0 })
    }

    /// Its peer id.
    pub fn id(&self) -> &str {
        &self.ready.id
    }

    /// Where others reach it, each with `/p2p/ID`: TCP, then QUIC unless that is off.
    pub fn addrs(&self) -> &[String] {
        &self.ready.addrs
    }

    /// Its address over TCP.
    pub fn tcp(&self) -> &str {
        self.addr("/tcp/")
    }

    /// Its address over QUIC; empty where that is off.
    pub fn quic(&self) -> &str {
        self.addr("/quic-v1")
    }

    fn addr(&self, protocol: &str) -> &str {
        self.addrs().iter().find(|addr| addr.contains(protocol)).map_or("", String::as_str)
    }

    /// Connects to an address with `/p2p/ID`.
    ///
    /// # Errors
    /// What went wrong.
    pub fn connect(&mut self, addr: &str) -> Result<()> {
        self.ask(json!({"op": "connect", "addr": addr})).map(drop)
    }

    /// Its connections.
    ///
    /// # Errors
    /// What went wrong.
    pub fn connections(&mut self) -> Result<Vec<Connection>> {
        parsed(self.ask(json!({"op": "peers"}))?)
    }

    /// Waits until it is connected to a peer.
    ///
    /// # Errors
    /// It is not within 60 s.
    pub fn until_peer(&mut self, id: &str) -> Result<()> {
        self.until(&format!("connected to {id}"), |peer| {
            Ok(peer.connections()?.iter().any(|connection| connection.peer == id))
        })
    }

    /// Subscribes to a topic; what is heard from then on waits for [`Self::next`].
    ///
    /// # Errors
    /// What went wrong.
    pub fn subscribe(&mut self, topic: &str) -> Result<()> {
        self.ask(json!({"op": "sub", "topic": topic})).map(drop)
    }

    /// The next message of other peers on a topic, or `None` where there is none within the time.
    ///
    /// # Errors
    /// It is not subscribed.
    pub fn next(&mut self, topic: &str, within: Duration) -> Result<Option<Message>> {
        let told: Option<Told> = parsed(self.ask_within(json!({"op": "next", "topic": topic}), within)?)?;
        told.map(Message::try_from).transpose()
    }

    /// Publishes on a topic. It reaches those whom [`Self::on_topic`] names, later.
    ///
    /// # Errors
    /// What went wrong.
    pub fn publish(&mut self, topic: &str, data: &[u8]) -> Result<()> {
        self.ask(json!({"op": "pub", "topic": topic, "data": STANDARD.encode(data)})).map(drop)
    }

    /// The peer ids of those that it knows to be subscribed.
    ///
    /// # Errors
    /// What went wrong.
    pub fn on_topic(&mut self, topic: &str) -> Result<Vec<String>> {
        parsed(self.ask(json!({"op": "topic_peers", "topic": topic}))?)
    }

    /// Waits until it knows that a peer is subscribed.
    ///
    /// # Errors
    /// It does not within 60 s.
    pub fn until_on_topic(&mut self, topic: &str, id: &str) -> Result<()> {
        self.until(&format!("told that {id} is on {topic}"), |peer| {
            Ok(peer.on_topic(topic)?.iter().any(|other| other == id))
        })
    }

    /// Fetches a file by its CID.
    ///
    /// # Errors
    /// It is not had within the time, or something else went wrong.
    pub fn get(&mut self, cid: &str, within: Duration) -> Result<Vec<u8>> {
        self.fetched += 1;
        let path = self.folder.path().join(format!("got-{}", self.fetched));
        self.ask_within(json!({"op": "get", "cid": cid, "path": path}), within)?;
        let content = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        fs::remove_file(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(content)
    }

    /// Has the script read content from a file, which it needs as `path`.
    pub(crate) fn with_file(&mut self, content: &[u8], mut order: Value) -> Result<Value> {
        let path: PathBuf = self.folder.path().join("given");
        fs::write(&path, content).map_err(|e| format!("{}: {e}", path.display()))?;
        order["path"] = json!(path);
        let answer = self.ask(order);
        fs::remove_file(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        answer
    }

    pub(crate) fn ask(&mut self, order: Value) -> Result<Value> {
        self.ask_within(order, PATIENCE)
    }

    /// The script gives up when the time is over; if it does not, it is given up.
    pub(crate) fn ask_within(&mut self, mut order: Value, within: Duration) -> Result<Value> {
        order["timeout"] = json!(within.as_secs_f64());
        self.script.ask(&order, within + GRACE)
    }

    fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> Result<bool>) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while !holds(self)? {
            if Instant::now() > end {
                return Err(format!("{} is not {what} within {} s", self.id(), PATIENCE.as_secs()));
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }
}

impl TryFrom<Told> for Message {
    type Error = String;

    fn try_from(told: Told) -> Result<Self> {
        let seqno = told.seqno.parse().map_err(|e| format!("sequence number {}: {e}", told.seqno))?;
        Ok(Self { from: told.from, seqno, data: bytes(&told.data)?, lost: told.lost })
    }
}

/// Bytes as a script writes them.
pub(crate) fn bytes(base64: &str) -> Result<Vec<u8>> {
    STANDARD.decode(base64).map_err(|e| format!("{base64:.100}: {e}"))
}

pub(crate) fn parsed<T: DeserializeOwned>(answer: Value) -> Result<T> {
    let shown = format!("{answer:.300}");
    serde_json::from_value(answer).map_err(|e| format!("{shown}: {e}"))
}
