/** Modules of the guest's kernel, as its package has them: no depmod has been there. */
import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'

/** Those whose names match, with `_` for `-`, and what they need, in the order in which they load. */
export function modulesOf(folder: string, wanted: RegExp): string[] {
  const paths = new Map(
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ko'))
      .map((path) => [basename(path, '.ko').replaceAll('-', '_'), join(folder, path)]),
  )
  const order = new Set<string>()
  const add = (name: string): void => {
    const path = paths.get(name)
    if (path === undefined || order.has(path)) return
    for (const needed of dependsOf(path)) add(needed)
    order.add(path)
  }
  // libcrc32c asks for it by name, which no table of dependencies tells.
  add('crc32c_generic')
  for (const name of [...paths.keys()].sort()) if (wanted.test(name)) add(name)
  return [...order]
}

/** Its `.modinfo` says so. */
function dependsOf(path: string): string[] {
  const [, list = ''] = /\0depends=([^\0]*)\0/.exec(readFileSync(path, 'latin1')) ?? []
  return list
    .split(',')
    .filter((name) => name !== '')
    .map((name) => name.replaceAll('-', '_'))
}
