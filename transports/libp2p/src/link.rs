//! Links: who is connected and taken for a peer.
//!
//! Two nodes of Carrick say hello on a stream of their own, which stands as long as the link: on it go records of peers and,
//! at the end, why. Anybody else, such as Kubo, is a peer as soon as identify says who it is.

use std::sync::Arc;
use std::time::Duration;

use carrick_core::links::{Greeted, Hub, Link, Reason, Refusal, Wire};
use carrick_core::{Bytes, Multiaddr, PeerId, PeerRecord, Remote, Topic};
use futures::io::{ReadHalf, WriteHalf};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use libp2p::StreamProtocol;
use libp2p::swarm::Stream;
use tokio::time::timeout;

use crate::shared::Shared;
use crate::streams::{Held, Inbound, OpenError};
use crate::swarm::End;
use crate::wire::{Bye, Frame, Hello, VERSION};

/// The stream that stands as long as a link.
pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/carrick/link/1.0.0");
/// How long the far end may take to read why a link ends.
const LAST_WORD: Duration = Duration::from_millis(300);

/// What is known of the far end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A node of Carrick, of this network.
    Node,
    /// Somebody else who speaks libp2p.
    Stranger,
}

impl Wire for Line {
    /// Topics are gossipsub's to tell.
    fn topic(_: &Topic, _: bool) -> Bytes {
        Bytes::new()
    }

    fn record(record: &PeerRecord) -> Bytes {
        Frame::record(record).encode()
    }

    /// Messages are gossipsub's to send.
    fn head(_: &Topic, _: usize) -> Bytes {
        Bytes::new()
    }
}

/// The links of a transport.
#[derive(Clone, Debug)]
pub(crate) struct Links(Arc<Hub<Line>>);

impl Links {
    pub(crate) fn new(hub: Arc<Hub<Line>>) -> Self {
        Self(hub)
    }

    /// A linked peer joined a topic, or left it. One that is not linked yet is told of once it is.
    pub(crate) fn heard(&self, peer: &PeerId, topic: Topic, joined: bool) {
        let Some(link) = self.0.link(peer) else { return };
        if let Err(why) = self.0.heard(&link, topic, joined) {
            self.0.end(&link, why);
        }
    }

    /// Whether a peer judges the messages that it passes on: a node of Carrick does.
    pub(crate) fn judges(&self, peer: &PeerId) -> bool {
        self.0.link(peer).is_some_and(|link| link.wire == Line::Node)
    }
}

impl Shared {
    /// We dialled: says hello, if the far end is a node of Carrick, and waits until there is a link.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn greet(self: &Arc<Self>, peer: PeerId, addr: Multiaddr) -> Result<(), Refusal> {
        let opened = self.streams.open(peer, &self.link_protocol).await;
        let mut stream = match opened {
            Ok((_, held)) => held,
            // Identify says who it is.
            Err(OpenError::Unsupported) => return self.appears(&peer).await,
            Err(why) => return Err(broke_off(why)),
        };
        let said = stream.stream.write_all(&self.hello().encode()).await;
        let flushed = stream.stream.flush().await;
        let limit = self.host.limits().handshake;
        let answer = timeout(limit, Frame::read(&mut stream.stream, limit)).await;
        let answer = answer.unwrap_or(Err(Reason::Stalled));
        let theirs = match answer {
            Ok(Frame::Hello(hello)) => hello,
            // It dialled us at the same time, and that link stays: it is here, or about to be.
            Ok(Frame::Bye(bye)) if bye.reason() == Reason::Duplicate => return self.appears(&peer).await,
            Ok(Frame::Bye(bye)) => return Err(Refusal::There(bye.reason(), bye.shown())),
            Err(Reason::Goodbye) => {
                said.and(flushed)?;
                return Err(broke_off(OpenError::Broken));
            }
            Ok(Frame::Record(_)) => return Err(Reason::Malformed.into()),
            Err(why) => return Err(why.into()),
        };
        let entered = self.judge(&peer, &theirs).and_then(|()| {
            let greeted = self.greeted(peer, addr, &theirs, true);
            self.net.session(peer, theirs.session, stream.connection);
            self.hub.enter(Line::Node, greeted, |_| None)
        });
        match entered {
            Ok(link) => self.linked_with(link, stream).await,
            Err(Reason::Duplicate) => return self.appears(&peer).await,
            Err(why) => {
                self.refuse(&peer, stream, why).await;
                return Err(why.into());
            }
        }
        Ok(())
    }

    /// Waits for a link that others make.
    async fn appears(&self, peer: &PeerId) -> Result<(), Refusal> {
        let limit = self.host.limits().handshake;
        match timeout(limit, self.hub.until_linked(peer)).await {
            Ok(_) => Ok(()),
            Err(_) => {
                let why = format!("it did not say who it is within {} s", limit.as_secs_f64());
                Err(Refusal::Unreachable(why))
            }
        }
    }

    /// The far end dialled, and says hello.
    pub(crate) async fn welcome(self: Arc<Self>, inbound: Inbound, addr: Multiaddr) {
        let (peer, mut stream) = (inbound.peer, inbound.stream);
        let limit = self.host.limits().handshake;
        let reading = timeout(limit, Frame::read(&mut stream.stream, limit));
        let entered = match reading.await {
            Ok(Ok(Frame::Hello(theirs))) => self.judge(&peer, &theirs).and_then(|()| {
                let greeted = self.greeted(peer, addr, &theirs, false);
                self.net.session(peer, theirs.session, stream.connection);
                self.hub.enter(Line::Node, greeted, |_| Some(self.hello().encode()))
            }),
            Ok(Err(why @ (Reason::Version | Reason::Goodbye | Reason::Stalled))) => Err(why),
            Ok(_) => Err(Reason::Malformed),
            Err(_) => Err(Reason::Stalled),
        };
        match entered {
            Ok(link) => self.linked_with(link, stream).await,
            Err(why) => {
                if let Some(misdeed) = why.misdeed() {
                    self.host.report(&Remote::Peer(peer), misdeed);
                }
                self.refuse(&peer, stream, why).await;
            }
        }
    }

    /// Somebody who is no node of Carrick said who it is. Those who come leave places to nodes, which they would not by themselves.
    pub(crate) fn enter_stranger(self: &Arc<Self>, peer: PeerId, end: &End) {
        let End { connection, addr, dialled, .. } = end.clone();
        if !dialled && !self.has_room_for_strangers() {
            self.host.count("strangers_refused", 1);
            return self.net.disconnect(peer, connection);
        }
        let greeted = Greeted {
            peer,
            addr,
            session: 0,
            theirs: Default::default(),
            ours: dialled.then(Default::default),
        };
        match self.hub.enter(Line::Stranger, greeted, |_| None) {
            Ok(link) => {
                self.linked(&link, connection);
                let shared = Arc::clone(self);
                self.hub.spawn(async move {
                    // It takes no frames of ours.
                    let discarding = async {
                        loop {
                            link.frame().await;
                        }
                    };
                    link.ended().run_until_cancelled(discarding).await;
                    shared.unlinked(&link, connection);
                });
            }
            Err(why) => {
                tracing::debug!(%peer, why = why.text(), "refused");
                self.net.disconnect(peer, connection);
            }
        }
    }

    fn hello(&self) -> Frame {
        Frame::Hello(Hello { v: VERSION, network: self.host.network().clone(), session: self.hub.session() })
    }

    /// Whether a hello is one that we talk to.
    fn judge(&self, peer: &PeerId, hello: &Hello) -> Result<(), Reason> {
        if hello.network != *self.host.network() {
            return Err(Reason::Network);
        }
        // Asked again: membership may have changed since the connection was taken.
        if self.host.admits(peer) { Ok(()) } else { Err(Reason::NotAdmitted) }
    }

    fn greeted(&self, peer: PeerId, addr: Multiaddr, hello: &Hello, dialled: bool) -> Greeted {
        let ours = dialled.then(Default::default);
        Greeted { peer, addr, session: hello.session, theirs: Default::default(), ours }
    }

    /// Says why not, waits until that was read, and closes the connection.
    async fn refuse(&self, peer: &PeerId, held: Held, why: Reason) {
        let (connection, mut stream) = (held.connection, held.stream);
        self.host.count("refused", 1);
        tracing::debug!(%peer, why = why.text(), "refused");
        part(&mut stream, why).await;
        // Where there is another link, its connection stays.
        if why != Reason::Duplicate && self.hub.link(peer).is_none() {
            self.net.disconnect(*peer, connection);
        }
    }

    /// Begins a link. Who connected to a node may ask it at once, also before identify says what it speaks: every node speaks
    /// bitswap.
    async fn linked_with(self: &Arc<Self>, link: Arc<Link<Line>>, held: Held) {
        let peer = link.peer();
        self.run(link, held);
        if !self.config.dag {
            self.net.asked_by_bitswap(peer).await;
        }
    }

    fn run(self: &Arc<Self>, link: Arc<Link<Line>>, held: Held) {
        let connection = held.connection;
        self.linked(&link, connection);
        let shared = Arc::clone(self);
        self.hub.spawn(async move {
            let (from, to, place) = held.split();
            let writing = shared.write(&link, to);
            let reading = async {
                let why = shared.read(&link, from).await;
                shared.hub.end(&link, why);
            };
            futures::join!(writing, reading);
            shared.unlinked(&link, connection);
            drop(place);
        });
    }

    async fn write(&self, link: &Link<Line>, mut to: WriteHalf<Stream>) {
        let writing = async {
            loop {
                tokio::select! {
                    biased;
                    frame = link.frame() => {
                        let written = async {
                            to.write_all(&frame).await?;
                            to.flush().await
                        };
                        // The reader sees why.
                        if written.await.is_err() {
                            return;
                        }
                    }
                    // Nothing waits here but the end: another link took its place.
                    _ = link.messages.pop() => return,
                }
            }
        };
        link.ended().run_until_cancelled(writing).await;
        self.hub.until_over(link).await;
        let _ = timeout(LAST_WORD, async {
            to.write_all(&Frame::Bye(link.why().into()).encode()).await?;
            to.close().await
        })
        .await;
    }

    /// Reads until the far end says goodbye, or is gone; a moment longer than the link lasts, so that its goodbye is heard.
    async fn read(&self, link: &Arc<Link<Line>>, mut from: ReadHalf<Stream>) -> Reason {
        let limit = self.host.limits().fetch_idle;
        let reading = async {
            loop {
                match Frame::read(&mut from, limit).await {
                    Ok(Frame::Record(record)) => {
                        if let Err(why) = self.hub.learn(link, record) {
                            return why;
                        }
                    }
                    Ok(Frame::Bye(bye)) => return bye.reason(),
                    Ok(Frame::Hello(_)) => return Reason::Malformed,
                    Err(why) => return why,
                }
            }
        };
        let mut reading = std::pin::pin!(reading);
        match link.ended().run_until_cancelled(&mut reading).await {
            Some(why) => why,
            // Once it has read ours, it closes: then everything that was sent before has arrived.
            None => timeout(LAST_WORD, reading).await.unwrap_or(Reason::Goodbye),
        }
    }
}

/// Says goodbye, and waits until the far end has read it.
async fn part(stream: &mut Stream, why: Reason) {
    let _ = timeout(LAST_WORD, async {
        stream.write_all(&Frame::Bye(Bye::from(why)).encode()).await?;
        stream.close().await?;
        stream.read(&mut [0]).await
    })
    .await;
}

/// What it means that the connection ended before the far end said a word.
fn broke_off(why: OpenError) -> Refusal {
    match why {
        OpenError::NotConnected | OpenError::Broken => Refusal::There(
            Reason::NotAdmitted,
            "it closed the connection as soon as it knew who we are: this peer is no member there, is banned, or all connections are taken"
                .into(),
        ),
        OpenError::Timeout | OpenError::Unsupported => Refusal::Unreachable(why.to_string()),
    }
}
