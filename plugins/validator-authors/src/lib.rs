#![doc = include_str!("../README.md")]

mod config;
mod validator;

pub use config::AuthorsConfig;
pub use validator::Authors;

carrick_core::register_validator!("authors", AuthorsConfig, Authors::open);
