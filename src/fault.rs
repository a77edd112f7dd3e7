//! Why a command ends: an error as it is printed and as it crosses the control socket, and the exit code.

use std::error::Error as _;
use std::io;

use carrick::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

/// An error in the words of `--json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fault {
    pub(crate) kind: ErrorKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) transport: Option<String>,
    pub(crate) operation: String,
    pub(crate) message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
}

impl Fault {
    pub(crate) fn new(kind: ErrorKind, operation: &str, message: impl Into<String>) -> Self {
        Self { kind, transport: None, operation: operation.into(), message: message.into(), hint: None }
    }

    pub(crate) fn mend(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The exit code of its kind.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.kind {
            ErrorKind::Config => 2,
            ErrorKind::Unreachable | ErrorKind::NoPeers | ErrorKind::Closed => 3,
            ErrorKind::NotFound | ErrorKind::Timeout => 4,
            ErrorKind::Rejected
            | ErrorKind::Unauthorized
            | ErrorKind::TooLarge
            | ErrorKind::Full
            | ErrorKind::Busy => 5,
            ErrorKind::Integrity => 6,
            _ => 1,
        }
    }

    /// One line: where, what was done, what happened.
    pub(crate) fn line(&self) -> String {
        match &self.transport {
            Some(transport) => format!("{transport}: {}: {}", self.operation, self.message),
            None => format!("{}: {}", self.operation, self.message),
        }
    }
}

impl From<&Error> for Fault {
    fn from(error: &Error) -> Self {
        Self {
            kind: error.kind(),
            transport: error.transport().map(str::to_string),
            operation: error.operation().into(),
            message: with_sources(error),
            hint: error.hint().map(str::to_string),
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

/// The detail and what is behind it, unless the detail says it already.
fn with_sources(error: &Error) -> String {
    let mut message = error.detail().to_string();
    // A configuration error is told in our own words; the reader's, behind it, would say the same again.
    let mut source = error.source().filter(|_| error.kind() != ErrorKind::Config);
    while let Some(error) = source {
        let text = error.to_string().replace('\n', " ");
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        source = error.source();
    }
    message
}

/// Why a command did not end well.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something failed; it is printed.
    Fault(Box<Fault>),
    /// Ctrl-C, or SIGTERM.
    Interrupted,
    /// Whoever read our output has gone: nothing is left to say.
    NobodyReads,
}

/// The result of a command, and of its parts.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(Box::new(fault))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Fault::from(error).into()
    }
}

/// For writing to standard output and error alone; other I/O says what it was about.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::NobodyReads,
            io::ErrorKind::StorageFull => Fault::new(ErrorKind::Full, "output", error.to_string())
                .mend("make room on the disk that the output goes to")
                .into(),
            _ => Fault::new(ErrorKind::Unexpected, "output", error.to_string()).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_the_promised_exit_code() {
        let code = |kind| Fault::new(kind, "test", "").exit_code();
        use ErrorKind::*;
        assert_eq!(code(Config), 2);
        assert_eq!([Unreachable, NoPeers, Closed].map(code), [3; 3]);
        assert_eq!([NotFound, Timeout].map(code), [4; 2]);
        assert_eq!([Rejected, Unauthorized, TooLarge, Full, Busy].map(code), [5; 5]);
        assert_eq!(code(Integrity), 6);
        assert_eq!([Unsupported, Unexpected].map(code), [1; 2]);
    }

    #[test]
    fn an_error_is_told_with_its_sources_once() {
        let disk = io::Error::other("disk gone");
        let error =
            Error::new(ErrorKind::Unexpected, "put", "a.txt").from_source(disk).mend("look at the disk");
        let fault = Fault::from(error);
        assert_eq!(fault.line(), "put: a.txt: disk gone");
        assert_eq!(fault.hint.as_deref(), Some("look at the disk"));
    }
}
