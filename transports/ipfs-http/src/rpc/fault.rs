//! What can go wrong between us and the daemon, and the one translation to the contract's error.

use std::borrow::Cow;
use std::fmt;

use carrick_core::{BoxError, Error, ErrorKind};
use ipfs_api_prelude::ApiError;

/// What a daemon may say of itself in one of our lines.
const MAX_WORDS: usize = 300;

const IS_IT_THERE: &str =
    "is the daemon running (`ipfs daemon`), and is that its address? It is `api` in the configuration";
const FILES: &str =
    "each topic takes a connection: raise the number of open files (`ulimit -n`) of this node";
const CERTIFICATE: &str = "`api` must name the daemon as its certificate does, and `ca` the file of the certificate that signed it \
                           where the system does not trust that";
const NO_TLS: &str = "it speaks no TLS: write `api` with http://, or correct it";
const OTHER_PROGRAM: &str = "something else listens there: correct `api` in the configuration";
const OTHER_WORDS: &str = "something else may listen there, or want TLS: see `api` in the configuration, and write https:// \
                           for TLS";
const TOKEN: &str = "the daemon's secret goes under `auth`, beside `api`; it stands in `API.Authorizations` of the daemon's \
                     own configuration, where `AllowedPaths` must hold";
pub(crate) const PUBSUB_OFF: &str = "run `ipfs config --json Pubsub.Enabled true` and restart the daemon, or set \
                                     `pubsub = false` under the transport to fetch only";
const SLOW: &str =
    "is the daemon overloaded or stopped? `request_timeout` and `idle_timeout` say how long to wait";

/// A failed call: which, why, and what to do about it.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) kind: ErrorKind,
    detail: String,
    hint: Option<Cow<'static, str>>,
    /// Of our own client alone: what reads a stranger's words may repeat them at any length.
    source: Option<BoxError>,
}

impl Fault {
    pub(crate) fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), hint: None, source: None }
    }

    /// Keeps the error that is behind it.
    pub(crate) fn because(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(crate) fn mend(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what else a person can do about it.
    pub(crate) fn or(self, other: &str) -> Self {
        let hint = format!("{}; or {other}", self.hint());
        self.mend(hint)
    }

    /// What a person can do about it.
    pub(crate) fn hint(&self) -> &str {
        self.hint.as_deref().unwrap_or_default()
    }

    /// Says which call it was, and where.
    pub(crate) fn of(mut self, command: &str, at: &impl fmt::Display) -> Self {
        if self.kind == ErrorKind::Unauthorized {
            self.hint = Some(format!("{TOKEN} {}", path(command)).into());
        }
        self.detail = format!("{} at {at}: {}", command.trim_start_matches('/'), self.detail);
        self
    }

    /// Whether the daemon said these words.
    pub(crate) fn says(&self, words: &str) -> bool {
        self.detail.contains(words)
    }

    /// No connection could be made.
    pub(crate) fn unreachable(why: impl fmt::Display) -> Self {
        let why = why.to_string();
        let hint = match () {
            () if why.contains("certificate") => CERTIFICATE,
            () if why.contains("Too many open files") => FILES,
            () if why.contains("InvalidContentType") || why.contains("handshake") => NO_TLS,
            () => IS_IT_THERE,
        };
        Self::new(ErrorKind::Unreachable, format!("no connection: {why}")).mend(hint)
    }

    /// The connection ended in the middle of an answer.
    pub(crate) fn cut(why: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Unreachable, format!("the connection broke: {why}")).mend(IS_IT_THERE)
    }

    pub(crate) fn silent(what: &str, after: std::time::Duration) -> Self {
        Self::new(ErrorKind::Timeout, format!("{what} within {} s", after.as_secs_f64())).mend(SLOW)
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(ErrorKind::TooLarge, format!("the answer is longer than {limit} bytes"))
    }

    /// What came is nothing that Kubo's RPC says.
    pub(crate) fn junk(what: impl fmt::Display) -> Self {
        Self::new(
            ErrorKind::Unexpected,
            format!("the answer is not what Kubo says: {}", clean(&what.to_string())),
        )
        .mend(OTHER_PROGRAM)
    }

    /// What came is not even HTTP: another program, or TLS.
    pub(crate) fn no_http(what: impl fmt::Display) -> Self {
        Self::junk(format_args!("no HTTP: {what}")).mend(OTHER_WORDS)
    }

    /// An answer other than 200.
    pub(crate) fn status(status: hyper::StatusCode, body: &[u8], location: Option<&str>) -> Self {
        if status.is_redirection() {
            let to = location.and_then(|to| to.parse::<hyper::Uri>().ok());
            let to = to.and_then(|to| to.host().map(str::to_owned)).unwrap_or_else(|| "elsewhere".into());
            let detail = format!("it redirects to {}, and redirects are not followed", clean(&to));
            return Self::new(ErrorKind::Unreachable, detail).mend("write the address behind it as `api`");
        }
        let said = clean(&String::from_utf8_lossy(&body[..body.len().min(4 * MAX_WORDS)]));
        match (status.as_u16(), serde_json::from_slice::<Said>(body)) {
            (400 | 500, Ok(error)) => Self::said(&error.message),
            (403, _) => Self::new(ErrorKind::Unauthorized, format!("access denied: {said}")),
            (502..=504, _) => {
                let detail = format!("a proxy says that the daemon is not there: status {status}");
                Self::new(ErrorKind::Unreachable, detail).mend(IS_IT_THERE)
            }
            (429, _) => Self::new(ErrorKind::Busy, format!("too many requests: {said}"))
                .mend("lower `concurrency` of the transport, or allow more in the proxy before the daemon"),
            (401, _) => Self::new(ErrorKind::Unauthorized, "access denied"),
            (404, _) if said.starts_with("404 page not found") => {
                Self::new(ErrorKind::Unsupported, "the daemon has no such command")
                    .mend("run a newer Kubo; if it is one, something else may listen there: see `api`")
            }
            (400, _) => {
                Self::new(ErrorKind::Unexpected, format!("it refused the request: {said}")).mend(OTHER_WORDS)
            }
            _ if said.starts_with('<') => Self::junk(format_args!("status {status} and a page")),
            _ => Self::junk(format_args!("status {status}: {said:?}")),
        }
    }

    /// What the daemon says when a command fails.
    pub(crate) fn said(message: &str) -> Self {
        let kind = |words: &[&str]| words.iter().any(|words| message.contains(words));
        let fault = |kind| Self::new(kind, clean(message));
        if kind(&["pubsub feature not enabled"]) {
            return fault(ErrorKind::Unsupported).mend(PUBSUB_OFF);
        }
        if kind(&["no space left", "storage max", "disk quota"]) {
            return fault(ErrorKind::Full)
                .mend("make room on the daemon's disk, or raise `Datastore.StorageMax`");
        }
        if kind(&["dial to self"]) {
            return fault(ErrorKind::Config);
        }
        if kind(&["context deadline exceeded", "i/o timeout"]) && !kind(&["failed to dial"]) {
            return fault(ErrorKind::Timeout);
        }
        if kind(&["no connected peers", "failed to find any peer"]) {
            return fault(ErrorKind::NoPeers);
        }
        if kind(&["failed to dial", "no addresses", "no good addresses", "connection refused"]) {
            return fault(ErrorKind::Unreachable);
        }
        if kind(&["could not find", "not found", "not pinned"]) {
            return fault(ErrorKind::NotFound);
        }
        if kind(&["mismatch in content integrity"]) {
            return fault(ErrorKind::Integrity);
        }
        if kind(&["over 2MiB"]) {
            return fault(ErrorKind::TooLarge);
        }
        fault(ErrorKind::Unexpected)
    }

    /// The contract's error.
    pub(crate) fn into_error(self, operation: &'static str) -> Error {
        let mut error = Error::new(self.kind, operation, self.detail);
        if let Some(hint) = self.hint {
            error = error.mend(hint);
        }
        match self.source {
            Some(source) => error.from_source(source),
            None => error,
        }
    }
}

/// The line with which a command fails.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Said {
    message: String,
}

/// The path that opens a command, and those beside it that are used too.
fn path(command: &str) -> String {
    let command = command.trim_start_matches('/');
    let part = if command == "dag/import" { command } else { command.split('/').next().unwrap_or(command) };
    format!("/api/v0/{part}")
}

/// One short line without control characters.
pub(crate) fn clean(text: &str) -> String {
    let line: String =
        text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_WORDS).collect();
    if line.is_empty() { "nothing".into() } else { line }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl From<ApiError> for Fault {
    fn from(error: ApiError) -> Self {
        Self::said(&error.message)
    }
}

impl From<ipfs_api_prelude::Error> for Fault {
    fn from(error: ipfs_api_prelude::Error) -> Self {
        Self::junk(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_daemon_says_has_a_kind() {
        for (message, kind) in [
            ("block was not found locally (offline): ipld: could not find bafk", ErrorKind::NotFound),
            ("context deadline exceeded", ErrorKind::Timeout),
            ("write /repo/blocks: no space left on device", ErrorKind::Full),
            ("connect 12D failure: failed to dial 12D: dial tcp: i/o timeout", ErrorKind::Unreachable),
            ("connect 12D failure: dial to self attempted", ErrorKind::Config),
            ("cannot provide, no connected peers", ErrorKind::NoPeers),
            ("produced block is over 2MiB: big blocks can't be exchanged", ErrorKind::TooLarge),
            ("import failed: mismatch in content integrity, expected: bafk", ErrorKind::Integrity),
            ("something new", ErrorKind::Unexpected),
        ] {
            assert_eq!(Fault::said(message).kind, kind, "{message}");
        }
        let off = Fault::said(
            "experimental pubsub feature not enabled, run daemon with --enable-pubsub-experiment",
        );
        assert!(off.into_error("open").hint().is_some_and(|hint| hint.contains("Pubsub.Enabled true")));
    }

    #[test]
    fn what_is_behind_a_fault_is_behind_the_error() {
        let fault = Fault::cut("reset").because(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        let error = fault.of("/id", &"there").into_error("open").on("daemon");
        let source =
            std::error::Error::source(&error).and_then(|source| source.downcast_ref::<std::io::Error>());
        assert_eq!(source.map(std::io::Error::kind), Some(std::io::ErrorKind::ConnectionReset));
    }

    #[test]
    fn what_the_daemon_says_stays_one_short_line() {
        let fault = Fault::said(&format!("a\n\u{1b}[31mb{}", "x".repeat(10_000))).of("/id", &"there");
        let line = fault.into_error("open").to_string();
        assert!(line.starts_with("open: id at there: a  [31mb") && line.len() < 400, "{line}");
    }
}
