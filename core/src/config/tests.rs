//! What each bad input gets.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::*;
use crate::{Entry, ErrorKind, Registry};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wire {
    #[allow(dead_code)]
    listen: Vec<String>,
    #[allow(dead_code)]
    idle_secs: u64,
    #[allow(dead_code)]
    addrs: Vec<crate::Multiaddr>,
    #[allow(dead_code)]
    bootstrap: Vec<crate::PeerAddr>,
}

impl Default for Wire {
    fn default() -> Self {
        Self { listen: vec![], idle_secs: 5, addrs: vec![], bootstrap: vec![] }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

fn closed() -> crate::Error {
    crate::Error::new(ErrorKind::Unsupported, "open", "a test opens nothing")
}

/// Plugins that can be checked and never opened.
fn registry() -> Registry {
    let mut registry = Registry::empty();
    for name in ["quic", "ipfs-http"] {
        let entry = Entry::transport::<Wire>(name, "test", "0", |_, _| Box::pin(async { Err(closed()) }));
        registry.register(entry).expect("new");
    }
    let store = Entry::store::<Nothing>("memory", "test", "0", |_, _| Box::pin(async { Err(closed()) }));
    registry.register(store).expect("new");
    let authors = Entry::validator::<Wire>("authors", "test", "0", |_, _| Box::pin(async { Err(closed()) }));
    registry.register(authors).expect("new");
    registry
}

struct Case {
    text: &'static str,
    env: &'static [(&'static str, &'static str)],
    set: &'static [&'static str],
    profile: Option<&'static str>,
}

fn file(text: &'static str) -> Case {
    Case { text, env: &[], set: &[], profile: None }
}

fn load(case: &Case, dir: &Path) -> Result<Config> {
    let path = dir.join("carrick.toml");
    std::fs::write(&path, case.text).expect("written");
    let own = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
    Config::load(&Sources {
        file: Some(path),
        profile: case.profile.map(str::to_string),
        env: case.env.iter().map(own).collect(),
        set: case.set.iter().map(|set| set.to_string()).collect(),
    })
}

/// The error of a case, `DIR/` left out of it, and its hint.
fn refusal(case: &Case) -> (String, String) {
    let dir = tempfile::tempdir().expect("a folder");
    let error = load(case, dir.path()).and_then(|config| config.check(&registry())).expect_err(case.text);
    assert_eq!(error.kind(), ErrorKind::Config);
    let folder = format!("{}/", dir.path().display());
    (error.detail().replace(&folder, ""), error.hint().unwrap_or_default().to_string())
}

const GOOD: &str = "[node]\nnetwork = \"n\"\n";

#[test]
fn an_unknown_transport_lists_the_known_and_guesses() {
    let (detail, hint) = refusal(&file("[node]\nnetwork = \"n\"\ntransport = \"qiuc\""));
    assert_eq!(detail, "carrick.toml: [node] transport: unknown transport \"qiuc\"; known: ipfs-http, quic");
    assert_eq!(hint, "did you mean \"quic\"?");
    let (detail, _) = refusal(&file("[node]\nnetwork = \"n\"\n[transport.main]\nkind = \"qiuc\""));
    assert_eq!(detail, "carrick.toml: [transport.main]: unknown transport \"qiuc\"; known: ipfs-http, quic");
}

#[test]
fn an_unknown_key_names_its_table_and_the_known_keys() {
    let (detail, hint) = refusal(&file("[node]\nnetwork = \"n\"\n[transport.quic]\nlisen = []"));
    assert_eq!(
        detail,
        "carrick.toml: [transport.quic] lisen: unknown key; known keys: listen, idle_secs, addrs, bootstrap"
    );
    assert_eq!(hint, "did you mean \"listen\"?");
    let (detail, _) = refusal(&file("[node]\nnetwork = \"n\"\n[node.limits]\nsene = 5"));
    assert!(
        detail.starts_with("carrick.toml: [node.limits] sene: unknown key; known keys: payload_bytes,"),
        "{detail}"
    );
}

#[test]
fn a_wrong_type_says_what_was_found_and_what_is_allowed() {
    let (detail, hint) = refusal(&file("[node]\nnetwork = 2026"));
    assert_eq!(detail, "carrick.toml: [node] network: found 2026; allowed: a string");
    assert_eq!(hint, "write it in quotes: network = \"2026\"");
    let (detail, _) = refusal(&file("[node]\nnetwork = \"n\"\n[transport.quic]\nidle_secs = \"ten\""));
    assert_eq!(
        detail,
        "carrick.toml: [transport.quic] idle_secs: found \"ten\"; allowed: a whole number, not negative"
    );
    let (detail, hint) = refusal(&file("[node]\nnetwork = \"n\"\n[transport.quic]\nlisten = \"/ip4\""));
    assert_eq!(detail, "carrick.toml: [transport.quic] listen: found \"/ip4\"; allowed: a list");
    assert_eq!(hint, "write it in brackets: listen = [\"/ip4\"]");
    let (detail, _) = refusal(&file("[node]\nnetwork = \"n\"\n[node.require]\nrelay = \"after-verdit\""));
    assert_eq!(
        detail,
        "carrick.toml: [node.require] relay: found \"after-verdit\"; allowed: never, after-verdict, before-verdict"
    );
}

#[test]
fn a_value_that_its_type_refuses_is_named_with_its_place_in_a_list() {
    let quic = |keys: &str| {
        let text = format!("[node]\nnetwork = \"n\"\n[transport.quic]\n{keys}");
        refusal(&file(text.leak()))
    };
    let (detail, _) = quic("addrs = [\"/memory/1\", \"x\"]");
    assert_eq!(detail, "carrick.toml: [transport.quic] addrs, item 2: found \"x\": invalid multiaddr");
    let (detail, hint) = quic("bootstrap = [\"x\"]");
    assert_eq!(
        detail,
        "carrick.toml: [transport.quic] bootstrap, item 1: \"x\" is no address: invalid multiaddr"
    );
    assert!(hint.starts_with("write it as /ip4/"), "{hint}");
    let (detail, hint) = quic("listen = [5]");
    assert_eq!(detail, "carrick.toml: [transport.quic] listen, item 1: found 5; allowed: a string");
    assert_eq!(hint, "write it in quotes: \"5\"");
}

#[test]
fn a_value_out_of_its_range_names_the_range() {
    let (detail, hint) = refusal(&file("[node]\nnetwork = \"n\"\n[node.limits]\nblock_bytes = 1"));
    assert_eq!(detail, "carrick.toml: [node.limits] block_bytes is 1; allowed is 65536 to 8388608");
    assert_eq!(hint, "the nearest that is allowed: block_bytes = 65536");
    let (detail, hint) = refusal(&file("[node]\nnetwork = \"n\"\n[node.limits]\nhandshake = -1"));
    assert_eq!(detail, "carrick.toml: [node.limits] handshake: -1 is not a number of seconds");
    assert_eq!(hint, "write seconds, whole or with a fraction: 5, 0.5");
    let (detail, _) = refusal(&file("[node]\nnetwork = \"Not Allowed\""));
    assert_eq!(
        detail,
        "carrick.toml: [node] network: \"Not Allowed\" is no network id: 1 to 64 of a-z 0-9 . _ -"
    );
    let (detail, hint) = refusal(&file("[node]\nnetwork = \"n\"\nmembers = [\"me\"]"));
    assert_eq!(detail, "carrick.toml: [node] members: \"me\" is no peer id, such as 12D3KooW…");
    assert_eq!(hint, "`carrick up` prints the id of the node that it runs");
}

#[test]
fn a_missing_network_says_how_to_get_one() {
    let (detail, hint) = refusal(&file("[node]\n"));
    assert_eq!(detail, "carrick.toml: [node] network: is missing");
    assert!(hint.contains("carrick init"), "{hint}");
}

#[test]
fn an_unknown_table_is_refused() {
    let (detail, hint) = refusal(&file("[nod]\nnetwork = \"n\""));
    assert!(detail.starts_with("carrick.toml: unknown table \"nod\"; known: node, transport,"), "{detail}");
    assert_eq!(hint, "did you mean \"node\"?");
    let (_, hint) = refusal(&file("network = \"n\""));
    assert_eq!(hint, "network belongs into the table [node]");
    let (detail, hint) = refusal(&file("transport = \"quic\""));
    assert_eq!(detail, "carrick.toml: transport: found \"quic\"; allowed: a table");
    assert_eq!(hint, "transport = … belongs into the table [node]");
}

#[test]
fn a_variable_and_a_flag_are_named_as_sources() {
    let (detail, _) = refusal(&Case { env: &[("CARRICK_NODE__LIMITS__SEEN", "many")], ..file(GOOD) });
    assert_eq!(
        detail,
        "CARRICK_NODE__LIMITS__SEEN: [node.limits] seen: found \"many\"; allowed: a whole number, not negative"
    );
    let (detail, _) = refusal(&Case { env: &[("CARRICK_NETWORK", "n")], ..file(GOOD) });
    assert!(detail.starts_with("CARRICK_NETWORK: unknown table \"network\""), "{detail}");
    let (detail, _) = refusal(&Case { env: &[("CARRICK_TRANSPORT__QUIC__LISEN", "[]")], ..file(GOOD) });
    assert!(
        detail.starts_with("CARRICK_TRANSPORT__QUIC__LISEN: [transport.quic] lisen: unknown key"),
        "{detail}"
    );
    let (detail, _) = refusal(&Case { set: &["transport.quic.idle_secs=soon"], ..file(GOOD) });
    assert!(
        detail.starts_with("--set transport.quic.idle_secs: [transport.quic] idle_secs: found"),
        "{detail}"
    );
}

#[test]
fn routes_are_one_name_or_both_lists() {
    let (detail, _) = refusal(&file("[node]\nnetwork=\"n\"\ntransport=\"quic\"\nfetch=[\"quic\"]"));
    assert!(detail.contains("found transport beside broadcast or fetch"), "{detail}");
    let (detail, hint) = refusal(&file("[node]\nnetwork=\"n\"\nbroadcast=[\"quic\"]"));
    assert_eq!(detail, "carrick.toml: [node] fetch: is missing beside broadcast");
    assert_eq!(hint, "write fetch = [\"…\"], or fetch = [] for none");
    let (detail, _) = refusal(&file("[node]\nnetwork=\"n\"\nbroadcast=[\"quic\",\"quic\"]\nfetch=[]"));
    assert_eq!(detail, "carrick.toml: [node] broadcast: \"quic\" stands there twice");
}

#[test]
fn validators_are_tables_with_a_kind() {
    let (detail, _) = refusal(&file("[node]\nnetwork=\"n\"\n[[validator]]\ntopics=[]"));
    assert_eq!(detail, "carrick.toml: [[validator 1]] kind: is missing; known: authors");
    let (detail, hint) = refusal(&file("[node]\nnetwork=\"n\"\n[[validator]]\nkind=\"author\""));
    assert_eq!(detail, "carrick.toml: [[validator 1]]: unknown validator \"author\"; known: authors");
    assert_eq!(hint, "did you mean \"authors\"?");
    let (detail, _) = refusal(&file("[node]\nnetwork=\"n\"\n[[validator]]\nkind=\"authors\"\nalow=5"));
    assert!(detail.starts_with("carrick.toml: [[validator 1]] alow: unknown key"), "{detail}");
    let (_, hint) = refusal(&file("[node]\nnetwork=\"n\"\n[validator]\nkind=\"authors\""));
    assert_eq!(hint, "write each as [[validator]], in double brackets");
}

#[test]
fn topics_have_rules_and_reserved_ones_are_not_a_users() {
    let (detail, _) = refusal(&file("[node]\nnetwork=\"n\"\n[topic.\"a b\"]\nkep=\"everything\""));
    assert!(detail.starts_with("carrick.toml: [topic.\"a b\"] kep: unknown key"), "{detail}");
    let (detail, _) = refusal(&file("[node]\nnetwork=\"n\"\n[topic._peers]\nraw=true"));
    assert!(detail.contains("reserved for services"), "{detail}");
}

#[test]
fn what_a_topic_keeps_may_be_bounded() {
    let config = Config::from_toml(
        "[node]\nnetwork=\"n\"\n[topic.a]\nkeep=\"everything\"\nkeep_messages=5\nkeep_bytes=6\nkeep_for=0.5",
    );
    let config = config.expect("reads");
    let (_, rules) = config.topics().first().expect("a topic");
    let bounds = (rules.keep_messages, rules.keep_bytes, rules.keep_for);
    assert_eq!(bounds, (Some(5), Some(6), Some(std::time::Duration::from_millis(500))));

    let (detail, hint) = refusal(&file("[node]\nnetwork=\"n\"\n[topic.a]\nkeep_messages=5"));
    assert_eq!(detail, "carrick.toml: [topic.\"a\"] keep_messages bounds what is kept, and nothing is");
    assert_eq!(hint, "write keep = \"everything\" beside it, or leave it out");
    let (detail, _) = refusal(&file("[node]\nnetwork=\"n\"\n[topic.a]\nkeep=\"everything\"\nkeep_for=0"));
    assert!(detail.contains("[topic.\"a\"] keep_for is below 0.001"), "{detail}");
    let (detail, _) = refusal(&file("[node]\nnetwork=\"n\"\n[topic.a]\nkeep=\"everything\"\nkeep_for=-1"));
    assert!(detail.contains("[topic.\"a\"] keep_for"), "{detail}");
    let (detail, _) = refusal(&file("[node]\nnetwork=\"n\"\n[topic.a]\nkeep=\"everything\"\nraw=true"));
    assert!(detail.contains("bare payloads cannot be kept"), "{detail}");
}

#[test]
fn instances_have_names_that_every_source_can_write() {
    let (detail, hint) = refusal(&file("[node]\nnetwork=\"n\"\n[transport.My_Wire]\nkind=\"quic\""));
    assert_eq!(detail, "carrick.toml: [transport.My_Wire]: allowed in a name: a-z 0-9 -");
    assert_eq!(hint, "call it \"my-wire\"");
    let (_, hint) = refusal(&file("[node]\nnetwork=\"n\"\n[transport]\nlisten=[]"));
    assert_eq!(hint, "keys of an instance stand under its name: [transport.NAME]");
}

#[test]
fn a_missing_file_and_a_missing_profile_are_named() {
    let error = Config::from_file("/nowhere/carrick.toml").expect_err("missing");
    assert!(error.detail().starts_with("/nowhere/carrick.toml: cannot be read"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("carrick init")));
    let text = "[node]\nnetwork=\"n\"\n[profile.lab.node]\nnetwork=\"lab\"";
    let (detail, hint) = refusal(&Case { profile: Some("lap"), ..file(text) });
    assert_eq!(detail, "carrick.toml: unknown profile \"lap\"; known: lab");
    assert_eq!(hint, "did you mean \"lab\"?");
    let (detail, _) =
        refusal(&Case { profile: Some("lab"), ..file("[node]\nnetwork=\"n\"\n[profile.lab.node]\nx=1") });
    assert!(detail.starts_with("carrick.toml [profile.lab]: [node] x: unknown key"), "{detail}");
}

#[test]
fn sources_are_merged_weakest_first() {
    let dir = tempfile::tempdir().expect("a folder");
    let text = "[node]\nnetwork=\"file\"\ndata_dir=\"d\"\n[node.limits]\nseen=100\nauthors=200\n\
                [profile.lab.node]\nnetwork=\"profile\"\n[profile.lab.node.limits]\nseen=300";
    let network = |case: &Case| load(case, dir.path()).expect("good").node().network.to_string();
    assert_eq!(network(&file(text)), "file");
    let mut case = Case { profile: Some("lab"), ..file(text) };
    assert_eq!(network(&case), "profile");
    let limits = load(&case, dir.path()).expect("good").node().limits.clone();
    assert_eq!((limits.seen, limits.authors), (300, 200), "tables are merged, not replaced");
    case.env = &[("CARRICK_NODE__NETWORK", "variable")];
    assert_eq!(network(&case), "variable");
    case.set = &["node.network=flag", "node.network=last"];
    assert_eq!(network(&case), "last");
    assert_eq!(load(&case, dir.path()).expect("good").data_dir(), dir.path().join("d"));
}

#[test]
fn an_instance_takes_its_kind_from_its_name_or_says_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let text = "[node]\nnetwork=\"n\"\nbroadcast=[\"main\",\"ipfs-http\"]\nfetch=[\"main\"]\n\
                [transport.main]\nkind=\"quic\"\nidle_secs=7";
    let case = Case { env: &[("CARRICK_TRANSPORT__IPFS_HTTP__IDLE_SECS", "9")], ..file(text) };
    let plan = load(&case, dir.path()).and_then(|config| config.check(&registry())).expect("good");
    let names: Vec<_> = plan.transports.iter().map(|i| (i.name.as_str(), i.entry.name)).collect();
    assert_eq!(names, [("main", "quic"), ("ipfs-http", "ipfs-http")]);
    let idle = |at: usize| plan.transports[at].config.downcast_ref::<Wire>().map(|wire| wire.idle_secs);
    assert_eq!((idle(0), idle(1)), (Some(7), Some(9)));
    assert_eq!(plan.store.name, "memory");
}

#[test]
fn members_are_the_only_ones_admitted() {
    use crate::Membership;
    let key = || crate::Keypair::generate_ed25519().public().to_peer_id();
    let (member, stranger) = (key(), key());
    let config = Config::from_toml(&format!("[node]\nnetwork=\"n\"\nmembers=[\"{member}\"]")).expect("good");
    let members: Arc<dyn Membership> = Arc::new(config.node().members.clone().expect("a list"));
    assert!(members.admits(&member) && !members.admits(&stranger));
}

#[test]
fn a_plugin_tells_the_keys_of_its_table() {
    let registry = registry();
    let keys: Vec<_> = registry.entries().map(|entry| (entry.name, entry.keys())).collect();
    assert_eq!(keys[1], ("quic", ["listen", "idle_secs", "addrs", "bootstrap"].as_slice()));
    assert_eq!(keys[2], ("memory", [].as_slice()));
}
