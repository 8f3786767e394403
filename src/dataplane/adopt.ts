/**
 * Reads pinned maps back into what an agent knows: ids, ring ranges, and which service each row
 * belongs to. Nothing is written here; rows that belong to nobody are left to deleteOrphans(), once
 * the first state is in force.
 */
import { fromWords } from '../model/address.js'
import type { Family } from '../model/types.js'
import type { Claim } from './claims.js'
import type { FamilyRows, Installer } from './install.js'
import { NO_VIA } from './outside.js'
import { addressRow, mergeVips, type BackendPlan } from './rows.js'
import { NO_SLOTS, type SlotRange } from './slots.js'

type VipPart = ReturnType<typeof mergeVips>

/** What the rows tell of one service. */
interface Draft {
  readonly key: string
  readonly id: number
  readonly network: number
  readonly backends: BackendPlan[]
  readonly vips: FamilyRows & Record<Family, number[]>
  readonly ports: FamilyRows & Record<Family, number[]>
  readonly sources: number[]
  /** What it has of an address of one of its backends, and of a VIP. */
  readonly backend: Claim<VipPart>
  readonly balanced: Claim<VipPart>
}

export function adoptPinned(installer: Installer): void {
  const drafts = adoptNames(installer)
  const { tables, ids } = installer
  for (const [id, { addr, service, flags, weight }] of tables.backends.entries()) {
    const draft = drafts.get(service)
    const address = fromWords(addr)
    if (draft === undefined || !ids.backends.adopt(service, address, id)) continue
    const found = { down: false, draining: false }
    draft.backends.push({ id, address, words: addr, flags, weight, via: NO_VIA, ...found })
    const { family, key } = addressRow(draft.network, address)
    adoptVip(installer, draft, family, installer.vips[family].table.find(key), draft.backend)
  }
  for (const family of [4, 6] as const) {
    adoptPorts(installer, drafts, family)
    adoptAnyPortVips(installer, drafts, family)
  }
  for (const row of tables.sources.rows())
    drafts.get(tables.sources.keyAt(row).service)?.sources.push(row)
  for (const draft of drafts.values()) adoptService(installer, draft)
}

/** Ids of networks and services; a draft for each of the latter, by id. */
function adoptNames({ tables, ids, constants }: Installer): Map<number, Draft> {
  const { backend, balanced } = constants.vip
  const { names } = tables
  const drafts = new Map<number, Draft>()
  const found = [...names.rows()].map((row) => ({
    ...names.keyAt(row),
    text: names.get(row)?.text ?? '',
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
      vips: { 4: [], 6: [] },
      ports: { 4: [], 6: [] },
      sources: [],
      backend: { owner: text, part: { flags: backend, service: 0 }, turn: 0 },
      balanced: { owner: text, part: { flags: balanced, service: 0 }, turn: 0 },
    })
  }
  return drafts
}

function adoptPorts(installer: Installer, drafts: Map<number, Draft>, family: Family): void {
  const { table } = installer.ports[family]
  for (const row of table.rows()) {
    const { network, addr } = table.keyAt(row)
    const part = table.get(row)
    const draft = drafts.get(part?.service ?? 0)
    if (part === undefined || draft?.network !== network) continue
    draft.ports[family].push(row)
    installer.ports[family].adopt(row, { owner: draft.key, part, turn: 0 })
    const vip = installer.vips[family].table.find({ network, addr })
    adoptVip(installer, draft, family, vip, draft.balanced)
  }
}

function adoptAnyPortVips(installer: Installer, drafts: Map<number, Draft>, family: Family): void {
  const { table } = installer.vips[family]
  const { balanced, anyPort } = installer.constants.vip
  for (const row of table.rows()) {
    const service = table.get(row)?.service ?? 0
    const draft = service === 0 ? undefined : drafts.get(service)
    if (draft?.network !== table.keyAt(row).network) continue
    const part = { flags: balanced | anyPort, service }
    adoptVip(installer, draft, family, row, { owner: draft.key, part, turn: 0 })
  }
}

/** @param row -1 when somebody has deleted it: the first cycle writes it anew */
function adoptVip(
  { vips }: Installer,
  draft: Draft,
  family: Family,
  row: number,
  claim: Claim<VipPart>,
): void {
  if (row === -1) return
  const claimed = vips[family]
  const before = claimed.claimOf(row, draft.key)
  if (before === undefined) draft.vips[family].push(row)
  claimed.adopt(
    row,
    before === undefined ? claim : { ...claim, part: mergeVips([before.part, claim.part]) },
  )
}

/** A ring that overlaps another's, or leaves the map, is not kept: the first cycle writes anew. */
function adoptService(installer: Installer, draft: Draft): void {
  const { tables, slots } = installer
  const row = tables.services.get(tables.services.find(draft.id))
  const take = (start: number, length: number): SlotRange => {
    const range = { start, length }
    if (length === 0 || !slots.adopt(range)) return NO_SLOTS
    tables.slots.watch(start, length, true)
    return range
  }
  const range4 = take(row?.ring4 ?? 0, row?.slots4 ?? 0)
  const range6 = take(row?.ring6 ?? 0, row?.slots6 ?? 0)
  installer.installed.set(draft.key, {
    ...{ id: draft.id, backends: draft.backends, sources: draft.sources },
    ...{ vips: draft.vips, ports: draft.ports },
    ring4: tables.slots.read(range4.start, range4.length),
    ring6: tables.slots.read(range6.start, range6.length),
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
    for (const row of claimed.table.rows()) if (!claimed.isClaimed(row)) claimed.table.delete(row)
  }
  for (const row of tables.services.rows())
    if (ids.services.keyOf(tables.services.keyAt(row)) === undefined) tables.services.delete(row)
  for (const row of tables.sources.rows())
    if (ids.services.keyOf(tables.sources.keyAt(row).service) === undefined)
      tables.sources.delete(row)
  for (const [id] of tables.backends.entries()) {
    if (ids.backends.backendOf(id) !== undefined) continue
    tables.backends.delete(id)
    tables.vias.delete(id)
    retirement.clearBackend(id)
  }
  installer.drains.prune((id) => ids.backends.backendOf(id) !== undefined)
  for (const row of tables.names.rows()) {
    const { kind, id } = tables.names.keyAt(row)
    const known = kind === constants.name.network ? ids.networks : ids.services
    if (known.keyOf(id) === undefined) tables.names.delete(row)
  }
}
