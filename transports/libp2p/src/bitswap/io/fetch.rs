//! One block for a caller, and who has one.

use std::sync::Arc;
use std::time::Duration;

use carrick_core::{Cid, Error, ErrorKind, Fetched, PeerId, Remote, Result, Want};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::super::client::{ProbeId, RequestId, SessionId};
use super::{Outcome, Shared, Sink};

/// Longer than anybody waits, and short enough to count with.
const A_DAY: Duration = Duration::from_secs(86_400);

/// A request on the wire: it is cancelled when this is dropped.
struct Asked {
    shared: Arc<Shared>,
    session: SessionId,
    request: RequestId,
}

impl Drop for Asked {
    fn drop(&mut self) {
        let (session, request) = (self.session, self.request);
        self.shared.with(|state, now| {
            state.sinks.remove(&request);
            state.client.drop_request(request, now);
            state.client.end(session);
        });
    }
}

/// A question on the wire.
struct Probing {
    shared: Arc<Shared>,
    probe: ProbeId,
}

impl Drop for Probing {
    fn drop(&mut self) {
        let probe = self.probe;
        self.shared.with(|state, _| {
            state.probes.remove(&probe);
            state.client.drop_probe(probe);
        });
    }
}

impl Shared {
    pub(in super::super) async fn block(self: &Arc<Self>, want: &Want) -> Result<Fetched> {
        self.open("block")?;
        let (sender, outcome) = oneshot::channel();
        let avoid = peers(&want.avoid);
        let asked = self.with(|state, now| {
            let session = state.client.begin(&want.hints, &avoid, want.priority);
            let Some(request) = state.client.request(session, want.cid, now) else {
                state.client.end(session);
                return None;
            };
            state.sinks.insert(request, Sink::One(sender));
            Some(Asked { shared: Arc::clone(self), session, request })
        });
        let _asked = asked.ok_or_else(|| self.busy("block"))?;
        match timeout(want.timeout.min(A_DAY), outcome).await {
            Ok(Ok(Outcome::Here(claim, _))) if claim.size() > want.limit_bytes => {
                let detail = format!("{} is above the limit of {} bytes", want.cid, want.limit_bytes);
                Err(self.host.fail(ErrorKind::TooLarge, "block", detail))
            }
            Ok(Ok(Outcome::Here(claim, from))) => Ok(Fetched { claim, from: Some(Remote::Peer(from)) }),
            Ok(Ok(Outcome::Failed(tally))) => Err(tally.error(&self.host, "block", &want.cid.to_string())),
            Ok(Ok(Outcome::Again) | Err(_)) => Err(self.closing("block")),
            Err(_) => {
                let detail = format!("{} did not come within {} s", want.cid, want.timeout.as_secs_f64());
                Err(self.host.fail(ErrorKind::Timeout, "block", detail))
            }
        }
    }

    pub(in super::super) async fn having(self: &Arc<Self>, cid: Cid, limit: usize) -> Vec<PeerId> {
        if limit == 0 || self.open("providers").is_err() {
            return vec![];
        }
        let (sender, having) = oneshot::channel();
        let probing = self.with(|state, now| {
            let probe = state.client.probe(cid, limit, now)?;
            state.probes.insert(probe, sender);
            Some(Probing { shared: Arc::clone(self), probe })
        });
        let Some(_probing) = probing else {
            self.host.count("bitswap_questions_dropped", 1);
            return vec![];
        };
        having.await.unwrap_or_default()
    }

    pub(super) fn open(&self, operation: &'static str) -> Result<()> {
        if self.closed.is_cancelled() { Err(self.closing(operation)) } else { Ok(()) }
    }

    pub(super) fn closing(&self, operation: &'static str) -> Error {
        self.host.fail(ErrorKind::Closed, operation, "the transport is closed")
    }

    pub(super) fn busy(&self, operation: &'static str) -> Error {
        self.host.fail(ErrorKind::Busy, operation, "as many blocks are wanted as may be")
    }
}

/// Those of them that have a peer id: others are not asked anyway.
pub(super) fn peers(remotes: &[Remote]) -> Vec<PeerId> {
    remotes.iter().filter_map(Remote::peer).copied().collect()
}
