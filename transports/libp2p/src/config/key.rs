//! The key of a private network, as Kubo writes it.

use std::path::Path;

use carrick_core::Result;
use libp2p::pnet::PreSharedKey;

use super::wrong;

/// A key file is 95 bytes; more is none.
const MAX_BYTES: u64 = 4_096;

/// What to do about a file that holds no key.
const MEND: &str = "a key is three lines: /key/swarm/psk/1.0.0/, then /base16/, then 64 hexadecimal digits; copy Kubo's swarm.key";

/// Reads a `swarm.key`.
pub(super) fn read(path: &Path) -> Result<PreSharedKey> {
    let refuse = |detail: String| wrong(format!("swarm_key {} {detail}", path.display()));
    let unreadable = |error: std::io::Error| {
        refuse(format!("cannot be read: {error}"))
            .mend("give the path of a file that this user may read")
            .from_source(error)
    };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > MAX_BYTES {
        return Err(refuse(format!("is a file of {length} bytes, which is no key")).mend(MEND));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    // What is wrong with it is said without a part of it: it is a secret.
    parse(&text).map_err(|why| refuse(why.to_owned()).mend(MEND))
}

pub(super) fn parse(text: &str) -> Result<PreSharedKey, &'static str> {
    let mut lines = text.lines().map(str::trim_end);
    if lines.next() != Some("/key/swarm/psk/1.0.0/") {
        return Err("does not begin with /key/swarm/psk/1.0.0/");
    }
    match lines.next() {
        Some("/base16/") => {}
        Some("/base64/" | "/bin/") => {
            return Err("is written in base64 or binary, and only /base16/ is read");
        }
        _ => return Err("does not say /base16/ in its second line"),
    }
    let digits = lines.next().unwrap_or_default();
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err("does not have 64 hexadecimal digits in its third line");
    }
    text.parse().map_err(|_| "is no key")
}
