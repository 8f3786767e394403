/** Boots the guest with this tree's programs, and reads what it reports. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { bootGuest, type GuestFiles, libraries } from './boot.js'
import type { GuestReport } from './inside.js'

const ROOT = new URL('../../..', import.meta.url).pathname
const HOME = '/fairlead'

const SCRIPT = `
busybox mount -t bpf bpf /sys/fs/bpf
cd ${HOME}
/usr/bin/node dist/test/guest/inside.js || echo FAILED
`

function guestFiles(): GuestFiles {
  const addon = join(ROOT, 'native/build/Release/bpf.node')
  const files = new Map<string, string | Buffer>([
    ['/usr/bin/node', process.execPath],
    [`${HOME}/package.json`, join(ROOT, 'package.json')],
  ])
  const addTree = (from: string, to: string, keep: RegExp) => {
    for (const entry of readdirSync(join(ROOT, from), { recursive: true, encoding: 'utf8' }))
      if (keep.test(entry)) files.set(`${HOME}/${to}/${entry}`, join(ROOT, from, entry))
  }
  for (const path of [...libraries(process.execPath), ...libraries(addon)]) files.set(path, path)
  addTree('dist/bpf', 'dist/bpf', /\.bpf\.o$/)
  for (const part of ['src', 'test/guest', 'test/fuzz', 'test/lib'])
    addTree(`dist/${part}`, `dist/${part}`, /\.js$/)
  addTree('node_modules/ipaddr.js', 'node_modules/ipaddr.js', /(\.js|package\.json)$/)
  const own = 'node_modules/libbpf-ts'
  files.set(`${HOME}/${own}/package.json`, join(ROOT, 'native/package.json'))
  files.set(`${HOME}/${own}/build/Release/bpf.node`, addon)
  for (const file of readdirSync(join(ROOT, 'native/dist')).filter((name) => name.endsWith('.js')))
    files.set(`${HOME}/${own}/dist/${file}`, join(ROOT, 'native/dist', file))
  return files
}

/**
 * One boot of Debian's kernel; half a minute.
 * @param stop ends the guest early
 * @throws Error with the end of the guest's console when it reports nothing
 */
export async function runGuest(stop: AbortSignal): Promise<GuestReport> {
  const { said, console } = await bootGuest(() => guestFiles(), SCRIPT, stop)
  const line = /^REPORT (.*)$/m.exec(said)?.[1]
  if (line === undefined)
    throw new Error(`the guest reported nothing: ${said.slice(-2000)}\n${console.slice(-2000)}`)
  return JSON.parse(line) as GuestReport
}
