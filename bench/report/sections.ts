/** The report, section by section; results that are not there have none. Pure. */
import type { DnsRow } from '../dns/run.js'
import type { Machine } from '../frame/machine.js'
import type { Interval, Spread } from '../frame/statistics.js'
import type { GuestDocument, Row } from '../guest/document.js'
import type { HostDocument } from '../host/document.js'
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
  const { kernel, calibration, rounds, verdicts, failed, leftOut, emulator } = results
  return [
    '## Instructions in a guest',
    `Medians of ${rounds} rounds; in brackets the ratio to IPVS NAT. Kernel ${kernel} under ${emulator['qemu'] ?? 'QEMU'}, \`-icount ${emulator['icount'] ?? ''} -cpu ${emulator['cpu'] ?? ''}\`; an instruction of a loop of known length counts ${calibration.toFixed(4)}.`,
    guestTable(results),
    ...(verdicts.length > 0
      ? [
          markdownTable(
            ['aim', 'case', 'subject', 'ratio', 'at most', ''],
            verdicts.map((one) => [
              ...[one.aim, one.case, titleOf(one.subject), one.ratio.toFixed(3), `${one.most}`],
              one.met ? 'reached' : 'missed',
            ]),
          ),
        ]
      : []),
    ...leftOut.map(({ subject, reason }) => `Left out: ${titleOf(subject)}: ${reason}.`),
    ...failed.map((one) => `Failed: ${titleOf(one.subject)}, ${one.case ?? 'set-up'}.`),
  ]
}

function hostSection(results: HostDocument & Circumstances): string[] {
  const { rows, cases, verdicts, leftOut, failed } = results
  const tables = cases.flatMap(({ name, title, unit, better }) => {
    const lines = rows
      .filter((row) => row.case === name)
      .map(({ subject, figure, toDirect, noisy, latency }) => [
        ...[titleOf(subject), spreadText(figure), ratioText(toDirect)],
        latency ? [latency.p50, latency.p99, latency.p999].map(short).join(' / ') : '',
        noisy ? 'noisy' : '',
      ])
    const head = ['', unit, 'of no balancer', 'p50 / p99 / p99.9, µs', '']
    return lines.length > 0
      ? [`### ${name}: ${title}\n\n${better} is better.\n\n${markdownTable(head, lines)}`]
      : []
  })
  return [
    '## Time on this machine',
    where(results),
    ...tables,
    ...verdicts.map(
      ({ aim, subject, ratio, low, high, bound, outcome }) =>
        `${outcome}: ${titleOf(subject)}: ${aim}: ${ratioText({ ratio, low, high })}, aim ${bound}.`,
    ),
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

type DnsResults = Circumstances & { readonly rows: readonly DnsRow[]; readonly outcome: string }

function dnsSection(results: DnsResults): string[] {
  const lines = results.rows.map((row) => [
    ...[row.subject, spreadText(row.perCpuSecond), ratioText(row.toDnsmasq)],
    ...[whole(row.perSecond), whole(row.latencyUs)],
  ])
  return [
    "## DNS: answers a second of a server's CPU time",
    where(results),
    markdownTable(['', 'a CPU second', "of dnsmasq's", 'a second', 'latency, µs'], lines),
    `Aim (0.55 of dnsmasq's): ${results.outcome}.`,
  ]
}

/** Of a folder; absent: there are none of the part. */
export interface Results {
  readonly guest?: GuestResults
  readonly host?: HostDocument & Circumstances
  readonly rules?: RulesResults
  readonly dns?: DnsResults
}

export function sections({ guest, host, rules, dns }: Results): string[] {
  return [
    '# Results',
    'Written by `npm run bench:report` from the JSON beside it. What each figure is, and what it does not show: [README](../README.md).',
    ...(guest ? guestSection(guest) : []),
    ...(host ? hostSection(host) : []),
    ...(rules ? rulesSection(rules) : []),
    ...(dns ? dnsSection(dns) : []),
  ]
}
