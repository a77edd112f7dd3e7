//! A node that has `quic` and `ipfs-http` at once: what crosses it from one to the other, and what does not.
#![cfg(feature = "ipfs-http")]

mod common;

use std::fs;
use std::path::Path;

use carrick_interop::{Daemon, Kubo};
use common::{LOCAL, Lines, Up, edit, init, init_over_kubo, until_on_topic, until_peers};

/// A node on both.
fn bridge(dir: &Path, daemon: &Daemon) -> Up {
    let folder = init_over_kubo(dir, "bridge", &daemon.api);
    edit(dir, "bridge", |text| {
        let both = "broadcast = [\"quic\", \"ipfs-http\"]\nfetch = [\"quic\", \"ipfs-http\"]";
        text.replace("transport = \"ipfs-http\"", both) + &format!("[transport.quic]\nlisten = [{LOCAL:?}]\n")
    });
    Up::start(&folder)
}

/// Where a node listens on one of its transports.
fn addr(node: &Up, transport: &str) -> String {
    let transports = node.ready["transports"].as_array().expect("a list");
    let one = transports.iter().find(|one| one["name"] == transport).expect("it is mounted");
    one["listen"][0].as_str().expect("it listens").to_owned()
}

/// A node on one transport, a bridge, and a node on the other; linked.
fn chain(dir: &Path, kubo: &Kubo) -> [Up; 3] {
    let bridge = bridge(dir, &kubo.daemons()[0]);
    let near = Up::start(&init(dir, "near", None));
    let far = Up::start(&init_over_kubo(dir, "far", &kubo.daemons()[1].api));
    near.run(["connect", &addr(&bridge, "quic")]).ok();
    far.run(["connect", &addr(&bridge, "ipfs-http")]).ok();
    until_peers(&bridge, |peers| peers.len() == 2);
    [near, bridge, far]
}

fn put(node: &Up, content: &[u8]) -> String {
    fs::write(node.dir.join("input"), content).expect("written");
    node.run(["put", "--json", "input"]).ok().cid()
}

fn got(node: &Up, cid: &str) -> Vec<u8> {
    node.run(["get", cid, "-o", "out"]).ok();
    fs::read(node.dir.join("out")).expect("there")
}

#[test]
fn a_message_crosses_a_bridge_either_way_and_is_heard_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let kubo = Kubo::run(2, &[]).expect("two daemons");
    let nodes = chain(dir.path(), &kubo);
    let mut hear = nodes.each_ref().map(|node| Lines::subscribe(node, &["readings"]));
    for (node, others) in nodes.iter().zip([1, 2, 1]) {
        until_on_topic(node, "readings", others);
    }
    // Longer than what a message takes along: that is fetched, at each step.
    let long = "long ".repeat(100_000);
    let [near, bridge, far] = [0, 1, 2];
    for (from, text) in
        [(near, "one"), (far, "two"), (bridge, "three"), (near, &long), (far, &long), (near, "end")]
    {
        fs::write(nodes[from].dir.join("text"), text).expect("written");
        nodes[from].run(["publish", "readings", "--file", "text"]).ok();
        // The next one comes only after it, so that what came twice would stand in its place.
        for at in [near, bridge, far].into_iter().filter(|at| *at != from) {
            let heard = hear[at].json();
            assert_eq!(heard["author"], nodes[from].ready["peer"], "{at} heard {heard:.300}");
            assert!(heard["text"] == text, "{at} heard {heard:.300}");
        }
    }
}

/// A node serves what it keeps, and asks for nothing that it was not asked to get.
#[test]
fn content_crosses_a_bridge_once_the_bridge_has_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let kubo = Kubo::run(2, &[]).expect("two daemons");
    let [near, bridge, far] = chain(dir.path(), &kubo);
    for (from, to, fill) in [(&near, &far, 1), (&far, &near, 2)] {
        let content = vec![fill; 3_000_000];
        let cid = put(from, &content);
        to.run(["get", &cid, "-o", "nothing", "--deadline", "2"]).fails(4);
        assert!(got(&bridge, &cid) == content);
        assert!(got(to, &cid) == content);
    }
}
