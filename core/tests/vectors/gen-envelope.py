#!/usr/bin/env python3
"""Writes envelope.json: golden vectors of the envelope, computed apart from the Rust code.

The dag-cbor is written by hand from RFC 8949 and the DAG-CBOR specification; only ed25519 comes from a library.
Run it with `pip install cryptography` and compare: `python3 gen-envelope.py | diff - envelope.json`.
"""

import base64
import hashlib
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dagcbor import Link, cbor

DOMAIN = b"carrick/message/1:"
RAW, DAG_CBOR = 0x55, 0x71


def cid(codec, content):
    return Link(bytes([1, codec, 0x12, 0x20]) + hashlib.sha256(content).digest())


def text(link):
    return "b" + base64.b32encode(link).decode().lower().rstrip("=")


def vector(name, seed, topic, seqno, time, parents=(), payload=None, linked=None, network="golden-1", published=False, refused=None):
    key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    # A peer id: the identity multihash of the protobuf {1: ed25519, 2: key}.
    author = bytes([0, 36, 8, 1, 18, 32]) + public
    parents = sorted(parents)
    fields = {
        "v": 1, "network": network, "topic": topic, "author": author, "seqno": seqno, "time": time, "parents": parents,
    }
    if linked is None:
        fields["payload"] = payload
    else:
        fields["link"] = cid(RAW, linked)
    signature = key.sign(DOMAIN + cbor(fields))
    encoded = cbor({**fields, "sig": signature})
    return {
        "name": name,
        "published": published,
        # Why a reader refuses it, although its author signed it.
        "refused": refused,
        "seed": (bytes([seed]) * 32).hex(),
        "author": author.hex(),
        "network": network,
        "topic": topic,
        "seqno": seqno,
        "time": time,
        "parents": [text(parent) for parent in parents],
        "payload": None if payload is None else payload.hex(),
        # A linked payload is so many bytes, each its place modulo 251.
        "linked_bytes": None if linked is None else len(linked),
        "link": None if linked is None else text(fields["link"]),
        "signed": (DOMAIN + cbor(fields)).hex(),
        "signature": signature.hex(),
        "encoded": encoded.hex(),
        "id": text(cid(DAG_CBOR, encoded)),
    }


def parent_of(previous):
    return [cid(DAG_CBOR, bytes.fromhex(previous["encoded"]))]


def main():
    now = 1_700_000_000_000
    pattern = bytes(place % 251 for place in range(70_000))
    # What one fresh node publishes, in this order: the first number of a topic is the time.
    first = vector("inline", 7, "readings", now, now, payload=b"21.5 C", published=True)
    second = vector("after another", 7, "readings", now + 1, now + 5_000, parent_of(first), b"21.6 C", published=True)
    third = vector("empty payload", 7, "readings", now + 2, now + 5_001, parent_of(second), b"", published=True)
    fourth = vector("linked", 7, "readings", now + 3, now + 5_002, parent_of(third), linked=pattern, published=True)
    fifth = vector("reserved topic", 7, "_carrick/heads/x", now + 5_003, now + 5_003, payload=b"\xa0", published=True)
    ancestors = [cid(DAG_CBOR, bytes([n])) for n in range(64)]
    vectors = [
        first, second, third, fourth, fifth,
        vector("three parents", 8, "ledger/a", 1, now, ancestors[:3], b"entry"),
        vector("64 parents", 8, "ledger/a", 2, now, ancestors, b"entry"),
        vector("topic beyond ASCII", 9, "Räume/élan 1", 3, now, payload=bytes(range(256))),
        vector("smallest numbers", 9, "t", 0, 0, payload=b"x", network="g"),
        vector("largest numbers", 9, "t", 2**63 - 1, 2**63 - 1, payload=b"x"),
        vector("number too large", 9, "t", 2**63, now, payload=b"x", refused="seqno above 2^63 - 1"),
        vector("time too large", 9, "t", 1, 2**63, payload=b"x", refused="time above 2^63 - 1"),
        vector("both too large", 9, "t", 2**64 - 1, 2**64 - 1, payload=b"x", refused="seqno and time above 2^63 - 1"),
    ]
    print(json.dumps(vectors, indent=1, ensure_ascii=False))


main()
