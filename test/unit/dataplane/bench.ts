/** A reconciler on maps of its own in the kernel, with nothing attached. */
import { existsSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { detach } from '../../../src/dataplane/detach.js'
import type { Installer } from '../../../src/dataplane/install.js'
import { openInstaller } from '../../../src/dataplane/open.js'
import { PinnedMaps, type Limits } from '../../../src/dataplane/pinnedMaps.js'
import { Pins } from '../../../src/dataplane/pins.js'
import { objectFiles } from '../../../src/dataplane/programs.js'
import { KernelReadback } from '../../../src/dataplane/readback.js'
import { Reconciler } from '../../../src/dataplane/reconciler.js'
import { ensurePinDirectory } from '../../../src/host/bpffs.js'
import { missingCapabilities } from '../../../src/host/capabilities.js'
import { silent } from '../../../src/host/log.js'
import type { Problem } from '../../../src/model/types.js'
import type { Pace } from '../../../src/pace.js'

/** dist/bpf, from dist/test/unit/dataplane. */
export const OBJECT_DIR = join(dirname(fileURLToPath(import.meta.url)), '../../../bpf')

export const LIMITS: Limits = {
  services: 2000,
  backends: 8000,
  slots: 16384,
  vips: 16384,
  ports: 4096,
  flows: 1024,
}

let made = 0

export function newPinPath(): string {
  return `/sys/fs/bpf/fl_${process.pid}_${made++}`
}

/** Removes a pin path whatever a test left in it. */
export async function removePins(pinPath: string): Promise<void> {
  if (!existsSync(pinPath)) return
  await detach(pinPath).catch(() => rmSync(pinPath, { recursive: true, force: true }))
}

export class Bench {
  problems: readonly Problem[] = []
  private constructor(
    readonly maps: PinnedMaps,
    readonly installer: Installer,
    readonly reconciler: Reconciler,
    readonly readback: KernelReadback,
  ) {}

  static async open(
    pinPath: string,
    options: {
      limits?: Partial<Limits>
      sweepIntervalMs?: number
      objectDir?: string
      drainSeconds?: number
      pace?: () => Pace
    } = {},
  ): Promise<Bench> {
    await ensurePinDirectory(pinPath)
    const limits = { ...LIMITS, ...options.limits }
    const maps = await PinnedMaps.open(
      new Pins(pinPath),
      objectFiles(options.objectDir ?? OBJECT_DIR),
      limits,
      silent,
    )
    const installer = openInstaller(maps, '', 250, options.drainSeconds)
    const reconciler = new Reconciler(installer, {
      sweepIntervalMs: options.sweepIntervalMs ?? 3_600_000,
      onProblems: (problems) => (bench.problems = problems),
      log: silent,
    })
    const readback = new KernelReadback({
      maps,
      installer,
      attachments: () => [],
      reconcile: () => reconciler.stats,
      features: {},
      ...(options.pace && { pace: options.pace }),
    })
    const bench: Bench = new Bench(maps, installer, reconciler, readback)
    return bench
  }

  async close(): Promise<void> {
    await this.reconciler.close()
    this.maps.close()
  }
}

/** Skips only where maps cannot be made at all. */
export function kernelTest(
  t: Test,
  name: string,
  body: (t: Test, pinPath: string) => Promise<void>,
): void {
  const missing = missingCapabilities()
  const skip = missing.length > 0 && process.env['CI'] === undefined ? missing.join(', ') : false
  void t.test(name, { skip }, async (t) => {
    const pinPath = newPinPath()
    t.teardown(async () => removePins(pinPath))
    await body(t, pinPath)
  })
}
