/** Puts the pieces of the map side together: pinned maps, their shadows, the ids, the installer. */
import { adoptPinned } from './adopt.js'
import { Ids } from './ids.js'
import { Installer, type Tables } from './install.js'
import { MAX_NETWORKS, type PinnedMaps } from './pinnedMaps.js'
import { tablesInOrder } from './reconciler.js'
import { Retirement } from './retirement.js'
import { SlotAllocator } from './slots.js'
import { ArrayTable, HashTable, SlotTable } from './tables.js'

export function openInstaller(maps: PinnedMaps): Installer {
  const hash = (name: string) => new HashTable(name, maps.get(name))
  const array = (name: string) => new ArrayTable(name, maps.get(name))
  const tables: Tables = {
    vips: { 4: hash('vips4'), 6: hash('vips6') },
    ports: { 4: hash('ports4'), 6: hash('ports6') },
    services: hash('services'),
    slots: new SlotTable('slots', maps.get('slots')),
    backends: array('backends'),
    netnses: hash('netnses'),
    names: hash('names'),
    layout: array('layout'),
  }
  if (maps.adopted) for (const table of tablesInOrder(tables)) table.load()
  const ids = {
    networks: new Ids(MAX_NETWORKS),
    services: new Ids(maps.get('cursors').maxEntries - 1),
    backends: new Ids(maps.get('backends').maxEntries - 1),
  }
  const retirement = new Retirement(
    { counters: maps.get('counters'), retired: maps.get('retired'), cursors: maps.get('cursors') },
    maps.constants.paths.length,
    ids.backends,
  )
  const slots = new SlotAllocator(maps.get('slots').maxEntries)
  const installer = new Installer(tables, ids, slots, retirement, maps.constants, maps.adopted)
  if (maps.adopted) adoptPinned(installer)
  return installer
}
