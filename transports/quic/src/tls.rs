//! TLS 1.3 with raw public keys (RFC 7250): the key of a node *is* its certificate.
//!
//! Both ends prove the ed25519 key behind their [`PeerId`]. There are no certificates, no names and no clock:
//! whoever holds the key is the peer. Sessions are never resumed, because a resumed one would skip the
//! question whether the peer is admitted.

use std::fmt;
use std::sync::{Arc, OnceLock};

use carrick_core::{Error, ErrorKind, Host, Keypair, PeerId, Result};
use libp2p_identity::{PublicKey, ed25519};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
};

/// The protocol and its major version, as ALPN names it. Another framing would be another name.
pub(crate) const ALPN: &[u8] = b"carrick/1";

/// DER of a PKCS#8 version 1 private key of ed25519, up to the 32 bytes of the seed (RFC 8410).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// DER of a SubjectPublicKeyInfo of ed25519, up to the 32 bytes of the key (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Our side of every TLS handshake.
#[derive(Clone)]
pub(crate) struct Credentials {
    host: Host,
    provider: Arc<CryptoProvider>,
    key: Arc<CertifiedKey>,
}

/// Why our own verifier refused the far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Distrust {
    /// It proved this key, not the one that was dialled.
    OtherKey(PeerId),
    /// It is not a member, or banned.
    NotAdmitted(PeerId),
    /// It is this node itself.
    Oneself,
    /// Its key is no ed25519 key.
    NoPeer,
}

/// Where the verifier of one dial leaves its reason: TLS itself carries only an alert.
pub(crate) type Verdict = Arc<OnceLock<Distrust>>;

impl Credentials {
    /// Takes the node's key from its host.
    pub(crate) fn new(host: &Host) -> Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let key = Arc::new(certified(host.keypair(), &provider)?);
        Ok(Self { host: host.clone(), provider, key })
    }

    /// The accepting side: any admitted peer.
    pub(crate) fn server(&self) -> Result<QuicServerConfig> {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(unusable)?
            .with_client_cert_verifier(Arc::new(self.verifier(None)))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(self.key.clone())));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        QuicServerConfig::try_from(config).map_err(unusable)
    }

    /// The dialling side: one peer, or whoever is admitted.
    pub(crate) fn client(&self, expected: Option<PeerId>) -> Result<(QuicClientConfig, Verdict)> {
        let verifier = self.verifier(expected);
        let verdict = verifier.verdict.clone();
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(self.key.clone())));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        Ok((QuicClientConfig::try_from(config).map_err(unusable)?, verdict))
    }

    fn verifier(&self, expected: Option<PeerId>) -> Verifier {
        let algorithms = self.provider.signature_verification_algorithms;
        Verifier { host: self.host.clone(), expected, algorithms, verdict: Verdict::default() }
    }
}

/// The peer at the other end of an established connection.
pub(crate) fn peer_of(connection: &quinn::Connection) -> Option<PeerId> {
    let identity = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    peer_of_spki(identity.first()?)
}

/// The peer whose key a SubjectPublicKeyInfo holds.
pub(crate) fn peer_of_spki(spki: &[u8]) -> Option<PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(spki.strip_prefix(&SPKI_PREFIX)?).ok()?;
    Some(PublicKey::from(key).to_peer_id())
}

fn certified(key: &Keypair, provider: &CryptoProvider) -> Result<CertifiedKey> {
    let key = key.clone().try_into_ed25519().map_err(unusable)?;
    let pkcs8 = [&PKCS8_PREFIX, key.secret().as_ref()].concat();
    let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pkcs8));
    let signer = provider.key_provider.load_private_key(private).map_err(unusable)?;
    let spki = [&SPKI_PREFIX[..], &key.public().to_bytes()].concat();
    Ok(CertifiedKey::new(vec![CertificateDer::from(spki)], signer))
}

fn unusable(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unexpected, "open", format!("TLS cannot use the node's key: {source}"))
        .from_source(source)
}

/// Judges the key of the far end; the same for both sides.
struct Verifier {
    host: Host,
    expected: Option<PeerId>,
    algorithms: WebPkiSupportedAlgorithms,
    verdict: Verdict,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("expected", &self.expected).finish_non_exhaustive()
    }
}

impl Verifier {
    fn judge(&self, spki: &[u8]) -> Result<(), Distrust> {
        let peer = peer_of_spki(spki).ok_or(Distrust::NoPeer)?;
        if peer == self.host.me() {
            return Err(Distrust::Oneself);
        }
        if self.expected.is_some_and(|expected| expected != peer) {
            return Err(Distrust::OtherKey(peer));
        }
        if self.host.admits(&peer) { Ok(()) } else { Err(Distrust::NotAdmitted(peer)) }
    }

    fn verify(&self, spki: &[u8]) -> Result<(), rustls::Error> {
        self.judge(spki).map_err(|distrust| {
            // Only the first reason counts; a verifier is asked once a handshake.
            let _ = self.verdict.set(distrust);
            // Sent as the alert `access_denied`: the far end learns that it is not wanted.
            rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
        })
    }

    fn signed(
        &self,
        message: &[u8],
        spki: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let key = SubjectPublicKeyInfoDer::from(spki.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
    }
}

/// TLS 1.2 is never offered; should a library negotiate it all the same, the handshake fails.
fn no_tls12<T>() -> Result<T, rustls::Error> {
    Err(rustls::Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOffered))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verify(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_behind_a_key_is_libp2ps() {
        let key = Keypair::generate_ed25519();
        let certified = certified(&key, &aws_lc_rs::default_provider()).expect("usable");
        let spki = certified.cert.first().expect("one key");
        assert_eq!(spki.len(), 44);
        assert_eq!(peer_of_spki(spki), Some(key.public().to_peer_id()));
        let signers = certified.key.public_key().expect("the signer knows its key");
        assert_eq!(signers.as_ref(), spki.as_ref(), "the signer holds the key that is shown");
    }

    #[test]
    fn what_is_no_ed25519_key_is_no_peer() {
        let key = [&SPKI_PREFIX[..], &[0xff; 31]].concat();
        assert_eq!(peer_of_spki(&key), None);
        assert_eq!(peer_of_spki(&[]), None);
        assert_eq!(peer_of_spki(&[0; 44]), None);
    }
}
