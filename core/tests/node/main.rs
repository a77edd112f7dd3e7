//! The promises of the node, proved through its public API on a transport in the test's hand.
//!
//! No test sleeps: the clock of tokio is paused, and whatever takes time is waited for.

#[path = "../support/mod.rs"]
mod support;

mod blame;
mod defer;
mod download;
mod envelope;
mod fetch;
mod garbage;
mod gate;
mod handover;
mod hostile_input;
mod keeping;
mod lifecycle;
mod membership;
mod mend;
mod order;
mod publish;
mod remembered;
mod restart;
mod seeded;
mod subscriptions;
mod threads;
mod trouble;
mod validators;
