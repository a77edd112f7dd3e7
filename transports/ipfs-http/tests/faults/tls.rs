//! A daemon behind TLS: with the right certificate, with another, and where one end speaks TLS and the other does not.

use std::sync::Arc;

use carrick_core::ErrorKind;
use carrick_transport_ipfs_http::{Auth, IpfsHttpConfig, Scheme};
use futures::future::join;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::starts::told;
use super::{config, open};
use crate::server::Server;

/// A server that nobody signed but itself, and its certificate in a file.
async fn secured() -> (Server, tempfile::NamedTempFile) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
    let tls = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("a server");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), cert.pem()).expect("written");
    (Server::start_behind(Some(TlsAcceptor::from(Arc::new(tls))), []).await, file)
}

fn trusting(server: &Server, file: &tempfile::NamedTempFile) -> IpfsHttpConfig {
    let mut config = config(server);
    config.ca = Some(file.path().into());
    config
}

#[tokio::test]
async fn a_daemon_behind_tls_is_reached_and_shown_the_secret() {
    let (server, ca) = secured().await;
    let secret = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secret.path(), "s3cret").expect("written");
    let mut config = trusting(&server, &ca);
    config.auth = Some(Auth { scheme: Scheme::Bearer, file: Some(secret.path().into()), env: None });
    open(config).await.expect("opens");
    assert!(server.asked().iter().all(|(_, auth)| auth.as_deref() == Some("Bearer s3cret")));
}

#[tokio::test]
async fn a_certificate_that_nobody_trusts_is_refused_before_anything_is_said() {
    let ((server, _), (_, another)) = (secured().await, secured().await);
    for config in [config(&server), trusting(&server, &another)] {
        let error = open(config).await.expect_err("a stranger");
        told(&error, ErrorKind::Unreachable, "certificate", "`ca`");
    }
    let mut elsewhere = config(&server);
    elsewhere.api = server.api.replace("localhost", "127.0.0.1").parse().expect("an address");
    let error = open(elsewhere).await.expect_err("it is for another name");
    told(&error, ErrorKind::Unreachable, "certificate", "`ca`");
    assert_eq!(server.asked(), [], "nothing was asked");
}

#[tokio::test]
async fn tls_on_one_end_alone_says_which_way_to_write_it() {
    let (secured, ca) = secured().await;
    let mut plain = config(&secured);
    plain.api = secured.api.replace("https", "http").parse().expect("an address");
    let error = open(plain).await.expect_err("it wants TLS");
    assert!(error.hint().is_some_and(|hint| hint.contains("https://")), "{error}: {:?}", error.hint());
    // One hangs up, and one answers as Kubo does.
    for answer in
        [&b""[..], b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTPS request to an HTTP server.\n"]
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let mut config = trusting(&secured, &ca);
        config.api =
            format!("https://{}", listener.local_addr().expect("bound")).parse().expect("an address");
        let answering = async {
            let (mut stream, _) = listener.accept().await.expect("somebody comes");
            stream.read_buf(&mut Vec::with_capacity(16 << 10)).await.expect("it speaks");
            stream.write_all(answer).await.expect("it listens");
            stream.shutdown().await.expect("it listens");
        };
        let (opened, ()) = join(open(config), answering).await;
        told(&opened.expect_err("it speaks none"), ErrorKind::Unreachable, "no connection", "http://");
    }
}

#[tokio::test]
async fn certificates_that_cannot_be_read_are_named_by_their_file() {
    let server = Server::start([]).await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n")
        .expect("written");
    let mut absent = config(&server);
    absent.ca = Some(file.path().with_extension("nowhere"));
    for config in [trusting(&server, &file), absent] {
        let path = config.ca.as_ref().map(|path| path.display().to_string()).expect("it is set");
        let error = open(config).await.expect_err("no certificates");
        told(&error, ErrorKind::Config, &path, "PEM");
    }
    std::fs::write(file.path(), "").expect("written");
    let error = open(trusting(&server, &file)).await.expect_err("none in it");
    told(&error, ErrorKind::Config, "no certificate", "PEM");
}
