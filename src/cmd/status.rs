//! `carrick status`: the running node.

use serde_json::{Value, json};

use super::{Cx, peers};
use crate::fault::Outcome;
use crate::terminal::{show, size};

pub(super) async fn run(cx: &Cx) -> Outcome {
    let client = cx.client()?;
    let mut status = client.status().await?;
    // A daemon that is away knows of none, and is what one looks for here.
    let peers = client.peers().await;
    if cx.term.json {
        status["peers"] = json!(peers.as_ref().ok());
        return cx.term.json(&status);
    }
    let word = |key: &str| status[key].as_str().unwrap_or_default().to_string();
    cx.term.line(format!("peer       {}", word("peer")))?;
    cx.term.line(format!("network    {}", word("network")))?;
    for addr in texts(&status["addresses"]) {
        cx.term.line(format!("address    {addr}"))?;
    }
    for transport in status["transports"].as_array().into_iter().flatten() {
        cx.term.line(format!("transport  {}", transport_line(transport)))?;
        for (what, value) in transport["facts"].as_object().into_iter().flatten() {
            cx.term.line(format!("           {what}: {}", value.as_str().unwrap_or_default()))?;
        }
    }
    let topics: Vec<_> = texts(&status["topics"]).collect();
    cx.term
        .line(format!("topics     {}", if topics.is_empty() { "none".into() } else { topics.join(", ") }))?;
    let store = &status["store"];
    let (blocks, bytes) = (store["blocks"].as_u64().unwrap_or(0), store["bytes"].as_u64().unwrap_or(0));
    cx.term.line(format!("store      {blocks} blocks, {}", size(bytes)))?;
    for (scope, counters) in status["counters"].as_object().into_iter().flatten() {
        let counters: Vec<_> =
            counters.as_object().into_iter().flatten().map(|(name, n)| format!("{name} {n}")).collect();
        if !counters.is_empty() {
            cx.term.line(format!("counted    {scope}: {}", counters.join(", ")))?;
        }
    }
    match peers {
        Ok(peers) if peers.is_empty() => cx.term.line("peers      0"),
        Ok(peers) => {
            cx.term.line(format!("peers      {}", peers.len()))?;
            cx.term.line(show(peers::table_of(&peers)))
        }
        Err(error) => cx.term.line(format!("peers      unknown: {}", error.message)),
    }
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// A transport, what is routed over it, and the promises that are worth knowing.
fn transport_line(transport: &Value) -> String {
    let routed = ["broadcast", "fetch"].into_iter().filter(|part| transport[part] == true);
    let caps = &transport["capabilities"];
    let word = |value: &Value| value.as_str().unwrap_or("none").to_string();
    format!(
        "{}: {}; identity {}, relay {}, private {}",
        word(&transport["name"]),
        routed.collect::<Vec<_>>().join(" and "),
        word(&caps["identity"]),
        word(&caps["broadcast"]["relay"]),
        word(&caps["privacy"]),
    )
}
