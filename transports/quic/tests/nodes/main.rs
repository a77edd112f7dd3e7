//! Real nodes over real sockets on the loopback interface. Everything waits for events, nothing for time.

mod common;
mod fetch;
mod gossip;
mod links;
