//! The list of the promises, and how one is tried.

use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt as _;

use super::{Fixture, Kit, Outcome, broadcast, fetch, life, load, validation};

/// A promise of the contract, and the test of it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Case {
    /// Its name, also that of the test.
    pub name: &'static str,
    /// What it is about.
    pub group: &'static str,
    /// The promise.
    pub promise: &'static str,
}

/// Every case: the one list from which tests, dispatch and documentation are made.
#[doc(hidden)]
#[macro_export]
macro_rules! __transport_cases {
    ([$($with:tt)+] $args:tt) => {
        $($with)+! {
            $args
            broadcast {
                published_message_reaches_every_subscriber:
                    "A message reaches every subscriber, also one two hops away from its author.",
                each_message_is_handed_out_once:
                    "Where a message comes over several ways, it is handed out once.",
            }
            validation {
                rejected_is_not_handed_out:
                    "A message that the validators reject is handed to nobody.",
            }
            fetch {
                block_is_fetched:
                    "A block that one node has comes to another that asks for its address.",
            }
            life {
                dial_ok_means_admitted:
                    "When a dial returns, both ends have the link.",
            }
            load {
                slow_reader_is_told_what_it_missed:
                    "A subscriber that does not read is told how much it missed, and what comes later reaches it.",
            }
        }
    };
}

macro_rules! dispatch {
    (() $($group:ident { $($name:ident: $promise:literal,)+ })+) => {
        /// Every promise, in the order of the documentation.
        pub const CASES: &[Case] = &[
            $($(Case { name: stringify!($name), group: stringify!($group), promise: $promise },)+)+
        ];

        async fn dispatch(name: &str, kit: Kit) -> Outcome {
            match name {
                $($(stringify!($name) => Box::pin($group::$name(kit)).await,)+)+
                other => panic!("there is no case {other:?}"),
            }
        }
    };
}

__transport_cases!([dispatch]());

/// Tries one promise on a wire that nothing else uses. `seed` also gives the nodes their keys.
///
/// # Panics
/// When it is not kept, with what was seen instead; and when there is no such case.
pub async fn run(name: &str, fixture: impl Fixture, seed: u64) -> Outcome {
    dispatch(name, Kit::begin(fixture, seed)).await
}

/// As [`run`], and tells how it ended; after the last case of a whole run, how many ended how.
#[doc(hidden)]
pub async fn run_and_tell(name: &str, fixture: impl Fixture) {
    static KEPT: AtomicUsize = AtomicUsize::new(0);
    static UNSUPPORTED: AtomicUsize = AtomicUsize::new(0);
    static BROKEN: AtomicUsize = AtomicUsize::new(0);
    let tried = AssertUnwindSafe(run(name, fixture, SEED)).catch_unwind().await;
    let (count, words) = match &tried {
        Ok(Outcome::Kept) => (&KEPT, String::new()),
        Ok(Outcome::Unsupported(what)) => {
            (&UNSUPPORTED, format!("{name}: refused as it should be: {what}\n"))
        }
        Err(_) => {
            let promise = CASES.iter().find(|case| case.name == name).map_or("", |case| case.promise);
            (&BROKEN, format!("{name}: this promise is broken: {promise}\n"))
        }
    };
    count.fetch_add(1, Ordering::SeqCst);
    let [kept, unsupported, broken] =
        [&KEPT, &UNSUPPORTED, &BROKEN].map(|count| count.load(Ordering::SeqCst));
    let mut told = words;
    if kept + unsupported + broken == CASES.len() {
        told += &format!(
            "conformance: {} cases, {kept} kept, {unsupported} refused as unsupported, {broken} broken\n",
            CASES.len()
        );
    }
    // Past the test harness, which shows what is printed only where a test fails.
    let _ = std::io::stderr().write_all(told.as_bytes());
    if let Err(panic) = tried {
        std::panic::resume_unwind(panic);
    }
}

/// Every run is the same one.
#[doc(hidden)]
pub const SEED: u64 = 1;

/// Makes a named test of every promise of a transport.
///
/// `transport_suite!(wire);` takes an async function from a seed to a [`Fixture`](crate::conformance::transport::Fixture).
/// What follows it goes to `#[tokio::test]`: a wire without sockets saves the waiting with
/// `transport_suite!(wire, start_paused = true);`. The calling crate needs tokio with `macros` and `rt`.
#[macro_export]
macro_rules! transport_suite {
    ($wire:path $(, $($tokio:tt)+)?) => {
        $crate::__transport_cases!([$crate::__transport_tests] ($wire, $($($tokio)+)?));
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __transport_tests {
    ($args:tt $($group:ident { $($name:ident: $promise:literal,)+ })+) => {
        $($($crate::__transport_test!($args $name: $promise);)+)+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __transport_test {
    (($wire:path, $($tokio:tt)*) $name:ident: $promise:literal) => {
        #[doc = $promise]
        #[tokio::test($($tokio)*)]
        async fn $name() {
            use $crate::conformance::transport::{SEED, run_and_tell};
            run_and_tell(stringify!($name), $wire(SEED).await).await;
        }
    };
}
