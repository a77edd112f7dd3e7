//! What a user may choose about routing.

use std::time::Duration;

use carrick_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::address::Scope;

/// Through whom content and peers are found, the key `routing`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Routing {
    /// A table among the nodes of this network alone, by the protocol `/carrick/<network>/kad/1.0.0`.
    #[default]
    Private,
    /// The LAN table of Kubo, `/ipfs/lan/kad/1.0.0`: shared with every Kubo and Helia that can be reached without the internet.
    Lan,
    /// The public IPFS network, `/ipfs/kad/1.0.0`, and beside it the LAN table, as Kubo does. What is announced there is public.
    Ipfs,
    /// No table. Content is asked of connected peers alone, and only peers with known addresses can be dialled.
    None,
}

/// Whether this node answers the questions of others, the key `dht`. Kubo's names `dhtclient` and `dhtserver` are taken, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DhtMode {
    /// A server at once in a private network and a LAN; in the public network a client until an address is confirmed from
    /// outside that leads here without a relay.
    #[default]
    Auto,
    /// Asks and announces, and stores nothing for others.
    #[serde(alias = "dhtclient")]
    Client,
    /// Answers everybody and stores what others announce. Whoever says so must be reachable, or lookups of others wait for it.
    #[serde(alias = "dhtserver")]
    Server,
}

/// How the routing of one node is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Through whom.
    pub(crate) routing: Routing,
    /// Whether it answers others.
    pub(crate) dht: DhtMode,
    /// How long an announcement stands before it is made again; `None`: each is made once.
    pub(crate) reprovide: Option<Duration>,
}

/// 22 hours, as Kubo: records live for 48.
pub(crate) const REPROVIDE_S: u64 = 22 * 60 * 60;
/// Less and the network does nothing else.
const MIN_REPROVIDE_S: u64 = 60;
/// More and records are gone before they are renewed.
const MAX_REPROVIDE_S: u64 = 47 * 60 * 60;

impl Settings {
    /// As configured; `reprovide_interval` of 0 means never again.
    ///
    /// # Errors
    /// `Config` as [`check_reprovide`].
    pub(crate) fn new(routing: Routing, dht: DhtMode, reprovide_interval: u64) -> Result<Self> {
        check_reprovide(&reprovide_interval)?;
        let reprovide = (reprovide_interval > 0).then(|| Duration::from_secs(reprovide_interval));
        Ok(Self { routing, dht, reprovide })
    }
}

/// Checks the key `reprovide_interval`.
///
/// # Errors
/// `Config` outside of 60 s to 47 h; 0 is allowed.
pub(crate) fn check_reprovide(seconds: &u64) -> Result<()> {
    if *seconds == 0 || (MIN_REPROVIDE_S..=MAX_REPROVIDE_S).contains(seconds) {
        return Ok(());
    }
    let detail = format!(
        "reprovide_interval is {seconds}; allowed is {MIN_REPROVIDE_S} to {MAX_REPROVIDE_S}, or 0 for never"
    );
    Err(Error::new(ErrorKind::Config, "configuration", detail))
}

impl Routing {
    /// The protocols of its tables, and among whom each passes addresses on.
    pub(super) fn tables(self, network: &str) -> Vec<(String, Scope)> {
        let lan = || ("/ipfs/lan/kad/1.0.0".to_owned(), Scope::Lan);
        match self {
            Self::Private => vec![(format!("/carrick/{network}/kad/1.0.0"), Scope::Private)],
            Self::Lan => vec![lan()],
            Self::Ipfs => vec![("/ipfs/kad/1.0.0".to_owned(), Scope::World), lan()],
            Self::None => vec![],
        }
    }

    /// Among whom the node passes its addresses on, where there is no table of which it is asked: for identify.
    pub(crate) fn scope(self) -> Scope {
        match self {
            Self::Private | Self::None => Scope::Private,
            Self::Lan => Scope::Lan,
            Self::Ipfs => Scope::World,
        }
    }
}

#[cfg(test)]
mod tests {
    use figment::Figment;
    use figment::providers::{Format, Toml};

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Table {
        routing: Routing,
        dht: DhtMode,
    }

    fn read(toml: &str) -> Result<Table, Box<figment::Error>> {
        Figment::from(Toml::string(toml)).extract().map_err(Box::new)
    }

    #[test]
    fn the_own_network_is_the_default_and_every_name_is_read() {
        let table = read("").expect("the defaults");
        assert_eq!((table.routing, table.dht), (Routing::Private, DhtMode::Auto));
        for (name, routing) in [
            ("private", Routing::Private),
            ("lan", Routing::Lan),
            ("ipfs", Routing::Ipfs),
            ("none", Routing::None),
        ] {
            assert_eq!(read(&format!("routing = {name:?}")).expect(name).routing, routing);
        }
        for (name, dht) in [
            ("auto", DhtMode::Auto),
            ("client", DhtMode::Client),
            ("dhtclient", DhtMode::Client),
            ("server", DhtMode::Server),
            ("dhtserver", DhtMode::Server),
        ] {
            assert_eq!(read(&format!("dht = {name:?}")).expect(name).dht, dht);
        }
        let error = read(r#"routing = "wan""#).expect_err("no such").to_string();
        assert!(error.contains("private") && error.contains("ipfs"), "{error}");
    }

    #[test]
    fn the_interval_is_from_a_minute_to_less_than_a_record_lives() {
        for seconds in [0, 60, REPROVIDE_S, 169_200] {
            check_reprovide(&seconds).expect("in range");
        }
        for seconds in [1, 59, 169_201] {
            let error = check_reprovide(&seconds).expect_err("out of range");
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains("60 to 169200"), "{error}");
        }
        let never = Settings::new(Routing::Lan, DhtMode::Auto, 0).expect("in range");
        assert_eq!(never.reprovide, None);
    }

    #[test]
    fn each_choice_speaks_the_protocols_of_its_tables() {
        let names = |routing: Routing| -> Vec<_> {
            routing.tables("sensors").into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names(Routing::Private), ["/carrick/sensors/kad/1.0.0"]);
        assert_eq!(names(Routing::Lan), ["/ipfs/lan/kad/1.0.0"]);
        assert_eq!(names(Routing::Ipfs), ["/ipfs/kad/1.0.0", "/ipfs/lan/kad/1.0.0"]);
        assert!(names(Routing::None).is_empty());
    }
}
