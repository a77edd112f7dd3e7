//! A file or folder on disk becomes a DAG.

use std::fmt;
use std::fs::{FileType, Metadata};
use std::path::{Path, PathBuf};

use cid::Cid;
use futures::FutureExt;
use futures::future::BoxFuture;
use rust_unixfs::dir::builder::BufferingTreeBuilder;
use tokio::fs;

use super::add::add_shaped;
use super::disk::disk_error;
use super::layout::{SHARD_THRESHOLD, Shape, ShardEstimate};
use super::{Added, BlockSink, Layout, MAX_FOLDER_DEPTH, Progress};
use crate::{Block, Error, ErrorKind, Result, Retry};

/// What an encoded folder entry holds beside name and CID, at least: six tags and lengths, two for its size.
const ENTRY_OVERHEAD: usize = 8;

/// Adds a file or a folder with all it holds; the sink gets children before parents, the root last.
///
/// Entries are sorted by the bytes of their names; hidden files and empty folders are included; names, not modes or
/// times, are kept. A folder has the CID that `ipfs add -r` gives it under the same layout.
///
/// # Errors
/// Each names the path: `Unsupported` for a symbolic link, a device, a name that is not UTF-8, and a folder so
/// large that it would be sharded; `NotFound` and `Unauthorized` for what cannot be read; `Unexpected` for a file
/// that changed meanwhile; `TooLarge` below 128 folders; whatever the sink says.
///
/// # Cancel safety
/// Dropping the future leaves some blocks in the sink and no root.
pub async fn add_path(
    path: &Path,
    options: impl Into<AddOptions<'_>>,
    sink: &mut impl BlockSink,
) -> Result<Added> {
    let options = options.into();
    let mut adder = PathAdder { shape: options.layout.shape(), options, sink, blocks: 0, bytes: 0, files: 0 };
    let metadata = fs::symlink_metadata(path).await.map_err(|source| disk_error("put", path, source))?;
    let root = adder.add(path.to_owned(), metadata.file_type(), 0).await?;
    Ok(Added { cid: root.cid, bytes: adder.bytes, blocks: adder.blocks, dag_size: root.dag_size })
}

/// How [`add_path`] works: a layout, what to leave out, whom to tell. A bare [`Layout`] converts into it.
pub struct AddOptions<'a> {
    layout: Layout,
    keep: Box<dyn FnMut(&Found<'_>) -> bool + Send + 'a>,
    progress: Box<dyn FnMut(&Progress<'_>) + Send + 'a>,
}

impl<'a> AddOptions<'a> {
    /// Adds everything, tells nobody.
    pub fn new(layout: Layout) -> Self {
        Self { layout, keep: Box::new(|_| true), progress: Box::new(|_| ()) }
    }

    /// Leaves out what `keep` answers `false` for, folders with all they hold. The path added itself is not asked
    /// about.
    #[must_use]
    pub fn keep(mut self, keep: impl FnMut(&Found<'_>) -> bool + Send + 'a) -> Self {
        self.keep = Box::new(keep);
        self
    }

    /// Tells `progress` after each chunk and each file.
    #[must_use]
    pub fn progress(mut self, progress: impl FnMut(&Progress<'_>) + Send + 'a) -> Self {
        self.progress = Box::new(progress);
        self
    }
}

impl From<Layout> for AddOptions<'_> {
    fn from(layout: Layout) -> Self {
        Self::new(layout)
    }
}

impl fmt::Debug for AddOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddOptions").field("layout", &self.layout).finish_non_exhaustive()
    }
}

/// An entry of a folder, before it is added.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Found<'a> {
    /// Where it is; begins with the path that is added.
    pub path: &'a Path,
    /// Its last component.
    pub name: &'a str,
    /// Whether it is a folder.
    pub folder: bool,
    /// Whether it is a symbolic link, which cannot be added yet.
    pub symlink: bool,
}

/// An entry as its folder names it.
struct Link {
    cid: Cid,
    dag_size: u64,
}

struct PathAdder<'a, S> {
    shape: Shape,
    options: AddOptions<'a>,
    sink: &'a mut S,
    blocks: u64,
    bytes: u64,
    files: u64,
}

impl<S: BlockSink> PathAdder<'_, S> {
    /// Boxed, because a folder adds its folders.
    fn add(&mut self, path: PathBuf, found: FileType, depth: u32) -> BoxFuture<'_, Result<Link>> {
        async move {
            if found.is_file() {
                self.add_file(&path).await
            } else if found.is_dir() {
                self.add_folder(&path, depth).await
            } else if found.is_symlink() {
                Err(unsupported(&path, "is a symbolic link; links are not added yet")
                    .mend("put what it points to, or leave it out"))
            } else {
                Err(unsupported(&path, "is neither a file nor a folder")
                    .mend("leave it out; what it holds can be put through standard input, as -"))
            }
        }
        .boxed()
    }

    async fn add_file(&mut self, path: &Path) -> Result<Link> {
        let failed = |source| disk_error("put", path, source);
        let mut file = fs::File::open(path).await.map_err(failed)?;
        let before = file.metadata().await.map_err(failed)?;
        let Self { shape, options, sink, bytes, files, .. } = self;
        let grown = |chunk| {
            *bytes += chunk;
            (options.progress)(&Progress { path, bytes: *bytes, files: *files });
        };
        let added = add_shaped(&mut file, *shape, *sink, grown).await.map_err(|error| at(path, error))?;
        if changed(&before, &file.metadata().await.map_err(failed)?, added.bytes) {
            return Err(Error::new(
                ErrorKind::Unexpected,
                "put",
                format!("{} changed while it was read", path.display()),
            )
            .mend("add it again when nothing writes to it")
            .retry_when(Retry::Now));
        }
        self.blocks += added.blocks;
        self.files += 1;
        self.tell(path);
        Ok(Link { cid: added.cid, dag_size: added.dag_size })
    }

    async fn add_folder(&mut self, path: &Path, depth: u32) -> Result<Link> {
        if depth >= MAX_FOLDER_DEPTH {
            let detail = format!("{} lies below {MAX_FOLDER_DEPTH} folders", path.display());
            return Err(Error::new(ErrorKind::TooLarge, "put", detail));
        }
        let mut tree = BufferingTreeBuilder::new(self.shape.folder_options());
        for (name, found) in self.entries(path).await? {
            let link = self.add(path.join(&name), found, depth + 1).await?;
            tree.put_link(&name, link.cid, link.dag_size).map_err(|source| built(path, source))?;
        }
        // Without a shard threshold the tree holds one node: this folder.
        let node = tree.build().next().transpose().map_err(|source| built(path, source))?;
        let node = node.ok_or_else(|| {
            Error::new(ErrorKind::Unexpected, "put", format!("{} gave no block", path.display()))
        })?;
        if self.shape.estimate == ShardEstimate::Block && node.block.len() > SHARD_THRESHOLD {
            return Err(too_wide(path));
        }
        self.blocks += 1;
        self.sink.put(Block::hashed(node.cid, node.block.into_vec().into())).await?;
        self.tell(path);
        Ok(Link { cid: node.cid, dag_size: node.total_size })
    }

    /// The entries to add, sorted by the bytes of their names. Gives up as soon as it is certain that the folder is
    /// too wide, so that the largest folder costs no more memory than the largest plain one.
    async fn entries(&mut self, path: &Path) -> Result<Vec<(String, FileType)>> {
        let failed = |source| disk_error("put", path, source);
        let mut listing = fs::read_dir(path).await.map_err(failed)?;
        let (mut entries, mut estimate) = (Vec::new(), 0);
        while let Some(entry) = listing.next_entry().await.map_err(failed)? {
            let below = entry.path();
            let name = entry
                .file_name()
                .into_string()
                .map_err(|_| unsupported(&below, "has a name that is not UTF-8; such names are not added"))?;
            let found = entry.file_type().await.map_err(failed)?;
            let (folder, symlink) = (found.is_dir(), found.is_symlink());
            if !(self.options.keep)(&Found { path: &below, name: &name, folder, symlink }) {
                continue;
            }
            estimate += name.len() + self.shape.cid_bytes();
            if self.shape.estimate == ShardEstimate::Block {
                estimate += ENTRY_OVERHEAD;
            }
            if estimate > SHARD_THRESHOLD {
                return Err(too_wide(path));
            }
            entries.push((name, found));
        }
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(entries)
    }

    fn tell(&mut self, path: &Path) {
        (self.options.progress)(&Progress { path, bytes: self.bytes, files: self.files });
    }
}

/// Whether a file was written to while it was read. Some files of the system say that they are empty and are not.
fn changed(before: &Metadata, after: &Metadata, read: u64) -> bool {
    before.len() != after.len()
        || before.modified().ok() != after.modified().ok()
        || (before.len() != read && before.len() != 0)
}

/// Names the path in an error that came while its content was read or stored.
fn at(path: &Path, error: Error) -> Error {
    let detail = format!("{}: {}", path.display(), error.detail());
    let mut named = Error::new(error.kind(), "put", detail).retry_when(error.retry());
    if let Some(hint) = error.hint() {
        named = named.mend(hint);
    }
    named.from_source(error)
}

fn unsupported(path: &Path, why: &str) -> Error {
    Error::new(ErrorKind::Unsupported, "put", format!("{} {why}", path.display()))
}

fn too_wide(path: &Path) -> Error {
    unsupported(
        path,
        "has so many entries that it would be sharded (HAMT); sharded folders are not added yet",
    )
}

fn built(path: &Path, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unexpected, "put", format!("{} could not be encoded", path.display()))
        .from_source(source)
}
