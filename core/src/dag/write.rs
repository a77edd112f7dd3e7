//! A file or folder out of a DAG onto the disk, whole or not at all.
//!
//! Files and folders are opened, made, renamed and removed by plain calls, not on another thread: each takes
//! microseconds, and nothing is left in flight when the future is dropped, so that cleaning up is complete. Content
//! goes through tokio.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use cid::Cid;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::AsyncWriteExt;

use super::disk::disk_error;
use super::entry::sharded;
use super::node::{Content, FileNode};
use super::read::FileWalk;
use super::{BlockSource, DirEntry, MAX_ENTRIES, MAX_FOLDER_DEPTH, MAX_PENDING, Progress};
use crate::{Error, ErrorKind, Result};

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// Bytes of file content.
    pub bytes: u64,
    /// Files.
    pub files: u64,
    /// Folders, the root included.
    pub folders: u64,
    /// Blocks read from the source, repeats counted.
    pub blocks: u64,
}

/// Writes a file, or a folder with all it holds, to `to`: whole, or nothing changes.
///
/// It is built beside `to` under a temporary name, `.carrick-…`, and renamed at the end. An existing file is
/// replaced by a file and stays as it was until then; nothing else is replaced. A file is flushed to disk before
/// it takes its place; a folder, which replaces nothing, is not. Names that would leave the folder (`..`, `/`,
/// empty, with NUL) are refused.
///
/// # Errors
/// `Config` when `to` is a folder or a device, or exists and a folder would take its place; `NotFound` for a missing block or
/// a missing parent folder; `Integrity` for a malformed node or a hostile name; `Unsupported` for symbolic links
/// and sharded folders; `TooLarge` above a limit of this module; `Full`, `Unauthorized`, `Unexpected` of the disk,
/// with the path.
///
/// # Cancel safety
/// Dropping the future removes what was written so far; `to` is as it was.
pub async fn write_path(
    source: &(impl BlockSource + ?Sized),
    cid: &Cid,
    to: &Path,
    progress: impl FnMut(&Progress<'_>) + Send,
) -> Result<Written> {
    if to.is_dir() {
        return Err(occupied(to, "is a folder; folders are not replaced"));
    }
    let root = Content::of(&source.block(cid).await?)?;
    match root {
        Content::File(_) if is_special(to) => Err(occupied(to, "is neither a file nor a folder")),
        Content::File(_) if ends_with_slash(to) => Err(occupied(to, "names a folder, and this is a file")),
        Content::File(root) => {
            let (temporary, file) = Temporary::file(to)?;
            let mut writer = Writer::new(source, progress, &temporary, to);
            let file = writer.file(temporary.path(), file, root).await?;
            file.sync_all().await.map_err(|source| disk_error("write", to, source))?;
            finish(writer, temporary)
        }
        Content::Folder(entries) if fs::symlink_metadata(to).is_err() => {
            let temporary = Temporary::folder(to)?;
            let mut writer = Writer::new(source, progress, &temporary, to);
            writer.fill(temporary.path().to_owned(), entries, 1).await?;
            finish(writer, temporary)
        }
        Content::Folder(_) => Err(occupied(to, "exists; a folder replaces nothing")),
        other => Err(no_file(cid, &other)),
    }
}

/// A device, a pipe or a socket: a rename would put a plain file in its place.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

fn ends_with_slash(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

/// Gives what was written its name.
fn finish<S: ?Sized, P>(writer: Writer<'_, S, P>, temporary: Temporary) -> Result<Written> {
    let (to, written) = (writer.to, writer.written);
    temporary.rename(to)?;
    Ok(written)
}

struct Writer<'a, S: ?Sized, P> {
    source: &'a S,
    progress: P,
    /// Where it is built.
    root: PathBuf,
    /// Where it will be, and what people are told.
    to: &'a Path,
    /// Entries listed and not yet written, in all open folders.
    pending: usize,
    written: Written,
}

impl<'a, S: BlockSource + ?Sized, P: FnMut(&Progress<'_>) + Send> Writer<'a, S, P> {
    fn new(source: &'a S, progress: P, temporary: &Temporary, to: &'a Path) -> Self {
        let written = Written { blocks: 1, ..Written::default() };
        Self { source, progress, root: temporary.path().to_owned(), to, pending: 0, written }
    }

    /// Writes content to a new file.
    async fn file(&mut self, at: &Path, file: fs::File, root: FileNode) -> Result<tokio::fs::File> {
        let mut file = tokio::fs::File::from_std(file);
        let mut walk = FileWalk::new(self.source, root, 0..u64::MAX)?;
        while let Some(piece) = walk.next().await? {
            file.write_all(&piece).await.map_err(|source| self.failed(at, source))?;
            self.written.bytes += piece.len() as u64;
            self.tell(at);
        }
        // tokio reports the failure of a write with the next call.
        file.flush().await.map_err(|source| self.failed(at, source))?;
        self.written.blocks += walk.blocks - 1; // The root was counted by whoever read it.
        self.written.files += 1;
        self.tell(at);
        Ok(file)
    }

    /// Writes the entries of a new folder. Boxed, because a folder writes its folders.
    fn fill(&mut self, at: PathBuf, entries: Vec<DirEntry>, depth: u32) -> BoxFuture<'_, Result<()>> {
        async move {
            self.written.folders += 1;
            self.pending += entries.len();
            self.check_limits(depth)?;
            check_names(&entries)?;
            for entry in entries {
                self.entry(at.join(&entry.name), &entry.cid, depth).await?;
                self.pending -= 1;
            }
            Ok(())
        }
        .boxed()
    }

    async fn entry(&mut self, at: PathBuf, cid: &Cid, depth: u32) -> Result<()> {
        let block = self.source.block(cid).await?;
        self.written.blocks += 1;
        match Content::of(&block)? {
            Content::File(root) => {
                let file = create(&at).map_err(|source| self.failed(&at, source))?;
                self.file(&at, file, root).await.map(drop)
            }
            Content::Folder(entries) => {
                fs::create_dir(&at).map_err(|source| self.failed(&at, source))?;
                self.fill(at, entries, depth + 1).await
            }
            other => Err(no_file(cid, &other)),
        }
    }

    fn check_limits(&self, depth: u32) -> Result<()> {
        let known = self.written.files + self.written.folders + self.pending as u64;
        let what = if depth > MAX_FOLDER_DEPTH {
            format!("folders nest more than {MAX_FOLDER_DEPTH} deep")
        } else if known > MAX_ENTRIES {
            format!("it has more than {MAX_ENTRIES} entries")
        } else if self.pending > MAX_PENDING {
            format!("more than {MAX_PENDING} entries wait to be written")
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::TooLarge, "write", what))
    }

    fn tell(&mut self, at: &Path) {
        let Written { bytes, files, .. } = self.written;
        let path = self.shown(at);
        (self.progress)(&Progress { path: &path, bytes, files });
    }

    fn failed(&self, at: &Path, source: io::Error) -> Error {
        disk_error("write", &self.shown(at), source)
    }

    /// Where something will be, for something that is still below the temporary name.
    fn shown(&self, at: &Path) -> PathBuf {
        match at.strip_prefix(&self.root) {
            Ok(below) if below != Path::new("") => self.to.join(below),
            _ => self.to.to_owned(),
        }
    }
}

fn create(at: &Path) -> io::Result<fs::File> {
    fs::File::options().write(true).create_new(true).open(at)
}

/// Refuses names that would lead out of their folder or collide.
fn check_names(entries: &[DirEntry]) -> Result<()> {
    let mut names = HashSet::with_capacity(entries.len());
    for name in entries.iter().map(|entry| entry.name.as_str()) {
        let why = match name {
            "" | "." | ".." => "is no name for a file",
            _ if name.contains(['/', '\0']) => "holds a slash or a NUL",
            _ if !names.insert(name) => "stands twice in one folder",
            _ => continue,
        };
        return Err(Error::new(ErrorKind::Integrity, "write", format!("the name {name:?} {why}")));
    }
    Ok(())
}

fn no_file(cid: &Cid, content: &Content) -> Error {
    if matches!(content, Content::Sharded) {
        return sharded("write", cid);
    }
    let detail = format!("{cid} is a symbolic link; links are not written yet");
    Error::new(ErrorKind::Unsupported, "write", detail)
}

fn occupied(to: &Path, why: &str) -> Error {
    Error::new(ErrorKind::Config, "write", format!("{} {why}", to.display()))
        .mend("name a path that does not exist")
}

/// A new file or folder beside the goal, on the same file system; removed on drop unless it was renamed.
struct Temporary(PathBuf);

impl Temporary {
    fn file(to: &Path) -> Result<(Self, fs::File)> {
        Self::beside(to, create)
    }

    fn folder(to: &Path) -> Result<Self> {
        Ok(Self::beside(to, |at| fs::create_dir(at))?.0)
    }

    /// Takes the first free name. One that is taken belongs to somebody else, perhaps in another container with our
    /// process id, and is left alone.
    fn beside<T>(to: &Path, make: impl Fn(&Path) -> io::Result<T>) -> Result<(Self, T)> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let Some(parent) = to.file_name().and(to.parent()) else {
            return Err(occupied(to, "names no file"));
        };
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let at = parent.join(format!(".carrick-{}-{number}", std::process::id()));
            match make(&at) {
                Ok(made) => return Ok((Self(at), made)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(disk_error("write", to, error)),
            }
        }
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn rename(mut self, to: &Path) -> Result<()> {
        fs::rename(&self.0, to).map_err(|source| disk_error("write", to, source))?;
        self.0.clear();
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.0.as_os_str().is_empty() {
            return;
        }
        // A failure has nobody to be told to.
        let _ = if self.0.is_dir() { fs::remove_dir_all(&self.0) } else { fs::remove_file(&self.0) };
    }
}
