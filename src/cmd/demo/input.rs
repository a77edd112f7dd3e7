//! What the nodes share: a file or folder of the user's, or a copy of the current one.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use carrick::ErrorKind;
use carrick::dag::{AddOptions, Layout, NullSink, add_path};

use super::super::Cx;
use crate::fault::{Fault, Outcome};

/// How much of the current folder is taken.
const BUDGET: u64 = 64 << 20;

/// The input itself, or without one a copy of the current folder, in `place`: it may change while the nodes compare it.
pub(super) fn choose(input: Option<&Path>, place: &Path) -> Outcome<PathBuf> {
    if let Some(path) = input {
        return match fs::canonicalize(path) {
            Ok(whole) if is_inside(place, &whole) => {
                let message = format!("{} holds the folder that --keep names", path.display());
                Err(Fault::new(ErrorKind::Config, "demo", message).mend("keep the nodes elsewhere").into())
            }
            Ok(_) => Ok(path.to_path_buf()),
            Err(error) => {
                let kind = match error.kind() {
                    io::ErrorKind::NotFound => ErrorKind::NotFound,
                    _ => ErrorKind::Unauthorized,
                };
                let fault = Fault::new(kind, "demo", format!("{}: {error}", path.display()));
                Err(fault.mend("--input takes a file or folder that this user may read").into())
            }
        };
    }
    let copy = place.join("input");
    let mut copier = Copier { left: BUDGET, without: fs::canonicalize(place).ok() };
    let copied = copier.copy(Path::new("."), &copy);
    copied
        .map_err(|error| Fault::new(ErrorKind::Unexpected, "demo", format!("the current folder: {error}")))?;
    Ok(copy)
}

/// Reads all of it once, as putting will: links, devices and what may not be read are told before there are nodes.
pub(super) async fn check(cx: &Cx, input: &Path) -> Outcome {
    let bar = cx.term.progress("reading", None);
    let options = AddOptions::new(Layout::default()).progress(|progress| bar.set_position(progress.bytes));
    let read = add_path(input, options, &mut NullSink).await;
    bar.finish_and_clear();
    Ok(read.map(drop)?)
}

fn is_inside(place: &Path, folder: &Path) -> bool {
    fs::canonicalize(place).is_ok_and(|place| place.starts_with(folder))
}

struct Copier {
    /// Bytes that still fit.
    left: u64,
    /// The folder of the demo itself.
    without: Option<PathBuf>,
}

impl Copier {
    /// Copies what fits, in the order of the names: no hidden entries, no `target`, no links, nothing unreadable.
    fn copy(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::create_dir_all(to)?;
        let mut entries: Vec<_> = fs::read_dir(from)?.filter_map(Result::ok).collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name();
            let Some(text) = name.to_str() else { continue };
            let Ok(meta) = entry.metadata() else { continue };
            if text.starts_with('.') || text == "target" || self.is_ours(&entry.path()) {
                continue;
            }
            let target = to.join(&name);
            if meta.is_dir() && self.left > 0 {
                // A folder that cannot be listed stays empty.
                let _ = self.copy(&entry.path(), &target);
            } else if meta.is_file() && meta.len() <= self.left && fs::copy(entry.path(), &target).is_ok() {
                self.left -= meta.len();
            }
        }
        Ok(())
    }

    fn is_ours(&self, path: &Path) -> bool {
        self.without.is_some() && fs::canonicalize(path).ok() == self.without
    }
}

/// Whether two files or folders hold the same, byte by byte.
pub(super) fn same(a: &Path, b: &Path) -> io::Result<bool> {
    let (meta_a, meta_b) = (fs::metadata(a)?, fs::metadata(b)?);
    if meta_a.is_dir() != meta_b.is_dir() {
        return Ok(false);
    }
    if !meta_a.is_dir() {
        return Ok(meta_a.len() == meta_b.len() && same_file(a, b)?);
    }
    let names = names_of(a)?;
    if names != names_of(b)? {
        return Ok(false);
    }
    for name in names {
        if !same(&a.join(&name), &b.join(&name))? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn names_of(dir: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let mut names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn same_file(a: &Path, b: &Path) -> io::Result<bool> {
    let (mut a, mut b) = (File::open(a)?, File::open(b)?);
    let (mut part_a, mut part_b) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let read = a.read(&mut part_a)?;
        if read == 0 {
            return Ok(b.read(&mut part_b)? == 0);
        }
        if b.read_exact(&mut part_b[..read]).is_err() || part_a[..read] != part_b[..read] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_leaves_out_what_is_not_shared() {
        let dir = tempfile::tempdir().expect("a folder");
        let from = dir.path().join("from");
        fs::create_dir_all(from.join("target")).expect("made");
        fs::create_dir_all(from.join(".git")).expect("made");
        fs::create_dir_all(from.join("kept/node-1")).expect("made");
        fs::create_dir_all(from.join("a")).expect("made");
        fs::write(from.join("a/ü"), b"12345").expect("written");
        fs::write(from.join("b"), b"too large for what is left").expect("written");
        fs::write(from.join("target/c"), b"c").expect("written");
        let to = dir.path().join("to");
        let mut copier = Copier { left: 10, without: fs::canonicalize(from.join("kept")).ok() };
        copier.copy(&from, &to).expect("copied");
        assert_eq!(names_of(&to).expect("there"), ["a"]);
        assert!(same(&from.join("a"), &to.join("a")).expect("readable"));
        fs::write(to.join("a/ü"), b"1234X").expect("written");
        assert!(!same(&from.join("a"), &to.join("a")).expect("readable"));
    }
}
