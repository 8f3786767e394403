/** Every way to choose a backend: a service that uses it, and what its clients then see. */

export interface Choice {
  readonly name: string
  readonly service: object
  /** What is said of each of the three backends, b0, b1 and b2. */
  readonly backends?: readonly [object, object, object]
  /** The same after a change while there are connections. */
  readonly changed?: readonly [object, object, object]
  readonly dials: number
  readonly hold?: boolean
  /** Source ports; by default the kernel's. */
  readonly ports?: readonly number[]
  /** @returns what is wrong with it, or undefined; `first` and `last` end at the change. */
  readonly fault: (answers: readonly string[]) => string | undefined
  readonly faultChanged?: (answers: readonly string[]) => string | undefined
}

function shares(answers: readonly string[]): number[] {
  return ['b0', 'b1', 'b2'].map((id) => answers.filter((answer) => answer === id).length)
}

const exactly =
  (...wanted: readonly number[]) =>
  (answers: readonly string[]): string | undefined =>
    shares(answers).join() === wanted.join() ? undefined : `${answers.join()}, not ${wanted.join()}`

const PORTS = Array.from({ length: 16 }, (_, at) => 20_011 + 7 * at)

/** @param here name of the node that the clients' agent is on */
export function choices(here: string): readonly Choice[] {
  const nodes = [{ node: here }, { node: here }, { node: 'elsewhere' }] as const
  const down = { state: 'down' }
  return [
    { name: 'rr', service: { algorithm: 'rr' }, dials: 6, fault: exactly(2, 2, 2) },
    {
      name: 'wrr',
      service: { algorithm: 'wrr' },
      backends: [{ weight: 1 }, { weight: 2 }, { weight: 3 }],
      dials: 12,
      fault: exactly(2, 4, 6),
    },
    {
      name: 'random',
      service: { algorithm: 'random' },
      dials: 48, // All three are among them but for once in 100 million.
      fault: (answers) =>
        shares(answers).every((share) => share > 0) ? undefined : answers.join(),
    },
    { name: 'lc', service: { algorithm: 'lc' }, dials: 9, hold: true, fault: exactly(3, 3, 3) },
    {
      name: 'wlc',
      service: { algorithm: 'wlc' },
      backends: [{ weight: 1 }, { weight: 1 }, { weight: 2 }],
      dials: 8,
      hold: true,
      fault: exactly(2, 2, 4),
    },
    {
      name: 'sh',
      service: { algorithm: 'sh' },
      dials: 6,
      fault: (answers) =>
        new Set(answers).size === 1 && Math.max(...shares(answers)) === 6
          ? undefined
          : answers.join(),
    },
    {
      name: 'maglev',
      service: { algorithm: 'maglev' },
      dials: PORTS.length,
      ports: PORTS,
      fault: (answers) =>
        shares(answers).filter((share) => share > 0).length > 1 &&
        shares(answers).reduce((sum, share) => sum + share) === PORTS.length
          ? undefined
          : answers.join(),
    },
    {
      name: 'prefer-local',
      service: { locality: 'prefer-local' },
      backends: nodes,
      changed: [{ ...nodes[0], ...down }, { ...nodes[1], ...down }, nodes[2]],
      dials: 6,
      fault: exactly(3, 3, 0),
      faultChanged: exactly(0, 0, 6),
    },
    {
      name: 'failover',
      service: {},
      backends: [{ priority: 0 }, { priority: 1 }, { priority: 2 }],
      changed: [{ priority: 0, ...down }, { priority: 1 }, { priority: 2 }],
      dials: 6,
      fault: exactly(6, 0, 0),
      faultChanged: exactly(0, 6, 0),
    },
  ]
}
