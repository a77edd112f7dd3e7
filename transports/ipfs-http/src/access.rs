//! How a daemon's RPC is reached: what the tables of the transport and of the store have in common.

use std::path::PathBuf;
use std::time::Duration;

use carrick_core::config::refuse_unseen;
use carrick_core::{Error, ErrorKind, Result, checked};
use serde::{Deserialize, Deserializer, Serialize};

use crate::endpoint::Endpoint;

/// How a daemon's RPC is reached.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(crate) api: Endpoint,
    pub(crate) auth: Option<Auth>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) concurrency: usize,
}

/// A table that says how a daemon is reached, and more. Not by serde's `flatten`: that neither refuses unknown keys nor
/// tells the known ones.
macro_rules! daemon_table {
    (
        $(#[$doc:meta])* $table:ident {
            $($(#[$of:meta])* $key:ident: $type:ty = $default:expr,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        #[non_exhaustive]
        pub struct $table {
            /// Where the daemon's RPC is: `http://HOST:PORT`, `https://HOST[:PORT]`, or as a multiaddr
            /// `/ip4/127.0.0.1/tcp/5001`, `/dns4/HOST/tcp/443/https`, `/unix/PATH/OF/SOCKET`.
            ///
            /// Default `http://127.0.0.1:5001`, where Kubo has it unless told otherwise.
            pub api: $crate::Endpoint,
            /// The secret that the RPC demands. Default none.
            #[serde(deserialize_with = "crate::access::checked_auth")]
            pub auth: Option<$crate::Auth>,
            /// Certificates (PEM) that `https` trusts beside those of the system, an absolute path. Default none.
            pub ca: Option<std::path::PathBuf>,
            /// Time to connect to the RPC, in seconds. Default 5, range 0.001 to 3600.
            pub connect_timeout: $crate::Seconds,
            /// Time for the RPC to begin its answer once all is sent, in seconds; where a search over the network is asked
            /// for, that has a time of its own. Default 30, range 0.001 to 3600.
            pub request_timeout: $crate::Seconds,
            /// Longest time between two bytes of an answer, and in which nothing is taken of what is sent, in seconds;
            /// subscriptions may be silent for longer. Default 10, range 0.001 to 3600.
            pub idle_timeout: $crate::Seconds,
            /// Blocks fetched at once, as many searches for who has one, as many calls that bring the daemon blocks, and as many
            /// other requests; more wait. A subscription has a connection of its own. Default 16, range 1 to 256.
            #[serde(deserialize_with = "crate::access::checked_concurrency")]
            pub concurrency: usize,
            $($(#[$of])* pub $key: $type,)*
        }

        impl Default for $table {
            fn default() -> Self {
                Self {
                    api: $crate::Endpoint::default(),
                    auth: None,
                    ca: None,
                    connect_timeout: $crate::Seconds::new(5),
                    request_timeout: $crate::Seconds::new(30),
                    idle_timeout: $crate::Seconds::new(10),
                    concurrency: 16,
                    $($key: $default,)*
                }
            }
        }

        impl $table {
            pub(crate) fn access(&self) -> $crate::access::Access {
                $crate::access::Access {
                    api: self.api.clone(),
                    auth: self.auth.clone(),
                    ca: self.ca.clone(),
                    connect_timeout: self.connect_timeout.0,
                    request_timeout: self.request_timeout.0,
                    idle_timeout: self.idle_timeout.0,
                    concurrency: self.concurrency,
                }
            }
        }
    };
}
pub(crate) use daemon_table;

impl Access {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// `Config` names the key, what was found and what is allowed.
    pub(crate) fn check(&self) -> Result<()> {
        check_concurrency(&self.concurrency)?;
        let files = [self.ca.as_ref(), self.auth.as_ref().and_then(|auth| auth.file.as_ref())];
        match files.into_iter().flatten().find(|file| file.is_relative()) {
            Some(file) => Err(wrong(format!("{} is a relative path", file.display()))
                .mend("write it from / on: it counts from no folder")),
            None => Ok(()),
        }
    }
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
                .map_err(|error| {
                    wrong(format!("auth.file {} cannot be read: {error}", file.display())).from_source(error)
                })
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

fn check_concurrency(found: &usize) -> Result<()> {
    if (1..=256).contains(found) {
        return Ok(());
    }
    Err(wrong(format!("concurrency is {found}; allowed is 1 to 256")))
}

/// Whoever writes the secret itself here is told so without it.
pub(crate) fn checked_auth<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Auth>, D::Error> {
    let found = serde_json::Value::deserialize(from)?;
    let refused = || {
        let wanted = "auth is a table of scheme, which is \"bearer\" or \"basic\", and either file or env";
        wrong(wanted).mend("write where the secret is, not the secret: { scheme = \"bearer\", file = \"/run/secrets/kubo\" }")
    };
    serde_json::from_value(found).map(Some).map_err(|_| refuse_unseen(&refused()))
}

checked!(pub(crate) checked_concurrency, usize, check_concurrency);

pub(crate) fn wrong(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, "configuration", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

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
