//! `[transport.ipfs-http]`.

use std::path::PathBuf;
use std::time::Duration;

use carrick_core::config::{refuse, refuse_unseen};
use carrick_core::{Error, ErrorKind, PeerAddr, Result};
use serde::{Deserialize, Deserializer, Serialize};

use crate::endpoint::Endpoint;

/// Most daemons to stay connected to.
const MAX_BOOTSTRAP: usize = 64;

/// The table `[transport.ipfs-http]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct IpfsHttpConfig {
    /// Where the daemon's RPC is: `http://HOST:PORT`, `https://HOST[:PORT]`, or as a multiaddr
    /// `/ip4/127.0.0.1/tcp/5001`, `/dns4/HOST/tcp/443/https`, `/unix/PATH/OF/SOCKET`.
    ///
    /// Default `http://127.0.0.1:5001`, where Kubo has it unless told otherwise.
    pub api: Endpoint,
    /// The secret that the RPC demands. Default none.
    #[serde(deserialize_with = "checked_auth")]
    pub auth: Option<Auth>,
    /// Certificates (PEM) that `https` trusts beside those of the system, an absolute path. Default none.
    pub ca: Option<PathBuf>,
    /// Daemons that this one stays connected to, as `/ip4/10.0.0.7/tcp/4001/p2p/12D3KooW…`, at most 64.
    ///
    /// They are dialled again for ever, waiting 0.5 s at first and 30 s in the end. Default none.
    pub bootstrap: Vec<PeerAddr>,
    /// Whether messages are carried too. `false` fetches only, for a daemon whose pubsub is off. Default true.
    pub pubsub: bool,
    /// Time to connect to the RPC, in seconds. Default 5, range 0.001 to 3600.
    pub connect_timeout: Seconds,
    /// Time for the RPC to begin its answer, in seconds; where a search over the network is asked for, that has a time of
    /// its own. Default 30, range 0.001 to 3600.
    pub request_timeout: Seconds,
    /// Longest time between two bytes of an answer, in seconds; subscriptions may be silent for longer. Default 10, range
    /// 0.001 to 3600.
    pub idle_timeout: Seconds,
    /// Requests at once; more wait. A subscription has a connection of its own. Default 16, range 1 to 256.
    #[serde(deserialize_with = "checked_concurrency")]
    pub concurrency: usize,
    /// Whether blocks are pinned in the daemon. Without it the daemon's garbage collection takes them away, and others cannot
    /// fetch them from here until the node is started again. Default true.
    pub pin: bool,
    /// What the daemon is told to announce by itself to the routing, beside what its own `Provide.Strategy` announces. Default
    /// `roots`.
    pub provide: Provide,
    /// Messages published a second; more wait. A daemon drops without a word what comes much faster. Default 50, range 1
    /// to 10,000.
    #[serde(deserialize_with = "checked_rate")]
    pub publish_rate: u32,
    /// How often the daemon is asked who is connected and who takes part in the topics, in seconds. Default 1, range 0.001
    /// to 3600.
    pub poll: Seconds,
}

impl Default for IpfsHttpConfig {
    fn default() -> Self {
        Self {
            api: Endpoint::default(),
            auth: None,
            ca: None,
            bootstrap: vec![],
            pubsub: true,
            connect_timeout: Seconds(Duration::from_secs(5)),
            request_timeout: Seconds(Duration::from_secs(30)),
            idle_timeout: Seconds(Duration::from_secs(10)),
            concurrency: 16,
            pin: true,
            provide: Provide::Roots,
            publish_rate: 50,
            poll: Seconds(Duration::from_secs(1)),
        }
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

/// A secret, and where it is. It is read when the node starts, and shown nowhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// `bearer` for a token, `basic` for `USER:PASSWORD`.
    pub scheme: Scheme,
    /// The file that holds it, an absolute path; white space at its ends is left out.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// The environment variable that holds it.
    #[serde(default)]
    pub env: Option<String>,
}

/// How a secret is shown to the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// `Authorization: Bearer TOKEN`.
    Bearer,
    /// `Authorization: Basic …`.
    Basic,
}

impl Auth {
    /// Reads the secret.
    pub(crate) fn secret(&self) -> Result<String> {
        let secret = match (&self.file, &self.env) {
            (Some(file), None) => std::fs::read_to_string(file)
                .map_err(|error| wrong(format!("auth.file {} cannot be read: {error}", file.display())))
                .map_err(|error| error.mend("give the path of a file that this user may read"))?,
            (None, Some(name)) => std::env::var(name).map_err(|_| {
                wrong(format!("auth.env names {name}, which is not set")).mend("set the variable")
            })?,
            _ => return Err(wrong("auth needs either file or env").mend("say where the secret is")),
        };
        match secret.trim() {
            "" => {
                Err(wrong("the secret that auth names is empty").mend("write it into that file or variable"))
            }
            secret => Ok(secret.to_owned()),
        }
    }
}

/// A time as configuration writes it: seconds, with a fraction if need be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub Duration);

impl Serialize for Seconds {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(self.0.as_secs_f64())
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(from)?;
        match Duration::try_from_secs_f64(seconds) {
            Ok(time) if (0.001..=3600.0).contains(&seconds) => Ok(Self(time)),
            _ => Err(refuse(&wrong(format!("{seconds} s; allowed is 0.001 to 3600")))),
        }
    }
}

impl IpfsHttpConfig {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// `Config` names the key, what was found and what is allowed.
    pub fn check(&self) -> Result<()> {
        check_concurrency(&self.concurrency)?;
        check_rate(&self.publish_rate)?;
        if self.bootstrap.len() > MAX_BOOTSTRAP {
            let found = self.bootstrap.len();
            return Err(wrong(format!("bootstrap has {found} daemons; at most {MAX_BOOTSTRAP} are allowed")));
        }
        if let Some(peer) = self.bootstrap.iter().find(|peer| crate::swarm::targets(peer).next().is_none()) {
            return Err(wrong(format!("bootstrap has {peer}, which is no address of a daemon"))
                .mend("write it as /ip4/10.0.0.7/tcp/4001/p2p/12D3KooW…"));
        }
        let files = [self.ca.as_ref(), self.auth.as_ref().and_then(|auth| auth.file.as_ref())];
        match files.into_iter().flatten().find(|file| file.is_relative()) {
            Some(file) => Err(wrong(format!("{} is a relative path", file.display()))
                .mend("write it from / on: it counts from no folder")),
            None => Ok(()),
        }
    }
}

fn check_concurrency(found: &usize) -> Result<()> {
    if (1..=256).contains(found) {
        return Ok(());
    }
    Err(wrong(format!("concurrency is {found}; allowed is 1 to 256")))
}

fn check_rate(found: &u32) -> Result<()> {
    if (1..=10_000).contains(found) {
        return Ok(());
    }
    Err(wrong(format!("publish_rate is {found}; allowed is 1 to 10000")))
}

/// Reads a value and checks it at once, so that a bad one stops the start before anything is opened.
macro_rules! checked {
    ($name:ident, $type:ty, $check:ident) => {
        fn $name<'de, D: Deserializer<'de>>(from: D) -> Result<$type, D::Error> {
            let value = <$type>::deserialize(from)?;
            $check(&value).map_err(|error| refuse(&error))?;
            Ok(value)
        }
    };
}

/// Whoever writes the secret itself here is told so without it.
fn checked_auth<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Auth>, D::Error> {
    let found = serde_json::Value::deserialize(from)?;
    let refused = || {
        let wanted = "auth is a table of scheme, which is \"bearer\" or \"basic\", and either file or env";
        wrong(wanted).mend("write where the secret is, not the secret: { scheme = \"bearer\", file = \"/run/secrets/kubo\" }")
    };
    serde_json::from_value(found).map(Some).map_err(|_| refuse_unseen(&refused()))
}

checked!(checked_concurrency, usize, check_concurrency);
checked!(checked_rate, u32, check_rate);

pub(crate) fn wrong(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, "configuration", detail)
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_secret_is_in_one_place_and_never_shown() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "s3cret\n").expect("written");
        let auth = |file: Option<PathBuf>, env: Option<&str>| Auth {
            scheme: Scheme::Bearer,
            file,
            env: env.map(str::to_owned),
        };
        assert_eq!(auth(Some(file.path().into()), None).secret().expect("read"), "s3cret");
        for bad in [
            auth(None, None),
            auth(Some("/nowhere".into()), Some("HOME")),
            auth(Some("/nowhere".into()), None),
            auth(None, Some("NO_SUCH_VARIABLE_HERE")),
        ] {
            assert_eq!(bad.secret().expect_err("no secret").kind(), ErrorKind::Config);
        }
    }
}
