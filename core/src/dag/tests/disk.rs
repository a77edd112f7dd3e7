//! Files and folders on disk that are not as simple as one would like.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Mutex;

use super::*;

#[tokio::test]
async fn hidden_files_are_added_and_entries_can_be_left_out() {
    let home = tempfile::tempdir().expect("a folder");
    let root = home.path().join("root");
    fs::create_dir_all(root.join("target/deep")).expect("made");
    fs::write(root.join("target/deep/x"), "x").expect("written");
    fs::write(root.join(".hidden"), "h").expect("written");
    fs::write(root.join("kept"), "k").expect("written");
    let all = add_path(&root, Layout::default(), &mut NullSink).await.expect("added");
    symlink("kept", root.join("link")).expect("made");

    let mut blocks = Blocks::default();
    let unlinked = AddOptions::new(Layout::default()).keep(|found| !found.symlink);
    assert_eq!(add_path(&root, unlinked, &mut blocks).await.expect("added"), all);
    let names = async |cid| -> Vec<String> {
        list(&blocks, &cid).await.expect("listed").into_iter().map(|entry| entry.name).collect()
    };
    assert_eq!(names(all.cid).await, [".hidden", "kept", "target"]);

    let asked = Mutex::new(vec![]);
    let options = AddOptions::new(Layout::default())
        .keep(|found| {
            asked.lock().expect("whole").push((found.name.to_owned(), found.folder));
            let build = found.folder && found.name == "target";
            !build && !found.symlink && !found.name.starts_with('.')
        })
        .progress(|progress| assert!(progress.path.starts_with(&root)));
    let some = add_path(&root, options, &mut NullSink).await.expect("added");
    assert_eq!((some.bytes, some.blocks), (1, 2));
    let mut asked = asked.into_inner().expect("whole");
    asked.sort();
    let expected = [(".hidden", false), ("kept", false), ("link", false), ("target", true)];
    assert_eq!(asked, expected.map(|(name, folder)| (name.to_owned(), folder)));
}

#[tokio::test]
async fn what_cannot_be_added_is_named() {
    let home = tempfile::tempdir().expect("a folder");
    let kind = async |name: &str| {
        let error = add_path(&home.path().join(name), Layout::default(), &mut NullSink).await;
        let error = error.expect_err("refused");
        assert!(error.detail().contains(name), "{error}");
        error.kind()
    };
    symlink("nowhere", home.path().join("link")).expect("made");
    let _socket = std::os::unix::net::UnixListener::bind(home.path().join("socket")).expect("bound");
    let odd =
        std::ffi::OsString::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff"));
    fs::create_dir(home.path().join("odd")).expect("made");
    let made = fs::write(home.path().join("odd").join(odd), "");

    assert_eq!(kind("absent").await, ErrorKind::NotFound);
    assert_eq!(kind("link").await, ErrorKind::Unsupported);
    assert_eq!(kind("socket").await, ErrorKind::Unsupported);
    if made.is_ok() {
        assert_eq!(kind("odd").await, ErrorKind::Unsupported, "macOS takes no such name");
    }
    let secret = home.path().join("secret");
    fs::write(&secret, "s").expect("written");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).expect("changed");
    if fs::read(&secret).is_err() {
        assert_eq!(kind("secret").await, ErrorKind::Unauthorized, "root reads everything");
    }
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_is_an_error() {
    let home = tempfile::tempdir().expect("a folder");
    let path = home.path().join("log");
    fs::write(&path, vec![1; 3 << 20]).expect("written");
    let options = AddOptions::new(Layout::default()).progress(|progress| {
        if progress.files == 0 {
            fs::write(progress.path, vec![2; (3 << 20) + 1]).expect("written");
        }
    });
    let error = add_path(&path, options, &mut NullSink).await.expect_err("changed");
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unexpected, crate::Retry::Now));
    assert!(error.detail().contains("changed while it was read"), "{error}");
}

/// Gives up on the third block.
struct Fails(u32);

impl BlockSink for Fails {
    async fn put(&mut self, _: Block) -> Result<()> {
        self.0 += 1;
        if self.0 < 3 {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Full, "put", "no room").mend("buy a disk"))
        }
    }
}

#[tokio::test]
async fn an_error_of_the_sink_names_the_file_and_keeps_its_mend() {
    let home = tempfile::tempdir().expect("a folder");
    fs::write(home.path().join("big"), vec![1; 4 << 20]).expect("written");
    let error = add_path(home.path(), Layout::default(), &mut Fails(0)).await.expect_err("full");
    assert_eq!((error.kind(), error.hint()), (ErrorKind::Full, Some("buy a disk")));
    assert!(error.detail().ends_with("big: no room"), "{error}");
}

#[tokio::test]
async fn folders_too_deep_are_refused() {
    let home = tempfile::tempdir().expect("a folder");
    let mut path = home.path().to_owned();
    (0..MAX_FOLDER_DEPTH).for_each(|_| path.push("d"));
    fs::create_dir_all(&path).expect("made");
    let error = add_path(home.path(), Layout::default(), &mut NullSink).await.expect_err("deep");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    fs::remove_dir(&path).expect("removed");
    add_path(home.path(), Layout::default(), &mut NullSink).await.expect("added");
}
