//! Out of a DAG onto the disk: whole or not at all.

use std::fs;

use super::generate::mod251;
use super::*;

const NOBODY: fn(&Progress<'_>) = |_| ();

#[tokio::test]
async fn a_file_replaces_a_file_and_no_folder() {
    let home = tempfile::tempdir().expect("a folder");
    let to = home.path().join("out.bin");
    fs::write(&to, "old").expect("written");
    let content = mod251((3 << 20) + 1);
    let mut blocks = Blocks::default();
    let cid = add_file(&content[..], Layout::default(), &mut blocks).await.expect("added").cid;

    let mut seen = vec![];
    let written =
        write_path(&blocks, &cid, &to, |progress| seen.push(progress.bytes)).await.expect("written");
    assert!(fs::read(&to).expect("there") == content);
    assert_eq!((written.bytes, written.files, written.blocks), (content.len() as u64, 1, 5));
    assert!(seen.is_sorted() && seen.last() == Some(&written.bytes), "{seen:?}");

    let error = write_path(&blocks, &cid, home.path(), NOBODY).await.expect_err("a folder is there");
    assert_eq!(error.kind(), ErrorKind::Config);
    let folder = blocks.add(folder(&[("a", cid)]));
    let error = write_path(&blocks, &folder, &to, NOBODY).await.expect_err("a file is there");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(names_in(home.path()), ["out.bin"]);
}

#[tokio::test]
async fn a_missing_block_leaves_nothing_behind_and_the_old_file() {
    let home = tempfile::tempdir().expect("a folder");
    let to = home.path().join("out.bin");
    fs::write(&to, "old").expect("written");
    let content = mod251(3 << 20);
    let mut blocks = Blocks::default();
    let cid = add_file(&content[..], Layout::default(), &mut blocks).await.expect("added").cid;
    let good = blocks.add(Block::new(RAW, &b"good"[..]));
    let tree = blocks.add(folder(&[("a", good), ("b", cid)]));
    blocks.0.remove(Block::new(RAW, content[1 << 20..2 << 20].to_vec()).cid());

    let error = write_path(&blocks, &cid, &to, NOBODY).await.expect_err("a block is missing");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = write_path(&blocks, &tree, &home.path().join("tree"), NOBODY).await.expect_err("missing");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(names_in(home.path()), ["out.bin"]);
    assert_eq!(fs::read(&to).expect("there"), b"old");
}

/// A source that stops answering after some blocks.
struct Stalls(Blocks, std::sync::atomic::AtomicU32);

impl BlockSource for Stalls {
    async fn block(&self, cid: &Cid) -> Result<Block> {
        if self.1.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) == 0 {
            std::future::pending::<()>().await;
        }
        self.0.block(cid).await
    }
}

#[tokio::test]
async fn dropping_the_future_leaves_nothing_behind() {
    let home = tempfile::tempdir().expect("a folder");
    let mut blocks = Blocks::default();
    let leaf = blocks.add(Block::new(RAW, &b"leaf"[..]));
    let inner = blocks.add(folder(&[("a", leaf), ("b", leaf)]));
    let root = blocks.add(folder(&[("x", inner), ("y", inner)]));
    let source = Stalls(blocks, 5.into());
    let to = home.path().join("out");
    let writing = write_path(&source, &root, &to, NOBODY);
    tokio::time::timeout(std::time::Duration::from_millis(50), writing).await.expect_err("it stalls");
    assert_eq!(names_in(home.path()), [""; 0]);
}

#[tokio::test]
async fn hostile_names_are_refused() {
    let home = tempfile::tempdir().expect("a folder");
    let mut blocks = Blocks::default();
    let leaf = blocks.add(Block::new(RAW, &b"leaf"[..]));
    for name in ["", ".", "..", "../up", "a/b", "/etc/passwd", "nul\0"] {
        let bad = blocks.add(folder(&[("good", leaf), (name, leaf)]));
        let nested = blocks.add(folder(&[("a", leaf), ("sub", bad)]));
        for root in [bad, nested] {
            let error = write_path(&blocks, &root, &home.path().join("out"), NOBODY).await;
            assert_eq!(error.expect_err("refused").kind(), ErrorKind::Integrity, "{name:?}");
        }
    }
    let twice = blocks.add(folder(&[("a", leaf), ("a", leaf)]));
    let error = write_path(&blocks, &twice, &home.path().join("out"), NOBODY).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Integrity);
    let long = "n".repeat(300);
    let long = blocks.add(folder(&[(&long, leaf)]));
    let error =
        write_path(&blocks, &long, &home.path().join("out"), NOBODY).await.expect_err("the disk refuses");
    assert!(error.detail().contains("out/nnn") && !error.detail().contains(".carrick"), "{error}");
    assert_eq!(names_in(home.path()), [""; 0]);
}

#[tokio::test]
async fn what_is_no_plain_file_or_folder_is_named_as_unsupported() {
    let home = tempfile::tempdir().expect("a folder");
    let to = home.path().join("out");
    let mut blocks = Blocks::default();
    let link = node(&[], &[8, 4, 0x12, 1, b'x']);
    for block in [link, node(&[], &[8, 5]), Block::new(crate::DAG_CBOR, vec![0xa0])] {
        let cid = blocks.add(block);
        let root = blocks.add(folder(&[("a", cid)]));
        for cid in [cid, root] {
            let error = write_path(&blocks, &cid, &to, NOBODY).await.expect_err("unsupported");
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        }
    }
    assert_eq!(names_in(home.path()), [""; 0]);
}

/// 2^40 folders in 41 blocks, and folders without a floor.
#[tokio::test]
async fn trees_without_end_stop_at_the_limits() {
    let home = tempfile::tempdir().expect("a folder");
    let to = home.path().join("out");
    let mut blocks = Blocks::default();
    let leaf = blocks.add(Block::new(RAW, &b""[..]));
    let mut deep = leaf;
    for _ in 0..=MAX_FOLDER_DEPTH {
        deep = blocks.add(folder(&[("d", deep)]));
    }
    let names: Vec<String> = (0..50_000).map(|number| format!("{number:05}")).collect();
    let mut wide = leaf;
    for _ in 0..7 {
        let mut links: Vec<(&str, Cid)> = names.iter().map(|name| (name.as_str(), leaf)).collect();
        links[0].1 = wide;
        wide = blocks.add(folder(&links));
    }
    for cid in [deep, wide] {
        let error = write_path(&blocks, &cid, &to, NOBODY).await.expect_err("too large");
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    }
    assert_eq!(names_in(home.path()), [""; 0]);
}

#[tokio::test]
async fn a_goal_that_cannot_be_is_refused_with_its_path() {
    let home = tempfile::tempdir().expect("a folder");
    let mut blocks = Blocks::default();
    let leaf = blocks.add(Block::new(RAW, &b"leaf"[..]));
    let absent = home.path().join("absent/out");
    let error = write_path(&blocks, &leaf, &absent, NOBODY).await.expect_err("no such folder");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.detail().contains("absent"), "{error}");
    for to in ["..", "/", ""] {
        let error = write_path(&blocks, &leaf, Path::new(to), NOBODY).await.expect_err(to);
        assert_eq!(error.kind(), ErrorKind::Config, "{to}");
    }
}
