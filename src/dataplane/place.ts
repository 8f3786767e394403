/** Puts a tc program on an interface of the agent's own namespace, or takes up where it is. */
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { Link, type Program } from 'libbpf-ts'
import { openFilter, removeLink } from './links.js'
import { namesIn, parseFilterNote, samePin, type Pins, type TcPin } from './pins.js'

export interface Placed {
  readonly link: Link
  /** In bpffs: a link's pin, or a filter's note. */
  readonly place: string
}

/** @throws BpfError */
export async function placeFilter(
  pins: Pins,
  pin: TcPin,
  program: Program,
  hook: 'tcx' | 'clsact',
): Promise<Placed> {
  const found = (await openLink(pins, pin)) ?? (await openNoted(pins, pin))
  if (found !== undefined) {
    await found.link.update(program)
    return found
  }
  const where = { interface: pin.ifindex, direction: pin.direction }
  const link = hook === 'tcx' ? await program.attachTcx(where) : await program.attachClsact(where)
  if (link.hook !== 'clsact') {
    const place = pins.tcLink(pin)
    link.pin(place)
    return { link, place }
  }
  const { handle = 0, priority = 0 } = link.info()
  const place = pins.filter({ ...pin, handle, priority })
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
