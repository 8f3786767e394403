/** DNAT by conntrack, in the shapes that kube-proxy gives its rules, without its filters. */
import { PLACES, PORT, type Stage } from '../frame/stage.js'
import type { Demand, Subject } from '../frame/subject.js'
import { fails } from './commands.js'
import { otherVip } from './others.js'

const PROTOCOLS = ['tcp', 'udp'] as const
/** What kube-proxy marks packets with that it will masquerade. */
const MASQUERADE = '0x4000'

interface Rule {
  readonly vip: string
  readonly protocol: string
  readonly id: string
  /** A chain each. */
  readonly backends: readonly string[]
}

/** @param backends of the last service; the others have the first of them */
function rules(services: number, backends: readonly string[]): Rule[] {
  const vips = [...Array.from({ length: services - 1 }, (_, at) => otherVip(at)), PLACES.vip]
  return vips.flatMap((vip, at) =>
    PROTOCOLS.map((protocol) => ({
      ...{ vip, protocol, id: `${at}-${protocol}` },
      backends: vip === PLACES.vip ? backends : backends.slice(0, 1),
    })),
  )
}

/** A map leads to a chain a service, which draws one of a chain a backend. */
export function nftRules(services: number, backends: readonly string[]): string {
  const all = rules(services, backends)
  const elements = all.map(
    ({ vip, protocol, id }) => `${vip} . ${protocol} . ${PORT} : goto service-${id}`,
  )
  return [
    'table ip kube-proxy {',
    ...all.flatMap(({ protocol, id, backends: own }) => [
      ...own.map(
        (backend, at) =>
          `chain endpoint-${id}-${at} { meta l4proto ${protocol} dnat to ${backend}:${PORT}; }`,
      ),
      `chain service-${id} { numgen random mod ${own.length} vmap { ${own
        .map((_, at) => `${at} : goto endpoint-${id}-${at}`)
        .join(', ')} }; }`,
    ]),
    'map service-ips {',
    'type ipv4_addr . inet_proto . inet_service : verdict;',
    `elements = { ${elements.join(', ')} }`,
    '}',
    'chain services { ip daddr . meta l4proto . th dport vmap @service-ips; }',
    'chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }',
    'chain masquerading {',
    `meta mark & ${MASQUERADE} != ${MASQUERADE} return;`,
    'masquerade fully-random;',
    '}',
    'chain nat-postrouting { type nat hook postrouting priority srcnat; jump masquerading; }',
    '}',
    '',
  ].join('\n')
}

/** One service besides so many. */
export function nftMore(services: number, backend: string): string {
  return PROTOCOLS.flatMap((protocol) => {
    const id = `more-${services}-${protocol}`
    const key = `${otherVip(services)} . ${protocol} . ${PORT}`
    return [
      `add chain ip kube-proxy endpoint-${id} { meta l4proto ${protocol} dnat to ${backend}:${PORT}; }`,
      `add chain ip kube-proxy service-${id} { numgen random mod 1 vmap { 0 : goto endpoint-${id} }; }`,
      `add element ip kube-proxy service-ips { ${key} : goto service-${id} }`,
      '',
    ]
  }).join('\n')
}

/** Input of iptables-restore --noflush: one service besides so many. */
export function iptablesMore(services: number, backend: string): string {
  const chains = PROTOCOLS.map((protocol) => ({
    protocol,
    service: `KUBE-SVC-MORE-${services}-${protocol.toUpperCase()}`,
    match: `-p ${protocol} -m ${protocol}`,
  }))
  return [
    '*nat',
    ...chains.map(({ service }) => `:${service} - [0:0]`),
    ...chains.flatMap(({ service, match }) => [
      `-A KUBE-SERVICES -d ${otherVip(services)}/32 ${match} --dport ${PORT} -j ${service}`,
      `-A ${service} ${match} -j DNAT --to-destination ${backend}:${PORT}`,
    ]),
    'COMMIT',
    '',
  ].join('\n')
}

/** Input of iptables-restore: a rule a service in one chain, a chain a service, a chain a backend. */
export function iptablesRules(services: number, backends: readonly string[]): string {
  const all = rules(services, backends)
  const service = ({ id }: Rule) => `KUBE-SVC-${id.toUpperCase()}`
  const endpoint = ({ id }: Rule, at: number) => `KUBE-SEP-${id.toUpperCase()}-${at}`
  return [
    '*nat',
    ':KUBE-SERVICES - [0:0]',
    ':KUBE-POSTROUTING - [0:0]',
    ...all.flatMap((rule) => [
      `:${service(rule)} - [0:0]`,
      ...rule.backends.map((_, at) => `:${endpoint(rule, at)} - [0:0]`),
    ]),
    '-A PREROUTING -j KUBE-SERVICES',
    '-A POSTROUTING -j KUBE-POSTROUTING',
    `-A KUBE-POSTROUTING -m mark ! --mark ${MASQUERADE}/${MASQUERADE} -j RETURN`,
    '-A KUBE-POSTROUTING -j MASQUERADE',
    ...all.flatMap((rule) => {
      const { vip, protocol } = rule
      const match = `-p ${protocol} -m ${protocol}`
      return [
        `-A KUBE-SERVICES -d ${vip}/32 ${match} --dport ${PORT} -j ${service(rule)}`,
        ...rule.backends.map(
          (_, at) => `-A ${service(rule)} ${drawn(rule, at)}-j ${endpoint(rule, at)}`,
        ),
        ...rule.backends.map(
          (one, at) => `-A ${endpoint(rule, at)} ${match} -j DNAT --to-destination ${one}:${PORT}`,
        ),
      ]
    }),
    'COMMIT',
    '',
  ].join('\n')
}

/** One of those that are left, each as probable; the last one takes what is left. */
function drawn({ backends }: Rule, at: number): string {
  const left = backends.length - at
  return left > 1 ? `-m statistic --mode random --probability ${(1 / left).toFixed(10)} ` : ''
}

const LOAD = { timeoutMs: 300_000 }

const nft: Subject = {
  name: 'nft',
  title: 'nftables',
  what: "kube-proxy's shape: a verdict map of services, numgen, DNAT by conntrack",
  family: 'netfilter',
  shape: 'local',
  unavailable: () => fails('nft', ['-f', '-'], nftRules(1, ['10.1.0.10'])),
  async setUp(stage: Stage, { services, backends = 1 }: Demand) {
    const { balancer } = stage
    const input = nftRules(services, stage.backends(backends))
    await balancer.run('nft', ['-f', '-'], { ...LOAD, input })
    return {
      tearDown: async () => {
        await balancer.run('nft', ['flush', 'ruleset'], LOAD)
      },
    }
  },
}

const iptables: Subject = {
  name: 'iptables',
  title: 'iptables',
  what: "kube-proxy's shape with iptables-legacy: a rule a service, DNAT by conntrack",
  family: 'netfilter',
  shape: 'local',
  unavailable: () => fails('iptables-legacy-restore', [], iptablesRules(1, ['10.1.0.10'])),
  async setUp(stage: Stage, { services, backends = 1 }: Demand) {
    const { balancer } = stage
    await balancer.run('iptables-legacy-restore', [], {
      ...LOAD,
      input: iptablesRules(services, stage.backends(backends)),
    })
    return {
      tearDown: async () => {
        await balancer.run('iptables-legacy', ['-t', 'nat', '-F'], LOAD)
      },
    }
  },
}

export const netfilter: readonly Subject[] = [nft, iptables]
