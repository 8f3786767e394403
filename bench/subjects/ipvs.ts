/** IPVS: in the kernel, led by addresses and ports or by marks. */
import type { Namespace } from '../../test/lib/netns.js'
import { PLACES, PORT, type Stage } from '../frame/stage.js'
import type { Demand, Shape, Subject } from '../frame/subject.js'
import { fails } from './commands.js'
import { otherVip } from './others.js'

const MARK = '1'

async function unavailable(): Promise<string | undefined> {
  return (await fails('ipvsadm', ['-L', '-n'])) && 'the kernel has no IPVS, or ipvsadm is missing'
}

async function unavailableMarked(): Promise<string | undefined> {
  return (await unavailable()) ?? (await fails('iptables-legacy', ['-t', 'mangle', '-L', '-n']))
}

function restore(space: Namespace, lines: readonly string[]): Promise<unknown> {
  return space.run('ipvsadm', ['-R'], { input: `${lines.join('\n')}\n`, timeoutMs: 300_000 })
}

/** One forwarding address for both protocols. */
function byAddress(vip: string, backends: readonly string[], how: string): string[] {
  return ['-t', '-u'].flatMap((protocol) => [
    `-A ${protocol} ${vip}:${PORT} -s rr`,
    ...backends.map((one) => `-a ${protocol} ${vip}:${PORT} -r ${one}:${PORT} ${how}`),
  ])
}

async function own({ balancer }: Stage): Promise<void> {
  await balancer.ip('address', 'add', `${PLACES.vip}/32`, 'dev', 'lo')
}

async function mark({ balancer }: Stage): Promise<void> {
  for (const protocol of ['tcp', 'udp'])
    await balancer.run('iptables-legacy', [
      ...['-t', 'mangle', '-A', 'PREROUTING', '-d', `${PLACES.vip}/32`, '-p', protocol],
      ...['--dport', `${PORT}`, '-j', 'MARK', '--set-mark', MARK],
    ])
}

function clear({ balancer }: Stage) {
  return {
    tearDown: async () => {
      await balancer.run('ipvsadm', ['-C'])
    },
  }
}

function nat(shape: Shape): Subject {
  return {
    name: shape === 'local' ? 'ipvs-nat' : 'ipvs-nat-wire',
    title: shape === 'local' ? 'IPVS NAT' : 'IPVS NAT, to the wire',
    what: 'ipvsadm, rr, masquerading (-m), TCP and UDP',
    family: 'ipvs',
    shape,
    ...(shape === 'wire' && { oneWay: true }),
    unavailable,
    async setUp(stage, { services, backends = 1 }: Demand) {
      await own(stage)
      const others = Array.from({ length: services - 1 }, (_, at) =>
        byAddress(otherVip(at), [stage.address], '-m'),
      )
      await restore(stage.balancer, [
        ...others.flat(),
        ...byAddress(PLACES.vip, stage.backends(backends), '-m'),
      ])
      return clear(stage)
    },
  }
}

function direct(shape: Shape): Subject {
  return {
    name: shape === 'local' ? 'ipvs-dr' : 'ipvs-dr-wire',
    title: shape === 'local' ? 'IPVS DR' : 'IPVS DR, to the wire',
    what: 'ipvsadm, rr, direct routing (-g): packets go one way',
    family: 'ipvs',
    shape,
    oneWay: true,
    unavailable,
    async setUp(stage) {
      await own(stage)
      await stage.backend.ip('address', 'add', `${PLACES.vip}/32`, 'dev', 'lo')
      await restore(stage.balancer, byAddress(PLACES.vip, [stage.address], '-g'))
      return clear(stage)
    },
  }
}

const fwmark: Subject = {
  name: 'ipvs-fwmark',
  title: 'IPVS by mark',
  what: 'iptables marks packets to the VIP in mangle/PREROUTING; IPVS takes the mark, rr, -m',
  family: 'ipvs',
  shape: 'local',
  unavailable: unavailableMarked,
  async setUp(stage) {
    await own(stage)
    await mark(stage)
    await restore(stage.balancer, [`-A -f ${MARK} -s rr`, `-a -f ${MARK} -r ${stage.address}:0 -m`])
    return clear(stage)
  },
}

const swarm: Subject = {
  name: 'ipvs-swarm',
  title: 'IPVS as Swarm has it',
  what: 'as by mark, with net.ipv4.vs.conntrack=1 and SNAT of what IPVS carries (-m ipvs --ipvs)',
  family: 'ipvs',
  shape: 'local',
  unavailable: unavailableMarked,
  async setUp(stage, demand) {
    const { balancer } = stage
    const inForce = await fwmark.setUp(stage, demand)
    await balancer.sysctl('net.ipv4.vs.conntrack', '1')
    await balancer.run('iptables-legacy', [
      ...['-t', 'nat', '-A', 'POSTROUTING', '-d', PLACES.subnet, '-m', 'ipvs', '--ipvs'],
      ...['-j', 'SNAT', '--to-source', PLACES.gateway],
    ])
    return inForce
  },
}

export const ipvs: readonly Subject[] = [
  nat('local'),
  fwmark,
  swarm,
  direct('local'),
  nat('wire'),
  direct('wire'),
]
