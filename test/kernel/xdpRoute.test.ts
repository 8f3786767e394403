/**
 * Packets that leave by the NIC again, and every reason for which its program drops one, on routes and
 * neighbours of a namespace of its own: the test runs itself once more inside.
 */
import { readdirSync, readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { addressWords, OUTSIDE, STEP, VIA, Wire, wireDrops, XDP } from '../lib/edgePath.js'
import { type Datapath, kernelTest } from '../lib/kernel.js'
import { NetLab, run } from '../lib/netns.js'
import { concat, ip, isV6, macBytes, OTHER_MAC, tcp } from '../lib/packet.js'
import { compilePlain } from '../lib/plainTables.js'

t.setTimeout(240_000)

const NIC_MAC = '02:00:00:00:00:01'
const BPF = new URL('../../../bpf/', import.meta.url).pathname
const INSIDE = 'FAIRLEAD_TEST_INSIDE'
const MTU = 1500

const FAMILIES = [
  {
    ...{ name: 'IPv4', client: '198.51.100.2', vip: '192.0.2.100', backend: '10.1.0.3' },
    ...{ own: '192.0.2.1', peer: '192.0.2.2', silent: '192.0.2.3', lost: '203.0.113.9' },
    ...{ tunnel: 4, base: 20 },
  },
  {
    ...{ name: 'IPv6', client: '2001:db8:9::2', vip: '2001:db8::100', backend: 'fd01::3' },
    ...{ own: '2001:db8::1', peer: '2001:db8::2', silent: '2001:db8::3', lost: 'fd99::9' },
    ...{ tunnel: 41, base: 40 },
  },
] as const

const NODE = { edge_addr4: 0xc0000201, edge_addr6: [0x20010db8, 0, 0, 1] }

/** Reasons that a vector below has met. */
const met = new Set<string>()

/** Every reason that the program's sources name. */
function reasons(): string[] {
  const sources = readdirSync(BPF).filter((name) => /^xdp.*\.(h|bpf\.c)$/.test(name))
  const text = sources.map((name) => readFileSync(BPF + name, 'utf8')).join('\n')
  const given = [...text.matchAll(/(?:xdp_drop\(|return )(DROP_(?!NONE)\w+)/g)]
  return [...new Set(given.map(([, reason = '']) => reason))].sort()
}

type Of = (typeof FAMILIES)[number]

interface Bench {
  readonly t: Test
  readonly dp: Datapath
  readonly wire: Wire
}

/** Objects of a kind; small maps where `plain`. */
function wireTest(title: string, body: (bench: Bench) => void, plain = false): void {
  const of = (source: string) => (plain ? { object: compilePlain(t, source) } : {})
  const options = { ...OUTSIDE, ...of('tc.bpf.c'), ...(plain && { sizes: { entries: 1 } }) }
  const { object } = of('xdp.bpf.c')
  kernelTest(
    t,
    title,
    async (t, dp) => {
      const wire = new Wire(dp, NODE, object)
      try {
        await wire.attach('eth0')
        body({ t, dp, wire })
      } finally {
        wire.close()
      }
      for (const reason of Object.keys(wireDrops(dp))) met.add(reason)
    },
    options,
  )
}

/** What `action` drops, by reason. */
function dropsOf(dp: Datapath, action: () => void): Record<string, number> {
  const before = wireDrops(dp)
  action()
  const after = Object.entries(wireDrops(dp)).map(([reason, count]): [string, number] => [
    reason,
    count - (before[reason] ?? 0),
  ])
  return Object.fromEntries(after.filter(([, count]) => count > 0))
}

let flows = 0

/** A flow of its own that is known, to a backend that is led to by `kind`. */
function serve(dp: Datapath, of: Of, kind: number, via: string, backend: string = of.backend) {
  const at = 10 + flows++
  const vip = isV6(of.vip) ? `${of.vip}:${at}` : `192.0.2.${100 + at}`
  const service = dp.addService({ vips: [vip], ports: ['80/tcp'], backends: [backend] })
  const there = { src: of.client, sport: 40000 + at, dst: vip, dport: 80 }
  for (const flags of ['S', 'A', 'A']) dp.fromContainer(tcp({ ...there, flags }))
  const id = service.backends.get(backend) ?? 0
  dp.map('vias').set(id, { addr: addressWords(via), kind })
  return { ...there, flags: 'PA', payload: Buffer.from('GET / HTTP/1.0\r\n\r\n!') }
}

/** The frame as the NIC sends it to the peer. */
const onWire = (frame: Buffer): Buffer =>
  concat(macBytes(OTHER_MAC), macBytes(NIC_MAC), frame.subarray(12))

function sent({ t, dp, wire }: Bench, of: Of): void {
  const { own, peer, silent, backend, tunnel, base } = of
  const outer = { src: own, dst: peer, dontFragment: !isV6(own) }
  const translated = serve(dp, of, VIA.ENTRY, peer)
  const inside = tcp({ ...translated, dst: backend }).subarray(14)
  const direct = serve(dp, of, VIA.DSR_TUNNEL, peer)
  // The backend is a neighbour.
  const byMac = serve(dp, of, VIA.DSR_MAC, peer, peer)
  for (const [what, data, packet] of [
    ["translated and tunnelled to the backend's node", translated, ip(outer, tunnel, inside)],
    ['as dialled in a tunnel', direct, ip(outer, tunnel, tcp(direct).subarray(14))],
    ['as dialled to a MAC address', byMac, tcp({ ...byMac, ttl: 63 })],
  ] as const)
    t.same(wire.receive(tcp(data)), { verdict: XDP.TX, packet: onWire(packet) }, what)

  const unresolved = serve(dp, of, VIA.ENTRY, silent)
  const out = wire.receive(tcp(unresolved))
  const waiting = ip(
    { ...outer, dst: silent },
    tunnel,
    tcp({ ...unresolved, dst: backend }).subarray(14),
  )
  t.equal(out.step, STEP.ROUTE, 'a neighbour that is not resolved is left to tc')
  t.same(out.packet.subarray(14), waiting.subarray(14))

  const room = MTU - base - base - 20
  const fits = tcp({ ...translated, payload: Buffer.alloc(room) })
  t.equal(wire.receive(fits).verdict, XDP.TX, 'the most that fits the tunnel')
  const packet = tcp({ ...translated, payload: Buffer.alloc(room + 1) })
  const step = STEP.TOO_BIG + MTU - base
  t.same(wire.receive(packet), { verdict: XDP.PASS, packet, step }, 'what does not is told')
  t.same(wireDrops(dp), {}, 'and counted where it is answered')
}

/** The most metadata that the kernel lets be in front of a frame. */
function mostMetadata(wire: Wire, packet: Buffer): number {
  for (let bytes = 252; bytes > 0; bytes -= 4) {
    try {
      wire.receive(packet, undefined, bytes)
      return bytes
    } catch (error) {
      if ((error as { code?: string }).code !== 'EINVAL') throw error
    }
  }
  throw new Error('no metadata at all')
}

function dropped({ t, dp, wire }: Bench, of: Of): void {
  const { own, peer, lost, tunnel } = of
  const dropping = (packet: Buffer, meta = 0): void => {
    t.equal(wire.receive(packet, undefined, meta).verdict, XDP.DROP)
  }
  for (const kind of [VIA.ENTRY, VIA.DSR_TUNNEL]) {
    const data = serve(dp, of, kind, lost)
    t.same(
      dropsOf(dp, () => dropping(tcp(data))),
      { DROP_NO_ROUTE: 1 },
      'no way there',
    )
  }
  const data = serve(dp, of, VIA.ENTRY, peer)
  const meta = mostMetadata(wire, tcp({ ...data, dst: own }))
  t.same(
    dropsOf(dp, () => {
      dropping(tcp({ ...data, sport: 1 }), meta)
      dropping(tcp(data), meta)
    }),
    { DROP_REWRITE: 2 },
    'no room in front of the frame for a note, nor for a tunnel',
  )
  const rubbish = (bytes: number) => ip({ src: peer, dst: own }, tunnel, Buffer.alloc(bytes))
  t.same(
    dropsOf(dp, () => dropping(rubbish(60))),
    { DROP_PEER: 1 },
    'a tunnel from a stranger',
  )
  dp.map('peers').set({ addr: addressWords(peer) }, 1)
  t.same(
    dropsOf(dp, () => [60, 8].forEach((bytes) => dropping(rubbish(bytes)))),
    { DROP_MALFORMED: 2 },
    'rubbish in one',
  )
}

function refused({ t, dp, wire }: Bench, { own, peer, client, backend, tunnel }: Of): void {
  dp.map('peers').set({ addr: addressWords(peer) }, 1)
  const brought = (sport: number) => {
    const inside = tcp({ src: client, sport, dst: backend, dport: 80 }).subarray(14)
    return wire.receive(ip({ src: peer, dst: own }, tunnel, inside))
  }
  t.equal(brought(1).step, STEP.ROUTE)
  t.equal(brought(1).step, STEP.ROUTE)
  t.same(
    dropsOf(dp, () => brought(2)),
    { DROP_FLOW_TABLE: 1 },
    'who brought a flow is not kept',
  )
  for (const key of [...dp.map('entries').keys()]) dp.map('entries').delete(key)
}

async function outside(): Promise<void> {
  const lab = new NetLab(t)
  const node = await lab.namespace('wire')
  const other = await lab.namespace('other')
  const [first, second] = FAMILIES
  await lab.wire(
    { space: node, link: 'eth0', addresses: [`${first.own}/24`, `${second.own}/64`] },
    { space: other, link: 'eth0', addresses: [] },
  )
  await node.ip('link', 'set', 'eth0', 'address', NIC_MAC)
  for (const { peer } of FAMILIES)
    await node.ip('neigh', 'replace', peer, 'lladdr', OTHER_MAC, 'dev', 'eth0', 'nud', 'permanent')
  await node.sysctl('net.ipv4.ip_forward', '1')
  await node.sysctl('net.ipv6.conf.all.forwarding', '1')
  const args = [`--net=${node.path}`, '--', process.execPath, import.meta.filename]
  await t.spawn('nsenter', args, { env: { ...process.env, [INSIDE]: '1' } }, 'on its own routes')
}

if (process.env[INSIDE] === undefined) {
  if (process.geteuid?.() === 0 || process.env['CI'] !== undefined) await outside()
  else t.pass('needs root')
} else {
  await run('ip', ['link', 'show', 'eth0'])
  for (const of of FAMILIES)
    wireTest(of.name, (bench) => {
      sent(bench, of)
      dropped(bench, of)
    })
  wireTest(
    'a table that takes no more',
    (bench) => FAMILIES.forEach((of) => refused(bench, of)),
    true,
  )
  t.test('every reason that the program can give was met', (t) => {
    t.same([...met].sort(), reasons())
    t.end()
  })
}
