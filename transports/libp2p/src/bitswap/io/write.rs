//! The writer of a peer: one stream, kept open while there is something to say, opened again when it breaks.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use carrick_core::{PeerId, Served};
use futures::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::super::frame::{Outgoing, Part, Version};
use super::{Link, Shared, State, Wire};
use crate::streams::OpenError;

/// A stream on which nothing was said for so long is closed.
const IDLE: Duration = Duration::from_secs(60);
/// Streams opened in vain, one after the other, before the peer is left alone.
const ATTEMPTS: u32 = 3;
/// For how long, unless it opens a stream itself.
const REST: Duration = Duration::from_secs(60);

/// Why a stream ended.
enum End {
    /// There was nothing to say.
    Idle,
    /// It broke, or the far end takes nothing.
    Broken,
}

impl Shared {
    /// Says what there is to say, until there is nothing for a while.
    pub(super) async fn write(self: Arc<Self>, peer: PeerId, link: Link) {
        let gone = link.gone.clone();
        gone.run_until_cancelled(self.write_all(peer, &link)).await;
    }

    async fn write_all(self: &Arc<Self>, peer: PeerId, link: &Link) {
        let (mut failed, mut again) = (0, false);
        loop {
            match self.opener.open(peer).await {
                Ok((version, stream)) => {
                    self.with(|state, now| {
                        state.client.speaks(&peer, version >= Version::V1_2, now);
                        if again {
                            state.client.reopened(&peer, now);
                        }
                    });
                    let (end, spoke) = self.speak(peer, link, version, stream).await;
                    again = true;
                    if let End::Idle = end {
                        return;
                    }
                    failed = if spoke { 0 } else { failed + 1 };
                }
                Err(OpenError::Unsupported) => return self.mute(peer, None),
                Err(error) => {
                    tracing::debug!(%peer, %error, "no bitswap stream");
                    failed += 1;
                }
            }
            if failed >= ATTEMPTS {
                self.mute(peer, Some(REST));
                tokio::time::sleep(REST).await;
                return self.with(|state, now| state.client.rested(&peer, now));
            }
            tokio::time::sleep(self.host.backoff(failed)).await;
        }
    }

    /// Nothing can be said to the peer: what it wants of us and we of it is dropped.
    fn mute(self: &Arc<Self>, peer: PeerId, rest: Option<Duration>) {
        self.with(|state, now| {
            state.client.mute(&peer, rest.map(|rest| now + rest), now);
            state.server.reset(&peer);
            state.writers.remove(&peer);
        });
        self.host.count("bitswap_mute", 1);
    }

    /// Says what there is to say over one stream. Answers also whether anything was.
    async fn speak(
        self: &Arc<Self>,
        peer: PeerId,
        link: &Link,
        version: Version,
        mut stream: Box<dyn Wire>,
    ) -> (End, bool) {
        let mut spoke = false;
        loop {
            let out = self.with(|state, _| state.outgoing(&peer));
            if out.is_empty() {
                if timeout(IDLE, link.wake.notified()).await.is_ok() {
                    continue;
                }
                if self.is_quiet(&peer) {
                    // The far end may have gone; that it was told matters to nobody.
                    let _ = timeout(IDLE, stream.close()).await;
                    return (End::Idle, spoke);
                }
                continue;
            }
            let bytes = out.blocks.iter().map(|(_, block)| block.bytes().len()).sum();
            let sent = self.send(&mut stream, out, version).await;
            self.with(|state, _| state.server.sent(&peer, bytes, sent.is_ok()));
            link.room.notify_waiters();
            match sent {
                Ok(()) => spoke = true,
                Err(error) => {
                    if error.kind() == io::ErrorKind::TimedOut {
                        self.stalled(&peer);
                    }
                    return (End::Broken, spoke);
                }
            }
        }
    }

    /// Writes one message. The blocks go out from where they are.
    async fn send(
        &self,
        stream: &mut Box<dyn Wire>,
        out: Outgoing<Served>,
        version: Version,
    ) -> io::Result<()> {
        let idle = self.host.limits().fetch_idle;
        for part in out.encode(version) {
            write_part(stream, &part, idle).await?;
        }
        timeout(idle, stream.flush()).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// The far end takes nothing: it gets nothing more of what it wanted until now.
    fn stalled(self: &Arc<Self>, peer: &PeerId) {
        self.host.count("serve_stalled", 1);
        self.with(|state, _| state.server.reset(peer));
    }

    /// Ends the writer, unless there is something to say after all.
    fn is_quiet(self: &Arc<Self>, peer: &PeerId) -> bool {
        self.with(|state, _| {
            let quiet = !state.client.has_asks(peer) && !state.server.has_answers(peer);
            if quiet {
                state.writers.remove(peer);
            }
            quiet
        })
    }
}

async fn write_part(stream: &mut Box<dyn Wire>, part: &Part<Served>, idle: Duration) -> io::Result<()> {
    let mut rest = part.as_ref();
    while !rest.is_empty() {
        match timeout(idle, stream.write(rest)).await {
            Ok(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => rest = &rest[written?..],
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
    Ok(())
}

impl State {
    /// The next message for a peer.
    fn outgoing(&mut self, peer: &PeerId) -> Outgoing<Served> {
        let (full, asks) = self.client.take(peer);
        // A whole list may be large, and so may a block: both are not one message.
        let (blocks, presences, pending_bytes) =
            if full { Default::default() } else { self.server.take(peer) };
        Outgoing { full, asks, blocks, presences, pending_bytes }
    }
}
