/** Packets of a flow: translated there and back, counted, and everything else left alone. */
import t from 'tap'
import { kernelTest, TC } from '../lib/kernel.js'
import {
  arp,
  CLIENT_MAC,
  concat,
  echo,
  icmp,
  ip,
  onesSum,
  PROTOCOL,
  tcp,
  udp,
} from '../lib/packet.js'

const FAMILIES = [
  { name: 'IPv4', client: '10.1.0.2', vip: '10.9.0.1', backend: '10.1.0.3', l3: 20 },
  { name: 'IPv6', client: 'fd01::2', vip: 'fd09::1', backend: 'fd01::3', l3: 40 },
] as const
const BRIDGED = { rodata: { bridge_ifindex: 1 } }

for (const { name, client, vip, backend, l3 } of FAMILIES) {
  kernelTest(
    t,
    `${name}: a TCP flow there and back`,
    (t, dp) => {
      const service = dp.addService({ vips: [vip], ports: ['80/tcp'], backends: [backend] })
      const there = { src: client, sport: 40000, dst: vip, dport: 80 }
      const back = { src: backend, sport: 80, dst: client, dport: 40000 }
      const payload = Buffer.from('GET / HTTP/1.0\r\n\r\n!')
      let bytesIn = 0
      for (const more of [{}, { flags: 'A' }, { flags: 'PA', payload }, { flags: 'FA' }]) {
        const out = dp.fromContainer(tcp({ ...there, ...more }))
        t.equal(out.verdict, TC.REDIRECT)
        t.same(out.packet, tcp({ ...there, ...more, dst: backend }))
        bytesIn += l3 + 20 + ('payload' in more ? payload.length : 0)
      }
      const reply = { flags: 'SA', seq: 7, ack: 1001, tcpOptions: Buffer.from([2, 4, 5, 0xb4]) }
      const out = dp.toContainer(tcp({ ...back, ...reply }))
      t.equal(out.verdict, TC.PASS)
      t.same(out.packet, tcp({ ...back, ...reply, src: vip }))
      const id = service.backends.get(backend) ?? 0
      t.same(dp.traffic(id), {
        packetsIn: 4,
        bytesIn,
        packetsOut: 1,
        bytesOut: l3 + 24,
        connections: 1,
      })
      t.same(dp.counted(), {})
    },
    BRIDGED,
  )

  // Test runs make no frames whose tag the device has taken off already (vlan_present).
  kernelTest(t, `${name}: frames with a VLAN tag pass untouched, counted nowhere`, (t, dp) => {
    const { backends } = dp.addService({ vips: [vip], ports: ['80/tcp'], backends: [backend] })
    const there = { src: client, sport: 40000, dst: vip, dport: 80 }
    const back = { src: backend, sport: 80, dst: client, dport: 40000, flags: 'SA' }
    for (const ethertype of [0x81, 0x88]) {
      const tag = (frame: Buffer) =>
        concat(
          frame.subarray(0, 12),
          [ethertype, ethertype === 0x81 ? 0 : 0xa8, 0, 5],
          frame.subarray(12),
        )
      for (const known of [false, true]) {
        const asked = tag(tcp(there))
        t.same(dp.fromContainer(asked), { verdict: TC.PASS, packet: asked }, `known: ${known}`)
        const answered = tag(tcp(back))
        t.same(dp.toContainer(answered), { verdict: TC.PASS, packet: answered }, `known: ${known}`)
        if (!known) dp.fromContainer(tcp(there))
      }
    }
    t.equal(dp.traffic(backends.get(backend) ?? 0).packetsIn, 2, 'those without one alone')
    t.same(dp.counted(), {})
  })

  kernelTest(t, `${name}: a segment outside the window is translated like any other`, (t, dp) => {
    dp.addService({ vips: [vip], ports: ['80/tcp'], backends: [backend] })
    const there = { src: client, sport: 40000, dst: vip, dport: 80 }
    const back = { src: backend, sport: 80, dst: client, dport: 40000 }
    for (const flags of ['S', 'A']) dp.fromContainer(tcp({ ...there, flags }))
    for (const seq of [0, 0x7fffffff, 0xfffffff0]) {
      const stray = { flags: 'PA', seq, ack: seq, window: 0, payload: Buffer.from('x') }
      const out = dp.fromContainer(tcp({ ...there, ...stray }))
      t.same(out.packet, tcp({ ...there, ...stray, dst: backend }))
      const reply = dp.toContainer(tcp({ ...back, ...stray }))
      t.same(reply.packet, tcp({ ...back, ...stray, src: vip }))
    }
    t.same(dp.counted(), {})
  })

  kernelTest(t, `${name}: UDP, to another port of the backend`, (t, dp) => {
    dp.addService({ vips: [vip], ports: ['53:5353/udp'], backends: [backend] })
    const there = { src: client, sport: 5000, dst: vip, dport: 53, payload: Buffer.from('odd') }
    t.same(
      dp.fromContainer(udp(there)).packet,
      udp({ ...there, dst: backend, dport: 5353 }),
      'the length is odd, too',
    )
    const back = { src: backend, sport: 5353, dst: client, dport: 5000, payload: Buffer.from('x') }
    t.same(dp.toContainer(udp(back)).packet, udp({ ...back, src: vip, sport: 53 }))
    const stranger = udp({ ...back, sport: 5354 })
    t.same(dp.toContainer(stranger).packet, stranger, 'another port of the backend is itself')
    t.same(dp.counted(), {})
  })

  kernelTest(t, `${name}: the any-port VIP keeps the port that was dialled`, (t, dp) => {
    dp.addService({ vips: [vip], backends: [backend] })
    const of = { src: client, sport: 5000, dst: vip, dport: 12345 }
    t.same(dp.fromContainer(udp(of)).packet, udp({ ...of, dst: backend }))
    t.same(dp.fromContainer(tcp(of)).packet, tcp({ ...of, dst: backend }))
  })

  kernelTest(t, `${name}: a port of its own goes before any port`, (t, dp) => {
    const any = dp.addService({ vips: [vip], backends: [backend] })
    const other = backend.replace(/3$/, '4')
    const own = dp.addService({ vips: [], ports: [], backends: [other] })
    dp.addPort(vip, '80:8080/tcp', own.id)
    const of = { src: client, sport: 5000, dst: vip, dport: 80 }
    t.same(dp.fromContainer(tcp(of)).packet, tcp({ ...of, dst: other, dport: 8080 }))
    t.same(dp.fromContainer(udp(of)).packet, udp({ ...of, dst: backend }))
    t.equal(dp.traffic(any.backends.get(backend) ?? 0).connections, 1)
  })

  kernelTest(t, `${name}: segmentation offload counts as what it will be`, (t, dp) => {
    const service = dp.addService({ vips: [vip], ports: ['80/tcp'], backends: [backend] })
    const of = { src: client, sport: 40000, dst: vip, dport: 80 }
    dp.fromContainer(tcp(of))
    const payload = Buffer.alloc(3000, 'x')
    dp.fromContainer(tcp({ ...of, flags: 'A', payload }), { gsoSegments: 3 })
    const counted = dp.traffic(service.backends.get(backend) ?? 0)
    t.equal(counted.packetsIn, 1 + 3)
    t.equal(counted.bytesIn, l3 + 20 + 3000 + 3 * (l3 + 20))
  })

  kernelTest(t, `${name}: what is not for a VIP passes byte for byte`, (t, dp) => {
    dp.addService({ vips: [vip], ports: ['80/tcp'], backends: [backend] })
    const other = client.replace(/2$/, '9')
    const from = { src: client, dst: other }
    const payload = Buffer.from('plain')
    const frames = {
      syn: tcp({ ...from, sport: 1, dport: 80 }),
      data: tcp({ ...from, sport: 1, dport: 80, flags: 'PA', payload }),
      udp: udp({ ...from, sport: 1, dport: 80, payload }),
      echo: echo(from),
      sctp: ip(from, PROTOCOL.sctp, Buffer.alloc(12)),
      fragment: ip({ ...from, fragment: { offset: 8, more: true } }, PROTOCOL.udp, payload),
      'TCP shorter than its header': ip(from, PROTOCOL.tcp, Buffer.alloc(10)),
      'a data segment to a backend itself': tcp({
        src: client,
        dst: backend,
        sport: 1,
        dport: 80,
        flags: 'A',
      }),
      'an echo to a backend itself': echo({ src: client, dst: backend }),
      'sctp to a backend itself': ip(
        { src: client, dst: backend },
        PROTOCOL.sctp,
        Buffer.alloc(12),
      ),
      error: icmp({ ...from, type: client.includes(':') ? 1 : 3, rest: Buffer.alloc(40) }),
    }
    for (const [what, frame] of Object.entries(frames)) {
      for (const direction of ['fromContainer', 'toContainer'] as const) {
        const out = dp[direction](frame)
        t.equal(out.verdict, TC.PASS, `${what}, ${direction}`)
        t.same(out.packet, frame, `${what}, ${direction}`)
      }
    }
    t.same(dp.counted(), {})
    t.equal(dp.flows(client.includes(':') ? 6 : 4).count(), 0)
  })

  kernelTest(t, `${name}: TCP and UDP of one port are two flows`, (t, dp) => {
    dp.addService({ vips: [vip], ports: ['80/tcp', '80/udp'], backends: [backend] })
    const of = { src: client, sport: 7, dst: vip, dport: 80 }
    t.same(dp.fromContainer(tcp(of)).packet, tcp({ ...of, dst: backend }))
    t.same(dp.fromContainer(udp(of)).packet, udp({ ...of, dst: backend }))
    t.equal(dp.events('COLLISION'), 0)
  })
}

// In IPv6 tunnels may send such (RFC 6935).
for (const [name, client, vip, backend] of [
  ['IPv4', '10.1.0.2', '10.9.0.1', '10.1.0.3'],
  ['IPv6', 'fd01::2', 'fd09::1', 'fd01::3'],
] as const) {
  kernelTest(t, `${name}: UDP without a checksum stays without`, (t, dp) => {
    dp.addService({ vips: [vip], ports: ['53:54/udp'], backends: [backend] })
    const of = { src: client, sport: 5000, dst: vip, dport: 53, unchecked: true }
    t.same(dp.fromContainer(udp(of)).packet, udp({ ...of, dst: backend, dport: 54 }))
    const back = { src: backend, sport: 54, dst: client, dport: 5000, unchecked: true }
    t.same(dp.toContainer(udp(back)).packet, udp({ ...back, src: vip, sport: 53 }))
  })
}

kernelTest(t, 'a UDP checksum that becomes 0 is written as 0xffff', (t, dp) => {
  for (const [client, vip, backend] of [
    ['10.1.0.2', '10.9.0.1', '10.1.0.3'],
    ['fd01::2', 'fd09::1', 'fd01::3'],
  ] as const) {
    dp.addService({ vips: [vip], ports: ['53/udp'], backends: [backend] })
    const of = { src: client, sport: 5000, dst: vip, dport: 53 }
    const wanted = { ...of, dst: backend }
    // The payload that makes up for the rest of the sum.
    const zero = udp({ ...wanted, payload: Buffer.from([0, 0]) })
    const payload = zero.subarray(-4, -2)
    const expected = udp({ ...wanted, payload })
    t.equal(expected.readUInt16BE(expected.length - 4), 0xffff, 'the test makes what it means to')
    t.same(dp.fromContainer(udp({ ...of, payload })).packet, expected)
  }
})

kernelTest(t, 'IPv4 options and IPv6 extension headers are stepped over', (t, dp) => {
  dp.addService({
    vips: ['10.9.0.1', 'fd09::1'],
    ports: ['80:8080/tcp'],
    backends: ['10.1.0.3', 'fd01::3'],
  })
  const four = {
    src: '10.1.0.2',
    sport: 5,
    dst: '10.9.0.1',
    dport: 80,
    options: Buffer.alloc(8, 1),
  }
  const now4 = { dst: '10.1.0.3', dport: 8080 }
  t.same(dp.fromContainer(tcp(four)).packet, tcp({ ...four, ...now4 }))
  t.same(
    dp.fromContainer(tcp({ ...four, flags: 'A' })).packet,
    tcp({ ...four, ...now4, flags: 'A' }),
  )
  const extensions = [
    { type: 0, units: 1 },
    { type: 43, units: 2 },
    { type: 60, units: 1 },
  ]
  const six = { src: 'fd01::2', sport: 5, dst: 'fd09::1', dport: 80, extensions }
  const now6 = { dst: 'fd01::3', dport: 8080 }
  t.same(dp.fromContainer(tcp(six)).packet, tcp({ ...six, ...now6 }))
  t.same(dp.fromContainer(tcp({ ...six, flags: 'A' })).packet, tcp({ ...six, ...now6, flags: 'A' }))
})

kernelTest(t, 'a backend behind a router is left to the stack', (t, dp) => {
  const backends = ['10.2.0.3', 'fd02::3']
  dp.addService({ vips: ['10.9.0.1', 'fd09::1'], ports: ['80/tcp'], backends, onLink: false })
  for (const [client, vip, backend] of [
    ['10.1.0.2', '10.9.0.1', '10.2.0.3'],
    ['fd01::2', 'fd09::1', 'fd02::3'],
  ] as const) {
    const of = { src: client, sport: 5, dst: vip, dport: 80 }
    const out = dp.fromContainer(tcp(of))
    t.equal(out.verdict, TC.PASS)
    t.same(out.packet, tcp({ ...of, dst: backend }))
  }
})

kernelTest(
  t,
  'a frame to the MAC of VIPs becomes the bridge’s when routing has to take it',
  (t, dp) => {
    const backends = ['10.2.0.3', 'fd02::3']
    dp.addService({ vips: ['10.9.0.1', 'fd09::1'], ports: ['80/tcp'], backends, onLink: false })
    for (const [client, vip, backend] of [
      ['10.1.0.2', '10.9.0.1', '10.2.0.3'],
      ['fd01::2', 'fd09::1', 'fd02::3'],
    ] as const) {
      const of = { src: client, sport: 5, dst: vip, dport: 80 }
      const out = dp.fromContainer(tcp(of))
      t.equal(out.verdict, TC.PASS)
      t.same(out.packet, tcp({ ...of, dst: backend, ethDst: '02:00:00:00:00:bb' }))
      const gateway = { ...of, flags: 'A', ethDst: '02:00:00:00:00:99' }
      t.same(dp.fromContainer(tcp(gateway)).packet, tcp({ ...gateway, dst: backend }))
    }
  },
  { rodata: { bridge_ifindex: 1, bridge_mac: new Uint8Array([2, 0, 0, 0, 0, 0xbb]) } },
)

kernelTest(t, 'frames that are no IP pass', (t, dp) => {
  const reply = arp({
    operation: 'reply',
    ethSrc: CLIENT_MAC,
    ethDst: CLIENT_MAC,
    senderMac: CLIENT_MAC,
    senderIp: '10.1.0.2',
    targetMac: CLIENT_MAC,
    targetIp: '10.1.0.3',
  })
  const lldp = Buffer.concat([Buffer.alloc(12, 1), Buffer.from([0x88, 0xcc]), Buffer.alloc(50)])
  for (const frame of [reply, lldp]) {
    for (const out of [dp.fromContainer(frame), dp.toContainer(frame)]) {
      t.equal(out.verdict, TC.PASS)
      t.same(out.packet, frame)
    }
  }
})

t.test('the test’s own sum is that of RFC 1071, section 3', (t) => {
  const example = Uint8Array.from([0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])
  t.equal(onesSum(example), 0xddf2)
  t.end()
})
