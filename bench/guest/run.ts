/** The part of the benchmark that counts instructions in a guest. */
import { judge } from '../frame/aims.js'
import { availableParallelism } from 'node:os'
import { machine, versionOf } from '../frame/machine.js'
import type { PartOptions, PartResult } from '../frame/part.js'
import { GUEST_CMDLINE, GUEST_CPU, GUEST_ICOUNT } from '../../test/lib/guest/boot.js'
import { SUBJECTS } from '../subjects/subjects.js'
import { documentOf, type GuestDocument, table, unsteady } from './document.js'
import { countInGuest } from './guest.js'
import type { Line, Plan } from './plan.js'

/**
 * With these, costs by the number of services are told: one of ours for each of two boots, as an agent takes
 * minutes there to start with so many.
 */
const MANY = ['ipvs-nat', 'fairlead-tc', 'fairlead-sock']
const MANY_SERVICES = 10_000
/** What aims are about; an agent's start takes half a minute there. */
const QUICK = [
  ...['direct', 'least-tc', 'ipvs-nat', 'ipvs-swarm', 'nft'],
  ...['fairlead-tc', 'fairlead-sock', 'fairlead-xdp', 'fairlead-dsr-mac'],
]
const QUICK_LIMIT_SECONDS = 590
const LIMIT_SECONDS = 3000
/** A guest has two gigabytes. */
const MOST_BOOTS = 2

function atOf(lines: readonly Line[]): string {
  const [last] = lines.flatMap((line) => (line.kind === 'at' ? [line.what] : [])).slice(-1)
  return last ?? 'booting'
}

type Planned = Plan['subjects'][number]

/** Dealt out by turns: counts do not depend on what runs beside them. */
export function sharesOf(subjects: readonly Planned[], boots: number): Planned[][] {
  const shares = Array.from({ length: Math.min(boots, subjects.length) }, (): Planned[] => [])
  for (const [at, one] of subjects.entries()) shares[at % shares.length]?.push(one)
  return shares
}

/** Lines of several boots as one would have told them. */
function inOrder(lines: readonly Line[], subjects: readonly Planned[]): Line[] {
  const place = (line: Line) =>
    'subject' in line ? subjects.findIndex(({ name }) => name === line.subject) : -1
  return [...lines].sort((a, b) => place(a) - place(b))
}

function judged({ leftOut, failed, calibration }: GuestDocument): string[] {
  return [
    `an instruction of a loop of known length counts ${calibration.toFixed(4)}`,
    ...leftOut.map(({ subject, reason }) => `left out: ${subject}: ${reason}`),
    ...failed.map((one) => `failed: ${one.subject} ${one.case ?? ''}: ${one.reason}`),
  ]
}

export async function runGuest(options: PartOptions): Promise<PartResult> {
  const {
    chosen,
    quick,
    profile,
    progress,
    stop,
    services = quick ? [] : [MANY_SERVICES],
  } = options
  const rounds = options.rounds ?? (quick ? 2 : 3)
  // Here all send whole checksums.
  const named = SUBJECTS.filter(
    ({ name, proxy }) =>
      chosen(name) && !proxy && name !== 'direct-whole' && (!quick || QUICK.includes(name)),
  )
  const many = services
    .filter((count) => count > 1)
    .flatMap((count) => MANY.filter(chosen).map((name) => ({ name, services: count })))
  const subjects = [...named.map(({ name }) => ({ name, services: 1 })), ...many]
  const at: string[] = []
  const boots = sharesOf(subjects, Math.min(availableParallelism(), MOST_BOOTS)).map(
    (share, boot) =>
      countInGuest({ subjects: share, rounds, scale: quick ? 1 : 2, profile }, stop, {
        limitSeconds: quick ? QUICK_LIMIT_SECONDS : LIMIT_SECONDS,
        progress: (so) => {
          at[boot] = atOf(so)
          progress.at(`guest: ${at.join(' and ')}`)
        },
      }),
  )
  const lines = inOrder((await Promise.all(boots)).flat(), subjects)
  const counted = documentOf(lines, rounds)
  const unsteadyRows = unsteady(counted).map(
    ({ subject, case: name }) => `unsteady: rounds of ${subject} ${name} do not agree within 2 %`,
  )
  return {
    document: {
      ...counted,
      profiled: profile,
      emulator: {
        qemu: versionOf('qemu-system-x86_64', '--version'),
        ...{ cpu: GUEST_CPU, icount: GUEST_ICOUNT, cmdline: GUEST_CMDLINE },
      },
      host: machine(),
      versions: {
        node: process.version,
        commit: versionOf('git', 'describe', '--always', '--dirty'),
      },
    },
    text: [table(counted), '', ...judged(counted), ...unsteadyRows].join('\n'),
    aims: counted.verdicts.map(({ aim, subject, case: name, ratio, most }) =>
      judge({ aim, of: `${subject}, ${name}`, bound: most, better: 'less' }, ratio),
    ),
  }
}
