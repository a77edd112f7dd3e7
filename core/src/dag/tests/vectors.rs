//! Roots that Kubo and other programs made of stated inputs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use cid::Version;
use serde::Deserialize;

use super::super::add::add_shaped;
use super::super::layout::{Shape, ShardEstimate};
use super::generate::Input;
use super::*;

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<FileCase>,
    directories: Vec<FolderCase>,
    settings: BTreeMap<String, Settings>,
}

#[derive(Deserialize)]
struct FileCase {
    input: Input,
    profile: String,
    cid: String,
    dag_size: u64,
    distinct_blocks: Option<usize>,
    stored_bytes: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Settings {
    cid_version: u64,
    raw_leaves: bool,
    chunk: usize,
    links: usize,
}

#[derive(Deserialize)]
struct FolderCase {
    name: String,
    entries: Vec<FolderEntry>,
    results: BTreeMap<Layout, FolderResult>,
}

#[derive(Deserialize)]
struct FolderEntry {
    path: String,
    kind: String,
    count: Option<usize>,
    target: Option<String>,
    #[serde(default)]
    seed: String,
    #[serde(default)]
    size: usize,
}

#[derive(Deserialize)]
struct FolderResult {
    cid: String,
    sharded: bool,
    dag_size: u64,
    distinct_blocks: usize,
    stored_bytes: u64,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../../tests/vectors/reference-cids.json")).expect("valid vectors")
}

impl Settings {
    fn shape(&self) -> Shape {
        assert_eq!(self.raw_leaves, self.cid_version == 1, "leaves go with the version");
        let version = if self.cid_version == 0 { Version::V0 } else { Version::V1 };
        Shape { chunk: self.chunk, links: self.links, version, estimate: ShardEstimate::Links }
    }
}

#[tokio::test]
async fn every_reference_file_has_its_cid_and_reads_back() {
    let Vectors { cases, settings, .. } = vectors();
    assert_eq!(cases.len(), 55);
    let mut inputs: Vec<(&Input, Vec<u8>)> = vec![];
    for case in &cases {
        if inputs.last().is_none_or(|(input, _)| *input != &case.input) {
            inputs = vec![(&case.input, case.input.bytes())];
        }
        let content = &inputs[0].1;
        let mut blocks = Blocks::default();
        let shape = settings[&case.profile].shape();
        let added = add_shaped(&content[..], shape, &mut blocks, |_| ()).await.expect("added");
        let what = format!("{:?} under {}", case.input, case.profile);
        assert_eq!(added.cid.to_string(), case.cid, "{what}");
        assert_eq!((added.bytes, added.dag_size), (content.len() as u64, case.dag_size), "{what}");
        assert!(case.distinct_blocks.is_none_or(|count| count == blocks.0.len()), "{what}");
        assert!(case.stored_bytes.is_none_or(|bytes| bytes == blocks.stored_bytes()), "{what}");
        assert_eq!(stat(&blocks, &added.cid).await.expect("stat").dag_size, case.dag_size, "{what}");
        assert!(read_all(&blocks, &added.cid, ..).await.expect("read") == *content, "{what}");
    }
}

#[tokio::test]
async fn layouts_are_the_profiles_of_the_vectors() {
    let settings = vectors().settings;
    for layout in Layout::ALL {
        let (ours, theirs) = (layout.shape(), settings[layout.name()].shape());
        assert_eq!((ours.chunk, ours.links, ours.version), (theirs.chunk, theirs.links, theirs.version));
    }
}

#[tokio::test]
async fn every_plain_reference_folder_has_its_cid_and_every_other_is_refused() {
    for case in vectors().directories {
        let home = tempfile::tempdir().expect("a folder");
        let root = home.path().join(&case.name);
        fs::create_dir(&root).expect("made");
        case.entries.iter().for_each(|entry| entry.make(&root));
        let linked = case.entries.iter().any(|entry| entry.kind == "symlink");
        for (layout, expected) in case.results {
            let what = format!("{} under {layout}", case.name);
            let mut blocks = Blocks::default();
            let added = add_path(&root, layout, &mut blocks).await;
            if linked || expected.sharded {
                let error = added.expect_err(&what);
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{what}");
                let named = if linked { root.join("link") } else { root.clone() };
                assert!(error.detail().contains(named.to_str().expect("UTF-8")), "{what}: {error}");
                continue;
            }
            let added = added.expect(&what);
            assert_eq!(added.cid.to_string(), expected.cid, "{what}");
            assert_eq!(added.dag_size, expected.dag_size, "{what}");
            assert_eq!(blocks.0.len(), expected.distinct_blocks, "{what}");
            assert_eq!(blocks.stored_bytes(), expected.stored_bytes, "{what}");
        }
    }
}

/// The `nested` case without its symbolic link, written and read back: the names are not ASCII and one folder is empty.
#[tokio::test]
async fn a_nested_folder_comes_back_as_it_was() {
    let case = vectors().directories.into_iter().find(|case| case.name == "nested").expect("there");
    let home = tempfile::tempdir().expect("a folder");
    let (root, back) = (home.path().join("in"), home.path().join("out"));
    fs::create_dir(&root).expect("made");
    case.entries.iter().filter(|entry| entry.kind != "symlink").for_each(|entry| entry.make(&root));
    for layout in Layout::ALL {
        let mut blocks = Blocks::default();
        let added = add_path(&root, layout, &mut blocks).await.expect("added");
        let written = write_path(&blocks, &added.cid, &back, |_| ()).await.expect("written");
        assert_eq!((written.bytes, written.files, written.folders), (added.bytes, 5, 4), "{layout}");
        assert_eq!(written.blocks, added.blocks, "{layout}");
        let again = add_path(&back, layout, &mut NullSink).await.expect("added again");
        assert_eq!(again.cid, added.cid, "{layout}");
        assert_eq!(fs::read(back.join("sub/Zwölf Boxkämpfer.txt")).expect("there"), b"umlauts\n");
        assert_eq!(names_in(&back.join("sub/nothing here")), [""; 0]);
        fs::remove_dir_all(&back).expect("removed");
    }
}

impl FolderEntry {
    fn make(&self, root: &Path) {
        let Some(count) = self.count else { return self.make_one(&root.join(&self.path)) };
        let (prefix, width) = self.path.split_once("%0").expect("a pattern");
        let width: usize = width.trim_end_matches('d').parse().expect("a width");
        (0..count).for_each(|number| self.make_one(&root.join(format!("{prefix}{number:0width$}"))));
    }

    fn make_one(&self, path: &Path) {
        fs::create_dir_all(path.parent().expect("below the root")).expect("made");
        match self.kind.as_str() {
            "directory" => fs::create_dir(path),
            "symlink" => std::os::unix::fs::symlink(self.target.as_ref().expect("a target"), path),
            _ => fs::write(path, self.input().bytes()),
        }
        .expect("made");
    }

    fn input(&self) -> Input {
        let input = serde_json::json!({ "kind": self.kind, "size": self.size, "seed": self.seed });
        serde_json::from_value(input).expect("an input")
    }
}
