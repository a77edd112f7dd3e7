#![doc = include_str!("../README.md")]

mod authors;

pub use authors::{Authors, AuthorsConfig};

carrick_core::register_validator!("authors", AuthorsConfig, Authors::open);
