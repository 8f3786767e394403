/** Figures by name, with their aims. */
import { cpus, loadavg, release } from 'node:os'
import type { Changes } from './changes.js'
import type { Sync } from './cold.js'
import type { FileTimes } from './file.js'
import type { Scrapes } from './scrapes.js'
import type { Sweeps } from './sweep.js'

export interface Results {
  readonly sync: Sync
  readonly changes: Changes
  readonly scrapes: Scrapes
  readonly file: FileTimes
  readonly sweeps: Sweeps
}

export interface Figure {
  readonly name: string
  readonly value: number
  readonly unit: string
  /** At most. Absent: told only. */
  readonly aim?: number
  /** Of the rounds. */
  readonly min?: number
  readonly max?: number
}

export function machine(): object {
  return {
    cpu: cpus()[0]?.model,
    cpus: cpus().length,
    kernel: release(),
    node: process.version,
    /** Processes that want to run, over the last five minutes: what wall times suffer from. */
    load: Math.round((loadavg()[1] ?? 0) * 10) / 10,
  }
}

export function figures({ sync, changes, scrapes, file, sweeps }: Results): Figure[] {
  return [
    { name: 'rows of a cold sync', value: sync.rows, unit: '' },
    { name: 'cold sync, agent time', value: sync.coldCpu, unit: 'ms', aim: 1000 },
    { name: 'cold sync, wall', value: sync.coldWall, unit: 'ms' },
    { name: 'merging the first snapshot, agent time', value: sync.mergeCpu, unit: 'ms' },
    { name: 'taking over the same maps, agent time', value: sync.adoptCpu, unit: 'ms' },
    { name: 'taking over the same maps, wall', value: sync.adoptWall, unit: 'ms' },
    { name: 'one change, wall, median', value: changes.wallP50, unit: 'ms', aim: 5 },
    { name: 'one change, wall, p99', value: changes.wallP99, unit: 'ms', aim: 10 },
    { name: 'one change, agent time, median', value: changes.cpuP50, unit: 'ms' },
    { name: 'one change, agent time, p99', value: changes.cpuP99, unit: 'ms' },
    { name: 'one backend found down, wall, median', value: changes.stateWallP50, unit: 'ms' },
    { name: 'one backend found down, wall, p99', value: changes.stateWallP99, unit: 'ms', aim: 10 },
    { name: 'one backend found down, agent time, p99', value: changes.stateCpuP99, unit: 'ms' },
    { name: 'a service more or less, wall, median', value: changes.comeWallP50, unit: 'ms' },
    { name: 'a service more or less, wall, p99', value: changes.comeWallP99, unit: 'ms' },
    { name: 'a service more or less, agent time, median', value: changes.comeCpuP50, unit: 'ms' },
    { name: 'one change during a sweep, wall, median', value: changes.sweepWallP50, unit: 'ms' },
    { name: 'one change during a sweep, wall, p99', value: changes.sweepWallP99, unit: 'ms' },
    { name: 'names of a new state, wall, median', value: changes.zoneP50, unit: 'ms' },
    { name: 'series of a scrape', value: scrapes.series, unit: '' },
    { name: 'size of a scrape', value: scrapes.megabytes, unit: 'MB' },
    { name: 'a scrape, agent time', value: scrapes.cpu, unit: 'ms' },
    { name: 'a scrape, wall', value: scrapes.wall, unit: 'ms', aim: 1000 },
    { name: 'a scrape, longest hold of the event loop', value: scrapes.held, unit: 'ms', aim: 50 },
    { name: 'series of a scrape with all backends', value: scrapes.wholeSeries, unit: '' },
    { name: 'size of that', value: scrapes.wholeMegabytes, unit: 'MB' },
    { name: 'a scrape with all backends, agent time', value: scrapes.wholeCpu, unit: 'ms' },
    { name: 'a scrape with all backends, wall', value: scrapes.wholeWall, unit: 'ms' },
    { name: 'a scrape with all backends, longest hold', value: scrapes.wholeHeld, unit: 'ms' },
    { name: 'size of the same services as a file', value: file.megabytes, unit: 'MB' },
    { name: 'from that file to the kernel, agent time', value: file.startCpu, unit: 'ms' },
    { name: 'from that file to the kernel, wall', value: file.startWall, unit: 'ms' },
    { name: 'that file, longest hold of the event loop', value: file.startHeld, unit: 'ms' },
    { name: 'a line of it edited, agent time', value: file.editCpu, unit: 'ms' },
    { name: 'a line of it edited, wall', value: file.editWall, unit: 'ms' },
    { name: 'a line of it edited, longest hold', value: file.editHeld, unit: 'ms' },
    { name: 'flows that are swept', value: sweeps.flows, unit: '' },
    { name: 'one sweep over them, wall', value: sweeps.runSeconds * 1000, unit: 'ms' },
    { name: 'from one sweep to the next', value: sweeps.intervalSeconds, unit: 's' },
    { name: 'sweeping them, share of a core', value: sweeps.percent, unit: '%', aim: 1 },
  ]
}
