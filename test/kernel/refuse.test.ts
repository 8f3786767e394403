/** Every reason to drop: the verdict, what the client is told, and that it is counted. */
import t, { type Test } from 'tap'
import { kernelTest, TC, type Datapath } from '../lib/kernel.js'
import {
  CLIENT_MAC,
  echo,
  icmp,
  ip,
  PROTOCOL,
  tcp,
  tcpSegment,
  udp,
  udpDatagram,
  VIP_MAC,
  type Tcp,
  type Udp,
} from '../lib/packet.js'

const FAMILIES = [
  { name: 'IPv4', client: '10.1.0.2', vip: '10.9.0.1', backend: '10.1.0.3', base: 20, quote: 548 },
  { name: 'IPv6', client: 'fd01::2', vip: 'fd09::1', backend: 'fd01::3', base: 40, quote: 1232 },
] as const

/** RFC 9293, 3.5.2: the reset of a segment without an ACK. */
function resetOf(of: Tcp): Buffer {
  const turned = { src: of.dst, dst: of.src, sport: of.dport, dport: of.sport }
  const flags = of.flags ?? 'S'
  const length = (of.payload?.length ?? 0) + (/[SF]/.test(flags) ? 1 : 0)
  const numbers = flags.includes('A')
    ? { flags: 'R', seq: of.ack ?? 0, ack: 0 }
    : { flags: 'RA', seq: 0, ack: (of.seq ?? 1000) + length }
  return tcp({
    ...turned,
    ...numbers,
    ethSrc: VIP_MAC,
    ethDst: CLIENT_MAC,
    window: 0,
    dontFragment: true,
  })
}

/** The port unreachable for a datagram, quoting as much as may be. */
function unreachableOf(frame: Buffer, of: Udp, quote: number): Buffer {
  const v6 = of.src.includes(':')
  return icmp({
    src: of.dst,
    dst: of.src,
    ethSrc: VIP_MAC,
    ethDst: CLIENT_MAC,
    dontFragment: true,
    type: v6 ? 1 : 3,
    code: v6 ? 4 : 3,
    rest: Buffer.concat([Buffer.alloc(4), frame.subarray(14, 14 + quote)]),
  })
}

for (const { name, client, vip, backend, base, quote } of FAMILIES) {
  const there = { src: client, sport: 40000, dst: vip, dport: 80 }

  /** TCP and UDP of `there` are refused for `reason`. */
  const refuses = (t: Test, dp: Datapath, reason: string) => {
    for (const [frame, answer] of [
      [tcp(there), resetOf(there)],
      [udp(there), unreachableOf(udp(there), there, quote)],
    ] as const) {
      const out = dp.fromContainer(frame)
      t.equal(out.verdict, TC.REDIRECT)
      t.same(out.packet, answer)
    }
    t.same(dp.counted(), { [`DROP_${reason}`]: 2, EVENT_REFUSED: 2 })
  }

  kernelTest(t, `${name}: a service without backends refuses`, (t, dp) => {
    dp.addService({ vips: [vip], ports: ['80/tcp', '80/udp'], backends: [] })
    refuses(t, dp, 'NO_BACKEND')
  })

  kernelTest(t, `${name}: backends of the other family only are none`, (t, dp) => {
    const other = name === 'IPv4' ? 'fd01::3' : '10.1.0.3'
    dp.addService({ vips: [vip], ports: ['80/tcp', '80/udp'], backends: [other] })
    refuses(t, dp, 'NO_BACKEND')
  })

  kernelTest(t, `${name}: a port that the VIP does not have is refused`, (t, dp) => {
    dp.addService({ vips: [vip], ports: ['81/tcp', '81/udp'], backends: [backend] })
    refuses(t, dp, 'NO_PORT')
  })

  kernelTest(t, `${name}: a SYN with data and options is refused by its length`, (t, dp) => {
    dp.addService({ vips: [vip], ports: ['80/tcp'], backends: [] })
    const payload = Buffer.from('fast open')
    const of = { ...there, seq: 0xfffffffe, payload, tcpOptions: Buffer.from([2, 4, 5, 0xb4]) }
    t.same(dp.fromContainer(tcp(of)).packet, resetOf(of))
  })

  kernelTest(t, `${name}: long datagrams are quoted as far as the RFC allows`, (t, dp) => {
    dp.addService({ vips: [vip], ports: ['80/udp'], backends: [] })
    for (const bytes of [0, 1, 63, 64, 65, 500, 519, 520, 521, 1183, 1184, 1185, 1400]) {
      const of = { ...there, payload: Buffer.alloc(bytes, 'payload') }
      const out = dp.fromContainer(udp(of))
      t.same(out.packet, unreachableOf(udp(of), of, quote), `${bytes} bytes`)
      t.ok(out.packet.length - 14 <= (name === 'IPv4' ? 576 : 1280))
    }
    const unchecked = { ...there, unchecked: true }
    const out = dp.fromContainer(udp(unchecked))
    t.same(out.packet, unreachableOf(udp(unchecked), unchecked, quote), 'without a checksum')
  })

  kernelTest(t, `${name}: TCP that belongs to no flow is reset`, (t, dp) => {
    dp.addService({ vips: [vip], ports: ['80/tcp'], backends: [backend] })
    const segments = [
      { flags: 'A', ack: 777 },
      { flags: 'PA', ack: 0x89abcdef, payload: Buffer.alloc(1000, 'x') },
      { flags: 'FA', ack: 1 },
      { flags: 'SA', ack: 5 },
      { flags: 'F' },
      { flags: 'P', payload: Buffer.from('abc') },
    ]
    for (const more of segments) {
      const out = dp.fromContainer(tcp({ ...there, ...more }))
      t.equal(out.verdict, TC.REDIRECT, more.flags)
      t.same(out.packet, resetOf({ ...there, ...more }), more.flags)
    }
    t.same(dp.counted(), { DROP_NO_FLOW: segments.length, EVENT_REFUSED: segments.length })
  })

  kernelTest(t, `${name}: a reset is never answered by a reset`, (t, dp) => {
    dp.addService({ vips: [vip], ports: ['80/tcp'], backends: [backend] })
    t.equal(dp.fromContainer(tcp({ ...there, flags: 'R' })).verdict, TC.DROP)
    t.equal(dp.fromContainer(tcp({ ...there, flags: 'RA', dport: 81 })).verdict, TC.DROP)
    t.same(dp.counted(), { DROP_NO_FLOW: 1, DROP_NO_PORT: 1 })
  })

  kernelTest(t, `${name}: a port row without its service drops`, (t, dp) => {
    dp.addVip(vip, ['BALANCED'])
    dp.addPort(vip, '80/tcp', 99)
    t.equal(dp.fromContainer(tcp(there)).verdict, TC.DROP)
    t.same(dp.counted(), { DROP_NO_SERVICE: 1 })
  })

  kernelTest(t, `${name}: a ring that names no usable backend drops`, (t, dp) => {
    const { id } = dp.addService({ vips: [vip], ports: ['80/tcp'], backends: [] })
    const other = dp.addBackend(backend, 99)
    dp.setRing(id, name === 'IPv4' ? { 4: [0, other], 6: [] } : { 4: [], 6: [0, other] })
    t.equal(dp.fromContainer(tcp(there)).verdict, TC.DROP)
    t.same(dp.counted(), { DROP_BAD_SLOT: 1 })
  })

  kernelTest(t, `${name}: a slot without its backend gives way to the next`, (t, dp) => {
    const { id } = dp.addService({ vips: [vip], ports: ['80/tcp'], backends: [] })
    const own = dp.addBackend(backend, id)
    dp.setRing(id, name === 'IPv4' ? { 4: [0, own], 6: [] } : { 4: [], 6: [0, own] })
    for (const sport of [1, 2]) {
      const of = { ...there, sport }
      t.same(dp.fromContainer(tcp(of)).packet, tcp({ ...of, dst: backend }))
    }
    t.same(dp.counted(), {})
  })

  kernelTest(
    t,
    `${name}: fragments to a VIP without a first are dropped, to a backend they pass`,
    (t, dp) => {
      dp.addService({ vips: [vip], backends: [backend] })
      const datagram = udpDatagram({ ...there, payload: Buffer.alloc(64, 'x') })
      for (const [offset, more] of [
        [8, true],
        [32, true],
        [64, false],
      ] as const) {
        const fragment = { offset, more }
        const part = ip({ src: client, dst: vip, fragment }, PROTOCOL.udp, datagram)
        t.equal(dp.fromContainer(part).verdict, TC.DROP)
        const plain = ip({ src: client, dst: backend, fragment }, PROTOCOL.udp, datagram)
        t.equal(dp.fromContainer(plain).verdict, TC.PASS)
      }
      t.same(dp.counted(), { DROP_FRAGMENT: 3 })
    },
  )

  kernelTest(t, `${name}: other protocols to a VIP are dropped`, (t, dp) => {
    dp.addService({ vips: [vip], backends: [backend] })
    const net = { src: client, dst: vip }
    const v6 = name === 'IPv6'
    const frames = [
      ip(net, PROTOCOL.sctp, Buffer.alloc(16)),
      ip(net, 47, Buffer.alloc(16)),
      echo({ ...net, reply: true }),
      icmp({ ...net, type: v6 ? 128 : 8, code: 1 }),
      icmp({ ...net, type: v6 ? 137 : 5, rest: Buffer.alloc(40) }),
    ]
    for (const frame of frames) t.equal(dp.fromContainer(frame).verdict, TC.DROP)
    t.same(dp.counted(), { DROP_PROTOCOL: frames.length })
  })

  kernelTest(t, `${name}: headers shorter than they claim are dropped`, (t, dp) => {
    dp.addService({ vips: [vip], backends: [backend] })
    const net = { src: client, dst: vip }
    const l4 = 14 + base
    const patched = (frame: Buffer, at: number, value: number) => {
      frame.writeUInt16BE(value, at)
      return frame
    }
    const frames = {
      'TCP cut short': ip(net, PROTOCOL.tcp, tcpSegment(there).subarray(0, 19)),
      'UDP cut short': ip(net, PROTOCOL.udp, udpDatagram(there).subarray(0, 7)),
      'a data offset below 5': patched(tcp(there), l4 + 12, 0x4002),
      'a data offset beyond the end': patched(tcp(there), l4 + 12, 0xf002),
      'an IP length beyond the end': patched(tcp(there), base === 20 ? 16 : 18, 1000),
      'a UDP length beyond the end': patched(udp(there), l4 + 4, 100),
      'a UDP length below 8': patched(udp(there), l4 + 4, 7),
      ...(name === 'IPv4'
        ? { 'a header length below 5': patched(tcp(there), 14, 0x4400) }
        : {
            'more extension headers than are stepped over': tcp({
              ...there,
              extensions: Array.from({ length: 5 }, () => ({ type: 60, units: 1 })),
            }),
          }),
    }
    for (const [what, frame] of Object.entries(frames))
      t.equal(dp.fromContainer(frame).verdict, TC.DROP, what)
    t.same(dp.counted(), { DROP_MALFORMED: Object.keys(frames).length })
  })

  kernelTest(t, `${name}: a TCP flow whose backend is gone is reset`, (t, dp) => {
    const service = dp.addService({ vips: [vip], ports: ['80/tcp'], backends: [backend] })
    dp.fromContainer(tcp(there))
    dp.fromContainer(tcp({ ...there, flags: 'A' }))
    dp.removeBackend(service.backends.get(backend) ?? 0)
    const data = { ...there, flags: 'PA', ack: 99, payload: Buffer.from('x') }
    const out = dp.fromContainer(tcp(data))
    t.equal(out.verdict, TC.REDIRECT)
    t.same(out.packet, resetOf(data))
    t.equal(dp.fromContainer(tcp({ ...there, flags: 'R' })).verdict, TC.DROP)
    t.same(dp.counted(), { DROP_BACKEND_GONE: 2, EVENT_REFUSED: 1 })
  })

  kernelTest(t, `${name}: another user of the backend’s id is another backend`, (t, dp) => {
    const service = dp.addService({ vips: [vip], ports: ['80/tcp'], backends: [backend] })
    dp.fromContainer(tcp(there))
    const id = service.backends.get(backend) ?? 0
    const row = dp.map('backends').get(id) as Record<string, number>
    dp.map('backends').set(id, { ...row, incarnation: 1000 })
    t.same(
      dp.fromContainer(tcp({ ...there, flags: 'A', ack: 3 })).packet,
      resetOf({ ...there, flags: 'A', ack: 3 }),
    )
    t.equal(dp.drops('BACKEND_GONE'), 1)
  })
}

kernelTest(
  t,
  'a rewrite that the kernel refuses drops',
  (t, dp) => {
    // The knob holds a flag that no kernel knows; only IPv6 uses it.
    dp.addService({ vips: ['fd09::1'], backends: ['fd01::3'] })
    const of = { src: 'fd01::2', sport: 1, dst: 'fd09::1', dport: 80 }
    t.equal(dp.fromContainer(tcp(of)).verdict, TC.DROP)
    t.same(dp.counted(), { DROP_REWRITE: 1 })
  },
  { rodata: { csum_ipv6_flag: 0x8000n } },
)
