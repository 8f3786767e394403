/** From a source's snapshot to all rows in empty maps, and the same with the rows there already. */
import { Model } from '../../src/model/model.js'
import { put, ScaleScene, services, snapshot } from './scene.js'
import { timed } from './timed.js'

/** Milliseconds. */
export interface Sync {
  readonly mergeCpu: number
  readonly coldWall: number
  readonly coldCpu: number
  /** Maps of an earlier agent opened, read, compared, left as they are. */
  readonly adoptWall: number
  readonly adoptCpu: number
  readonly rows: number
}

export async function measureSync(count: number): Promise<Sync> {
  const model = new Model({ sources: ['bench'] })
  const specs = services(count)
  let scene = await ScaleScene.open()
  try {
    const merge = await timed(() => void model.publish('bench', snapshot(specs)))
    const cold = await timed(() => put(scene, model.current))
    if (scene.problems.length > 0) throw new Error(scene.problems[0]?.reason)
    const rows = scene.reconciler.writes
    await scene.close()
    const adopt = await timed(async () => {
      scene = await ScaleScene.open(scene.pinPath)
      await put(scene, model.current)
    })
    if (scene.reconciler.writes > 0)
      throw new Error(`adopting wrote ${scene.reconciler.writes} rows`)
    return {
      mergeCpu: merge.cpu,
      coldWall: cold.wall,
      coldCpu: cold.cpu,
      adoptWall: adopt.wall,
      adoptCpu: adopt.cpu,
      rows,
    }
  } finally {
    await scene.remove()
  }
}
