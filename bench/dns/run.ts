/** The part of the benchmark that asks name servers. */
import { availableParallelism } from 'node:os'
import { judgeInterval } from '../frame/aims.js'
import { machine, versionOf } from '../frame/machine.js'
import type { PartOptions, PartResult } from '../frame/part.js'
import { type Interval, median, noise, ratioOf, type Spread, spread } from '../frame/statistics.js'
import { type Asked, measureDns } from './rounds.js'
import { NAME_SERVERS } from './servers.js'

export interface DnsRow {
  readonly subject: string
  /** Answers a second of the server's CPU time. */
  readonly perCpuSecond: Spread
  readonly noise: number
  readonly toDnsmasq: Interval | null
  /** Answers a second of time, and their average latency; both depend on what asks. */
  readonly perSecond: number
  readonly latencyUs: number
}

const AIM = 0.55

function ratesOf(asked: readonly Asked[], server: string): number[] {
  return asked.filter((one) => one.server === server).map((one) => one.answered / one.cpuSeconds)
}

export function rowsOf(asked: readonly Asked[]): DnsRow[] {
  const baseline = ratesOf(asked, 'dnsmasq')
  return NAME_SERVERS.flatMap(({ name }) => {
    const own = asked.filter((one) => one.server === name)
    const rates = ratesOf(asked, name)
    if (rates.length === 0) return []
    return [
      {
        ...{ subject: name, perCpuSecond: spread(rates), noise: noise(rates) },
        toDnsmasq: baseline.length === rates.length ? ratioOf(rates, baseline) : null,
        perSecond: median(own.map((one) => one.answered / one.seconds)),
        latencyUs: median(own.map((one) => one.latencyUs)),
      },
    ]
  })
}

function lineOf({ subject, perCpuSecond: rate, toDnsmasq, perSecond, latencyUs }: DnsRow): string {
  const whole = (value: number) => Math.round(value).toLocaleString('en')
  const ratio = toDnsmasq
    ? `${toDnsmasq.ratio.toFixed(2)} (${toDnsmasq.low.toFixed(2)}–${toDnsmasq.high.toFixed(2)}) of dnsmasq's`
    : ''
  return [
    subject.padEnd(10),
    `${whole(rate.median).padStart(8)} answers a CPU second (${whole(rate.min)}–${whole(rate.max)})`,
    ...[ratio, `${whole(perSecond)}/s`, `${latencyUs.toFixed(0)} µs`],
  ].join('  ')
}

export async function runDns(options: PartOptions): Promise<PartResult> {
  const { quick, chosen, progress, stop } = options
  const host = machine()
  const cpus = availableParallelism()
  const rounds = options.rounds ?? (quick ? 2 : 5)
  const seconds = quick ? 2 : 4
  const { asked, leftOut } = await measureDns({
    ...{ chosen, rounds, seconds, serverCpu: cpus - 1, clientCpu: 0, stop },
    progress: (what) => progress.at(what),
  })
  const rows = rowsOf(asked)
  const ours = rows.find(({ subject }) => subject === 'fairlead')?.toDnsmasq
  const aims = ours
    ? [
        judgeInterval(
          {
            ...{ aim: 'answers a CPU second, against dnsmasq', of: 'fairlead' },
            ...{ bound: AIM, better: 'more' },
          },
          ours,
        ),
      ]
    : []
  return {
    document: {
      ...{ bench: 'dns', rounds, seconds, rows, leftOut, machine: host },
      versions: {
        node: process.version,
        dnsmasq: versionOf('dnsmasq', '--version'),
        unbound: versionOf('unbound', '-V'),
        nsd: versionOf('nsd', '-v'),
        docker: versionOf('dockerd', '--version'),
        dnsperf: versionOf('dnsperf', '-h'),
      },
    },
    text: [
      ...rows.map(lineOf),
      ...leftOut.map(({ subject, reason }) => `left out: ${subject}: ${reason}`),
    ].join('\n'),
    aims,
  }
}
