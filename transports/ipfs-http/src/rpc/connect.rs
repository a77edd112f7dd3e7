//! Connections to the daemon: TCP, TLS, or a Unix socket.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use carrick_core::{BoxError, Result};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tower_service::Service;

use crate::Endpoint;
use crate::access::{Access, wrong};

/// How long a silent connection stands before the far end is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// What the system may hold of what is sent. Left to itself it takes up to 4 MiB at once, which on a slow line are sent long
/// after: then nothing tells that they go on.
const SENDING: usize = 256 << 10;

/// Hears of each connection that is opened.
type Opened = Arc<dyn Fn() + Send + Sync>;

/// Opens connections to one daemon.
#[derive(Clone)]
pub(super) struct Connector {
    way: Way,
    opened: Opened,
    timeout: Duration,
}

#[derive(Clone)]
enum Way {
    Net(HttpsConnector<HttpConnector>),
    Socket(Arc<PathBuf>),
}

impl Connector {
    pub(super) fn new(access: &Access, opened: Opened) -> Result<Self> {
        let way = match access.api.socket() {
            Some(path) => Way::Socket(path),
            None => Way::Net(net(access)?),
        };
        Ok(Self { way, opened, timeout: access.connect_timeout })
    }
}

fn net(access: &Access) -> Result<HttpsConnector<HttpConnector>> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_send_buffer_size(Some(SENDING));
    http.set_keepalive(Some(KEEPALIVE));
    http.set_keepalive_interval(Some(KEEPALIVE / 3));
    http.set_keepalive_retries(Some(3));
    let tls = tls(&access.api, access.ca.as_deref())?;
    Ok(HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http))
}

/// Trusts what the system trusts, and the certificates of `ca`. The system's are read only where they are needed.
fn tls(api: &Endpoint, ca: Option<&Path>) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    if api.base().scheme_str() == Some("https") {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if let Some(path) = ca {
        let unread = |error: BoxError| {
            wrong(format!("ca {} cannot be read: {error}", path.display()))
                .from_source(error)
                .mend("give the path of a file with certificates in PEM")
        };
        let before = roots.len();
        for cert in CertificateDer::pem_file_iter(path).map_err(|error| unread(error.into()))? {
            roots.add(cert.map_err(|error| unread(error.into()))?).map_err(|error| unread(error.into()))?;
        }
        if roots.len() == before {
            return Err(unread("there is no certificate in it".into()));
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| wrong(format!("TLS cannot be set up: {error}")))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Stream, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match &mut self.way {
            Way::Net(net) => net.poll_ready(cx),
            Way::Socket(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting: BoxFuture<'static, Result<Stream, BoxError>> = match &mut self.way {
            Way::Net(net) => {
                let connecting = net.call(to);
                async move { Ok(Stream(Box::new(connecting.await?))) }.boxed()
            }
            Way::Socket(path) => {
                let path = Arc::clone(path);
                async move {
                    let socket = tokio::net::UnixStream::connect(&*path).await?;
                    Ok(Stream(Box::new(TokioIo::new(socket))))
                }
                .boxed()
            }
        };
        let (opened, limit) = (Arc::clone(&self.opened), self.timeout);
        async move {
            let late = || format!("nobody answered within {} s", limit.as_secs_f64());
            let stream = tokio::time::timeout(limit, connecting).await.map_err(|_| late())??;
            opened();
            Ok(stream)
        }
        .boxed()
    }
}

trait Io: Read + Write + Connection + Send + Unpin {}
impl<T: Read + Write + Connection + Send + Unpin> Io for T {}

/// A connection of any kind.
pub(super) struct Stream(Box<dyn Io>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.0.connected()
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, to)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
