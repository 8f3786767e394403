/** The part of the benchmark that measures time on this machine. */
import { availableParallelism } from 'node:os'
import { machine, versionOf } from '../frame/machine.js'
import type { PartOptions, PartResult } from '../frame/part.js'
import { SUBJECTS } from '../subjects/subjects.js'
import { hostCasesOf } from './cases.js'
import { hostAims, hostDocument, hostTable } from './document.js'
import { measureHost } from './rounds.js'

const QUICK_MS = 40_000
const WHOLE_MS = 210_000

export async function runHost(options: PartOptions): Promise<PartResult> {
  const { chosen, quick, progress, stop } = options
  const host = machine()
  // The last core: the first one has what interrupts there are.
  const cpu = availableParallelism() - 1
  const run = await measureHost({
    places: SUBJECTS.filter(({ name }) => chosen(name)).map((subject) => ({
      subject,
      cases: hostCasesOf(subject),
    })),
    title: 'host',
    rounds: options.rounds ?? (quick ? 3 : 15),
    budgetMs: quick ? QUICK_MS : WHOLE_MS,
    ...{ quick, cpu, progress: (what) => progress.at(what), stop },
  })
  const measured = hostDocument(run)
  const { leftOut, failed } = measured
  return {
    document: {
      ...measured,
      pinned: cpu,
      offloads:
        "gro on at the balancer's NIC; tx off at both ends of XDP's subjects and of direct-whole",
      machine: host,
      versions: {
        node: process.version,
        haproxy: versionOf('haproxy', '-v'),
        nft: versionOf('nft', '--version'),
        iptables: versionOf('iptables-legacy', '--version'),
        commit: versionOf('git', 'describe', '--always', '--dirty'),
      },
    },
    text: [
      hostTable(measured),
      '',
      ...(host.load > 0.5 ? [`noise: the machine's load was ${host.load} at the start`] : []),
      ...leftOut.map(({ subject, reason }) => `left out: ${subject}: ${reason}`),
      ...failed.map((one) => `failed: ${one.subject} ${one.case ?? ''}: ${one.reason}`),
    ].join('\n'),
    aims: hostAims(measured.rows),
  }
}
