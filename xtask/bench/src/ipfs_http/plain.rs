//! A plain client of a daemon's RPC: hyper's own pool, connections kept, nothing checked.

use std::convert::Infallible;

use bytes::Bytes;
use carrick_interop::Daemon;
use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::Result;

type Body = UnsyncBoxBody<Bytes, Infallible>;

const HEAD: &str = "--part\r\nContent-Disposition: form-data; name=\"file\"; filename=\"file\"\r\n\
                    Content-Type: application/octet-stream\r\n\r\n";
const TAIL: &str = "\r\n--part--\r\n";

pub(crate) struct Plain {
    client: Client<HttpConnector, Body>,
    base: String,
}

impl Plain {
    pub(crate) fn new(daemon: &Daemon) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { client, base: format!("{}/api/v0", daemon.api) }
    }

    /// The whole answer to a command with its query.
    pub(crate) async fn call(&self, command: &str) -> Result<Bytes> {
        Ok(self.begin(command).await?.collect().await?.to_bytes())
    }

    /// An answer as it comes.
    pub(super) async fn begin(&self, command: &str) -> Result<Incoming> {
        self.request(command, None, Empty::new().boxed_unsync()).await
    }

    /// The whole answer to a command that takes a file, which is given in pieces.
    pub(super) async fn give<I>(&self, command: &str, file: I) -> Result<Bytes>
    where
        I: Iterator<Item = Bytes> + Send + 'static,
    {
        let parts = std::iter::once(Bytes::from(HEAD)).chain(file).chain(std::iter::once(Bytes::from(TAIL)));
        let body = StreamBody::new(stream::iter(parts.map(|part| Ok(Frame::data(part))))).boxed_unsync();
        let answer = self.request(command, Some("multipart/form-data; boundary=part"), body).await?;
        Ok(answer.collect().await?.to_bytes())
    }

    async fn request(&self, command: &str, kind: Option<&str>, body: Body) -> Result<Incoming> {
        let mut request = Request::post(format!("{}/{command}", self.base));
        if let Some(kind) = kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        let answer = self.client.request(request.body(body)?).await?;
        if answer.status() == StatusCode::OK {
            return Ok(answer.into_body());
        }
        let (status, said) = (answer.status(), answer.into_body().collect().await?.to_bytes());
        Err(format!("{command}: {status} {}", String::from_utf8_lossy(&said)).into())
    }
}
