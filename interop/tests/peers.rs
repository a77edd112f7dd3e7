//! The peers start, understand each other, and tell when they do not: what a test of ours may rely on.

use std::time::Duration;

use carrick_interop::{Chunks, Helia, Kubo, Peer};

const PATIENCE: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(500);

/// A CID that nobody has.
const NOWHERE: &str = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";

/// More than two blocks of any size, all of them different.
fn content(seed: u32) -> Vec<u8> {
    (0..700_000_u32).flat_map(|n| (n ^ seed).to_le_bytes()).collect()
}

fn text(output: Vec<u8>) -> String {
    String::from_utf8(output).expect("text").trim().to_owned()
}

/// The address over TCP of a daemon.
fn tcp(kubo: &Kubo) -> String {
    let addrs = &kubo.daemons()[0].addrs;
    addrs.iter().find(|addr| addr.contains("/tcp/")).expect("there").clone()
}

/// Each publishes, and the other hears it.
fn talk(one: &mut Peer, other: &mut Peer) {
    let (id, other_id) = (one.id().to_owned(), other.id().to_owned());
    for peer in [&mut *one, &mut *other] {
        peer.subscribe("talk").expect("subscribes");
    }
    one.until_on_topic("talk", &other_id).expect("known");
    other.until_on_topic("talk", &id).expect("known");
    one.publish("talk", &[0, 255]).expect("published");
    let heard = other.next("talk", PATIENCE).expect("heard").expect("a message");
    assert_eq!((heard.from, heard.data, heard.lost), (id, vec![0, 255], 0));
    other.publish("talk", b"").expect("published");
    let heard = one.next("talk", PATIENCE).expect("heard").expect("a message");
    assert_eq!((heard.from, heard.data), (other_id, vec![]));
    // Not even their own.
    assert_eq!(one.next("talk", SOON), Ok(None));
    assert_eq!(other.next("talk", SOON), Ok(None));
}

/// What nobody has is told in time, and the peer goes on.
fn nobody_has_it(peer: &mut Peer) {
    peer.get(NOWHERE, SOON).expect_err("nobody has it");
    peer.next("not subscribed", SOON).expect_err("not subscribed");
    peer.connections().expect("goes on");
}

#[test]
fn helia_and_kubo_exchange_files_over_tcp() {
    let kubo = Kubo::run(1, &["--no-quic"]).expect("a daemon");
    let mut helia = Helia::run(&["--no-quic"]).expect("a peer");
    assert_eq!((helia.quic(), helia.addrs().len()), ("", 1));
    helia.connect(&tcp(&kubo)).expect("connects");
    let connection = helia.connections().expect("told").remove(0);
    assert_eq!(connection.peer, kubo.daemons()[0].id);
    assert_eq!(connection.encryption.as_deref(), Some("/noise"));
    assert_eq!(connection.muxer.as_deref(), Some("/yamux/1.0.0"));

    let file = content(1);
    let put = kubo.daemons()[0].ipfs_with(&["add", "--quieter"], &file).expect("added");
    assert!(helia.get(&text(put), PATIENCE).expect("fetched") == file, "other bytes came");
    for (chunks, size, links) in [(Chunks::Small, 256 << 10, 174), (Chunks::Large, 1 << 20, 1024)] {
        let cid = helia.add(&file, chunks).expect("added");
        assert!(kubo.ipfs(0, &["cat", &cid]).expect("fetched") == file, "other bytes came");
        let (chunker, links) = (format!("--chunker=size-{size}"), format!("--max-file-links={links}"));
        let args = ["add", "--quieter", "--only-hash", "--cid-version=1", "--raw-leaves", &chunker, &links];
        assert_eq!(text(kubo.daemons()[0].ipfs_with(&args, &file).expect("hashed")), cid);
    }
    nobody_has_it(&mut helia);
}

#[test]
fn helia_and_kubo_exchange_blocks_over_quic() {
    let kubo = Kubo::run(1, &[]).expect("a daemon");
    let mut helia = Helia::run(&[]).expect("a peer");
    let (quic, id) = (helia.quic().to_owned(), helia.id().to_owned());
    kubo.ipfs(0, &["swarm", "connect", &quic]).expect("connects");
    helia.until_peer(&kubo.daemons()[0].id).expect("connected");

    let cid = helia.block_put(0x55, b"a block").expect("kept");
    assert_eq!(kubo.ipfs(0, &["block", "get", &cid]).expect("fetched"), b"a block");
    let other = kubo.daemons()[0].ipfs_with(&["block", "put"], b"another").expect("kept");
    assert_eq!(helia.block_get(&text(other), PATIENCE).expect("fetched"), b"another");
    let head = helia.chain_put(20).expect("made");
    let shown = text(kubo.ipfs(0, &["dag", "get", &head]).expect("fetched"));
    assert!(shown.contains(r#""n":19"#), "{shown}");
    kubo.ipfs(0, &["refs", "--recursive", &head]).expect("all of it is fetched");

    let told = helia.identify(&kubo.daemons()[0].id).expect("told");
    assert_eq!(told.id, kubo.daemons()[0].id);
    assert!(told.agent.as_deref().is_some_and(|agent| agent.starts_with("kubo/")), "{told:?}");
    assert!(told.protocols.iter().any(|name| name == "/ipfs/bitswap/1.2.0"), "{told:?}");
    assert!(text(kubo.ipfs(0, &["id", &id]).expect("told")).contains("js-libp2p"), "by another name");
    helia.disconnect(&told.id).expect("disconnects");
    helia.identify(&told.id).expect_err("is gone");
}

#[test]
fn helia_fetches_many_blocks_and_walks_a_chain() {
    let (mut one, mut other) = (Helia::run(&[]).expect("a peer"), Helia::run(&[]).expect("a peer"));
    one.connect(other.tcp()).expect("connects");
    one.ping(other.tcp()).expect("answers");
    let cids = one.blocks_put(300, 100).expect("kept");
    assert_eq!(other.blocks_get(&cids, PATIENCE), Ok(30_000));
    let head = one.chain_put(100).expect("made");
    assert_eq!(other.chain_walk(&head, PATIENCE), Ok(100));
    talk(&mut one, &mut other);
}

#[test]
fn helia_and_kubo_find_each_other_through_the_dht() {
    let kubo = Kubo::run(1, &[]).expect("a daemon");
    let mut helia = Helia::run(&["--dht"]).expect("a peer");
    helia.connect(&tcp(&kubo)).expect("connects");
    let cid = helia.block_put(0x55, b"provided").expect("kept");
    helia.provide(&cid).expect("provided");
    let found = text(kubo.ipfs(0, &["routing", "findprovs", "--num-providers=1", &cid]).expect("asked"));
    assert_eq!(found, helia.id());
    let cid = text(kubo.daemons()[0].ipfs_with(&["add", "--quieter"], b"provided too").expect("added"));
    kubo.ipfs(0, &["routing", "provide", &cid]).expect("provided");
    let found = helia.find_providers(&cid, 1, PATIENCE).expect("asked");
    assert_eq!(found, [kubo.daemons()[0].id.as_str()]);
}

#[cfg(target_os = "linux")]
mod old_kubo {
    use carrick_interop::OldKubo;

    use super::*;

    #[test]
    fn it_has_an_rsa_identity_and_exchanges_files_with_kubo() {
        let kubo = Kubo::run(1, &[]).expect("a daemon");
        let mut old = OldKubo::run(&[]).expect("a peer");
        assert!(old.id().starts_with("Qm"), "{}: an RSA identity is a hash", old.id());
        old.connect(&tcp(&kubo)).expect("connects");
        let connection = old.connections().expect("told").remove(0);
        assert_eq!(connection.peer, kubo.daemons()[0].id);
        let told = text(kubo.ipfs(0, &["id", old.id()]).expect("told"));
        assert!(told.contains("kubo/0.22.0") && told.contains("/meshsub/1.1.0"), "{told}");

        let file = content(2);
        let cid = old.add(&file).expect("added");
        assert!(cid.starts_with("Qm"), "{cid}");
        assert!(kubo.ipfs(0, &["cat", &cid]).expect("fetched") == file, "other bytes came");
        let put = kubo.daemons()[0].ipfs_with(&["add", "--quieter"], &content(3)).expect("added");
        assert!(old.get(&text(put), PATIENCE).expect("fetched") == content(3), "other bytes came");
        nobody_has_it(&mut old);
    }

    #[test]
    fn it_understands_helia() {
        let mut old = OldKubo::run(&["--no-quic"]).expect("a peer");
        let mut helia = Helia::run(&["--dht"]).expect("a peer");
        helia.connect(old.tcp()).expect("connects");
        old.until_peer(helia.id()).expect("connected");
        let told = helia.identify(old.id()).expect("told");
        assert_eq!(told.agent.as_deref().map(|agent| agent.trim_end_matches('/')), Some("kubo/0.22.0"));
        talk(&mut helia, &mut old);
        let cid = helia.add(&content(4), Chunks::Large).expect("added");
        assert!(old.get(&cid, PATIENCE).expect("fetched") == content(4), "other bytes came");
        let cid = old.add(&content(5)).expect("added");
        assert!(helia.get(&cid, PATIENCE).expect("fetched") == content(5), "other bytes came");
        let addrs = old.find_peer(helia.id(), PATIENCE).expect("asked");
        assert!(addrs.iter().any(|addr| helia.tcp().starts_with(addr.as_str())), "{addrs:?}");
    }
}

#[test]
fn kubo_takes_the_options_of_its_script() {
    let psk = "5a".repeat(32);
    let options =
        ["--psk", &psk, "--connect", "--bearer", "secret", "--set", "Pubsub.SeenMessagesTTL=\"2s\""];
    let private = Kubo::run(2, &options).expect("two daemons of one private network");
    let ttl = private.ipfs(0, &["config", "Pubsub.SeenMessagesTTL"]).expect("shown");
    assert_eq!(text(ttl), "2s");
    assert!(private.daemons()[0].addrs.iter().all(|addr| addr.contains("/tcp/")), "not over QUIC");
    let peers = private.ipfs(0, &["swarm", "peers"]).expect("shown");
    assert!(text(peers).ends_with(&private.daemons()[1].id));

    let public = Kubo::run(1, &["--no-quic", "--basic", "user:password"]).expect("a daemon");
    let error = public.ipfs(0, &["swarm", "connect", &tcp(&private)]).expect_err("has no key");
    assert!(error.contains("exit status: 1") && error.contains("failed to dial"), "{error}");
    public.ipfs(1, &["id"]).expect_err("there is no second one");
}
