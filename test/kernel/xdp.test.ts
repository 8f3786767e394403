/** Packets as a NIC has them: carried, handed on with a note, taken out of tunnels, or left alone. */
import t, { type Test } from 'tap'
import { addressWords, OUTSIDE, STEP, Wire, wireDrops, XDP } from '../lib/edgePath.js'
import { type Datapath, kernelTest } from '../lib/kernel.js'
import { concat, echo, icmp, ip, isV6, tcp, udp } from '../lib/packet.js'

t.setTimeout(240_000)

const FAMILIES = [
  {
    ...{ name: 'IPv4', client: '198.51.100.2', vip: '192.0.2.100', backend: '10.1.0.3' },
    ...{ own: '192.0.2.1', peer: '192.0.2.2', tunnel: 4 },
  },
  {
    ...{ name: 'IPv6', client: '2001:db8:9::2', vip: '2001:db8::100', backend: 'fd01::3' },
    ...{ own: '2001:db8::1', peer: '2001:db8::2', tunnel: 41 },
  },
] as const

const NODE = {
  edge_addr4: 0xc0000201,
  edge_addr6: [0x20010db8, 0, 0, 1],
}

function edgeTest(title: string, body: (t: Test, dp: Datapath, wire: Wire) => void, own = true) {
  kernelTest(
    t,
    title,
    (t, dp) => {
      const wire = new Wire(dp, own ? NODE : {})
      try {
        body(t, dp, wire)
      } finally {
        wire.close()
      }
    },
    OUTSIDE,
  )
}

for (const { name, client, vip, backend, own, peer, tunnel } of FAMILIES) {
  const there = { src: client, sport: 40000, dst: vip, dport: 80 }
  const data = { flags: 'PA', payload: Buffer.from('GET / HTTP/1.0\r\n\r\n!') }

  edgeTest(`${name}: a TCP flow that tc admitted is carried`, (t, dp, wire) => {
    const { backends } = dp.addService({ vips: [vip], ports: ['80:8080/tcp'], backends: [backend] })
    t.same(wire.receive(tcp(there)), { verdict: XDP.PASS, packet: tcp(there), step: STEP.DECIDE })
    for (const flags of ['S', 'A', 'A']) dp.fromContainer(tcp({ ...there, flags }))
    const out = wire.receive(tcp({ ...there, ...data }))
    const translated = tcp({ ...there, ...data, dst: backend, dport: 8080 })
    t.same(out, { verdict: XDP.PASS, packet: translated, step: STEP.ROUTE })
    const id = backends.get(backend) ?? 0
    const index = id * dp.constant('PATH_COUNT') + dp.constant('PATH_XDP')
    const rows = (dp.map('counters').getPerCpu(index) ?? []) as Record<string, bigint>[]
    t.equal(
      rows.reduce((sum, row) => sum + Number(row['packets_in']), 0),
      4,
      'three by tc at the edge, one by XDP',
    )
    t.same(wireDrops(dp), {})
  })

  edgeTest(`${name}: UDP, with and without a checksum`, (t, dp, wire) => {
    dp.addService({ vips: [vip], ports: ['53:5353/udp'], backends: [backend] })
    const ask = { ...there, dport: 53, payload: Buffer.from('odd') }
    dp.fromContainer(udp(ask))
    dp.fromContainer(udp(ask))
    const out = { ...ask, dst: backend, dport: 5353 }
    t.same(wire.receive(udp(ask)).packet, udp(out))
    if (isV6(vip)) return
    t.same(wire.receive(udp({ ...ask, unchecked: true })).packet, udp({ ...out, unchecked: true }))
  })

  edgeTest(
    `${name}: what is none of ours passes untouched, and nothing is noted`,
    (t, dp, wire) => {
      dp.addService({ vips: [vip], ports: ['80/tcp'], backends: [backend] })
      const frame = tcp(there)
      const tagged = concat(frame.subarray(0, 12), [0x81, 0, 0, 5], frame.subarray(12))
      const others = {
        'another destination': tcp({ ...there, dst: client }),
        'a VLAN tag': tagged,
        'an ARP frame': concat(frame.subarray(0, 12), [8, 6], Buffer.alloc(46)),
        'a short frame': frame.subarray(0, 20),
        'a neighbour solicitation': icmp({ src: client, dst: client, type: 135 }),
      }
      for (const [what, packet] of Object.entries(others))
        t.same(wire.receive(packet), { verdict: XDP.PASS, packet }, what)
      t.same(wireDrops(dp), {})
    },
  )

  edgeTest(`${name}: a UDP checksum that becomes 0 is written as 0xffff`, (t, dp, wire) => {
    dp.addService({ vips: [vip], ports: ['53/udp'], backends: [backend] })
    const ask = { ...there, dport: 53 }
    for (let i = 0; i < 2; i++) dp.fromContainer(udp(ask))
    const out = { ...ask, dst: backend }
    // The payload that makes up for the rest of the sum.
    const payload = udp({ ...out, payload: Buffer.from([0, 0]) }).subarray(-4, -2)
    const expected = udp({ ...out, payload })
    t.equal(expected.readUInt16BE(expected.length - 4), 0xffff, 'the test makes what it means to')
    t.same(wire.receive(udp({ ...ask, payload })).packet, expected)
  })

  edgeTest(`${name}: a segment outside the window is carried like any other`, (t, dp, wire) => {
    dp.addService({ vips: [vip], ports: ['80/tcp'], backends: [backend] })
    for (const flags of ['S', 'A', 'A']) dp.fromContainer(tcp({ ...there, flags }))
    for (const seq of [0, 0x7fffffff, 0xfffffff0]) {
      const stray = { ...there, ...data, seq, ack: seq, window: 0 }
      t.same(wire.receive(tcp(stray)).packet, tcp({ ...stray, dst: backend }))
    }
  })

  edgeTest(`${name}: a flow under a substitute port is left to tc`, (t, dp, wire) => {
    const { id } = dp.addService({ vips: [vip], ports: ['80/tcp'], backends: [backend] })
    const second = vip.replace(/100$/, '101')
    dp.addVip(second, ['BALANCED'])
    dp.addPort(second, '80/tcp', id)
    for (const dst of [vip, second])
      for (const flags of ['S', 'A', 'A']) dp.fromContainer(tcp({ ...there, dst, flags }))
    t.equal(dp.map('overflows').count(), 1)
    t.equal(wire.receive(tcp({ ...there, ...data })).step, STEP.ROUTE)
    const aside = tcp({ ...there, ...data, dst: second })
    t.same(wire.receive(aside), { verdict: XDP.PASS, packet: aside, step: STEP.DECIDE })
  })

  edgeTest(`${name}: another user of a backend's id is another backend`, (t, dp, wire) => {
    const service = dp.addService({ vips: [vip], ports: ['80/tcp'], backends: [backend] })
    for (const flags of ['S', 'A', 'A']) dp.fromContainer(tcp({ ...there, flags }))
    t.equal(wire.receive(tcp({ ...there, ...data })).step, STEP.ROUTE)
    const id = service.backends.get(backend) ?? 0
    const row = dp.map('backends').get(id) as Record<string, number>
    dp.map('backends').set(id, { ...row, incarnation: 1000 })
    const frame = tcp({ ...there, ...data })
    t.same(wire.receive(frame), { verdict: XDP.PASS, packet: frame, step: STEP.DECIDE })
    dp.map('backends').set(id, { ...row, service: 77 })
    t.equal(wire.receive(frame).step, STEP.DECIDE, 'of another service too')
  })

  edgeTest(`${name}: what is not ordinary is left to tc as it came`, (t, dp, wire) => {
    dp.addService({ vips: [vip], ports: ['80/tcp'], backends: [backend] })
    for (const flags of ['S', 'A', 'A']) dp.fromContainer(tcp({ ...there, flags }))
    const packets = {
      echo: echo({ src: client, dst: vip }),
      'the last hop': tcp({ ...there, ...data, ttl: 1 }),
      'another flow': tcp({ ...there, sport: 40001, ...data }),
      'a cut TCP header': tcp({ ...there, ...data }).subarray(0, 14 + (isV6(vip) ? 40 : 20) + 12),
      'another protocol': ip({ src: client, dst: vip }, 132, Buffer.alloc(12)),
    }
    for (const [what, packet] of Object.entries(packets))
      t.same(wire.receive(packet), { verdict: XDP.PASS, packet, step: STEP.DECIDE }, what)
    t.same(wireDrops(dp), {})
  })

  edgeTest(`${name}: a flow whose backend is gone is left to tc`, (t, dp, wire) => {
    const service = dp.addService({ vips: [vip], ports: ['80/tcp'], backends: [backend] })
    for (const flags of ['S', 'A', 'A']) dp.fromContainer(tcp({ ...there, flags }))
    dp.removeBackend(service.backends.get(backend) ?? 0)
    t.equal(wire.receive(tcp({ ...there, ...data })).step, STEP.DECIDE)
  })

  const inner = tcp({ ...there, ...data, dst: backend }).subarray(14)

  edgeTest(
    `${name}: a peer's tunnel ends here, and who brought the flow is kept`,
    (t, dp, wire) => {
      dp.map('peers').set({ addr: addressWords(peer) }, 1)
      const frame = ip({ src: peer, dst: own }, tunnel, inner)
      const out = wire.receive(frame)
      t.same(out, {
        verdict: XDP.PASS,
        packet: concat(frame.subarray(0, 14), inner),
        step: STEP.ROUTE,
      })
      const [row] = [...dp.map('entries')] as [unknown, { node: number[] }][]
      t.same(row?.[1].node, addressWords(peer))
    },
  )

  edgeTest(`${name}: what a peer calls by an alias is for the container here`, (t, dp, wire) => {
    const alias = isV6(vip) ? 'fd99::7' : '10.0.0.7'
    dp.map('peers').set({ addr: addressWords(peer) }, 1)
    dp.map('aliases').set({ addr: addressWords(alias) }, { addr: addressWords(backend) })
    const frame = (make: typeof tcp | typeof udp) =>
      ip({ src: peer, dst: own }, tunnel, make({ ...there, ...data, dst: alias }).subarray(14))
    for (const [make, rows] of [
      [tcp, 1],
      [udp, 2],
    ] as const) {
      const out = wire.receive(frame(make))
      t.equal(out.step, STEP.ROUTE)
      t.same(out.packet.subarray(14), make({ ...there, ...data, dst: backend }).subarray(14))
      const entries = [...dp.map('entries')] as [{ backend: number[] }, { alias: number[] }][]
      t.equal(entries.length, rows)
      for (const [key, value] of entries) {
        t.same(key.backend, addressWords(backend))
        t.same(value.alias, addressWords(alias))
      }
    }
    t.same(wireDrops(dp), {})
  })

  edgeTest(`${name}: a flow that begins here is no other node's any more`, (t, dp, wire) => {
    dp.addService({ vips: [vip], ports: ['80/tcp'], backends: [backend] })
    dp.map('peers').set({ addr: addressWords(peer) }, 1)
    wire.receive(ip({ src: peer, dst: own }, tunnel, inner))
    t.equal(dp.map('entries').count(), 1)
    dp.fromContainer(tcp({ ...there, flags: 'S' }))
    t.equal(dp.map('entries').count(), 0)
  })

  edgeTest(`${name}: a reply in a tunnel is told from what begins a flow`, (t, dp, wire) => {
    dp.addService({ vips: [vip], ports: ['80/tcp'], backends: [backend] })
    for (const flags of ['S', 'A', 'A']) dp.fromContainer(tcp({ ...there, flags }))
    dp.map('peers').set({ addr: addressWords(peer) }, 1)
    const reply = tcp({ src: backend, sport: 80, dst: client, dport: 40000, flags: 'A' })
    const out = wire.receive(ip({ src: peer, dst: own }, tunnel, reply.subarray(14)))
    t.equal(out.step, STEP.REPLY)
    t.equal(dp.map('entries').count(), 0)
  })

  edgeTest(`${name}: what is not ordinary comes out of a peer's tunnel as well`, (t, dp, wire) => {
    dp.map('peers').set({ addr: addressWords(peer) }, 1)
    const tunnelled = (frame: Buffer) =>
      wire.receive(ip({ src: peer, dst: own }, tunnel, frame.subarray(14)))
    const lastHop = tcp({ ...there, ...data, dst: backend, ttl: 1 })
    t.equal(tunnelled(lastHop).step, STEP.ROUTE)
    t.equal(dp.map('entries').count(), 1, 'an error about it will find its way back')
    const others = {
      'an error': icmp({ src: client, dst: backend, type: isV6(vip) ? 2 : 3, rest: inner }),
      'a later fragment': udp({ ...there, dst: backend, fragment: { offset: 8, more: false } }),
      'another protocol': ip({ src: client, dst: backend }, 132, Buffer.alloc(12)),
    }
    for (const [what, frame] of Object.entries(others)) {
      const out = tunnelled(frame)
      t.equal(out.step, STEP.REPLY, what)
      t.same(out.packet.subarray(14), frame.subarray(14), what)
    }
    t.equal(dp.map('entries').count(), 1)
    const first = udp({ ...there, dst: backend, fragment: { offset: 0, more: true } })
    t.equal(tunnelled(first).step, STEP.ROUTE)
    t.equal(dp.map('entries').count(), 2, 'the first fragment has ports')
    t.same(wireDrops(dp), {})
  })

  edgeTest(`${name}: an error to this node may be about a tunnel of its own`, (t, _, wire) => {
    const [type, other] = isV6(vip) ? [2, 1] : [3, 11]
    const error = icmp({ src: client, dst: own, type, rest: inner })
    t.same(wire.receive(error), { verdict: XDP.PASS, packet: error, step: STEP.ERROR })
    for (const packet of [
      icmp({ src: client, dst: own, type: other, rest: inner }),
      icmp({ src: client, dst: peer, type, rest: inner }),
    ])
      t.same(wire.receive(packet), { verdict: XDP.PASS, packet }, 'none of ours')
  })

  edgeTest(
    `${name}: a tunnel from anybody else is dropped, as is rubbish in one`,
    (t, dp, wire) => {
      t.equal(wire.receive(ip({ src: client, dst: own }, tunnel, inner)).verdict, XDP.DROP)
      t.same(wireDrops(dp), { DROP_PEER: 1 })
      dp.map('peers').set({ addr: addressWords(peer) }, 1)
      t.equal(wire.receive(ip({ src: peer, dst: own }, tunnel, Buffer.alloc(60))).verdict, XDP.DROP)
      t.same(wireDrops(dp), { DROP_PEER: 1, DROP_MALFORMED: 1 })
      const elsewhere = ip({ src: peer, dst: client }, tunnel, inner)
      t.same(wire.receive(elsewhere), { verdict: XDP.PASS, packet: elsewhere }, 'to another node')
    },
  )

  edgeTest(
    `${name}: a node without an address has no way to a backend beyond it`,
    (t, dp, wire) => {
      const service = dp.addService({ vips: [vip], ports: ['80/tcp'], backends: [backend] })
      for (const flags of ['S', 'A', 'A']) dp.fromContainer(tcp({ ...there, flags }))
      dp.map('vias').set(service.backends.get(backend) ?? 0, {
        addr: addressWords(peer),
        kind: 1,
      })
      t.equal(wire.receive(tcp({ ...there, ...data })).verdict, XDP.DROP)
      t.same(wireDrops(dp), { DROP_NO_ROUTE: 1 })
    },
    false,
  )
}
