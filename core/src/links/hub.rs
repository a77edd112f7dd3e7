//! All links of one transport, and what happens to them.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Action, Arrival, Arrived, Link, Miss, Packed, Reason, Table};
use crate::{
    Broadcast, ErrorKind, Host, Inbound, Lane, MessageId, Misdeed, Outgoing, PeerInfo, PeerRecord, Receipt,
    Relay, Remote, Result, Served, Slot, Topic,
};

/// How long a link that another one replaced is still read.
const RETIREMENT: Duration = Duration::from_secs(2);
/// Records of others that are told to a new neighbour.
const RECORDS: usize = 32;

/// How a wire says what the [`Hub`] has to say. Nothing here waits.
pub trait Wire: Send + Sync + Sized + 'static {
    /// The frame that says that we joined a topic, or left it.
    fn topic(topic: &Topic, joined: bool) -> Bytes;

    /// The frame that says where a peer listens.
    fn record(record: &PeerRecord) -> Bytes;

    /// What goes before an envelope of so many bytes.
    fn head(topic: &Topic, bytes: usize) -> Bytes;
}

/// A link that is about to stand: its far end is proven and said hello.
#[derive(Clone, Debug)]
pub struct Greeted {
    /// Who is at the other end.
    pub peer: PeerId,
    /// Where it is.
    pub addr: Multiaddr,
    /// The number that names the running instance of the far end: another one means that it was started again.
    pub session: u64,
    /// The topics that its hello named.
    pub theirs: BTreeSet<Topic>,
    /// The topics that our own hello named, where we dialled.
    pub ours: Option<BTreeSet<Topic>>,
}

/// Room for one message: in the gate, and among those of its link that wait for a verdict. Dropping it gives it back.
#[derive(Debug)]
pub struct Room {
    waits: Option<OwnedSemaphorePermit>,
    slot: Slot,
}

/// The links of one transport: [`Table`] under a lock, told to the node and to the far ends.
///
/// Tasks hold it and never the transport itself: when that goes and [shuts it down](Self::shut_down), they end. It is the
/// [`Broadcast`] of the transport.
pub struct Hub<W> {
    host: Host,
    session: u64,
    table: Mutex<Table<Link<W>>>,
    /// A link came or went.
    changed: Notify,
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl<W: Wire> Hub<W> {
    /// Without links.
    pub fn new(host: Host) -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::new(Table::new(host.me(), host.limits())),
            // Not from the host: a seeded run, started again, must not look like the same one.
            session: rand::random(),
            changed: Notify::new(),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
            host,
        })
    }

    /// The node's side.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Names this running instance in every hello.
    pub fn session(&self) -> u64 {
        self.session
    }

    /// Cancelled when the transport closes.
    pub fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// The table. Nobody waits for anything while holding it.
    pub(super) fn table(&self) -> MutexGuard<'_, Table<Link<W>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the transport is open.
    ///
    /// # Errors
    /// `Closed` when it is not.
    pub fn open(&self, operation: &'static str) -> Result<()> {
        if self.closing.is_cancelled() {
            return Err(self.host.fail(ErrorKind::Closed, operation, "the transport is closed"));
        }
        Ok(())
    }

    /// Starts a task that [`close`](Self::close) waits for.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.host.spawn(self.tasks.track_future(task));
    }

    /// The topics we take part in, for a hello.
    pub fn topics(&self) -> BTreeSet<Topic> {
        self.table().topics().clone()
    }

    /// The link to a peer.
    pub fn link(&self, peer: &PeerId) -> Option<Arc<Link<W>>> {
        self.table().link(peer).cloned()
    }

    /// Whom to ask for content: the hinted first, then the others from a random one on, so that not everybody asks the same; nobody
    /// who is to be avoided.
    pub fn to_ask(&self, hints: &[PeerId], avoid: &[Remote]) -> Vec<Arc<Link<W>>> {
        self.table().providers(hints, avoid, self.host.random())
    }

    /// What is known of all linked peers, sorted by peer.
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.table().links().map(|(_, link)| link.info()).collect()
    }

    /// Makes a link, if the table takes it: the node learns of it, the far end of our topics and of the records that we know.
    /// `first` makes its first frame from our topics, where the acceptor answers the hello of a dialler.
    ///
    /// # Errors
    /// `Busy`, `Duplicate`; `Malformed`, and blamed, when its hello names more topics than it may; `Goodbye` while the
    /// transport closes.
    pub fn enter(
        &self,
        wire: W,
        greeted: Greeted,
        first: impl FnOnce(&BTreeSet<Topic>) -> Option<Bytes>,
    ) -> std::result::Result<Arc<Link<W>>, Reason> {
        let Greeted { peer, addr, session, theirs, ours } = greeted;
        let (dialled, addrs) = (ours.is_some(), vec![addr]);
        let link = Arc::new(Link::new(&self.host, wire, peer, dialled, addrs.clone()));
        let mut table = self.table();
        if self.closing.is_cancelled() {
            return Err(Reason::Goodbye);
        }
        let arrival = Arrival { link: link.clone(), peer, dialled, session, addrs, theirs, ours };
        let actions = match table.up(arrival) {
            // The far end may be using it until it learns of the other: so it is read for a while all the same.
            Err(Reason::Duplicate) if dialled => vec![Action::Retire(link.clone())],
            Err(why) => {
                drop(table);
                self.blame(&link, why);
                return Err(why);
            }
            Ok(actions) => actions,
        };
        first(table.topics()).into_iter().for_each(|hello| link.tell(hello));
        self.carry_out(actions);
        link.tell(W::record(&self.host.record()));
        self.host.records(RECORDS).iter().for_each(|record| self.offer(&link, record));
        self.changed.notify_waiters();
        Ok(link)
    }

    /// Ends a link, and blames the far end where it is to blame. Only the first reason counts.
    pub fn end(&self, link: &Arc<Link<W>>, why: Reason) {
        if !link.ended().is_cancelled() {
            self.blame(link, why);
        }
        let mut table = self.table();
        if why == Reason::Disconnected {
            table.part(link.peer());
        }
        self.carry_out(table.down(&link.peer(), link));
        link.end(why);
        self.changed.notify_waiters();
    }

    /// Blames the far end of a link where it is to blame for its end.
    fn blame(&self, link: &Link<W>, why: Reason) {
        if let Some(misdeed) = why.misdeed() {
            self.host.report(link.remote(), misdeed);
        }
    }

    /// Waits until a link is over, once its writer wrote all [`messages`](Link::messages): at once where it ended; where
    /// another one took its place, a moment later, because the far end may be using it still. Then that one ends, too: no
    /// table knows of it any more.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn until_over(&self, link: &Link<W>) {
        tokio::select! {
            () = self.closing.cancelled() => {}
            () = link.ended().cancelled() => {}
            () = sleep(RETIREMENT) => {}
        }
        link.end(link.why());
    }

    /// Waits for a link that the far end opens.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn until_linked(&self, peer: &PeerId) -> Arc<Link<W>> {
        loop {
            let changed = self.changed.notified();
            if let Some(link) = self.link(peer) {
                return link;
            }
            changed.await;
        }
    }

    /// A user wants no link to a peer: ends it, and it is not dialled again but by a user. Who is not admitted is kept out by
    /// that, and for as long as that lasts.
    ///
    /// # Errors
    /// `Closed`.
    pub fn disconnect(&self, peer: &Remote) -> Result<()> {
        self.open("disconnect")?;
        let Some(peer) = peer.peer() else { return Ok(()) };
        let admitted = self.host.admits(peer);
        let mut table = self.table();
        let action = if admitted { table.part(*peer) } else { table.expel(peer) };
        drop(table);
        if let Some(Action::Close(link, why)) = action {
            self.end(&link, why);
        }
        Ok(())
    }

    /// The far end of a link joined a topic, or left it.
    ///
    /// # Errors
    /// `Malformed` when it has more topics than it may.
    pub fn heard(&self, link: &Arc<Link<W>>, topic: Topic, joined: bool) -> std::result::Result<(), Reason> {
        self.host.report(link.remote(), Misdeed::Needless);
        let mut table = self.table();
        let actions = table.heard(&link.peer(), link, topic, joined)?;
        self.carry_out(actions);
        Ok(())
    }

    /// The far end of a link says where a peer listens. What is news goes on to the others, once, unless it brings too much.
    ///
    /// # Errors
    /// `Malformed` when it is no record of this network.
    pub fn learn(&self, link: &Link<W>, record: Bytes) -> std::result::Result<(), Reason> {
        self.host.report(link.remote(), Misdeed::Needless);
        let record = PeerRecord::decode(record, self.host.network()).map_err(|_| Reason::Malformed)?;
        if *record.peer() == self.host.me() || !self.host.learn(link.remote(), record.clone()) {
            return Ok(());
        }
        if !link.records.passes(*record.peer() == link.peer()) {
            self.host.count("records_dropped", 1);
            return Ok(());
        }
        let table = self.table();
        let others = table.links().filter(|(peer, _)| **peer != link.peer() && *peer != record.peer());
        others.for_each(|(_, other)| self.offer(other, &record));
        Ok(())
    }

    /// Waits for room for one message of a link. Take it before reading that, so that a full gate slows the sender down.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn room(&self, link: &Link<W>) -> Room {
        // A second copy of a message waits without room in the gate, so those that wait are bounded here too.
        let waits = link.verdicts.clone().acquire_owned().await.ok();
        Room { waits, slot: self.host.slot(link.remote()).await }
    }

    /// Hands a message to the gate, and passes it on once it is accepted. Call it in the order of arrival; it does not wait
    /// for the verdict.
    pub fn deliver(self: &Arc<Self>, link: &Link<W>, room: Room, topic: Topic, bytes: Bytes) {
        let Room { waits, slot } = room;
        let id = MessageId::of(&bytes);
        let arrived = self.table().arrived(link.peer(), &topic, id);
        if arrived != Arrived::Wanted {
            self.host.count("unjoined", 1);
            if arrived == Arrived::Unasked {
                self.host.report(link.remote(), Misdeed::Needless);
            }
            return;
        }
        let (from, wire_id) = (link.remote().clone(), None);
        let verdict = slot.deliver(Inbound { from, topic: topic.clone(), bytes: bytes.clone(), wire_id });
        let hub = self.clone();
        self.host.spawn(async move {
            let relay = verdict.await;
            drop(waits);
            if relay == Relay::Accept {
                hub.send(&topic, &id, &bytes, Lane::Relay);
            }
        });
    }

    /// A block that the far end of a link asks for, if it is no larger than `most`; waits for serving memory.
    ///
    /// # Errors
    /// `Absent`, `TooLarge`, `Busy`.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn look_up(&self, link: &Link<W>, cid: &Cid, most: usize) -> std::result::Result<Served, Miss> {
        match self.host.block(link.remote(), cid).await {
            Ok(Some(served)) if served.bytes().len() > most => Err(Miss::TooLarge),
            Ok(Some(served)) => Ok(served),
            Ok(None) => Err(Miss::Absent),
            Err(_) => Err(Miss::Busy),
        }
    }

    /// Ends all links and, with them, all tasks. None begins afterwards.
    pub fn shut_down(&self) {
        let links: Vec<_> = {
            let table = self.table();
            self.closing.cancel();
            table.links().map(|(_, link)| link.clone()).collect()
        };
        links.iter().for_each(|link| self.end(link, Reason::Goodbye));
    }

    /// Does so, and waits for the tasks, but not for longer than `limit`: who does not read its goodbye holds nobody up.
    pub async fn close(&self, limit: Duration) {
        self.shut_down();
        self.tasks.close();
        let _ = timeout(limit, self.tasks.wait()).await;
    }

    /// Queues a message for all whom it goes to.
    fn send(&self, topic: &Topic, id: &MessageId, bytes: &Bytes, lane: Lane) -> Receipt {
        let head = W::head(topic, bytes.len());
        let size = head.len() + bytes.len();
        let message = Packed { head, bytes: bytes.clone() };
        let push =
            |link: &Arc<Link<W>>| link.messages.push(&self.host, link.remote(), lane, message.clone(), size);
        Receipt::tally(self.table().targets(topic, id, lane).map(push))
    }

    fn offer(&self, link: &Link<W>, record: &PeerRecord) {
        if !link.offer_record(W::record(record)) {
            self.host.count("records_dropped", 1);
        }
    }

    /// Does what the table says, under its lock: so the node hears of changes in their order.
    fn carry_out(&self, actions: Vec<Action<Link<W>>>) {
        for action in actions {
            match action {
                Action::Notice(notice) => self.host.notice(notice),
                Action::Announce { link, topic, joined } => link.tell(W::topic(&topic, joined)),
                Action::Retire(link) => link.retire(),
                Action::Close(link, why) => link.end(why),
            }
        }
    }
}

#[async_trait]
impl<W: Wire> Broadcast for Hub<W> {
    async fn join(&self, topic: &Topic) -> Result<()> {
        self.open("join")?;
        let mut table = self.table();
        let actions = table.join(topic).map_err(|error| error.on(self.host.instance().to_owned()))?;
        self.carry_out(actions);
        Ok(())
    }

    async fn leave(&self, topic: &Topic) -> Result<()> {
        self.open("leave")?;
        let mut table = self.table();
        self.carry_out(table.leave(topic));
        Ok(())
    }

    async fn publish(&self, message: &Outgoing) -> Result<Receipt> {
        self.open("publish")?;
        self.host.check_message(message)?;
        Ok(self.send(&message.topic, &message.id, &message.bytes, message.lane))
    }

    async fn topic_peers(&self, topic: &Topic) -> Result<Vec<Remote>> {
        self.open("topic_peers")?;
        Ok(self.table().topic_peers(topic))
    }
}

impl<W> fmt::Debug for Hub<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hub({:?})", self.host)
    }
}
