//! How commands reach the running node: HTTP and JSON over a Unix socket in its data folder.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /v1/status` | | the status |
//! | `GET /v1/peers` | | a list of peers |
//! | `POST /v1/connect` | `{"address"}` | `{"peer"}` |
//! | `POST /v1/disconnect` | `{"peer"}` | `{"peer"}` |
//! | `POST /v1/publish` | `{"topic","payload"}`, base64 | what became of it |
//! | `POST /v1/subscribe` | `{"topic"}` | lines: `{"subscribed"}`, then messages |
//! | `GET /v1/events` | | lines: `{"event":"listening"}`, then events |
//! | `POST /v1/blocks` | blocks, framed as in a CAR without its header, their root last | `{"blocks","bytes"}`: all of them durable, the root pinned and announced |
//! | `GET /v1/blocks/CID` | | the block, fetched if it must be |
//! | `POST /v1/ledger/append` | `{"ledger","payload"}`, base64 | `{"cid","clock","author"}` |
//! | `POST /v1/ledger/log` | `{"ledger","from"?,"follow"?,"settled"?,"settled_after"?}`, seconds | lines: entries in their order; with `follow` then those that come, or settle |
//! | `POST /v1/ledger/heads` | `{"ledger"}` | `{"heads","entries"}` |
//! | `POST /v1/ledger/status` | `{"ledger"}` | `{"ledger","topic","heads","entries","last","peers"}` |
//! | `POST /v1/ledger/verify` | `{"ledger","all"?,"mend"?}` | lines: progress, then `{"entries","ok","checked","mended"?}` |
//! | `POST /v1/pin` | `{"cid"}` | `{"cid"}`: pinned with all below it, and announced |
//! | `POST /v1/unpin` | `{"cid"}` | `{"cid"}`: the person's pin is gone |
//! | `POST /v1/pins` | `{"all"}` | lines: pins |
//! | `POST /v1/rm` | `{"cid"}` | `{"cid","kept","deleted","bytes"}` |
//! | `POST /v1/gc` | | `{"kept","deleted","bytes"}` |
//! | `POST /v1/stat` | `{"cid"}` | what it is, and what is here of it |
//! | `POST /v1/fetch` | `{"cid","deadline"?,"idle"?}`, seconds | lines: progress, then `{"done"}`; no garbage collection takes what came until the caller goes |
//!
//! An error is `{"error":{"kind","transport"?,"operation","message","hint"?}}` with a status that is not 2xx; in lines it
//! is the last. Bodies that are not streams are bounded, and so is the number of connections; only the node's own user gets in.

pub(crate) mod client;
pub(crate) mod content;
#[cfg(test)]
mod decoders;
pub(crate) mod ledger;
mod routes;
pub(crate) mod sections;
pub(crate) mod server;
pub(crate) mod wire;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use carrick::ErrorKind;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};

use crate::fault::Fault;

/// The name of the socket inside the data folder.
const SOCKET: &str = "carrick.sock";
/// What fits into a socket address, without the final zero.
const MAX_SOCKET_PATH: usize = 107;

/// What crosses in either direction.
type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A body that is at hand.
fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Where the node of a data folder listens.
pub(crate) fn socket_path(data_dir: &Path) -> Result<PathBuf, Fault> {
    let path = data_dir.join(SOCKET);
    let bytes = path.as_os_str().len();
    if bytes > MAX_SOCKET_PATH {
        let message =
            format!("the path {} has {bytes} bytes; at most {MAX_SOCKET_PATH} are allowed", path.display());
        return Err(Fault::new(ErrorKind::Config, "control socket", message)
            .mend("choose a shorter [node] data_dir, for example one under your home folder"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_path_is_refused_above_its_limit() {
        let dir =
            |length: usize| PathBuf::from(format!("/{}", "x".repeat(length - 1 - "/carrick.sock".len())));
        assert!(socket_path(&dir(107)).is_ok());
        let fault = socket_path(&dir(108)).expect_err("too long");
        assert_eq!(fault.exit_code(), 2);
        assert!(fault.hint.is_some_and(|hint| hint.contains("data_dir")));
    }
}
