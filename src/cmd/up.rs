//! `carrick up`: the node, in the foreground.

use std::path::Path;
use std::time::Duration;

use carrick::{Node, Registry};
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Cx;
use super::args::Up;
use crate::control::server::Server;
use crate::control::socket_path;
use crate::control::wire::{Listening, Ready};
use crate::fault::{Failure, Outcome};

/// Within the five seconds that are promised.
const CLOSING: Duration = Duration::from_millis(4_500);

pub(super) async fn run(cx: &Cx, args: &Up) -> Outcome {
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
    stdin: bool,
}

impl Stop {
    /// From now on signals are noted, also while nobody waits for them.
    fn listen(stdin: bool) -> Outcome<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            stdin,
        })
    }

    /// Waits for the next order to stop.
    async fn asked(&mut self) {
        let stdin = async {
            // Never ends unless it was asked for; an order that came once does not come again.
            if !std::mem::take(&mut self.stdin) {
                std::future::pending::<()>().await;
            }
            let mut buffer = [0; 64];
            while tokio::io::stdin().read(&mut buffer).await.is_ok_and(|read| read > 0) {}
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = stdin => {}
        }
    }
}
