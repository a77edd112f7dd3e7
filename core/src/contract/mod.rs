//! What plugin authors implement.
//!
//! A transport moves bytes between peers. It never decides whether bytes are true, wanted, new, too many or allowed: it
//! asks its [`Host`](crate::Host). Required methods have no default bodies, so that a wrapper cannot bypass the backend
//! it wraps; conveniences live on [`Node`](crate::Node). Requests and answers are plain owned data.

mod broadcast;
mod fetch;
mod service;
mod store;
mod transport;
mod validator;

pub use broadcast::{Broadcast, Lane, Outgoing, Receipt, Skip};
pub use fetch::{Claims, Fetch, Fetched, Follow, Want, WantDag};
pub use service::Service;
pub use store::{Kept, Owner, Pin, PinDepth, Store, Usage};
pub use transport::Transport;
pub use validator::{Cause, Context, Membership, Need, Open, Path, Validator, Verdict};
