//! A ledger on the wire and on the disk is what its golden vectors say. `vectors/gen-ledger.py` made them, apart from this
//! code. What no node shows by itself `src/vectors.rs` tries; and what `docs/ledger.md` prints of them is true.

mod member;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use carrick_core::{
    Bytes, Clock, Delivery, Keypair, Limits, NetworkId, Node, Owner, Pin, Site, Store as _, Time, Topic,
};
use carrick_plugin_ledger::{Change, Ledger};
use carrick_plugin_store_fjall::{FjallConfig, FjallStore};
use carrick_transport_memory::MemoryNetwork;
use data_encoding::HEXLOWER_PERMISSIVE as HEX;
use futures::{StreamExt as _, TryStreamExt as _};
use serde::Deserialize;
use tokio::time::timeout;

use member::{Member, PATIENCE, agree};

#[derive(Deserialize)]
struct Vectors {
    network: String,
    ledger: String,
    entries: Vec<GoldenEntry>,
    pages: Vec<Golden>,
    heads: Vec<GoldenHeads>,
}

#[derive(Deserialize)]
struct GoldenEntry {
    name: String,
    seed: String,
    seqno: u64,
    time: u64,
    payload: String,
    parents: Vec<String>,
    clock: u64,
    encoded: String,
    id: String,
    record: String,
}

#[derive(Deserialize)]
struct Golden {
    name: String,
    encoded: String,
    id: String,
}

#[derive(Deserialize)]
struct GoldenHeads {
    name: String,
    encoded: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("vectors/ledger.json")).expect("the vectors are JSON")
}

fn hex(text: &str) -> Bytes {
    HEX.decode(text.as_bytes()).expect("hex").into()
}

impl Vectors {
    fn entry(&self, name: &str) -> &GoldenEntry {
        self.entries.iter().find(|entry| entry.name == name).expect(name)
    }
}

/// A clock in the test's hand.
#[derive(Clone, Debug)]
struct Hands(Arc<AtomicU64>);

impl Clock for Hands {
    fn now(&self) -> Time {
        Time(self.0.load(Ordering::Relaxed))
    }
}

/// The nodes that write the golden ledger.
struct Authors {
    vectors: Vectors,
    wire: MemoryNetwork,
    clock: Hands,
}

impl Authors {
    /// The author of an entry, with a disk of its own.
    async fn author(&self, entry: &str, folder: &Path) -> Member {
        let seed = hex(&self.vectors.entry(entry).seed);
        let key = Keypair::ed25519_from_bytes(seed.to_vec()).expect("a key");
        let site = Site::new("store", folder, Limits::default());
        let store = FjallStore::open(FjallConfig::default(), site).await.expect("opens");
        let ledger = Ledger::new(&self.vectors.ledger, vec![]).expect("a name");
        let node = Node::builder()
            .network(NetworkId::new(&self.vectors.network).expect("a network"))
            .identity(key)
            .clock(self.clock.clone())
            .store(Arc::new(store))
            .mount("memory", self.wire.transport());
        Member { node: ledger.mount(node).open().await.expect("opens"), ledger }
    }

    /// Appends what a vector says, when it says.
    async fn append(&self, author: &Member, name: &str) {
        let golden = self.vectors.entry(name);
        self.clock.0.store(golden.time, Ordering::Relaxed);
        let cid = author.append(&golden.payload).await;
        assert_eq!(cid.to_string(), golden.id, "{name}");
        let entry = author.ledger.entry(&cid).await.expect("reads").expect("an entry");
        assert_eq!(entry.message().encoded(), &hex(&golden.encoded), "{name}");
        assert_eq!((entry.clock(), entry.number()), (golden.clock, golden.seqno), "{name}");
        assert!(entry.parents().iter().map(ToString::to_string).eq(golden.parents.iter().cloned()), "{name}");
    }
}

#[tokio::test]
async fn a_ledger_is_written_as_the_golden_vectors_say() {
    let authors = Authors { vectors: vectors(), wire: MemoryNetwork::new(1), clock: Hands(Arc::default()) };
    let folders = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
    let [first, second, third] = folders.each_ref().map(|folder| folder.path());
    let one = authors.author("a", first).await;
    let other = authors.author("b", second).await;
    let late = authors.author("e", third).await;
    authors.append(&one, "a").await;
    authors.append(&other, "b").await;
    authors.append(&late, "e").await;
    one.meet(&other).await;
    agree(&[&one, &other], 2).await;
    authors.append(&one, "c").await;
    other.until(3).await;
    authors.append(&other, "d").await;
    one.until(4).await;

    let mut changes = one.ledger.watch();
    let topic = Topic::reserved(format!("carrick/heads/{}", authors.vectors.ledger)).expect("a topic");
    let told = other.node.subscribe(&topic).await.expect("subscribes");
    late.meet(&one).await;
    let change = timeout(PATIENCE, changes.next()).await.expect("in time").expect("open");
    assert!(matches!(change, Change::Inserted { at: 1, .. }), "{change:?}");
    let log = agree(&[&one, &other, &late], 5).await;
    let golden = authors.vectors.entries.iter().map(|entry| &entry.id);
    assert!(log.iter().map(ToString::to_string).eq(golden.cloned()));
    heads_are_told(told, "two heads", &authors.vectors).await;

    one.node.close().await.expect("closes");
    drop(one);
    is_kept(first, &authors.vectors).await;
}

/// Waits until somebody tells heads as a vector says.
async fn heads_are_told(mut told: carrick_core::Subscription, name: &str, vectors: &Vectors) {
    let golden = vectors.heads.iter().find(|heads| heads.name == name).expect(name);
    let golden = hex(&golden.encoded);
    let waiting = async {
        loop {
            match told.next().await.expect("open") {
                Delivery::Message(message) if *message.payload() == golden => break,
                _ => {}
            }
        }
    };
    timeout(PATIENCE, waiting).await.expect("in time");
}

/// What lies in a store is what the vectors say: entries, their records, pages.
async fn is_kept(folder: &Path, vectors: &Vectors) {
    let site = Site::new("store", folder, Limits::default());
    let store = FjallStore::open(FjallConfig::default(), site).await.expect("opens");
    let owner = Owner::new(format!("ledger/{}", vectors.ledger));
    let pinned: Vec<Pin> = store.pins(Some(&owner)).try_collect().await.expect("reads");
    let mut pages = BTreeMap::new();
    for pin in pinned {
        let page = store.get(&pin.cid).await.expect("reads").expect("there");
        pages.insert(pin.cid.to_string(), page.into_bytes());
    }
    let golden = vectors.pages.iter().map(|page| (page.id.clone(), hex(&page.encoded)));
    assert_eq!(pages, golden.collect());
    for entry in &vectors.entries {
        let cid: carrick_core::Cid = entry.id.parse().expect("a CID");
        let key = format!("ledger/{}/entry/{}", vectors.ledger, HEX.encode(cid.hash().digest()));
        let record = store.meta(&key).await.expect("reads").expect("there");
        assert_eq!(record, hex(&entry.record), "{}", entry.name);
        let kept = store.get(&cid).await.expect("reads").expect("there");
        assert_eq!(kept.bytes(), &hex(&entry.encoded), "{}", entry.name);
    }
}

/// The vectors that the page prints byte by byte, each under the line that names it: `The golden vector NAME`, NAME as code.
#[test]
fn what_the_page_prints_is_what_the_vectors_say() {
    let vectors = vectors();
    let entries = vectors.entries.iter().map(|entry| (&entry.name, &entry.encoded));
    let pages = vectors.pages.iter().map(|page| (&page.name, &page.encoded));
    let heads = vectors.heads.iter().map(|heads| (&heads.name, &heads.encoded));
    let all: BTreeMap<_, _> = entries.chain(pages).chain(heads).collect();
    let page = include_str!("../../../docs/ledger.md");
    let mut printed = 0;
    for part in page.split("The golden vector `").skip(1) {
        let (name, rest) = part.split_once('`').expect("a name ends");
        let block = rest.split("```").nth(1).and_then(|block| block.strip_prefix("text\n"));
        let block = block.expect("its bytes stand below it");
        assert_eq!(&bytes_of(block), all[&name.to_owned()], "{name}");
        printed += 1;
    }
    assert!(printed >= 4, "{printed}");
    for entry in &vectors.entries {
        assert!(page.contains(&entry.id), "the page shows the CID of {}", entry.name);
    }
}

/// The bytes of a block, without what stands behind them.
fn bytes_of(block: &str) -> String {
    let bytes = block.lines().filter_map(|line| line.trim_start().split("   ").next());
    bytes.flat_map(str::chars).filter(|c| !c.is_whitespace()).collect()
}
