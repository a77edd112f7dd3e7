//! Golden bytes: what a format pins, in files of hex in which `#` begins a comment that ends with its line.

use std::fs;
use std::path::Path;

use data_encoding::HEXLOWER;

/// The bytes of such a text.
///
/// # Panics
/// When it is no hex.
pub fn unhex(text: &str) -> Vec<u8> {
    let digits = text.lines().flat_map(|line| line.split('#').next()).flat_map(str::split_whitespace);
    let digits: String = digits.collect();
    HEXLOWER.decode(digits.as_bytes()).unwrap_or_else(|error| panic!("{digits}: {error}"))
}

/// The bytes of such a file.
///
/// # Panics
/// When it cannot be read or is no hex.
pub fn read(path: impl AsRef<Path>) -> Vec<u8> {
    let path = path.as_ref();
    unhex(&fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// Compares what is written now with what the file of `path` pins; both are shown as hex where they differ.
///
/// # Panics
/// When they differ, and as [`read`].
pub fn pinned(path: impl AsRef<Path>, written: &[u8]) {
    let path = path.as_ref();
    assert_eq!(HEXLOWER.encode(written), HEXLOWER.encode(&read(path)), "{}", path.display());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_spaces_are_no_digits() {
        assert_eq!(unhex("00 01 # ff\n\n# all of it: ab\nfe\n"), [0x00, 0x01, 0xfe]);
    }

    #[test]
    #[should_panic(expected = "invalid")]
    fn half_a_byte_is_refused() {
        unhex("00 1");
    }
}
