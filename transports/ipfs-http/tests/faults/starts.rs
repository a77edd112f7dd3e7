//! What stands where the daemon should, and secrets that open nothing: each says what it is and what to do.

use carrick_core::{Error, ErrorKind};
use carrick_transport_ipfs_http::{Auth, Scheme};

use super::{config, open, refused};
use crate::server::{Answer, Server};

#[track_caller]
pub(super) fn told(error: &Error, kind: ErrorKind, words: &str, mend: &str) {
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains(mend)), "{error}: {:?}", error.hint());
}

/// Databases, one of words and one of bytes, and a program that hangs up.
#[tokio::test]
async fn a_program_that_speaks_no_http_is_told_from_a_daemon() {
    let mysql = b"\x4a\0\0\0\x0a8.0.36\0\x08\0\0\0";
    for bytes in [&b"-ERR unknown command 'POST'\r\n"[..], mysql] {
        let error = refused([("id", vec![Answer::Raw(bytes)])]).await;
        told(&error, ErrorKind::Unexpected, "no HTTP", "`api`");
    }
    let error = refused([("id", vec![Answer::Raw(b"")])]).await;
    told(&error, ErrorKind::Unreachable, "the connection broke", "`api`");
}

#[tokio::test]
async fn a_program_with_answers_of_its_own_is_told_from_a_daemon() {
    for (status, answer) in [(200, r#"{"status":"ok"}"#), (200, "pong"), (200, ""), (400, "bad"), (405, "no")]
    {
        let error = refused([("id", vec![Answer::Status(status, "", answer)])]).await;
        told(&error, ErrorKind::Unexpected, "id at http://127.0.0.1:", "`api`");
    }
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_is_named_by_its_file() {
    let server = Server::start([]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let with = |file: std::path::PathBuf| {
        let mut config = config(&server);
        config.auth = Some(Auth { scheme: Scheme::Bearer, file: Some(file), env: None });
        config
    };
    // A folder is one that not even the administrator can read.
    for file in [folder.path().join("nowhere"), folder.path().to_owned()] {
        let error = open(with(file.clone())).await.expect_err("no secret");
        told(&error, ErrorKind::Config, &file.display().to_string(), "a file that this user may read");
    }
    let empty = folder.path().join("empty");
    std::fs::write(&empty, " \n").expect("written");
    let error = open(with(empty)).await.expect_err("no secret");
    told(&error, ErrorKind::Config, "is empty", "");
    assert_eq!(server.asked(), [], "nobody was asked without it");
}
