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
}

function rules(services: number): Rule[] {
  const vips = [...Array.from({ length: services - 1 }, (_, at) => otherVip(at)), PLACES.vip]
  return vips.flatMap((vip, at) =>
    PROTOCOLS.map((protocol) => ({ vip, protocol, id: `${at}-${protocol}` })),
  )
}

/** A map leads to a chain a service, which draws one of a chain a backend. */
export function nftRules(services: number, backend: string): string {
  const all = rules(services)
  const elements = all.map(
    ({ vip, protocol, id }) => `${vip} . ${protocol} . ${PORT} : goto service-${id}`,
  )
  return [
    'table ip kube-proxy {',
    ...all.flatMap(({ protocol, id }) => [
      `chain endpoint-${id} { meta l4proto ${protocol} dnat to ${backend}:${PORT}; }`,
      `chain service-${id} { numgen random mod 1 vmap { 0 : goto endpoint-${id} }; }`,
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
export function iptablesRules(services: number, backend: string): string {
  const all = rules(services)
  const chain = (kind: string, { id }: Rule) => `KUBE-${kind}-${id.toUpperCase()}`
  return [
    '*nat',
    ':KUBE-SERVICES - [0:0]',
    ':KUBE-POSTROUTING - [0:0]',
    ...all.flatMap((rule) => [`:${chain('SVC', rule)} - [0:0]`, `:${chain('SEP', rule)} - [0:0]`]),
    '-A PREROUTING -j KUBE-SERVICES',
    '-A POSTROUTING -j KUBE-POSTROUTING',
    `-A KUBE-POSTROUTING -m mark ! --mark ${MASQUERADE}/${MASQUERADE} -j RETURN`,
    '-A KUBE-POSTROUTING -j MASQUERADE',
    ...all.flatMap((rule) => {
      const { vip, protocol } = rule
      const match = `-p ${protocol} -m ${protocol}`
      return [
        `-A KUBE-SERVICES -d ${vip}/32 ${match} --dport ${PORT} -j ${chain('SVC', rule)}`,
        `-A ${chain('SVC', rule)} -j ${chain('SEP', rule)}`,
        `-A ${chain('SEP', rule)} ${match} -j DNAT --to-destination ${backend}:${PORT}`,
      ]
    }),
    'COMMIT',
    '',
  ].join('\n')
}

const LOAD = { timeoutMs: 300_000 }

const nft: Subject = {
  name: 'nft',
  title: 'nftables',
  what: "kube-proxy's shape: a verdict map of services, numgen, DNAT by conntrack",
  family: 'netfilter',
  shape: 'local',
  unavailable: () => fails('nft', ['-f', '-'], nftRules(1, '10.1.0.10')),
  async setUp({ balancer, address }: Stage, { services }: Demand) {
    await balancer.run('nft', ['-f', '-'], { ...LOAD, input: nftRules(services, address) })
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
  unavailable: () => fails('iptables-legacy-restore', [], iptablesRules(1, '10.1.0.10')),
  async setUp({ balancer, address }: Stage, { services }: Demand) {
    await balancer.run('iptables-legacy-restore', [], {
      ...LOAD,
      input: iptablesRules(services, address),
    })
    return {
      tearDown: async () => {
        await balancer.run('iptables-legacy', ['-t', 'nat', '-F'], LOAD)
      },
    }
  },
}

export const netfilter: readonly Subject[] = [nft, iptables]
