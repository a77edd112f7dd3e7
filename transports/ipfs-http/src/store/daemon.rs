//! The daemon that holds the blocks: always the same one.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use carrick_core::{Error, ErrorKind, Result};

use super::index::Index;
use crate::access::Access;
use crate::probe;
use crate::rpc::Rpc;

/// The daemon that holds the blocks.
pub(super) struct Daemon {
    pub(super) rpc: Rpc,
    id: String,
    /// The folder of the index, which belongs to this daemon.
    folder: PathBuf,
    /// Connections opened; another daemon can only be behind a new one.
    opened: Arc<AtomicU64>,
    /// How many there were when it was last asked who it is.
    known: AtomicU64,
}

impl Daemon {
    /// Finds the daemon to which the index belongs.
    ///
    /// # Errors
    /// `Config` when another one answers, `Unauthorized` and `Unsupported` when it cannot hold blocks; and whatever a daemon answers that does not.
    pub(super) async fn open(access: &Access, index: &Index) -> Result<Self> {
        access.check()?;
        let opened = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&opened);
        let rpc = Rpc::new(access, move || {
            counted.fetch_add(1, Ordering::Relaxed);
        })?;
        let found = async {
            let (found, _) = probe::find(&rpc).await?;
            probe::holds(&rpc).await.map(|()| found)
        };
        let found = found.await.map_err(|fault| fault.into_error("open"))?;
        let folder = index.inner.folder().to_owned();
        let daemon = Self { rpc, id: found.id, folder, opened, known: AtomicU64::new(0) };
        match index.daemon().await? {
            Some(before) if before == daemon.id => {}
            Some(before) if index.usage().await?.blocks > 0 => {
                return Err(daemon.other("open", &String::from_utf8_lossy(&before), &daemon.id));
            }
            _ => index.set_daemon(&daemon.id).await?,
        }
        Ok(daemon)
    }

    /// Looks whether it is still the same daemon that answers.
    pub(super) async fn is_the_same(&self, operation: &'static str) -> Result<()> {
        let opened = self.opened.load(Ordering::Relaxed);
        if opened == self.known.load(Ordering::Relaxed) {
            return Ok(());
        }
        let found = probe::who(&self.rpc).await.map_err(|fault| fault.into_error(operation))?;
        if found.id != self.id {
            return Err(self.other(operation, &self.id, &found.id));
        }
        self.known.store(opened, Ordering::Relaxed);
        Ok(())
    }

    fn other(&self, operation: &'static str, ours: &str, found: &str) -> Error {
        let at = self.rpc.endpoint();
        let detail = format!("the blocks lie in the daemon {ours}, and at {at} is {found}");
        Error::new(ErrorKind::Config, operation, detail).mend(format!(
            "start that daemon there, or correct `api` under the store; to begin with an empty store, move {} away",
            self.folder.display()
        ))
    }
}

impl fmt::Debug for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.id, self.rpc.endpoint())
    }
}
