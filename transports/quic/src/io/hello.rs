//! The first stream: both ends say who they are, and each takes the other or says why not.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use carrick_core::links::frames::Fault;
use carrick_core::links::{Action, Arrival};
use carrick_core::{PeerId, PeerRecord, Remote, Topic};
use quinn::{Connection, SendStream};
use tokio::time::timeout;

use super::frames::{self, Reader, Recv};
use super::link::{Link, Taken};
use super::{Shared, code};
use crate::error::{DialFault, of_connection};
use crate::tls;
use crate::wire::{Broken, Hello, Kind, Reason, Refused, VERSION};

/// How long a refused peer has to read why.
const PARTING: Duration = Duration::from_secs(1);
/// Control and messages go before the blocks of any priority.
pub(super) const BEFORE_BLOCKS: i32 = 1_000;

/// A link that was taken, and the topics we took part in at that moment.
struct Accepted {
    taken: Taken,
    topics: BTreeSet<Topic>,
}

impl Shared {
    /// The dialling side. The link stands when this returns: the far end said so.
    pub(super) async fn greet(self: &Arc<Self>, connection: Connection) -> Result<Arc<Link>, DialFault> {
        let peer = tls::peer_of(&connection).ok_or(Fault::Cut)?;
        let (mut send, recv) = connection.open_bi().await.map_err(DialFault::lost)?;
        let ours = self.table().state.topics().clone();
        let mut reader = Reader::new(Recv(recv), &self.host);
        // A far end that refuses may have closed already: what it said comes first.
        let said = frames::write(&mut send, &mut [self.hello(&ours).encode()], None).await;
        let theirs = match self.read_answer(&mut reader).await {
            Ok(hello) => hello,
            Err(fault) => {
                connection.close(code(Reason::Goodbye), b"");
                return Err(fault);
            }
        };
        said?;
        let taken = self
            .judge(&peer, &theirs)
            .and_then(|()| self.take(&connection, peer, theirs, Some(ours)))
            .inspect_err(|reason| connection.close(code(*reason), reason.text().as_bytes()));
        match taken {
            Ok(Accepted { taken, .. }) => {
                self.start(taken, send, reader, None);
                // Not always the new one: see `take`.
                self.link(&peer).ok_or(DialFault::Handshake(Fault::Cut))
            }
            Err(Reason::Busy) => Err(DialFault::Full),
            Err(reason) => Err(DialFault::Refused(reason, reason.text().into())),
        }
    }

    /// What the far end answers to our hello.
    async fn read_answer(&self, reader: &mut Reader) -> Result<Hello, DialFault> {
        let head = reader.expect(&[Kind::Hello, Kind::Refused]).await?;
        let body = reader.body(head.length).await?;
        if head.kind == Kind::Hello {
            return Hello::decode(&body, self.host.limits()).map_err(|broken| Fault::from(broken).into());
        }
        let refused = Refused::decode(&body).map_err(Fault::from)?;
        Err(DialFault::Refused(Reason::from_code(refused.code), refused.text))
    }

    /// The accepting side: waits for the hello and answers it.
    pub(super) async fn welcome(self: &Arc<Self>, connection: Connection) -> Result<(), Fault> {
        let peer = tls::peer_of(&connection).ok_or(Fault::Cut)?;
        let (send, recv) = connection.accept_bi().await.map_err(of_connection)?;
        let mut reader = Reader::new(Recv(recv), &self.host);
        let head = reader.expect(&[Kind::Hello]).await;
        let taken = match self.read_hello(&mut reader, head).await {
            Ok(hello) => self.judge(&peer, &hello).and_then(|()| self.take(&connection, peer, hello, None)),
            Err(Fault::Broken(Broken::Version(_))) => Err(Reason::Version),
            Err(Fault::Broken(_)) => Err(Reason::Malformed),
            Err(fault) => return Err(fault),
        };
        match taken {
            Ok(Accepted { taken, topics }) => {
                // Written by the link's own task: from here on nothing waits, so that a deadline that passes
                // now cannot leave a link behind that nobody looks after.
                self.start(taken, send, reader, Some(self.hello(&topics).encode()));
            }
            Err(reason) => self.refuse(&connection, send, reason).await,
        }
        Ok(())
    }

    async fn read_hello(
        &self,
        reader: &mut Reader,
        head: Result<crate::wire::Head, Fault>,
    ) -> Result<Hello, Fault> {
        let body = reader.body(head?.length).await?;
        Ok(Hello::decode(&body, self.host.limits())?)
    }

    fn hello(&self, topics: &BTreeSet<Topic>) -> Hello {
        Hello {
            v: VERSION,
            record: self.host.record().encoded().to_vec(),
            topics: topics.iter().cloned().collect(),
            network: self.host.network().clone(),
            session: self.session,
        }
    }

    /// Whether a hello is one that we talk to.
    fn judge(&self, peer: &PeerId, hello: &Hello) -> Result<(), Reason> {
        if hello.network != *self.host.network() {
            return Err(Reason::Network);
        }
        // Asked again: membership may have changed since TLS asked.
        if !self.host.admits(peer) {
            return Err(Reason::NotAdmitted);
        }
        let record =
            PeerRecord::decode(hello.record.clone(), self.host.network()).map_err(|_| Reason::Malformed)?;
        if record.peer() != peer {
            return Err(Reason::Malformed);
        }
        self.host.learn(&Remote::Peer(*peer), record);
        Ok(())
    }

    /// Takes the link, if the state machine does.
    ///
    /// When we dialled and another link to the peer stays instead, the far end may be using the new one for a
    /// moment: it learns of the other by a hello that is still on its way. So the new one is taken and
    /// retired at once, which reads what comes and ends by itself.
    fn take(
        &self,
        connection: &Connection,
        peer: PeerId,
        hello: Hello,
        ours: Option<BTreeSet<Topic>>,
    ) -> Result<Accepted, Reason> {
        let dialled = ours.is_some();
        let mut table = self.table();
        // One that is gone already, but not cleared up yet, has no say in which of two stays.
        table.end_dead(&self.host, &peer);
        let id = table.next_link();
        let taken = Link::taken(self, id, peer, connection.clone(), dialled);
        let arrival = Arrival {
            link: taken.link.clone(),
            peer,
            dialled,
            session: hello.session,
            addrs: vec![taken.link.addr()],
            theirs: hello.topics.into_iter().collect(),
            ours,
        };
        let actions = match table.state.up(arrival) {
            Err(Reason::Duplicate) if dialled => vec![Action::Retire(taken.link.clone())],
            decided => decided?,
        };
        table.insert(taken.link.clone());
        table.run(&self.host, actions);
        Ok(Accepted { taken, topics: table.state.topics().clone() })
    }

    /// Says why not, and waits until it was read.
    async fn refuse(&self, connection: &Connection, mut send: SendStream, reason: Reason) {
        self.host.count("refused", 1);
        tracing::debug!(peer = ?tls::peer_of(connection), why = reason.text(), "refused");
        let frame = Refused::new(reason).encode();
        if frames::write(&mut send, &mut [frame], Some(PARTING)).await.is_ok() && send.finish().is_ok() {
            // The far end closes when it has read it; the close below says the same.
            let _ = timeout(PARTING, connection.closed()).await;
        }
        connection.close(code(reason), reason.text().as_bytes());
    }
}
