//! Three nodes over the transport of this crate. Nothing here names it but the configuration, and the line that links it.
#![allow(clippy::print_stdout, reason = "a demonstration talks to the person who started it")]

use std::path::Path;
use std::time::Duration;

use carrick_core::config::{Config, Sources};
use carrick_core::dag::Layout;
use carrick_core::{Delivery, GetOptions, Node, Registry, Result, Subscription, Topic};
// A crate that no code names is never linked, and its plugins would be missing.
use custom_transport as _;
use futures::StreamExt as _;
use tokio::time::timeout;

/// Nothing here takes longer unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tides = Topic::new("tides")?;
    let (ash, mut at_ash) = open("ash", &tides, None).await?;
    let (birch, mut at_birch) = open("birch", &tides, Some(&ash)).await?;
    let (cedar, mut at_cedar) = open("cedar", &tides, Some(&birch)).await?;
    for (node, neighbours) in [(&ash, 1), (&birch, 2), (&cedar, 1)] {
        timeout(PATIENCE, node.ready(&tides, neighbours)).await??;
    }
    println!("three nodes in a line: ash ═ birch ═ cedar");
    println!("  transport {}, ash listens on {}", ash.transports()[0].name, ash.listen_addrs()[0]);

    ash.publish(&tides, "high at noon").await?;
    println!(
        "ash publishes; birch hears {:?}, cedar {:?}",
        next(&mut at_birch).await?,
        next(&mut at_cedar).await?
    );
    cedar.publish(&tides, "thank you").await?;
    println!("cedar publishes; ash hears {:?}", next(&mut at_ash).await?);

    let content: Vec<u8> = (0..500_000_u32).flat_map(u32::to_be_bytes).collect();
    let cid = ash.put(&content[..], Layout::default()).await?.cid;
    println!("ash puts {} bytes: {cid}", content.len());
    for (name, node) in [("birch", &birch), ("cedar", &cedar)] {
        let got = timeout(PATIENCE, node.get(&cid, GetOptions::default())).await??;
        println!("{name} gets them by this address from its neighbour, in {} blocks", got.blocks);
    }
    for node in [cedar, birch, ash] {
        node.close().await?;
    }
    println!("all closed");
    Ok(())
}

/// A node from `carrick.toml` and what is its own: a folder, and whom it stays connected to.
async fn open(name: &str, topic: &Topic, far: Option<&Node>) -> Result<(Node, Subscription)> {
    let mut sources = Sources::default();
    sources.file = Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("carrick.toml"));
    sources.set = vec![format!("node.data_dir={:?}", std::env::temp_dir().join("carrick-tcp").join(name))];
    let addrs = far.map(Node::listen_addrs).unwrap_or_default();
    sources.set.extend(addrs.first().map(|addr| format!("transport.tcp.bootstrap=[\"{addr}\"]")));
    let node = Config::load(&sources)?.check(&Registry::linked()?)?.open().await?;
    let heard = node.subscribe(topic).await?;
    Ok((node, heard))
}

/// The next message of a subscription.
async fn next(heard: &mut Subscription) -> Result<String, Box<dyn std::error::Error>> {
    loop {
        match timeout(PATIENCE, heard.next()).await? {
            Some(Delivery::Message(message)) => return Ok(String::from_utf8(message.payload().to_vec())?),
            Some(_) => {}
            None => return Err("the subscription ended".into()),
        }
    }
}
