//! A way between two nodes that counts its bytes and may take its time.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::Result;

/// Bytes read at once, and how many of these may be on their way in one direction.
const CHUNK: usize = 64 << 10;
const ON_THE_WAY: usize = 1_024;

/// Takes connections and passes them on, until it is dropped.
#[derive(Debug)]
pub(super) struct Relay {
    addr: String,
    bytes: Arc<AtomicU64>,
    _task: JoinSet<()>,
}

impl Relay {
    /// To `/ip4/…/tcp/PORT/p2p/ID`; each byte takes `delay`, in either direction.
    pub(super) async fn to(addr: &str, delay: Duration) -> Result<Self> {
        let mut parts: Vec<&str> = addr.split('/').collect();
        let port = parts.get(4).ok_or_else(|| format!("{addr} has no port"))?.parse()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let own = listener.local_addr()?.port().to_string();
        parts[4] = &own;
        let addr = parts.join("/");
        let bytes = Arc::new(AtomicU64::new(0));
        let (there, counter) = (SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Arc::clone(&bytes));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((from, _)) = listener.accept().await {
                let Ok(to) = TcpStream::connect(there).await else { continue };
                // Small frames are not held back here.
                let _ = (from.set_nodelay(true), to.set_nodelay(true));
                let ((read, write), (back, forth)) = (from.into_split(), to.into_split());
                connections.spawn(pass(read, forth, delay, Arc::clone(&counter)));
                connections.spawn(pass(back, write, delay, Arc::clone(&counter)));
            }
        });
        Ok(Self { addr, bytes, _task: task })
    }

    /// What is dialled instead.
    pub(super) fn addr(&self) -> &str {
        &self.addr
    }

    /// Bytes that went through, in both directions.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Passes on in one direction until an end closes.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration, counter: Arc<AtomicU64>) {
    let (sender, mut chunks) = mpsc::channel::<(Instant, Bytes)>(ON_THE_WAY);
    let reading = async move {
        let mut buffer = vec![0; CHUNK];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            counter.fetch_add(read as u64, Ordering::Relaxed);
            let chunk = Bytes::copy_from_slice(&buffer[..read]);
            if sender.send((Instant::now() + delay, chunk)).await.is_err() {
                break;
            }
        }
    };
    let writing = async move {
        while let Some((due, chunk)) = chunks.recv().await {
            if !delay.is_zero() {
                sleep_until(due).await;
            }
            if to.write_all(&chunk).await.is_err() {
                break;
            }
        }
    };
    tokio::join!(reading, writing);
}
