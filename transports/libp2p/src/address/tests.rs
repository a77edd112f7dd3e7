use super::*;

fn addr(text: &str) -> Multiaddr {
    text.parse().expect("a multiaddr")
}

fn peer(n: u8) -> PeerId {
    let key = carrick_core::Keypair::ed25519_from_bytes([n; 32]).expect("32 bytes are a key");
    key.public().to_peer_id()
}

const CLASSES: &[(&str, Class)] = &[
    ("/ip4/127.0.0.1/tcp/1", Class::Loopback),
    ("/ip4/127.255.0.9/udp/1/quic-v1", Class::Loopback),
    ("/ip6/::1/tcp/1", Class::Loopback),
    ("/ip6/::ffff:127.0.0.1/tcp/1", Class::Loopback),
    ("/dns4/localhost/tcp/1", Class::Loopback),
    ("/dns/me.LOCALHOST./tcp/1", Class::Loopback),
    ("/memory/7", Class::Loopback),
    ("/ip4/169.254.1.1/tcp/1", Class::LinkLocal),
    ("/ip6/fe80::1/tcp/1", Class::LinkLocal),
    ("/ip6zone/eth0/ip6/fe80::1/tcp/1", Class::LinkLocal),
    ("/ip4/10.0.0.7/tcp/1", Class::Private),
    ("/ip4/172.16.0.1/tcp/1", Class::Private),
    ("/ip4/172.31.255.255/tcp/1", Class::Private),
    ("/ip4/192.168.1.1/tcp/1", Class::Private),
    ("/ip6/fd00::1/tcp/1", Class::Private),
    ("/ip6/64:ff9b::a00:1/tcp/1", Class::Private),
    ("/ip6/2002:a00:1::1/tcp/1", Class::Private),
    ("/dns/printer.local/tcp/1", Class::Private),
    ("/dns4/nas/tcp/1", Class::Private),
    ("/ip4/100.64.0.1/tcp/1", Class::Shared),
    ("/ip4/100.127.255.255/tcp/1", Class::Shared),
    ("/ip4/192.0.2.1/tcp/1", Class::Documentation),
    ("/ip4/203.0.113.1/tcp/1", Class::Documentation),
    ("/ip6/2001:db8::1/tcp/1", Class::Documentation),
    ("/dns/host.test/tcp/1", Class::Documentation),
    ("/ip4/8.8.8.8/tcp/1", Class::Global),
    ("/ip4/172.32.0.1/tcp/1", Class::Global),
    ("/ip4/100.128.0.1/tcp/1", Class::Global),
    ("/ip6/2606:4700::1/udp/1/quic-v1", Class::Global),
    ("/dnsaddr/bootstrap.libp2p.io", Class::Global),
    ("/dns6/node.carrick.net/tcp/443/wss", Class::Global),
    ("/ip4/0.0.0.0/tcp/1", Class::Unusable),
    ("/ip6/::/tcp/1", Class::Unusable),
    ("/ip4/224.0.0.251/udp/1", Class::Unusable),
    ("/ip4/255.255.255.255/udp/1", Class::Unusable),
    ("/ip6/ff02::1/udp/1", Class::Unusable),
    ("/ip4/8.8.8.8/tcp/0", Class::Unusable),
    ("/tcp/1", Class::Unusable),
    ("/unix/socket", Class::Unusable),
];

#[test]
fn an_address_is_of_the_class_from_where_it_can_be_reached() {
    for (text, expected) in CLASSES {
        assert_eq!(class(&addr(text)), *expected, "{text}");
    }
    assert_eq!(class(&Multiaddr::empty()), Class::Unusable);
}

#[test]
fn the_world_is_told_global_addresses_alone_and_nothing_else_is_taken_from_it() {
    for loopback in [false, true] {
        let rule = Rule { scope: Scope::World, loopback };
        for (text, class) in CLASSES {
            let passes = *class == Class::Global;
            assert_eq!(rule.passes(&addr(text)), passes, "{text}");
        }
    }
}

#[test]
fn a_network_of_our_own_and_a_lan_pass_on_all_that_is_not_loopback() {
    for scope in [Scope::Private, Scope::Lan] {
        for loopback in [false, true] {
            let rule = Rule { scope, loopback };
            for (text, class) in CLASSES {
                let passes = match class {
                    Class::Loopback => loopback,
                    Class::Documentation | Class::Unusable => false,
                    _ => true,
                };
                assert_eq!(rule.passes(&addr(text)), passes, "{text}");
            }
        }
    }
}

#[test]
fn loopback_counts_towards_a_peer_that_is_on_it() {
    let (here, there) = (addr("/ip4/127.0.0.1/tcp/7"), addr("/ip4/10.0.0.9/tcp/1"));
    let rule = Rule::new(Scope::Private);
    assert!(!rule.towards(&there).passes(&here));
    assert!(rule.towards(&here).passes(&here));
    assert!(!Rule::new(Scope::World).towards(&here).passes(&here));
}

#[test]
fn a_node_is_on_loopback_alone_when_it_listens_there_and_nowhere_else() {
    let (here, house) = (addr("/ip4/127.0.0.1/tcp/7"), addr("/ip4/10.0.0.9/tcp/1"));
    assert!(only_loopback([&here, &addr("/ip6/::1/tcp/7")]));
    assert!(!only_loopback([&here, &house]));
    assert!(!only_loopback([]));
}

#[test]
fn a_relayed_address_is_of_the_class_of_its_relay() {
    let (relay, target) = (peer(1), peer(2));
    let over = |host: &str| addr(&format!("{host}/p2p/{relay}/p2p-circuit/p2p/{target}"));
    assert_eq!(class(&over("/ip4/8.8.8.8/tcp/1")), Class::Global);
    assert_eq!(class(&over("/ip4/127.0.0.1/tcp/1")), Class::Loopback);
    assert_eq!(class(&addr(&format!("/p2p/{relay}/p2p-circuit"))), Class::Unusable, "where is it?");
    assert!(is_relayed(&over("/ip4/8.8.8.8/tcp/1")) && !is_relayed(&addr("/ip4/8.8.8.8/tcp/1")));
}

#[test]
fn the_peers_own_id_is_taken_off_and_an_address_of_another_peer_is_refused() {
    let (one, other) = (peer(1), peer(2));
    let bare = addr("/ip4/8.8.8.8/tcp/1");
    let named = |host: &Multiaddr, peer: PeerId| host.clone().with(Protocol::P2p(peer));
    assert_eq!(without_peer(&bare, &one), Some(bare.clone()));
    assert_eq!(without_peer(&named(&bare, one), &one), Some(bare.clone()));
    assert_eq!(without_peer(&named(&bare, other), &one), None);
    assert_eq!(without_peer(&addr(&format!("/p2p/{one}")), &one), None, "no address is left");
    let circuit = named(&bare, other).with(Protocol::P2pCircuit);
    assert_eq!(without_peer(&named(&circuit, one), &one), Some(circuit), "the relay stays");
}

#[test]
fn of_one_peer_so_many_addresses_are_kept_each_once_and_none_too_long() {
    let rule = Rule::new(Scope::World);
    let many: Vec<_> = (1..=40).map(|port| addr(&format!("/ip4/8.8.8.8/tcp/{port}"))).collect();
    let (poison, bare) = (addr("/ip4/192.168.0.1/tcp/80"), addr("/ip4/8.8.4.4/tcp/1"));
    let named = bare.clone().with(Protocol::P2p(peer(1)));
    let given = [&poison, &bare, &named].into_iter().chain(&many);
    let kept = rule.of_peer(&peer(1), given);
    assert_eq!(kept.len(), MAX_OF_PEER);
    assert_eq!(kept[..2], [bare, many[0].clone()]);
    let long = addr(&format!("/dns/{}.net/tcp/1", "a".repeat(MAX_BYTES)));
    assert!(rule.of_peer(&peer(1), [&long]).is_empty());
    let names: Vec<_> = (10..20).map(|n| addr(&format!("/dns/{n}{}.net/tcp/1", "a".repeat(400)))).collect();
    assert_eq!(rule.of_peer(&peer(1), &names).len(), 2, "long ones are few");
}
