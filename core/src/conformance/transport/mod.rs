//! What a [`Transport`](crate::Transport) promises. `transport_suite!(wire)` makes a test of each promise.
//!
//! The cases run real nodes over the transport, opened by its [`Fixture`]. What a transport says it cannot do is asserted
//! to be refused; nothing is passed over in silence.

#[macro_use]
mod cases;
mod broadcast;
mod dag;
mod fetch;
mod fixture;
mod foe;
mod hostile;
mod judge;
mod kit;
mod life;
mod load;
mod member;
mod mutants;
mod probe;
mod provider;
mod tally;
mod validation;
mod waits;
mod wrapper;

pub use self::cases::{CASES, Case, run};
#[doc(hidden)]
pub use self::cases::{SEED, run_and_tell};
pub use self::fixture::{Fixture, RawWire, Setup};
pub use self::kit::Kit;
pub use self::member::Member;
pub use self::mutants::{Mutant, Mutated, mutants};
pub use self::wrapper::{Wrapped, Wrapper};

/// How a case ended that did not panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The promise is kept.
    Kept,
    /// The transport says that it cannot, and refuses as it should. What it cannot do.
    Unsupported(&'static str),
}
