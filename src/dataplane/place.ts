/** Where a tc program is on an interface: taken up from an earlier agent, or attached and pinned. */
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { Link, type Program } from 'libbpf-ts'
import { openFilter, removeLink } from './links.js'
import { namesIn, parseFilterNote, samePin, type Pins, type TcPin } from './pins.js'

export interface Placed {
  readonly link: Link
  /** In bpffs: a link's pin, or a filter's note. */
  readonly place: string
}

/** An earlier agent's; one whose interface has gone is removed. */
export async function openPlaced(pins: Pins, pin: TcPin): Promise<Placed | undefined> {
  return (await openLink(pins, pin)) ?? (await openNoted(pins, pin))
}

/**
 * @param namespace path of the interface's; absent: the agent's own
 * @throws BpfError
 */
export async function attachPlaced(
  pins: Pins,
  pin: TcPin,
  program: Program,
  hook: 'tcx' | 'clsact',
  namespace?: string,
): Promise<Placed> {
  const where = { interface: pin.ifindex, direction: pin.direction, netns: namespace }
  const link = hook === 'tcx' ? await program.attachTcx(where) : await program.attachClsact(where)
  if (link.hook !== 'clsact') {
    const place = pins.tcLink(pin)
    link.pin(place)
    return { link, place }
  }
  const { handle = 0, priority = 0 } = link.info()
  const note = { ...pin, handle, priority, ...(namespace !== undefined && { namespace }) }
  const place = pins.filter(note)
  mkdirSync(place, { recursive: true })
  return { link, place }
}

async function openLink(pins: Pins, pin: TcPin): Promise<Placed | undefined> {
  const place = pins.tcLink(pin)
  if (!existsSync(place)) return undefined
  const link = Link.openPinned(place)
  if (link.info().ifindex === pin.ifindex) return { link, place }
  link.close()
  await removeLink(place)
  return undefined
}

async function openNoted(pins: Pins, pin: TcPin): Promise<Placed | undefined> {
  for (const name of namesIn(pins.filters)) {
    const note = parseFilterNote(name)
    if (note === undefined || !samePin(note, pin)) continue
    const link = await openFilter(note)
    if (link !== undefined) return { link, place: `${pins.filters}/${name}` }
    rmSync(`${pins.filters}/${name}`, { recursive: true })
  }
  return undefined
}
