/** One boot of Debian's kernel with a script, on an emulated processor: no KVM, no network, no disk. */
import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { cpio } from './cpio.js'
import { type GuestKernel, guestKernel } from './kernel.js'

/** Path in the guest → path here, or contents. */
export type GuestFiles = Map<string, string | Buffer>

export interface BootOptions {
  /** Default 1024. */
  readonly megabytes?: number
  /** Time is a count of instructions, whatever the host does meanwhile. */
  readonly counted?: boolean
  /** Default: below what a test file has. Alone on the machine a boot takes seconds. */
  readonly limitSeconds?: number
  /** Gets what the script has printed so far, now and then. */
  readonly onOutput?: (said: string) => void
}

const LIMIT_SECONDS = 200
const OUTPUT_MS = 500

/**
 * Without the check of timers: on a busy host the guest's comes late, which the kernel takes for a
 * broken board.
 */
export const GUEST_CMDLINE =
  'console=ttyS0 panic=-1 quiet no_timer_check clearcpuid=rep_good,erms,fsrm'

/** Emulation counts each round of a `rep` instruction, so the kernel is told that they are slow. */
export const GUEST_CPU = 'max,-erms'

/** An instruction a nanosecond; idle time passes at once. */
export const GUEST_ICOUNT = 'shift=0,sleep=off'

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
function boot(
  { image }: GuestKernel,
  scratch: string,
  { megabytes = 1024, counted = false, limitSeconds = LIMIT_SECONDS }: BootOptions,
  stop: AbortSignal,
): Promise<void> {
  // `timeout` ends the guest also when this process can do so no more.
  const qemu = spawn(
    'timeout',
    [
      ...['--kill-after=5', `${limitSeconds}`, 'qemu-system-x86_64'],
      ...['-accel', 'tcg', '-cpu', GUEST_CPU, '-smp', '1', '-m', `${megabytes}`],
      ...(counted ? ['-icount', GUEST_ICOUNT] : []),
      ...['-nodefaults', '-no-user-config', '-display', 'none', '-nic', 'none', '-no-reboot'],
      ...['-kernel', image, '-initrd', join(scratch, 'initramfs')],
      ...['-append', GUEST_CMDLINE],
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
  files: (kernel: GuestKernel) => GuestFiles | Promise<GuestFiles>,
  script: string,
  stop: AbortSignal,
  options: BootOptions = {},
): Promise<{ said: string; console: string }> {
  const kernel = guestKernel()
  const scratch = mkdtempSync(join(tmpdir(), 'fairlead-guest-'))
  const base: [string, string | Buffer][] = [
    ['/init', Buffer.from(INIT)],
    ['/script', Buffer.from(script)],
    ['/bin/busybox', '/bin/busybox'],
  ]
  try {
    writeFileSync(join(scratch, 'initramfs'), cpio(new Map([...base, ...(await files(kernel))])))
    const read = (file: string) => readFileSync(join(scratch, file), 'utf8').replaceAll('\r', '')
    const { onOutput } = options
    const telling =
      onOutput &&
      setInterval(() => existsSync(join(scratch, 'report')) && onOutput(read('report')), OUTPUT_MS)
    try {
      await boot(kernel, scratch, options, stop)
    } finally {
      clearInterval(telling)
    }
    return { said: read('report'), console: read('console') }
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}
