//! Something that runs beside the node and uses it: a ledger, an API server.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use super::Validator;
use crate::{Node, Result, Topic, TopicRules};

/// Runs for as long as the node does, and may judge messages too. [`Node::service`] finds it again.
#[async_trait]
pub trait Service: Any + Debug + Send + Sync {
    /// What judges messages and blocks for it, asked after the validators of the configuration; `None` where nothing does.
    fn validator(self: Arc<Self>) -> Option<Arc<dyn Validator>> {
        None
    }

    /// The topics that it owns, and their rules, which stand above those of the configuration. Default none.
    fn topics(&self) -> Vec<(Topic, TopicRules)> {
        vec![]
    }

    /// Called once everything else is open. Long work belongs into a task of its own. What outlives the call keeps
    /// [`Node::downgrade`]: the node holds the service, and would hold itself.
    ///
    /// # Errors
    /// An `Err` stops the node from opening.
    async fn start(&self, node: Node) -> Result<()>;

    /// Called before anything else closes. Must drop the node's handles that are left.
    ///
    /// # Errors
    /// Logged; the node closes all the same.
    async fn stop(&self) -> Result<()>;
}
