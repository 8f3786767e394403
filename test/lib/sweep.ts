/** The sweep over the tables of a datapath, as the agent's thread does with pinned ones. */
import { BpfObject } from 'libbpf-ts'
import { runSweep, type SweepResult } from '../../src/dataplane/sweepThread.js'
import type { Datapath } from './kernel.js'

const SWEEP = new URL('../../bpf/sweep.bpf.o', import.meta.url).pathname

/** @param room for flows whose ends are to be told; default: as in the object */
export function sweep(dp: Datapath, room?: number): SweepResult {
  const object = BpfObject.open(SWEEP)
  try {
    for (const [name, map] of dp.maps()) {
      if (!object.maps.has(name)) continue
      if (object.map(name).maxEntries !== map.maxEntries) object.resize(name, map.maxEntries)
      object.reuse(name, map)
    }
    const rows = dp.map('actives').maxEntries
    object.resize('recounts', rows)
    if (room !== undefined) object.resize('endings', room)
    object.setRodata({ backend_rows: rows })
    object.load()
    return runSweep(object)
  } finally {
    object.close()
  }
}
