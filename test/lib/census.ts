/** What there is in the kernel, as other tools tell it: of a namespace, and of one agent's programs. */
import { existsSync, readdirSync } from 'node:fs'
import { run } from './netns.js'

/** Counters and clocks, which go on by themselves. */
const RESTLESS =
  /nf_conntrack_count|random|perf_|fs\.|conf\.(?:all|default|[^.]+)\.(?:stable_secret|base_reachable)/

/**
 * Addresses, routes, rules, queueing disciplines, filters, programs on interfaces, netfilter and settings
 * of a namespace, line by line.
 *
 * @param path of the namespace
 */
export async function censusOf(path: string): Promise<string[]> {
  const within = async (file: string, ...args: string[]): Promise<string> =>
    (await run('nsenter', [`--net=${path}`, file, ...args], { mayFail: true })).stdout
  const links = JSON.parse(await within('ip', '-j', '-d', 'link', 'show')) as {
    ifname: string
    xdp?: object
  }[]
  const parts = await Promise.all([
    within('ip', '-o', 'address', 'show'),
    within('ip', '-4', 'route', 'show', 'table', 'all'),
    within('ip', '-6', 'route', 'show', 'table', 'all'),
    within('ip', 'rule', 'show'),
    within('ip', '-6', 'rule', 'show'),
    within('tc', 'qdisc', 'show'),
    ...links.flatMap(({ ifname }) =>
      ['ingress', 'egress'].map((way) => within('tc', 'filter', 'show', 'dev', ifname, way)),
    ),
    within('nft', '--stateless', 'list', 'ruleset'),
    within('sysctl', '-a', '-r', '^net'),
  ])
  const lines = parts.flatMap((part) => part.split('\n'))
  return [
    ...links.map(({ ifname, xdp }) => `${ifname}${xdp === undefined ? '' : ' has XDP'}`),
    ...lines
      // Lifetimes of addresses and routes count down.
      .map((line) => line.replace(/(?:valid_lft|preferred_lft|expires) \S+/g, '').trim())
      .filter((line) => line !== '' && !RESTLESS.test(line)),
  ].sort()
}

export interface Ids {
  readonly maps: readonly number[]
  readonly programs: readonly number[]
  readonly links: readonly number[]
}

interface ProgramAnswer {
  readonly id: number
  readonly map_ids?: readonly number[]
}

async function bpftool<T>(...args: string[]): Promise<T> {
  return JSON.parse((await run('bpftool', ['-j', ...args])).stdout) as T
}

/** Kernel objects of an agent: its pinned maps, the programs that use them, and the links of those. */
export async function idsOf(pins: string): Promise<Ids> {
  const maps: number[] = []
  for (const name of readdirSync(`${pins}/maps`))
    maps.push((await bpftool<{ id: number }>('map', 'show', 'pinned', `${pins}/maps/${name}`)).id)
  const programs = (await bpftool<ProgramAnswer[]>('prog', 'show'))
    .filter(({ map_ids = [] }) => map_ids.some((id) => maps.includes(id)))
    .map(({ id }) => id)
  const links = (await bpftool<{ id: number; prog_id?: number }[]>('link', 'show'))
    .filter(({ prog_id }) => prog_id !== undefined && programs.includes(prog_id))
    .map(({ id }) => id)
  return { maps, programs, links }
}

/** Those that still are in the kernel. */
export async function stillThere(ids: Ids): Promise<Ids> {
  const there = async (kind: string, known: readonly number[]): Promise<number[]> =>
    (await bpftool<{ id: number }[]>(kind, 'show'))
      .map(({ id }) => id)
      .filter((id) => known.includes(id))
  return {
    maps: await there('map', ids.maps),
    programs: await there('prog', ids.programs),
    links: await there('link', ids.links),
  }
}

/** Whether a pinned map has an address, in whatever field, as bpftool prints its bytes. */
export async function mapHas(pin: string, address: string): Promise<boolean> {
  if (!existsSync(pin)) return false
  const rows = await bpftool<{ key?: unknown }[]>('map', 'dump', 'pinned', pin)
  const bytes = address.split('.').map(Number)
  const hex = bytes.map((byte) => `0x${byte.toString(16).padStart(2, '0')}`)
  const forms = [hex, [...hex].reverse()].map((form) => JSON.stringify(form).slice(1, -1))
  const text = JSON.stringify(rows.map(({ key }) => key))
  return forms.some((form) => text.includes(form))
}
