/** ICMP errors about translated packets, both ways: whole packets, every checksum made anew. */
import t from 'tap'
import { kernelTest, TC, type ProtocolName } from '../lib/kernel.js'
import {
  checksumFaults,
  CLIENT_MAC,
  icmp,
  ip,
  PROTOCOL,
  tcp,
  tupleOf,
  udp,
  VIP_MAC,
  type Tcp,
  type Udp,
} from '../lib/packet.js'

const FAMILIES = [
  {
    name: 'IPv4',
    client: '10.1.0.2',
    vip: '10.9.0.1',
    two: '10.9.0.2',
    backend: '10.1.0.3',
    router: '192.0.2.1',
    errors: [
      { type: 3, code: 3 },
      { type: 3, code: 4, mtu: 1300 },
      { type: 11, code: 0 },
      { type: 12, code: 0 },
    ],
  },
  {
    name: 'IPv6',
    client: 'fd01::2',
    vip: 'fd09::1',
    two: 'fd09::2',
    backend: 'fd01::3',
    router: 'fd99::1',
    errors: [
      { type: 1, code: 4 },
      { type: 2, code: 0, mtu: 1300 },
      { type: 3, code: 0 },
      { type: 4, code: 1 },
    ],
  },
] as const
const PORT = 40000

type Of = Tcp & Udp
interface Kind {
  readonly type: number
  readonly code: number
  readonly mtu?: number
}
interface Ends {
  readonly src: string
  readonly dst: string
  readonly ethSrc?: string
  readonly ethDst?: string
}

const build: Record<ProtocolName, (of: Of) => Buffer> = { tcp, udp }
const PAYLOAD = Buffer.from('odd')

/** An error that quotes `bytes` of a frame, from its IP header on. */
function errorAbout(ends: Ends, kind: Kind, frame: Buffer, bytes = Infinity): Buffer {
  const head = Buffer.alloc(4)
  head.writeUInt16BE(kind.mtu ?? 0, 2)
  const quoted = frame.subarray(14, Math.min(frame.length, 14 + bytes))
  return icmp({ ...ends, type: kind.type, code: kind.code, rest: Buffer.concat([head, quoted]) })
}

for (const { name, client, vip, two, backend, router, errors } of FAMILIES) {
  const base = name === 'IPv4' ? 20 : 40
  /** Eight bytes, all before and all with a TCP checksum, and the whole. */
  const quotes = [base + 8, base + 16, base + 18, Infinity]
  const family = name === 'IPv4' ? 4 : 6

  for (const protocol of ['tcp', 'udp'] as const) {
    const asked: Of = { src: client, sport: PORT, dst: vip, dport: 80, payload: PAYLOAD }

    for (const aside of [false, true]) {
      const title = `${name} ${protocol}${aside ? ', from a substitute port' : ''}`

      kernelTest(t, `${title}: to the client, about what it sent`, (t, dp) => {
        const { id } = dp.addService({
          vips: [vip],
          ports: [`80:8080/${protocol}`],
          backends: [backend],
        })
        if (aside) {
          dp.addVip(two, ['BALANCED'])
          dp.addPort(two, `80:8080/${protocol}`, id)
          dp.fromContainer(build[protocol]({ ...asked, dst: two }))
        }
        const sent = dp.fromContainer(build[protocol](asked)).packet
        t.equal(tupleOf(sent).sport !== PORT, aside)
        let count = 0
        for (const kind of errors) {
          for (const quote of quotes) {
            for (const [from, seen] of [
              [router, router],
              [backend, vip],
            ] as const) {
              const error = errorAbout({ src: from, dst: client }, kind, sent, quote)
              const out = dp.toContainer(error)
              t.equal(out.verdict, TC.PASS)
              const expected = build[protocol](asked)
              t.same(out.packet, errorAbout({ src: seen, dst: client }, kind, expected, quote))
              t.same(checksumFaults(out.packet), [])
              count++
            }
          }
        }
        t.equal(dp.events('ICMP_ERROR'), count)
        t.same(dp.counted(), {
          EVENT_ICMP_ERROR: count,
          ...(aside && { EVENT_COLLISION: 1 }),
        })
      })

      kernelTest(
        t,
        `${title}: to the backend, about what the VIP sent`,
        (t, dp) => {
          const { id } = dp.addService({
            vips: [vip],
            ports: [`80:8080/${protocol}`],
            backends: [backend],
          })
          if (aside) {
            dp.addVip(two, ['BALANCED'])
            dp.addPort(two, `80:8080/${protocol}`, id)
            dp.fromContainer(build[protocol]({ ...asked, dst: two }))
          }
          const { sport } = tupleOf(dp.fromContainer(build[protocol](asked)).packet)
          const reply: Of = {
            ...{ src: backend, sport: 8080, dst: client, dport: sport },
            ...{ flags: 'SA', payload: PAYLOAD },
          }
          const seen = dp.toContainer(build[protocol](reply)).packet
          let count = 0
          for (const kind of errors) {
            for (const quote of quotes) {
              for (const src of [client, router]) {
                const out = dp.fromContainer(errorAbout({ src, dst: vip }, kind, seen, quote))
                t.equal(out.verdict, TC.REDIRECT)
                const expected = build[protocol](reply)
                t.same(out.packet, errorAbout({ src, dst: backend }, kind, expected, quote))
                t.same(checksumFaults(out.packet), [])
                count++
              }
            }
          }
          t.same(dp.counted(), {
            EVENT_ICMP_ERROR: count,
            ...(aside && { EVENT_COLLISION: 1 }),
          })
        },
        { rodata: { bridge_ifindex: 1 } },
      )
    }

    kernelTest(t, `${name} ${protocol}: of a direct flow under a substitute port`, (t, dp) => {
      dp.addService({ vips: [vip], ports: [`80:8080/${protocol}`], backends: [backend] })
      dp.fromContainer(build[protocol](asked))
      const direct = { ...asked, dst: backend, dport: 8080 }
      const sent = dp.fromContainer(build[protocol](direct)).packet
      const { sport } = tupleOf(sent)
      t.not(sport, PORT)
      for (const kind of errors) {
        const there = dp.toContainer(errorAbout({ src: backend, dst: client }, kind, sent))
        t.equal(there.verdict, TC.PASS)
        t.same(
          there.packet,
          errorAbout({ src: backend, dst: client }, kind, build[protocol](direct)),
        )
        const reply = { ...asked, src: backend, sport: 8080, dst: client, dport: sport, flags: 'A' }
        const seen = dp.toContainer(build[protocol](reply)).packet
        const back = dp.fromContainer(errorAbout({ src: client, dst: backend }, kind, seen))
        t.equal(back.verdict, TC.PASS)
        t.same(back.packet, errorAbout({ src: client, dst: backend }, kind, build[protocol](reply)))
      }
    })

    kernelTest(t, `${name} ${protocol}: of a backend that dials itself`, (t, dp) => {
      dp.addService({ vips: [vip], ports: [`80:8080/${protocol}`], backends: [backend] })
      const own: Of = { ...asked, src: backend }
      const turned = { ethSrc: VIP_MAC, ethDst: CLIENT_MAC }
      const got = dp.fromContainer(build[protocol](own)).packet
      const { sport } = tupleOf(got)
      const answer = { ...own, sport: 8080, dport: sport, flags: 'SA' }
      const heard = dp.fromContainer(build[protocol](answer)).packet
      for (const kind of errors) {
        for (const quote of quotes) {
          const ends = { src: backend, dst: vip }
          const asServer = dp.fromContainer(errorAbout(ends, kind, got, quote))
          const asClient = dp.fromContainer(errorAbout(ends, kind, heard, quote))
          t.equal(asServer.verdict, TC.REDIRECT)
          t.equal(asClient.verdict, TC.REDIRECT)
          const back = { src: vip, dst: backend, ...turned }
          t.same(asServer.packet, errorAbout(back, kind, build[protocol](own), quote))
          t.same(asClient.packet, errorAbout(back, kind, build[protocol](answer), quote))
        }
      }
      t.same(dp.counted(), { EVENT_ICMP_ERROR: 2 * errors.length * quotes.length })
    })
  }

  kernelTest(t, `${name}: what is about no flow`, (t, dp) => {
    dp.addService({ vips: [vip], ports: ['80/tcp'], backends: [backend] })
    dp.fromContainer(tcp({ src: client, sport: PORT, dst: vip, dport: 80 }))
    const [kind] = errors
    const stranger = tcp({ src: vip, sport: 80, dst: client, dport: PORT + 1 })
    const short = errorAbout({ src: client, dst: vip }, kind, stranger, base + 7)
    const other = ip({ src: vip, dst: client }, PROTOCOL.sctp, Buffer.alloc(12))
    const later = { offset: 8, more: false }
    const fragment = ip({ src: vip, dst: client, fragment: later }, PROTOCOL.tcp, Buffer.alloc(24))
    const lost = [
      errorAbout({ src: client, dst: vip }, kind, stranger),
      short,
      errorAbout({ src: client, dst: vip }, kind, other),
      errorAbout({ src: client, dst: vip }, kind, fragment),
    ]
    for (const frame of lost) t.equal(dp.fromContainer(frame).verdict, TC.DROP)
    t.same(dp.counted(), { DROP_ICMP_ERROR: lost.length })
    const ends = { src: router, dst: client }
    for (const frame of [
      errorAbout(ends, kind, tcp({ src: client, sport: PORT, dst: backend, dport: 81 })),
      errorAbout(ends, kind, tcp({ src: client, sport: PORT + 1, dst: backend, dport: 80 })),
      errorAbout(ends, kind, udp({ src: client, sport: PORT, dst: backend, dport: 80 })),
      errorAbout(ends, kind, tcp({ src: client, sport: PORT, dst: backend, dport: 80 }), base + 7),
      errorAbout({ src: client, dst: backend }, kind, stranger),
    ]) {
      for (const out of [dp.toContainer(frame), dp.fromContainer(frame)]) {
        t.equal(out.verdict, TC.PASS)
        t.same(out.packet, frame, 'byte for byte')
      }
    }
    t.equal(dp.flows(family).count() + dp.embryonic(family).count(), 1)
  })

  kernelTest(t, `${name}: to the backend of a flow that is gone`, (t, dp) => {
    const service = dp.addService({ vips: [vip], ports: ['80/tcp'], backends: [backend] })
    dp.fromContainer(tcp({ src: client, sport: PORT, dst: vip, dport: 80 }))
    dp.removeBackend(service.backends.get(backend) ?? 0)
    const seen = tcp({ src: vip, sport: 80, dst: client, dport: PORT, flags: 'SA' })
    const out = dp.fromContainer(errorAbout({ src: client, dst: vip }, errors[0], seen))
    t.equal(out.verdict, TC.DROP)
    t.same(dp.counted(), { DROP_ICMP_ERROR: 1 })
  })

  kernelTest(t, `${name}: about a first fragment`, (t, dp) => {
    dp.addService({ vips: [vip], ports: ['53/udp'], backends: [backend] })
    dp.fromContainer(udp({ src: client, sport: PORT, dst: vip, dport: 53 }))
    const first = (dst: string) => {
      const fragment = { offset: 0, more: true }
      return udp({ src: client, sport: PORT, dst, dport: 53, payload: PAYLOAD, fragment, id: 9 })
    }
    const [kind] = errors
    const ends = { src: router, dst: client }
    const out = dp.toContainer(errorAbout(ends, kind, first(backend)))
    t.same(out.packet, errorAbout(ends, kind, first(vip)))
  })
}

kernelTest(t, 'a quoted UDP datagram without a checksum stays without', (t, dp) => {
  const { client, vip, backend, errors } = FAMILIES[0]
  dp.addService({ vips: [vip], ports: ['53:54/udp'], backends: [backend] })
  const of = { src: client, sport: PORT, dst: vip, dport: 53, unchecked: true }
  const sent = dp.fromContainer(udp(of)).packet
  const out = dp.toContainer(errorAbout({ src: backend, dst: client }, errors[0], sent))
  t.same(out.packet, errorAbout({ src: vip, dst: client }, errors[0], udp(of)))
})

kernelTest(t, 'options of the quoted packet are stepped over', (t, dp) => {
  const { client, vip, backend, router, errors } = FAMILIES[0]
  dp.addService({ vips: [vip], ports: ['80:8080/tcp'], backends: [backend] })
  const of = { src: client, sport: 7, dst: vip, dport: 80, options: Buffer.alloc(8, 1) }
  const sent = dp.fromContainer(tcp(of)).packet
  const out = dp.toContainer(errorAbout({ src: router, dst: client }, errors[1], sent, 36))
  t.same(out.packet, errorAbout({ src: router, dst: client }, errors[1], tcp(of), 36))
})
