//! `[transport.ipfs-http]`.

use carrick_core::config::Seconds;
use carrick_core::{PeerAddr, Result, checked};
use serde::{Deserialize, Serialize};

use crate::access::{daemon_table, wrong};

/// Most daemons to stay connected to.
const MAX_BOOTSTRAP: usize = 64;

daemon_table! {
    /// The table `[transport.ipfs-http]`.
    IpfsHttpConfig {
        /// Daemons that this one stays connected to, as `/ip4/10.0.0.7/tcp/4001/p2p/12D3KooW…`, at most 64.
        ///
        /// They are dialled again for ever, waiting 0.5 s at first and 30 s in the end. Default none.
        bootstrap: Vec<PeerAddr> = vec![],
        /// Whether messages are carried too. `false` fetches only, for a daemon whose pubsub is off. Default true.
        pubsub: bool = true,
        /// Whether blocks are pinned in the daemon. Without it the daemon's garbage collection takes them away, and others
        /// cannot fetch them from here until the node is started again. Default true.
        pin: bool = true,
        /// What the daemon is told to announce by itself to the routing, beside what its own `Provide.Strategy` announces.
        /// Default `roots`.
        provide: Provide = Provide::Roots,
        /// Messages published a second; more wait. A daemon drops without a word what comes much faster. Default 50, range
        /// 1 to 10,000.
        #[serde(deserialize_with = "checked_rate")]
        publish_rate: u32 = 50,
        /// How often the daemon is asked who is connected and who takes part in the topics, in seconds. Default 1, range
        /// 0.001 to 3600.
        poll: Seconds = Seconds::new(1),
    }
}

/// What is announced to the routing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provide {
    /// Nothing but what the daemon announces of itself.
    None,
    /// What somebody may look for by its address: the root of whatever is put.
    Roots,
    /// Each block.
    All,
}

impl IpfsHttpConfig {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// `Config` names the key, what was found and what is allowed.
    pub fn check(&self) -> Result<()> {
        self.access().check()?;
        check_rate(&self.publish_rate)?;
        if self.bootstrap.len() > MAX_BOOTSTRAP {
            let found = self.bootstrap.len();
            return Err(wrong(format!("bootstrap has {found} daemons; at most {MAX_BOOTSTRAP} are allowed")));
        }
        match self.bootstrap.iter().find(|peer| crate::dial::targets(peer).next().is_none()) {
            Some(peer) => Err(wrong(format!("bootstrap has {peer}, which is no address of a daemon"))
                .mend("write it as /ip4/10.0.0.7/tcp/4001/p2p/12D3KooW…")),
            None => Ok(()),
        }
    }
}

fn check_rate(found: &u32) -> Result<()> {
    if (1..=10_000).contains(found) {
        return Ok(());
    }
    Err(wrong(format!("publish_rate is {found}; allowed is 1 to 10000")))
}

checked!(checked_rate, u32, check_rate);

#[cfg(test)]
mod tests {
    use carrick_core::ErrorKind;
    use figment::Figment;
    use figment::providers::{Format, Toml};

    use super::*;

    fn read(toml: &str) -> Result<IpfsHttpConfig, Box<figment::Error>> {
        Figment::from(Toml::string(toml)).extract().map_err(Box::new)
    }

    #[test]
    fn an_empty_table_is_the_default() {
        let config = read("").expect("the defaults");
        assert_eq!(config, IpfsHttpConfig::default());
        config.check().expect("in range");
    }

    #[test]
    fn what_is_out_of_range_is_named_with_the_range() {
        for (toml, words) in [
            ("concurrency = 0", "concurrency is 0; allowed is 1 to 256"),
            ("publish_rate = 10001", "publish_rate is 10001; allowed is 1 to 10000"),
            ("poll = 0.0", "0 s; allowed is 0.001 to 3600"),
            ("poll = -1.0", "-1 s; allowed"),
            ("apis = 1", "apis"),
            ("api = \"ftp://here\"", "is no address of an RPC"),
        ] {
            let error = read(toml).expect_err(toml).to_string();
            assert!(error.contains(words), "{toml}: {error}");
        }
    }

    #[test]
    fn a_daemon_without_an_id_cannot_be_stayed_connected_to() {
        let config = read(r#"bootstrap = ["/ip4/10.0.0.7/tcp/4001"]"#).expect("an address");
        let error = config.check().expect_err("no id");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.hint().is_some_and(|hint| hint.contains("/p2p/")), "{error:?}");
    }
}
