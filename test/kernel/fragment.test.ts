/** Datagrams in fragments: every fragment translated, the checksum of the whole right. */
import t from 'tap'
import { kernelTest, TC } from '../lib/kernel.js'
import {
  CLIENT_MAC,
  concat,
  icmp,
  ip,
  isV6,
  PROTOCOL,
  udpDatagram,
  VIP_MAC,
  type Network,
  type Udp,
} from '../lib/packet.js'

const FAMILIES = [
  { name: 'IPv4', client: '10.1.0.2', vip: '10.9.0.1', backend: '10.1.0.3', other: '10.1.0.4' },
  { name: 'IPv6', client: 'fd01::2', vip: 'fd09::1', backend: 'fd01::3', other: 'fd01::4' },
] as const
const PAYLOAD = Buffer.alloc(4001, 'fragments ')
const PART = 1480

/** The frames that an IP payload becomes. */
function split(network: Network, protocol: number, payload: Buffer): Buffer[] {
  const frames: Buffer[] = []
  for (let offset = 0; offset < payload.length; offset += PART) {
    const fragment = { offset, more: offset + PART < payload.length }
    const part = payload.subarray(offset, offset + PART)
    frames.push(ip({ ...network, fragment }, protocol, part))
  }
  return frames
}

function parts(of: Udp): Buffer[] {
  return split(of, PROTOCOL.udp, udpDatagram(of))
}

for (const { name, client, vip, backend, other } of FAMILIES) {
  const asked = { src: client, sport: 40000, dst: vip, dport: 53, payload: PAYLOAD, id: 0x1234 }
  const ports = ['53:5353/udp']

  kernelTest(
    t,
    `${name}: there and back`,
    (t, dp) => {
      dp.addService({ vips: [vip], ports, backends: [backend, other] })
      const carried = parts({ ...asked, dst: backend, dport: 5353 })
      parts(asked).forEach((frame, index) => {
        const out = dp.fromContainer(frame)
        t.equal(out.verdict, TC.REDIRECT)
        t.same(out.packet, carried[index])
      })
      const reply = { ...asked, src: backend, sport: 5353, dst: client, dport: 40000, id: 7 }
      const heard = parts({ ...reply, src: vip, sport: 53 })
      parts(reply).forEach((frame, index) => {
        const out = dp.toContainer(frame)
        t.equal(out.verdict, TC.PASS)
        t.same(out.packet, heard[index])
      })
      t.same(dp.counted(), {})
    },
    { rodata: { bridge_ifindex: 1 } },
  )

  kernelTest(t, `${name}: of a flow under a substitute port, both ways`, (t, dp) => {
    const two = vip.replace(/1$/, '2')
    const { id } = dp.addService({ vips: [vip], ports, backends: [backend] })
    dp.addVip(two, ['BALANCED'])
    dp.addPort(two, '53:5353/udp', id)
    for (const frame of parts(asked)) dp.fromContainer(frame)
    const again = { ...asked, dst: two, id: 0x1235 }
    const out = parts(again).map((frame) => dp.fromContainer(frame).packet)
    const sport = out[0]?.readUInt16BE(isV6(vip) ? 62 : 34) ?? 0
    t.not(sport, 40000)
    t.same(out, parts({ ...again, dst: backend, dport: 5353, sport }))
    const reply = { ...again, src: backend, sport: 5353, dst: client, dport: sport }
    t.same(
      parts(reply).map((frame) => dp.toContainer(frame).packet),
      parts({ ...reply, src: two, sport: 53, dport: 40000 }),
    )
    t.same(dp.counted(), { EVENT_COLLISION: 1 })
  })

  kernelTest(t, `${name}: of a backend that dials itself`, (t, dp) => {
    dp.addService({ vips: [vip], ports, backends: [backend] })
    const turned = { ethSrc: VIP_MAC, ethDst: CLIENT_MAC }
    const own = { ...asked, src: backend }
    const out = parts(own).map((frame) => dp.fromContainer(frame).packet)
    const sport = out[0]?.readUInt16BE(isV6(vip) ? 62 : 34) ?? 0
    t.same(out, parts({ ...own, ...turned, src: vip, dst: backend, dport: 5353, sport }))
    const reply = { ...own, sport: 5353, dport: sport, id: 8 }
    t.same(
      parts(reply).map((frame) => dp.fromContainer(frame).packet),
      parts({ ...reply, ...turned, src: vip, sport: 53, dst: backend, dport: 40000 }),
    )
    t.same(dp.counted(), {})
  })

  kernelTest(t, `${name}: an echo in fragments is answered`, (t, dp) => {
    dp.addService({ vips: [vip], ports, backends: [backend] })
    const v6 = isV6(vip)
    const message = (net: Network, type: number) => {
      const rest = concat([0x12, 0x34, 0, 1], PAYLOAD)
      return icmp({ ...net, type, rest }).subarray(v6 ? 54 : 34)
    }
    const protocol = v6 ? PROTOCOL.icmp6 : PROTOCOL.icmp
    const ask = { src: client, dst: vip, id: 3 }
    const answer = { src: vip, dst: client, id: 3, ethSrc: VIP_MAC, ethDst: CLIENT_MAC }
    const expected = split(answer, protocol, message(answer, v6 ? 129 : 0))
    split(ask, protocol, message(ask, v6 ? 128 : 8)).forEach((frame, index) => {
      const out = dp.fromContainer(frame)
      t.equal(out.verdict, TC.REDIRECT)
      t.same(out.packet, expected[index])
    })
    t.same(dp.counted(), { EVENT_ECHO: 1 })
  })

  kernelTest(t, `${name}: without its first a fragment is dropped, or none of ours`, (t, dp) => {
    dp.addService({ vips: [vip], ports, backends: [backend] })
    const [first, second, third] = parts(asked)
    if (!first || !second || !third) throw new Error('too few parts')
    t.equal(dp.fromContainer(second).verdict, TC.DROP)
    t.equal(dp.fromContainer(third).verdict, TC.DROP)
    t.same(dp.counted(), { DROP_FRAGMENT: 2 })
    dp.fromContainer(first)
    t.equal(dp.fromContainer(second).verdict, TC.PASS)
    const [, elsewhere] = parts({ ...asked, id: 0x4321 })
    t.equal(dp.fromContainer(elsewhere ?? first).verdict, TC.DROP, 'of another datagram')
    for (const frame of [
      ...parts({ ...asked, src: backend, sport: 5354, dst: client, dport: 40000 }),
      ...parts({ ...asked, src: other, dst: client }),
    ]) {
      const out = dp.toContainer(frame)
      t.equal(out.verdict, TC.PASS)
      t.same(out.packet, frame, 'byte for byte')
    }
    t.equal(dp.drops('FRAGMENT'), 3)
  })

  kernelTest(t, `${name}: of other protocols, of no port, too short`, (t, dp) => {
    dp.addService({ vips: [vip], ports, backends: [backend] })
    const net = { src: client, dst: vip, fragment: { offset: 0, more: true } }
    t.equal(dp.fromContainer(ip(net, PROTOCOL.sctp, Buffer.alloc(64))).verdict, TC.DROP)
    t.equal(dp.fromContainer(ip(net, PROTOCOL.udp, Buffer.alloc(7))).verdict, TC.DROP)
    t.equal(dp.fromContainer(parts({ ...asked, dport: 54 })[0] ?? Buffer.alloc(0)).verdict, TC.DROP)
    t.same(dp.counted(), { DROP_FRAGMENT: 1, DROP_MALFORMED: 1, DROP_NO_PORT: 1 })
  })
}
