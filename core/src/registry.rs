//! Which plugins are linked into this program, and how each is opened.
//!
//! A kind (transport, store, validator, service) has one macro over `inventory`; without it (embedding, tests, wasm)
//! [`Registry::register`] takes the same entry. An entry has two functions, so that all sections of a configuration are
//! read before the first socket opens.

use std::any::Any;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use figment::Figment;
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, ErrorKind, Host, Result, Service, Store, Transport, Validator};

/// A section of the configuration, read and checked, not opened yet.
pub type Checked = Box<dyn Any + Send>;

/// Opens a plugin from its checked section.
type Open<A, P> = fn(Checked, A) -> BoxFuture<'static, Result<Arc<P>>>;

/// What a plugin that is no transport learns of the node when it opens.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Site {
    /// The name of the instance, as the configuration writes it.
    pub instance: String,
    /// The node's data folder.
    pub data_dir: std::path::PathBuf,
    /// The node's limits.
    pub limits: crate::Limits,
}

impl Site {
    /// The place of an instance.
    pub fn new(
        instance: impl Into<String>,
        data_dir: impl Into<std::path::PathBuf>,
        limits: crate::Limits,
    ) -> Self {
        Self { instance: instance.into(), data_dir: data_dir.into(), limits }
    }
}

/// The kinds of plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// Carries bytes between peers.
    Transport,
    /// Keeps blocks.
    Store,
    /// Judges messages and blocks.
    Validator,
    /// Runs beside the node.
    Service,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Transport => "transport",
            Self::Store => "store",
            Self::Validator => "validator",
            Self::Service => "service",
        })
    }
}

/// A plugin as its crate registers it.
#[derive(Clone, Copy)]
pub struct Entry {
    /// The name configuration chooses it by.
    pub name: &'static str,
    /// The package it comes from.
    pub package: &'static str,
    /// The version of that package.
    pub version: &'static str,
    keys: fn() -> &'static [&'static str],
    check: fn(&Figment) -> Result<Checked, Box<figment::Error>>,
    opener: Opener,
}

#[derive(Clone, Copy)]
enum Opener {
    Transport(Open<Host, dyn Transport>),
    Store(Open<Site, dyn Store>),
    Validator(Open<Site, dyn Validator>),
    Service(Open<Site, dyn Service>),
}

inventory::collect!(Entry);

macro_rules! entry_of {
    ($(#[$doc:meta])* $new:ident, $open:ident, $variant:ident, $arg:ty, $plugin:ty) => {
        $(#[$doc])*
        pub const fn $new<C: DeserializeOwned + Send + 'static>(
            name: &'static str, package: &'static str, version: &'static str,
            open: fn(Checked, $arg) -> BoxFuture<'static, Result<Arc<$plugin>>>,
        ) -> Self {
            Self {
                name,
                package,
                version,
                keys: keys::<C>,
                check: |section| Ok(Box::new(section.extract::<C>()?) as Checked),
                opener: Opener::$variant(open),
            }
        }

        /// Opens the plugin with what [`check`](Self::check) made.
        ///
        /// # Errors
        /// Whatever the plugin answers; `Config` for an entry of another kind.
        pub(crate) async fn $open(&self, config: Checked, arg: $arg) -> Result<Arc<$plugin>> {
            match self.opener {
                Opener::$variant(open) => open(config, arg).await,
                _ => Err(Error::new(ErrorKind::Config, "open", format!("{} is a {}", self.name, self.kind()))),
            }
        }
    };
}

impl Entry {
    entry_of!(
        /// A transport. Use [`register_transport!`](crate::register_transport) instead.
        transport, open_transport, Transport, Host, dyn Transport
    );
    entry_of!(
        /// A store. Use [`register_store!`](crate::register_store) instead.
        store, open_store, Store, Site, dyn Store
    );
    entry_of!(
        /// A validator. Use [`register_validator!`](crate::register_validator) instead.
        validator, open_validator, Validator, Site, dyn Validator
    );
    entry_of!(
        /// A service. Use [`register_service!`](crate::register_service) instead.
        service, open_service, Service, Site, dyn Service
    );

    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self.opener {
            Opener::Transport(_) => Kind::Transport,
            Opener::Store(_) => Kind::Store,
            Opener::Validator(_) => Kind::Validator,
            Opener::Service(_) => Kind::Service,
        }
    }

    /// The keys that its table takes, in its author's order; none where it is no struct.
    pub fn keys(&self) -> &'static [&'static str] {
        (self.keys)()
    }

    /// Reads its section without opening anything.
    pub(crate) fn check(&self, section: &Figment) -> Result<Checked, Box<figment::Error>> {
        (self.check)(section)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({} {})", self.kind(), self.name, self.package, self.version)
    }
}

/// Turns a checked section back into its type and opens with it. Called by the registration macros.
#[doc(hidden)]
pub fn open_with<C, A, P, F>(
    config: Checked,
    arg: A,
    open: impl FnOnce(C, A) -> F,
) -> impl Future<Output = Result<P>>
where
    C: 'static,
    F: Future<Output = Result<P>>,
{
    let opening = config.downcast::<C>().map(|config| open(*config, arg));
    async move {
        match opening {
            Ok(opening) => opening.await,
            Err(_) => {
                Err(Error::new(ErrorKind::Unexpected, "open", "the section was checked as another type"))
            }
        }
    }
}

macro_rules! registration {
    ($(#[$doc:meta])* $macro:ident, $new:ident, $plugin:ident) => {
        $(#[$doc])*
        #[macro_export]
        macro_rules! $macro {
            ($name:literal, $config:ty, $open:expr) => {
                $crate::inventory::submit! {
                    $crate::Entry::$new::<$config>(
                        $name,
                        env!("CARGO_PKG_NAME"),
                        env!("CARGO_PKG_VERSION"),
                        |config, arg| {
                            Box::pin(async move {
                                let opened = $crate::registry::open_with::<$config, _, _, _>(config, arg, $open).await?;
                                Ok(std::sync::Arc::new(opened) as std::sync::Arc<dyn $crate::$plugin>)
                            })
                        },
                    )
                }
            };
        }
    };
}

registration!(
    /// Adds a transport to every program that links the calling crate:
    /// `register_transport!("quic", QuicConfig, Quic::open)`, where `open` is `async fn(QuicConfig, Host) -> Result<Quic>`.
    register_transport, transport, Transport
);
registration!(
    /// Adds a store to every program that links the calling crate; `open` is `async fn(Config, Site) -> Result<Plugin>`.
    register_store, store, Store
);
registration!(
    /// Adds a validator to every program that links the calling crate; `open` is `async fn(Config, Site) -> Result<Plugin>`.
    register_validator, validator, Validator
);
registration!(
    /// Adds a service to every program that links the calling crate; `open` is `async fn(Config, Site) -> Result<Plugin>`.
    register_service, service, Service
);

/// The plugins of a program, sorted by kind and name.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    entries: BTreeMap<(Kind, &'static str), Entry>,
}

impl Registry {
    /// No plugins; add them with [`register`](Self::register).
    pub fn empty() -> Self {
        Self::default()
    }

    /// Everything linked into this program.
    ///
    /// # Errors
    /// `Config` when two packages own one name; both are named.
    pub fn linked() -> Result<Self> {
        let mut registry = Self::empty();
        for entry in inventory::iter::<Entry> {
            registry.register(*entry)?;
        }
        Ok(registry)
    }

    /// Adds one plugin.
    ///
    /// # Errors
    /// `Config` when another package owns the name.
    pub fn register(&mut self, entry: Entry) -> Result<()> {
        match self.entries.entry((entry.kind(), entry.name)) {
            Slot::Vacant(slot) => {
                slot.insert(entry);
                Ok(())
            }
            Slot::Occupied(slot) => {
                let (kind, name, first, second) =
                    (entry.kind(), entry.name, slot.get().package, entry.package);
                let detail = format!("both {first} and {second} register the {kind} {name:?}");
                Err(Error::new(ErrorKind::Config, "register", detail).mend("link one of them only"))
            }
        }
    }

    /// All plugins, sorted by kind and name.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Finds a plugin.
    ///
    /// # Errors
    /// `Config` for an unknown name; it lists the known ones and guesses the typo.
    pub fn find(&self, kind: Kind, name: &str) -> Result<&Entry> {
        if let Some(entry) = self.entries.values().find(|entry| entry.kind() == kind && entry.name == name) {
            return Ok(entry);
        }
        let known: Vec<&str> =
            self.entries().filter(|entry| entry.kind() == kind).map(|entry| entry.name).collect();
        let mend = match closest(name, &known) {
            Some(guess) => format!("did you mean {guess:?}?"),
            None if known.is_empty() => format!("this program links no {kind} at all"),
            None => format!("link the crate that has it, or choose one of: {}", known.join(", ")),
        };
        let detail = format!("unknown {kind} {name:?}; known: {}", known.join(", "));
        Err(Error::new(ErrorKind::Config, "configuration", detail).mend(mend))
    }
}

/// The fields of a struct, as its derived `Deserialize` asks for them; none for anything else.
fn keys<C: DeserializeOwned>() -> &'static [&'static str] {
    struct Asked<'a>(&'a mut &'static [&'static str]);

    impl<'de> serde::Deserializer<'de> for Asked<'_> {
        type Error = figment::Error;

        fn deserialize_any<V: serde::de::Visitor<'de>>(self, _: V) -> Result<V::Value, figment::Error> {
            Err(figment::Error::from(String::new()))
        }

        fn deserialize_struct<V: serde::de::Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, figment::Error> {
            *self.0 = fields;
            self.deserialize_any(visitor)
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    let mut fields: &'static [&'static str] = &[];
    // It always fails: it is there to be asked, not to answer.
    let _ = C::deserialize(Asked(&mut fields));
    fields
}

/// The known word that a typo probably meant: at most half of its letters differ.
pub(crate) fn closest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().min(word.len()) / 2)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_guessed_and_nonsense_is_not() {
        let known = ["quic", "memory", "ipfs-http"];
        assert_eq!(closest("qiuc", &known), Some("quic"));
        assert_eq!(closest("quick", &known), Some("quic"));
        assert_eq!(closest("memori", &known), Some("memory"));
        assert_eq!(closest("carrier-pigeon", &known), None);
    }
}
