//! A peer that keeps no rule but those of TLS and the hello, written from `docs/transports/quic.md` alone.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use carrick_core::conformance::transport::RawWire;
use carrick_core::{Bytes, Keypair, Multiaddr, NetworkId, PeerAddr, PeerRecord, async_trait};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, SignatureScheme};
use serde::Serialize;

/// DER around the seed of an ed25519 key, and around its public half (RFC 8410).
const PKCS8: [u8; 16] = [48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];
const SPKI: [u8; 12] = [48, 42, 48, 5, 6, 3, 43, 101, 112, 3, 33, 0];

const HELLO: u8 = 0x01;
const MESSAGE: u8 = 0x10;

/// A connection whose hello was answered by one.
#[derive(Debug)]
pub(crate) struct Raw {
    connection: Connection,
    /// Kept open, as an honest peer keeps it, and not read.
    _control: (SendStream, RecvStream),
    messages: Option<SendStream>,
}

impl Raw {
    /// Proves a key, says a proper hello, and waits until it is answered by one.
    pub(crate) async fn open(to: &PeerAddr, network: &NetworkId, key: &Keypair) -> io::Result<Self> {
        let socket = to.addrs.iter().find_map(socket).expect("an address of QUIC");
        let mut endpoint = Endpoint::client("127.0.0.1:0".parse().expect("an address"))?;
        endpoint.set_default_client_config(tls(key));
        let connection = endpoint.connect(socket, "raw.invalid").map_err(io::Error::other)?.await?;
        let (mut send, mut recv) = connection.open_bi().await?;
        let record = PeerRecord::sign(key, network, 1, vec![], vec![]).map_err(io::Error::other)?;
        let record = serde_bytes::Bytes::new(record.encoded());
        let hello = Hello { v: 1, record, topics: vec![], network: network.as_str(), session: 7 };
        let hello = serde_ipld_dagcbor::to_vec(&hello).map_err(io::Error::other)?;
        send.write_all(&frame(HELLO, &hello)).await?;
        let mut head = [0; 5];
        recv.read_exact(&mut head).await.map_err(io::Error::other)?;
        if head[4] != HELLO {
            return Err(io::Error::other("the hello was not taken"));
        }
        Ok(Self { connection, _control: (send, recv), messages: None })
    }
}

#[async_trait]
impl RawWire for Raw {
    async fn send(&mut self, bytes: &[u8]) {
        let writing = async {
            if self.messages.is_none() {
                self.messages = self.connection.open_uni().await.ok();
            }
            if let Some(messages) = &mut self.messages {
                // Fails where the far end has ended the link, which is what it should do.
                let _ = messages.write_all(bytes).await;
            }
        };
        let connection = self.connection.clone();
        tokio::select! {
            () = writing => {}
            _ = connection.closed() => {}
        }
    }

    fn endless(&self) -> Bytes {
        [&u32::MAX.to_be_bytes()[..], &[MESSAGE]].concat().into()
    }

    async fn ended(&mut self) {
        self.connection.closed().await;
    }
}

/// Length, kind, body.
fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(1 + body.len()).expect("a frame is short").to_be_bytes();
    [&length[..], &[kind], body].concat()
}

#[derive(Serialize)]
struct Hello<'a> {
    v: u64,
    record: &'a serde_bytes::Bytes,
    topics: Vec<&'a str>,
    network: &'a str,
    session: u64,
}

fn socket(addr: &Multiaddr) -> Option<SocketAddr> {
    let text = addr.to_string();
    let mut parts = text.split('/').skip(1);
    let (_, ip, _, port) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
}

fn tls(key: &Keypair) -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let key = key.clone().try_into_ed25519().expect("an ed25519 key");
    let private = PrivatePkcs8KeyDer::from([&PKCS8, key.secret().as_ref()].concat()).into();
    let signer = provider.key_provider.load_private_key(private).expect("a key that signs");
    let shown = CertificateDer::from([&SPKI[..], &key.public().to_bytes()].concat());
    let resolver = AlwaysResolvesClientRawPublicKeys::new(Arc::new(CertifiedKey::new(vec![shown], signer)));
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3 is there")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_client_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"carrick/1".to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).expect("ciphers that QUIC takes")))
}

/// Does not ask who answers.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
