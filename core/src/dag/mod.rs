//! Files and folders as DAGs of blocks (UnixFS), and DAGs as one stream of bytes (CAR).
//!
//! Adding ([`add_file`], [`add_path`]) gives the same CIDs as Kubo under the same [`Layout`]. Reading takes what Kubo
//! makes in any layout. Both are streams: memory depends neither on the size of a file nor on the number of files.
//!
//! Blocks come in and go out through two small traits, [`BlockSource`] and [`BlockSink`]; every
//! [`Store`](crate::Store) is a source. What a source hands out is a [`Block`](crate::Block), so it was hashed;
//! yet its author may be hostile, so sizes are compared with what was promised, and links, depth and entries are
//! bounded by the constants of this module.
//!
//! Symbolic links and sharded folders (HAMT) come later: meeting one is `Unsupported` and named.

mod add;
mod blocks;
mod car;
mod disk;
mod entry;
mod folder;
mod layout;
mod links;
mod node;
mod read;
mod write;

#[cfg(test)]
mod tests;

pub use add::{Added, add_file};
pub(crate) use blocks::Batch;
pub use blocks::{BatchSink, BlockSink, BlockSource, BlockWriter, NullSink, StoreSink};
pub use car::{CarReader, Exported, export_car};
pub use disk::Progress;
pub use entry::{DirEntry, Entry, EntryKind, list, resolve, stat};
pub use folder::{AddOptions, Found, add_path};
pub use layout::Layout;
pub use links::{follow, links, parents};
pub use node::DAG_PB;
pub use read::read;
pub use write::{Written, write_path};

/// Most links one block may hold. A block of 2 MiB has room for about 52,000 honest ones.
pub const MAX_LINKS: usize = 65_536;
/// How deep the tree of one file may be. 174 links a node reach an exbibyte with 6 levels.
pub const MAX_FILE_DEPTH: u32 = 64;
/// How deep folders may nest.
pub const MAX_FOLDER_DEPTH: u32 = 128;
/// Most entries [`write_path`] creates: a few blocks can describe a tree without end.
pub const MAX_ENTRIES: u64 = 1 << 20;
/// Links known and not yet followed, of one walk. Keeps their memory under about 40 MiB.
pub(crate) const MAX_PENDING: usize = 1 << 18;
