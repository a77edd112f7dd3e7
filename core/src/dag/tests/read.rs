//! Files read back, whole and in part, and trees that lie.

use super::generate::mod251;
use super::*;

const CHUNK: usize = 1 << 20;

#[tokio::test]
async fn ranges_give_exactly_their_bytes_and_ask_for_nothing_else() {
    let content = mod251(3 * CHUNK + 5);
    for layout in Layout::ALL {
        let mut blocks = Blocks::default();
        let cid = add_file(&content[..], layout, &mut blocks).await.expect("added").cid;
        let end = content.len() as u64;
        let chunk = CHUNK as u64;
        let ranges = [
            (0, 0),
            (0, 1),
            (chunk - 1, chunk + 1),
            (chunk, 2 * chunk),
            (1, end - 1),
            (end - 6, end),
            (end - 1, end + 9),
            (end, end + 1),
            (end + 7, u64::MAX),
            (9, 3),
        ];
        for (first, last) in ranges {
            let got = read_all(&blocks, &cid, first..last).await.expect("read");
            let last = last.min(end).max(first.min(end)) as usize;
            assert!(got == content[first.min(end) as usize..last], "{first}..{last} under {layout}");
        }
        assert!(read_all(&blocks, &cid, 5..=5).await.expect("read") == content[5..6]);
        assert!(read_all(&blocks, &cid, ..=u64::MAX).await.expect("read") == content);
    }
}

#[tokio::test]
async fn a_range_needs_only_its_own_blocks() {
    let content = mod251(3 * CHUNK + 5);
    let mut blocks = Blocks::default();
    let cid = add_file(&content[..], Layout::default(), &mut blocks).await.expect("added").cid;
    let leaf = Block::new(RAW, content[CHUNK..2 * CHUNK].to_vec());
    blocks.0.retain(|at, _| at == &cid || at == leaf.cid());
    let range = CHUNK as u64 + 3..2 * CHUNK as u64;
    assert!(read_all(&blocks, &cid, range).await.expect("read") == content[CHUNK + 3..2 * CHUNK]);
    assert_eq!(read_all(&blocks, &cid, ..).await.expect_err("missing").kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn files_of_any_size_come_back() {
    let mut seed = 1_u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    let edges = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 174 * 1024, 175 * 1024];
    let sizes = edges.into_iter().chain((0..24).map(|_| random() % (2 * CHUNK)));
    for size in sizes.collect::<Vec<_>>() {
        let content = mod251(size);
        let shape = Layout::ALL[size % 3].shape();
        // Small chunks and few links, so that small files make deep trees.
        let shape = super::super::layout::Shape { chunk: 1024, links: 7, ..shape };
        let mut blocks = Blocks::default();
        let added = super::super::add::add_shaped(&content[..], shape, &mut blocks, |_| ()).await;
        let cid = added.expect("added").cid;
        assert!(read_all(&blocks, &cid, ..).await.expect("read") == content, "{size} bytes");
        let (a, b) = (random() % (size + 1), random() % (size + 1));
        let (first, last) = (a.min(b), a.max(b));
        let part = read_all(&blocks, &cid, first as u64..last as u64).await.expect("read");
        assert!(part == content[first..last], "{first}..{last} of {size}");
    }
}

#[tokio::test]
async fn a_reader_that_gives_little_at_a_time_changes_nothing() {
    let content = mod251(300_000);
    let whole = add_file(&content[..], Layout::KuboCidV1, &mut NullSink).await.expect("added");
    let (mut writer, reader) = tokio::io::duplex(77);
    let write = async {
        tokio::io::AsyncWriteExt::write_all(&mut writer, &content).await.expect("written");
        drop(writer);
    };
    let mut sink = NullSink;
    let (added, ()) = futures::join!(add_file(reader, Layout::KuboCidV1, &mut sink), write);
    assert_eq!(added.expect("added"), whole);
}

#[tokio::test]
async fn a_part_of_another_length_than_promised_is_refused() {
    let mut blocks = Blocks::default();
    let leaf = blocks.add(Block::new(RAW, &b"12345"[..]));
    for promised in [4, 6, u64::MAX] {
        let root = blocks.add(file(&[(leaf, promised)]));
        let error = read_all(&blocks, &root, ..).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Integrity, "{promised}");
    }
    let overflow = blocks.add(file(&[(leaf, u64::MAX), (leaf, 5)]));
    assert_eq!(read_all(&blocks, &overflow, ..).await.expect_err("refused").kind(), ErrorKind::Integrity);
    let within = blocks.add(folder(&[("a", leaf)]));
    let root = blocks.add(file(&[(within, 5)]));
    assert_eq!(read_all(&blocks, &root, ..).await.expect_err("a folder").kind(), ErrorKind::Integrity);
    assert_eq!(read_all(&blocks, &within, ..).await.expect_err("a folder").kind(), ErrorKind::Unsupported);
}

/// A tree of 2^60 empty leaves in 61 blocks: reading it ends at once.
#[tokio::test]
async fn a_tree_of_nothing_costs_nothing() {
    let mut blocks = Blocks::default();
    let mut cid = blocks.add(Block::new(RAW, &b""[..]));
    for _ in 0..60 {
        cid = blocks.add(file(&[(cid, 0), (cid, 0)]));
    }
    assert!(read_all(&blocks, &cid, ..).await.expect("read").is_empty());
}

#[tokio::test]
async fn a_file_may_be_deep_up_to_the_limit() {
    let mut blocks = Blocks::default();
    let mut cid = blocks.add(Block::new(RAW, &b"x"[..]));
    for _ in 0..MAX_FILE_DEPTH {
        cid = blocks.add(file(&[(cid, 1)]));
    }
    assert_eq!(read_all(&blocks, &cid, ..).await.expect("read"), b"x");
    let deeper = blocks.add(file(&[(cid, 1)]));
    assert_eq!(read_all(&blocks, &deeper, ..).await.expect_err("deep").kind(), ErrorKind::TooLarge);
}

#[tokio::test]
async fn links_and_pending_parts_are_bounded() {
    let mut blocks = Blocks::default();
    let leaf = blocks.add(Block::new(RAW, &b"x"[..]));
    let mut cid = leaf;
    let mut bytes = 1;
    for _ in 0..5 {
        let mut children = vec![(leaf, 1); MAX_LINKS];
        children[0] = (cid, bytes);
        cid = blocks.add(file(&children));
        bytes += MAX_LINKS as u64 - 1;
    }
    assert_eq!(read_all(&blocks, &cid, ..).await.expect_err("wide").kind(), ErrorKind::TooLarge);
    let wide = blocks.add(file(&vec![(leaf, 1); MAX_LINKS + 1]));
    assert_eq!(read_all(&blocks, &wide, ..).await.expect_err("wide").kind(), ErrorKind::TooLarge);
}

#[tokio::test]
async fn stat_list_and_resolve_tell_what_is_there() {
    let mut blocks = Blocks::default();
    let leaf = blocks.add(Block::new(RAW, &b"hello"[..]));
    let inner = blocks.add(folder(&[("a.txt", leaf)]));
    let link = blocks.add(node(&[], &[8, 4, 0x12, 1, b'x']));
    let shard = blocks.add(node(&[], &[8, 5]));
    let root = blocks.add(folder(&[("link", link), ("shard", shard), ("sub", inner)]));

    let kind = async |cid| stat(&blocks, &cid).await.expect("stat").kind;
    assert_eq!(kind(leaf).await, EntryKind::File { bytes: 5 });
    assert_eq!(kind(root).await, EntryKind::Directory { entries: 3 });
    assert_eq!(kind(link).await, EntryKind::Symlink { target: "x".into() });
    assert_eq!(kind(shard).await, EntryKind::Sharded);

    assert_eq!(resolve(&blocks, &root, "").await.expect("the root"), root);
    assert_eq!(resolve(&blocks, &root, "/sub/a.txt/").await.expect("there"), leaf);
    for (path, kind, named) in [
        ("sub/b.txt", ErrorKind::NotFound, "b.txt"),
        ("sub/a.txt/c", ErrorKind::NotFound, "\"c\""),
        ("../etc", ErrorKind::NotFound, "\"..\""),
        ("shard/x", ErrorKind::Unsupported, &shard.to_string()),
    ] {
        let error = resolve(&blocks, &root, path).await.expect_err(path);
        assert_eq!(error.kind(), kind, "{path}");
        assert!(error.detail().contains(named), "{error}");
    }
    assert_eq!(list(&blocks, &inner).await.expect("listed")[0].name, "a.txt");
    assert_eq!(list(&blocks, &leaf).await.expect_err("a file").kind(), ErrorKind::Config);
    assert_eq!(list(&blocks, &shard).await.expect_err("sharded").kind(), ErrorKind::Unsupported);
}

#[test]
fn what_the_functions_return_can_move_between_threads() {
    fn sendable<T: Send>(value: T) -> T {
        value
    }
    let (blocks, cid) = (Blocks::default(), Cid::default());
    drop(sendable(read(&blocks, &cid, ..)));
    drop(sendable(read(std::sync::Arc::new(Blocks::default()), &cid, ..).boxed()));
    drop(sendable(stat(&blocks, &cid)));
    drop(sendable(resolve(&blocks, &cid, "a")));
    drop(sendable(write_path(&blocks, &cid, Path::new("a"), |_| ())));
    drop(sendable(export_car(&blocks, &[cid], tokio::io::sink())));
    drop(sendable(add_file(&b""[..], Layout::default(), &mut NullSink)));
    drop(sendable(add_path(Path::new("a"), Layout::default(), &mut NullSink)));
}
