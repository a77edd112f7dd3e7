//! The node's end of the control socket.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use carrick::{Error, ErrorKind, Node, Result};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::routes;

/// Connections at once; whoever comes then waits. Subscriptions and transfers hold one each.
const MAX_CONNECTIONS: usize = 256;

/// A control socket that is being served. Dropping it ends all connections and removes the socket.
#[derive(Debug)]
pub(crate) struct Server {
    path: PathBuf,
    accepting: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Listens at `path`. The caller holds the lock of the data folder, so a socket that is there already is stale.
    pub(crate) fn start(node: Node, path: &Path) -> Result<Self> {
        let failed = |source: io::Error| {
            Error::new(ErrorKind::Config, "control socket", format!("{}: {source}", path.display()))
                .mend("the data folder must be on a file system with Unix sockets, and writable")
                .from_source(source)
        };
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { path: path.to_path_buf(), accepting: tokio::spawn(accept(listener, node)) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
        let _ = fs::remove_file(&self.path);
    }
}

async fn accept(listener: UnixListener, node: Node) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Owns the connections: they end when this task does.
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) if is_ours(&stream) => {
                let serving = serve(stream, node.clone());
                connections.spawn(async move {
                    serving.await;
                    drop(permit);
                });
            }
            Ok(_) => tracing::warn!("a connection of another user was refused"),
            Err(error) => {
                tracing::warn!(%error, "the control socket does not accept");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

/// Whether the other end runs as our user, or as root: the socket exists for a moment before its mode is set.
fn is_ours(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

async fn serve(stream: UnixStream, node: Node) {
    let service = service_fn(move |request| {
        let node = node.clone();
        async move { Ok::<_, Infallible>(routes::answer(&node, request).await) }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a control connection broke");
    }
}
