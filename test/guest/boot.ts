/** One boot of Debian's kernel with a script, on an emulated processor: no KVM, no network, no disk. */
import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { cpio } from './cpio.js'
import { type GuestKernel, guestKernel } from './kernel.js'

/** Path in the guest → path here, or contents. */
export type GuestFiles = Map<string, string | Buffer>

/** Below what a test file has; alone on the machine it takes half a minute. */
const LIMIT_SECONDS = 200

/**
 * Without the check of timers: on a busy host the guest's comes late, which the kernel takes for a
 * broken board.
 */
const CMDLINE = 'console=ttyS0 panic=-1 quiet no_timer_check clearcpuid=rep_good,erms,fsrm'

const INIT = `#!/bin/busybox sh
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev
busybox ip link set lo up
busybox sh /script > /dev/ttyS1 2>&1
busybox poweroff -f
`

/** What a binary is linked with, by the paths that the loader looks at. */
export function libraries(binary: string): string[] {
  const listed = execFileSync('ldd', [binary], { encoding: 'utf8' })
  return [...listed.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map(([, path]) => path ?? '')
}

/** @returns when QEMU has ended */
function boot({ image }: GuestKernel, scratch: string, stop: AbortSignal): Promise<void> {
  // `timeout` ends the guest also when this process can do so no more.
  const qemu = spawn(
    'timeout',
    [
      ...['--kill-after=5', `${LIMIT_SECONDS}`, 'qemu-system-x86_64'],
      ...['-accel', 'tcg', '-cpu', 'max,-erms', '-smp', '1', '-m', '1024'],
      ...['-nodefaults', '-no-user-config', '-display', 'none', '-nic', 'none', '-no-reboot'],
      ...['-kernel', image, '-initrd', join(scratch, 'initramfs')],
      ...['-append', CMDLINE],
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

/**
 * @param files  what the guest has besides busybox
 * @param script for busybox's shell; the guest ends with it
 * @param stop   ends the guest early
 * @returns      what the script printed, and the guest's console
 */
export async function bootGuest(
  files: (kernel: GuestKernel) => GuestFiles,
  script: string,
  stop: AbortSignal,
): Promise<{ said: string; console: string }> {
  const kernel = guestKernel()
  const scratch = mkdtempSync(join(tmpdir(), 'fairlead-guest-'))
  const base: [string, string | Buffer][] = [
    ['/init', Buffer.from(INIT)],
    ['/script', Buffer.from(script)],
    ['/bin/busybox', '/bin/busybox'],
  ]
  try {
    writeFileSync(join(scratch, 'initramfs'), cpio(new Map([...base, ...files(kernel)])))
    await boot(kernel, scratch, stop)
    const read = (file: string) => readFileSync(join(scratch, file), 'utf8').replaceAll('\r', '')
    return { said: read('report'), console: read('console') }
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}
