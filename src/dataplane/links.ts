/** Taking programs off their hooks for good: pinned links, and filters where there are no links. */
import { existsSync, rmdirSync, rmSync } from 'node:fs'
import { basename } from 'node:path'
import { Link } from 'libbpf-ts'
import { listLinks } from '../host/links.js'
import { namespaceInode } from '../host/namespaces.js'
import { run } from '../host/run.js'
import { parseTcName, type TcPin } from './pins.js'

const FILTER_PROGRAMS = ['from_container', 'to_container']

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

/** The filters that a note in bpffs tells of, and the note; returns how many filters there were. */
export async function removeFilterNote(note: string): Promise<number> {
  const pin = parseTcName(basename(note))
  const removed = pin === undefined ? 0 : await removeFilters(pin, pin.namespace || undefined)
  rmdirSync(note)
  return removed
}

interface TcFilter {
  readonly pref?: number
  readonly options?: { readonly bpf_name?: string; readonly handle?: string }
}

/** clsact filters of our programs on one interface, if that is still the one that was noted. */
async function removeFilters(
  { inode, ifindex, direction }: TcPin,
  namespace: string | undefined,
): Promise<number> {
  if ((await namespaceInode(namespace)) !== inode) return 0
  const link = (await listLinks(namespace)).find((found) => found.ifindex === ifindex)
  if (link === undefined) return 0
  const args = ['filter', 'show', 'dev', link.name, direction]
  const found = JSON.parse((await run(namespace, 'tc', ['-j', ...args])) || '[]') as TcFilter[]
  let removed = 0
  for (const { pref, options } of found) {
    const ours = FILTER_PROGRAMS.some((name) => options?.bpf_name?.startsWith(name))
    if (!ours || pref === undefined || options?.handle === undefined) continue
    const which = ['pref', String(pref), 'handle', options.handle, 'bpf']
    await run(namespace, 'tc', ['filter', 'del', 'dev', link.name, direction, ...which])
    removed++
  }
  return removed
}
