//! Why an attempt to catch up ended, and whose fault that was.

use carrick_core::{Error, ErrorKind};

/// Why it ended.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Whoever told of it misled us, or does not serve what it told of.
    Misled(Error),
    /// Our own store or rule may be in trouble; nobody is doubted for it.
    Troubled(Error),
}

impl Failed {
    /// What a fetch answered.
    pub(crate) fn of_fetch(error: Error) -> Self {
        if is_ours(&error) { Self::Troubled(error) } else { Self::Misled(error) }
    }

    pub(crate) fn error(self) -> Error {
        let (Self::Misled(error) | Self::Troubled(error)) = self;
        error
    }
}

/// What the store and the node itself answer.
impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Troubled(error)
    }
}

/// Whether a fetch failed here, and nobody who was asked had a part in it. `Busy` is what they answer, too.
pub(crate) fn is_ours(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Closed | ErrorKind::Config | ErrorKind::Full | ErrorKind::Unexpected)
}
