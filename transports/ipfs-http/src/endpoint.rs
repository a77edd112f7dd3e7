//! Where a daemon's RPC is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use carrick_core::config::refuse_unseen;
use carrick_core::{Error, Multiaddr, Protocol};
use hyper::Uri;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::access::wrong;

/// Where a daemon's RPC is: a URL or a Unix socket. Holds no secret, so it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `http://HOST:PORT` without a path; of a Unix socket a name that is never looked up.
    base: Uri,
    socket: Option<Arc<PathBuf>>,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self { base: Uri::from_static("http://127.0.0.1:5001"), socket: None }
    }
}

impl Endpoint {
    pub(crate) fn base(&self) -> &Uri {
        &self.base
    }

    pub(crate) fn socket(&self) -> Option<Arc<PathBuf>> {
        self.socket.clone()
    }

    /// The path of a Unix socket.
    fn of_socket(path: &str) -> Self {
        let socket = Some(Arc::new(PathBuf::from(format!("/{}", path.trim_start_matches('/')))));
        Self { base: Uri::from_static("http://socket"), socket }
    }

    fn of_url(text: &str) -> Option<Self> {
        let base: Uri = text.trim_end_matches('/').parse().ok()?;
        let plain = base.path() == "/" && base.query().is_none();
        let named = base.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        let known = matches!(base.scheme_str(), Some("http" | "https"));
        (plain && named && known).then_some(Self { base, socket: None })
    }

    fn of_multiaddr(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("/unix/") {
            return Some(Self::of_socket(path));
        }
        let addr: Multiaddr = text.parse().ok()?;
        let mut parts = addr.iter();
        let host = match parts.next()? {
            Protocol::Ip4(ip) => ip.to_string(),
            Protocol::Ip6(ip) => format!("[{ip}]"),
            Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => name.into_owned(),
            _ => return None,
        };
        let Protocol::Tcp(port) = parts.next()? else { return None };
        let scheme = match parts.next() {
            None | Some(Protocol::Http) => "http",
            Some(Protocol::Https) => "https",
            Some(_) => return None,
        };
        Self::of_url(&format!("{scheme}://{host}:{port}"))
    }
}

impl Endpoint {
    /// Whether others may read along: it is neither TLS nor on this machine.
    pub(crate) fn is_in_clear(&self) -> bool {
        let host = self.base.host().unwrap_or_default().trim_matches(['[', ']']);
        let here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        self.socket.is_none() && !here && self.base.scheme_str() != Some("https")
    }
}

impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let read = if text.starts_with('/') { Self::of_multiaddr(text) } else { Self::of_url(text) };
        read.ok_or_else(|| {
            // What stands before an @, or is asked with, may be a secret.
            let shown = text.split(['?', '#']).next().unwrap_or_default();
            let shown = shown.rsplit_once('@').map_or(shown, |(_, after)| after);
            wrong(format!("api {shown:?} is no address of an RPC")).mend(
                "write it as http://127.0.0.1:5001, /ip4/127.0.0.1/tcp/5001 or /unix/path/of/socket; a secret goes \
                 under auth",
            )
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket {
            Some(path) => write!(f, "/unix{}", path.display()),
            None => f.write_str(self.base.to_string().trim_end_matches('/')),
        }
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(|error| refuse_unseen(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<Endpoint>().expect(text).to_string()
    }

    #[test]
    fn an_rpc_is_a_url_a_multiaddr_or_a_socket() {
        assert_eq!(shown("http://127.0.0.1:5001/"), "http://127.0.0.1:5001");
        assert_eq!(shown("https://kubo.example"), "https://kubo.example");
        assert_eq!(shown("/ip4/127.0.0.1/tcp/5001"), "http://127.0.0.1:5001");
        assert_eq!(shown("/ip6/::1/tcp/5001/http"), "http://[::1]:5001");
        assert_eq!(shown("/dns4/kubo.example/tcp/443/https"), "https://kubo.example:443");
        assert_eq!(shown("/unix/run/kubo/api.sock"), "/unix/run/kubo/api.sock");
    }

    #[test]
    fn anything_else_is_refused_without_showing_a_secret() {
        for text in
            ["", "here", "http://", "http://h:5001/api/v0", "/ip4/1.2.3.4/udp/1/quic-v1", "http://h/?x=1"]
        {
            let error = text.parse::<Endpoint>().expect_err(text);
            assert!(error.hint().is_some(), "{error}");
        }
        let error = "http://user:s3cret@host:5001".parse::<Endpoint>().expect_err("a secret");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}
