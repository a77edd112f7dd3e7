// A real Helia 7 node (js-libp2p 3: noise, yamux, mplex, tcp, QUIC, bitswap 1.2, gossipsub 1.2) on 127.0.0.1, driven by one JSON object a line.
//
//   $CARRICK_PEERS/helia/bin/node helia_peer.mjs [--tcp PORT] [--quic PORT] [--no-quic] [--dht]        ports default to free ones
//   --dht is a server of the DHT of local networks, as Kubo is on loopback; without it, a peer knows those it is connected to, and no more
//
// stdout: {"ready":true,"id":..,"addrs":["/ip4/127.0.0.1/tcp/P/p2p/ID",..],"protocols":[..]}, then one {"ok":true,"r":..,"s":seconds}
//         or {"ok":false,"error":..} for each line of stdin. It ends at {"op":"quit"} and at the end of stdin.
// stdin:  {"op":"connect","addr":..}  {"op":"disconnect","peer":ID}  {"op":"peers"}  {"op":"identify","peer":ID}  {"op":"ping","addr":..}
//         {"op":"add","path":FILE,"chunk_size":1048576}  {"op":"get","cid":..,"path":OUT}
//         {"op":"block_put","codec":85,"data":..}  {"op":"block_get","cid":..}
//         {"op":"blocks_put","count":1000,"size":100}  {"op":"blocks_get","cids":[..]} (r = bytes; 64 at a time)
//         {"op":"chain_put","length":1000} (r = head)  {"op":"chain_walk","cid":HEAD} (r = length)
//         {"op":"provide","cid":..}  {"op":"find_providers","cid":..,"count":1}       with --dht
//         {"op":"sub","topic":..}  {"op":"next","topic":..,"timeout":5}  {"op":"pub","topic":..,"data":..}  {"op":"topic_peers","topic":..}
//         data is base64, here and in answers. Every operation takes "timeout" in seconds (default 20, next 5).
// add makes CIDv1 and raw leaves: chunks of 1 MiB and 1024 links a node (profile unixfs-v1-2025), or with chunk_size 262144, 174 links.
// A chain is a list of DAG-CBOR blocks {"n":N,"next":CID or null}; n counts down to 0. Nothing but these: no bootstrap, mDNS, UPnP, relay, delegated routing.
import { randomBytes } from 'node:crypto'
import { open, readFile } from 'node:fs/promises'
import { registerHooks } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import readline from 'node:readline'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'

// Packages come from the installed folder, wherever this file lies.
const peers = process.env.CARRICK_PEERS || path.join(os.homedir(), '.cache', 'carrick-peers')
const installed = pathToFileURL(path.join(peers, 'helia', 'package.json')).href
registerHooks({ resolve: (name, context, next) => next(name, context.parentURL === import.meta.url ? { ...context, parentURL: installed } : context) })

const { values: options } = parseArgs({ options: { tcp: { type: 'string', default: '0' }, quic: { type: 'string', default: '0' }, 'no-quic': { type: 'boolean' }, dht: { type: 'boolean' } } })
const useQuic = !options['no-quic']

const { createHeliaLight } = await import('helia')
const { withLibp2pLight } = await import('@helia/libp2p')
const { withBitswap } = await import('@helia/bitswap')
const { unixfs } = await import('@helia/unixfs')
const { tcp } = await import('@libp2p/tcp')
const { noise } = await import('@libp2p/noise')
const { yamux } = await import('@libp2p/yamux')
const { mplex } = await import('@libp2p/mplex')
const { identify, identifyPush } = await import('@libp2p/identify')
const { kadDHT, passthroughMapper } = await import('@libp2p/kad-dht')
const { ping } = await import('@libp2p/ping')
const { gossipsub } = await import('@libp2p/gossipsub')
const { CID } = await import('multiformats/cid')
const { sha256 } = await import('multiformats/hashes/sha2')
const { multiaddr } = await import('@multiformats/multiaddr')
const dagCbor = await import('@ipld/dag-cbor')
const { fixedSize } = await import('ipfs-unixfs-importer/chunker')
const { balanced } = await import('ipfs-unixfs-importer/layout')
const quic = useQuic ? [(await import('@chainsafe/libp2p-quic')).quic()] : []

const helia = withBitswap(withLibp2pLight(createHeliaLight(), {
  addresses: { listen: [`/ip4/127.0.0.1/tcp/${options.tcp}`, ...(useQuic ? [`/ip4/127.0.0.1/udp/${options.quic}/quic-v1`] : [])] },
  transports: [tcp(), ...quic],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux(), mplex()],
  peerDiscovery: [],
  services: {
    identify: identify(),
    identifyPush: identifyPush(),
    ping: ping(),
    pubsub: gossipsub({ allowPublishToZeroTopicPeers: true, emitSelf: false, globalSignaturePolicy: 'StrictSign' }),
    ...(options.dht ? { dht: kadDHT({ protocol: '/ipfs/lan/kad/1.0.0', clientMode: false, peerInfoMapper: passthroughMapper }) } : {})
  }
}))
await helia.start()

const { libp2p } = helia
const { pubsub } = libp2p.services
const files = unixfs(helia)
const RAW = 0x55
const AT_ONCE = 64
const HEARD_AT_MOST = 100_000 // then the oldest is dropped, and `next` tells how many were

const queues = new Map()
const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))
const within = q => ({ signal: AbortSignal.timeout((q.timeout ?? 20) * 1000) })
const say = line => process.stdout.write(JSON.stringify(line) + '\n')

pubsub.addEventListener('message', ({ detail: m }) => {
  const queue = queues.get(m.topic)
  if (!queue) return
  queue.messages.push({ from: m.from?.toString(), topic: m.topic, seqno: m.sequenceNumber?.toString(), data: Buffer.from(m.data).toString('base64') })
  if (queue.messages.length > HEARD_AT_MOST) {
    queue.messages.shift()
    queue.lost += 1
  }
})

function connectionTo (peer) {
  const found = libp2p.getConnections().find(c => c.remotePeer.toString() === peer)
  if (!found) throw new Error(`no connection to ${peer}`)
  return found
}

async function keep (codec, bytes) {
  const cid = CID.createV1(codec, await sha256.digest(bytes))
  await helia.blockstore.put(cid, bytes)
  return cid
}

async function fetched (cid, q) {
  const found = await helia.blockstore.get(cid, q)
  if (found instanceof Uint8Array) return found
  const parts = []
  for await (const bytes of found) parts.push(bytes)
  return Buffer.concat(parts)
}

const ops = {
  async connect (q) {
    const c = await libp2p.dial(multiaddr(q.addr), within(q))
    return { peer: c.remotePeer.toString(), addr: c.remoteAddr.toString(), encryption: c.encryption, muxer: c.multiplexer }
  },
  async disconnect (q) { await connectionTo(q.peer).close(within(q)); return null },
  peers: () => libp2p.getConnections().map(c => ({ peer: c.remotePeer.toString(), addr: c.remoteAddr.toString(), direction: c.direction, encryption: c.encryption, muxer: c.multiplexer })),
  async identify (q) {
    const i = await libp2p.services.identify.identify(connectionTo(q.peer), within(q))
    return { id: i.peerId.toString(), agent: i.agentVersion, protocol_version: i.protocolVersion, protocols: i.protocols, addrs: (i.listenAddrs ?? []).map(String), observed: i.observedAddr?.toString() }
  },
  ping: q => libp2p.services.ping.ping(multiaddr(q.addr), within(q)),

  async add (q) {
    const size = q.chunk_size ?? 1048576
    const options = { chunker: fixedSize({ chunkSize: size }), layout: balanced({ maxChildrenPerNode: size === 262144 ? 174 : 1024 }), rawLeaves: true, cidVersion: 1 }
    return (await files.addBytes(await readFile(q.path), options)).toString()
  },
  async get (q) {
    const out = await open(q.path, 'w')
    let size = 0
    try {
      for await (const bytes of files.cat(CID.parse(q.cid), within(q))) { await out.writeFile(bytes); size += bytes.length }
    } finally { await out.close() }
    return size
  },

  block_put: async q => (await keep(q.codec ?? RAW, Buffer.from(q.data, 'base64'))).toString(),
  block_get: async q => Buffer.from(await fetched(CID.parse(q.cid), within(q))).toString('base64'),
  async blocks_put (q) {
    const cids = []
    for (let n = 0; n < q.count; n++) cids.push((await keep(RAW, randomBytes(q.size))).toString())
    return cids
  },
  async blocks_get (q) {
    const left = q.cids.values()
    const end = within(q)
    let size = 0
    const worker = async () => {
      for (const cid of left) {
        const bytes = await fetched(CID.parse(cid), end)
        size += bytes.length // in a line of its own: `size` is read before an await in its line
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, worker))
    return size
  },
  async chain_put (q) {
    let head = null
    for (let n = 0; n < q.length; n++) head = await keep(dagCbor.code, dagCbor.encode({ n, next: head }))
    return head.toString()
  },
  async chain_walk (q) {
    const end = within(q)
    let length = 0
    for (let at = CID.parse(q.cid); at; length++) at = dagCbor.decode(await fetched(at, end)).next
    return length
  },

  async provide (q) { await libp2p.contentRouting.provide(CID.parse(q.cid), within(q)); return null },
  async find_providers (q) {
    const found = new Set()
    for await (const peer of libp2p.contentRouting.findProviders(CID.parse(q.cid), within(q))) {
      found.add(peer.id.toString())
      if (found.size >= (q.count ?? 1)) break
    }
    return [...found]
  },

  sub (q) {
    if (!queues.has(q.topic)) queues.set(q.topic, { messages: [], lost: 0 })
    pubsub.subscribe(q.topic)
    return null
  },
  async next (q) {
    const queue = queues.get(q.topic)
    if (!queue) throw new Error(`not subscribed to ${q.topic}`)
    for (const end = Date.now() + (q.timeout ?? 5) * 1000; Date.now() < end; await sleep(10)) {
      const message = queue.messages.shift()
      if (message) return { ...message, lost: queue.lost }
    }
    return null
  },
  pub: async q => (await pubsub.publish(q.topic, Buffer.from(q.data, 'base64'))).recipients.map(String),
  topic_peers: q => pubsub.getSubscribers(q.topic).map(String)
}

say({ ready: true, id: libp2p.peerId.toString(), addrs: libp2p.getMultiaddrs().map(String), protocols: libp2p.getProtocols() })
const lines = readline.createInterface({ input: process.stdin })
lines.on('close', () => setTimeout(() => process.exit(1), 5000).unref()) // also in the middle of an operation
for await (const line of lines) {
  const began = Date.now()
  try {
    const q = JSON.parse(line)
    if (q.op === 'quit') break
    if (!Object.hasOwn(ops, q.op)) throw new Error(`unknown op ${q.op}`)
    say({ ok: true, r: await ops[q.op](q), s: (Date.now() - began) / 1000 })
  } catch (e) { say({ ok: false, error: String(e.stack ?? e).slice(0, 600), s: (Date.now() - began) / 1000 }) }
}
await Promise.race([helia.stop(), sleep(5000)])
process.exit(0)
