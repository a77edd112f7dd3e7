//! A peer that keeps no rule but those of TLS and the hello, written from `docs/transports/quic.md` alone.

use std::sync::Arc;
use std::time::Duration;

use carrick_core::conformance::transport::RawWire;
use carrick_core::{
    Bytes, Cid, Error, ErrorKind, Keypair, NetworkId, PeerAddr, PeerRecord, Result, Topic, async_trait,
};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, TransportConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, SignatureScheme};
use serde::Serialize;

use crate::cable::socket_addr;

/// DER around the seed of an ed25519 key, and around its public half (RFC 8410).
const PKCS8: [u8; 16] = [48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];
const SPKI: [u8; 12] = [48, 42, 48, 5, 6, 3, 43, 101, 112, 3, 33, 0];

const HELLO: u8 = 0x01;
const JOIN: u8 = 0x03;
const LEAVE: u8 = 0x04;
const RECORD: u8 = 0x05;
const MESSAGE: u8 = 0x10;
const ASK_HAS: u8 = 0x21;
const ASK_DAG: u8 = 0x22;
const PRESENT: u8 = 0x32;

/// A connection whose far end was told a key.
#[derive(Debug)]
pub(crate) struct Raw {
    connection: Connection,
    /// Sent to when the hello was taken; its other half is kept open and not read.
    control: Option<(SendStream, RecvStream)>,
    messages: Option<SendStream>,
    asked: Vec<(SendStream, RecvStream)>,
}

impl Raw {
    /// Proves a key and says nothing.
    pub(crate) async fn connect(to: &PeerAddr, key: &Keypair) -> Result<Self> {
        let socket = to.addrs.iter().find_map(socket_addr).expect("an address of QUIC");
        let mut endpoint = Endpoint::client("127.0.0.1:0".parse().expect("an address")).map_err(refused)?;
        endpoint.set_default_client_config(tls(key));
        let connection = endpoint.connect(socket, "raw.invalid").map_err(refused)?.await.map_err(refused)?;
        Ok(Self { connection, control: None, messages: None, asked: Vec::new() })
    }

    /// Says a proper hello, and waits until it is answered by one.
    pub(crate) async fn greet(&mut self, network: &NetworkId, key: &Keypair) -> Result<()> {
        let (mut send, mut recv) = self.connection.open_bi().await.map_err(refused)?;
        let record = PeerRecord::sign(key, network, 1, vec![], vec![])?;
        let record = serde_bytes::Bytes::new(record.encoded());
        let hello = Hello { v: 1, record, topics: vec![], network: network.as_str(), session: rand() };
        send.write_all(&frame(HELLO, &cbor(&hello))).await.map_err(refused)?;
        let mut head = [0; 5];
        recv.read_exact(&mut head).await.map_err(refused)?;
        if head[4] != HELLO {
            return Err(Error::new(ErrorKind::Unauthorized, "hostile", "the hello was not taken"));
        }
        self.control = Some((send, recv));
        tokio::spawn(promise_all(self.connection.clone()));
        Ok(())
    }

    /// Writes for as long as there is a link.
    async fn say(&mut self, kind: u8, body: &[u8]) -> bool {
        let (control, _) = self.control.as_mut().expect("it greeted");
        let frame = frame(kind, body);
        tokio::select! {
            _ = control.write_all(&frame) => {}
            _ = self.connection.closed() => {}
        }
        true
    }
}

#[async_trait]
impl RawWire for Raw {
    async fn ended(&mut self) {
        self.connection.closed().await;
    }

    async fn send(&mut self, bytes: &[u8]) -> bool {
        let connection = self.connection.clone();
        let writing = async {
            if self.messages.is_none() {
                self.messages = self.connection.open_uni().await.ok();
            }
            if let Some(messages) = &mut self.messages {
                let _ = messages.write_all(bytes).await;
            }
        };
        tokio::select! {
            () = writing => {}
            _ = connection.closed() => {}
        }
        true
    }

    fn endless(&self) -> Option<Bytes> {
        Some([&u32::MAX.to_be_bytes()[..], &[MESSAGE]].concat().into())
    }

    async fn join(&mut self, topic: &Topic) -> bool {
        self.say(JOIN, topic.as_str().as_bytes()).await
    }

    async fn leave(&mut self, topic: &Topic) -> bool {
        self.say(LEAVE, topic.as_str().as_bytes()).await
    }

    async fn message(&mut self, topic: &Topic, bytes: &[u8]) -> bool {
        let name = topic.as_str().as_bytes();
        let length = u16::try_from(name.len()).expect("a topic is short").to_be_bytes();
        self.send(&frame(MESSAGE, &[&length[..], name, bytes].concat())).await
    }

    async fn record(&mut self, record: &PeerRecord) -> bool {
        self.say(RECORD, record.encoded()).await
    }

    async fn ask(&mut self, cid: &Cid) -> bool {
        let ask = AskDag { have: vec![], depth: u32::MAX, limit: u64::MAX, roots: vec![*cid], follow: "all" };
        let Ok((mut send, recv)) = self.connection.open_bi().await else { return true };
        let _ = send.write_all(&frame(ASK_DAG, &cbor(&ask))).await;
        let _ = send.finish();
        self.asked.push((send, recv));
        true
    }
}

/// Says that everything is here, and answers no other request.
async fn promise_all(connection: Connection) {
    let mut unanswered = Vec::new();
    while let Ok((mut send, mut recv)) = connection.accept_bi().await {
        let mut head = [0; 5];
        if recv.read_exact(&mut head).await.is_ok() && head[4] == ASK_HAS {
            let _ = send.write_all(&frame(PRESENT, &[])).await;
            let _ = send.finish();
        }
        unanswered.push((send, recv));
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

#[derive(Serialize)]
struct AskDag {
    have: Vec<Cid>,
    depth: u32,
    limit: u64,
    roots: Vec<Cid>,
    follow: &'static str,
}

fn cbor(map: &impl Serialize) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(map).expect("it is a map")
}

/// A number that no other run has.
fn rand() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    RandomState::new().build_hasher().finish()
}

fn refused(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unauthorized, "hostile", source.to_string())
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
    let mut config =
        ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).expect("ciphers that QUIC takes")));
    let mut transport = TransportConfig::default();
    // Its far end has no reason to ask whether it is there.
    transport.keep_alive_interval(Some(Duration::from_millis(100)));
    config.transport_config(Arc::new(transport));
    config
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
