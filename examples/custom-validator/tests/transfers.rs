//! The ledger of coins: by its configuration, and in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use carrick::config::Config;
use carrick::ledger::{Folded, Ledger};
use carrick::memory::MemoryNetwork;
use carrick::node::identity;
use carrick::{
    Bytes, Cid, ErrorKind, Keypair, Kind, MemoryStore, NetworkId, Node, PeerAddr, PeerId, Registry,
};
use custom_validator::{Accounts, Balances, OnlyWhatYouOwn, Transfer};
use tokio::time::timeout;

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn pay(to: &PeerId, amount: u64) -> Bytes {
    serde_json::to_vec(&Transfer { to: *to, amount }).expect("encodes").into()
}

#[test]
fn it_is_linked_under_its_name() {
    let registry = Registry::linked().expect("no name twice");
    let entry = registry.find(Kind::Service, "transfers").expect("linked");
    assert_eq!((entry.package, entry.keys()), ("custom-validator", &["genesis"][..]));
}

/// Opens a node by its configuration, in which `OWNER` stands for its own id.
async fn configured(folder: &tempfile::TempDir, ledger: &str) -> carrick::Result<Node> {
    let owner = identity::load_or_create(folder.path())?.public().to_peer_id().to_string();
    let node = "[node]\nnetwork = \"test\"\ntransport = \"memory\"\nstore = \"memory\"";
    let config = format!("{node}\ndata_dir = {:?}\n[ledger.coins]\n{ledger}\n", folder.path());
    Config::from_toml(&config.replace("OWNER", &owner))?.check(&Registry::linked()?)?.open().await
}

#[tokio::test]
async fn a_configuration_names_the_rule() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = configured(&folder, "kind = \"transfers\"\ngenesis = { OWNER = 10 }").await.expect("opens");
    let ledger = node.service::<Ledger>("coins").expect("configured");
    let other = Keypair::generate_ed25519().public().to_peer_id();
    ledger.append(pay(&other, 4)).await.expect("covered");
    for (payload, why) in [
        (pay(&other, 7), "its author spends 7 and owns 6"),
        (pay(&other, 0), "a transfer of nothing"),
        (Bytes::from("7 to the other"), "no transfer: "),
        (Bytes::from(format!(r#"{{"to":"{other}","amount":1,"from":"{other}"}}"#)), "no transfer: "),
        (Bytes::from(format!(r#"{{"to":"{other}","amount":-1}}"#)), "no transfer: "),
    ] {
        let error = ledger.append(payload).await.expect_err(why);
        assert_eq!(error.kind(), ErrorKind::Rejected);
        assert!(error.detail().starts_with(&format!("refused here: {why}")), "{error}");
    }
    ledger.append(pay(&other, 6)).await.expect("covered");
    node.close().await.expect("closes");
}

#[tokio::test]
async fn a_wrong_table_is_explained() {
    let folder = tempfile::tempdir().expect("a folder");
    for (table, says) in [
        ("kind = \"transfers\"\ngenesys = {}", "known keys: genesis"),
        ("kind = \"transfers\"\ngenesis = { OWNER = -1 }", "genesis"),
        ("kind = \"transfers\"\ngenesis = { somebody = 1 }", "genesis"),
        (
            "kind = \"transfers\"\ngenesis = { OWNER = 9223372036854775807, 12D3KooWQtR9yHH4iMC2zkZan5Noc5ShH5QGatYT5pBXtCJa1kp6 = 9223372036854775807, 12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN = 9223372036854775807 }",
            "genesis: more than 2^64 coins in all",
        ),
    ] {
        let error = configured(&folder, table).await.expect_err(says);
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(says), "{error}");
    }
}

/// A node in virtual time.
struct Member {
    node: Node,
    ledger: Ledger,
    coins: Folded<Balances>,
}

impl Member {
    async fn open(
        wire: &MemoryNetwork,
        key: &Keypair,
        genesis: &BTreeMap<PeerId, u64>,
        honest: bool,
    ) -> Self {
        let mut rules = vec![];
        if honest {
            rules.push(Arc::new(OnlyWhatYouOwn::new(genesis.clone())) as _);
        }
        let ledger = Ledger::new("coins", rules).expect("a name");
        let node = Node::builder().network(NetworkId::new("test").expect("a network"));
        let node = node.identity(key.clone()).store(Arc::new(MemoryStore::default()));
        let node = ledger.mount(node.mount("memory", wire.transport())).open().await.expect("opens");
        let coins = ledger.fold(Balances::new(genesis.clone())).expect("open");
        Self { node, ledger, coins }
    }

    async fn join(&self, other: &Self) {
        self.node.connect(&PeerAddr::from(other.node.listen_addrs().remove(0))).await.expect("connects");
        for member in [self, other] {
            member.node.ready(member.ledger.topic(), 1).await.expect("ready");
        }
    }

    async fn pay(&self, to: &PeerId, amount: u64) -> Cid {
        self.ledger.append(pay(to, amount)).await.expect("covered").cid
    }

    /// Pays after some entries alone.
    async fn pay_after(&self, entries: &[Cid], to: &PeerId, amount: u64) -> Cid {
        let published = self.node.publish_following(self.ledger.topic(), pay(to, amount), entries.to_vec());
        *published.await.expect("published").id.cid()
    }

    /// What it says once it has some entries.
    async fn says(&self, entries: &[Cid]) -> Accounts {
        for entry in entries {
            timeout(PATIENCE, self.coins.until(entry)).await.expect("in time").expect("open");
        }
        self.coins.view().state
    }
}

fn keys<const N: usize>() -> ([Keypair; N], [PeerId; N]) {
    let keys = std::array::from_fn(|_| Keypair::generate_ed25519());
    let ids = std::array::from_fn(|at: usize| AsRef::<[Keypair]>::as_ref(&keys)[at].public().to_peer_id());
    (keys, ids)
}

#[tokio::test(start_paused = true)]
async fn an_overdraft_gets_nowhere_and_neither_does_what_follows_it() {
    let wire = MemoryNetwork::new(1);
    let (keys, [a, b, thief]) = keys();
    let genesis = BTreeMap::from([(a, 10), (thief, 10)]);
    let [one, other, lax] = [
        Member::open(&wire, &keys[0], &genesis, true).await,
        Member::open(&wire, &keys[1], &genesis, true).await,
        Member::open(&wire, &keys[2], &genesis, false).await,
    ];
    one.join(&other).await;
    lax.join(&one).await;
    let good = lax.pay(&b, 10).await;
    one.says(&[good]).await;
    let bad = lax.pay(&b, 1).await;
    let after = lax.pay_after(&[bad], &a, 1).await;
    let last = one.pay(&b, 10).await;
    for member in [&one, &other] {
        let accounts = member.says(&[good, last]).await;
        assert_eq!([a, b, thief].map(|owner| accounts.of(&owner)), [0, 20, 0]);
        assert_eq!(accounts.voids(), 0);
        for refused in [bad, after] {
            assert!(member.ledger.entry(&refused).await.expect("reads").is_none());
        }
    }
}

/// What comes to one spends the same coins as what comes to the other: both keep both, and both let the same one count.
#[tokio::test(start_paused = true)]
async fn of_two_that_spend_the_same_the_first_in_the_order_counts_everywhere() {
    // By chance of the hash either one comes first: until both cases were seen.
    let mut counted = BTreeSet::new();
    for seed in 0..64 {
        let wire = MemoryNetwork::new(seed);
        let (keys, [a, b, thief]) = keys();
        let genesis = BTreeMap::from([(thief, 100)]);
        let [one, other, lax] = [
            Member::open(&wire, &keys[0], &genesis, true).await,
            Member::open(&wire, &keys[1], &genesis, true).await,
            Member::open(&wire, &keys[2], &genesis, false).await,
        ];
        wire.partition(&[&[a, thief], &[b]]);
        lax.join(&one).await;
        let to_one = lax.pay_after(&[], &a, 60).await;
        assert_eq!(one.says(&[to_one]).await.of(&a), 60);
        wire.heal();
        wire.partition(&[&[b, thief], &[a]]);
        lax.join(&other).await;
        let to_other = lax.pay_after(&[], &b, 60).await;
        other.says(&[to_other]).await;
        wire.heal();
        one.join(&other).await;
        let both = [to_one, to_other];
        let (says, also) = (one.says(&both).await, other.says(&both).await);
        assert_eq!(says, also);
        assert_eq!(says.of(&thief), 40);
        let order = [&to_one, &to_other].map(|entry| entry.to_bytes());
        let void = if order[0] < order[1] { [to_other, to_one] } else { both };
        assert_eq!(says.void(&void[0]), Some("its author spends 60 and owns 40"));
        assert_eq!(says.void(&void[1]), None);
        counted.insert(void[0] == to_other);
        if counted.len() == 2 {
            return;
        }
    }
    panic!("the same one came first 64 times");
}

/// Coins that a void entry was to bring cannot be spent by who knows that it is void; who did not know may, and is void too.
#[tokio::test(start_paused = true)]
async fn what_a_void_entry_was_to_bring_cannot_be_spent() {
    let wire = MemoryNetwork::new(1);
    let (keys, [a, b, thief]) = keys();
    let genesis = BTreeMap::from([(thief, 100)]);
    let [one, other, lax] = [
        Member::open(&wire, &keys[0], &genesis, true).await,
        Member::open(&wire, &keys[1], &genesis, true).await,
        Member::open(&wire, &keys[2], &genesis, false).await,
    ];
    one.join(&other).await;
    lax.join(&one).await;
    let both = [lax.pay_after(&[], &a, 60).await, lax.pay_after(&[], &b, 60).await];
    let accounts = one.says(&both).await;
    other.says(&both).await;
    let (poor, rich) = if accounts.of(&a) == 0 { (&one, &other) } else { (&other, &one) };
    let error = poor.ledger.append(pay(&thief, 60)).await.expect_err("it has nothing");
    assert_eq!(error.detail(), "refused here: its author spends 60 and owns 0");
    // As if it knew of the one alone that paid it.
    let paid_it = both[usize::from(std::ptr::eq(poor, &other))];
    let blind = poor.pay_after(&[paid_it], &thief, 60).await;
    for member in [poor, rich] {
        let accounts = member.says(&[blind]).await;
        assert_eq!(accounts.void(&blind), Some("its author spends 60 and owns 0"));
        assert_eq!((accounts.voids(), accounts.of(&thief)), (2, 40));
    }
}
