//! `carrick up`: the node, in the foreground.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use carrick::{Node, Registry};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use super::Cx;
use super::args::Up;
use crate::control::server::Server;
use crate::control::socket_path;
use crate::control::wire::{Listening, Ready};
use crate::fault::{Failure, Outcome};

/// Within the five seconds that are promised.
const CLOSING: Duration = Duration::from_millis(4_500);

pub(super) async fn run(cx: &Cx, args: &Up) -> Outcome {
    raise_file_limit();
    let mut stop = Stop::listen(args.until_stdin_ends)?;
    let plan = cx.config()?.check(&Registry::linked()?)?;
    let socket = socket_path(plan.data_dir())?;
    let node = tokio::select! {
        node = plan.open() => node?,
        () = stop.asked() => return Ok(()),
    };
    let served = serve(cx, &node, &socket, &mut stop).await;
    let closing = tokio::time::timeout(CLOSING, node.close());
    tokio::select! {
        closed = closing => match closed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "not everything closed cleanly"),
            Err(_) => tracing::warn!("closing took too long and was given up"),
        },
        () = stop.asked() => return Err(Failure::Interrupted),
    }
    served?;
    cx.term.answer(&json!({ "event": "closed" }), "closed")
}

/// A node has a socket for each peer, and over a daemon one for each topic: more than the 1,024 files that many systems allow
/// where nobody asks for more.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the number of open files stays as it is");
    }
}

/// Answers commands until it is told to stop. Dropping the server ends their connections.
async fn serve(cx: &Cx, node: &Node, socket: &Path, stop: &mut Stop) -> Outcome {
    let _server = Server::start(node.clone(), socket)?;
    announce(cx, &ready(node, socket))?;
    stop.asked().await;
    cx.term.note("closing");
    Ok(())
}

fn ready(node: &Node, socket: &Path) -> Ready {
    let own = carrick::Protocol::P2p(node.peer_id());
    let listening = |transport: carrick::node::TransportInfo| Listening {
        name: transport.name,
        listen: transport.listen.into_iter().map(|addr| addr.with(own.clone()).to_string()).collect(),
    };
    Ready {
        event: "ready".into(),
        peer: node.peer_id().to_string(),
        network: node.network().to_string(),
        transports: node.transports().into_iter().map(listening).collect(),
        control: socket.to_path_buf(),
        pid: std::process::id(),
    }
}

fn announce(cx: &Cx, ready: &Ready) -> Outcome {
    if cx.term.json {
        return cx.term.json(ready);
    }
    cx.term.line(format!("peer     {}", ready.peer))?;
    cx.term.line(format!("network  {}", ready.network))?;
    for transport in &ready.transports {
        for addr in &transport.listen {
            cx.term.line(format!("listen   {addr}"))?;
        }
    }
    cx.term.line(format!("control  {}", ready.control.display()))?;
    let addrs = || ready.transports.iter().flat_map(|transport| &transport.listen);
    let local = |addr: &&String| addr.contains("/127.0.0.1/") || addr.contains("/ip6/::1/");
    if let Some(addr) = addrs().find(|addr| !local(addr)).or_else(|| addrs().next()) {
        cx.term.line("another node of this network connects with")?;
        cx.term.line(format!("  carrick connect {addr}"))?;
    }
    Ok(())
}

/// The ways in which a node is told to stop.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
    stdin_ended: Arc<Notify>,
}

impl Stop {
    /// From now on every order is noted, also while nobody waits for it.
    fn listen(until_stdin_ends: bool) -> Outcome<Self> {
        let stdin_ended = Arc::new(Notify::new());
        if until_stdin_ends {
            let ended = Arc::clone(&stdin_ended);
            // A thread of its own, which the runtime need not wait for.
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
                ended.notify_one();
            });
        }
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            stdin_ended,
        })
    }

    /// Waits for the next order to stop.
    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = self.stdin_ended.notified() => {}
        }
    }
}
