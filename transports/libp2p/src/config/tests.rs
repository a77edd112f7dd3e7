use figment::Figment;
use figment::providers::{Format, Toml};

use super::*;

fn read(toml: &str) -> Result<Libp2pConfig, Box<figment::Error>> {
    Figment::from(Toml::string(toml)).extract().map_err(Box::new)
}

#[test]
fn an_empty_table_is_the_default() {
    let config = read("").expect("the defaults");
    assert_eq!(config, Libp2pConfig::default());
    config.check().expect("in range");
    let listen: Vec<_> = config.listen_addrs().iter().map(Multiaddr::to_string).collect();
    assert_eq!(listen, ["/ip4/0.0.0.0/tcp/4601", "/ip4/0.0.0.0/udp/4601/quic-v1"]);
}

#[test]
fn a_bad_address_comes_with_the_form_to_use() {
    for (toml, key) in [
        (r#"listen = ["/ip4/0.0.0.0/udp/4600"]"#, "listen"),
        (r#"listen = ["x"]"#, "listen"),
        (r#"listen = ["/dns4/example.org/tcp/4600"]"#, "listen"),
        (r#"announce = ["/ip4/0.0.0.0/tcp/4600"]"#, "announce"),
        (r#"bootstrap = ["/ip4/10.0.0.7/udp/4600"]"#, "bootstrap"),
    ] {
        let error = read(toml).expect_err(toml).to_string();
        assert!(error.contains(&format!("{key} has")) && error.contains("write it as"), "{error}");
    }
}

#[test]
fn what_is_out_of_range_is_named_with_the_range() {
    for (toml, words) in [
        ("neighbours = 65", "neighbours is 65; allowed is 0 to 64"),
        ("idle_timeout = 0", "0 s; allowed is 0.001 to 3600"),
        ("swarmkey = \"/x\"", "swarmkey"),
        ("[gossipsub]\nmesh_n = 0", "gossipsub.mesh_n is 0; allowed is 1 to 64"),
        ("[gossipsub]\nmesh_n_low = 7", "gossipsub.mesh_n_low is 7; allowed is 1 to 6"),
        ("[gossipsub]\nmesh_outbound_min = 4", "gossipsub.mesh_outbound_min is 4; allowed is 0 to 3"),
        ("[gossipsub]\ngossip_factor = 2.0", "gossipsub.gossip_factor is 2; allowed is 0 to 1"),
        ("[gossipsub]\nheartbeat_interval = 0.01", "gossipsub.heartbeat_interval is 0.01 s; allowed"),
        (
            "[gossipsub]\nforward_delay = 0.9\nhistory_length = 2\nhistory_gossip = 2",
            "gossipsub.forward_delay is 0.9 s; allowed is half",
        ),
        ("hole_punching = true", "hole_punching needs a relay"),
    ] {
        let error = match read(toml) {
            Err(error) => error.to_string(),
            Ok(config) => config.check().expect_err(toml).to_string(),
        };
        assert!(error.contains(words), "{toml}: {error}");
    }
}

#[test]
fn a_swarm_key_goes_over_tcp_alone() {
    let config = read("swarm_key = \"/etc/swarm.key\"").expect("a path");
    config.check().expect("the default then is TCP");
    assert_eq!(config.listen_addrs().len(), 1);
    let toml = "swarm_key = \"/etc/swarm.key\"\nlisten = [\"/ip4/10.0.0.7/udp/4601/quic-v1\"]";
    let error = read(toml).expect("an address").check().expect_err("QUIC");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.detail().contains("QUIC cannot carry a swarm_key"), "{error}");
    let error = read("swarm_key = \"swarm.key\"").expect("a path").check().expect_err("relative");
    assert!(error.detail().contains("is a relative path"), "{error}");
}

#[test]
fn a_key_is_read_as_kubo_writes_it_and_never_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("swarm.key");
    let config = Libp2pConfig { swarm_key: Some(path.clone()), ..Libp2pConfig::default() };
    let digits = "0f".repeat(32);
    std::fs::write(&path, format!("/key/swarm/psk/1.0.0/\n/base16/\n{digits}\n")).expect("writes");
    let key = config.read_swarm_key().expect("a key").expect("there");
    let raw = libp2p::pnet::PreSharedKey::new([0x0f; 32]);
    assert_eq!(key.fingerprint().to_string(), raw.fingerprint().to_string());
    for (text, why) in [
        (String::new(), "does not begin with"),
        (format!("/key/swarm/psk/1.0.0/\n/bin/\n{digits}"), "base64 or binary"),
        (format!("/key/swarm/psk/1.0.0/\n/base16/\n{}", &digits[2..]), "64 hexadecimal digits"),
        (format!("/key/swarm/psk/1.0.0/\n/base16/\n{}zz", &digits[2..]), "64 hexadecimal digits"),
        (format!("/key/swarm/psk/1.0.0/\n/base16/\n{digits}00"), "64 hexadecimal digits"),
        (
            format!("/key/swarm/psk/1.0.0/\n/base16/\n{}\n{}", &digits[32..], &digits[..32]),
            "64 hexadecimal digits",
        ),
        (format!("/key/swarm/psk/1.0.0/\n/base16/\n{}ä", &digits[2..]), "64 hexadecimal digits"),
        ("x".repeat(5_000), "5000 bytes"),
    ] {
        std::fs::write(&path, text).expect("writes");
        let error = config.read_swarm_key().expect_err(why);
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.detail().contains(why) && !error.detail().contains(&digits[2..]), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("swarm.key")), "{error:?}");
    }
    std::fs::write(&path, [0xff; 95]).expect("writes");
    let unreadable = [path, folder.path().to_owned(), folder.path().join("none")];
    for path in unreadable {
        let config = Libp2pConfig { swarm_key: Some(path), ..config.clone() };
        let error = config.read_swarm_key().expect_err("no text");
        assert!(error.detail().contains("cannot be read"), "{error}");
    }
}

#[test]
fn no_more_messages_are_told_of_than_a_neighbour_takes() {
    let limits = carrick_core::Limits::default();
    for toml in ["", "[gossipsub]\nmax_control_message_size = 1024"] {
        let config = read(toml).expect("reads").gossipsub.build(&limits).expect("builds");
        // An id: 52 characters of a peer, 20 of a number, and two bytes before them.
        let longest = 74 * config.max_control_messages_sent() + 400;
        assert!(longest <= config.max_control_message_size() && config.max_control_messages_sent() > 0);
        assert!(longest <= config.max_transmit_size());
    }
}
