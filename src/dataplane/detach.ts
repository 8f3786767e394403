/** Takes everything out of the kernel that was pinned below a path. */
import { existsSync, rmdirSync, rmSync } from 'node:fs'
import { lockDirectory } from '../host/lock.js'
import { removeFilter, removeLink } from './links.js'
import { namesIn, Pins } from './pins.js'

export interface Detached {
  /** Links and clsact filters. */
  readonly links: number
  readonly maps: number
}

/**
 * What is gone already is passed over.
 *
 * @throws FairleadError HOST while an agent uses the path
 */
export async function detach(pinPath: string): Promise<Detached> {
  if (!existsSync(pinPath)) return { links: 0, maps: 0 }
  const lock = await lockDirectory(pinPath)
  try {
    return await removeAll(new Pins(pinPath))
  } finally {
    lock.close()
  }
}

async function removeAll(pins: Pins): Promise<Detached> {
  let links = 0
  for (const name of namesIn(pins.links)) if (await removeLink(`${pins.links}/${name}`)) links++
  for (const name of namesIn(pins.tails)) rmSync(`${pins.tails}/${name}`)
  const maps = namesIn(pins.maps)
  for (const directory of [pins.maps, pins.next, pins.ready, pins.former])
    for (const name of namesIn(directory)) rmSync(`${directory}/${name}`)
  for (const name of namesIn(pins.filters))
    if (await removeFilter(`${pins.filters}/${name}`)) links++
  const { links: attached, tails, maps: made, next, ready, former, filters, root } = pins
  for (const directory of [attached, tails, made, next, ready, former, filters, root])
    if (existsSync(directory)) rmdirSync(directory)
  return { links, maps: maps.length }
}
