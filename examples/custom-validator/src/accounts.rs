//! What everybody owns: the state that the entries of the ledger make.

use std::collections::BTreeMap;

use carrick::ledger::{Entry, Fold};
use carrick::{Cause, Cid, PeerId};
use serde::{Deserialize, Serialize};

/// What an entry says: its author gives so many coins to somebody.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// Who gets them.
    pub to: PeerId,
    /// How many; at least one.
    pub amount: u64,
}

impl Transfer {
    /// Reads the payload of an entry.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(payload: &[u8]) -> Result<Self, Cause> {
        let transfer: Self =
            serde_json::from_slice(payload).map_err(|error| format!("no transfer: {error}"))?;
        match transfer.amount {
            0 => Err("a transfer of nothing".into()),
            _ => Ok(transfer),
        }
    }
}

/// What everybody owns after some entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounts {
    balances: BTreeMap<PeerId, u64>,
    /// Entries that moved nothing, and why.
    void: BTreeMap<String, String>,
}

impl Accounts {
    /// How many coins somebody owns.
    pub fn of(&self, owner: &PeerId) -> u64 {
        self.balances.get(owner).copied().unwrap_or_default()
    }

    /// Why an entry moved nothing; `None` where it did.
    pub fn void(&self, entry: &Cid) -> Option<&str> {
        self.void.get(&entry.to_string()).map(String::as_str)
    }

    /// How many entries moved nothing.
    pub fn voids(&self) -> usize {
        self.void.len()
    }

    /// What an entry would move.
    ///
    /// # Errors
    /// Why it may not.
    pub fn check(&self, entry: &Entry) -> Result<Transfer, Cause> {
        let (transfer, owned) = (Transfer::read(entry.payload())?, self.of(entry.author()));
        match owned.checked_sub(transfer.amount) {
            Some(_) => Ok(transfer),
            None => Err(format!("its author spends {} and owns {owned}", transfer.amount).into()),
        }
    }
}

/// Folds transfers to accounts.
#[derive(Clone, Debug)]
pub struct Balances {
    genesis: BTreeMap<PeerId, u64>,
}

impl Balances {
    /// From what everybody owns before the first entry, which in all must fit 64 bits: it never grows.
    pub fn new(genesis: BTreeMap<PeerId, u64>) -> Self {
        Self { genesis }
    }
}

impl Fold for Balances {
    type State = Accounts;

    fn start(&self) -> Accounts {
        Accounts { balances: self.genesis.clone(), void: BTreeMap::new() }
    }

    /// An entry that the rule let through may still find too little here: its author spent the same coins twice at once,
    /// and each of the two entries knew nothing of the other. The first in the order counts, on every node.
    fn apply(&self, accounts: &mut Accounts, entry: &Entry) {
        match accounts.check(entry) {
            Ok(Transfer { to, amount }) => {
                *accounts.balances.entry(*entry.author()).or_default() -= amount;
                *accounts.balances.entry(to).or_default() += amount;
            }
            Err(why) => {
                accounts.void.insert(entry.cid().to_string(), why.into_owned());
            }
        }
    }
}
