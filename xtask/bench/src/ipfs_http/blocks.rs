//! Single blocks, got from a daemon and put into it, as many at once as the transport has places.

use std::time::{Duration, Instant};

use carrick_core::{Block, Cid, Fetch, Node, RAW, Want};
use carrick_interop::Daemon;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::open;
use super::plain::Plain;
use crate::table::{Good, Row};
use crate::{Result, content};

/// So small that what a call costs shows.
const BYTES: usize = 64 << 10;
const GETS: u64 = 1_000;
const PUTS: u64 = 500;
/// The default of the transport.
const AT_ONCE: usize = 16;
const DEADLINE: Duration = Duration::from_secs(30);

/// What the turns of both sides brought.
#[derive(Default)]
struct Turns {
    gets: Vec<[f64; 2]>,
    puts: Vec<[f64; 2]>,
    connections: Vec<f64>,
}

/// All pairs, in the order ABBA, after one run of each that does not count.
pub(super) async fn run(daemon: &Daemon, pairs: u32) -> Result<Vec<Row>> {
    let there = blocks(GETS);
    let plain = Plain::new(daemon);
    for block in &there {
        plain.give("block/put", std::iter::once(block.bytes().clone())).await?;
    }
    let there: Vec<Cid> = there.iter().map(|block| *block.cid()).collect();
    let mut turns = Turns::default();
    for pair in 0..=pairs {
        let mut seconds = [[0.0; 2]; 2];
        for side in [pair % 2, (pair + 1) % 2] {
            seconds[side as usize] = match side {
                0 => without(daemon, &there).await?,
                _ => with(daemon, &there, &mut turns.connections).await?,
            };
        }
        let [[get, put], [our_get, our_put]] = seconds;
        turns.gets.push([get, our_get]);
        turns.puts.push([put, our_put]);
        eprintln!(
            "blocks, pair {pair}: get {get:.2} s and {our_get:.2} s, put {put:.2} s and {our_put:.2} s"
        );
    }
    Ok(rows(&turns))
}

/// Seconds for the gets and for the puts over the transport of a node; every block is hashed.
async fn with(daemon: &Daemon, there: &[Cid], connections: &mut Vec<f64>) -> Result<[f64; 2]> {
    let (node, transport) = open(&daemon.api, Node::builder()).await?;
    let fetch = transport.fetch().ok_or("it does not fetch")?;
    let gets = timed(there.iter().map(|cid| get(fetch, cid))).await?;
    let counted = node.status().await?.counters;
    let opened = counted.get("ipfs-http").and_then(|counted| counted.get("connections_opened"));
    connections.push(*opened.ok_or("no connection was counted")? as f64);
    let new = blocks(PUTS);
    node.store().put(&new).await?;
    let puts = timed(new.iter().map(|block| put(fetch, block.cid()))).await?;
    node.close().await?;
    Ok([gets, puts])
}

async fn get(fetch: &dyn Fetch, cid: &Cid) -> Result<()> {
    let fetched = fetch.block(&Want::new(*cid, DEADLINE)).await?;
    fetched.claim.check()?;
    Ok(())
}

async fn put(fetch: &dyn Fetch, cid: &Cid) -> Result<()> {
    Ok(fetch.provide(std::slice::from_ref(cid)).await?)
}

/// The same calls without it.
async fn without(daemon: &Daemon, there: &[Cid]) -> Result<[f64; 2]> {
    let plain = Plain::new(daemon);
    let gets = timed(there.iter().map(|cid| plain_get(&plain, cid))).await?;
    let new = blocks(PUTS);
    let puts = timed(new.iter().map(|block| plain_put(&plain, block))).await?;
    Ok([gets, puts])
}

async fn plain_get(plain: &Plain, cid: &Cid) -> Result<()> {
    let command = format!("block/get?arg={cid}&timeout={}ms&offline=false", DEADLINE.as_millis());
    let bytes = plain.call(&command).await?;
    if bytes.len() == BYTES { Ok(()) } else { Err(format!("{} bytes came of {cid}", bytes.len()).into()) }
}

async fn plain_put(plain: &Plain, block: &Block) -> Result<()> {
    let pin = format!("pin/add?recursive=false&offline=true&arg={}", block.cid());
    if plain.call(&pin).await.is_ok() {
        return Err("a new block was there".into());
    }
    let command = "block/put?cid-codec=raw&mhtype=sha2-256&pin=false";
    plain.give(command, std::iter::once(block.bytes().clone())).await?;
    plain.call(&pin).await.map(drop)
}

/// How long some calls take.
async fn timed(calls: impl Iterator<Item = impl Future<Output = Result<()>>>) -> Result<f64> {
    let start = Instant::now();
    stream::iter(calls).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    Ok(start.elapsed().as_secs_f64())
}

/// Blocks that nobody has seen.
fn blocks(count: u64) -> Vec<Block> {
    let first = rand::random();
    let bytes = |n: u64| content::block(n.wrapping_add(first)).slice(..BYTES);
    (0..count).map(|n| Block::new(RAW, bytes(n))).collect()
}

fn rows(turns: &Turns) -> Vec<Row> {
    let row = |what, calls: u64, turns: &[[f64; 2]]| {
        let counted = &turns[1..];
        let ratios: Vec<f64> = counted.iter().map(|[plain, ours]| plain / ours).collect();
        let rate = |side: usize| calls as f64 / counted[counted.len() - 1][side];
        let detail = format!("in the last pair {:.0} a second, plain {:.0}", rate(1), rate(0));
        Row::new(what, "×", &ratios, Good::AtLeast, 0.85, 0.95).detail(detail)
    };
    let connections = "ipfs-http, connections for 1,000 block gets";
    vec![
        row("ipfs-http, block get, of plain HTTP", GETS, &turns.gets),
        row("ipfs-http, block put, of plain HTTP", PUTS, &turns.puts),
        Row::new(connections, "", &turns.connections[1..], Good::AtMost, 32.0, AT_ONCE as f64),
    ]
}
