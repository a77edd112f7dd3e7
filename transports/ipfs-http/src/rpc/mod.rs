//! Calls of the daemon's RPC: one client for all of them, with a deadline for every wait and a bound on every answer.

mod answer;
mod backend;
mod body;
pub(crate) mod calls;
mod connect;
pub(crate) mod fault;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use carrick_core::limits::MAX_BLOCK_BYTES;
use carrick_core::{ErrorKind, Result};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, InvalidHeaderValue, LOCATION, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use ipfs_api_prelude::ApiRequest;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

pub(crate) use self::answer::{Answer, Lines};
pub(crate) use self::body::Payload;
use self::body::Watched;
use self::connect::Connector;
pub(crate) use self::fault::Fault;
use crate::Endpoint;
use crate::access::{Access, Auth, Scheme, wrong};

/// The longest answer in JSON that is read.
const MAX_JSON: usize = 8 << 20;
/// Bytes a second.
const SLOWEST: u64 = 16 << 10;
/// What is read of an answer that says what failed.
const MAX_ERROR: usize = 64 << 10;
/// How long an unused connection is kept.
const POOLED: Duration = Duration::from_secs(30);

/// The client of one daemon. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Rpc(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    endpoint: Endpoint,
    /// The same with the path of the RPC, as the request types want it.
    base: http_02::Uri,
    client: Client<Connector, Watched>,
    auth: Option<HeaderValue>,
    request: Duration,
    idle: Duration,
    /// Places for calls that the daemon answers by itself.
    calls: Arc<Semaphore>,
    /// Places for blocks, for which it searches the network: what nobody has keeps its place until its time is up.
    fetches: Arc<Semaphore>,
    /// Places for what it asks of the routing, which may take as long, and must keep no block waiting.
    searches: Arc<Semaphore>,
    /// Places for blocks that it is given: on a slow line they take as long as they go on.
    uploads: Arc<Semaphore>,
}

impl fmt::Debug for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rpc({})", self.0.endpoint)
    }
}

impl Rpc {
    /// Reads the secret and the certificates; connects to nobody yet. `opened` hears of each connection.
    ///
    /// # Errors
    /// `Config` for what cannot be read.
    pub(crate) fn new(access: &Access, opened: impl Fn() + Send + Sync + 'static) -> Result<Self> {
        let endpoint = access.api.clone();
        let base = endpoint.base().to_string();
        let base = format!("{}/api/v0", base.trim_end_matches('/'));
        let base = base.parse().map_err(|error| wrong(format!("api {endpoint}: {error}")))?;
        if access.auth.is_some() && endpoint.is_in_clear() {
            tracing::warn!(at = %endpoint, "the secret of the daemon crosses the network in the clear: use https");
        }
        let connector = Connector::new(access, Arc::new(opened))?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOLED)
            // More than are used at once: one that comes back a moment late is not closed for it.
            .pool_max_idle_per_host(4 * access.concurrency)
            .build(connector);
        Ok(Self(Arc::new(Inner {
            auth: access.auth.as_ref().map(authorization).transpose()?,
            endpoint,
            base,
            client,
            request: access.request_timeout,
            idle: access.idle_timeout,
            calls: Arc::new(Semaphore::new(access.concurrency)),
            fetches: Arc::new(Semaphore::new(access.concurrency)),
            searches: Arc::new(Semaphore::new(access.concurrency)),
            uploads: Arc::new(Semaphore::new(access.concurrency)),
        })))
    }

    /// Where the daemon is.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// How long the daemon may take to begin an answer.
    pub(crate) fn patience(&self) -> Duration {
        self.0.request
    }

    /// The answer in JSON.
    pub(crate) async fn json<R: ApiRequest, T: DeserializeOwned>(
        &self,
        call: R,
        payload: Payload,
    ) -> Result<T, Fault> {
        self.read::<R, T>(&self.bytes(call, payload).await?)
    }

    /// The same of a call that brings the daemon blocks.
    pub(crate) async fn upload<R: ApiRequest, T: DeserializeOwned>(
        &self,
        call: R,
        blocks: Bytes,
    ) -> Result<T, Fault> {
        self.read::<R, T>(&self.whole(&self.0.uploads, call, Payload::Part(blocks)).await?)
    }

    fn read<R: ApiRequest, T: DeserializeOwned>(&self, answer: &[u8]) -> Result<T, Fault> {
        serde_json::from_slice(answer).map_err(|error| Fault::junk(error).of(R::PATH, &self.0.endpoint))
    }

    /// The whole answer of a call.
    pub(crate) async fn bytes<R: ApiRequest>(&self, call: R, payload: Payload) -> Result<Bytes, Fault> {
        self.whole(&self.0.calls, call, payload).await
    }

    async fn whole<R: ApiRequest>(
        &self,
        among: &Arc<Semaphore>,
        call: R,
        payload: Payload,
    ) -> Result<Bytes, Fault> {
        let call = self.prepare(&call, payload)?;
        let slot = place(among).await;
        let answer = self.send(call, self.0.request, slot, self.0.idle).await?;
        self.in_time::<R>(self.0.request, answer.whole(MAX_JSON)).await
    }

    /// Bounds what is read of an answer, however slowly it drips.
    async fn in_time<R: ApiRequest>(
        &self,
        within: Duration,
        reading: impl Future<Output = Result<Bytes, Fault>>,
    ) -> Result<Bytes, Fault> {
        let late = |_| Fault::silent("no whole answer", within).of(R::PATH, &self.0.endpoint);
        timeout(within, reading).await.map_err(late)?
    }

    /// How long so many bytes may take to come, on the slowest line that is waited for.
    pub(crate) fn patience_for(&self, bytes: u64) -> Duration {
        self.0.request + Duration::from_secs(bytes / SLOWEST)
    }

    /// A block that the daemon has itself, and that comes `within` that time once it began.
    pub(crate) async fn bring<R: ApiRequest>(&self, call: R, within: Duration) -> Result<Bytes, Fault> {
        let answer = self.begin(&self.0.fetches, call, self.0.request, self.0.idle).await?;
        self.in_time::<R>(within, answer.whole(MAX_BLOCK_BYTES)).await
    }

    /// A block, if it is no longer than `limit` and begins to come `within` that time.
    pub(crate) async fn fetch<R: ApiRequest>(
        &self,
        call: R,
        within: Duration,
        limit: usize,
    ) -> Result<Bytes, Fault> {
        self.begin(&self.0.fetches, call, within, self.0.idle).await?.whole(limit).await
    }

    /// The whole answer of the routing, if it is no longer than `limit` and begins `within` that time.
    pub(crate) async fn search<R: ApiRequest>(
        &self,
        call: R,
        within: Duration,
        limit: usize,
    ) -> Result<Bytes, Fault> {
        self.begin(&self.0.searches, call, within, self.0.idle).await?.whole(limit).await
    }

    /// The same, line by line as it comes, none longer than `limit`.
    pub(crate) async fn search_lines<R: ApiRequest>(
        &self,
        call: R,
        within: Duration,
        limit: usize,
    ) -> Result<Lines, Fault> {
        Ok(self.begin(&self.0.searches, call, within, within).await?.lines(limit))
    }

    async fn begin<R: ApiRequest>(
        &self,
        among: &Arc<Semaphore>,
        call: R,
        within: Duration,
        idle: Duration,
    ) -> Result<Answer, Fault> {
        let call = self.prepare(&call, Payload::Nothing)?;
        let slot = place(among).await;
        self.send(call, within, slot, idle).await
    }

    /// An answer of which every byte comes as it likes: a subscription. It takes no place among the requests.
    pub(crate) async fn subscribe<R: ApiRequest>(&self, call: R) -> Result<Answer, Fault> {
        let prepared = self.prepare(&call, Payload::Nothing)?;
        self.send(prepared, self.0.request, None, Duration::MAX).await
    }

    /// Whether the daemon offers a command: asked without anything it does nothing, and says what it wants.
    ///
    /// # Errors
    /// `Unsupported` where there is no such command, `Unauthorized` where the secret does not open it; `Unreachable` and
    /// `Timeout` where nothing is answered.
    pub(crate) async fn offers(&self, command: &'static str) -> Result<(), Fault> {
        use ErrorKind::{Timeout, Unauthorized, Unreachable, Unsupported};
        let call = self.request(command, format!("{}{command}", self.0.base), Payload::Nothing)?;
        let slot = place(&self.0.calls).await;
        match self.send(call, self.0.request, slot, self.0.idle).await {
            Err(fault) if matches!(fault.kind, Unsupported | Unauthorized | Unreachable | Timeout) => {
                Err(fault)
            }
            // Whatever else it says, it is there.
            _ => Ok(()),
        }
    }

    fn prepare<R: ApiRequest>(&self, call: &R, payload: Payload) -> Result<Prepared, Fault> {
        self.request(R::PATH, call.absolute_url(&self.0.base)?.to_string(), payload)
    }

    fn request(&self, command: &'static str, url: String, payload: Payload) -> Result<Prepared, Fault> {
        let (body, kind) = payload.into_body();
        let mut request = Request::builder().method(Method::POST).uri(url).header(USER_AGENT, "carrick");
        if let Some(auth) = &self.0.auth {
            request = request.header(AUTHORIZATION, auth);
        }
        if let Some(kind) = kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        let (body, taken) = Watched::new(body);
        let request = request.body(body).map_err(Fault::junk)?;
        Ok(Prepared { command, request, taken })
    }

    /// Sends a call and waits for the response: for as long as the daemon goes on taking what is sent, and then `within` that
    /// time.
    async fn response(&self, mut call: Prepared, within: Duration) -> Result<Response<Incoming>, Fault> {
        let mut response = self.0.client.request(call.request);
        // Before the first piece there is the connection to wait for.
        let mut patience = within;
        loop {
            let taken = timeout(patience, call.taken.changed());
            tokio::select! {
                biased;
                response = &mut response => return response.map_err(failed),
                taken = taken => match taken {
                    Ok(Ok(())) => patience = self.0.idle,
                    Ok(Err(_)) => break,
                    Err(_) => return Err(Fault::silent("nothing more was taken of what is sent", patience)),
                },
            }
        }
        match timeout(within, response).await {
            Ok(response) => response.map_err(failed),
            Err(_) => Err(Fault::silent("no answer", within)),
        }
    }

    /// Sends a call and waits until a good answer begins.
    async fn send(
        &self,
        call: Prepared,
        within: Duration,
        slot: Option<OwnedSemaphorePermit>,
        idle: Duration,
    ) -> Result<Answer, Fault> {
        let command = call.command;
        let named = |fault: Fault| fault.of(command, &self.0.endpoint);
        let response = self.response(call, within).await.map_err(named)?;
        let status = response.status();
        let location = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).map(str::to_owned);
        let to = (command, self.0.endpoint.clone());
        if status == StatusCode::OK {
            return Ok(Answer::new(response, idle, slot, to));
        }
        // What is too long to be an error of Kubo's, or does not come, is no less telling than nothing.
        let said = timeout(self.0.idle, Answer::new(response, self.0.idle, slot, to).whole(MAX_ERROR)).await;
        let said = said.unwrap_or_else(|_| Ok(Bytes::new())).unwrap_or_default();
        Err(named(Fault::status(status, &said, location.as_deref())))
    }
}

/// What a request that brought no response came to.
fn failed(error: hyper_util::client::legacy::Error) -> Fault {
    let fault = match () {
        () if error.is_connect() => Fault::unreachable(causes(&error)),
        () if no_http(&error) => Fault::no_http(causes(&error)),
        () => Fault::cut(causes(&error)),
    };
    fault.because(error)
}

/// Waits for its turn; all who go before have a deadline, for the next byte at least.
async fn place(among: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(among).acquire_owned().await.ok()
}

/// A call that is ready to go.
pub(crate) struct Prepared {
    command: &'static str,
    request: Request<Watched>,
    /// Tells of what is taken of it.
    taken: watch::Receiver<()>,
}

/// The header that shows the secret.
fn authorization(auth: &Auth) -> Result<HeaderValue> {
    let secret = auth.secret()?;
    let value = match auth.scheme {
        Scheme::Bearer => format!("Bearer {secret}"),
        Scheme::Basic => format!("Basic {}", STANDARD.encode(&secret)),
    };
    secret_header(&value).map_err(|_| wrong("the secret that auth names holds characters that no header may"))
}

/// Marked so that nothing prints it.
fn secret_header(value: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(value)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether what came was no HTTP at all.
fn no_http(error: &dyn std::error::Error) -> bool {
    error.source().and_then(|cause| cause.downcast_ref::<hyper::Error>()).is_some_and(hyper::Error::is_parse)
}

/// An error with all that is behind it, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut at = error.source();
    while let Some(cause) = at {
        let words = cause.to_string();
        if !line.contains(&words) {
            line = format!("{line}: {words}");
        }
        at = cause.source();
    }
    line
}
