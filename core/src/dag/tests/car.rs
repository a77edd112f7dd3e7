//! CARs of other programs, damaged ones, and our own.

use serde::Deserialize;

use super::generate::mod251;
use super::*;

const SMALL: &[u8] = include_bytes!("../../../tests/vectors/small.car");
const LIMIT: usize = 2 << 20;

#[derive(Deserialize)]
struct Vectors {
    cars: Vec<Car>,
}

#[derive(Deserialize)]
struct Car {
    roots: Vec<String>,
    blocks: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    cid: String,
    section_offset: usize,
    size: usize,
}

fn small() -> Car {
    let vectors = include_str!("../../../tests/vectors/reference-cids.json");
    serde_json::from_str::<Vectors>(vectors).expect("valid vectors").cars.remove(0)
}

async fn decode(bytes: &[u8], limit: usize) -> Result<Vec<Block>> {
    CarReader::new(bytes, limit).await?.into_stream().try_collect().await
}

#[tokio::test]
async fn a_car_of_kubo_decodes_and_encodes_again_to_the_same_bytes() {
    let listed = small();
    let reader = CarReader::new(SMALL, LIMIT).await.expect("a CAR");
    let roots = reader.roots().to_vec();
    assert_eq!(roots.iter().map(Cid::to_string).collect::<Vec<_>>(), listed.roots);
    let found: Vec<Block> = reader.into_stream().try_collect().await.expect("whole");
    let ours: Vec<_> = found.iter().map(|block| (block.cid().to_string(), block.size())).collect();
    let theirs: Vec<_> = listed.blocks.iter().map(|block| (block.cid.clone(), block.size)).collect();
    assert_eq!(ours, theirs);

    let mut blocks = Blocks::default();
    for block in found {
        blocks.add(block);
    }
    let mut again = vec![];
    let exported = export_car(&blocks, &roots, &mut again).await.expect("exported");
    assert!(again == SMALL, "the bytes differ");
    assert_eq!((exported.blocks, exported.bytes), (8, blocks.stored_bytes()));
    assert_eq!(read_all(&blocks, &roots[0], ..).await.expect_err("a folder").kind(), ErrorKind::Unsupported);
    let file = resolve(&blocks, &roots[0], "sub/chunks.bin").await.expect("there");
    assert_eq!(read_all(&blocks, &file, ..).await.expect("read").len(), 3000);
}

#[tokio::test]
async fn every_cut_of_a_car_is_noticed() {
    let ends: Vec<usize> = small().blocks.iter().map(|block| block.section_offset).collect();
    for end in 0..SMALL.len() {
        match decode(&SMALL[..end], LIMIT).await {
            // Between two sections a cut cannot be told from the end.
            Ok(blocks) => assert_eq!(ends.get(blocks.len()), Some(&end)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Integrity, "{end}: {error}"),
        }
    }
}

#[tokio::test]
async fn no_changed_byte_gives_a_wrong_block() {
    for at in 0..SMALL.len() {
        let mut bytes = SMALL.to_vec();
        bytes[at] ^= 0x01;
        let Ok(reader) = CarReader::new(&bytes[..], LIMIT).await else { continue };
        let read: Vec<_> = reader.into_stream().collect().await;
        for block in read.into_iter().flatten() {
            let cid = crate::cid_of(block.cid().codec(), block.bytes());
            assert_eq!(&cid, block.cid(), "byte {at}");
        }
    }
}

#[tokio::test]
async fn a_corrupted_block_is_an_integrity_error() {
    let mut bytes = SMALL.to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert_eq!(decode(&bytes, LIMIT).await.expect_err("corrupted").kind(), ErrorKind::Integrity);
}

#[tokio::test]
async fn what_is_no_car_or_too_large_is_refused() {
    let huge = [&SMALL[..59], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]].concat();
    let endless = [&SMALL[..59], &[0xff; 9]].concat();
    let version_2 = b"\x0a\xa1\x67version\x02 and more";
    let identity = [&SMALL[..59], &[6, 1, 0x55, 0, 1, b'x', b'x']].concat();
    for (bytes, kind) in [
        (&b""[..], ErrorKind::Integrity),
        (b"\x00", ErrorKind::Integrity),
        (b"hello, this is no CAR", ErrorKind::Integrity),
        (&[0xff, 0xff, 0xff, 0x0f], ErrorKind::TooLarge),
        (version_2, ErrorKind::Unsupported),
        (&huge, ErrorKind::TooLarge),
        (&endless, ErrorKind::Integrity),
        (&identity, ErrorKind::Rejected),
    ] {
        let error = decode(bytes, LIMIT).await.expect_err("refused");
        assert_eq!(error.kind(), kind, "{error}");
    }
    assert_eq!(decode(SMALL, 100).await.expect_err("a block of 203 bytes").kind(), ErrorKind::TooLarge);
}

#[tokio::test]
async fn an_export_needs_a_root_and_every_block() {
    let mut blocks = Blocks::default();
    let content = mod251(600_000);
    let added = add_file(&content[..], Layout::UnixfsV0_2015, &mut blocks).await.expect("added");
    let error = export_car(&blocks, &[], tokio::io::sink()).await.expect_err("no root");
    assert_eq!(error.kind(), ErrorKind::Config);

    let mut car = vec![];
    let exported = export_car(&blocks, &[added.cid, added.cid], &mut car).await.expect("exported");
    assert_eq!(exported.blocks, 4, "a root named twice is written once");
    let back = decode(&car, LIMIT).await.expect("whole");
    assert_eq!(back[0].cid(), &added.cid, "a CIDv0 stays one");

    blocks.0.retain(|cid, _| cid == &added.cid);
    let error = export_car(&blocks, &[added.cid], tokio::io::sink()).await.expect_err("missing");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
