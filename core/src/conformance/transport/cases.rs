//! The list of the promises, and how one is tried.

use std::io::Write as _;
use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;

use super::tally::{self, Ended};
use super::{Fixture, Kit, Outcome, broadcast, dag, fetch, hostile, life, load, validation};

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
                refused_is_not_handed_out:
                    "A message that a validator rejects or ignores is handed to nobody.",
                rejected_is_not_relayed:
                    "What was rejected goes no further; where the wire relays first, only the neighbour hears it.",
                relay_waits_for_the_verdict:
                    "Nothing is relayed before its verdict; where the wire relays first, nothing is handed out before it.",
                ignored_is_not_relayed_and_may_come_again:
                    "What was ignored goes no further, and is judged anew when it comes again.",
                accepted_is_relayed_once_on_each_transport:
                    "An accepted message is relayed once on each transport, however many copies of it come, and over whichever.",
                second_copy_waits_for_the_same_verdict:
                    "A copy that comes by another way while the first is judged waits for the same verdict.",
                late_accept_is_delivered_and_relayed:
                    "What is accepted after the wire stopped waiting is handed out, and relayed by the node.",
                deferral_fetches_a_block_and_then_delivers:
                    "Where a message waits for a block, the block is fetched and the message judged again.",
                deferral_fetches_a_message_and_then_delivers:
                    "Where a message waits for another, that one is fetched, passes the gate, and goes first.",
                deferral_that_cannot_be_met_is_ignored:
                    "A message that waits for what nobody has is ignored, and holds up nothing.",
                failing_validator_is_ignored:
                    "A validator that panics, hangs or fails counts as Ignore; nobody is blamed.",
                reputation_falls_for_reject_alone:
                    "A link is blamed for what is rejected, and for nothing else; other links are not.",
                low_reputation_ends_the_relaying:
                    "A link with a bad name is sent no messages, and none is taken from it.",
                ban_closes_and_stays_closed:
                    "A peer that sends twenty bad messages is out, and stays out until it is forgiven.",
            }
            fetch {
                block_is_fetched:
                    "A block that one node has comes to another that asks for its address.",
                blocks_of_every_size_are_fetched:
                    "A block comes as it is, from an empty one to the largest that the capabilities name.",
                block_above_the_limit_is_refused:
                    "A block above the asker's limit is `TooLarge`, and nothing of it is handed out.",
                block_comes_under_the_address_asked_for:
                    "Version, codec and hash of an address are kept: what comes is what was asked for.",
                absent_block_ends_in_not_found:
                    "What nobody has is `NotFound` as soon as all who can be asked have said so.",
                without_anybody_to_ask_it_says_so:
                    "Without anybody to ask a fetch ends at once with `NoPeers`.",
                provider_is_named:
                    "Who sent a block is named truthfully, or never, as the capabilities say.",
                wrong_bytes_are_blamed_and_avoided:
                    "Who sends other bytes, fewer or more is blamed and not asked again, and the block comes from another.",
                hinted_are_asked_first:
                    "Who is hinted at is asked first; a hint that leads nowhere does no harm.",
                avoided_are_not_asked:
                    "Who is to be avoided is not asked, and rather nobody is.",
                silent_provider_does_not_end_the_search:
                    "A provider that takes a request and does not answer costs its part of the time; then the next is asked.",
                timeout_is_kept:
                    "Where nobody answers, a fetch ends with `Timeout` after the time it was given, and no time of the node's own.",
                dropped_fetch_frees_everything:
                    "Dropping a fetch ends it at both ends and gives serving memory back.",
                hundred_fetches_of_one_block_ask_once:
                    "A block that a hundred want at once crosses the wire once.",
                many_blocks_come_at_once:
                    "More blocks than a link has streams may be asked for at once, and all come.",
                served_memory_is_bounded:
                    "Serving keeps to its memory: requests wait for it, and each gives back what it took.",
                provider_that_goes_ends_the_fetch:
                    "A provider that goes away ends the wait for it with `Unreachable`, long before the timeout.",
                provided_block_is_served_after_provide:
                    "A block is served after it was provided.",
                absent_block_is_not_provided:
                    "Providing a block that the node has not is `NotFound`; once it has it, it is provided.",
                withdraw_ends_it:
                    "A transport with a store of its own serves a block until it is withdrawn; another while the host has it.",
                providers_can_be_dialled:
                    "Who has a block is told with an address at which it can be dialled, and no more of them than asked for.",
            }
            dag {
                whole_dag_comes_in_one_request:
                    "A whole DAG comes in one request, where the capabilities say so.",
                dag_comes_breadth_first:
                    "The blocks of a DAG come breadth first: each after one that links to it.",
                dag_gives_all_and_only_what_is_missing:
                    "What the asker has, and all under it, does not come; all else does.",
                dag_depth_is_kept:
                    "No block comes from deeper than was asked for.",
                dag_limit_bytes_is_kept:
                    "A DAG ends with `TooLarge` before more bytes come than were asked for.",
                deep_dag_comes_whole:
                    "A chain of 200 blocks comes whole.",
                wide_dag_comes_whole:
                    "A block with a thousand links comes with all under it.",
                shared_blocks_come_once:
                    "A block to which many ways lead comes once.",
                dag_of_many_roots_comes_whole:
                    "One request brings what is under 64 roots.",
                parents_alone_are_followed:
                    "Where the parents of messages are asked for, their payloads do not come.",
                dag_that_is_not_whole_ends_in_not_found:
                    "A DAG of which a block is missing ends with `NotFound`, not as if it were whole; what came stays good.",
                idle_limit_of_a_dag_is_kept:
                    "A provider that stops in the middle ends a DAG with `Timeout` after the time a block may take.",
                dropped_dag_frees_everything:
                    "Dropping the stream of a DAG ends it at both ends.",
                unread_dag_waits_at_its_provider:
                    "A DAG that is not read waits at its provider, within serving memory, and holds up no other request.",
                lie_in_a_dag_is_blamed_and_the_rest_comes:
                    "Who sends wrong bytes inside a DAG is blamed and not asked again, and the rest comes from another.",
                provider_that_goes_ends_the_dag:
                    "A provider that goes away in the middle ends a DAG with `Unreachable`, not as if it were whole.",
                get_brings_what_is_missing:
                    "Getting a DAG brings what is not in the store yet, and nothing else.",
                single_blocks_make_a_whole_dag:
                    "Where a wire brings only single blocks, the node gets a DAG block by block.",
                capability_off_is_unsupported:
                    "A part that the capabilities do not promise is absent or answers `Unsupported`; a part that they promise is there.",
            }
            life {
                dial_ok_means_admitted:
                    "When a dial returns, both ends have the link.",
                two_dials_make_one_link:
                    "Two nodes that dial each other, at once or again, have one link and are told of it once.",
                another_key_is_refused:
                    "Who answers with another key than the one that was dialled is refused, and no link is left.",
                dead_address_is_unreachable_in_time:
                    "A dial of an address at which nobody answers ends as `Unreachable` within the handshake limit.",
                oneself_is_not_dialled:
                    "A node that dials itself is told so, whether it names itself or not.",
                address_of_another_transport_is_refused:
                    "An address of another transport is refused as `Config`.",
                another_network_is_refused:
                    "Nodes of two networks get no link, and no message crosses.",
                stranger_is_refused:
                    "Who is not admitted gets no link, whichever end dials, and no message crosses.",
                closed_peer_is_noticed:
                    "When a node closes, its peers are told and have no link left.",
                killed_peer_is_noticed:
                    "When a node is dropped without a word, its peers are told and have no link left.",
                silent_peer_is_noticed:
                    "When a link is cut from outside, both ends notice; dialled again, it is back.",
                lost_stream_gives_a_gap:
                    "What was published while a link was down is told as a gap before what follows it, or comes after all.",
                restart_of_the_far_end_heals:
                    "A bootstrap peer that is killed and comes back at its address is found again.",
                disconnected_peer_is_left_alone:
                    "Neither end restores a link that the user of one of them ended, until either is told to dial.",
                link_is_named_truthfully:
                    "A message that was passed on is said to come from who passed it on, not from its author.",
                foreign_link_is_not_a_peer:
                    "A link whose far end proved no key of a peer is not named as one.",
                peer_record_crosses:
                    "Signed records are passed on, so that a peer of a peer can be dialled by its id.",
                listen_addrs_are_dialable:
                    "Every address that a node reports can be dialled.",
                capabilities_hold:
                    "The capabilities do not contradict themselves, nor change.",
                oversize_frame_costs_no_memory:
                    "Who begins a frame above the limit is cut off and blamed before any of it came.",
                malformed_frame_is_reported_and_survived:
                    "Who sends what is no frame is cut off and blamed; others are still served.",
                close_is_bounded_and_idempotent:
                    "Closing ends by itself, and closing again does no harm.",
                after_close_everything_is_closed:
                    "After closing, every method answers `Closed`, even when somebody else listens there by then.",
                close_while_busy_leaves_nothing:
                    "A node that is closed while it publishes and fetches leaves no task, no socket, no store held.",
                dropping_without_close_frees_socket_and_store:
                    "A node that is dropped without closing leaves no task, no socket, no store held.",
                a_hundred_lives_leave_nothing:
                    "Nodes that open, link and close a hundred times leave nothing behind.",
                two_transports_bridge_without_a_loop:
                    "A node on two wires passes messages from one to the other; nobody gets one twice.",
            }
            load {
                slow_reader_is_told_what_it_missed:
                    "A subscriber that does not read is told how much it missed, and what comes later reaches it.",
                full_gate_waits_or_counts:
                    "While the gate is full nothing more is taken from the wire; afterwards all of it comes, or is counted.",
                one_noisy_peer_does_not_starve_another:
                    "While one peer's share of the gate is full, another's messages are handed out.",
                flood_is_bounded_and_every_drop_is_counted:
                    "A peer that takes no messages costs no more than a queue and the windows; what that drops is counted.",
                slow_peer_harms_no_other:
                    "While one peer takes no messages, another gets all of them.",
                small_messages_pass_beside_a_big_transfer:
                    "Messages go both ways while a transfer between the same two nodes stands half done, or goes on block by block.",
            }
            hostile {
                more_topics_than_allowed_end_in_a_ban:
                    "Who joins more topics than allowed is cut off each time and soon banned; no more of them are remembered.",
                flood_of_joins_ends_in_a_ban: "Who joins and leaves without end is banned.",
                bad_messages_end_in_a_ban: "Who sends what is no message, or forged ones, is banned.",
                flood_of_replays_ends_in_a_ban: "Who sends one message without end, or old ones, is banned.",
                flood_of_records_ends_in_a_ban:
                    "Who says without end where peers listen, known or invented ones, is banned.",
                flood_on_other_topics_ends_in_a_ban:
                    "Who sends messages of topics that were not joined, without end, is banned.",
                content_announced_and_not_delivered_ends_in_a_ban:
                    "Who names content, takes the requests for it and sends nothing is banned; what another has comes all the same.",
                peer_that_never_reads_harms_nobody:
                    "Who reads no messages is not blamed and costs a bounded queue whose drops are counted; others get every message and all content.",
                ten_strangers_for_each_friend_change_nothing:
                    "Where ten strangers, let in or not, come for each friend, every message arrives and a new friend gets in.",
                greeting_that_does_not_come_holds_no_place:
                    "Who connects and does not greet is let go within the handshake limit, and makes room.",
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
    if matches!(group, Some("broadcast" | "validation" | "load" | "hostile")) && kit.lacks_broadcast().await {
        return Outcome::Unsupported("broadcast");
    }
    dispatch(name, kit).await
}

/// As [`run`], and tells how it ended; after the last case of a whole run, how all ended.
#[doc(hidden)]
pub async fn run_and_tell<F: Fixture>(name: &'static str, fixture: F) {
    let tried = AssertUnwindSafe(run(name, fixture, SEED)).catch_unwind().await;
    let ended = match &tried {
        Ok(Outcome::Kept) => Ended::Kept,
        Ok(Outcome::Unsupported(what)) => Ended::Unsupported(what),
        Err(_) => Ended::Broken,
    };
    if let Ended::Unsupported(what) = ended {
        tell(&format!("{name}: refused as it should be: {what}\n"));
    }
    if let Some(summary) = tally::add(std::any::type_name::<F>(), name, ended) {
        tell(&summary);
    }
    if let Err(panic) = tried {
        say_what_broke(name);
        std::panic::resume_unwind(panic);
    }
}

/// Among what the test harness shows of a test that failed.
#[expect(clippy::print_stderr, reason = "it is for whoever reads what a test says")]
fn say_what_broke(name: &str) {
    let promise = CASES.iter().find(|case| case.name == name).map_or("", |case| case.promise);
    eprintln!("This promise of the contract is broken, as the lines above say:\n    {promise}");
}

/// Past the test harness, which shows what is printed only where a test fails.
fn tell(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
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
