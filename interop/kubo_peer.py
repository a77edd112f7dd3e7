#!/usr/bin/env python3
"""Real Kubo daemons on 127.0.0.1: free ports, fresh repositories, nothing else on the network.

  kubo_peer.py run N [DIR] [options]     in the foreground, driven by one JSON object a line on stdin; ends (and ends its daemons)
                                         at {"op":"quit"}, at the end of stdin, on SIGTERM, and when it is killed itself
  kubo_peer.py start N DIR [options]     in the background
  kubo_peer.py stop DIR                  ends what `start` left in DIR; touches no other process

stdout: for each daemon one line
  {"ready":true,"n":0,"id":"12D3..","api":"http://127.0.0.1:P","api_multiaddr":"/ip4/127.0.0.1/tcp/P","api_unix":null|"/path/api.sock",
   "swarm":["/ip4/127.0.0.1/tcp/P","/ip4/127.0.0.1/udp/P/quic-v1"],"addrs":[swarm, each with /p2p/ID],"gateway":"http://127.0.0.1:P","pid":1,"repo":DIR/0,"log":DIR/0.log,
   "authorization":null|"Bearer ..","program":"/path/to/ipfs","version":"0.43.0"}
and with `run` one answer {"ok":true,"r":..,"s":seconds} | {"ok":false,"error":".."} for each of
  {"op":"kill","n":0} SIGKILL   {"op":"term","n":0,"timeout":10} SIGTERM, then SIGKILL (r = whether it ended by itself)
  {"op":"start","n":0} again: same repository, same ports (r = ready line)   {"op":"renew","n":0} another peer id for a daemon that does not run
  {"op":"freeze","n":0} SIGSTOP: accepts connections, never answers   {"op":"thaw","n":0}   {"op":"connect","a":0,"b":1}   {"op":"quit"}

options
  --connect            connect every daemon to every other before the first ready line is printed
  --durable            flatfs with sync on: a block is fsynced before block/put answers (the default here and of Kubo's own test profile is off)
  --bearer TOKEN       the RPC demands `Authorization: Bearer TOKEN`         --basic USER:PASSWORD    the same with Basic
  --allow PATH         what that secret opens, repeatable (default /api/v0)
  --no-pubsub          Pubsub.Enabled false (Kubo's default; here it is on)
  --unix               the RPC listens on a unix socket too
  --no-quic            tcp only
  --psk HEX64          private network: swarm.key in every repository (tcp only, as Kubo refuses QUIC then)
  --profile NAME       further `ipfs init` profiles, repeatable (unixfs-v1-2025, pebbleds, ..)
  --set KEY=JSON       any config key, repeatable: --set 'Pubsub.SeenMessagesTTL="2s"'
ipfs is $CARRICK_IPFS, else $CARRICK_PEERS/bin/ipfs, else ~/.cache/carrick-peers/bin/ipfs (install.sh kubo).
"""
import argparse, base64, ctypes, http.client, json, os, shutil, signal, subprocess, sys, tempfile, time, urllib.parse

PEERS = os.environ.get("CARRICK_PEERS") or os.path.expanduser("~/.cache/carrick-peers")
IPFS = os.environ.get("CARRICK_IPFS") or os.path.join(PEERS, "bin", "ipfs")
READY_SECONDS = 60
GRACE_SECONDS = 2           # an open pubsub/sub request keeps a daemon from ending by itself, for longer than 10 s


def die_with_parent():
    if sys.platform == "linux":                         # elsewhere the end of stdin has to do
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)      # PR_SET_PDEATHSIG: no daemon outlives a killed `run`


def environment(repo):
    env = {k: v for k, v in os.environ.items() if "proxy" not in k.lower() and not k.startswith(("IPFS_", "LIBP2P_", "GOLOG_"))}
    return dict(env, IPFS_PATH=repo, IPFS_TELEMETRY="off", DO_NOT_TRACK="1")


def multiaddr_url(addr):
    p = addr.strip().split("/")                         # /ip4/127.0.0.1/tcp/5001
    return f"http://{p[2]}:{p[4]}"


class Daemon:
    def __init__(self, n, base, opt, detached):
        self.n, self.opt, self.detached, self.proc, self.hello, self.renewed = n, opt, detached, None, None, 0
        self.repo, self.log = os.path.join(base, str(n)), os.path.join(base, f"{n}.log")
        self.socket = os.path.join(base, f"{n}.sock") if opt.unix else None
        self.authorization = f"Bearer {opt.bearer}" if opt.bearer else \
            "Basic " + base64.b64encode(opt.basic.encode()).decode() if opt.basic else None

    def init(self):
        profiles = ",".join(["test", *self.opt.profile])
        done = subprocess.run([IPFS, "init", "--profile=" + profiles], env=environment(self.repo), capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"ipfs init: {done.stderr.strip()}")
        path = os.path.join(self.repo, "config")
        with open(path) as f:
            c = json.load(f)
        quic = not (self.opt.no_quic or self.opt.psk)
        c["Addresses"]["Swarm"] = ["/ip4/127.0.0.1/tcp/0"] + (["/ip4/127.0.0.1/udp/0/quic-v1"] if quic else [])
        c["Addresses"]["API"] = ["/ip4/127.0.0.1/tcp/0"] + (["/unix" + self.socket] if self.socket else [])
        c["Bootstrap"], c["Peering"] = [], {"Peers": []}
        c["Pubsub"]["Enabled"] = not self.opt.no_pubsub
        c["Routing"].update(Type="dht", LoopbackAddressesOnLanDHT=True, DelegatedRouters=[])
        c["Swarm"].update(DisableNatPortMap=True, EnableHolePunching=False, RelayClient={"Enabled": False}, RelayService={"Enabled": False})
        c["Swarm"]["Transports"]["Network"] = {"TCP": True, "QUIC": quic, "Websocket": False, "WebTransport": False, "WebRTCDirect": False, "Relay": False}
        c["AutoNAT"], c["AutoTLS"], c["AutoConf"] = {"ServiceMode": "disabled"}, {"Enabled": False}, {"Enabled": False}
        c["Discovery"]["MDNS"]["Enabled"] = False
        c["HTTPRetrieval"], c["Version"] = {"Enabled": False}, {"SwarmCheckEnabled": False}
        if self.opt.durable:
            for mount in c["Datastore"]["Spec"].get("mounts", []):
                if "sync" in mount:
                    mount["sync"] = True
        if self.authorization:
            secret = f"bearer:{self.opt.bearer}" if self.opt.bearer else f"basic:{self.opt.basic}"
            c["API"]["Authorizations"] = {"carrick": {"AuthSecret": secret, "AllowedPaths": self.opt.allow or ["/api/v0"]}}
        if self.opt.psk:
            with open(os.path.join(self.repo, "swarm.key"), "w") as f:
                f.write("/key/swarm/psk/1.0.0/\n/base16/\n" + self.opt.psk + "\n")
        for item in self.opt.set:
            key, value = item.split("=", 1)
            *way, last = key.split(".")
            at = c
            for step in way:
                at = at.setdefault(step, {})
            at[last] = json.loads(value)
        with open(path, "w") as f:
            json.dump(c, f, indent=1)

    def spawn(self):
        for name in ("api", "gateway"):                 # left by a killed daemon; would look like a ready one
            try:
                os.remove(os.path.join(self.repo, name))
            except FileNotFoundError:
                pass
        with open(self.log, "ab") as log:
            self.proc = subprocess.Popen([IPFS, "daemon", "--migrate=false"], env=environment(self.repo), stdin=subprocess.DEVNULL, stdout=log,
                                         stderr=log, start_new_session=self.detached, preexec_fn=None if self.detached else die_with_parent)

    def rpc(self, path, **query):
        address = urllib.parse.urlsplit(multiaddr_url(self.api))
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
        connection.request("POST", f"/api/v0/{path}?" + urllib.parse.urlencode(query), headers={"Authorization": self.authorization} if self.authorization else {})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {body.decode(errors='replace').strip()}")
        return json.loads(body) if body.strip() else None

    def wait_ready(self):
        end, why = time.monotonic() + READY_SECONDS, "no api file"
        while time.monotonic() < end:
            if self.proc.poll() is not None:
                break
            try:
                with open(os.path.join(self.repo, "config")) as f:
                    gateway_wanted = bool(json.load(f)["Addresses"]["Gateway"])
                with open(os.path.join(self.repo, "api")) as f:
                    self.api = f.read().strip()
                if self.api.startswith("/ip4/"):
                    gateway = None
                    if gateway_wanted:
                        with open(os.path.join(self.repo, "gateway")) as f:
                            gateway = f.read().strip()
                    me = self.rpc("id") if self.may("id") else {"ID": self.identity()}
                    swarm = sorted(self.rpc("swarm/addrs/listen")["Strings"]) if self.may("swarm/addrs/listen") else []
                    self.hello = {"ready": True, "n": self.n, "id": me["ID"], "api": multiaddr_url(self.api), "api_multiaddr": self.api, "api_unix": self.socket,
                                  "swarm": swarm, "addrs": [f"{a}/p2p/{me['ID']}" for a in swarm], "gateway": gateway, "pid": self.proc.pid, "repo": self.repo, "log": self.log,
                                  "authorization": self.authorization, "program": IPFS, "version": self.opt.version}
                    return self.hello
            except (OSError, ValueError, http.client.HTTPException) as e:
                why = repr(e)
            time.sleep(0.02)
        self.end(signal.SIGKILL)
        with open(self.log) as f:
            raise SystemExit(f"daemon {self.n} is not ready: {why}\n{f.read()[-2000:]}")

    def may(self, path):
        return not self.opt.allow or any(("/api/v0/" + path).startswith(p.rstrip("/")) for p in self.opt.allow)

    def identity(self):
        with open(os.path.join(self.repo, "config")) as f:
            return json.load(f)["Identity"]["PeerID"]

    def keep_ports(self):                               # a restarted daemon comes back where clients look for it
        path = os.path.join(self.repo, "config")
        with open(path) as f:
            c = json.load(f)
        c["Addresses"]["API"] = [self.api] + (["/unix" + self.socket] if self.socket else [])
        if self.hello["gateway"]:
            c["Addresses"]["Gateway"] = "/ip4/127.0.0.1/tcp/" + self.hello["gateway"].rsplit(":", 1)[1].strip("/")
        if self.hello["swarm"]:
            c["Addresses"]["Swarm"] = self.hello["swarm"]
        with open(path, "w") as f:
            json.dump(c, f, indent=1)

    def renew(self):
        if self.proc.poll() is None:
            raise ValueError(f"daemon {self.n} runs")
        self.renewed += 1                               # the old key is kept under a name, which must be free
        done = subprocess.run([IPFS, "key", "rotate", "-t", "ed25519", "-o", f"before-{self.renewed}"], env=environment(self.repo), capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"ipfs key rotate: {done.stderr.strip()}")

    def end(self, sig=signal.SIGTERM, grace=GRACE_SECONDS):
        """Returns whether the daemon ended by itself."""
        if self.proc is None or self.proc.poll() is not None:
            return True
        self.proc.send_signal(signal.SIGCONT)           # a frozen one cannot obey
        self.proc.send_signal(sig)
        try:
            self.proc.wait(grace)
            return True
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
            return False


def connect(a, b):
    return a.rpc("swarm/connect", arg=b.hello["addrs"][0])["Strings"][0]


def bring_up(opt, base, detached):
    os.makedirs(base, exist_ok=True)
    if any(os.path.exists(os.path.join(base, str(n))) for n in range(opt.count)):
        raise SystemExit(f"{base} already holds repositories: give an empty folder")
    daemons = [Daemon(n, base, opt, detached) for n in range(opt.count)]
    try:
        for d in daemons:
            d.init()
            d.spawn()
        for d in daemons:
            d.wait_ready()
        if opt.connect:
            for i, a in enumerate(daemons):
                for b in daemons[i + 1:]:
                    connect(a, b)
    except BaseException:
        for d in daemons:
            d.end(signal.SIGKILL)
        raise
    return daemons


def say(**line):
    print(json.dumps(line), flush=True)


def serve(opt):
    base = os.path.abspath(opt.dir) if opt.dir else tempfile.mkdtemp(prefix="carrick-kubo-")
    daemons = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        daemons = bring_up(opt, base, detached=False)
        for d in daemons:
            say(**d.hello)
        for line in sys.stdin:
            began = time.monotonic()
            try:
                q = json.loads(line)
                op, r = q["op"], None
                if op == "quit":
                    break
                if op == "connect":
                    r = connect(daemons[q["a"]], daemons[q["b"]])
                else:
                    d = daemons[q["n"]]
                    if op == "kill":
                        d.end(signal.SIGKILL)
                    elif op == "term":
                        r = d.end(grace=q.get("timeout", 10))
                    elif op == "start":
                        if d.proc.poll() is None:
                            raise ValueError(f"daemon {d.n} runs")
                        d.keep_ports()
                        d.spawn()
                        r = d.wait_ready()
                    elif op == "renew":
                        d.renew()
                    elif op == "freeze":
                        d.proc.send_signal(signal.SIGSTOP)
                    elif op == "thaw":
                        d.proc.send_signal(signal.SIGCONT)
                    else:
                        raise ValueError(f"unknown op {op}")
                say(ok=True, r=r, s=round(time.monotonic() - began, 3))
            except (Exception, SystemExit) as e:
                if isinstance(e, SystemExit) and e.code in (0, None):
                    raise
                say(ok=False, error=str(e) or repr(e))
    finally:
        for d in daemons:
            if d.proc.poll() is None:
                d.proc.send_signal(signal.SIGTERM)      # all at once, then wait for each
        for d in daemons:
            d.end()
        if not opt.dir:
            shutil.rmtree(base, ignore_errors=True)


def started(pid):
    """The kernel's start time of a process: a number that a reused pid does not share."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[19]
    except OSError:
        return None


def start(opt):
    base = os.path.abspath(opt.dir)
    daemons = bring_up(opt, base, detached=True)
    with open(os.path.join(base, "pids.json"), "w") as f:
        json.dump([[d.proc.pid, started(d.proc.pid)] for d in daemons], f)
    for d in daemons:
        say(**d.hello)


def stop(opt):
    path = os.path.join(opt.dir, "pids.json")
    if not os.path.exists(path):
        raise SystemExit(f"nothing was started in {opt.dir}")
    with open(path) as f:
        mine = [(pid, when) for pid, when in json.load(f) if when and started(pid) == when]
    for pid, _ in mine:
        os.kill(pid, signal.SIGCONT)
        os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + GRACE_SECONDS
    while mine:
        mine = [(pid, when) for pid, when in mine if started(pid) == when and not gone(pid)]
        if mine and time.monotonic() > end:
            for pid, _ in mine:
                os.kill(pid, signal.SIGKILL)
            end += GRACE_SECONDS
        time.sleep(0.02)
    os.remove(path)


def gone(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def main():
    p = argparse.ArgumentParser(usage="kubo_peer.py run N [DIR] | start N DIR | stop DIR  [options]", epilog="details: the first lines of this file")
    p.add_argument("command", choices=["run", "start", "stop"])
    p.add_argument("rest", nargs="*", metavar="N DIR")
    for flag in ("connect", "durable", "no-pubsub", "unix", "no-quic"):
        p.add_argument("--" + flag, action="store_true")
    for name in ("bearer", "basic", "psk"):
        p.add_argument("--" + name)
    for name in ("allow", "profile", "set"):
        p.add_argument("--" + name, action="append", default=[])
    opt = p.parse_args()
    if opt.bearer and opt.basic:
        p.error("--bearer or --basic, not both")
    if opt.command == "stop":
        if len(opt.rest) != 1:
            p.error("stop needs DIR")
        opt.dir = opt.rest[0]
        return stop(opt)
    if not 1 <= len(opt.rest) <= 2 or not opt.rest[0].isdigit() or int(opt.rest[0]) < 1 or (opt.command == "start" and len(opt.rest) < 2):
        p.error(f"{opt.command} needs N" + (" and DIR" if opt.command == "start" else ""))
    opt.count, opt.dir = int(opt.rest[0]), opt.rest[1] if len(opt.rest) > 1 else None
    if not os.access(IPFS, os.X_OK):
        raise SystemExit(f"no ipfs at {IPFS}: run install.sh kubo, or set CARRICK_IPFS")
    opt.version = subprocess.run([IPFS, "version", "-n"], capture_output=True, text=True).stdout.strip()
    return serve(opt) if opt.command == "run" else start(opt)


if __name__ == "__main__":
    main()
