//! Folds over a log and over what is before an entry, in virtual time: whatever came when, they make of it what a fold from
//! the first entry makes.

#[path = "../hooked/mod.rs"]
mod hooked;
mod live;
mod past;
mod saved;
mod setting;
