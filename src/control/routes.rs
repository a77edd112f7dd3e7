//! What each request of the control socket does.

use std::time::Duration;

use bytes::Bytes;
use carrick::node::{Get, GetOptions, Got, Progress};
use carrick::{Block, Cid, Error, ErrorKind, Node, Owner, PeerAddr, Result, Topic};
use futures::{Stream, StreamExt, stream};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::Interval;

use super::sections::Sections;
use super::wire::{
    Event, Fetching, Heard, OfCid, OfPeer, OnTopic, Peer, PinLine, Published, Refusal, Removed, Stat, Stored,
    ToConnect, ToFetch, ToListPins, ToPublish,
};
use super::{Body, full, ledger};
use crate::fault::Fault;

/// A message of 8 MiB, the highest block limit, in base64, and what is around it.
const MAX_JSON: usize = 12 << 20;
/// Blocks are written to the store so many bytes at a time.
const BATCH_BYTES: usize = 8 << 20;
/// Or so many blocks at a time.
const BATCH_BLOCKS: usize = 1_024;
/// How often long work tells its progress.
pub(super) const PROGRESS: Duration = Duration::from_millis(100);

/// Answers one request; whatever fails becomes its answer.
pub(super) async fn answer(node: &Node, request: Request<Incoming>) -> Response<Body> {
    match route(node, request).await {
        Ok(response) => response,
        Err(error) => {
            let mut response = json(&Refusal { error: Fault::from(&error) });
            *response.status_mut() = status_of(error.kind());
            response
        }
    }
}

async fn route(node: &Node, request: Request<Incoming>) -> Result<Response<Body>> {
    let (head, body) = request.into_parts();
    match (&head.method, head.uri.path()) {
        (&Method::GET, "/v1/status") => Ok(json(&node.status().await?)),
        (&Method::GET, "/v1/peers") => {
            Ok(json(&node.peers().await?.into_iter().map(Peer::from).collect::<Vec<_>>()))
        }
        (&Method::GET, "/v1/events") => Ok(events(node)),
        (&Method::POST, "/v1/connect") => connect(node, read(body).await?).await,
        (&Method::POST, "/v1/disconnect") => disconnect(node, read(body).await?).await,
        (&Method::POST, "/v1/publish") => publish(node, read(body).await?).await,
        (&Method::POST, "/v1/subscribe") => subscribe(node, read(body).await?).await,
        (&Method::POST, "/v1/ledger/append") => Ok(json(&ledger::append(node, read(body).await?).await?)),
        (&Method::POST, "/v1/ledger/log") => Ok(lines(ledger::log(node, &read(body).await?)?)),
        (&Method::POST, "/v1/ledger/heads") => Ok(json(&ledger::heads(node, &read(body).await?)?)),
        (&Method::POST, "/v1/ledger/status") => Ok(json(&ledger::status(node, read(body).await?).await?)),
        (&Method::POST, "/v1/ledger/verify") => Ok(lines(ledger::verify(node, &read(body).await?)?)),
        (&Method::POST, "/v1/pin") => pin(node, read(body).await?).await,
        (&Method::POST, "/v1/unpin") => unpin(node, read(body).await?).await,
        (&Method::POST, "/v1/pins") => Ok(pins(node, &read(body).await?)),
        (&Method::POST, "/v1/rm") => remove(node, read(body).await?).await,
        (&Method::POST, "/v1/gc") => Ok(json(&node.collect_garbage().await?)),
        (&Method::POST, "/v1/stat") => {
            let request: OfCid = read(body).await?;
            Ok(json(&Stat::from(node.stat(&cid(&request.cid)?).await?)))
        }
        (&Method::POST, "/v1/fetch") => fetch(node, read(body).await?),
        (&Method::POST, "/v1/blocks") => Ok(json(&store(node, body).await?)),
        (&Method::GET, path) if path.starts_with("/v1/blocks/") => {
            let block = node.block(&cid(path.trim_start_matches("/v1/blocks/"))?, vec![]).await?;
            Ok(Response::new(full(block.into_bytes())))
        }
        (method, path) => {
            Err(Error::new(ErrorKind::Unsupported, "control", format!("no request {method} {path}"))
                .mend("node and command should be of one version"))
        }
    }
}

async fn connect(node: &Node, request: ToConnect) -> Result<Response<Body>> {
    let address: PeerAddr = request.address.parse()?;
    let remote = node.connect(&address).await?;
    Ok(json(&OfPeer { peer: remote.to_string() }))
}

/// Ends the link to whoever `carrick peers` lists under a name: a peer, or over a daemon that of another daemon.
async fn disconnect(node: &Node, request: OfPeer) -> Result<Response<Body>> {
    let peers = node.peers().await?;
    let named = peers.into_iter().find(|peer| peer.remote.to_string() == request.peer).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "disconnect", format!("{} is not connected", request.peer))
            .mend("`carrick peers` lists who is")
    })?;
    node.disconnect(&named.remote).await?;
    Ok(json(&request))
}

async fn publish(node: &Node, request: ToPublish) -> Result<Response<Body>> {
    let topic = Topic::new(&request.topic)?;
    let published = node.publish(&topic, request.payload).await?;
    Ok(json(&Published::new(&topic, published)))
}

async fn subscribe(node: &Node, request: OnTopic) -> Result<Response<Body>> {
    let topic = Topic::new(&request.topic)?;
    let subscription = node.subscribe(&topic).await?;
    let first = stream::iter([Heard::Subscribed { subscribed: topic.to_string() }]);
    let deliveries = subscription.filter_map(async |delivery| Heard::from_delivery(&delivery));
    let closed = Error::new(ErrorKind::Closed, "subscribe", "the node is closing");
    let last = stream::iter([Heard::Error { error: closed.into() }]);
    Ok(lines(first.chain(deliveries).chain(last)))
}

fn events(node: &Node) -> Response<Body> {
    let first = stream::iter([Event::named("listening")]);
    lines(first.chain(node.events().map(|event| Event::from(&event))))
}

async fn pin(node: &Node, request: OfCid) -> Result<Response<Body>> {
    node.pin(&cid(&request.cid)?, Owner::user()).await?;
    Ok(json(&request))
}

async fn unpin(node: &Node, request: OfCid) -> Result<Response<Body>> {
    let cid = cid(&request.cid)?;
    if !node.unpin(&cid, &Owner::user()).await? {
        let detail = format!("{cid} is not pinned by {}", Owner::user().as_str());
        return Err(Error::new(ErrorKind::NotFound, "unpin", detail)
            .mend("`carrick pin ls` lists what is; with --all what others hold too"));
    }
    Ok(json(&request))
}

fn pins(node: &Node, request: &ToListPins) -> Response<Body> {
    let owner = Owner::user();
    let pins = node.pins((!request.all).then_some(&owner));
    lines(pins.map(|pin| match pin {
        Ok(pin) => PinLine::Pin(pin.into()),
        Err(error) => PinLine::Error { error: error.into() },
    }))
}

async fn remove(node: &Node, request: OfCid) -> Result<Response<Body>> {
    let collected = node.remove(&cid(&request.cid)?, &Owner::user()).await?;
    Ok(json(&Removed { cid: request.cid, collected }))
}

fn fetch(node: &Node, request: ToFetch) -> Result<Response<Body>> {
    let (deadline, idle) = (seconds(request.deadline)?, seconds(request.idle)?);
    let options = GetOptions { deadline, idle, ..GetOptions::default() };
    let get = node.get(&cid(&request.cid)?, options);
    let progress = get.progress();
    let ticks = tokio::time::interval_at(tokio::time::Instant::now() + PROGRESS, PROGRESS);
    let state = Fetch::Runs(get, progress, ticks);
    Ok(lines(stream::unfold(state, |state| async move {
        let (mut get, progress, mut ticks) = match state {
            Fetch::Runs(get, progress, ticks) => (get, progress, ticks),
            // Whoever asked may still read it, and goes when done.
            Fetch::Held(_got) => std::future::pending().await,
            Fetch::Failed => return None,
        };
        tokio::select! {
            biased;
            got = &mut get => Some(match got {
                Ok(got) => (Fetching::Done { done: (&got).into() }, Fetch::Held(got)),
                Err(error) => (Fetching::Error { error: error.into() }, Fetch::Failed),
            }),
            _ = ticks.tick() => {
                let now = *progress.borrow();
                let line = Fetching::Progress(Stored { blocks: now.blocks, bytes: now.bytes });
                Some((line, Fetch::Runs(get, progress, ticks)))
            }
        }
    })))
}

/// How far a fetch is.
enum Fetch {
    Runs(Get, watch::Receiver<Progress>, Interval),
    /// It is done: no garbage collection takes what came before the caller has gone.
    Held(Got),
    Failed,
}

/// Stores a stream of blocks, batch by batch, and pins the last one, which is their root; the next batch is read and hashed
/// while one is being written.
async fn store(node: &Node, body: Incoming) -> Result<Stored> {
    let mut sections = Sections::new(body, node.limits().block_bytes);
    let mut stored = Stored::default();
    let (hold, mut root) = (node.hold(), None);
    let mut writing: Option<tokio::task::JoinHandle<Result<()>>> = None;
    loop {
        let (batch, bytes) = batch_of(&mut sections).await?;
        if let Some(written) = writing.take() {
            written.await.map_err(|source| {
                Error::new(ErrorKind::Unexpected, "put", "writing broke off").from_source(source)
            })??;
        }
        let Some(last) = batch.last() else {
            if let Some(root) = root {
                node.pin(&root, Owner::user()).await?;
            }
            return Ok(stored);
        };
        root = Some(*last.cid());
        hold.add(batch.iter().map(Block::cid)).await;
        stored.blocks += batch.len() as u64;
        stored.bytes += bytes as u64;
        let node = node.clone();
        writing = Some(tokio::spawn(async move { node.put_blocks(&batch).await }));
    }
}

async fn batch_of(sections: &mut Sections<Incoming>) -> Result<(Vec<Block>, usize)> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while bytes < BATCH_BYTES && batch.len() < BATCH_BLOCKS {
        let Some(block) = sections.next().await? else { break };
        bytes += block.size();
        batch.push(block);
    }
    Ok((batch, bytes))
}

async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T> {
    let bytes = Limited::new(body, MAX_JSON).collect().await.map_err(|source| {
        Error::new(
            ErrorKind::TooLarge,
            "control",
            format!("the request broke off, or is above {MAX_JSON} bytes"),
        )
        .mend("put large content and publish its CID")
        .from_source(source)
    })?;
    parse(&bytes.to_bytes())
}

pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|source| {
        Error::new(ErrorKind::Config, "control", format!("the request is malformed: {source}"))
            .from_source(source)
    })
}

pub(super) fn cid(text: &str) -> Result<Cid> {
    let cid: Cid = text
        .parse()
        .map_err(|source| Error::new(ErrorKind::Config, "cid", format!("{text:?} is no CID: {source}")))?;
    carrick::CidPolicy::check(&cid)?;
    Ok(cid)
}

pub(super) fn seconds(value: Option<f64>) -> Result<Option<Duration>> {
    let parse = |value: f64| {
        Duration::try_from_secs_f64(value)
            .map_err(|_| Error::new(ErrorKind::Config, "fetch", format!("{value} is no number of seconds")))
    };
    value.map(parse).transpose()
}

fn json(value: &impl Serialize) -> Response<Body> {
    Response::new(full(line(value)))
}

/// One JSON object a line, as they come.
fn lines<T: Serialize>(objects: impl Stream<Item = T> + Send + 'static) -> Response<Body> {
    let frames = objects.map(|object| Ok(Frame::data(line(&object))));
    Response::new(StreamBody::new(frames).boxed_unsync())
}

fn line(value: &impl Serialize) -> Bytes {
    // Our answers have no keys that are not text, so this cannot fail.
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes.into()
}

fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Config => StatusCode::BAD_REQUEST,
        ErrorKind::Unauthorized => StatusCode::FORBIDDEN,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::Rejected | ErrorKind::Integrity => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Busy | ErrorKind::Closed => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::NoPeers | ErrorKind::Unreachable => StatusCode::BAD_GATEWAY,
        ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::Full => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
