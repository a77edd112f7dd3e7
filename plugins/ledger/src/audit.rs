//! Checking one entry.

use carrick_core::{Cid, Error, ErrorKind, Message, Node, Result, dag};

use crate::Entry;
use crate::index::Record;
use crate::inner::Inner;
use crate::place::Place;

/// An entry that is sound.
pub(crate) struct Sound {
    pub(crate) record: Record,
    /// Whether a block of it was fetched again.
    pub(crate) mended: bool,
}

/// What a fault in the ledger's own notes is; nobody else has them.
pub(crate) fn damage(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Integrity, "verify", detail.into()).mend(
        "the disk lost or changed something: stop the node, move its store aside and start it again; the log comes back from \
         other nodes",
    )
}

impl Inner {
    /// Checks the entry at a place of the order.
    pub(crate) async fn audit(&self, place: Place, mend: bool) -> Result<Sound> {
        let cid = place.cid();
        let (message, mended) = self.stored(&place, mend).await?;
        if *message.topic() != self.topic {
            return Err(damage(format!("the entry {cid} is of the topic {}", message.topic())));
        }
        let Some(entry) = Entry::new(place.clock(), message) else {
            return Err(damage(format!("nobody signed the entry {cid}")));
        };
        let record = match self.record(&cid, entry.parents()).await? {
            Ok(record) => record,
            Err(missing) => {
                let missing = missing.first().map(Cid::to_string).unwrap_or_default();
                return Err(damage(format!("the entry {cid} follows {missing}, which is no entry")));
            }
        };
        if record.place != place {
            let (stands, wanted) = (place.clock(), record.place.clock());
            return Err(damage(format!(
                "the entry {cid} stands at clock {stands}, and its parents put it at {wanted}"
            )));
        }
        let node = self.node()?;
        if self.shelf.record(&**node.store(), place.digest()).await?.as_ref() != Some(&record) {
            return Err(damage(format!("the record of the entry {cid} is missing or tells something else")));
        }
        for parent in &record.parents {
            if self.ask(|index| index.rank(parent)).await?.is_none() {
                let parent = parent.cid();
                return Err(damage(format!("the entry {cid} follows {parent}, which stands nowhere")));
            }
        }
        Ok(Sound { record, mended })
    }

    /// The message of an entry, as it is in the store; whether it was fetched again.
    async fn stored(&self, place: &Place, mend: bool) -> Result<(Message, bool)> {
        let (node, id, cid) = (self.node()?, place.id(), place.cid());
        let fault = match node.message(&id).await {
            Ok(Some(message)) => return Ok((message, false)),
            Ok(None) if node.store().has(&cid).await? => {
                self.lost(format!("the payload of the entry {cid} is not in the store"))
            }
            Ok(None) => self.lost(format!("the entry {cid} is not in the store")),
            Err(error) if error.kind() == ErrorKind::Integrity => {
                self.lost(format!("the entry {cid} is damaged")).from_source(error)
            }
            Err(error) => return Err(error),
        };
        if !mend {
            return Err(fault);
        }
        if let Err(error) = fetch_again(&node, &cid).await {
            return Err(fault.mend("connect to a node that has it, and try again").from_source(error));
        }
        match node.message(&id).await {
            Ok(Some(message)) => Ok((message, true)),
            Ok(None) => Err(fault),
            // The bytes are those that it is named by, and were no entry ever.
            Err(error) => Err(damage(format!("the entry {cid} is none")).from_source(error)),
        }
    }

    fn lost(&self, detail: String) -> Error {
        let hint =
            format!("fetch it again, from a node that has it: carrick ledger verify {} --mend", self.name);
        Error::new(ErrorKind::Integrity, "verify", detail).mend(hint)
    }
}

/// Fetches what is missing or damaged of a message: its block, and its payload where that is apart.
async fn fetch_again(node: &Node, cid: &Cid) -> Result<()> {
    let block = node.block(cid, vec![]).await?;
    let parents = dag::parents(&block);
    for link in dag::links(&block)? {
        if !parents.contains(&link) {
            node.block(&link, vec![]).await?;
        }
    }
    Ok(())
}
