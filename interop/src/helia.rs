//! Helia, driven through `helia_peer.mjs`.

use std::ops::{Deref, DerefMut};
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;

use crate::peer::{bytes, parsed};
use crate::{Peer, Result, installed, script};

/// A peer that shares no code with Go or Rust: js-libp2p 3 with TCP, QUIC, noise, yamux, mplex, gossipsub 1.2, bitswap 1.2.
///
/// It knows those it is connected to. With `--dht` it is a server of the DHT of local networks too.
#[derive(Debug)]
pub struct Helia(Peer);

/// How a file is cut into blocks; all leaves are raw blocks, the CID is of version 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunks {
    /// 256 KiB, and 174 links a node.
    Small,
    /// 1 MiB, and 1024 links a node: the profile `unixfs-v1-2025`.
    Large,
}

/// What a peer told of itself by identify.
#[derive(Clone, Debug, Deserialize)]
pub struct Identified {
    /// Its peer id.
    pub id: String,
    /// Its program and version.
    pub agent: Option<String>,
    /// What it calls the network it belongs to.
    pub protocol_version: Option<String>,
    /// The protocols it speaks.
    pub protocols: Vec<String>,
    /// Where it listens.
    pub addrs: Vec<String>,
    /// Where it sees us.
    pub observed: Option<String>,
}

impl Helia {
    /// Starts one, with options of `helia_peer.mjs`.
    ///
    /// # Errors
    /// The command to run where it is not installed; what went wrong.
    pub fn run(options: &[&str]) -> Result<Self> {
        let peer = Peer::start("helia", "helia_peer.mjs", |_| {
            let mut command = Command::new(installed()?.join("helia/bin/node"));
            command.arg(script("helia_peer.mjs")).args(options);
            Ok(command)
        })?;
        Ok(Self(peer))
    }

    /// Closes the connection to a peer.
    ///
    /// # Errors
    /// There is none.
    pub fn disconnect(&mut self, id: &str) -> Result<()> {
        self.0.ask(json!({"op": "disconnect", "peer": id})).map(drop)
    }

    /// Asks a connected peer who it is.
    ///
    /// # Errors
    /// It is not connected, or what went wrong.
    pub fn identify(&mut self, id: &str) -> Result<Identified> {
        parsed(self.0.ask(json!({"op": "identify", "peer": id}))?)
    }

    /// Pings an address with `/p2p/ID`, and gives how long that took.
    ///
    /// # Errors
    /// What went wrong.
    pub fn ping(&mut self, addr: &str) -> Result<Duration> {
        parsed(self.0.ask(json!({"op": "ping", "addr": addr}))?).map(Duration::from_millis)
    }

    /// Keeps a file and gives its CID.
    ///
    /// # Errors
    /// What went wrong.
    pub fn add(&mut self, content: &[u8], chunks: Chunks) -> Result<String> {
        let size = match chunks {
            Chunks::Small => 256 << 10,
            Chunks::Large => 1 << 20,
        };
        parsed(self.0.with_file(content, json!({"op": "add", "chunk_size": size}))?)
    }

    /// Keeps a block and gives its CID, of version 1 with SHA2-256. `codec` is its number, 0x55 for raw.
    ///
    /// # Errors
    /// What went wrong.
    pub fn block_put(&mut self, codec: u64, data: &[u8]) -> Result<String> {
        parsed(self.0.ask(json!({"op": "block_put", "codec": codec, "data": STANDARD.encode(data)}))?)
    }

    /// Fetches a block.
    ///
    /// # Errors
    /// It is not had within the time, or something else went wrong.
    pub fn block_get(&mut self, cid: &str, within: Duration) -> Result<Vec<u8>> {
        let data: String = parsed(self.0.ask_within(json!({"op": "block_get", "cid": cid}), within)?)?;
        bytes(&data)
    }

    /// Keeps so many raw blocks of random bytes, and gives their CIDs.
    ///
    /// # Errors
    /// What went wrong.
    pub fn blocks_put(&mut self, count: usize, size_bytes: usize) -> Result<Vec<String>> {
        parsed(self.0.ask(json!({"op": "blocks_put", "count": count, "size": size_bytes}))?)
    }

    /// Fetches blocks, 64 at once, and gives how many bytes they have together.
    ///
    /// # Errors
    /// They are not had within the time, or something else went wrong.
    pub fn blocks_get(&mut self, cids: &[String], within: Duration) -> Result<u64> {
        parsed(self.0.ask_within(json!({"op": "blocks_get", "cids": cids}), within)?)
    }

    /// Makes a chain of DAG-CBOR blocks `{"n": N, "next": CID or null}`, and gives the CID of its head, whose `n` is
    /// `length - 1`.
    ///
    /// # Errors
    /// What went wrong.
    pub fn chain_put(&mut self, length: usize) -> Result<String> {
        parsed(self.0.ask(json!({"op": "chain_put", "length": length}))?)
    }

    /// Fetches a chain block by block, and gives its length.
    ///
    /// # Errors
    /// It is not had within the time, or something else went wrong.
    pub fn chain_walk(&mut self, head: &str, within: Duration) -> Result<usize> {
        parsed(self.0.ask_within(json!({"op": "chain_walk", "cid": head}), within)?)
    }

    /// Tells the DHT that it has a CID; with `--dht`, and a connection to another server.
    ///
    /// # Errors
    /// What went wrong.
    pub fn provide(&mut self, cid: &str) -> Result<()> {
        self.0.ask(json!({"op": "provide", "cid": cid})).map(drop)
    }

    /// Asks the DHT for the peer ids of at most `count` that have a CID; with `--dht`.
    ///
    /// # Errors
    /// What went wrong. That nobody is found is none.
    pub fn find_providers(&mut self, cid: &str, count: usize, within: Duration) -> Result<Vec<String>> {
        parsed(self.0.ask_within(json!({"op": "find_providers", "cid": cid, "count": count}), within)?)
    }
}

impl Deref for Helia {
    type Target = Peer;

    fn deref(&self) -> &Peer {
        &self.0
    }
}

impl DerefMut for Helia {
    fn deref_mut(&mut self) -> &mut Peer {
        &mut self.0
    }
}
