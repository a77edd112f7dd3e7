//! What a transport is asked to do, checked as the contract says.

use cid::Cid;
use multiaddr::Multiaddr;

use super::host::Host;
use crate::links::Refusal;
use crate::{Error, ErrorKind, Outgoing, PeerAddr, Remote, Result};

impl Host {
    /// An error that names this instance.
    pub fn fail(&self, kind: ErrorKind, operation: &'static str, detail: impl Into<String>) -> Error {
        Error::new(kind, operation, detail).on(self.instance().to_owned())
    }

    /// Whether a message is small enough to go out, on a wire that carries every envelope.
    ///
    /// # Errors
    /// `TooLarge` above [`Limits::envelope_bytes`](crate::Limits::envelope_bytes).
    pub fn check_message(&self, message: &Outgoing) -> Result<()> {
        let (size, limit) = (message.bytes.len(), self.limits().envelope_bytes());
        if size <= limit {
            return Ok(());
        }
        let detail = format!("a message of {size} bytes; at most {limit} are allowed");
        Err(self.fail(ErrorKind::TooLarge, "publish", detail))
    }

    /// Whether the node has blocks itself: what [`Fetch::provide`](crate::Fetch::provide) answers where the host serves.
    ///
    /// # Errors
    /// `NotFound` when it has one of them not, and what the store answers.
    pub async fn check_provided(&self, cids: &[Cid]) -> Result<()> {
        for cid in cids {
            if !self.has(&Remote::Peer(self.me()), cid).await? {
                let detail = format!("the node has no {cid} to provide");
                return Err(self.fail(ErrorKind::NotFound, "provide", detail));
            }
        }
        Ok(())
    }

    /// Where to dial a peer: its addresses, else those that the node learnt, as `ours` reads them; never none. `example` shows
    /// what an address of this transport looks like.
    ///
    /// # Errors
    /// `Config` for the node itself and where there is no address of this transport, `Unauthorized` for who is not
    /// admitted.
    pub fn dialled<A>(
        &self,
        peer: &PeerAddr,
        ours: impl Fn(&Multiaddr) -> Option<A>,
        example: &str,
    ) -> Result<Vec<A>> {
        let refuse = |why: Refusal| Err(why.into_error(&peer.to_string()).on(self.instance().to_owned()));
        let mut learnt = vec![];
        match &peer.peer {
            Some(id) if *id == self.me() => return refuse(Refusal::Oneself),
            Some(id) if !self.admits(id) => return refuse(Refusal::NotAdmitted(*id)),
            Some(id) if peer.addrs.is_empty() => learnt = self.addresses(id),
            _ => {}
        }
        let addrs: Vec<_> = peer.addrs.iter().chain(&learnt).filter_map(ours).collect();
        if !addrs.is_empty() {
            return Ok(addrs);
        }
        let (detail, mend) = if peer.addrs.is_empty() {
            (format!("no address of {peer} is known"), "dial it with its address")
        } else {
            (format!("{peer} is no address of this transport"), "write it as")
        };
        Err(self.fail(ErrorKind::Config, "dial", detail).mend(format!("{mend}: {example}")))
    }
}
