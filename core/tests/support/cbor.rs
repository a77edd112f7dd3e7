//! CBOR by hand, for encodings that no honest encoder makes.

/// The beginning of an item: its major type and its number, as short as can be.
pub(crate) fn head(major: u8, n: u64) -> Vec<u8> {
    let major = major << 5;
    match n {
        0..=23 => vec![major | n as u8],
        24..=0xff => vec![major | 24, n as u8],
        0x100..=0xffff => [&[major | 25][..], &(n as u16).to_be_bytes()].concat(),
        0x1_0000..=0xffff_ffff => [&[major | 26][..], &(n as u32).to_be_bytes()].concat(),
        _ => [&[major | 27][..], &n.to_be_bytes()].concat(),
    }
}

/// A text string.
pub(crate) fn text(text: &str) -> Vec<u8> {
    [head(3, text.len() as u64), text.as_bytes().to_vec()].concat()
}

/// Any value as an honest encoder writes it.
pub(crate) fn value_bytes(value: &ipld_core::ipld::Ipld) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(value).expect("encodes")
}

/// A map of encoded values, in the order given.
pub(crate) fn map(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut out = head(5, entries.len() as u64);
    for (key, value) in entries {
        out.extend(text(key));
        out.extend(value);
    }
    out
}
