/**
 * Packets whose device has summed them (CHECKSUM_COMPLETE), as some NICs and a tunnel's far end
 * leave them. After each run the kernel compares `skb->csum` with the packet: what translation did
 * to one and not to the other would be told as a fault of the hardware.
 */
import { release } from 'node:os'
import { BpfError, probe } from 'libbpf-ts'
import t from 'tap'
import {
  kernelTest,
  TC,
  type Datapath,
  type KernelTest,
  type Options,
  type ProtocolName,
} from '../lib/kernel.js'
import { checksumFaults, icmp, ip, PROTOCOL, tcp, udp, udpDatagram } from '../lib/packet.js'
import type { Tcp, Udp } from '../lib/packet.js'

const BPF_F_IPV6 = 1n << 7n
const COMPLETE: Options = {
  checksumComplete: true,
  rodata: { csum_ipv6_flag: BPF_F_IPV6, bridge_ifindex: 1 },
}
const FAMILIES = [
  {
    ...{ name: 'IPv4', client: '10.1.0.2', one: '10.9.0.1', two: '10.9.0.2' },
    ...{ backend: '10.1.0.3', tooBig: { type: 3, code: 4 } },
  },
  {
    ...{ name: 'IPv6', client: 'fd01::2', one: 'fd09::1', two: 'fd09::2' },
    ...{ backend: 'fd01::3', tooBig: { type: 2, code: 0 } },
  },
] as const

type Of = Tcp & Udp
const build: Record<ProtocolName, (of: Of) => Buffer> = { tcp, udp }

/** Since when test runs make such packets, and since when helpers take the flag. */
const SINCE = [6, 17] as const
const CANNOT = 'this kernel knows no such packets in tests (EINVAL), or has no BPF_F_IPV6'

/** Only an unknown flag of the test run means that the kernel cannot: EINVAL. */
function supported(dp: Datapath): boolean {
  try {
    dp.fromContainer(Buffer.alloc(64))
  } catch (error) {
    if (error instanceof BpfError && error.code === 'EINVAL') return false
    throw error
  }
  return probe().csumIpv6Flag
}

function isRecent(): boolean {
  const [major = 0, minor = 0] = release().split('.').map(Number)
  return major > SINCE[0] || (major === SINCE[0] && minor >= SINCE[1])
}

function completeTest(title: string, body: KernelTest): void {
  kernelTest(
    t,
    title,
    (t, dp) => {
      if (supported(dp)) return body(t, dp)
      t.notOk(isRecent(), CANNOT)
    },
    COMPLETE,
  )
}

for (const { name, client, one, two, backend, tooBig } of FAMILIES) {
  for (const protocol of ['tcp', 'udp'] as const) {
    const there: Of = {
      src: client,
      sport: 40000,
      dst: one,
      dport: 80,
      payload: Buffer.from('odd'),
    }
    const serve = (dp: Datapath) => {
      const ports = [`80:8080/${protocol}`]
      const { id } = dp.addService({ vips: [one], ports, backends: [backend] })
      dp.addVip(two, ['BALANCED'])
      dp.addPort(two, ports[0] ?? '', id)
    }
    /** The packet as the backend gets it. */
    const send = (dp: Datapath, of: Of) => {
      const out = dp.fromContainer(build[protocol](of))
      return { ...out, sport: out.packet.readUInt16BE(name === 'IPv4' ? 34 : 54) }
    }

    completeTest(`${name} ${protocol}: there and back, also from a substitute port`, (t, dp) => {
      serve(dp)
      for (const dst of [one, two]) {
        for (const flags of ['S', 'A', 'PA']) {
          const { verdict, packet, sport } = send(dp, { ...there, dst, flags })
          t.equal(verdict, TC.REDIRECT)
          t.same(checksumFaults(packet), [])
          const back = { src: backend, sport: 8080, dst: client, dport: sport, flags: 'A' }
          const reply = dp.toContainer(build[protocol](back))
          t.same(reply.packet, build[protocol]({ ...back, src: dst, sport: 80, dport: 40000 }))
        }
      }
      t.same(dp.counted(), { EVENT_COLLISION: 1 })
    })

    completeTest(`${name} ${protocol}: errors about it, both ways`, (t, dp) => {
      serve(dp)
      const rest = (frame: Buffer) => Buffer.concat([Buffer.alloc(4), frame.subarray(14)])
      const { packet, sport } = send(dp, there)
      const toClient = icmp({ src: backend, dst: client, ...tooBig, rest: rest(packet) })
      t.same(checksumFaults(dp.toContainer(toClient).packet), [])
      const back = { src: backend, sport: 8080, dst: client, dport: sport }
      const seen = dp.toContainer(build[protocol](back)).packet
      const toBackend = icmp({ src: client, dst: one, ...tooBig, rest: rest(seen) })
      t.same(checksumFaults(dp.fromContainer(toBackend).packet), [])
      t.same(dp.counted(), { EVENT_ICMP_ERROR: 2 })
    })

    completeTest(`${name} ${protocol}: a backend that dials itself`, (t, dp) => {
      serve(dp)
      const { packet, sport } = send(dp, { ...there, src: backend })
      t.same(checksumFaults(packet), [])
      const answer = { src: backend, sport: 8080, dst: one, dport: sport, flags: 'SA' }
      t.same(checksumFaults(send(dp, answer).packet), [])
    })
  }

  completeTest(`${name}: a datagram in fragments, both ways`, (t, dp) => {
    dp.addService({ vips: [one], ports: ['53:5353/udp'], backends: [backend] })
    const parts = (of: Of) => {
      const datagram = udpDatagram({ ...of, payload: Buffer.alloc(88, 'odd') })
      return [0, 48].map((offset) =>
        ip(
          { ...of, id: 7, fragment: { offset, more: offset === 0 } },
          PROTOCOL.udp,
          datagram.subarray(offset, offset + 48),
        ),
      )
    }
    const there = { src: client, sport: 40000, dst: one, dport: 53 }
    const back = { src: backend, sport: 5353, dst: client, dport: 40000 }
    t.same(
      parts(there).map((part) => dp.fromContainer(part).packet),
      parts({ ...there, dst: backend, dport: 5353 }),
    )
    t.same(
      parts(back).map((part) => dp.toContainer(part).packet),
      parts({ ...back, src: one, sport: 53 }),
    )
    t.same(dp.counted(), {})
  })
}

kernelTest(
  t,
  'without the flag for IPv6 the sum is spoilt, so this would be seen',
  (t, dp) => {
    if (!supported(dp)) {
      t.notOk(isRecent(), CANNOT)
      return
    }
    dp.addService({ vips: ['fd09::1'], backends: ['fd01::3'] })
    const of = { src: 'fd01::2', sport: 1, dst: 'fd09::1', dport: 80 }
    t.throws(() => dp.fromContainer(tcp(of)), { code: 'EBADMSG' })
  },
  { checksumComplete: true },
)
