/** Puts the pieces of the map side together: pinned maps, their shadows, the ids, the installer. */
import { adoptPinned } from './adopt.js'
import { ArrayTable, SlotTable } from './arrayTable.js'
import { Drains } from './drains.js'
import { HashTable } from './hashTable.js'
import { BackendIds, Ids } from './ids.js'
import { Installer } from './install.js'
import { MAX_NETWORKS, type PinnedMaps } from './pinnedMaps.js'
import { tablesInOrder, type Tables } from './records.js'
import { Retirement } from './retirement.js'
import { SlotAllocator } from './slots.js'

/**
 * @param node name of this node
 * @param hz   jiffies in a second
 * @param drainSeconds of services that do not say
 */
export function openInstaller(
  maps: PinnedMaps,
  node = '',
  hz = 250,
  drainSeconds?: number,
): Installer {
  const tables: Tables = {
    vips: {
      4: new HashTable('vips4', maps.get('vips4')),
      6: new HashTable('vips6', maps.get('vips6')),
    },
    ports: {
      4: new HashTable('ports4', maps.get('ports4')),
      6: new HashTable('ports6', maps.get('ports6')),
    },
    services: new HashTable('services', maps.get('services')),
    slots: new SlotTable('slots', maps.get('slots')),
    sources: new HashTable('sources', maps.get('sources')),
    backends: new ArrayTable('backends', maps.get('backends')),
    vias: new ArrayTable('vias', maps.get('vias')),
    peers: new HashTable('peers', maps.get('peers')),
    aliases: new HashTable('aliases', maps.get('aliases')),
    timers: new ArrayTable('timers', maps.get('timers')),
    drains: new HashTable('drains', maps.get('drains')),
    netnses: new HashTable('netnses', maps.get('netnses')),
    names: new HashTable('names', maps.get('names')),
    layout: new ArrayTable('layout', maps.get('layout')),
  }
  if (maps.adopted) for (const table of tablesInOrder(tables)) table.load()
  const ids = {
    networks: new Ids(MAX_NETWORKS),
    services: new Ids(maps.get('cursors').maxEntries - 1),
    backends: new BackendIds(maps.get('backends').maxEntries - 1),
  }
  const retirement = new Retirement(
    {
      counters: maps.get('counters'),
      retired: maps.get('retired'),
      cursors: maps.get('cursors'),
      actives: [maps.get('actives'), maps.get('sock_actives'), maps.get('inactives')],
      backendEnds: maps.get('backend_ends'),
      goneEnds: maps.get('gone_ends'),
      retiredEnds: maps.get('retired_ends'),
      handshakes: maps.get('handshakes'),
    },
    maps.constants.paths.length,
    ids.backends,
    maps.constants.handshakeParts,
  )
  const slots = new SlotAllocator(maps.get('slots').maxEntries)
  const installer = new Installer(
    tables,
    ids,
    slots,
    retirement,
    maps.constants,
    maps.adopted,
    new Drains(tables.drains, drainSeconds),
    node,
    hz,
  )
  if (maps.adopted) adoptPinned(installer)
  return installer
}
