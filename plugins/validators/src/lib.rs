#![doc = include_str!("../README.md")]

mod authors;
mod bucket;
mod guarded;
mod monotonic_time;
mod rate;
mod size;
mod under_way;

pub use authors::{Authors, AuthorsConfig};
pub use monotonic_time::{MonotonicTime, MonotonicTimeConfig};
pub use rate::{Rate, RateConfig};
pub use size::{Size, SizeConfig};

carrick_core::register_validator!("authors", AuthorsConfig, Authors::open);
carrick_core::register_validator!("monotonic-time", MonotonicTimeConfig, MonotonicTime::open);
carrick_core::register_validator!("rate", RateConfig, Rate::open);
carrick_core::register_validator!("size", SizeConfig, Size::open);
