//! `carrick connect` and `carrick disconnect`.

use carrick::{PeerAddr, PeerId};

use super::Cx;
use crate::fault::Outcome;

/// Prints the peer as `carrick peers` does, once both ends admitted each other.
pub(super) async fn connect(cx: &Cx, address: &PeerAddr) -> Outcome {
    let client = cx.client()?;
    let connected = client.connect(&address.to_string()).await?;
    if !cx.term.json {
        return cx.term.line(format!("connected to {}", connected.peer));
    }
    match client.peers().await?.into_iter().find(|peer| peer.peer == connected.peer) {
        Some(peer) => cx.term.json(&peer),
        None => cx.term.json(&connected),
    }
}

pub(super) async fn disconnect(cx: &Cx, peer: &PeerId) -> Outcome {
    let gone = cx.client()?.disconnect(&peer.to_string()).await?;
    cx.term.answer(&gone, format!("disconnected from {peer}"))
}
