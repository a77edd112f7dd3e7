//! The ledger's life within the node's.

use std::sync::Arc;

use carrick_core::{Node, Result, Service, Topic, TopicRules, Validator, WeakNode, async_trait};

use crate::Ledger;
use crate::inner::lock;
use crate::sync;

#[async_trait]
impl Service for Ledger {
    fn validator(self: Arc<Self>) -> Option<Arc<dyn Validator>> {
        Some(Arc::clone(&self.0) as _)
    }

    fn topics(&self) -> Vec<(Topic, TopicRules)> {
        vec![(self.topic().clone(), TopicRules::kept())]
    }

    async fn start(&self, node: Node) -> Result<()> {
        let inner = &self.0;
        inner.numbers.fit(node.limits());
        inner.load(&**node.store()).await?;
        *lock(&inner.node) = node.downgrade();
        let entries = node.subscribe(&inner.topic).await?;
        let heads = node.subscribe(&inner.sync.topic).await?;
        sync::begin(inner, &node, entries, heads);
        Ok(())
    }

    async fn stop(&self) -> Result<()> {
        self.0.sync.end().await;
        let saved = match self.0.node() {
            Ok(node) => self.0.save(&**node.store(), None).await.map(drop),
            Err(_) => Ok(()),
        };
        *lock(&self.0.node) = WeakNode::default();
        self.0.unload();
        saved
    }
}
