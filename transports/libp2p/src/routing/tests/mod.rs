//! Routing in swarms of their own inside one process, with identify beside it and nothing else.

mod book;
mod find;
mod host;
mod hostile;
mod kubo;
mod net;
mod restart;
mod views;
