#!/usr/bin/env python3
"""Writes peer-record.json: golden vectors of the peer record, computed apart from the Rust code.

The dag-cbor and the multiaddrs are written by hand; only ed25519 comes from a library.
Run it with `pip install cryptography` and compare: `python3 gen-peer-record.py | diff - peer-record.json`.
"""

import ipaddress
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dagcbor import cbor

DOMAIN = b"carrick/peer-record/1:"


def quic_addr(ip, port):
    """`/ip4/…/udp/PORT/quic-v1`, binary: the codes are unsigned varints."""
    ip = ipaddress.ip_address(ip)
    code = b"\x04" if ip.version == 4 else b"\x29"
    return code + ip.packed + b"\x91\x02" + port.to_bytes(2, "big") + b"\xcd\x03"


def vector(name, seed, seq, addrs=(), aliases=(), network="sensors-2026", refused=None):
    key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    peer = bytes([0, 36, 8, 1, 18, 32]) + public
    fields = {"seq": seq, "peer": peer, "addrs": [quic_addr(*addr) for addr in addrs], "aliases": list(aliases)}
    signed = DOMAIN + network.encode() + b":" + cbor(fields)
    signature = key.sign(signed)
    return {
        "name": name,
        # Why a reader refuses it, although its peer signed it.
        "refused": refused,
        "seed": (bytes([seed]) * 32).hex(),
        "network": network,
        "seq": seq,
        "peer": peer.hex(),
        "addrs": [f"/ip{ipaddress.ip_address(ip).version}/{ip}/udp/{port}/quic-v1" for ip, port in addrs],
        "aliases": [list(alias) for alias in aliases],
        "signed": signed.hex(),
        "signature": signature.hex(),
        "encoded": cbor({**fields, "sig": signature}).hex(),
    }


def main():
    now = 1_700_000_000_000
    many = [(f"10.0.{n}.1", 4600 + n) for n in range(32)]
    vectors = [
        vector("one address", 7, now, [("10.0.0.7", 4600)]),
        vector("nowhere", 7, now + 1, network="a.b_c-9"),
        vector("both families and an alias", 8, now, [("192.0.2.1", 65535), ("2001:db8::7", 1)], [("kubo", "12D3KooWélan")]),
        vector("32 addresses, 16 aliases", 8, 0, many, [("k", str(n)) for n in range(16)]),
        vector("largest number", 9, 2**63 - 1),
        vector("number too large", 9, 2**63, refused="seq above 2^63 - 1"),
    ]
    print(json.dumps(vectors, indent=1, ensure_ascii=False))


main()
