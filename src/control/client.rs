//! A command's end of the control socket.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::{Buf, Bytes, BytesMut};
use carrick::ErrorKind;
use carrick::node::Collected;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::ledger::{Heads, Made, OfLedger, Standing, ToAppend, ToRead, ToVerify, Verified, Verifying};
use super::wire::{
    OfCid, OfPeer, OnTopic, Peer, Published, Refusal, Removed, Stat, ToConnect, ToFetch, ToListPins,
    ToPublish,
};
use super::{Body, full};
use crate::fault::Fault;

type Sender = SendRequest<Body>;
type Result<T> = std::result::Result<T, Fault>;

/// The running node of a data folder. Connections are opened when they are needed and used again.
#[derive(Debug)]
pub(crate) struct Client {
    socket: PathBuf,
    idle: Mutex<Vec<Sender>>,
}

impl Client {
    /// The node that listens at `socket`; nothing is opened yet.
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket, idle: Mutex::default() }
    }

    pub(crate) async fn status(&self) -> Result<serde_json::Value> {
        self.get("/v1/status").await
    }

    pub(crate) async fn peers(&self) -> Result<Vec<Peer>> {
        self.get("/v1/peers").await
    }

    pub(crate) async fn connect(&self, address: &str) -> Result<OfPeer> {
        self.post("/v1/connect", &ToConnect { address: address.into() }).await
    }

    pub(crate) async fn disconnect(&self, peer: &str) -> Result<OfPeer> {
        self.post("/v1/disconnect", &OfPeer { peer: peer.into() }).await
    }

    pub(crate) async fn publish(&self, topic: &str, payload: &[u8]) -> Result<Published> {
        self.post("/v1/publish", &ToPublish { topic: topic.into(), payload: payload.into() }).await
    }

    /// The messages of a topic; the first line says that it was joined.
    pub(crate) async fn subscribe(&self, topic: &str) -> Result<Lines> {
        let body = full(json(&OnTopic { topic: topic.into() }));
        self.lines(Method::POST, "/v1/subscribe", body).await
    }

    /// The node's events; the first line says that none is missed from now on.
    pub(crate) async fn events(&self) -> Result<Lines> {
        self.lines(Method::GET, "/v1/events", full(Bytes::new())).await
    }

    /// Fetches everything under a CID into the node's store.
    pub(crate) async fn fetch(&self, want: &ToFetch) -> Result<Lines> {
        self.lines(Method::POST, "/v1/fetch", full(json(want))).await
    }

    /// Makes an entry of a ledger.
    pub(crate) async fn append(&self, ledger: &str, payload: &[u8]) -> Result<Made> {
        self.post("/v1/ledger/append", &ToAppend { ledger: ledger.into(), payload: payload.into() }).await
    }

    /// The entries of a ledger in their order.
    pub(crate) async fn log(&self, want: &ToRead) -> Result<Lines> {
        self.lines(Method::POST, "/v1/ledger/log", full(json(want))).await
    }

    pub(crate) async fn heads(&self, ledger: &str) -> Result<Heads> {
        self.post("/v1/ledger/heads", &OfLedger { ledger: ledger.into() }).await
    }

    /// Where a ledger stands, and who takes part in it.
    pub(crate) async fn standing(&self, ledger: &str) -> Result<Standing> {
        self.post("/v1/ledger/status", &OfLedger { ledger: ledger.into() }).await
    }

    /// Checks a ledger; `progress` is told how many entries it has behind it, and of how many.
    pub(crate) async fn verify(
        &self,
        want: &ToVerify,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Verified> {
        let mut lines = self.lines(Method::POST, "/v1/ledger/verify", full(json(want))).await?;
        loop {
            match lines.next().await? {
                Some(Verifying::Progress { progress: entries, of }) => progress(entries, of),
                Some(Verifying::Done(verified)) => return Ok(verified),
                Some(Verifying::Error { error }) => return Err(error),
                None => return Err(Fault::new(ErrorKind::Closed, "verify", "the node went away")),
            }
        }
    }

    pub(crate) async fn pin(&self, cid: &str) -> Result<OfCid> {
        self.post("/v1/pin", &OfCid { cid: cid.into() }).await
    }

    pub(crate) async fn unpin(&self, cid: &str) -> Result<OfCid> {
        self.post("/v1/unpin", &OfCid { cid: cid.into() }).await
    }

    /// The person's pins, or those of all owners.
    pub(crate) async fn pins(&self, all: bool) -> Result<Lines> {
        self.lines(Method::POST, "/v1/pins", full(json(&ToListPins { all }))).await
    }

    /// Takes the person's pin away, and deletes what nothing else holds.
    pub(crate) async fn remove(&self, cid: &str) -> Result<Removed> {
        self.post("/v1/rm", &OfCid { cid: cid.into() }).await
    }

    /// Deletes what nothing holds.
    pub(crate) async fn collect_garbage(&self) -> Result<Collected> {
        parse(&self.whole(Method::POST, "/v1/gc", full(Bytes::new())).await?)
    }

    pub(crate) async fn stat(&self, cid: &str) -> Result<Stat> {
        self.post("/v1/stat", &OfCid { cid: cid.into() }).await
    }

    /// One block, which the node fetches if it must. Not checked here.
    pub(crate) async fn block(&self, cid: &str) -> Result<Bytes> {
        self.whole(Method::GET, &format!("/v1/blocks/{cid}"), full(Bytes::new())).await
    }

    /// Sends a body of framed blocks.
    pub(super) async fn send_blocks<T: DeserializeOwned>(&self, body: Body) -> Result<T> {
        parse(&self.whole(Method::POST, "/v1/blocks", body).await?)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        parse(&self.whole(Method::GET, path, full(Bytes::new())).await?)
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        parse(&self.whole(Method::POST, path, full(json(body))).await?)
    }

    /// A request whose answer is read to its end, after which the connection is free again.
    async fn whole(&self, method: Method, path: &str, body: Body) -> Result<Bytes> {
        let mut sender = self.connection().await?;
        let response = self.send(&mut sender, method, path, body).await?;
        let bytes = response.into_body().collect().await.map_err(|error| self.broke(&error))?.to_bytes();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        Ok(bytes)
    }

    async fn lines(&self, method: Method, path: &str, body: Body) -> Result<Lines> {
        let mut sender = self.connection().await?;
        let response = self.send(&mut sender, method, path, body).await?;
        Ok(Lines {
            body: response.into_body(),
            buffer: BytesMut::new(),
            socket: self.socket.clone(),
            _connection: sender,
        })
    }

    async fn send(
        &self,
        sender: &mut Sender,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<Response<Incoming>> {
        let request = Request::builder().method(method).uri(path).header("host", "carrick").body(body);
        let request =
            request.map_err(|error| Fault::new(ErrorKind::Unexpected, "control", error.to_string()))?;
        let response = sender.send_request(request).await.map_err(|error| self.broke(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let bytes = response.into_body().collect().await.map_err(|error| self.broke(&error))?.to_bytes();
        let Refusal { error } = parse(&bytes)?;
        Err(error)
    }

    async fn connection(&self) -> Result<Sender> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut sender) = idle else { return self.open().await };
            if sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
    }

    async fn open(&self) -> Result<Sender> {
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|error| not_running(&self.socket, &error))?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| self.broke(&error))?;
        // Ends when the sender is dropped, or the node goes away.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn broke(&self, error: &dyn std::fmt::Display) -> Fault {
        broke(&self.socket, error)
    }
}

/// Objects of JSON, one a line, as the node sends them.
#[derive(Debug)]
pub(crate) struct Lines {
    body: Incoming,
    buffer: BytesMut,
    socket: PathBuf,
    /// The answer ends when the connection goes.
    _connection: Sender,
}

impl Lines {
    /// The next one; `None` when the node ended the answer.
    ///
    /// Dropping the future loses nothing.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end);
                self.buffer.advance(1);
                return parse(&line).map(Some);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => return Err(broke(&self.socket, &error)),
                None => return Ok(None),
            }
        }
    }
}

fn json(value: &impl Serialize) -> Bytes {
    // Our requests have no keys that are not text, so this cannot fail.
    serde_json::to_vec(value).unwrap_or_default().into()
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        Fault::new(ErrorKind::Unexpected, "control", format!("the node's answer is malformed: {error}"))
            .mend("node and command should be of one version")
    })
}

fn not_running(socket: &Path, error: &io::Error) -> Fault {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("run as the user who started the node: {}", socket.display())
        }
        _ => format!("start it with `carrick up`; the socket looked for is {}", socket.display()),
    };
    let message = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => "no node is running".to_string(),
        _ => format!("the node cannot be reached: {error}"),
    };
    Fault::new(ErrorKind::Unreachable, "control", message).mend(hint)
}

fn broke(socket: &Path, error: &dyn std::fmt::Display) -> Fault {
    Fault::new(ErrorKind::Closed, "control", format!("the node went away: {error}"))
        .mend(format!("start it with `carrick up`; its socket was {}", socket.display()))
}
