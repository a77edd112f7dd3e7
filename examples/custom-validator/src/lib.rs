//! Two plugins in a crate of their own.
//!
//! [`Readings`] judges messages one by one. [`OnlyWhatYouOwn`] is the rule of a ledger: an entry moves coins, and nobody
//! spends what its author did not have. A program that links this crate can name both in its configuration:
//!
//! ```toml
//! [[validator]]
//! kind   = "readings"
//! topics = ["readings"]
//!
//! [ledger.coins]
//! kind    = "transfers"
//! genesis = { 12D3KooWQtR9yHH4iMC2zkZan5Noc5ShH5QGatYT5pBXtCJa1kp6 = 100 }
//! ```

mod accounts;
mod readings;
mod transfers;

pub use accounts::{Accounts, Balances, Transfer};
pub use readings::{Readings, ReadingsConfig};
pub use transfers::{OnlyWhatYouOwn, TransfersConfig};

use transfers::open;

carrick::register_validator!("readings", ReadingsConfig, Readings::open);
carrick::register_service!("transfers", TransfersConfig, open);
