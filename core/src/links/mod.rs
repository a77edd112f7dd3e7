//! What every wire of its own repeats, for authors of transports. Nothing here is needed to keep the contract.
//!
//! | part | is |
//! |---|---|
//! | [`Hub`], [`Link`] | all links of a transport, and one of them: joining, publishing, passing on, ending |
//! | [`Asks`], [`Dials`] | the same for fetching blocks, and for connecting and staying connected |
//! | [`Table`] | beneath it: who is linked, who takes part in what, who has which message |
//! | [`SendQueue`] | what waits to be sent over one link |
//! | [`Pace`] | how many records of peers a link may be told, and how many of those it brought are passed on |
//! | [`search`], [`Tally`] | asking provider after provider for a block |
//! | [`frames`] | a length, a kind and a body on a stream; read with limits and deadlines |
//! | [`exchange`] | requests between nodes over a stream each: blocks, who has one, whole DAGs |
//! | [`Reason`], [`Refusal`] | why a link is refused or ended, and the one translation to the contract's error |
//!
//! A wire that does not fit the hub takes the parts. What the user of a transport says is checked by
//! [`Host`](crate::Host): `check_message`, `check_provided`, `dialled`.

mod asks;
mod dials;
pub mod exchange;
pub mod frames;
mod hub;
mod link;
mod pace;
mod queue;
mod refusal;
mod search;
mod table;

pub use asks::Asks;
pub use dials::Dials;
pub use hub::{Greeted, Hub, Room, Wire};
pub use link::{Link, Packed};
pub use pace::Pace;
pub use queue::SendQueue;
pub use refusal::{Reason, Refusal};
pub use search::{Miss, Tally, search};
pub use table::{Action, Arrival, Arrived, Table};
