//! The one error of the contract: branch on its kind, read its chain.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Any foreign error, kept as the source of ours.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The result of every fallible call of the contract.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed, in words every transport shares. Callers branch on this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// A bounded queue or table has no room now; the same call may succeed later.
    Busy,
    /// The node, transport or store was closed.
    Closed,
    /// The configuration or the arguments are wrong; nothing was done.
    Config,
    /// The disk or a quota is full; what was stored before is intact.
    Full,
    /// Bytes, a signature or a log do not match what names them.
    Integrity,
    /// There is nobody to ask.
    NoPeers,
    /// A search ended without finding it.
    NotFound,
    /// A validator refused it.
    Rejected,
    /// A deadline or an idle limit passed.
    Timeout,
    /// Above a limit; the detail names the size and the limit.
    TooLarge,
    /// Membership, a ban or a missing right stands against it.
    Unauthorized,
    /// A fault that no other kind describes.
    Unexpected,
    /// The peer, daemon or network could not be reached.
    Unreachable,
    /// This transport or store cannot do it; its capabilities say so.
    Unsupported,
}

impl ErrorKind {
    /// The kind as it is written in JSON and logs: snake case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Closed => "closed",
            Self::Config => "config",
            Self::Full => "full",
            Self::Integrity => "integrity",
            Self::NoPeers => "no_peers",
            Self::NotFound => "not_found",
            Self::Rejected => "rejected",
            Self::Timeout => "timeout",
            Self::TooLarge => "too_large",
            Self::Unauthorized => "unauthorized",
            Self::Unexpected => "unexpected",
            Self::Unreachable => "unreachable",
            Self::Unsupported => "unsupported",
        }
    }

    /// When it makes sense to try again, unless the error itself knows better.
    fn retry(self) -> Retry {
        match self {
            Self::Busy | Self::Timeout | Self::NoPeers => Retry::After(Duration::from_secs(1)),
            Self::Unreachable | Self::NotFound | Self::Integrity => Retry::Elsewhere,
            _ => Retry::Never,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// When the same call may succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// Not without a change by the caller.
    Never,
    /// At once.
    Now,
    /// Not before this time has passed.
    After(Duration),
    /// At another peer or over another transport.
    Elsewhere,
}

/// A failed operation: what, where, when to retry, how to mend it, and the backend's own error as source.
///
/// `Display` is one lower-case line: `quic: dial: 12D3… did not answer`. The [hint](Error::hint), when there is
/// one, is a sentence for the person who can mend it and is printed on a line of its own. Cloning is cheap.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    retry: Retry,
    transport: Option<Cow<'static, str>>,
    operation: &'static str,
    detail: String,
    hint: Option<String>,
    source: Option<Arc<dyn std::error::Error + Send + Sync + 'static>>,
}

impl Error {
    /// An error of `kind` in `operation`, with one line of detail.
    pub fn new(kind: ErrorKind, operation: &'static str, detail: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            retry: kind.retry(),
            transport: None,
            operation,
            detail: detail.into(),
            hint: None,
            source: None,
        }))
    }

    fn inner(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.0)
    }

    /// Names the transport instance it happened on.
    #[must_use]
    pub fn on(mut self, transport: impl Into<Cow<'static, str>>) -> Self {
        self.inner().transport = Some(transport.into());
        self
    }

    /// Keeps the backend's own error as the source.
    #[must_use]
    pub fn from_source(mut self, source: impl Into<BoxError>) -> Self {
        self.inner().source = Some(Arc::from(source.into()));
        self
    }

    /// Adds the mend: what a person can do about it.
    #[must_use]
    pub fn mend(mut self, hint: impl Into<String>) -> Self {
        self.inner().hint = Some(hint.into());
        self
    }

    /// Says when to try again, where the kind's own answer is wrong.
    #[must_use]
    pub fn retry_when(mut self, retry: Retry) -> Self {
        self.inner().retry = retry;
        self
    }

    /// Why it failed.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// When the same call may succeed.
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// The transport instance it happened on, if it was one.
    pub fn transport(&self) -> Option<&str> {
        self.0.transport.as_deref()
    }

    /// The operation that failed, such as `dial`.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// What happened, without transport and operation.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(transport) = &self.0.transport {
            write!(f, "{transport}: ")?;
        }
        write!(f, "{}: {}", self.0.operation, self.0.detail)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("retry", &self.0.retry)
            .field("transport", &self.0.transport)
            .field("operation", &self.0.operation)
            .field("detail", &self.0.detail)
            .field("hint", &self.0.hint)
            .field("source", &self.0.source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_one_line_with_place_and_operation() {
        let error = Error::new(ErrorKind::Unreachable, "dial", "no answer").on("quic").mend("start the peer");
        assert_eq!(error.to_string(), "quic: dial: no answer");
        assert_eq!(error.hint(), Some("start the peer"));
        assert_eq!(error.retry(), Retry::Elsewhere);
    }

    #[test]
    fn an_error_is_one_pointer_wide() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
