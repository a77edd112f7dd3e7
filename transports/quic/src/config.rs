//! `[transport.quic]`.

use carrick_core::{Error, ErrorKind, Multiaddr, PeerAddr, Result};
use serde::{Deserialize, Serialize};

use crate::address;

/// Most peers that a node may be told to look for.
const MAX_NEIGHBOURS: usize = 64;

/// The table `[transport.quic]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct QuicConfig {
    /// Where to listen: `/ip4/ADDRESS/udp/PORT/quic-v1` or `/ip6/ADDRESS/udp/PORT/quic-v1`, at most 16.
    ///
    /// `0.0.0.0` and `::` listen on every interface of their family; port 0 takes a free one. Empty: this
    /// node dials and is never dialled. Default `/ip4/0.0.0.0/udp/4600/quic-v1`.
    pub listen: Vec<Multiaddr>,
    /// Peers to stay connected to, as `/ip4/10.0.0.7/udp/4600/quic-v1/p2p/12D3KooW…`; `/dns4/`, `/dns6/` and
    /// `/dns/` names are looked up at every dial.
    ///
    /// They are dialled again for ever, waiting 0.5 s at first and 30 s in the end. Default none.
    pub bootstrap: Vec<PeerAddr>,
    /// How many connections the node looks for by itself: while it has fewer, it dials peers whose signed
    /// records others passed on.
    ///
    /// 0 dials the bootstrap peers alone. Range 0 to 64, default 8.
    pub neighbours: usize,
}

impl Default for QuicConfig {
    fn default() -> Self {
        Self { listen: vec![default_listen()], bootstrap: vec![], neighbours: 8 }
    }
}

fn default_listen() -> Multiaddr {
    address::of_socket((std::net::Ipv4Addr::UNSPECIFIED, 4_600).into())
}

impl QuicConfig {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// `Config` names the key, what was found and what is allowed.
    pub fn check(&self) -> Result<()> {
        if self.listen.len() > 16 {
            return Err(wrong(format!("listen has {} addresses; at most 16 are allowed", self.listen.len())));
        }
        for addr in &self.listen {
            if address::to_listen(addr).is_none() {
                let detail = format!("listen has {addr}, which is no address to listen on");
                return Err(wrong(detail).mend("write it as /ip4/0.0.0.0/udp/4600/quic-v1"));
            }
        }
        for peer in &self.bootstrap {
            if !peer.addrs.iter().any(address::is_quic) {
                let detail = format!("bootstrap has {peer}, which is no QUIC address");
                return Err(wrong(detail).mend("write it as /ip4/10.0.0.7/udp/4600/quic-v1/p2p/12D3KooW…"));
            }
        }
        if self.neighbours > MAX_NEIGHBOURS {
            let found = self.neighbours;
            return Err(wrong(format!("neighbours is {found}; allowed is 0 to {MAX_NEIGHBOURS}")));
        }
        Ok(())
    }
}

fn wrong(detail: String) -> Error {
    Error::new(ErrorKind::Config, "configuration", detail)
}

#[cfg(test)]
mod tests {
    use figment::Figment;
    use figment::providers::{Format, Toml};

    use super::*;

    fn read(toml: &str) -> Result<QuicConfig, Box<figment::Error>> {
        Figment::from(Toml::string(toml)).extract().map_err(Box::new)
    }

    #[test]
    fn an_empty_table_is_the_default() {
        let config = read("").expect("the defaults");
        assert_eq!(config, QuicConfig::default());
        assert_eq!(config.listen[0].to_string(), "/ip4/0.0.0.0/udp/4600/quic-v1");
        config.check().expect("in range");
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = read("lisen = []").expect_err("a typo");
        assert!(error.to_string().contains("lisen"), "{error}");
    }

    #[test]
    fn a_bad_address_comes_with_the_form_to_use() {
        for (toml, key) in [
            (r#"listen = ["/ip4/0.0.0.0/tcp/4600"]"#, "listen"),
            (r#"listen = ["/dns4/example.org/udp/4600/quic-v1"]"#, "listen"),
            (r#"bootstrap = ["/ip4/10.0.0.7/tcp/4600"]"#, "bootstrap"),
        ] {
            let error = read(toml).expect("parses").check().expect_err(toml);
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.detail().starts_with(key), "{error}");
            assert!(error.hint().is_some_and(|hint| hint.contains("/quic-v1")));
        }
    }

    #[test]
    fn too_many_neighbours_are_refused() {
        assert!(read("neighbours = 64").expect("parses").check().is_ok());
        let error = read("neighbours = 65").expect("parses").check().expect_err("above");
        assert_eq!(error.detail(), "neighbours is 65; allowed is 0 to 64");
    }
}
