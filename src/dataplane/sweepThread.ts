/**
 * The sweep over the flow tables, on a thread of its own: at a million flows one run takes a tenth
 * of a second, and DNS must not wait for it.
 */
import { existsSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { BpfMap, BpfObject, type Value } from 'libbpf-ts'
import { fromWords } from '../model/address.js'
import type { FlowSweep } from '../model/observe.js'

export interface SweepData {
  /** sweep.bpf.o */
  readonly objectFile: string
  /** Directory of the pinned maps. */
  readonly maps: string
  readonly rodata: Readonly<Record<string, Value>>
}

export interface SweepResult extends FlowSweep {
  /** Low 32 bits of jiffies at some time, and CLOCK_MONOTONIC then. */
  readonly tick: { readonly jiffies: number; readonly ns: bigint }
  /** TCP flows whose ends are to be told. */
  readonly endings: readonly Ending[]
}

/** A flow that the sweep has ended. Addresses are canonical. */
export interface Ending {
  /** Id of the network; 0 is the outside. */
  readonly network: number
  readonly client: string
  readonly clientPort: number
  readonly vip: string
  readonly vipPort: number
  /** The client as the backend sees it. */
  readonly source: string
  readonly sourcePort: number
  /** Absent: it is gone, or answers its clients by itself. */
  readonly backend?: string
  /** Where the tunnel to the backend ends; absent: it is routed to. */
  readonly node?: string
  readonly backendPort: number
}

/** @throws BpfError */
export function openSweep({ objectFile, maps, rodata }: SweepData): BpfObject {
  const object = BpfObject.open(objectFile)
  const shared: BpfMap[] = []
  try {
    for (const [name, map] of object.maps) {
      if (name.includes('.') || !existsSync(`${maps}/${name}`)) continue
      const pinned = BpfMap.openPinned(`${maps}/${name}`)
      shared.push(pinned)
      if (map.maxEntries !== pinned.maxEntries) object.resize(name, pinned.maxEntries)
      object.reuse(name, pinned)
    }
    const rows = object.map('actives').maxEntries
    object.resize('recounts', rows)
    object.setRodata({ ...rodata, backend_rows: rows })
    object.load()
    return object
  } catch (error) {
    object.close()
    throw error
  } finally {
    for (const map of shared) map.close()
  }
}

export function runSweep(object: BpfObject): SweepResult {
  const started = performance.now()
  const ns = process.hrtime.bigint()
  object.program('sweep').testRun()
  const seconds = (performance.now() - started) / 1000
  const found = object.map('.bss').get(0) as Record<string, bigint | number>
  const figure = (name: string) => Number(found[name] ?? 0n)
  return {
    kept: figure('rows_kept'),
    deleted: figure('rows_deleted'),
    mended: figure('connections_mended'),
    seconds,
    tick: { jiffies: figure('swept_jiffies'), ns },
    endings: readEndings(object, figure('endings_told')),
  }
}

function readEndings(object: BpfObject, count: number): Ending[] {
  const map = object.map('endings')
  return Array.from({ length: count }, (_, index) => {
    const row = map.get(index) as Record<string, number> &
      Record<'client' | 'vip' | 'backend' | 'source' | 'node', number[]>
    const port = (name: string) => row[name] ?? 0
    const isSet = (words: number[]) => words.some((word) => word !== 0)
    return {
      network: port('network'),
      client: fromWords(row.client),
      clientPort: port('client_port'),
      vip: fromWords(row.vip),
      vipPort: port('vip_port'),
      source: fromWords(row.source),
      sourcePort: port('source_port'),
      ...(isSet(row.backend) && { backend: fromWords(row.backend) }),
      ...(isSet(row.node) && { node: fromWords(row.node) }),
      backendPort: port('backend_port'),
    }
  })
}

if (parentPort !== null) {
  const port = parentPort
  const object = openSweep(workerData as SweepData)
  port.on('message', () => port.postMessage(runSweep(object)))
}
