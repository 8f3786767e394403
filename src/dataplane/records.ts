/** The maps that the agent writes, and the shapes of the rows that it reads back from them. */
import type { Family } from '../model/types.js'
import type { Fields } from './rows.js'
import type { ArrayTable, SlotTable } from './arrayTable.js'
import type { HashTable } from './hashTable.js'
import type { Sweepable } from './tables.js'

export interface AddressKey extends Fields {
  network: number
  addr: number | number[]
}

export interface VipRow extends Fields {
  flags: number
  service: number
}

export interface PortRow extends Fields {
  service: number
}

export interface ServiceRow extends Fields {
  ring4: number
  slots4: number
  ring6: number
  slots6: number
  algorithm: number
  flags: number
  affinity_prefix4: number
  affinity_prefix6: number
  affinity_seconds: number
  upper: number
  lower: number
}

export interface BackendRow extends Fields {
  addr: number[]
  service: number
  incarnation: number
  flags: number
  weight: number
}

export interface SourceKey extends Fields {
  prefix_bits: number
  service: number
  family: number
  addr: number[]
}

export interface ViaRow extends Fields {
  addr: number[]
  kind: number
}

export interface NameKey extends Fields {
  kind: number
  id: number
}

export interface NameRow extends Fields {
  text: string
}

export interface LayoutRow extends Fields {
  version: number
  incarnation: number
}

export interface TimersRow extends Fields {
  syn_jiffies: number
  established_jiffies: number
  closing_jiffies: number
  udp_jiffies: number
  resets: number
}

export interface Tables {
  readonly vips: Readonly<Record<Family, HashTable<AddressKey, VipRow>>>
  readonly ports: Readonly<Record<Family, HashTable<AddressKey, PortRow>>>
  readonly services: HashTable<number, ServiceRow>
  readonly slots: SlotTable
  readonly sources: HashTable<SourceKey, number>
  readonly backends: ArrayTable<BackendRow>
  readonly vias: ArrayTable<ViaRow>
  readonly peers: HashTable
  readonly aliases: HashTable
  readonly timers: ArrayTable<TimersRow>
  readonly drains: HashTable
  readonly netnses: HashTable<bigint>
  readonly names: HashTable<NameKey, NameRow>
  readonly layout: ArrayTable<LayoutRow>
}

/** In the order of writing. */
export function tablesInOrder(tables: Tables): Sweepable[] {
  return [
    tables.layout,
    tables.names,
    tables.vias,
    tables.peers,
    tables.aliases,
    tables.backends,
    tables.slots,
    tables.sources,
    tables.timers,
    tables.drains,
    tables.services,
    tables.ports[4],
    tables.ports[6],
    tables.vips[4],
    tables.vips[6],
    tables.netnses,
  ]
}
