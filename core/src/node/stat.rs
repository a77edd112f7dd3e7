//! What a CID is, and what the node has of it.

use cid::Cid;
use futures::TryStreamExt as _;

use super::Node;
use crate::{Error, ErrorKind, Pin, Result, Store, dag};

/// What the node has of a DAG.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stat {
    /// What its root is.
    pub entry: dag::Entry,
    /// Blocks of it that are in the store, the root among them.
    pub blocks: u64,
    /// Blocks to which those link and which are not in the store; what is under them is not known.
    pub missing: u64,
    /// The pins on its root. Others, on something above it, may hold it too.
    pub pins: Vec<Pin>,
}

impl Node {
    /// Tells what a CID is, from the store alone: nothing is fetched.
    ///
    /// Reads every block under it that has links and takes 100 bytes of memory for each of all, and goes through all pins.
    ///
    /// # Errors
    /// `NotFound` when its block is not in the store; as [`dag::stat`]; what the store answers, `Closed`.
    pub async fn stat(&self, cid: &Cid) -> Result<Stat> {
        let router = self.open("stat")?;
        let store: &dyn Store = &**self.store();
        if !store.has(cid).await? {
            let detail = format!("{cid} is not in the store");
            return Err(Error::new(ErrorKind::NotFound, "stat", detail).mend("`carrick get` fetches it"));
        }
        let entry = dag::stat(store, cid).await?;
        let (there, missing) = router.stored_under(cid).await?;
        let pins = self.pins(None).try_filter(|pin| futures::future::ready(pin.cid == *cid));
        Ok(Stat { entry, blocks: there.len() as u64, missing, pins: pins.try_collect().await? })
    }
}
