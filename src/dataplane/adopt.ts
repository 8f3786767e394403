/**
 * Reads pinned maps back into what an agent knows: ids, ring ranges, and which service each row
 * belongs to. Nothing is written here; rows that belong to nobody are left to deleteOrphans(), once
 * the first state is in force.
 */
import { fromWords } from '../model/address.js'
import type { Family } from '../model/types.js'
import { NO_VIA } from './outside.js'
import { backendKey, type Installer } from './install.js'
import {
  addressRow,
  mergeVips,
  type BackendPlan,
  type PortPlan,
  type SourcePlan,
  type VipPlan,
} from './rows.js'
import { NO_SLOTS, type SlotRange } from './slots.js'

/** What the rows tell of one service. */
interface Draft {
  readonly key: string
  readonly id: number
  readonly network: number
  readonly backends: BackendPlan[]
  readonly vips: Map<string, VipPlan>
  readonly ports: PortPlan[]
  readonly sources: SourcePlan[]
}

export function adoptPinned(installer: Installer): void {
  const drafts = adoptNames(installer)
  const { tables, ids, constants } = installer
  for (const [id, { addr, service, flags, weight }] of tables.backends.entries()) {
    const draft = drafts.get(service)
    const address = fromWords(addr)
    if (draft === undefined || !ids.backends.adopt(backendKey(service, address), id)) continue
    draft.backends.push({ id, address, words: addr, flags, weight, via: NO_VIA, down: false })
    const { family, key } = addressRow(draft.network, address)
    addVip(installer, draft, { family, key, flags: constants.vip.backend, service: 0 })
  }
  for (const family of [4, 6] as const) {
    adoptPorts(installer, drafts, family)
    adoptAnyPortVips(installer, drafts, family)
  }
  for (const row of tables.sources.keys()) {
    const key = tables.sources.decodeKey(row)
    drafts.get(key.service)?.sources.push({ key, value: tables.sources.get(row) ?? 0 })
  }
  for (const draft of drafts.values()) adoptService(installer, draft)
}

/** Ids of networks and services; a draft for each of the latter, by id. */
function adoptNames({ tables, ids, constants }: Installer): Map<number, Draft> {
  const { names } = tables
  const drafts = new Map<number, Draft>()
  const found = names.keys().map((key) => ({
    ...names.decodeKey(key),
    text: names.get(key)?.text ?? '',
  }))
  for (const { kind, id, text } of found)
    if (kind === constants.name.network) ids.networks.adopt(text, id)
  for (const { kind, id, text } of found) {
    if (kind !== constants.name.service) continue
    const network = ids.networks.get(text.slice(0, text.indexOf('/')))
    if (network === undefined || !ids.services.adopt(text, id)) continue
    drafts.set(id, {
      key: text,
      id,
      network,
      backends: [],
      vips: new Map(),
      ports: [],
      sources: [],
    })
  }
  return drafts
}

function adoptPorts(installer: Installer, drafts: Map<number, Draft>, family: Family): void {
  const { table } = installer.ports[family]
  for (const row of table.keys()) {
    const key = table.decodeKey(row)
    const value = table.get(row)
    const draft = drafts.get(value?.service ?? 0)
    if (value === undefined || draft?.network !== key.network) continue
    draft.ports.push({ family, key, value })
    installer.ports[family].adopt(row, draft.key, value)
    const address = { network: key.network, addr: key.addr }
    const flags = installer.constants.vip.balanced
    addVip(installer, draft, { family, key: address, flags, service: 0 })
  }
}

function adoptAnyPortVips(installer: Installer, drafts: Map<number, Draft>, family: Family): void {
  const { table } = installer.vips[family]
  const { balanced, anyPort } = installer.constants.vip
  for (const row of table.keys()) {
    const key = table.decodeKey(row)
    const service = table.get(row)?.service ?? 0
    const draft = drafts.get(service)
    if (draft?.network !== key.network) continue
    addVip(installer, draft, { family, key, flags: balanced | anyPort, service })
  }
}

function addVip({ vips }: Installer, draft: Draft, plan: VipPlan): void {
  const claimed = vips[plan.family]
  const row = claimed.table.keyOf(plan.key)
  const before = draft.vips.get(row)
  const merged = { ...plan, ...(before !== undefined && mergeVips([before, plan])) }
  draft.vips.set(row, merged)
  claimed.adopt(row, draft.key, { flags: merged.flags, service: merged.service })
}

/** A ring that overlaps another's, or leaves the map, is not kept: the first cycle writes anew. */
function adoptService(installer: Installer, draft: Draft): void {
  const { tables, slots } = installer
  const row = tables.services.get(tables.services.keyOf(draft.id))
  const take = (start: number, length: number): SlotRange => {
    const range = { start, length }
    if (length === 0 || !slots.adopt(range)) return NO_SLOTS
    tables.slots.watch(start, length, true)
    return range
  }
  const range4 = take(row?.ring4 ?? 0, row?.slots4 ?? 0)
  const range6 = take(row?.ring6 ?? 0, row?.slots6 ?? 0)
  installer.installed.set(draft.key, {
    plan: {
      id: draft.id,
      backends: draft.backends,
      ring4: tables.slots.read(range4.start, range4.length),
      ring6: tables.slots.read(range6.start, range6.length),
      algorithm: row?.algorithm ?? 0,
      policy: {
        flags: row?.flags ?? 0,
        affinity_prefix4: row?.affinity_prefix4 ?? 0,
        affinity_prefix6: row?.affinity_prefix6 ?? 0,
        affinity_seconds: row?.affinity_seconds ?? 0,
        upper: row?.upper ?? 0,
        lower: row?.lower ?? 0,
      },
      sources: draft.sources,
      vips: [...draft.vips.values()],
      ports: draft.ports,
    },
    range4,
    range6,
  })
}

/** Deletes the rows that no service has claimed by now, from the VIPs down to the names. */
export function deleteOrphans(installer: Installer): void {
  const { tables, ids, retirement, constants } = installer
  for (const claimed of [
    installer.vips[4],
    installer.vips[6],
    installer.ports[4],
    installer.ports[6],
  ]) {
    for (const row of claimed.table.keys()) if (!claimed.isClaimed(row)) claimed.table.delete(row)
  }
  for (const row of tables.services.keys())
    if (ids.services.keyOf(tables.services.decodeKey(row)) === undefined)
      tables.services.delete(row)
  for (const row of tables.sources.keys())
    if (ids.services.keyOf(tables.sources.decodeKey(row).service) === undefined)
      tables.sources.delete(row)
  for (const [id] of tables.backends.entries()) {
    if (ids.backends.keyOf(id) !== undefined) continue
    tables.backends.delete(id)
    tables.vias.delete(id)
    retirement.clearBackend(id)
  }
  for (const row of tables.names.keys()) {
    const { kind, id } = tables.names.decodeKey(row)
    const known = kind === constants.name.network ? ids.networks : ids.services
    if (known.keyOf(id) === undefined) tables.names.delete(row)
  }
}
