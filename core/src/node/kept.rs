//! Messages that were kept, read back from the store.

use super::core::Core;
use crate::{Error, ErrorKind, Message, MessageId, Result};

impl Core {
    /// One of them; `None` where it, or its linked payload, is not there.
    pub(super) async fn kept(&self, id: &MessageId) -> Result<Option<Message>> {
        let Some(block) = self.store.get(id.cid()).await? else { return Ok(None) };
        let message = Message::read_back(*id, block.into_bytes(), &self.network, self.limits.payload_bytes)
            .map_err(|why| {
            Error::new(ErrorKind::Integrity, "message", format!("{id} is no message here: {why}"))
        })?;
        let Some(link) = message.link() else { return Ok(Some(message)) };
        let payload = self.store.get(link).await?;
        Ok(payload.map(|payload| message.clone().with_linked(payload)))
    }
}
