//! `[transport.quic]`.

use carrick_core::config::refuse;
use carrick_core::{Error, ErrorKind, Multiaddr, PeerAddr, Result, checked};
use serde::{Deserialize, Deserializer, Serialize};

use crate::address;

/// Most peers that a node may be told to look for.
const MAX_NEIGHBOURS: usize = 64;
/// Most addresses to listen on.
const MAX_LISTEN: usize = 16;

/// The table `[transport.quic]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct QuicConfig {
    /// Where to listen: `/ip4/ADDRESS/udp/PORT/quic-v1` or `/ip6/ADDRESS/udp/PORT/quic-v1`, at most 16.
    ///
    /// `0.0.0.0` and `::` listen on every interface of their family; port 0 takes a free one. Empty: this
    /// node dials and is never dialled. Default `/ip4/0.0.0.0/udp/4600/quic-v1`.
    #[serde(deserialize_with = "checked_listen")]
    pub listen: Vec<Multiaddr>,
    /// Peers to stay connected to, as `/ip4/10.0.0.7/udp/4600/quic-v1/p2p/12D3KooW…`; `/dns4/`, `/dns6/` and
    /// `/dns/` names are looked up at every dial.
    ///
    /// They are dialled again for ever, waiting 0.5 s at first and 30 s in the end. Default none.
    #[serde(deserialize_with = "checked_bootstrap")]
    pub bootstrap: Vec<PeerAddr>,
    /// How many connections the node looks for by itself: while it has fewer, it dials peers whose signed
    /// records others passed on.
    ///
    /// 0 dials the bootstrap peers alone. Range 0 to 64, default 8.
    #[serde(deserialize_with = "checked_neighbours")]
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
        check_listen(&self.listen)?;
        check_bootstrap(&self.bootstrap)?;
        check_neighbours(&self.neighbours)
    }
}

fn check_listen(listen: &[Multiaddr]) -> Result<()> {
    if listen.len() > MAX_LISTEN {
        return Err(wrong(format!(
            "listen has {} addresses; at most {MAX_LISTEN} are allowed",
            listen.len()
        )));
    }
    match listen.iter().find(|addr| address::to_listen(addr).is_none()) {
        None => Ok(()),
        Some(addr) => Err(no_listen_address(&addr.to_string())),
    }
}

fn no_listen_address(found: &str) -> Error {
    wrong(format!("listen has {found:?}, which is no address to listen on"))
        .mend("write it as /ip4/0.0.0.0/udp/4600/quic-v1")
}

fn check_bootstrap(bootstrap: &[PeerAddr]) -> Result<()> {
    match bootstrap.iter().find(|peer| !peer.addrs.iter().any(address::is_quic)) {
        None => Ok(()),
        Some(peer) => Err(wrong(format!("bootstrap has {peer}, which is no QUIC address"))
            .mend("write it as /ip4/10.0.0.7/udp/4600/quic-v1/p2p/12D3KooW…")),
    }
}

fn check_neighbours(neighbours: &usize) -> Result<()> {
    if *neighbours > MAX_NEIGHBOURS {
        return Err(wrong(format!("neighbours is {neighbours}; allowed is 0 to {MAX_NEIGHBOURS}")));
    }
    Ok(())
}

/// Reads texts first: what is no address at all is named like one that is of no use.
fn checked_listen<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Multiaddr>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    let read = |text: &String| text.parse().map_err(|_| no_listen_address(text));
    let listen = texts.iter().map(read).collect::<Result<Vec<_>>>().map_err(|error| refuse(&error))?;
    check_listen(&listen).map_err(|error| refuse(&error))?;
    Ok(listen)
}

checked!(checked_bootstrap, Vec<PeerAddr>, check_bootstrap);
checked!(checked_neighbours, usize, check_neighbours);

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
            (r#"listen = ["x"]"#, "listen"),
            (r#"listen = ["/dns4/example.org/udp/4600/quic-v1"]"#, "listen"),
            (r#"bootstrap = ["/ip4/10.0.0.7/tcp/4600"]"#, "bootstrap"),
        ] {
            let error = read(toml).expect_err(toml).to_string();
            assert!(error.contains(&format!("{key} has")) && error.contains("/quic-v1"), "{error}");
        }
    }

    #[test]
    fn too_many_neighbours_are_refused() {
        read("neighbours = 64").expect("in range").check().expect("in range");
        let error = read("neighbours = 65").expect_err("above").to_string();
        assert!(error.contains("neighbours is 65; allowed is 0 to 64"), "{error}");
        let config = QuicConfig { neighbours: 65, ..QuicConfig::default() };
        assert_eq!(config.check().expect_err("above").kind(), ErrorKind::Config);
    }
}
