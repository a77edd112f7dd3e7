//! What a transport remembers across restarts: its own corner of the store's metadata.

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;

use super::host::Host;
use crate::{Error, ErrorKind, Result};

/// Most entries of one [`Host::save`].
const MAX_ENTRIES: usize = 256;
/// Longest key, in bytes.
const MAX_KEY: usize = 256;
/// Longest value, in bytes.
const MAX_VALUE: usize = 4 * 1024;

impl Host {
    /// Writes what this instance must know after a restart: `None` deletes. All entries, or after a crash none, are there when
    /// this returns.
    ///
    /// Keys are the instance's own: no other sees them, and an instance that is given another name begins with none. At most
    /// 256 entries at once, each with a key of at most 256 bytes and a value of at most 4 KiB. How many entries there are in
    /// all, the transport bounds.
    ///
    /// # Errors
    /// `TooLarge` above these bounds, and then nothing is written; otherwise as [`Store::set_meta`](crate::Store::set_meta).
    ///
    /// # Cancel safety
    /// Dropping the future leaves it open whether they were written; all of them or none.
    pub async fn save(&self, entries: &[(String, Option<Bytes>)]) -> Result<()> {
        check(entries).map_err(|error| error.on(self.instance().to_owned()))?;
        let named = |(key, value): &(String, Option<Bytes>)| (self.entry(key), value.clone());
        let entries: Vec<_> = entries.iter().map(named).collect();
        self.core.store.set_meta(&entries).await
    }

    /// What [`save`](Self::save) wrote under keys that begin with `prefix`, in the order of the keys.
    ///
    /// What is saved meanwhile may be among them or not. Ends with the first error of the store.
    pub fn recall(&self, prefix: &str) -> BoxStream<'_, Result<(String, Bytes)>> {
        let own = self.entry("").len();
        let entries = self.core.store.list_meta(&self.entry(prefix));
        entries.map(move |entry| entry.map(|(key, value)| (key[own..].to_owned(), value))).boxed()
    }

    /// The key in the store. A slash in an instance's name is written otherwise: no instance is in the corner of another.
    fn entry(&self, key: &str) -> String {
        format!("transport/{}/{key}", self.instance().replace('/', "%2F"))
    }
}

fn check(entries: &[(String, Option<Bytes>)]) -> Result<()> {
    let too_large = |detail: String| Err(Error::new(ErrorKind::TooLarge, "save", detail));
    if entries.len() > MAX_ENTRIES {
        return too_large(format!("{} entries at once; at most {MAX_ENTRIES} are allowed", entries.len()));
    }
    for (key, value) in entries {
        let length = value.as_ref().map_or(0, Bytes::len);
        if key.len() > MAX_KEY {
            return too_large(format!("a key of {} bytes; at most {MAX_KEY} are allowed", key.len()));
        }
        if length > MAX_VALUE {
            return too_large(format!("{key:?} has {length} bytes; at most {MAX_VALUE} are allowed"));
        }
    }
    Ok(())
}
