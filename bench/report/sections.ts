/** The report, section by section; results that are not there have none. Pure. */
import type { AxesDocument } from '../axes/run.js'
import type { DnsRow } from '../dns/run.js'
import { aimCells, type AimResult } from '../frame/aims.js'
import type { Machine } from '../frame/machine.js'
import type { Interval, Spread } from '../frame/statistics.js'
import type { GuestDocument, Row } from '../guest/document.js'
import type { HostDocument, HostRow } from '../host/document.js'
import type { Document as ProgDocument } from '../prog/report.js'
import type { Figure } from '../scale/report.js'
import { SUBJECTS } from '../subjects/subjects.js'

type Versions = Readonly<Record<string, string>>

interface Circumstances {
  readonly machine: Machine
  readonly versions: Versions
}

function markdownTable(head: readonly string[], lines: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  const rule = head.map((_, at) => (at ? '---:' : '---'))
  return [line(head), line(rule), ...lines.map(line)].join('\n')
}

function whole(value: number): string {
  return Math.round(value).toLocaleString('en')
}

function short(value: number): string {
  return Math.abs(value) >= 1000 ? whole(value) : value.toPrecision(3)
}

function ratioText(interval: Interval | null): string {
  if (!interval) return ''
  const { ratio, low, high } = interval
  return `${ratio.toFixed(2)} (${low.toFixed(2)}–${high.toFixed(2)})`
}

function spreadText({ median, min, max }: Spread): string {
  return `${short(median)} (${short(min)}–${short(max)})`
}

function titleOf(name: string): string {
  return SUBJECTS.find((one) => one.name === name)?.title ?? name
}

function where({ machine, versions }: Circumstances): string {
  const named = Object.entries(versions).map(([name, version]) => `${name} ${version}`)
  const { kernel, cpus, cpu, load } = machine
  return `Kernel ${kernel}, ${cpus} × ${cpu}, load ${load.toFixed(1)} at the start; ${named.join('; ')}.`
}

function guestTable({ rows, cases }: GuestDocument): string {
  const key = ({ subject, services }: Row) => `${subject} ${services}`
  const lines = [...new Set(rows.map(key))].map((one) => {
    const own = rows.filter((row) => key(row) === one)
    const [first] = own
    const many = first && first.services > 1 ? `, ${whole(first.services)} services` : ''
    const cells = cases.map(({ name }) => {
      const row = own.find((each) => each.case === name)
      const ratio = row?.toIpvs == null ? '' : ` (${row.toIpvs.toFixed(2)})`
      return row ? `${whole(row.instructions.median)}${ratio}` : ''
    })
    return [`${titleOf(first?.subject ?? '')}${many}`, ...cells]
  })
  return markdownTable(['', ...cases.map(({ name }) => name)], lines)
}

type GuestResults = GuestDocument & {
  readonly host: Machine
  readonly versions: Versions
  readonly emulator: Readonly<Record<string, string>>
}

function guestSection(results: GuestResults): string[] {
  const { kernel, calibration, rounds, failed, leftOut, emulator } = results
  return [
    '## Instructions in a guest',
    `Medians of ${rounds} rounds; in brackets the ratio to IPVS NAT. Kernel ${kernel} under ${emulator['qemu'] ?? 'QEMU'}, \`-icount ${emulator['icount'] ?? ''} -cpu ${emulator['cpu'] ?? ''}\`; an instruction of a loop of known length counts ${calibration.toFixed(4)}.`,
    guestTable(results),
    ...leftOut.map(({ subject, reason }) => `Left out: ${titleOf(subject)}: ${reason}.`),
    ...failed.map((one) => `Failed: ${titleOf(one.subject)}, ${one.case ?? 'set-up'}.`),
  ]
}

/** What else a figure says: everything is on one core, which has nothing else to do. */
function comesTo({ case: name, figure, latency }: HostRow): string {
  if (latency) {
    const [p50, p99, p999] = [latency.p50, latency.p99, latency.p999].map(short)
    return `p50 ${p50 ?? ''}, p99 ${p99 ?? ''}, p99.9 ${p999 ?? ''} µs`
  }
  if (name === 'connect') return `${whole(1e6 / figure.median)} connections/s`
  return name === 'stream' ? '' : `${whole(1e9 / figure.median)} ns of CPU`
}

function hostSection(results: HostDocument & Circumstances): string[] {
  const { rows, cases, leftOut, failed } = results
  const tables = cases.flatMap(({ name, title, unit, better }) => {
    const lines = rows
      .filter((row) => row.case === name)
      .map((row) => [
        ...[titleOf(row.subject), spreadText(row.figure), ratioText(row.toDirect)],
        ...[comesTo(row), row.noisy ? 'noisy' : ''],
      ])
    const head = ['', unit, 'of no balancer', '', '']
    return lines.length > 0
      ? [`### ${name}: ${title}\n\n${better} is better.\n\n${markdownTable(head, lines)}`]
      : []
  })
  return [
    '## Time on this machine',
    where(results),
    ...tables,
    ...leftOut.map(({ subject, reason }) => `Left out: ${titleOf(subject)}: ${reason}.`),
    ...failed.map((one) => `Failed: ${titleOf(one.subject)}, ${one.case ?? 'set-up'}.`),
  ]
}

interface RulesResults extends Circumstances {
  readonly services: number
  readonly rows: readonly {
    readonly subject: string
    readonly what: string
    readonly milliseconds: Spread
    readonly toNft: Interval | null
  }[]
}

function rulesSection(results: RulesResults): string[] {
  const lines = results.rows.map(({ subject, what, milliseconds, toNft }) => [
    ...[titleOf(subject), what, spreadText(milliseconds), ratioText(toNft)],
  ])
  return [
    `## Loading ${whole(results.services)} services, and one more`,
    where(results),
    markdownTable(['', 'what', 'ms', "of nft's"], lines),
  ]
}

type DnsResults = Circumstances & { readonly rows: readonly DnsRow[] }

function dnsSection(results: DnsResults): string[] {
  const lines = results.rows.map((row) => [
    ...[row.subject, spreadText(row.perCpuSecond), ratioText(row.toDnsmasq)],
    ...[whole(row.perSecond), whole(row.latencyUs)],
  ])
  return [
    "## DNS: answers a second of a server's CPU time",
    where(results),
    markdownTable(['', 'a CPU second', "of dnsmasq's", 'a second', 'latency, µs'], lines),
  ]
}

function axesSection(results: AxesDocument & Circumstances): string[] {
  const { rows, memory, leftOut, failed } = results
  const lines = rows.map(({ axis, count, subject, case: name, nanoseconds, toFirst, noisy }) => [
    ...[`${whole(count)} ${axis}`, titleOf(subject), name, spreadText(nanoseconds)],
    ...[ratioText(toFirst), noisy ? 'noisy' : ''],
  ])
  return [
    '## More services, flows and backends',
    where(results),
    markdownTable(['', 'subject', 'case', 'ns', 'of the first', ''], lines),
    markdownTable(
      ['memory of the kernel', 'a', 'bytes'],
      memory.map(({ subject, of, bytes }) => [titleOf(subject), of, spreadText(bytes)]),
    ),
    ...leftOut.map(({ subject, reason }) => `Left out: ${titleOf(subject)}: ${reason}.`),
    ...failed.map(({ subject, reason }) => `Failed: ${subject}: ${reason}.`),
  ]
}

function progSection({ cases, empty, machine, versions }: ProgDocument): string[] {
  const cell = (one: Spread | null | undefined) => (one ? spreadText(one) : '')
  const ratio = (above?: Spread | null, below?: Spread | null) =>
    above && below ? (above.median / below.median).toFixed(2) : ''
  const lines = cases.map(({ name, least, services }) => {
    const [one, many] = Object.values(services)
    return [name, cell(least), cell(one), ratio(one, least), cell(many), ratio(many, one)]
  })
  const told = Object.entries({ ...machine, ...versions }).map(([key, value]) => `${key} ${value}`)
  return [
    '## Nanoseconds of a packet in each program',
    `${told.join('; ')}. A program that does nothing: ${Object.entries(empty)
      .map(([hook, value]) => `${hook} ${cell(value)}`)
      .join(', ')}.`,
    markdownTable(
      ['', 'least DNAT', 'one service', 'of the least', '10,000 services', 'of one'],
      lines,
    ),
  ]
}

function scaleSection({ figures, services }: ScaleResults): string[] {
  const lines = figures.map(({ name, value, unit }) => [name, short(value), unit])
  return [
    `## ${whole(services)} services in the agent, and one change`,
    markdownTable(['', 'median', ''], lines),
  ]
}

interface ScaleResults {
  readonly services: number
  readonly figures: readonly Figure[]
}

interface Aimed {
  readonly aims?: readonly AimResult[]
}

/** Of a folder; absent: there are none of the part. */
export interface Results {
  readonly guest?: GuestResults & Aimed
  readonly host?: HostDocument & Circumstances & Aimed
  readonly axes?: AxesDocument & Circumstances & Aimed
  readonly rules?: RulesResults & Aimed
  readonly dns?: DnsResults & Aimed
  readonly prog?: ProgDocument & Aimed
  readonly scale?: ScaleResults & Aimed
}

function aimSection(results: Results): string[] {
  const lines = Object.entries(results).flatMap(([part, one]: [string, Aimed]) =>
    (one.aims ?? []).map((aim) => [...aimCells(aim), part]),
  )
  if (lines.length === 0) return []
  const missed = lines.filter((cells) => cells.includes('missed')).length
  return [
    '## Aims',
    `${lines.length} in all, ${missed} missed. What was tried: [README](../README.md#what-was-missed).`,
    markdownTable(['aim', 'of', 'value', 'bound', 'outcome', 'part'], lines),
  ]
}

/** @param plots links to those of a part */
export function sections(
  results: Results,
  plots: (part: string) => readonly string[] = () => [],
): string[] {
  const { guest, host, axes, rules, dns, prog, scale } = results
  return [
    '# Results',
    'Written by `npm run bench:report` from the JSON beside it. What each figure is, and what it does not show: [README](../README.md).',
    ...aimSection(results),
    ...(guest ? [...guestSection(guest), ...plots('guest')] : []),
    ...(host ? [...hostSection(host), ...plots('host')] : []),
    ...(axes ? [...axesSection(axes), ...plots('axes')] : []),
    ...(rules ? [...rulesSection(rules), ...plots('rules')] : []),
    ...(dns ? [...dnsSection(dns), ...plots('dns')] : []),
    ...(prog ? progSection(prog) : []),
    ...(scale ? scaleSection(scale) : []),
  ]
}
