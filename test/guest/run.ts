/** Boots the guest with this tree's programs, and reads what it reports. */
import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { cpio } from './cpio.js'
import type { GuestReport } from './inside.js'
import { guestKernel } from './kernel.js'

const ROOT = new URL('../../..', import.meta.url).pathname
const HOME = '/fairlead'

/** Below the 120 s that a test file has; alone on the machine it takes half a minute. */
const LIMIT_SECONDS = 100

const INIT = `#!/bin/busybox sh
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev
busybox mount -t bpf bpf /sys/fs/bpf
busybox ip link set lo up
cd ${HOME}
/usr/bin/node dist/test/guest/inside.js > /dev/ttyS1 2>&1 || echo FAILED > /dev/ttyS1
busybox poweroff -f
`

/** What a binary is linked with, by the paths that the loader looks at. */
function libraries(binary: string): string[] {
  const listed = execFileSync('ldd', [binary], { encoding: 'utf8' })
  return [...listed.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map(([, path]) => path ?? '')
}

function initramfs(): Buffer {
  const addon = join(ROOT, 'native/build/Release/bpf.node')
  const files = new Map<string, string | Buffer>([
    ['/init', Buffer.from(INIT)],
    ['/bin/busybox', '/bin/busybox'],
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
  return cpio(files)
}

/** @returns when QEMU has ended */
function boot(kernel: string, scratch: string, stop: AbortSignal): Promise<void> {
  // `timeout` ends the guest also when this process can do so no more.
  const qemu = spawn(
    'timeout',
    [
      ...['--kill-after=5', `${LIMIT_SECONDS}`, 'qemu-system-x86_64'],
      ...['-accel', 'tcg', '-cpu', 'max,-erms', '-smp', '1', '-m', '1024'],
      ...['-nodefaults', '-no-user-config', '-display', 'none', '-nic', 'none', '-no-reboot'],
      ...['-kernel', kernel, '-initrd', join(scratch, 'initramfs')],
      ...['-append', 'console=ttyS0 panic=-1 quiet clearcpuid=rep_good,erms,fsrm'],
      ...['-serial', `file:${join(scratch, 'console')}`],
      ...['-serial', `file:${join(scratch, 'report')}`],
    ],
    { stdio: 'ignore', signal: stop, killSignal: 'SIGTERM' },
  )
  return new Promise((resolve, reject) => {
    qemu.on('error', reject)
    qemu.on('exit', () => {
      resolve()
    })
  })
}

function read(file: string): string {
  return readFileSync(file, 'utf8')
}

/**
 * One boot of Debian's kernel; half a minute.
 * @param stop ends the guest early
 * @throws Error with the end of the guest's console when it reports nothing
 */
export async function runGuest(stop: AbortSignal): Promise<GuestReport> {
  const kernel = guestKernel()
  const scratch = mkdtempSync(join(tmpdir(), 'fairlead-guest-'))
  try {
    writeFileSync(join(scratch, 'initramfs'), initramfs())
    await boot(kernel, scratch, stop)
    const said = read(join(scratch, 'report'))
    const line = /^REPORT (.*)$/m.exec(said)?.[1]
    if (line === undefined)
      throw new Error(
        `the guest reported nothing: ${said.slice(-2000)}\n${read(join(scratch, 'console')).slice(-2000)}`,
      )
    return JSON.parse(line) as GuestReport
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}
