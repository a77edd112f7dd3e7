//! A transport in the test's hand: it tells what the node asked of it, and does what the test says.

use std::collections::BTreeMap;
use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use carrick_core::{
    Block, Broadcast, BroadcastCaps, Bytes, Capabilities, Cid, Claim, Claims, Discovery, Error, ErrorKind,
    Fetch, FetchCaps, Fetched, Host, Identity, Inbound, Lane, Multiaddr, Outgoing, PeerAddr, PeerInfo,
    Receipt, Relay, Remote, Result, Serving, Topic, Transport, Want, WantDag, async_trait, dag,
};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};

/// What the node asked of its transport.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Join(Topic),
    Leave(Topic),
    Publish(Outgoing),
    Dial(PeerAddr),
    Disconnect(Remote),
    Provide(Cid),
    Withdraw(Cid),
    Announce(Cid),
    Block(Want),
    Dag(WantDag),
    /// A block request was dropped before it had an answer.
    Cancelled(Cid),
    Close,
}

/// How a provider behaves.
#[derive(Clone, Debug)]
pub(crate) enum Does {
    /// Serves what it has; `NotFound` for all else.
    Serve(BTreeMap<Cid, Bytes>),
    /// Sends wrong bytes for everything.
    Lie,
    /// Sends another block than was asked for.
    Stray,
    /// Never answers.
    Stall,
    /// Refuses.
    Fail(ErrorKind),
    /// Only for a whole DAG: sends these, then ends, fails or stalls.
    Script(Vec<(Cid, Bytes)>, End),
}

/// How a scripted stream ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Quietly,
    With(ErrorKind),
    Never,
}

type OnPublish = Box<dyn Fn(&Host, &Outgoing) + Send>;

/// A transport and the strings it hangs on. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Wire(Arc<Strings>);

struct Strings {
    capabilities: Mutex<Capabilities>,
    host: Mutex<Option<Host>>,
    calls: Mutex<Vec<Call>>,
    receipt: Mutex<Receipt>,
    peers: Mutex<Vec<Remote>>,
    providers: Mutex<Vec<(Remote, Does)>>,
    named: Mutex<bool>,
    obeys: Mutex<bool>,
    hangs: Mutex<bool>,
    lag: Mutex<Duration>,
    on_publish: Mutex<Option<OnPublish>>,
    refuses: Mutex<Option<(Vec<Cid>, ErrorKind)>>,
    clings: Mutex<Option<(Vec<Cid>, ErrorKind)>>,
    taking: Mutex<Duration>,
    line: tokio::sync::Mutex<Duration>,
}

impl fmt::Debug for Strings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("lock")
}

impl Wire {
    /// A wire of our own kind: relays after the verdict, waits, counts, brings whole DAGs.
    pub(crate) fn new() -> Self {
        let mut fetch = FetchCaps::new(2 << 20, Serving::FromHost, Discovery::Neighbours);
        fetch.dag_in_one_request = true;
        let broadcast = BroadcastCaps::new(1 << 20);
        Self(Arc::new(Strings {
            capabilities: Mutex::new(Capabilities::new(Some(broadcast), Some(fetch), Identity::Peer)),
            host: Mutex::default(),
            calls: Mutex::default(),
            receipt: Mutex::new(Receipt::counted(1, vec![])),
            peers: Mutex::default(),
            providers: Mutex::default(),
            named: Mutex::new(true),
            obeys: Mutex::new(true),
            hangs: Mutex::default(),
            lag: Mutex::default(),
            on_publish: Mutex::default(),
            refuses: Mutex::default(),
            clings: Mutex::default(),
            taking: Mutex::default(),
            line: tokio::sync::Mutex::default(),
        }))
    }

    /// Other capabilities; before it is opened.
    pub(crate) fn with(self, change: impl FnOnce(&mut Capabilities)) -> Self {
        change(&mut lock(&self.0.capabilities));
        self
    }

    /// One that fetches block by block only.
    pub(crate) fn singly(self) -> Self {
        self.with(|caps| caps.fetch.as_mut().expect("fetches").dag_in_one_request = false)
    }

    pub(crate) fn open(&self, host: Host) -> Opened {
        *lock(&self.0.host) = Some(host.clone());
        Opened { strings: Arc::clone(&self.0), _host: host }
    }

    pub(crate) fn host(&self) -> Host {
        lock(&self.0.host).clone().expect("it is open")
    }

    /// Lets go of the host, so that only the node and the transport hold it.
    pub(crate) fn let_go(&self) {
        lock(&self.0.host).take();
    }

    // What arrives.

    /// Hands a message over now, as a wire that reads in order does; the future is the answer.
    pub(crate) fn hand(
        &self,
        from: &Remote,
        topic: &Topic,
        bytes: impl Into<Bytes>,
    ) -> BoxFuture<'static, Relay> {
        let slot = self.host().try_slot(from).expect("there is room in the gate");
        slot.deliver(Inbound { from: from.clone(), topic: topic.clone(), bytes: bytes.into(), wire_id: None })
            .boxed()
    }

    /// Hands a message over on the tests' topic and waits for the answer.
    pub(crate) async fn deliver(&self, from: &Remote, bytes: impl Into<Bytes>) -> Relay {
        super::within(self.hand(from, &super::topic(), bytes)).await
    }

    /// Refuses to be given some blocks, or with none named all; `None` takes them again.
    pub(crate) fn refuses(&self, which: Option<(Vec<Cid>, ErrorKind)>) {
        *lock(&self.0.refuses) = which;
    }

    /// Does not let some blocks go, or with none named none; `None` lets them go again.
    pub(crate) fn clings(&self, which: Option<(Vec<Cid>, ErrorKind)>) {
        *lock(&self.0.clings) = which;
    }

    /// Takes so long whenever it is given blocks.
    pub(crate) fn takes(&self, time: Duration) {
        *lock(&self.0.taking) = time;
    }

    // What the node asked.

    pub(crate) fn calls(&self) -> Vec<Call> {
        lock(&self.0.calls).clone()
    }

    /// What was provided, in order.
    pub(crate) fn provided(&self) -> Vec<Cid> {
        let calls = self.calls();
        calls
            .iter()
            .filter_map(|call| if let Call::Provide(cid) = call { Some(*cid) } else { None })
            .collect()
    }

    /// What was withdrawn, in order.
    pub(crate) fn withdrawn(&self) -> Vec<Cid> {
        let calls = self.calls();
        calls
            .iter()
            .filter_map(|call| if let Call::Withdraw(cid) = call { Some(*cid) } else { None })
            .collect()
    }

    /// What was published, in order.
    pub(crate) fn published(&self) -> Vec<Outgoing> {
        self.calls()
            .into_iter()
            .filter_map(|call| if let Call::Publish(out) = call { Some(out) } else { None })
            .collect()
    }

    /// How often a message was relayed.
    pub(crate) fn relayed(&self, bytes: &Bytes) -> usize {
        self.published().iter().filter(|out| out.lane == Lane::Relay && out.bytes == *bytes).count()
    }

    /// How many single blocks were asked for.
    pub(crate) fn requests(&self) -> usize {
        self.calls().iter().filter(|call| matches!(call, Call::Block(_))).count()
    }

    /// The DAGs that were asked for.
    pub(crate) fn dags(&self) -> Vec<WantDag> {
        self.calls()
            .into_iter()
            .filter_map(|call| if let Call::Dag(want) = call { Some(want) } else { None })
            .collect()
    }

    pub(crate) fn disconnected(&self) -> Vec<Remote> {
        self.calls()
            .into_iter()
            .filter_map(|call| if let Call::Disconnect(who) = call { Some(who) } else { None })
            .collect()
    }

    // What it does.

    /// What the next publishes answer.
    pub(crate) fn reaches(&self, receipt: Receipt) {
        *lock(&self.0.receipt) = receipt;
    }

    /// Takes so long for the next message that is published, topic that is joined, or block that is asked for.
    pub(crate) fn lags(&self, lag: Duration) {
        *lock(&self.0.lag) = lag;
    }

    /// Brings single blocks one after the other, each in so long.
    pub(crate) async fn brings(&self, each: Duration) {
        *self.0.line.lock().await = each;
    }

    /// What happens during a publish.
    pub(crate) fn on_publish(&self, act: impl Fn(&Host, &Outgoing) + Send + 'static) {
        *lock(&self.0.on_publish) = Some(Box::new(act));
    }

    pub(crate) fn connect(&self, remotes: &[Remote]) {
        *lock(&self.0.peers) = remotes.to_vec();
    }

    /// One more provider; they are asked in this order.
    pub(crate) fn provider(&self, who: Remote, does: Does) {
        lock(&self.0.providers).push((who, does));
    }

    /// A provider that has these blocks.
    pub(crate) fn serves<'a>(&self, who: Remote, blocks: impl IntoIterator<Item = &'a Block>) {
        let blocks = blocks.into_iter().map(|block| (*block.cid(), block.bytes().clone())).collect();
        self.provider(who, Does::Serve(blocks));
    }

    pub(crate) fn no_providers(&self) {
        lock(&self.0.providers).clear();
    }

    /// It does not tell who sent a block.
    pub(crate) fn anonymous(&self) {
        *lock(&self.0.named) = false;
    }

    /// It keeps no timeout.
    pub(crate) fn disobey(&self) {
        *lock(&self.0.obeys) = false;
    }

    /// Closing never ends.
    pub(crate) fn hang_on_close(&self) {
        *lock(&self.0.hangs) = true;
    }
}

impl Strings {
    /// Whether a call about blocks is one that the test has it refuse.
    fn refusal(which: &Mutex<Option<(Vec<Cid>, ErrorKind)>>, cids: &[Cid]) -> Result<()> {
        match &*lock(which) {
            Some((which, kind)) if which.is_empty() || cids.iter().any(|cid| which.contains(cid)) => {
                Err(error(*kind))
            }
            _ => Ok(()),
        }
    }

    async fn wait(&self) {
        let lag = std::mem::take(&mut *lock(&self.lag));
        if !lag.is_zero() {
            tokio::time::sleep(lag).await;
        }
    }

    async fn carry(&self) {
        let each = self.line.lock().await;
        if !each.is_zero() {
            tokio::time::sleep(*each).await;
        }
    }

    fn note(&self, call: Call) {
        lock(&self.calls).push(call);
    }

    fn ask(&self, avoid: &[Remote]) -> Option<(Remote, Does)> {
        lock(&self.providers).iter().find(|(who, _)| !avoid.contains(who)).cloned()
    }

    fn from(&self, who: Remote) -> Option<Remote> {
        lock(&self.named).then_some(who)
    }

    async fn stalled<T>(&self, timeout: Duration) -> Result<T> {
        if *lock(&self.obeys) {
            tokio::time::sleep(timeout).await;
            Err(error(ErrorKind::Timeout))
        } else {
            pending().await
        }
    }

    async fn answer(&self, want: &Want) -> Result<Fetched> {
        let mut avoid = want.avoid.clone();
        let mut seen = false;
        loop {
            let Some((who, does)) = self.ask(&avoid) else {
                return Err(error(if seen { ErrorKind::NotFound } else { ErrorKind::NoPeers }));
            };
            seen = true;
            let bytes = match does {
                Does::Serve(blocks) => match blocks.get(&want.cid) {
                    Some(bytes) => bytes.clone(),
                    None => {
                        avoid.push(who);
                        continue;
                    }
                },
                Does::Lie => Bytes::from_static(b"a lie"),
                Does::Stray => {
                    let stray = super::raw("a stray");
                    return Ok(Fetched { claim: stray.into(), from: self.from(who) });
                }
                Does::Stall => return self.stalled(want.timeout).await,
                Does::Fail(kind) => return Err(error(kind)),
                Does::Script(..) => return Err(error(ErrorKind::NotFound)),
            };
            return Ok(Fetched { claim: Claim::new(want.cid, bytes), from: self.from(who) });
        }
    }
}

fn error(kind: ErrorKind) -> Error {
    Error::new(kind, "wire", "as the test says").on("wire")
}

/// The blocks of a DAG breadth first, as far as they are there.
fn walk(want: &WantDag, blocks: &BTreeMap<Cid, Bytes>) -> Vec<Option<(Cid, Bytes)>> {
    let mut queue: std::collections::VecDeque<_> = want.roots.iter().map(|root| (*root, 0)).collect();
    let mut seen: Vec<Cid> = want.have.iter().chain(&want.roots).copied().collect();
    let mut out = Vec::new();
    while let Some((cid, depth)) = queue.pop_front() {
        let Some(bytes) = blocks.get(&cid) else {
            out.push(None);
            return out;
        };
        out.push(Some((cid, bytes.clone())));
        let Ok(block) = Claim::new(cid, bytes.clone()).check() else { continue };
        for link in dag::follow(&block, want.follow).unwrap_or_default() {
            if depth < want.depth && !seen.contains(&link) {
                seen.push(link);
                queue.push_back((link, depth + 1));
            }
        }
    }
    out
}

/// The transport as the node holds it.
#[derive(Debug)]
pub(crate) struct Opened {
    strings: Arc<Strings>,
    _host: Host,
}

#[async_trait]
impl Transport for Opened {
    fn capabilities(&self) -> Capabilities {
        lock(&self.strings.capabilities).clone()
    }

    fn listen_addrs(&self) -> Vec<Multiaddr> {
        vec!["/memory/1".parse().expect("an address")]
    }

    async fn dial(&self, peer: &PeerAddr) -> Result<Remote> {
        self.strings.note(Call::Dial(peer.clone()));
        peer.peer.map(Remote::Peer).ok_or_else(|| error(ErrorKind::Unreachable))
    }

    async fn disconnect(&self, peer: &Remote) -> Result<()> {
        self.strings.note(Call::Disconnect(peer.clone()));
        Ok(())
    }

    async fn peers(&self) -> Result<Vec<PeerInfo>> {
        Ok(lock(&self.strings.peers).iter().cloned().map(PeerInfo::new).collect())
    }

    fn broadcast(&self) -> Option<&dyn Broadcast> {
        self.capabilities().broadcast.is_some().then_some(self)
    }

    fn fetch(&self) -> Option<&dyn Fetch> {
        self.capabilities().fetch.is_some().then_some(self)
    }

    async fn close(&self) -> Result<()> {
        self.strings.note(Call::Close);
        let hangs = *lock(&self.strings.hangs);
        if hangs { pending().await } else { Ok(()) }
    }
}

#[async_trait]
impl Broadcast for Opened {
    async fn join(&self, topic: &Topic) -> Result<()> {
        self.strings.wait().await;
        self.strings.note(Call::Join(topic.clone()));
        Ok(())
    }

    async fn leave(&self, topic: &Topic) -> Result<()> {
        self.strings.note(Call::Leave(topic.clone()));
        Ok(())
    }

    async fn publish(&self, message: &Outgoing) -> Result<Receipt> {
        self.strings.wait().await;
        let receipt = lock(&self.strings.receipt).clone();
        self.strings.note(Call::Publish(message.clone()));
        if let (Some(act), Some(host)) = (&*lock(&self.strings.on_publish), &*lock(&self.strings.host)) {
            act(host, message);
        }
        Ok(receipt)
    }

    async fn topic_peers(&self, _: &Topic) -> Result<Vec<Remote>> {
        Ok(lock(&self.strings.peers).clone())
    }
}

/// Tells when a request is dropped before it had an answer.
struct Unanswered<'a>(&'a Strings, Option<Cid>);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(cid) = self.1 {
            self.0.note(Call::Cancelled(cid));
        }
    }
}

#[async_trait]
impl Fetch for Opened {
    async fn block(&self, want: &Want) -> Result<Fetched> {
        self.strings.note(Call::Block(want.clone()));
        let mut unanswered = Unanswered(&self.strings, Some(want.cid));
        self.strings.wait().await;
        self.strings.carry().await;
        let answer = self.strings.answer(want).await;
        unanswered.1 = None;
        answer
    }

    async fn dag(&self, want: &WantDag) -> Result<Claims> {
        self.strings.note(Call::Dag(want.clone()));
        let Some((who, does)) = self.strings.ask(&want.avoid) else { return Err(error(ErrorKind::NoPeers)) };
        let (sends, end) = match does {
            Does::Serve(blocks) => {
                let mut sends = walk(want, &blocks);
                let whole = sends.last().is_none_or(Option::is_some);
                sends.retain(Option::is_some);
                let end = if whole { End::Quietly } else { End::With(ErrorKind::NotFound) };
                (sends.into_iter().flatten().collect(), end)
            }
            Does::Lie => {
                (want.roots.iter().map(|root| (*root, Bytes::from_static(b"a lie"))).collect(), End::Quietly)
            }
            Does::Stray => {
                let stray = super::raw("a stray");
                (vec![(*stray.cid(), stray.into_bytes())], End::Quietly)
            }
            Does::Stall => (vec![], End::Never),
            Does::Fail(kind) => return Err(error(kind)),
            Does::Script(sends, end) => (sends, end),
        };
        let (strings, timeout) = (Arc::clone(&self.strings), want.timeout);
        let from = strings.from(who);
        let claims = futures::stream::iter(sends)
            .map(move |(cid, bytes)| Ok(Fetched { claim: Claim::new(cid, bytes), from: from.clone() }));
        let last = async move {
            match end {
                End::Quietly => None,
                End::With(kind) => Some(Err(error(kind))),
                End::Never => Some(strings.stalled(timeout).await),
            }
        };
        Ok(claims.chain(futures::stream::once(last).filter_map(|last| async { last })).boxed())
    }

    async fn provide(&self, cids: &[Cid]) -> Result<()> {
        let taking = *lock(&self.strings.taking);
        if !taking.is_zero() {
            tokio::time::sleep(taking).await;
        }
        Strings::refusal(&self.strings.refuses, cids)?;
        cids.iter().for_each(|cid| self.strings.note(Call::Provide(*cid)));
        Ok(())
    }

    async fn withdraw(&self, cids: &[Cid]) -> Result<()> {
        assert!(cids.len() <= 256, "{} at once", cids.len());
        Strings::refusal(&self.strings.clings, cids)?;
        cids.iter().for_each(|cid| self.strings.note(Call::Withdraw(*cid)));
        Ok(())
    }

    async fn announce(&self, root: &Cid) -> Result<()> {
        self.strings.note(Call::Announce(*root));
        Ok(())
    }

    async fn providers(&self, _: &Cid, limit: usize) -> Result<Vec<PeerAddr>> {
        let providers = lock(&self.strings.providers);
        let peers = providers.iter().filter_map(|(who, _)| who.peer().copied());
        Ok(peers.take(limit).map(|peer| PeerAddr::new(peer, vec![])).collect())
    }
}
