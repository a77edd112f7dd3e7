//! A ledger of coins: its configuration, and its rule.

use std::collections::BTreeMap;
use std::sync::Arc;

use carrick::ledger::{Entry, Ledger, Past, PastFold, Rule};
use carrick::{Error, ErrorKind, PeerId, Result, Site, Verdict, async_trait};
use serde::Deserialize;

use crate::Balances;

/// The table `[ledger.NAME]` with `kind = "transfers"`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TransfersConfig {
    /// What everybody owns before the first entry. The same on all nodes: it decides what is accepted. Default nothing.
    pub genesis: BTreeMap<PeerId, u64>,
}

/// Opens the ledger, with its rule; called once for each table of this kind.
///
/// # Errors
/// `Config` when there are more coins than can be counted.
pub(crate) async fn open(config: TransfersConfig, site: Site) -> Result<Ledger> {
    let coins = config.genesis.values().try_fold(0_u64, |sum, coins| sum.checked_add(*coins));
    if coins.is_none() {
        let error = Error::new(ErrorKind::Config, "configuration", "genesis: more than 2^64 coins in all");
        // The node adds which file and table this is about.
        return Err(error.mend("give less to each"));
    }
    Ledger::new(&site.instance, vec![Arc::new(OnlyWhatYouOwn::new(config.genesis))])
}

/// Nobody spends more than its author knew to have.
#[derive(Debug)]
pub struct OnlyWhatYouOwn {
    before: PastFold<Balances>,
}

impl OnlyWhatYouOwn {
    /// From what everybody owns before the first entry.
    pub fn new(genesis: BTreeMap<PeerId, u64>) -> Self {
        Self { before: PastFold::new(Balances::new(genesis)) }
    }
}

#[async_trait]
impl Rule for OnlyWhatYouOwn {
    /// Judges by what the entry's own ancestors leave: every node has these, so every node says the same. By what this
    /// node happens to know it would refuse an entry that others took.
    async fn entry(&self, past: &Past<'_>, entry: &Entry) -> Verdict {
        let accounts = match past.fold(&self.before).await {
            Ok(accounts) => accounts,
            // Our disk is nobody's fault, and the entry comes again.
            Err(error) => return Verdict::Ignore(error.to_string().into()),
        };
        match accounts.check(entry) {
            Ok(_) => Verdict::Accept,
            Err(why) => Verdict::Reject(why),
        }
    }
}
