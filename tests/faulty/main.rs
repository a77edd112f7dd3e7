//! `Faulty` round real transports: each control does what it says.

mod content;
mod messages;
mod nodes;
mod steering;
