/**
 * `return: snat` under BPF_PROG_TEST_RUN: whole packets of both directions, the rows behind them, and
 * what becomes of flows whose rows or ports go. Routes decide here, so the programs run in a
 * namespace with a wire to client and backends: this file starts itself there.
 */
import type { Value } from 'libbpf-ts'
import t, { type Test } from 'tap'
import { OUTSIDE, STEP, Wire, XDP } from '../lib/edgePath.js'
import { edgeWire, holdXdp, ifindexOf, NARROW_MTU } from '../lib/edgeWire.js'
import { type Datapath, kernelTest, TC } from '../lib/kernel.js'
import { NetLab } from '../lib/netns.js'
import {
  addressBytes,
  checksumFaults,
  concat,
  icmp,
  ip,
  isV6,
  tcp,
  tupleOf,
  udp,
  type Network,
  type Tcp,
} from '../lib/packet.js'
import { sweep } from '../lib/sweep.js'

const FAMILIES = [
  {
    ...{ name: 'IPv4', client: '192.0.2.8', other: '192.0.2.9', backend: '192.0.2.3' },
    ...{ own: '192.0.2.1', vip: '203.0.113.1', narrow: '198.51.100.3', router: '192.0.2.77' },
    unreachable: { type: 3, code: 3 },
  },
  {
    ...{ name: 'IPv6', client: '2001:db8::8', other: '2001:db8::9', backend: '2001:db8::3' },
    ...{ own: '2001:db8::1', vip: '2001:db8:9::1', narrow: '2001:db8:1::3' },
    router: '2001:db8::77',
    unreachable: { type: 1, code: 4 },
  },
] as const
const PORTS = { first: 20_000, last: 20_015 }
const COUNT = 16
const HZ = 250
const KNOBS = { snat_first_port: PORTS.first, snat_last_port: PORTS.last }
const INSIDE = 'FAIRLEAD_SNAT_INSIDE'

async function startInside(t: Test): Promise<void> {
  const { node, macs } = await edgeWire(new NetLab(t))
  const env = { ...process.env, [INSIDE]: macs.join(' ') }
  const args = [`--net=${node.path}`, '--', process.execPath, import.meta.filename]
  await t.spawn('nsenter', args, { env, timeout: 200_000 }, 'within the namespace')
}

/** Packets that the programs get from eth0, and what they made of them. */
class Bench {
  readonly ifindex = ifindexOf('eth0')
  readonly wire: Wire
  readonly backendId: number

  constructor(
    readonly dp: Datapath,
    readonly of: (typeof FAMILIES)[number],
    backend: string = of.backend,
  ) {
    const { vip, own } = of
    const service = dp.addService({
      vips: [vip],
      ports: ['80:8080/tcp', '53:5353/udp'],
      backends: [backend],
    })
    this.backendId = service.backends.get(backend) ?? 0
    dp.map('vias').set(this.backendId, {
      addr: words(backend === of.backend ? own : of.narrow.replace(/3$/, '1')),
      kind: dp.constant('VIA_SNAT'),
    })
    dp.addVip(own, ['NODE'])
    this.wire = new Wire(dp, KNOBS)
  }

  tc(packet: Uint8Array): Buffer {
    const { verdict, packet: out } = this.dp.fromEdge(packet, this.ifindex)
    return verdict === TC.REDIRECT ? out : Buffer.alloc(0)
  }

  xdp(packet: Uint8Array) {
    return this.wire.receive(packet, this.ifindex)
  }

  /** Begins a connection; returns the source port that the backend sees. */
  begin(sport: number, flags = ['S', 'A'], src: string = this.of.client): number {
    let port = 0
    for (const one of flags) {
      const out = this.tc(tcp({ src, dst: this.of.vip, sport, dport: 80, flags: one }))
      port = out.length ? tupleOf(out).sport : 0
    }
    return port
  }
}

function words(address: string): number[] {
  const bytes = isV6(address)
    ? addressBytes(address)
    : concat(Buffer.alloc(10), [255, 255], addressBytes(address))
  return [0, 4, 8, 12].map((at) => bytes.readUInt32BE(at))
}

function snatTest(of: (typeof FAMILIES)[number], title: string, body: (t: Test, b: Bench) => void) {
  const options = { rodata: { ...OUTSIDE.rodata, ...KNOBS } }
  const run = (t: Test, dp: Datapath) => {
    const bench = new Bench(dp, of)
    try {
      body(t, bench)
    } finally {
      bench.wire.close()
    }
  }
  kernelTest(t, `${of.name}: ${title}`, run, options)
}

/** The one row of a map. */
function only(map: { [Symbol.iterator](): Iterator<[Value, Value]> }): [Value, Value] {
  const [row, ...more] = [...map]
  if (row === undefined || more.length > 0) throw new Error('not one row')
  return row
}

function inside(macs: string): void {
  const [node = '', world = ''] = macs.split(' ')
  const hop = { ethSrc: node, ethDst: world, ttl: 63 }
  t.before(async () => {
    const release = await holdXdp('eth0')
    t.teardown(release)
  })
  for (const of of FAMILIES) testFamily(of, hop)
}

function testFamily(of: (typeof FAMILIES)[number], hop: Partial<Tcp>): void {
  const { client, other, backend, own, vip, narrow, router, unreachable } = of
  const there = { src: client, sport: 40000, dst: vip, dport: 80 }
  const family = isV6(vip) ? 6 : 4

  snatTest(of, 'TCP begins in tc, goes on in XDP, and comes back', (t, bench) => {
    const { dp } = bench
    const out = bench.tc(tcp({ ...there, flags: 'S' }))
    const port = tupleOf(out).sport
    t.ok(port >= PORTS.first && port <= PORTS.last)
    const seen = { src: own, sport: port, dst: backend, dport: 8080 }
    t.same(out, tcp({ ...seen, flags: 'S', ttl: 63 }), 'whole, but for the neighbour')
    const reply = { src: backend, sport: 8080, dst: own, dport: port }
    const told = { src: vip, sport: 80, dst: client, dport: 40000 }
    t.same(
      bench.xdp(tcp({ ...reply, flags: 'SA' })),
      { verdict: XDP.TX, packet: tcp({ ...told, ...hop, flags: 'SA' }) },
      'a reply to an embryonic flow',
    )
    t.equal(bench.xdp(tcp({ ...there, flags: 'A' })).step, STEP.DECIDE, 'the second is for tc')
    t.equal(dp.map('embryonic_snats').count(), 1)
    t.same(bench.tc(tcp({ ...there, flags: 'A' })), tcp({ ...seen, flags: 'A', ttl: 63 }))
    t.same([dp.map('embryonic_snats').count(), dp.map('snats').count()], [0, 1])
    const data = { flags: 'PA', payload: Buffer.from('GET / HTTP/1.0\r\n\r\n!') }
    t.same(bench.xdp(tcp({ ...there, ...data })), {
      verdict: XDP.TX,
      packet: tcp({ ...seen, ...hop, ...data }),
    })
    t.same(bench.xdp(tcp({ ...reply, ...data })).packet, tcp({ ...told, ...hop, ...data }))
    t.same(bench.tc(tcp({ ...reply, ...data })), tcp({ ...told, ...data, ttl: 63 }), 'by tc too')
    t.equal(dp.active(bench.backendId), 1)
    const path = dp.traffic(bench.backendId, 'PATH_XDP')
    t.same([path.packetsIn, path.packetsOut, path.connections], [3, 3, 1])
    t.same(dp.counted('PATH_XDP'), {})
  })

  snatTest(of, 'UDP, with and without a checksum', (t, bench) => {
    const ask = { ...there, dport: 53, payload: Buffer.from('odd') }
    const out = bench.tc(udp(ask))
    const port = tupleOf(out).sport
    const seen = { src: own, sport: port, dst: backend, dport: 5353, payload: ask.payload }
    t.same(out, udp({ ...seen, ttl: 63 }))
    bench.tc(udp(ask))
    t.same(bench.xdp(udp(ask)).packet, udp({ ...seen, ...hop }))
    const reply = { src: backend, sport: 5353, dst: own, dport: port, payload: ask.payload }
    const told = { src: vip, sport: 53, dst: client, dport: 40000, payload: ask.payload }
    t.same(bench.xdp(udp(reply)).packet, udp({ ...told, ...hop }))
    if (family === 6) return
    const unchecked = { unchecked: true }
    t.same(bench.xdp(udp({ ...ask, ...unchecked })).packet, udp({ ...seen, ...hop, ...unchecked }))
    t.same(bench.tc(udp({ ...ask, ...unchecked })), udp({ ...seen, ttl: 63, ...unchecked }))
    t.same(
      bench.xdp(udp({ ...reply, ...unchecked })).packet,
      udp({ ...told, ...hop, ...unchecked }),
    )
  })

  snatTest(of, 'no two flows have one port, and when none is left a SYN is dropped', (t, bench) => {
    const { dp } = bench
    const ports = Array.from({ length: COUNT }, (_, at) => bench.begin(40000 + at))
    t.equal(new Set(ports).size, COUNT)
    t.equal(bench.begin(50000, ['S']), 0)
    t.same(dp.counted('PATH_XDP'), { DROP_NO_SOURCE_PORT: 1 })
    t.equal(dp.active(bench.backendId), COUNT)
    const asked = tupleOf(bench.tc(udp({ ...there, dport: 53 })))
    t.ok(asked.sport >= PORTS.first, 'UDP has ports of its own')
    t.equal(bench.begin(40003, ['A']), ports[3], 'those that are there go on')
  })

  snatTest(
    of,
    'an idle flow gives its port up, embryonic or not, by the sweep or to a new one',
    (t, bench) => {
      const { dp } = bench
      const age = (name: string, seconds: number) => {
        for (const [key, row] of [...dp.map(name)] as [Value, { flow: { last_seen: number } }][])
          dp.map(name).set(key, {
            ...row,
            flow: { ...row.flow, last_seen: (row.flow.last_seen - seconds * HZ) >>> 0 },
          })
      }
      for (let at = 0; at < COUNT; at++) bench.begin(40000 + at, ['S'])
      age('embryonic_snats', 61)
      t.not(bench.begin(50000), 0, 'without a sweep')
      t.equal(dp.map('embryonic_snats').count(), COUNT - 1)
      t.equal(dp.map('snat_clients').count(), COUNT, 'the way to the old one is gone too')
      t.equal(sweep(dp).deleted, COUNT - 1)
      t.same([dp.map('snat_clients').count(), dp.active(bench.backendId)], [1, 1])
      age('snats', 8001)
      t.equal(sweep(dp).deleted, 1)
      t.same([dp.map('snat_clients').count(), dp.active(bench.backendId)], [0, 0])
      const index = dp.constant('END_IDLE') * dp.constant('PATH_COUNT')
      const ends = [0, 1, 2].map((path) => dp.map('ends').getPerCpu(index + path) ?? [])
      t.equal(Number(ends.flat().reduce((sum: bigint, n) => sum + (n as bigint), 0n)), COUNT + 1)
    },
  )

  snatTest(of, 'the port of a flow that has ended is the last to be taken', (t, bench) => {
    const [first = 0] = Array.from({ length: COUNT - 1 }, (_, at) => bench.begin(40000 + at))
    bench.tc(tcp({ ...there, flags: 'FA' }))
    bench.xdp(tcp({ src: backend, sport: 8080, dst: own, dport: first, flags: 'FA' }))
    t.not(bench.begin(50000), first, 'another is free')
    t.equal(bench.begin(50001), first, 'none is')
    t.equal(bench.begin(50002, ['S']), 0)
  })

  snatTest(of, 'a client that begins anew on a closed flow is carried', (t, bench) => {
    bench.begin(40000)
    bench.tc(tcp({ ...there, flags: 'R' }))
    t.not(bench.begin(40000), 0)
    t.equal(bench.dp.active(bench.backendId), 1)
    t.equal(bench.xdp(tcp({ ...there, flags: 'PA' })).verdict, XDP.TX)
  })

  snatTest(of, 'half a flow that was evicted is put back, or reaches nobody else', (t, bench) => {
    const { dp } = bench
    const port = bench.begin(40000)
    const [way] = only(dp.map('snat_clients'))
    dp.map('snat_clients').delete(way)
    const [key, row] = only(dp.map('snats')) as [Value, { flow: object; client: number[] }]
    dp.map('snats').set(key, { ...row, flow: { ...row.flow, last_seen: 0 } })
    const reply = { src: backend, sport: 8080, dst: own, dport: port, flags: 'A' }
    t.equal(bench.xdp(tcp(reply)).verdict, XDP.TX)
    t.same(dp.counted('PATH_XDP'), { EVENT_FLOW_REPAIRED: 1 })
    t.equal(bench.xdp(tcp({ ...there, flags: 'PA' })).verdict, XDP.TX)
    // The row goes, and another client is given the port before the first one's next packet.
    dp.map('snats').set(key, { ...row, client: words(other) } as unknown as Value)
    t.equal(bench.xdp(tcp({ ...there, flags: 'PA' })).step, STEP.DECIDE)
    const refused = dp.fromEdge(tcp({ ...there, flags: 'PA' }), bench.ifindex).packet
    t.same([tupleOf(refused).src, tupleOf(refused).dst], [vip, client])
    t.equal(dp.drops('NO_FLOW', 'PATH_XDP'), 1)
    t.equal(tupleOf(bench.xdp(tcp(reply)).packet).dst, other, 'replies are of whose row it is')
  })

  snatTest(of, 'a backend that is gone: TCP is reset, UDP finds another', (t, bench) => {
    const { dp } = bench
    bench.begin(40000)
    const ask = { ...there, dport: 53 }
    bench.tc(udp(ask))
    dp.removeBackend(bench.backendId)
    const second = dp.addBackend(backend, 1)
    dp.setRing(1, { 4: [second], 6: [second] })
    dp.map('vias').set(second, { addr: words(own), kind: dp.constant('VIA_SNAT') })
    const refused = dp.fromEdge(tcp({ ...there, flags: 'PA' }), bench.ifindex).packet
    t.same([tupleOf(refused).src, tupleOf(refused).dst], [vip, client])
    t.equal(dp.drops('BACKEND_GONE', 'PATH_XDP'), 1)
    t.equal(tupleOf(bench.tc(udp(ask))).src, own)
    t.equal(dp.counted('PATH_XDP')['EVENT_RESELECT'], 1)
    t.not(bench.begin(40000), 0, 'a new connection from the same port')
  })

  snatTest(of, 'errors about it are translated, of the backend and of a router', (t, bench) => {
    const port = bench.begin(40000)
    const seen = tcp({ src: own, sport: port, dst: backend, dport: 8080, flags: 'A' })
    const told = tcp({ ...there, flags: 'A' })
    const error = (src: string, dst: string, about: Buffer, ttl = 64) =>
      icmp({ src, dst, ttl, ...unreachable, rest: concat(Buffer.alloc(4), about.subarray(14)) })
    t.equal(bench.xdp(error(backend, own, seen)).step, STEP.DECIDE)
    t.same(bench.tc(error(backend, own, seen)), error(vip, client, told, 63))
    t.same(bench.tc(error(router, own, seen)), error(router, client, told, 63))
    const back = tcp({ src: backend, sport: 8080, dst: own, dport: port, flags: 'A' })
    const got = tcp({ src: vip, sport: 80, dst: client, dport: 40000, flags: 'A' })
    t.same(bench.tc(error(client, vip, got)), error(own, backend, back, 63))
    t.equal(bench.dp.counted('PATH_XDP')['EVENT_ICMP_ERROR'], 3)
  })

  snatTest(of, 'fragments in order, both ways', (t, bench) => {
    const ask = { ...there, dport: 53, payload: Buffer.alloc(2000, 'abc'), id: 77 }
    const port = tupleOf(bench.tc(udp({ ...there, dport: 53 }))).sport
    const parts = (whole: Buffer, ends: object) => {
      const l4 = whole.subarray(family === 6 ? 54 : 34)
      const part = (from: number, to: number, more: boolean) =>
        ip(
          { ...ends, id: 77, fragment: { offset: from, more } } as Network,
          17,
          l4.subarray(from, to),
        )
      return [part(0, 1000, true), part(1000, l4.length, false)]
    }
    const seen = { src: own, sport: port, dst: backend, dport: 5353, payload: ask.payload }
    const sent = parts(udp(ask), { src: client, dst: vip })
    for (const one of sent) t.equal(bench.xdp(one).step, STEP.DECIDE)
    t.same(
      sent.map((one) => bench.tc(one)),
      parts(udp(seen), { src: own, dst: backend, ttl: 63 }),
    )
    const reply = { src: backend, sport: 5353, dst: own, dport: port, payload: ask.payload }
    const told = { src: vip, sport: 53, dst: client, dport: 40000, payload: ask.payload }
    t.same(
      parts(udp(reply), { src: backend, dst: own }).map((one) => bench.tc(one)),
      parts(udp(told), { src: vip, dst: client, ttl: 63 }),
    )
  })

  kernelTest(
    t,
    `${of.name}: a backend by another interface, with a smaller MTU`,
    (t, dp) => {
      const bench = new Bench(dp, of, narrow)
      try {
        const port = bench.begin(40000)
        const seen = { src: narrow.replace(/3$/, '1'), sport: port, dst: narrow, dport: 8080 }
        const data = { flags: 'PA', payload: Buffer.alloc(100, 'x') }
        t.same(
          bench.xdp(tcp({ ...there, ...data })),
          { verdict: XDP.PASS, packet: tcp({ ...seen, ...data }), step: STEP.ROUTE },
          'tc routes it',
        )
        const big = tcp({ ...there, flags: 'PA', payload: Buffer.alloc(1400, 'x') })
        t.same(bench.xdp(big), { verdict: XDP.PASS, packet: big, step: STEP.TOO_BIG + NARROW_MTU })
        const { packet } = dp.fromEdge(big, bench.ifindex)
        t.same([tupleOf(packet).src, tupleOf(packet).dst], [vip, client])
        const l4 = family === 6 ? 54 : 34
        t.equal(
          family === 6 ? packet.readUInt32BE(l4 + 4) : packet.readUInt16BE(l4 + 6),
          NARROW_MTU,
        )
        t.same(checksumFaults(packet), [])
        t.same(dp.counted('PATH_XDP'), { DROP_TOO_BIG: 1 })
      } finally {
        bench.wire.close()
      }
    },
    { rodata: { ...OUTSIDE.rodata, ...KNOBS } },
  )

  snatTest(of, 'what is to the node itself passes, in the range of ports too', (t, bench) => {
    bench.begin(40000)
    const stray = { src: client, dst: own, sport: 8080, dport: PORTS.first }
    for (const packet of [
      tcp(stray),
      tcp({ ...stray, flags: 'A' }),
      udp(stray),
      udp({ ...stray, dport: 22 }),
    ]) {
      const { verdict, packet: out } = bench.dp.fromEdge(packet, bench.ifindex)
      t.same([verdict, out], [TC.PASS, packet])
      t.same(bench.xdp(packet), { verdict: XDP.PASS, packet, step: STEP.DECIDE })
    }
    t.same(bench.dp.counted('PATH_XDP'), {})
  })

  snatTest(of, 'without a known address of this node nothing begins', (t, bench) => {
    bench.dp.map('vias').set(bench.backendId, {
      addr: [0, 0, 0, 0],
      kind: bench.dp.constant('VIA_SNAT'),
    })
    t.equal(bench.begin(40000, ['S']), 0)
    t.same(bench.dp.counted('PATH_XDP'), { DROP_NO_ROUTE: 1 })
    t.equal(bench.dp.map('embryonic_snats').count(), 0)
  })
}

const macs = process.env[INSIDE]
if (macs !== undefined) inside(macs)
else if (process.geteuid?.() !== 0 && process.env['CI'] === undefined)
  t.test('snat', { skip: 'needs root' }, () => undefined)
else t.test('snat', startInside)
t.setTimeout(240_000)
