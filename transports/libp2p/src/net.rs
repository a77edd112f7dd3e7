//! The library, put together: what carries connections, and what is spoken over them.

use std::num::NonZeroUsize;
use std::time::Duration;

use carrick_core::{Host, Result};
use futures::future::Either;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, OptionalTransport, OrTransport};
use libp2p::core::upgrade::Version;
use libp2p::pnet::{PnetConfig, PnetError, PreSharedKey};
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{self, NetworkBehaviour};
use libp2p::{
    PeerId, Swarm, Transport as _, autonat, connection_limits, dcutr, dns, identify, mdns,
    memory_connection_limits, noise, ping, quic, relay, tcp, yamux,
};

use crate::Libp2pConfig;
use crate::gossip::{self, Guarded};
use crate::{admission, routing, streams};

/// Connections to one peer: two that dial each other at the same time have two, a relayed one stays beside a direct one, and those
/// of a life that ended without a goodbye are noticed later.
const PER_PEER: u32 = 8;
/// How often a connection is tried at least, and how long an answer may take: a slow line may have seconds of content before it. Of
/// two that fail one after the other the connection ends.
const PING: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(8));
/// How long a QUIC connection may be silent.
const QUIC_SILENCE: Duration = Duration::from_secs(8);
/// Streams that the far end may begin at once before they are negotiated.
const NEGOTIATING: usize = 128;
/// What one QUIC stream may have on its way. With a larger window lost packets can leave more gaps than the library bears: it ends
/// the connection above 1,024.
const QUIC_STREAM_BYTES: u32 = 1_250_000;

/// Streams of one connection over TCP. No more than a bound above our own, which are for the protocols; what it is for is the
/// window of a stream, which nothing else sets. The library lets all windows of a connection together grow to 1 GiB, less
/// 256 KiB for each of these streams: what is left is 768 KiB, so that no window is above 1 MiB. Helia sends as much as the
/// window has room for in one frame, and the library ends a connection over which a frame of more than 1 MiB comes.
const YAMUX_STREAMS: usize = 4_096 - 3;

/// What is spoken.
///
/// Who may refuse a connection comes first. Of the others those with the most protocols come last: each time a connection is
/// looked at, the library goes through the names of all protocols, those of an earlier one through more layers.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) admission: admission::Behaviour,
    pub(crate) limits: connection_limits::Behaviour,
    pub(crate) memory: Toggle<memory_connection_limits::Behaviour>,
    pub(crate) mdns: Toggle<mdns::tokio::Behaviour>,
    pub(crate) autonat_client: Toggle<autonat::v2::client::Behaviour>,
    pub(crate) autonat_server: Toggle<autonat::v2::server::Behaviour>,
    pub(crate) relay: Toggle<relay::client::Behaviour>,
    pub(crate) hole_punching: Toggle<dcutr::Behaviour>,
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) routing: routing::Behaviour,
    pub(crate) gossipsub: Guarded,
    pub(crate) streams: streams::Behaviour,
}

type Muxed = (PeerId, StreamMuxerBox);

/// Puts a swarm together; it does not listen yet.
///
/// # Errors
/// `Config` where the configuration cannot be followed.
pub(crate) fn swarm(
    config: &Libp2pConfig,
    host: &Host,
    streams: streams::Behaviour,
    routing: routing::Behaviour,
) -> Result<Swarm<Behaviour>> {
    let me = host.me();
    let (relayed, relay) = match config.relay_client {
        true => Some(relay::client::new(me)).unzip(),
        false => (None, None),
    };
    let psk = config.read_swarm_key()?;
    let transport = transport(host, psk, relayed)?;
    let behaviour = behaviour(config, host, streams, routing, relay)?;
    let tasks = host.clone();
    let swarm_config = swarm::Config::with_executor(move |task| tasks.spawn(task))
        .with_idle_connection_timeout(config.idle_timeout.0)
        .with_notify_handler_buffer_size(NonZeroUsize::new(64).unwrap_or(NonZeroUsize::MIN))
        .with_max_negotiating_inbound_streams(NEGOTIATING);
    let mut swarm = Swarm::new(transport, behaviour, me, swarm_config);
    for addr in &config.announce {
        swarm.add_external_address(addr.clone());
    }
    Ok(swarm)
}

fn behaviour(
    config: &Libp2pConfig,
    host: &Host,
    streams: streams::Behaviour,
    routing: routing::Behaviour,
    relay: Option<relay::client::Behaviour>,
) -> Result<Behaviour> {
    let limits = host.limits();
    let many = |count: usize| Some(u32::try_from(count).unwrap_or(u32::MAX));
    let bounds = connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(many(limits.handshakes))
        // A link takes a place of its own; a connection is over before the far end's next one is taken for a link.
        .with_max_established(many(limits.connections.saturating_add(limits.handshakes)))
        // Whoever comes leaves room for those that we dial.
        .with_max_established_incoming(many(limits.connections.saturating_add(limits.handshakes / 2)))
        .with_max_established_per_peer(Some(PER_PEER));
    let identify = identify::Config::new("ipfs/0.1.0".into(), host.keypair().public())
        .with_agent_version(concat!("carrick/", env!("CARGO_PKG_VERSION")).into())
        .with_push_listen_addr_updates(true)
        // What is told is what is confirmed: see `Task::listens`.
        .with_hide_listen_addrs(true);
    let mdns =
        config.mdns.then(|| mdns::tokio::Behaviour::new(mdns::Config::default(), host.me())).transpose();
    let mdns = mdns.map_err(|error| {
        host.fail(carrick_core::ErrorKind::Config, "open", format!("mdns cannot begin: {error}"))
            .mend("set mdns = false, or allow multicast on this machine")
            .from_source(error)
    })?;
    Ok(Behaviour {
        admission: admission::Behaviour::new(host.clone()),
        limits: connection_limits::Behaviour::new(bounds),
        memory: config.max_memory.map(memory_connection_limits::Behaviour::with_max_bytes).into(),
        streams,
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(ping::Config::new().with_interval(pings(host)).with_timeout(PING.1)),
        gossipsub: gossip::behaviour(config, host)?,
        routing,
        mdns: mdns.into(),
        autonat_client: config.autonat.then(autonat::v2::client::Behaviour::default).into(),
        autonat_server: config.autonat.then(autonat::v2::server::Behaviour::default).into(),
        relay: relay.into(),
        hole_punching: config.hole_punching.then(|| dcutr::Behaviour::new(host.me())).into(),
    })
}

/// How often a connection is tried: often enough that of a far end that keeps a request waiting it is known whether it is there.
fn pings(host: &Host) -> Duration {
    (host.limits().fetch_idle / 5).min(PING.0)
}

/// TCP and QUIC, names looked up, and relays. With a swarm key nothing but TCP: over the others it would be no secret network.
fn transport(
    host: &Host,
    psk: Option<PreSharedKey>,
    relayed: Option<relay::client::Transport>,
) -> Result<Boxed<Muxed>> {
    let key = host.keypair();
    let limits = host.limits();
    let noise = || {
        noise::Config::new(key).map_err(|error| {
            host.fail(carrick_core::ErrorKind::Unexpected, "open", "Noise cannot use the node's key")
                .from_source(error)
        })
    };
    let mut muxing = yamux::Config::default();
    muxing.set_max_num_streams(YAMUX_STREAMS);
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .and_then(move |socket, _| async move {
            match psk {
                Some(psk) => PnetConfig::new(psk).handshake(socket).await.map(Either::Left),
                None => Ok::<_, PnetError>(Either::Right(socket)),
            }
        })
        .upgrade(Version::V1Lazy)
        .authenticate(noise()?)
        .multiplex(muxing.clone())
        .timeout(limits.handshake)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let quic = match psk {
        Some(_) => OptionalTransport::none(),
        None => OptionalTransport::some(quic::tokio::Transport::new(quic_config(host))),
    };
    let quic = quic.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let sockets = OrTransport::new(quic, tcp).map(|either, _| match either {
        Either::Left(connection) | Either::Right(connection) => connection,
    });
    let named = dns::tokio::Transport::system(sockets).map_err(|error| {
        host.fail(carrick_core::ErrorKind::Config, "open", format!("names cannot be looked up: {error}"))
            .mend("is there a name server in /etc/resolv.conf?")
            .from_source(error)
    })?;
    let Some(relayed) = relayed else { return Ok(named.boxed()) };
    let relayed = relayed
        .upgrade(Version::V1Lazy)
        .authenticate(noise()?)
        .multiplex(muxing)
        .timeout(limits.handshake)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let all = OrTransport::new(relayed, named).map(|either, _| match either {
        Either::Left(connection) | Either::Right(connection) => connection,
    });
    Ok(all.boxed())
}

fn quic_config(host: &Host) -> quic::Config {
    let limits = host.limits();
    let mut config = quic::Config::new(host.keypair());
    config.handshake_timeout = limits.handshake;
    config.max_idle_timeout = u32::try_from(QUIC_SILENCE.as_millis()).unwrap_or(u32::MAX);
    config.keep_alive_interval = PING.0;
    config.max_concurrent_stream_limit = u32::try_from(4 * limits.streams_per_peer).unwrap_or(u32::MAX);
    config.max_connection_data = u32::try_from(limits.receive_window_bytes).unwrap_or(u32::MAX);
    // A stream that is not read leaves room to the others.
    config.max_stream_data = QUIC_STREAM_BYTES.min(config.max_connection_data / 2);
    config
}
