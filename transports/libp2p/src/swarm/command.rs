//! What the swarm is told to do, over a bounded channel.

use carrick_core::links::{Reason, Refusal};
use carrick_core::{Bytes, ErrorKind, Host, Multiaddr, PeerId, Receipt, Result, Topic};
use libp2p::swarm::ConnectionId;
use libp2p::swarm::dial_opts::DialOpts;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Commands that may wait; who gives one waits for room.
const WAITING: usize = 256;

/// What a dial is answered with: who is there, and where.
pub(super) type Dialled = Result<(PeerId, End), Refusal>;

/// Where a connection ends.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) connection: ConnectionId,
    pub(crate) addr: Multiaddr,
    /// Whether we dialled it.
    pub(crate) dialled: bool,
    /// Since when it stands.
    pub(crate) since: Instant,
    /// Whether a user wants it ended: it stood when he parted from the peer.
    pub(crate) parted: bool,
}

/// What the swarm is told to do.
pub(super) enum Command {
    /// Connect; answers who is there.
    Dial(DialOpts, oneshot::Sender<Dialled>),
    /// End a connection to a peer, and those to it that are older.
    Disconnect(PeerId, ConnectionId),
    /// A user parts from a peer: all connections to it end with the link.
    Part(PeerId),
    /// End this connection alone: another one took its place.
    Spare(ConnectionId),
    /// A node said which running instance it is, over a connection.
    Session(PeerId, u64, ConnectionId),
    /// A peer is linked; whether its connection stays while nothing is sent.
    Linked(PeerId, bool),
    /// A peer that routing found is asked by bitswap; answered when that is known there.
    Asked(PeerId, oneshot::Sender<()>),
    /// Name so many peers that were met before, also in an earlier life.
    Met(usize, oneshot::Sender<Vec<(PeerId, Vec<Multiaddr>)>>),
    Join(Topic, oneshot::Sender<Result<()>>),
    Leave(Topic, oneshot::Sender<()>),
    Publish(Topic, Bytes, oneshot::Sender<Result<Receipt>>),
}

/// Tells the swarm what to do. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Net {
    host: Host,
    commands: mpsc::Sender<Command>,
}

impl Net {
    /// A handle, and what the task takes from it.
    pub(crate) fn channel(host: Host) -> (Self, Commands) {
        let (commands, receiver) = mpsc::channel(WAITING);
        (Self { host, commands }, Commands(receiver))
    }

    /// Connects to a peer, or to whoever is there; answers who that is, and where.
    ///
    /// # Errors
    /// Why there is no connection.
    pub(crate) async fn dial(&self, opts: DialOpts) -> Dialled {
        let (reply, answer) = oneshot::channel();
        let gone = || Refusal::from(Reason::Goodbye);
        self.commands.send(Command::Dial(opts, reply)).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    pub(crate) async fn join(&self, topic: &Topic) -> Result<()> {
        self.ask("join", |reply| Command::Join(topic.clone(), reply)).await?
    }

    pub(crate) async fn leave(&self, topic: &Topic) -> Result<()> {
        self.ask("leave", |reply| Command::Leave(topic.clone(), reply)).await
    }

    pub(crate) async fn publish(&self, topic: &Topic, bytes: &Bytes) -> Result<Receipt> {
        self.ask("publish", |reply| Command::Publish(topic.clone(), bytes.clone(), reply)).await?
    }

    /// Ends a connection to a peer, and those to it that are older. Not one that was made since: a user may have dialled it again.
    pub(crate) fn disconnect(&self, peer: PeerId, connection: ConnectionId) {
        self.tell(Command::Disconnect(peer, connection));
    }

    /// A user parts from a peer: the connections that stand now end with the link.
    pub(crate) fn part(&self, peer: PeerId) {
        self.tell(Command::Part(peer));
    }

    /// Ends a connection that is one too many.
    pub(crate) fn spare(&self, connection: ConnectionId) {
        self.tell(Command::Spare(connection));
    }

    /// A node said which running instance it is. Connections to it that are older and of another instance lead nowhere.
    pub(crate) fn session(&self, peer: PeerId, session: u64, connection: ConnectionId) {
        self.tell(Command::Session(peer, session, connection));
    }

    /// A peer that routing found is about to be asked by bitswap. Answers once bitswap knows it, if it is connected still.
    pub(crate) async fn asked_by_bitswap(&self, peer: PeerId) {
        // Fails while the transport closes.
        let _ = self.ask("block", |reply| Command::Asked(peer, reply)).await;
    }

    /// A peer is linked; whether its connection stays while nothing is sent.
    pub(crate) fn linked(&self, peer: PeerId, keep: bool) {
        self.tell(Command::Linked(peer, keep));
    }

    /// So many peers that were met before, also in an earlier life, the last first; none once the swarm has ended.
    pub(crate) async fn met(&self, limit: usize) -> Vec<(PeerId, Vec<Multiaddr>)> {
        self.ask("met", |reply| Command::Met(limit, reply)).await.unwrap_or_default()
    }

    fn tell(&self, command: Command) {
        if let Err(mpsc::error::TrySendError::Full(command)) = self.commands.try_send(command) {
            let commands = self.commands.clone();
            self.host.spawn(async move { drop(commands.send(command).await) });
        }
    }

    async fn ask<T>(
        &self,
        operation: &'static str,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let closed = || self.host.fail(ErrorKind::Closed, operation, "the transport is closed");
        self.commands.send(command(reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())
    }
}

/// Where the task takes its commands from.
pub(crate) struct Commands(pub(super) mpsc::Receiver<Command>);
