//! Why reading or writing frames stopped.

use std::error::Error;
use std::sync::Arc;
use std::{fmt, io};

use super::Broken;

/// Why reading or writing frames stopped.
///
/// What a stream knows of its end travels through the traits of tokio as an [`io::Error`] made of a fault; any other
/// `io::Error` is [`Fault::Stopped`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// A frame breaks the format.
    Broken(Broken),
    /// The stream ended inside a frame, or before the answer.
    Cut,
    /// No byte moved for too long.
    Stalled,
    /// None came in the time that there was, which need not be its fault.
    Slow,
    /// The far end gave up, because we took nothing for too long.
    GivenUp,
    /// The far end wants no more of it, or gives no more.
    Stopped,
    /// The connection is gone, and the wire's own error says why.
    Lost(Arc<dyn Error + Send + Sync>),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(broken) => write!(f, "it sent {broken}"),
            Self::Cut => f.write_str("it ended the stream half-way"),
            Self::Stalled => f.write_str("no byte moved for too long"),
            Self::Slow => f.write_str("nothing came in time"),
            Self::GivenUp => f.write_str("it gave up, because nothing was read for too long"),
            Self::Stopped => f.write_str("it stopped the stream"),
            Self::Lost(error) => write!(f, "the connection was lost: {error}"),
        }
    }
}

impl Error for Fault {}

impl From<Broken> for Fault {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(fault) => fault,
            Err(_) => Self::Stopped,
        }
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        Self::other(fault)
    }
}
