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
                own_message_is_not_processed_again:
                    "What a node publishes is not handed to its own subscribers, and comes back only where the transport says so.",
                one_authors_messages_come_in_order:
                    "One author's messages on one topic come in the order in which it published them, also in a mesh.",
                unjoined_topic_delivers_nothing:
                    "Nothing is delivered for a topic that was not joined.",
                left_topic_falls_silent:
                    "Nothing is delivered for a topic once leaving it returned, and peers learn of it.",
                late_joiner_gets_what_comes_after:
                    "Who joins later gets what is published after that.",
                topic_on_the_wire_is_passed_on:
                    "A message is delivered under the topic that the wire names.",
                message_of_another_topic_is_refused:
                    "A message that comes on another topic than its author signed is handed to nobody.",
                many_topics_do_not_mix:
                    "Messages on many topics at once reach each the readers of its own.",
                topic_limit_is_kept:
                    "Beyond the limit of topics joining answers `TooLarge`; joining twice is joining once, and leaving makes room.",
                topic_peers_are_those_who_take_part:
                    "The peers of a topic are those who joined it and did not leave, sorted, without oneself.",
                bytes_arrive_unchanged:
                    "A payload arrives byte by byte as it was published, whatever bytes these are.",
                empty_payload_is_a_message:
                    "An empty payload arrives as a message like any other.",
                payload_at_the_limit_travels_inline:
                    "A payload of exactly the inline limit travels inside its message.",
                payload_above_the_limit_travels_as_a_link:
                    "A larger payload, up to the largest block, travels as a link, and is at hand when the message is handed out.",
                largest_message_is_carried:
                    "A message of exactly `max_message_bytes` is carried.",
                oversize_publish_is_refused_locally:
                    "A message one byte above `max_message_bytes` is answered with `TooLarge` and does not go out.",
                same_message_can_be_sent_again:
                    "The same message handed in again goes out again, also to those who have it.",
                bare_payloads_travel_where_it_says_so:
                    "On a raw topic bare payloads travel, equal ones as messages of their own; a transport that says it cannot refuses.",
                receipt_tells_the_truth:
                    "A receipt counts those on the topic that the message was sent to, or says that the wire does not tell.",
                nobody_there_is_not_an_error:
                    "Publishing where nobody takes part is no error; the receipt says so.",
                what_reached_nobody_goes_to_the_first_who_joins:
                    "What was published while nobody was there goes to the first who joins, in order.",
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
    let kit = Kit::begin(fixture, seed);
    let group = CASES.iter().find(|case| case.name == name).map(|case| case.group);
    if group == Some("broadcast") && kit.lacks_broadcast().await {
        return Outcome::Unsupported("broadcast");
    }
    dispatch(name, kit).await
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
