//! Three nodes with a ledger of coins: two run the rule, one does not, and spends what it has twice, and then what it has
//! not.
#![allow(clippy::print_stdout, reason = "a demonstration talks to the person who started it")]

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use carrick::config::Config;
use carrick::ledger::{Folded, Ledger};
use carrick::node::identity;
use carrick::{Bytes, Cid, Node, PeerAddr, PeerId, Registry, Result};
use custom_validator::{Balances, Transfer};

/// Nothing here takes longer unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often we look at what nobody tells.
const POLL: Duration = Duration::from_millis(5);

/// Whatever went wrong.
type Fault = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let folder = tempfile::tempdir()?;
    let dirs = ["alice", "bob", "mallory"].map(|name| folder.path().join(name));
    let owners = ids(&dirs)?;
    let genesis = BTreeMap::from([(owners[0], 100), (owners[2], 100)]);
    let alice = Member::open(&dirs[0], &rule(&genesis), &genesis).await?;
    let bob = Member::open(&dirs[1], &rule(&genesis), &genesis).await?;
    let mallory = Member::open(&dirs[2], "[ledger.coins]", &genesis).await?;
    alice.join(&bob).await?;
    mallory.join(&bob).await?;
    println!("three nodes: alice ═ bob ═ mallory; alice and bob run the rule, mallory does not\n");

    let table = Table { judges: [&alice, &bob], owners };
    table.head();
    table.line("at the beginning", &[]).await?;
    honest(&table).await?;
    twice(&table, &mallory).await?;
    overdrawn(&table, &mallory).await?;

    let same = alice.coins.view().state == bob.coins.view().state;
    println!("\nalice's and bob's nodes {}", if same { "agree" } else { "DO NOT AGREE" });
    for member in [mallory, alice, bob] {
        member.node.close().await?;
    }
    if same { Ok(()) } else { Err("the nodes parted".into()) }
}

/// Who runs the rule is told by its own node.
async fn honest(table: &Table<'_>) -> Result<(), Fault> {
    let ([alice, bob], [at_alice, at_bob, _]) = (table.judges, table.owners);
    let paid = alice.ledger.append(transfer(&at_bob, 30)).await?.cid;
    table.line("alice pays bob 30", &[paid]).await?;
    match bob.ledger.append(transfer(&at_alice, 31)).await {
        Ok(_) => println!("bob pays alice 31"),
        Err(error) => println!("bob pays alice 31: {error}"),
    }
    Ok(())
}

/// Both entries follow the same one, and each is covered by what mallory had there. So everybody takes both, and the order
/// decides.
async fn twice(table: &Table<'_>, mallory: &Member) -> Result<(), Fault> {
    let [at_alice, at_bob, _] = table.owners;
    let last = mallory.ledger.heads()?;
    let both = [mallory.follow(&last, &at_alice, 60).await?, mallory.follow(&last, &at_bob, 60).await?];
    table.line("mallory pays alice 60, and bob the same 60", &both).await?;
    for (name, judge) in ["alice", "bob"].iter().zip(table.judges) {
        for entry in &both {
            let void = judge.coins.read(|view| view.state.void(entry).map(|why| format!("is void: {why}")));
            let cid = entry.to_string();
            println!("  {name}'s node: …{} {}", &cid[cid.len() - 6..], void.as_deref().unwrap_or("counts"));
        }
    }
    Ok(())
}

/// No honest node takes it, hands it out or passes it on.
async fn overdrawn(table: &Table<'_>, mallory: &Member) -> Result<(), Fault> {
    let [_, bob] = table.judges;
    let before = bob.node.counter("rejected");
    let overdraft = mallory.ledger.append(transfer(&table.owners[1], 1_000)).await?.cid;
    let refused = async {
        while bob.node.counter("rejected") == before {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await?;
    table.line("mallory pays bob 1000", &[]).await?;
    for (name, judge) in ["alice", "bob"].iter().zip(table.judges) {
        let has = judge.ledger.entry(&overdraft).await?.is_some();
        println!("  {name}'s node {} it", if has { "has" } else { "does not have" });
    }
    Ok(())
}

/// A node, its ledger, and what that makes of the coins.
struct Member {
    node: Node,
    ledger: Arc<Ledger>,
    coins: Folded<Balances>,
}

impl Member {
    /// As a user would configure it; the transport is one line of it.
    async fn open(dir: &Path, ledger: &str, genesis: &BTreeMap<PeerId, u64>) -> Result<Self, Fault> {
        let node = "[node]\nnetwork = \"coins\"\ntransport = \"memory\"\nstore = \"memory\"";
        let config = Config::from_toml(&format!("{node}\ndata_dir = {dir:?}\n{ledger}\n"))?;
        let node = config.check(&Registry::linked()?)?.open().await?;
        let ledger = node.service::<Ledger>("coins").ok_or("no ledger is configured")?;
        let coins = ledger.fold(Balances::new(genesis.clone()))?;
        Ok(Self { node, ledger, coins })
    }

    /// Connects, and waits until the other takes part in the ledger.
    async fn join(&self, other: &Self) -> Result<(), Fault> {
        self.node.connect(&PeerAddr::from(other.node.listen_addrs().remove(0))).await?;
        tokio::time::timeout(PATIENCE, self.node.ready(self.ledger.topic(), 1)).await??;
        Ok(())
    }

    /// Pays, as if there were nothing but some entries and what is before them.
    async fn follow(&self, entries: &[Cid], to: &PeerId, amount: u64) -> Result<Cid> {
        let (topic, payload) = (self.ledger.topic(), transfer(to, amount));
        Ok(*self.node.publish_following(topic, payload, entries.to_vec()).await?.id.cid())
    }
}

/// What two nodes say that everybody owns.
struct Table<'a> {
    judges: [&'a Member; 2],
    owners: [PeerId; 3],
}

impl Table<'_> {
    fn head(&self) {
        println!("{:<44}{:>22}    {:>22}", "", "alice's node says", "bob's node says");
        self.row("", [["alice", "bob", "mallory"]; 2]);
    }

    /// What both say once some entries are in it.
    async fn line(&self, after: &str, entries: &[Cid]) -> Result<(), Fault> {
        for judge in self.judges {
            for entry in entries {
                tokio::time::timeout(PATIENCE, judge.coins.until(entry)).await??;
            }
        }
        let owned = |judge: &Member| judge.coins.read(|view| self.owners.map(|owner| view.state.of(&owner)));
        self.row(after, self.judges.map(owned));
        Ok(())
    }

    fn row(&self, after: &str, said: [[impl Display; 3]; 2]) {
        let said = said.map(|[alice, bob, mallory]| format!("{alice:>6}{bob:>6}{mallory:>10}"));
        println!("{after:<44}{}    {}", said[0], said[1]);
    }
}

fn transfer(to: &PeerId, amount: u64) -> Bytes {
    serde_json::to_vec(&Transfer { to: *to, amount }).unwrap_or_default().into()
}

/// Who the nodes are, before there is a configuration that names them.
fn ids(dirs: &[PathBuf; 3]) -> Result<[PeerId; 3]> {
    let [alice, bob, mallory] =
        dirs.each_ref().map(|dir| Ok(identity::load_or_create(dir)?.public().to_peer_id()));
    Ok([alice?, bob?, mallory?])
}

fn rule(genesis: &BTreeMap<PeerId, u64>) -> String {
    let owners: Vec<String> = genesis.iter().map(|(owner, coins)| format!("{owner} = {coins}")).collect();
    format!("[ledger.coins]\nkind = \"transfers\"\ngenesis = {{ {} }}", owners.join(", "))
}
