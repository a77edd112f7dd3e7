//! A node's key on disk: `identity.key` in the data folder, as libp2p writes keys (protobuf), readable by its owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use libp2p_identity::Keypair;

use crate::{Error, ErrorKind, Result};

/// The name of the key file inside the data folder.
pub const FILE: &str = "identity.key";
const ANOTHER_FOLDER: &str = "choose another [node] data_dir, or give this user the right to write there";

/// Where a data folder keeps its key.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

/// Reads the key of a data folder.
///
/// # Errors
/// `Config`, with the mend: when there is none, when others may read it, when it is damaged or no ed25519 key.
pub fn load(data_dir: &Path) -> Result<Keypair> {
    let file = path(data_dir);
    let meta = fs::metadata(&file).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => wrong(format!("{} is missing", file.display()))
            .mend("`carrick init` makes a folder with a key; a node that ran before needs its old key back"),
        _ => unreadable(&file, source),
    })?;
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let detail = format!("{} may be read by others (mode {mode:04o})", file.display());
        return Err(wrong(detail).mend(format!("chmod 600 {}", file.display())));
    }
    let bytes = fs::read(&file).map_err(|source| unreadable(&file, source))?;
    parse(&bytes).ok_or_else(|| {
        wrong(format!("{} is damaged: it holds no ed25519 key", file.display())).mend(
            "put a copy back; `carrick init --force` makes a new key, another peer id, and keeps the old file beside it",
        )
    })
}

/// Makes a new key in a data folder, which is created when it is missing.
///
/// The file appears whole or not at all, and an existing one is never replaced.
///
/// # Errors
/// `Config` when there is a key already or the folder cannot be written, `Full` when the disk has no room.
pub fn create(data_dir: &Path) -> Result<Keypair> {
    let file = path(data_dir);
    make_private_dir(data_dir)?;
    let key = Keypair::generate_ed25519();
    let bytes = key
        .to_protobuf_encoding()
        .map_err(|source| wrong("the new key cannot be written down").from_source(source))?;
    write_new(data_dir, &file, &bytes).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => wrong(format!("{} is there already", file.display())),
        _ => {
            let detail = format!("{} cannot be written: {source}", file.display());
            unwritable("identity", detail, source, ANOTHER_FOLDER)
        }
    })?;
    Ok(key)
}

/// Reads the key, or makes one where no node ever ran: an absent or empty data folder.
///
/// A folder that holds data but no key is refused, because a new key would be another peer.
///
/// # Errors
/// As [`load`] and [`create`].
pub fn load_or_create(data_dir: &Path) -> Result<Keypair> {
    let file = path(data_dir);
    match (file.exists(), is_fresh(data_dir)) {
        (true, _) => load(data_dir),
        (false, true) => create(data_dir),
        (false, false) => Err(wrong(format!(
            "{} is missing, but the folder was used: a new key would be another peer",
            file.display()
        ))
        .mend("put a copy of the key back, or begin as another peer in another data folder")),
    }
}

/// Whether nothing but a lock is in the folder.
fn is_fresh(data_dir: &Path) -> bool {
    match fs::read_dir(data_dir) {
        Ok(mut entries) => {
            entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == super::lock::FILE))
        }
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Makes a folder that only its owner may enter; an existing one stays as it is.
pub(super) fn make_private_dir(dir: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|source| {
        let detail = format!("the folder {} cannot be made: {source}", dir.display());
        unwritable("identity", detail, source, ANOTHER_FOLDER)
    })
}

/// A folder that cannot be written is the configuration's fault, unless its disk is full.
pub(super) fn unwritable(
    operation: &'static str,
    detail: String,
    source: io::Error,
    mend: &'static str,
) -> Error {
    let (kind, mend) = match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (ErrorKind::Full, "make room on the disk")
        }
        _ => (ErrorKind::Config, mend),
    };
    Error::new(kind, operation, detail).mend(mend).from_source(source)
}

/// The key that the bytes of a key file hold.
pub(crate) fn parse(bytes: &[u8]) -> Option<Keypair> {
    let key = Keypair::from_protobuf_encoding(bytes).ok()?;
    key.clone().try_into_ed25519().ok()?;
    Some(key)
}

/// Writes beside the target, then links it into place: a link, unlike a rename, never replaces.
fn write_new(dir: &Path, target: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = dir.join(format!(".{FILE}.{}", std::process::id()));
    let written = (|| {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::hard_link(&beside, target)?;
        File::open(dir)?.sync_all()
    })();
    let _ = fs::remove_file(&beside);
    written
}

fn wrong(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, "identity", detail)
}

fn unreadable(file: &Path, source: io::Error) -> Error {
    wrong(format!("{} cannot be read: {source}", file.display()))
        .mend("run as the user who owns the data folder")
        .from_source(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_private_and_comes_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let data = dir.path().join("data");
        let key = create(&data).expect("made");
        let mode = fs::metadata(path(&data)).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert_eq!(load(&data).expect("read").public(), key.public());
        assert_eq!(fs::read_dir(&data).expect("folder").count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_key_is_never_replaced() {
        let dir = tempfile::tempdir().expect("a folder");
        let key = create(dir.path()).expect("made");
        assert_eq!(create(dir.path()).expect_err("there already").kind(), ErrorKind::Config);
        assert_eq!(load_or_create(dir.path()).expect("read").public(), key.public());
    }

    #[test]
    fn a_key_that_others_may_read_is_refused_with_the_command() {
        let dir = tempfile::tempdir().expect("a folder");
        create(dir.path()).expect("made");
        fs::set_permissions(path(dir.path()), fs::Permissions::from_mode(0o640)).expect("chmod");
        let error = load(dir.path()).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.detail().contains("mode 0640"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.starts_with("chmod 600 /")), "{error:?}");
    }

    #[test]
    fn a_damaged_key_is_refused_with_the_mend() {
        let dir = tempfile::tempdir().expect("a folder");
        create(dir.path()).expect("made");
        fs::write(path(dir.path()), b"not a key").expect("written");
        let error = load(dir.path()).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.detail().contains("damaged") && error.hint().is_some(), "{error:?}");
    }

    #[test]
    fn a_used_folder_without_its_key_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir(dir.path().join("store")).expect("made");
        assert!(load_or_create(dir.path()).expect_err("refused").detail().contains("missing"));
    }
}
