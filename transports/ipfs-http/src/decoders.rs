//! The decoders of this crate, with good inputs and what each may take: for `tests/decoders.rs`, which tries them with
//! changed inputs. No part of the public interface.

use carrick_core::conformance::decoder::Decoder;
use carrick_core::{Cid, PeerAddr};
use hyper::StatusCode;
use serde::de::DeserializeOwned;

use crate::fetch::Named;
use crate::rpc::Fault;
use crate::rpc::calls::{Identity, Names, Pins, Stored, Swarm, short};
use crate::{Endpoint, dial, pubsub, swarm};

/// The longest input of these runs. What the program reads at most is longer, and takes longer than a million of them may.
const LONGEST: usize = 32 << 10;
/// What an answer may take for each of its bytes: an entry of a list is `""` and a comma there, and while the list grows it
/// is there twice.
const EACH: usize = 24;
/// As long as the address of a daemon, or of its RPC, ever is.
const TEXT: usize = 512;

const ID: &str = "12D3KooWJWoaqZhDaoEFshF7Rh1bpY9ohihFhzcW6d69Lr2NASuq";
const OTHER: &str = "12D3KooWRm8J3iL796zPFi2EtGGtUJn58AG67gcRzQ4FENEemvoK";

/// All of them.
pub fn all() -> Vec<Decoder> {
    let decoder = |name, read, longest, samples: Vec<String>, each| {
        let samples = samples.into_iter().map(String::into_bytes).collect();
        Decoder { name, read, check: |_| (), samples, longest, memory: longest * each }
    };
    vec![
        decoder("id", id, LONGEST, ids(), EACH),
        decoder("swarm", links, LONGEST, swarms(), EACH),
        decoder("names", names, LONGEST, lists(), EACH),
        decoder("line", line, LONGEST, lines(), 4),
        decoder("providers", providers, LONGEST, searches(), EACH),
        decoder("pins", pins, LONGEST, pinned(), EACH),
        decoder("stored", stored, LONGEST, vec![stored_block()], 4),
        decoder("fault", fault, LONGEST, faults(), 4),
        decoder("location", location, TEXT, vec!["http://kubo.example:5001/api".into(), "/webui".into()], 8),
        decoder("endpoint", endpoint, TEXT, endpoints(), 16),
        decoder("target", target, TEXT, targets(), 16),
    ]
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).map_err(Fault::junk).ok()
}

/// Who the daemon is, and where it listens.
pub fn id(bytes: &[u8]) -> bool {
    read::<Identity>(bytes).is_some_and(|identity| {
        let addrs = swarm::addresses(&identity);
        addrs.len() <= bytes.len()
    })
}

/// Who is connected.
pub fn links(bytes: &[u8]) -> bool {
    let Some(swarm) = read::<Swarm>(bytes) else { return false };
    swarm.peers.0.iter().filter_map(swarm::info).count() <= bytes.len()
}

/// Who is on a topic, or which topics there are.
pub fn names(bytes: &[u8]) -> bool {
    read::<Names>(bytes).is_some_and(|names| {
        let remotes = names.strings.0.iter().filter_map(|id| swarm::remote(id));
        remotes.count() <= bytes.len()
    })
}

/// A message of a subscription.
pub fn line(bytes: &[u8]) -> bool {
    pubsub::parse(bytes).is_some_and(|(_, message, _)| message.len() <= bytes.len())
}

/// The steps of a search.
pub fn providers(bytes: &[u8]) -> bool {
    let mut found = Named::default();
    let mut lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.all(|line| found.read(line, 20).is_ok()) && found.0.len() <= 20
}

/// Which blocks are pinned.
pub fn pins(bytes: &[u8]) -> bool {
    read::<Pins>(bytes).is_some_and(|pins| pins.pins.0.iter().any(|name| short::<Cid>(name).is_some()))
}

/// What became of a block that was given.
pub fn stored(bytes: &[u8]) -> bool {
    read::<Stored>(bytes).is_some_and(|stored| short::<Cid>(&stored.key).is_some())
}

/// What a daemon says when it fails, with either status: always a short line.
pub fn fault(bytes: &[u8]) -> bool {
    let line = |fault: Fault| fault.to_string();
    let said = [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::NOT_FOUND]
        .map(|status| line(Fault::status(status, bytes, None)));
    said.iter().all(|said| said.len() < 4_096 && !said.contains(char::is_control))
}

/// Where a proxy sends to.
pub fn location(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let said = Fault::status(StatusCode::FOUND, b"", Some(text)).to_string();
    said.len() < 4_096
}

/// Where the RPC is.
pub fn endpoint(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| text.parse::<Endpoint>().is_ok())
}

/// The address of a daemon before it is dialled.
pub fn target(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).ok();
    let peer = text.and_then(|text| text.parse::<PeerAddr>().ok());
    peer.is_some_and(|peer| dial::targets(&peer).next().is_some())
}

fn ids() -> Vec<String> {
    let addrs = format!(r#"["/ip4/127.0.0.1/tcp/4001/p2p/{ID}","/ip6/::1/udp/4001/quic-v1/p2p/{ID}"]"#);
    [addrs.as_str(), "[]", "null"]
        .map(|addrs| {
            let rest =
                r#""AgentVersion":"kubo/0.43.0/","Protocols":["/ipfs/bitswap/1.2.0","/meshsub/1.2.0"]"#;
            format!(r#"{{"ID":"{ID}","PublicKey":"CAESIA","Addresses":{addrs},{rest}}}"#)
        })
        .into()
}

fn swarms() -> Vec<String> {
    let peer = |n: u8| {
        format!(
            r#"{{"Addr":"/ip4/10.0.0.{n}/tcp/4001","Peer":"{OTHER}","Identify":null,"Direction":{}}}"#,
            n % 3
        )
    };
    let peers =
        |count: u8| format!(r#"{{"Peers":[{}]}}"#, (0..count).map(peer).collect::<Vec<_>>().join(","));
    vec![r#"{"Peers":null}"#.into(), peers(2), peers(150)]
}

fn lists() -> Vec<String> {
    let many = vec![format!("{OTHER:?}"); 400].join(",");
    ["null", "[]", r#""uY2Fycmljay90ZXN0""#, many.as_str()]
        .map(|names| if names.starts_with('"') { format!("[{names}]") } else { names.into() })
        .map(|names| format!(r#"{{"Strings":{names}}}"#))
        .into()
}

fn lines() -> Vec<String> {
    ["ubTA", "u", &format!("u{}", "A".repeat(24 << 10))]
        .map(|data| format!(r#"{{"from":"{ID}","data":"{data}","seqno":"uGLqEhKcM_bI","topicIDs":["uYQ"]}}"#))
        .into()
}

fn searches() -> Vec<String> {
    let provider = |id: &str| format!(r#"{{"ID":"{id}","Addrs":["/ip4/127.0.0.1/tcp/4001"]}}"#);
    let step = |kind: u8, responses: &str| {
        format!(r#"{{"Extra":"","ID":"{ID}","Responses":{responses},"Type":{kind}}}{}"#, '\n')
    };
    let found = step(4, &format!("[{},{}]", provider(ID), provider(OTHER)));
    vec![String::new(), found.clone(), [step(0, "null"), step(1, "[]"), found].concat().repeat(30)]
}

fn pinned() -> Vec<String> {
    const CID: &str = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";
    vec![
        format!(r#"{{"Pins":["{CID}","{CID}"]}}"#),
        format!(r#"{{"Keys":{{"{CID}":{{"Type":"direct","Name":""}}}}}}"#),
    ]
}

fn stored_block() -> String {
    r#"{"Key":"bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e","Size":11}"#.into()
}

fn faults() -> Vec<String> {
    let said = |message: &str| format!(r#"{{"Message":"{message}","Code":0,"Type":"error"}}"#);
    vec![
        said("block was not found locally (offline): ipld: could not find bafk"),
        said(&"write /repo/blocks: no space left on device ".repeat(100)),
        "404 page not found".into(),
        "<html>welcome</html>".into(),
    ]
}

fn endpoints() -> Vec<String> {
    [
        "http://127.0.0.1:5001",
        "https://kubo.example",
        "/ip6/::1/tcp/5001/http",
        "/dns4/kubo.example/tcp/443/https",
        "/unix/run/kubo/api.sock",
    ]
    .map(str::to_owned)
    .into()
}

fn targets() -> Vec<String> {
    let whole = format!("/ip4/10.0.0.7/tcp/4001/p2p/{ID}");
    vec![
        whole.clone(),
        format!("{whole}/p2p/{OTHER}"),
        format!("/dns4/kubo.example/udp/4001/quic-v1/p2p/{ID}"),
    ]
}
