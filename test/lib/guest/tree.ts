/** What of this tree a guest needs to run its code: Node, the addon, objects, compiled files, packages. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type GuestFiles, libraries } from './boot.js'

const ROOT = new URL('../../../..', import.meta.url).pathname

/** Where the tree is in the guest. */
export const GUEST_HOME = '/fairlead'

const CODE = /\.(js|cjs|mjs|json)$/

interface Lock {
  readonly packages: Readonly<Record<string, { readonly dev?: boolean; readonly link?: boolean }>>
}

/** Folders of the packages that the agent runs with. */
function packages(): string[] {
  const { packages } = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as Lock
  return Object.entries(packages)
    .filter(([path, { dev, link }]) => path.startsWith('node_modules/') && !dev && !link)
    .map(([path]) => path)
    .filter((path) => existsSync(join(ROOT, path)))
}

/** A program by its path here, with its libraries. */
export function addProgram(files: GuestFiles, path: string, as = path): void {
  files.set(as, path)
  for (const library of libraries(path)) files.set(library, library)
}

/** Every file of a folder whose path matches. */
export function addFolder(files: GuestFiles, from: string, to: string, keep: RegExp): void {
  for (const entry of readdirSync(from, { recursive: true, encoding: 'utf8' }))
    if (keep.test(entry)) files.set(`${to}/${entry}`, join(from, entry))
}

/**
 * @param parts of `dist` besides `bpf` and `src`
 * @param whole with all packages that the agent needs; else with what its libraries do
 */
export function treeFiles(parts: readonly string[], whole = false): GuestFiles {
  const addon = join(ROOT, 'native/build/Release/bpf.node')
  const own = `${GUEST_HOME}/node_modules/libbpf-ts`
  const files: GuestFiles = new Map<string, string | Buffer>([
    [`${GUEST_HOME}/package.json`, join(ROOT, 'package.json')],
    [`${own}/package.json`, join(ROOT, 'native/package.json')],
  ])
  addProgram(files, process.execPath, '/usr/bin/node')
  addProgram(files, addon, `${own}/build/Release/bpf.node`)
  addFolder(files, join(ROOT, 'dist/bpf'), `${GUEST_HOME}/dist/bpf`, /\.bpf\.o$/)
  for (const part of ['src', ...parts])
    addFolder(files, join(ROOT, 'dist', part), `${GUEST_HOME}/dist/${part}`, /\.js$/)
  addFolder(files, join(ROOT, 'native/dist'), `${own}/dist`, /^[^/]*\.js$/)
  for (const folder of whole ? packages() : ['node_modules/ipaddr.js'])
    addFolder(files, join(ROOT, folder), `${GUEST_HOME}/${folder}`, CODE)
  return files
}
