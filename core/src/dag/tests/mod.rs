//! What other IPFS programs make, and what a hostile one might.

mod car;
mod disk;
mod generate;
mod links;
mod read;
mod store;
mod vectors;
mod write;

use std::collections::BTreeMap;
use std::path::Path;

use futures::{StreamExt, TryStreamExt};

use super::*;
use crate::{Block, Cid, Error, ErrorKind, RAW, Result};

/// Blocks in memory: a sink that counts repeats once, and a source.
#[derive(Debug, Default)]
struct Blocks(BTreeMap<Cid, Block>);

impl Blocks {
    fn add(&mut self, block: Block) -> Cid {
        let cid = *block.cid();
        self.0.insert(cid, block);
        cid
    }

    fn stored_bytes(&self) -> u64 {
        self.0.values().map(|block| block.size() as u64).sum()
    }
}

impl BlockSink for Blocks {
    async fn put(&mut self, block: Block) -> Result<()> {
        self.add(block);
        Ok(())
    }
}

impl BlockSource for Blocks {
    async fn block(&self, cid: &Cid) -> Result<Block> {
        let missing = || Error::new(ErrorKind::NotFound, "read", format!("block {cid} is missing"));
        self.0.get(cid).cloned().ok_or_else(missing)
    }
}

async fn read_all(source: &Blocks, cid: &Cid, range: impl std::ops::RangeBounds<u64>) -> Result<Vec<u8>> {
    read(source, cid, range).map_ok(|piece| piece.to_vec()).try_concat().await
}

/// A length-delimited protobuf field.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2][..], &varint(bytes.len() as u64), bytes].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = vec![];
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// A dag-pb node with links, as a stranger might write one.
fn node(links: &[(&str, Cid, u64)], unixfs: &[u8]) -> Block {
    let mut bytes = vec![];
    for (name, cid, tsize) in links {
        let link = [field(1, &cid.to_bytes()), field(2, name.as_bytes()), vec![0x18], varint(*tsize)];
        bytes.extend(field(2, &link.concat()));
    }
    bytes.extend(field(1, unixfs));
    Block::new(DAG_PB, bytes)
}

fn folder(links: &[(&str, Cid)]) -> Block {
    let links: Vec<_> = links.iter().map(|(name, cid)| (*name, *cid, 0)).collect();
    node(&links, &[8, 1])
}

/// A file node that promises a size for each child.
fn file(children: &[(Cid, u64)]) -> Block {
    let links: Vec<_> = children.iter().map(|(cid, bytes)| ("", *cid, *bytes)).collect();
    let sizes = children.iter().flat_map(|(_, bytes)| [vec![0x20], varint(*bytes)].concat());
    node(&links, &[8, 2].into_iter().chain(sizes).collect::<Vec<_>>())
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<_> = entries.map(|entry| name(entry).into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

#[test]
fn layouts_have_names() {
    for layout in Layout::ALL {
        assert_eq!(layout.name().parse::<Layout>().expect("known"), layout);
        assert_eq!(serde_json::to_value(layout).expect("a name"), layout.name());
    }
    let error = "unixfs".parse::<Layout>().expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.detail().contains("unixfs-v1-2025, kubo-cid-v1, unixfs-v0-2015"), "{error}");
}
