//! quinn alone, with the transport settings and the cipher suites of Carrick's QUIC.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use crate::Result;
use crate::content;
use crate::process::{Fetched, Usage, answer_usage};

/// As `transports/quic/src/io/sockets.rs`.
const STREAM_WINDOW: u32 = 1_250_000;
const RECEIVE_WINDOW: u32 = 2 << 20;
const SOCKET_BUFFER: usize = 4 << 20;
const NAME: &str = "bench";

/// Where a server is and how it proves itself.
#[derive(Serialize, Deserialize)]
struct Server {
    addr: SocketAddr,
    certificate: String,
}

/// Sends the content to whoever opens a stream.
pub(crate) async fn serve(size_mib: u64) -> Result<()> {
    let blocks: Arc<[_]> = (0..size_mib).map(content::block).collect();
    let own = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der())?;
    let tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)?;
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(transport());
    let endpoint = Endpoint::new(EndpointConfig::default(), Some(config), socket()?, Arc::new(TokioRuntime))?;
    let server = Server { addr: endpoint.local_addr()?, certificate: own.cert.pem() };
    println!("{}", serde_json::to_string(&serde_json::to_string(&server)?)?);
    let accepting = endpoint.clone();
    tokio::spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            if let Ok(connection) = incoming.await {
                tokio::spawn(send(connection, Arc::clone(&blocks)));
            }
        }
    });
    answer_usage().await
}

async fn send(connection: Connection, blocks: Arc<[bytes::Bytes]>) -> Result<()> {
    let (mut stream, mut asked) = connection.accept_bi().await?;
    asked.read_to_end(16).await?;
    for block in blocks.iter() {
        stream.write_chunk(block.clone()).await?;
    }
    stream.finish()?;
    connection.closed().await;
    Ok(())
}

/// Receives the content and drops it.
pub(crate) async fn fetch(server: &str) -> Result<()> {
    let server: Server = serde_json::from_str(server)?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(server.certificate.as_bytes())?)?;
    let tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(transport());
    let endpoint = Endpoint::new(EndpointConfig::default(), None, socket()?, Arc::new(TokioRuntime))?;
    let connection = endpoint.connect_with(config, server.addr, NAME)?.await?;
    let (before, start) = (Usage::now()?, Instant::now());
    let (mut ask, mut stream) = connection.open_bi().await?;
    ask.write_all(b"all").await?;
    ask.finish()?;
    let mut bytes = 0;
    while let Some(chunk) = stream.read_chunk(usize::MAX, true).await? {
        bytes += chunk.bytes.len() as u64;
    }
    let seconds = start.elapsed().as_secs_f64();
    let fetched = Fetched { bytes, seconds, usage: Usage::now()?.since(&before) };
    println!("{}", serde_json::to_string(&fetched)?);
    connection.close(VarInt::from_u32(0), b"");
    endpoint.wait_idle().await;
    Ok(())
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn transport() -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .send_window(RECEIVE_WINDOW.into())
        .datagram_receive_buffer_size(None);
    Arc::new(config)
}

fn socket() -> Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    Ok(socket.into())
}
