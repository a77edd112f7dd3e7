//! Three nodes in one process: two run the validator, one does not and lies.
#![allow(clippy::print_stdout, reason = "a demonstration talks to the person who started it")]

use std::path::Path;
use std::time::Duration;

use carrick::config::Config;
use carrick::{Delivery, Node, PeerAddr, Registry, Remote, Result, Subscription, Topic};
// A crate that no code names is never linked, and its plugins would be missing.
use custom_validator as _;
use futures::StreamExt as _;

/// Nothing here takes longer unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often we look at what nobody tells.
const POLL: Duration = Duration::from_millis(5);

const RULES: &str = "[[validator]]\nkind = \"readings\"\ntopics = [\"readings\"]\n";

/// What the liar publishes, in this order.
const READINGS: [&str; 9] = [
    r#"{"celsius": 21.5}"#,
    r#"{"celsius": 21.7, "sensor": "roof"}"#,
    r#"{"celsius": -400}"#,
    r#"{"celsius": 4000}"#,
    "hot",
    r#"{"fahrenheit": 70}"#,
    r#"{"celsius": 1e9}"#,
    r#"{"celsius": 99}"#,
    r#"{"celsius": 22.0}"#,
];

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let readings = Topic::new("readings")?;
    let station = open(folder.path(), "station", RULES).await?;
    let archive = open(folder.path(), "archive", RULES).await?;
    let liar = open(folder.path(), "liar", "").await?;
    println!("three nodes: archive ═ station ═ liar; station and archive run the validator, liar does not\n");

    let _open = station.subscribe(&readings).await?;
    let mut archived = archive.subscribe(&readings).await?;
    for node in [&archive, &liar] {
        node.connect(&address(&station)).await?;
        tokio::time::timeout(PATIENCE, node.ready(&readings, 1)).await??;
    }
    tokio::time::timeout(PATIENCE, station.ready(&readings, 1)).await??;

    println!("{:<37} {:<13} {:<9} reputation of liar", "liar publishes", "station says", "archive");
    let mut standing = 0.0;
    for reading in READINGS {
        let before = Counts::of(&station);
        liar.publish(&readings, reading).await?;
        let verdict = tokio::time::timeout(PATIENCE, before.change(&station)).await?;
        let reached = if verdict == "accepted" { next(&mut archived).await? } else { "-" };
        if verdict == "rejected" {
            standing = tokio::time::timeout(PATIENCE, fallen(&station, &liar, standing)).await??;
        }
        println!("{reading:<37} {verdict:<13} {reached:<9} {standing:>4.0}");
    }

    println!("\nstation publishes a lie itself:");
    match station.publish(&readings, READINGS[2]).await {
        Ok(_) => println!("it was published"),
        Err(error) => println!("{error}"),
    }
    println!(
        "\narchive accepted {} and had to refuse {}",
        archive.counter("accepted"),
        archive.counter("rejected")
    );
    for node in [liar, archive, station] {
        node.close().await?;
    }
    Ok(())
}

/// A node as a user would configure it; the transport is one line of it.
async fn open(folder: &Path, name: &str, rules: &str) -> Result<Node> {
    let config = format!(
        "[node]\nnetwork = \"weather\"\ntransport = \"memory\"\nstore = \"memory\"\ndata_dir = {:?}\n{rules}",
        folder.join(name),
    );
    Config::from_toml(&config)?.check(&Registry::linked()?)?.open().await
}

/// Where a node of this machine can be dialled, with the id it must prove.
fn address(node: &Node) -> PeerAddr {
    node.listen_addrs()
        .into_iter()
        .next()
        .map_or_else(|| PeerAddr::new(node.peer_id(), vec![]), PeerAddr::from)
}

/// Waits for the next message of a subscription.
async fn next(subscription: &mut Subscription) -> Result<&'static str, Box<dyn std::error::Error>> {
    loop {
        match tokio::time::timeout(PATIENCE, subscription.next()).await? {
            Some(Delivery::Message(_)) => return Ok("has it"),
            Some(_) => {}
            None => return Err("the subscription ended".into()),
        }
    }
}

/// Waits for the reputation of a peer to fall; it heals slowly all the time, by half in ten minutes.
async fn fallen(of: &Node, whom: &Node, before: f64) -> Result<f64> {
    let whom = Remote::Peer(whom.peer_id());
    loop {
        let peers = of.peers().await?;
        match peers.iter().find(|peer| peer.remote == whom) {
            Some(peer) if peer.reputation < before - 1.0 => return Ok(peer.reputation),
            _ => tokio::time::sleep(POLL).await,
        }
    }
}

/// What a node counts, to see what became of one message.
struct Counts([u64; 3]);

impl Counts {
    fn of(node: &Node) -> Self {
        // Whoever lied too often is not listened to: by the gate, or already by the transport, which counts apart.
        let unheard = node.counter("quiet");
        Self([node.counter("accepted"), node.counter("rejected"), unheard])
    }

    /// Waits for one of them to grow.
    async fn change(&self, node: &Node) -> &'static str {
        loop {
            let now = Self::of(node);
            if let Some(at) = (0..self.0.len()).find(|at| now.0[*at] > self.0[*at]) {
                return ["accepted", "rejected", "not heard"][at];
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
