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

/// A part of the RPC may be missing, or closed to the secret.
#[tokio::test]
async fn what_the_daemon_lacks_is_told_at_the_start_where_the_node_cannot_do_without() {
    let missing = || vec![Answer::Status(404, "", "404 page not found")];
    let closed = || vec![Answer::Status(403, "", "Kubo RPC Access Denied")];
    for (command, path) in
        [("block/get?", "/api/v0/block"), ("dag/import?", "/api/v0/dag/import"), ("pin/add?", "/api/v0/pin")]
    {
        let at = format!("{} at http://127.0.0.1:", command.trim_end_matches('?'));
        told(&refused([(command, missing())]).await, ErrorKind::Unsupported, &at, "newer Kubo");
        let error = refused([(command, closed())]).await;
        told(&error, ErrorKind::Unauthorized, &at, path);
        let may_do_without = error.hint().is_some_and(|hint| hint.contains("pin = false"));
        assert_eq!(may_do_without, command == "pin/add?", "{error:?}");
    }
    let server = Server::start([("pin/add?", closed()), ("routing/findprovs?", missing())]).await;
    let mut config = config(&server);
    config.pin = false;
    let (node, _) = open(config).await.expect("it does without");
    let facts = &node.transports()[0].facts;
    let said = ["block", "dag/import", "pin", "routing"].map(|part| facts[part].as_str());
    assert_eq!(said, ["on", "on", "closed: the secret must open /api/v0/pin", "off"]);
}
