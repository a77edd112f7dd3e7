//! The suite for transports, tried on some that can do less than `memory`: what they cannot do is refused, not passed over.
#![cfg(feature = "conformance")]

mod daemon;
mod nameless;
mod partial;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;

use carrick_core::conformance::transport::{CASES, Fixture, Outcome, run};
use futures::FutureExt as _;

use self::daemon::{Daemons, Flaw};
use self::nameless::Nameless;
use self::partial::{Less, Partial};

/// Tries a case; what it says where it fails.
fn tried(case: &str, wire: impl Fixture) -> Result<Outcome, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let tried = AssertUnwindSafe(run(case, wire, 1)).catch_unwind();
    runtime.expect("a runtime").block_on(tried).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
    })
}

/// What is refused, by what it is that is not supported.
type Refused = BTreeMap<&'static str, BTreeSet<&'static str>>;

/// Tries every case, and asserts that none fails. What is refused, but for what is up to the fixture.
fn refused<F: Fixture>(wire: impl Fn() -> F) -> Refused {
    let (mut refused, mut failed) = (Refused::new(), Vec::new());
    for case in CASES {
        match tried(case.name, wire()) {
            Ok(Outcome::Kept) => {}
            Ok(Outcome::Unsupported(what)) => drop(refused.entry(what).or_default().insert(case.name)),
            Ok(other) => panic!("{other:?} is unheard of"),
            Err(words) => failed.push(format!("{}: {words}", case.name)),
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    for what in ["raw bytes on the wire", "cutting a link from outside", "connecting without a greeting"] {
        refused.remove(what);
    }
    refused
}

/// The cases of some groups.
fn of(groups: &[&str]) -> BTreeSet<&'static str> {
    CASES.iter().filter(|case| groups.contains(&case.group)).map(|case| case.name).collect()
}

fn expected<const N: usize>(refused: [(&'static str, &[&'static str]); N]) -> Refused {
    refused.into_iter().map(|(what, cases)| (what, cases.iter().copied().collect())).collect()
}

/// What needs no whole DAG in one request.
const DAGS_BY_BLOCKS: [&str; 2] = ["get_brings_what_is_missing", "single_blocks_make_a_whole_dag"];
const WHOLE_DAGS: &str = "a whole DAG in one request";
/// A stand-in for a foe is an honest transport, which sends nothing to where nobody takes part.
const UNSAID: (&str, &[&str]) = (
    "a hostile peer that says this",
    &["flood_of_records_ends_in_a_ban", "flood_on_other_topics_ends_in_a_ban"],
);
const NOT_BLAMED_FOR_SILENCE: (&str, &[&str]) =
    ("naming who did not answer", &["content_announced_and_not_delivered_ends_in_a_ban"]);
const REFUSING: [&str; 3] =
    ["another_network_is_refused", "stranger_is_refused", "ten_strangers_for_each_friend_change_nothing"];
const PROVEN_LINKS: (&str, &[&str]) = ("links without a proven peer", &["foreign_link_is_not_a_peer"]);

/// The cases that need a whole DAG in one request.
fn whole_dags() -> BTreeSet<&'static str> {
    &of(&["dag"]) - &BTreeSet::from(DAGS_BY_BLOCKS)
}

#[test]
fn without_broadcast_every_promise_of_it_is_refused() {
    let mut broadcast = of(&["broadcast", "validation", "load", "hostile"]);
    broadcast.extend([
        "link_is_named_truthfully",
        "lost_stream_gives_a_gap",
        "two_transports_bridge_without_a_loop",
    ]);
    let mut expected = expected([PROVEN_LINKS]);
    expected.insert("broadcast", broadcast);
    assert_eq!(refused(|| Partial::without(Less::Broadcast)), expected);
}

#[test]
fn without_fetch_every_promise_of_it_is_refused() {
    let mut fetch = of(&["fetch", "dag"]);
    fetch.extend([
        "content_announced_and_not_delivered_ends_in_a_ban",
        "deferral_fetches_a_block_and_then_delivers",
        "deferral_fetches_a_message_and_then_delivers",
        "peer_that_never_reads_harms_nobody",
        "small_messages_pass_beside_a_big_transfer",
    ]);
    let linked = ("fetch, so linked payloads", &["payload_above_the_limit_travels_as_a_link"][..]);
    let mut expected = expected([PROVEN_LINKS, UNSAID, linked]);
    expected.insert("fetch", fetch);
    assert_eq!(refused(|| Partial::without(Less::Fetch)), expected);
}

#[test]
fn what_fetching_lacks_is_refused_and_the_rest_is_kept() {
    let mut expected = expected([
        PROVEN_LINKS,
        UNSAID,
        NOT_BLAMED_FOR_SILENCE,
        ("avoiding who is never named", &["avoided_are_not_asked", "wrong_bytes_are_blamed_and_avoided"]),
        ("hints", &["hinted_are_asked_first"]),
        ("naming the provider", &["provider_is_named"]),
    ]);
    expected.insert(WHOLE_DAGS, whole_dags());
    assert_eq!(refused(|| Partial::without(Less::Comfort)), expected);
}

#[test]
fn without_relaying_every_reader_hears_the_author_itself() {
    let expected = expected([
        PROVEN_LINKS,
        UNSAID,
        (
            "links that can be blamed",
            &[
                "bad_messages_end_in_a_ban",
                "flood_of_replays_ends_in_a_ban",
                "ten_strangers_for_each_friend_change_nothing",
            ],
        ),
        NOT_BLAMED_FOR_SILENCE,
        ("blame of links", &["ban_closes_and_stays_closed", "low_reputation_ends_the_relaying"]),
        (
            "relaying",
            &[
                "accepted_is_relayed_once_on_each_transport",
                "link_is_named_truthfully",
                "peer_that_never_reads_harms_nobody",
            ],
        ),
    ]);
    assert_eq!(refused(|| Partial::without(Less::Relaying)), expected);
}

#[test]
fn links_that_prove_nothing_are_named_as_nobodys() {
    let unproven = [
        "another_key_is_refused",
        "ban_closes_and_stays_closed",
        "closed_peer_is_noticed",
        "dial_ok_means_admitted",
        "disconnected_peer_is_left_alone",
        "killed_peer_is_noticed",
        "restart_of_the_far_end_heals",
    ];
    let expected = expected([
        UNSAID,
        (
            "links that can be blamed",
            &[
                "bad_messages_end_in_a_ban",
                "flood_of_joins_ends_in_a_ban",
                "flood_of_replays_ends_in_a_ban",
                "more_topics_than_allowed_end_in_a_ban",
            ],
        ),
        NOT_BLAMED_FOR_SILENCE,
        ("ending a link", &["lost_stream_gives_a_gap"]),
        ("hints", &["hinted_are_asked_first"]),
        ("links that prove their peer", &unproven),
        ("passing records on", &["peer_record_crosses"]),
        ("refusing in the handshake", &REFUSING),
    ]);
    assert_eq!(refused(Nameless::new), expected);
}

#[test]
fn what_a_daemon_cannot_is_refused_and_the_rest_is_kept() {
    let floods = &of(&["hostile"])
        - &BTreeSet::from([
            "content_announced_and_not_delivered_ends_in_a_ban",
            "greeting_that_does_not_come_holds_no_place",
            "ten_strangers_for_each_friend_change_nothing",
        ]);
    let mut expected = expected([
        NOT_BLAMED_FOR_SILENCE,
        ("avoiding who is never named", &["avoided_are_not_asked", "wrong_bytes_are_blamed_and_avoided"]),
        ("blame of links", &["ban_closes_and_stays_closed", "low_reputation_ends_the_relaying"]),
        (
            "counted reach, so keeping what reached nobody",
            &["what_reached_nobody_goes_to_the_first_who_joins"],
        ),
        ("counting what a full wire drops", &["flood_is_bounded_and_every_drop_is_counted"]),
        (
            "dialling",
            &[
                "another_key_is_refused",
                "dead_address_is_unreachable_in_time",
                "dial_ok_means_admitted",
                "oneself_is_not_dialled",
                "two_dials_make_one_link",
            ],
        ),
        ("disconnecting", &["disconnected_peer_is_left_alone"]),
        ("ending a link", &["lost_stream_gives_a_gap"]),
        ("hints", &["hinted_are_asked_first"]),
        ("links that prove their peer", &["closed_peer_is_noticed", "killed_peer_is_noticed"]),
        ("listening", &["listen_addrs_are_dialable", "restart_of_the_far_end_heals"]),
        ("naming the provider", &["provider_is_named"]),
        ("passing records on", &["peer_record_crosses"]),
        ("refusing in the handshake", &REFUSING),
        (
            "serving from the host",
            &[
                "dropped_fetch_frees_everything",
                "provider_that_goes_ends_the_fetch",
                "served_memory_is_bounded",
                "silent_provider_does_not_end_the_search",
            ],
        ),
    ]);
    expected.insert(WHOLE_DAGS, whole_dags());
    expected.insert(UNSAID.0, floods);
    assert_eq!(refused(|| Daemons::new(None)), expected);
}

#[test]
fn an_adapter_that_is_broken_is_caught() {
    let flaws = [
        (Flaw::UploadsNothing, "provided_block_is_served_after_provide"),
        (Flaw::UploadsOne, "provided_block_is_served_after_provide"),
        (Flaw::Keeps, "withdraw_ends_it"),
        (Flaw::MakesUpReach, "receipt_tells_the_truth"),
        (Flaw::TakesDaemonsForPeers, "foreign_link_is_not_a_peer"),
        (Flaw::NamesItself, "provider_is_named"),
        (Flaw::PretendsToDial, "dial_ok_means_admitted"),
    ];
    for (flaw, case) in flaws {
        assert!(tried(case, Daemons::new(Some(flaw))).is_err(), "{flaw:?} passes {case}");
    }
}
