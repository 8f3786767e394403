/** The same services as a file: started with, and with one line of it edited, until the kernel has it. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Model } from '../../src/model/model.js'
import { FileSource } from '../../src/sources/file/source.js'
import { ScaleScene, services } from './scene.js'
import { median, timedAndHeld, type Held } from './timed.js'

export interface FileTimes {
  readonly megabytes: number
  /** Milliseconds, as all that follow: from start() to the kernel. */
  readonly startWall: number
  readonly startCpu: number
  readonly startHeld: number
  /** From writing the file, the source's quiet time of 50 ms included. */
  readonly editWall: number
  readonly editCpu: number
  readonly editHeld: number
}

const EDITS = 3

export async function measureFile(count: number): Promise<FileTimes> {
  const folder = mkdtempSync(join(tmpdir(), 'fl-scale-'))
  const path = join(folder, 'bench.yaml')
  const scene = await ScaleScene.open()
  const model = new Model({ sources: ['file'] })
  model.onState((state) => scene.reconciler.apply(state))
  const source = new FileSource(path, {
    onSnapshot: (snapshot) => void model.publish('file', snapshot),
  })
  try {
    const first = textOf(count, 1)
    writeFileSync(path, first)
    const start = await timedAndHeld(async () => {
      await source.start()
      await scene.reconciler.settled(1)
    })
    const edits: Held[] = []
    for (let edit = 0; edit < EDITS; edit++) {
      const { revision } = model.current
      const text = textOf(count, edit + 2)
      edits.push(
        await timedAndHeld(async () => {
          writeFileSync(path, text)
          await scene.reconciler.settled(revision + 1)
        }),
      )
    }
    if (model.current.problems.length > 0) throw new Error(model.current.problems[0]?.reason)
    return {
      megabytes: first.length / 1e6,
      ...{ startWall: start.wall, startCpu: start.cpu, startHeld: start.held },
      editWall: median(edits.map((each) => each.wall)),
      editCpu: median(edits.map((each) => each.cpu)),
      editHeld: median(edits.map((each) => each.held)),
    }
  } finally {
    await source.close()
    await scene.remove()
    rmSync(folder, { recursive: true })
  }
}

/** @param weight of the first backend of a service in the middle */
function textOf(count: number, weight: number): string {
  const edited = Math.floor(count / 2)
  const entries = services(count).map(({ name, vips, ports, backends }, index) => {
    const lines = [
      `  - name: ${name}`,
      '    network: net',
      `    vip: ${vips[0] ?? ''}`,
      `    ports: [${ports.map(({ port, targetPort }) => `"${port}:${targetPort}/tcp"`).join(', ')}]`,
      '    backends:',
    ]
    const addresses = backends.map(({ address }, i) => {
      const own = index === edited && i === 0 ? `\n        weight: ${weight}` : ''
      return `      - address: ${address}${own}`
    })
    return [...lines, ...addresses].join('\n')
  })
  const head = 'version: 1\nnetworks:\n  - name: net\n    subnets: [10.0.0.0/8]\nservices:\n'
  return `${head}${entries.join('\n')}\n`
}
