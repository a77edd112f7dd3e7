//! The calls that the crate has not, or has wrong for today's Kubo, and what is answered to them.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use carrick_core::Cid;
use ipfs_api_prelude::ApiRequest;
use serde::de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A call: its path and what it is asked with.
macro_rules! calls {
    ($($(#[$doc:meta])* $path:literal $name:ident { $($(#[$how:meta])* $field:ident: $type:ty),* $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Serialize)]
        pub(crate) struct $name { $($(#[$how])* pub(crate) $field: $type),* }

        impl ApiRequest for $name {
            const PATH: &'static str = $path;
        }
    )+};
}

calls! {
    /// Who the daemon is. The crate's own demands a field that Kubo left out long ago.
    "/id" Id {}
    /// How old the daemon is. The crate's own demands a field that another may leave out.
    "/version" VersionOf {}
    /// Who is connected. The crate's own demands fields that Kubo never sends.
    "/swarm/peers" SwarmPeers { direction: bool }
    /// Connects to another daemon; the crate's own has no time limit.
    "/swarm/connect" SwarmConnect { arg: String, timeout: String }
    /// Ends the connections to another daemon.
    "/swarm/disconnect" SwarmDisconnect { arg: String }
    /// The topics that the daemon takes part in, in multibase. The crate's own does not know that there may be none.
    "/pubsub/ls" PubsubLs {}
    /// Who takes part in a topic. The crate's own reads a list without bounds.
    "/pubsub/peers" PubsubPeers { arg: String }
    /// The messages of a topic, a line each. The crate's own panics where a number is short.
    "/pubsub/sub" PubsubSub { arg: String }
    /// A block; the crate's own cannot be told how long to look, nor not to look elsewhere.
    "/block/get" BlockGet { arg: String, timeout: String, offline: bool }
    /// Stores a block. The daemon serves it under every codec, but those who wait for it hear of it under this one alone, or as
    /// CIDv0 by the format `v0`; the crate's own cannot name hash and codec.
    "/block/put" BlockPut {
        #[serde(rename = "cid-codec", skip_serializing_if = "Option::is_none")] cid_codec: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")] format: Option<&'static str>,
        mhtype: &'static str,
        pin: bool,
        #[serde(rename = "allow-big-block")] allow_big_block: bool,
    }
    /// Whether the daemon has a block; the crate's own asks the network too.
    "/block/stat" BlockStat { arg: String, offline: bool }
    /// Stores many blocks at once. The crate has it not.
    "/dag/import" DagImport { #[serde(rename = "pin-roots")] pin_roots: bool, stats: bool }
    /// Tells the routing that a block is to be had here. The crate's own is a command that Kubo removed.
    "/routing/provide" RoutingProvide { arg: String, timeout: String }
    /// Who has a block, in lines.
    "/routing/findprovs" FindProvs {
        arg: String,
        #[serde(rename = "num-providers")] num_providers: usize,
        timeout: String,
    }
}

/// A call that names many things, and how it is to be done.
macro_rules! calls_of_many {
    ($($(#[$doc:meta])* $path:literal $name:ident $how:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name(pub(crate) Vec<String>);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                let how: &[(&str, &str)] = &$how;
                to.collect_seq(how.iter().copied().chain(self.0.iter().map(|arg| ("arg", arg.as_str()))))
            }
        }

        impl ApiRequest for $name {
            const PATH: &'static str = $path;
        }
    )+};
}

calls_of_many! {
    /// Fails unless all are pinned directly.
    "/pin/ls" PinLs [("type", "direct")];
    /// Pins directly, and fails at the first that the daemon has not itself.
    "/pin/add" PinAdd [("recursive", "false"), ("offline", "true")];
    /// Takes direct pins away.
    "/pin/rm" PinRm [("recursive", "false")];
}

/// A time in the words of Kubo, which runs nothing when it cannot read them.
pub(crate) fn millis(time: Duration) -> String {
    format!("{}ms", time.as_millis().clamp(1, 86_400_000))
}

/// How many blocks one call names. A proxy before the daemon may take no longer line than 8 KiB.
pub(crate) const NAMED_AT_ONCE: usize = 100;
/// Most topics or daemons that one answer names.
const MAX_NAMES: usize = 65_536;
/// Most daemons that are connected.
const MAX_LINKS: usize = 16_384;
/// Most daemons that one step of a search names, and most addresses of each.
const MAX_PROVIDERS: usize = 1_024;
const MAX_ADDRS: usize = 1_024;

/// A list, or the keys of a table; `null` is an empty one. A longer one is refused: an entry takes far more memory than the
/// three bytes that it may have in the answer.
#[derive(Debug)]
pub(crate) struct List<T, const MOST: usize>(pub(crate) Vec<T>);

impl<T, const MOST: usize> Default for List<T, MOST> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for List<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Entries::<T, MOST>(PhantomData)).map(Self)
    }
}

struct Entries<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Entries<T, MOST> {
    type Value = Vec<T>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "a list of at most {MOST}")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = entries.next_element()? {
            if list.len() == MOST {
                return Err(de::Error::invalid_length(MOST + 1, &self));
            }
            list.push(entry);
        }
        Ok(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some((key, IgnoredAny)) = entries.next_entry()? {
            if list.len() == MOST {
                return Err(de::Error::invalid_length(MOST + 1, &self));
            }
            list.push(key);
        }
        Ok(list)
    }
}

/// Who a daemon is.
#[derive(Debug, Deserialize)]
pub(crate) struct Identity {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    #[serde(rename = "Addresses", default)]
    pub(crate) addresses: List<String, MAX_ADDRS>,
}

/// How old a daemon is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Version {
    pub(crate) version: String,
}

/// The daemons that are connected.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Swarm {
    #[serde(default)]
    pub(crate) peers: List<SwarmPeer, MAX_LINKS>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SwarmPeer {
    pub(crate) addr: String,
    pub(crate) peer: String,
    /// 1 for inbound, 2 for outbound.
    #[serde(default)]
    pub(crate) direction: u8,
}

/// What became of many blocks.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Stats {
    pub(crate) stats: Imported,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Imported {
    pub(crate) block_count: u64,
}

/// A list of names.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Names {
    #[serde(default)]
    pub(crate) strings: List<String, MAX_NAMES>,
}

/// The blocks that were pinned, or no longer are; or `Keys`, those that are.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Pins {
    #[serde(alias = "Keys")]
    pub(crate) pins: List<String, NAMED_AT_ONCE>,
}

/// A stored block.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Stored {
    pub(crate) key: String,
}

impl Stored {
    /// Whether it is this one, under whatever name.
    pub(crate) fn is(&self, cid: &Cid) -> bool {
        short::<Cid>(&self.key).is_some_and(|key| key.hash() == cid.hash())
    }
}

/// A step of a search; only `ANSWER` names providers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RoutingStep {
    #[serde(rename = "Type")]
    pub(crate) kind: u8,
    #[serde(default)]
    pub(crate) responses: List<Provider, MAX_PROVIDERS>,
}

impl RoutingStep {
    pub(crate) const ANSWER: u8 = 4;
}

#[derive(Debug, Deserialize)]
pub(crate) struct Provider {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    #[serde(rename = "Addrs", default)]
    pub(crate) addrs: List<String, MAX_ADDRS>,
}

/// A message of a subscription.
#[derive(Debug, Deserialize)]
pub(crate) struct Line {
    pub(crate) from: String,
    pub(crate) data: String,
    pub(crate) seqno: String,
}

/// The longest name or address that is read.
const MAX_TEXT: usize = 512;

/// A name or an address. What is longer than any real one is none: base58 takes the square of its length to read.
pub(crate) fn short<T: FromStr>(text: &str) -> Option<T> {
    if text.len() > MAX_TEXT { None } else { text.parse().ok() }
}

/// Bytes in multibase base64url, as every text of pubsub is.
pub(crate) fn encoded(bytes: &[u8]) -> String {
    format!("u{}", URL_SAFE_NO_PAD.encode(bytes))
}

pub(crate) fn decoded(text: &str) -> Option<Bytes> {
    URL_SAFE_NO_PAD.decode(text.strip_prefix('u')?).ok().map(Bytes::from)
}

/// The name under which the daemon has the bytes of a block: it keeps them by their hash alone. So a pin holds this block
/// and nothing under it.
pub(crate) fn raw(cid: &Cid) -> Cid {
    Cid::new_v1(carrick_core::RAW, *cid.hash())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multibase_is_what_kubo_says() {
        assert_eq!(encoded(b"carrick/test"), "uY2Fycmljay90ZXN0");
        assert_eq!(decoded("u").as_deref(), Some(&b""[..]));
        assert_eq!(decoded("uAP9saW5lCg").as_deref(), Some(&b"\0\xffline\n"[..]));
        for bad in ["", "zAP9", "u=", "uA"] {
            assert_eq!(decoded(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_list_takes_memory_for_what_is_allowed() {
        let read = |text: &str| serde_json::from_str::<List<String, 2>>(text);
        assert_eq!(read("null").expect("none").0, [""; 0]);
        for two in [r#"["a","b"]"#, r#"{"a":{"Type":"direct"},"b":null}"#] {
            assert_eq!(read(two).expect("two").0, ["a", "b"]);
        }
        for three in [r#"["","",""]"#, r#"{"a":1,"b":2,"c":3}"#] {
            let error = read(three).expect_err("three").to_string();
            assert!(error.contains("at most 2"), "{error}");
        }
    }

    #[test]
    fn calls_are_written_as_kubo_reads_them() {
        let base = "http://127.0.0.1:5001/api/v0".parse().expect("a URL");
        let put = BlockPut {
            cid_codec: Some(carrick_core::RAW),
            format: None,
            mhtype: "sha2-256",
            pin: true,
            allow_big_block: true,
        };
        let url = put.absolute_url(&base).expect("a URL").to_string();
        assert_eq!(
            url,
            "http://127.0.0.1:5001/api/v0/block/put?cid-codec=85&mhtype=sha2-256&pin=true&allow-big-block=true"
        );
        let many = PinAdd(vec!["one".into(), "two".into()]).absolute_url(&base).expect("a URL").to_string();
        let query = "recursive=false&offline=true&arg=one&arg=two";
        assert_eq!(many, format!("http://127.0.0.1:5001/api/v0/pin/add?{query}"));
        assert_eq!(millis(Duration::from_micros(1)), "1ms", "0 fails at once");
    }
}
