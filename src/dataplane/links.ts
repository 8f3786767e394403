/** Taking programs off their hooks for good: pinned links, and filters where there are no links. */
import { existsSync, rmdirSync, rmSync } from 'node:fs'
import { basename } from 'node:path'
import { Link } from 'libbpf-ts'
import { namespaceInode } from '../host/namespaces.js'
import { FORMER, namesIn, parseFilterNote, type FilterNote, type Pins } from './pins.js'

/** Detaches a pinned link and removes its pin; nothing happens when there is none. */
export async function removeLink(pin: string): Promise<boolean> {
  if (!existsSync(pin)) return false
  const link = Link.openPinned(pin)
  try {
    await link.detach()
  } catch {
    // Its interface, namespace or cgroup went first; the pin is all that is left.
  } finally {
    link.close()
  }
  rmSync(pin, { force: true })
  return true
}

/** The filter that a note tells of, if it is there still. */
export async function openFilter(note: FilterNote): Promise<Link | undefined> {
  const { inode, ifindex, direction, handle, priority, namespace } = note
  if ((await namespaceInode(namespace)) !== inode) return undefined
  const place = { interface: ifindex, direction, handle, priority, netns: namespace }
  return Link.openClsact(place).catch(() => undefined)
}

/** Removes a clsact filter and its note in bpffs; false when the filter had gone. */
export async function removeFilter(path: string): Promise<boolean> {
  const note = parseFilterNote(basename(path))
  const filter = note && (await openFilter(note))
  await filter?.detach().catch(() => undefined)
  filter?.close()
  rmdirSync(path)
  return filter !== undefined
}

/** Takes off the programs that ran beside their successors while flows were copied. */
export async function removeFormerLinks(pins: Pins): Promise<void> {
  for (const name of namesIn(pins.links))
    if (name.startsWith(FORMER)) await removeLink(`${pins.links}/${name}`)
}
