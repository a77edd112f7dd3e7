#![doc = include_str!("../README.md")]

mod authors;
mod guarded;
mod size;

pub use authors::{Authors, AuthorsConfig};
pub use size::{Size, SizeConfig};

carrick_core::register_validator!("authors", AuthorsConfig, Authors::open);
carrick_core::register_validator!("size", SizeConfig, Size::open);
