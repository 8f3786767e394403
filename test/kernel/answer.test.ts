/** What fairlead answers by itself: ARP, neighbour discovery and echo for VIPs, and only for them. */
import t from 'tap'
import { kernelTest, TC } from '../lib/kernel.js'
import {
  advertisement,
  arp,
  CLIENT_MAC,
  echo,
  icmp,
  ip,
  OTHER_MAC,
  solicitation,
  VIP_MAC,
} from '../lib/packet.js'

const BROADCAST = 'ff:ff:ff:ff:ff:ff'
const NOBODY = '00:00:00:00:00:00'
const VIP4 = '10.1.0.100'
const VIP6 = 'fd01::100'
const SOLICITED_NODE = 'ff02::1:ff00:100'

const request = {
  operation: 'request',
  ethSrc: CLIENT_MAC,
  ethDst: BROADCAST,
  senderMac: CLIENT_MAC,
  senderIp: '10.1.0.2',
  targetMac: NOBODY,
  targetIp: VIP4,
} as const

kernelTest(t, 'an ARP request for a VIP is answered at once', (t, dp) => {
  dp.addVip(VIP4, ['BALANCED'])
  for (const frame of [arp(request), arp({ ...request, ethDst: VIP_MAC, targetMac: VIP_MAC })]) {
    const out = dp.fromContainer(frame)
    t.equal(out.verdict, TC.REDIRECT)
    t.same(
      out.packet,
      arp({
        operation: 'reply',
        ethSrc: VIP_MAC,
        ethDst: CLIENT_MAC,
        senderMac: VIP_MAC,
        senderIp: VIP4,
        targetMac: CLIENT_MAC,
        targetIp: '10.1.0.2',
      }),
    )
  }
  t.same(dp.counted(), { EVENT_ARP: 2 })
})

kernelTest(
  t,
  'the MAC of VIPs is a knob',
  (t, dp) => {
    dp.addVip(VIP4, ['BALANCED'])
    dp.addVip(VIP6, ['BALANCED'])
    t.equal(dp.fromContainer(arp(request)).packet.toString('hex', 6, 12), '0a0b0c0d0e0f')
    const of = { src: 'fd01::2', dst: SOLICITED_NODE, target: VIP6, mac: CLIENT_MAC }
    t.equal(dp.fromContainer(solicitation(of)).packet.toString('hex', 80, 86), '0a0b0c0d0e0f')
  },
  { rodata: { vip_mac: new Uint8Array([10, 11, 12, 13, 14, 15]) } },
)

kernelTest(t, 'other ARP frames pass', (t, dp) => {
  dp.addVip(VIP4, ['BALANCED'])
  dp.addVip('10.1.0.3', ['BACKEND'])
  const frames = {
    'a request for a backend': arp({ ...request, targetIp: '10.1.0.3' }),
    'a request for nobody': arp({ ...request, targetIp: '10.1.0.77' }),
    'a reply': arp({ ...request, operation: 'reply' }),
    'a claim of the VIP by its owner': arp({ ...request, senderIp: VIP4 }),
    'a probe by who wants the VIP': arp({ ...request, senderIp: '0.0.0.0' }),
  }
  for (const [what, frame] of Object.entries(frames)) {
    const out = dp.fromContainer(frame)
    t.equal(out.verdict, TC.PASS, what)
    t.same(out.packet, frame, what)
  }
  const inwards = dp.toContainer(arp(request))
  t.equal(inwards.verdict, TC.PASS, 'a request that comes from outside is not ours to answer')
  t.same(inwards.packet, arp(request))
  t.same(dp.counted(), {})
})

kernelTest(t, 'a neighbour solicitation for a VIP is answered at once', (t, dp) => {
  dp.addVip(VIP6, ['BALANCED'])
  const asked = { src: 'fd01::2', dst: SOLICITED_NODE, target: VIP6, ethDst: '33:33:ff:00:01:00' }
  const answer = advertisement({
    src: VIP6,
    dst: 'fd01::2',
    target: VIP6,
    mac: VIP_MAC,
    ethSrc: VIP_MAC,
    ethDst: CLIENT_MAC,
  })
  const questions = {
    'with the source’s link address': solicitation({ ...asked, mac: CLIENT_MAC }),
    'without it': solicitation(asked),
    'to the VIP itself, as a probe whether it is there': solicitation({
      ...asked,
      dst: VIP6,
      ethDst: VIP_MAC,
    }),
  }
  for (const [what, frame] of Object.entries(questions)) {
    const out = dp.fromContainer(frame)
    t.equal(out.verdict, TC.REDIRECT, what)
    t.same(out.packet, answer, what)
  }
  t.same(dp.counted(), { EVENT_ND: 3 })
})

kernelTest(t, 'other neighbour messages pass', (t, dp) => {
  dp.addVip(VIP6, ['BALANCED'])
  dp.addVip('fd01::3', ['BACKEND'])
  const of = { src: 'fd01::2', dst: SOLICITED_NODE, target: VIP6, mac: CLIENT_MAC }
  const frames = {
    'for a backend': solicitation({ ...of, target: 'fd01::3' }),
    'for nobody': solicitation({ ...of, target: 'fd01::77' }),
    'duplicate address detection': solicitation({ src: '::', dst: SOLICITED_NODE, target: VIP6 }),
    'from beyond the link': solicitation({ ...of, ttl: 254 }),
    'an advertisement': advertisement(of),
    'a truncated one': icmp({ src: 'fd01::2', dst: SOLICITED_NODE, ttl: 255, type: 135 }),
  }
  for (const [what, frame] of Object.entries(frames)) {
    const out = dp.fromContainer(frame)
    t.equal(out.verdict, TC.PASS, what)
    t.same(out.packet, frame, what)
  }
  t.same(dp.counted(), {})
})

for (const [name, client, vip, backend] of [
  ['IPv4', '10.1.0.2', VIP4, '10.1.0.3'],
  ['IPv6', 'fd01::2', VIP6, 'fd01::3'],
] as const) {
  kernelTest(t, `${name}: an echo request to a VIP is answered`, (t, dp) => {
    dp.addService({ vips: [vip], ports: ['80/tcp'], backends: [] })
    for (const body of ['fairlead', 'odd', '', 'x'.repeat(1400)]) {
      const out = dp.fromContainer(echo({ src: client, dst: vip, ttl: 17, body }))
      t.equal(out.verdict, TC.REDIRECT)
      const turned = { src: vip, dst: client, ethSrc: VIP_MAC, ethDst: CLIENT_MAC }
      t.same(out.packet, echo({ ...turned, reply: true, body }), `${body.length} bytes`)
    }
    t.same(dp.counted(), { EVENT_ECHO: 4 })
  })

  kernelTest(t, `${name}: an echo to anybody else passes`, (t, dp) => {
    dp.addService({ vips: [vip], backends: [backend] })
    for (const dst of [backend, vip.replace(/100$/, '200')]) {
      const frame = echo({ src: client, dst, ethDst: OTHER_MAC })
      const out = dp.fromContainer(frame)
      t.equal(out.verdict, TC.PASS)
      t.same(out.packet, frame)
    }
  })

  kernelTest(t, `${name}: an echo without its first fragment is dropped and counted`, (t, dp) => {
    dp.addVip(vip, ['BALANCED'])
    const whole = echo({ src: client, dst: vip, body: 'x'.repeat(64) })
    const payload = whole.subarray(name === 'IPv4' ? 34 : 54)
    const protocol = name === 'IPv4' ? 1 : 58
    for (const [offset, more] of [
      [8, true],
      [32, true],
      [32, false],
    ] as const) {
      const part = ip({ src: client, dst: vip, fragment: { offset, more } }, protocol, payload)
      t.equal(dp.fromContainer(part).verdict, TC.DROP)
    }
    t.same(dp.counted(), { DROP_FRAGMENT: 3 })
  })
}
