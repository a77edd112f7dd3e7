//! Something that runs beside the node and uses it: a ledger, an API server.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::{Node, Result};

/// Runs for as long as the node does. One plugin object may be validator and service.
#[async_trait]
pub trait Service: Debug + Send + Sync + 'static {
    /// Called once everything else is open. Long work belongs into a task of its own.
    ///
    /// # Errors
    /// An `Err` stops the node from opening.
    async fn start(&self, node: Node) -> Result<()>;

    /// Called before anything else closes. Must drop the node's handle.
    ///
    /// # Errors
    /// Logged; the node closes all the same.
    async fn stop(&self) -> Result<()>;
}
