/**
 * Every path to every kind of backend with real sockets, in both families and for TCP and UDP, and
 * every algorithm on every path. What does not apply says why.
 */
import t, { type Test } from 'tap'
import type { Answer, Job } from '../lib/asker.js'
import {
  ask,
  buildContainers,
  buildEdge,
  PLACES,
  type Place,
  type Scene,
} from '../lib/matrixScenes.js'

t.setTimeout(240_000)

type Path = 'tc' | 'socket' | 'XDP native' | 'XDP generic'

const FAMILIES = [4, 6] as const
const PROTOCOLS = ['tcp', 'udp'] as const

const BY_ITS_NETWORK =
  'containers reach what is on another node by the routes of their network (the place "routed"); ' +
  'a way to return is for clients outside'
const COMES_BACK_HERE =
  'seen from outside, a backend whose replies come back by this node is as one on it (the place ' +
  '"local"); pathMtu.test.ts has one behind a router'

/** Why a place is not reached by a path. */
const NOT_APPLICABLE: Readonly<Record<Path, Partial<Record<Place, string>>>> = {
  tc: {
    entry: BY_ITS_NETWORK,
    'dsr-mac': BY_ITS_NETWORK,
    'dsr-tunnel': BY_ITS_NETWORK,
    snat: BY_ITS_NETWORK,
  },
  socket: {
    entry: BY_ITS_NETWORK,
    'dsr-mac': BY_ITS_NETWORK,
    'dsr-tunnel': BY_ITS_NETWORK,
    snat: BY_ITS_NETWORK,
  },
  'XDP native': { routed: COMES_BACK_HERE },
  'XDP generic': { routed: COMES_BACK_HERE },
}

/** Who answers there. */
const ANSWERS: Readonly<Record<Place, string>> = {
  local: 'b0',
  routed: 'routed',
  entry: 'beyond',
  'dsr-mac': 'direct',
  'dsr-tunnel': 'direct',
  snat: 'direct',
}

const LABELS: Readonly<Record<Path, string>> = {
  tc: 'tc',
  socket: 'sock',
  'XDP native': 'xdp',
  'XDP generic': 'xdp',
}

/** The address that a backend sees its client by. */
function seen(scene: Scene, place: Place, family: 4 | 6): string {
  if (place === 'snat') return family === 4 ? scene.node4 : scene.node6
  return family === 4 ? scene.client4 : scene.client6
}

async function everyPlace(t: Test, path: Path, scene: Scene): Promise<void> {
  const cells: { title: string; job: Job; expected: Answer }[] = []
  for (const place of PLACES) {
    for (const family of FAMILIES) {
      for (const protocol of PROTOCOLS) {
        const title = `${path}, IPv${family}, ${protocol}, ${place}`
        const why = NOT_APPLICABLE[path][place]
        if (why !== undefined) {
          t.pass(`${title}: does not apply: ${why}`)
          continue
        }
        const host = scene.vip(place, family)
        cells.push({
          title,
          job: { host, protocol, dials: 3 },
          expected: {
            id: ANSWERS[place],
            client: seen(scene, place, family),
            peer: `${host} ${protocol === 'tcp' ? 80 : 53}`,
          },
        })
      }
    }
  }
  const before = await scene.agent.metric('fairlead_connections_total', `path="${LABELS[path]}"`)
  const answers = await ask(
    scene,
    cells.map(({ job }) => job),
  )
  for (const [at, { title, expected }] of cells.entries())
    t.same(answers[at], [expected, expected, expected], title)
  const after = await scene.agent.metric('fairlead_connections_total', `path="${LABELS[path]}"`)
  t.equal(after - before, 3 * cells.length, `${path}: all of them, and no other, took this path`)
}

async function everyAlgorithm(t: Test, path: Path, scene: Scene): Promise<void> {
  const jobs = (list: Scene['choices']): Job[] =>
    list.flatMap(({ name, dials, hold, ports }) =>
      FAMILIES.map((family) => ({
        ...{ host: scene.vip(name, family), protocol: 'tcp' as const, dials },
        ...(hold && { hold }),
        ...(ports && { ports }),
      })),
    )
  const answers = await ask(scene, jobs(scene.choices))
  const ids = (rows: Answer[][], at: number): string[] => rows[at]?.map(({ id }) => id) ?? []
  scene.choices.forEach(({ name, fault }, at) => {
    FAMILIES.forEach((family, i) => {
      t.equal(fault(ids(answers, 2 * at + i)), undefined, `${path}, IPv${family}, ${name}`)
    })
  })
}

/** After the change of the services that have one. */
async function everyChange(t: Test, path: Path, scene: Scene): Promise<void> {
  const changed = scene.choices.filter(({ faultChanged }) => faultChanged)
  const answers = await ask(
    scene,
    changed.flatMap(({ name, dials }) =>
      FAMILIES.map(
        (family) => ({ host: scene.vip(name, family), protocol: 'tcp', dials }) as const,
      ),
    ),
  )
  changed.forEach(({ name, faultChanged }, at) => {
    FAMILIES.forEach((family, i) => {
      const ids = answers[2 * at + i]?.map(({ id }) => id) ?? []
      t.equal(faultChanged?.(ids), undefined, `${path}, IPv${family}, ${name} after a change`)
    })
  })
}

t.test('every path', async (t) => {
  // At once, since most of it is waiting for processes to start.
  const [containers, native, generic] = await Promise.all([
    buildContainers(t),
    buildEdge(t, 'native'),
    buildEdge(t, 'generic'),
  ])
  const scenes: readonly (readonly [Path, Scene])[] = [
    ['tc', containers.tc],
    ['socket', containers.sock],
    ['XDP native', native],
    ['XDP generic', generic],
  ]
  for (const [path, scene] of scenes) {
    await everyPlace(t, path, scene)
    await everyAlgorithm(t, path, scene)
  }
  for (const scene of [containers.tc, native, generic]) await scene.change()
  for (const [path, scene] of scenes) await everyChange(t, path, scene)

  for (const [mode, { agent }] of [
    ['native', native],
    ['generic', generic],
  ] as const) {
    const attached = await agent.metric('fairlead_attachments', 'hook="xdp"', `mode="${mode}"`)
    t.equal(attached, 1, `the XDP program is in mode ${mode}`)
  }
})
