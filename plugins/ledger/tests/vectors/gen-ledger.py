#!/usr/bin/env python3
"""Writes ledger.json: golden vectors of a ledger, computed apart from the Rust code.

The dag-cbor is written by hand from RFC 8949 and the DAG-CBOR specification; only ed25519 comes from a library.
Run it with `pip install cryptography` and compare: `python3 gen-ledger.py | diff - ledger.json`.
"""

import base64
import hashlib
import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

sys.path.insert(0, str(Path(__file__).parents[4] / "core/tests/vectors"))
from dagcbor import Link, cbor  # noqa: E402

DOMAIN = b"carrick/message/1:"
NETWORK, LEDGER = "golden-1", "golden"
NOW = 1_700_000_000_000


def link(digest):
    return Link(bytes([1, 0x71, 0x12, 0x20]) + digest)


def text(digest):
    return "b" + base64.b32encode(link(digest)).decode().lower().rstrip("=")


def ends_page(digest):
    return int.from_bytes(digest[-2:], "big") % 512 == 0


def entry(name, seed, seqno, time, parents, payload):
    key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    parents = sorted(parents, key=lambda parent: parent["digest"])
    fields = {
        "v": 1,
        "network": NETWORK,
        "topic": f"ledger/{LEDGER}",
        # A peer id: the identity multihash of the protobuf {1: ed25519, 2: key}.
        "author": bytes([0, 36, 8, 1, 18, 32]) + public,
        "seqno": seqno,
        "time": time,
        "parents": [link(parent["digest"]) for parent in parents],
        "payload": payload.encode(),
    }
    encoded = cbor({**fields, "sig": key.sign(DOMAIN + cbor(fields))})
    clock = 1 + max((parent["clock"] for parent in parents), default=0)
    return {
        "name": name, "seed": seed, "seqno": seqno, "time": time, "payload": payload, "parents": parents,
        "clock": clock, "encoded": encoded, "digest": hashlib.sha256(encoded).digest(),
    }


def that_ends_its_page(make):
    """The first of many that does: one in 512."""
    return next(made for made in map(make, range(1 << 16)) if ends_page(made["digest"]))


def page(name, body):
    encoded = cbor({"v": 1, "page": body})
    return {"name": name, "encoded": encoded, "digest": hashlib.sha256(encoded).digest()}


def page_of_entries(name, entries):
    rises = [entry["clock"] - before for entry, before in zip(entries, [0] + [e["clock"] for e in entries])]
    made = page(name, {"entries": [b"".join(entry["digest"] for entry in entries), rises]})
    return {**made, "entries": len(entries), "first": entries[0]}


def page_of_pages(name, level, pages):
    listed = [[link(p["digest"]), p["entries"], p["first"]["clock"], p["first"]["digest"]] for p in pages]
    made = page(name, {"pages": [level, listed]})
    return {**made, "entries": sum(p["entries"] for p in pages), "first": pages[0]["first"]}


def heads(name, some, entries, root=None):
    told = {"v": 1, "heads": [link(head["digest"]) for head in some], "entries": entries}
    if root:
        told["pages"] = link(root["digest"])
    return {"name": name, "heads": some, "entries": entries, "root": root, "encoded": cbor(told)}


def refused():
    """What is well-formed dag-cbor, and no page or no heads."""
    low, high = bytes(32), b"\x01" * 32
    raw = Link(bytes([1, 0x55, 0x12, 0x20]) + low)
    many = [low[:30] + n.to_bytes(2, "big") for n in range(65)]
    of_entries = lambda digests, rises, v=1: {"v": v, "page": {"entries": [b"".join(digests), rises]}}
    of_pages = lambda level, pages: {"v": 1, "page": {"pages": [level, pages]}}
    listed = lambda digest: [link(high), 1, 1, digest]
    pages = [
        ("a later version", of_entries([low], [1], 2)),
        ("entries out of order", of_entries([high, low], [1, 0])),
        ("an entry twice", of_entries([low, low], [1, 0])),
        ("a digest cut short", of_entries([low[:31]], [1])),
        ("more entries than clocks", of_entries([low, high], [1])),
        ("a clock above 2^64 - 1", of_entries([low, high], [2**64 - 1, 1])),
        ("no pages", of_pages(1, [])),
        ("level 0", of_pages(0, [listed(low)])),
        ("level 9", of_pages(9, [listed(low)])),
        ("pages out of order", of_pages(1, [listed(high), listed(low)])),
        ("a page that is raw", of_pages(1, [[raw, 1, 1, low]])),
        ("a first entry cut short", of_pages(1, [[link(high), 1, 1, low[:31]]])),
        ("entries and pages", {"v": 1, "page": {"entries": [low, [1]], "pages": [1, [listed(low)]]}}),
    ]
    told = lambda some, **more: {"v": 1, "heads": some, "entries": 1, **more}
    of_heads = [
        ("a later version", {**told([link(low)]), "v": 2}),
        ("65 heads", told([link(digest) for digest in many])),
        ("a head that is raw", told([raw])),
        ("pages that are raw", told([link(low)], pages=raw)),
        ("no count of entries", {"v": 1, "heads": [link(low)]}),
    ]
    kinds = (("page", pages), ("heads", of_heads))
    return [
        {"kind": kind, "refused": why, "encoded": cbor(value).hex()} for kind, some in kinds for why, value in some
    ]


def main():
    # Two authors that do not hear each other yet, one that joins what they wrote, one that follows it, and a late one.
    a = entry("a", 7, NOW, NOW, [], "21.5 C")
    b = entry("b", 8, NOW, NOW, [], "20.9 C")
    c = that_ends_its_page(lambda n: entry("c", 7, NOW + 1, NOW + 5_000, [a, b], f"21.6 C, try {n}"))
    d = entry("d", 8, NOW + 1, NOW + 6_000, [c], "21.0 C")
    e = entry("e", 9, NOW, NOW, [], "19.8 C")
    order = sorted([a, b, c, d, e], key=lambda entry: (entry["clock"], entry["digest"]))
    cut = order.index(c) + 1
    first, last = page_of_entries("first page", order[:cut]), page_of_entries("last page", order[cut:])
    root = page_of_pages("root", 1, [first, last])
    ids = lambda entries: [text(entry["digest"]) for entry in entries]
    told = [heads("one head", [d], 4), heads("two heads", [d, e], 5), heads("with pages", [d, e], 5, root)]
    print(json.dumps({
        "network": NETWORK,
        "ledger": LEDGER,
        # In the order of the ledger.
        "entries": [{
            "name": e["name"],
            "seed": (bytes([e["seed"]]) * 32).hex(),
            "seqno": e["seqno"],
            "time": e["time"],
            "payload": e["payload"],
            "parents": ids(e["parents"]),
            "clock": e["clock"],
            "ends_page": ends_page(e["digest"]),
            "encoded": e["encoded"].hex(),
            "id": text(e["digest"]),
            # What a node of ours keeps of it in its store; nothing that travels.
            "record": b"".join(
                [e["clock"].to_bytes(8, "big")]
                + [parent["clock"].to_bytes(8, "big") + parent["digest"] for parent in e["parents"]]
            ).hex(),
        } for e in order],
        "pages": [{
            "name": p["name"],
            "entries": p["entries"],
            "encoded": p["encoded"].hex(),
            "id": text(p["digest"]),
        } for p in (first, last, root)],
        "heads": [{
            "name": h["name"],
            "heads": ids(h["heads"]),
            "entries": h["entries"],
            "pages": h["root"] and text(h["root"]["digest"]),
            "encoded": h["encoded"].hex(),
        } for h in told],
        "refused": refused(),
    }, indent=1))


main()
