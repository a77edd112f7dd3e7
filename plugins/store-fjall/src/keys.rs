//! How blocks, pins and metadata are named inside the database. Part of the format: see `database::FORMAT`.
//!
//! The bytes of a CID tell where they end, so a pin's key is the CID followed by the owner, and sorts as the contract
//! promises: by CID, then by owner. A metadata key is `/` and the name, because the database takes no empty key.

use carrick_core::{Cid, Error, ErrorKind, Owner, Pin, PinDepth, Result, Usage};

/// Longest name of an owner or a piece of metadata, in bytes.
const MAX_NAME_BYTES: usize = 4 * 1024;

pub(crate) fn block(cid: &Cid) -> Vec<u8> {
    cid.to_bytes()
}

pub(crate) fn read_block(key: &[u8]) -> Result<Cid> {
    Cid::try_from(key).map_err(|source| damaged("a block's key is no CID").from_source(source))
}

pub(crate) fn pin(cid: &Cid, owner: &Owner) -> Result<Vec<u8>> {
    check_name("the name of a pin's owner", owner.as_str())?;
    Ok([&cid.to_bytes(), owner.as_str().as_bytes()].concat())
}

pub(crate) fn pin_depth(depth: PinDepth) -> [u8; 1] {
    match depth {
        PinDepth::Block => [0],
        PinDepth::Recursive => [1],
    }
}

pub(crate) fn read_pin(mut key: &[u8], value: &[u8]) -> Result<Pin> {
    let cid = Cid::read_bytes(&mut key)
        .map_err(|source| damaged("a pin's key begins with no CID").from_source(source))?;
    let owner = std::str::from_utf8(key)
        .map_err(|source| damaged("a pin's owner is not UTF-8").from_source(source))?;
    let depth = match value {
        [0] => PinDepth::Block,
        [1] => PinDepth::Recursive,
        _ => return Err(damaged("a pin has no known depth")),
    };
    Ok(Pin { cid, owner: Owner::new(owner), depth })
}

pub(crate) fn meta(name: &str) -> Result<Vec<u8>> {
    check_name("a metadata key", name)?;
    Ok(meta_prefix(name))
}

pub(crate) fn meta_prefix(prefix: &str) -> Vec<u8> {
    ["/", prefix].concat().into_bytes()
}

pub(crate) fn read_meta(key: &[u8]) -> Result<String> {
    key.strip_prefix(b"/")
        .and_then(|name| String::from_utf8(name.to_vec()).ok())
        .ok_or_else(|| damaged("a metadata key is malformed"))
}

pub(crate) fn usage(usage: Usage) -> [u8; 16] {
    let mut out = [0; 16];
    out[..8].copy_from_slice(&usage.blocks.to_be_bytes());
    out[8..].copy_from_slice(&usage.bytes.to_be_bytes());
    out
}

pub(crate) fn read_usage(value: &[u8]) -> Result<Usage> {
    let value: [u8; 16] = value.try_into().map_err(|_| damaged("the usage counters are malformed"))?;
    let total = u128::from_be_bytes(value);
    Ok(Usage::new((total >> 64) as u64, total as u64))
}

fn check_name(what: &str, name: &str) -> Result<()> {
    if name.len() > MAX_NAME_BYTES {
        let detail = format!("{what} has {} bytes; at most {MAX_NAME_BYTES} are allowed", name.len());
        return Err(Error::new(ErrorKind::TooLarge, "store", detail));
    }
    Ok(())
}

fn damaged(detail: &str) -> Error {
    Error::new(ErrorKind::Integrity, "store", detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use carrick_core::{Block, RAW};

    #[test]
    fn keys_come_back() {
        let cid = *Block::new(RAW, &b"x"[..]).cid();
        let expected = Pin::recursive(cid, Owner::new("ledger/é"));
        let key = pin(&cid, &expected.owner).expect("short");
        assert_eq!(read_pin(&key, &pin_depth(expected.depth)).expect("reads"), expected);
        assert_eq!(read_block(&block(&cid)).expect("reads"), cid);
        assert_eq!(read_meta(&meta("").expect("short")).expect("reads"), "");
        let counters = Usage::new(3, u64::MAX);
        assert_eq!(read_usage(&usage(counters)).expect("reads"), counters);
    }

    #[test]
    fn damaged_keys_are_integrity_errors() {
        let cid = *Block::new(RAW, &b"x"[..]).cid();
        let truncated = &cid.to_bytes()[..20];
        let errors = [
            read_block(truncated).map(drop),
            read_pin(truncated, &[0]).map(drop),
            read_pin(&[cid.to_bytes(), vec![0xff]].concat(), &[0]).map(drop),
            read_pin(&cid.to_bytes(), &[9]).map(drop),
            read_meta(b"no slash").map(drop),
            read_usage(&[0; 15]).map(drop),
        ];
        for error in errors {
            assert_eq!(error.expect_err("damaged").kind(), ErrorKind::Integrity);
        }
    }

    #[test]
    fn a_name_above_the_limit_is_too_large() {
        let name = "x".repeat(MAX_NAME_BYTES);
        assert!(meta(&name).is_ok());
        assert_eq!(meta(&(name + "x")).expect_err("too long").kind(), ErrorKind::TooLarge);
    }
}
