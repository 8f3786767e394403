/** A network with many services, as a source would publish it, and a reconciler on maps of its own. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { detach } from '../../src/dataplane/detach.js'
import type { Installer } from '../../src/dataplane/install.js'
import { openInstaller } from '../../src/dataplane/open.js'
import { PinnedMaps } from '../../src/dataplane/pinnedMaps.js'
import { Pins } from '../../src/dataplane/pins.js'
import { objectFiles } from '../../src/dataplane/programs.js'
import { Reconciler } from '../../src/dataplane/reconciler.js'
import { ensurePinDirectory } from '../../src/host/bpffs.js'
import { silent } from '../../src/host/log.js'
import type { Backend, Problem, ServiceSpec, Snapshot, State } from '../../src/model/types.js'

const OBJECTS = join(import.meta.dirname, '../../bpf')

const LIMITS = {
  services: 20_000,
  backends: 150_000,
  slots: 400_000,
  vips: 200_000,
  ports: 40_000,
  flows: 1024,
}

/** The i-th address of 10.0.0.0/8. */
function address(i: number): string {
  return `10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`
}

const FIRST_BACKEND = 1 << 20

/** @param generation changes the last backend's address, as a replacement does */
export function serviceSpec(index: number, backends: number, generation = 0): ServiceSpec {
  const first = FIRST_BACKEND + index * 16
  return {
    network: 'net',
    name: `service-${index}`,
    mode: 'vip',
    vips: [address(256 + index)],
    autoVips: [],
    ports: [{ protocol: 'tcp', port: 80, targetPort: 8080 }],
    algorithm: 'rr',
    ttlSeconds: 5,
    aliases: [],
    backends: Array.from({ length: backends }, (_, i): Backend => {
      const last = i === backends - 1
      const place = last ? (1 << 23) + index * 512 + (generation % 512) : first + i
      return { address: address(place), weight: 1, state: 'active' }
    }),
  }
}

/** `count` services of ten backends each and, last, one of a thousand. */
export function services(count: number): ServiceSpec[] {
  const specs = Array.from({ length: count }, (_, i) => serviceSpec(i, 10))
  const big: ServiceSpec = {
    ...serviceSpec(count, 0),
    backends: Array.from({ length: 1000 }, (_, i): Backend => {
      return { address: address((1 << 22) + i), weight: 1, state: 'active' }
    }),
  }
  return [...specs, big]
}

export function snapshot(specs: readonly ServiceSpec[]): Snapshot {
  const attachment = { interfaces: [], sockets: [] }
  const network = { name: 'net', subnets: ['10.0.0.0/8'], pools: [], reserved: [] }
  return {
    networks: [{ ...network, attachment, dns: { listen: [] } }],
    services: specs,
    problems: [],
  }
}

export class ScaleScene {
  problems: readonly Problem[] = []

  private constructor(
    readonly pinPath: string,
    readonly maps: PinnedMaps,
    readonly installer: Installer,
    readonly reconciler: Reconciler,
  ) {}

  /**
   * @param pinPath         of an earlier scene, to take its maps over
   * @param sweepIntervalMs of the reconciler's rows
   * @param flows           rows of each flow table
   */
  static async open(
    pinPath = `/sys/fs/bpf/fl_scale_${process.pid}`,
    sweepIntervalMs = 3_600_000,
    flows = LIMITS.flows,
  ): Promise<ScaleScene> {
    await ensurePinDirectory(pinPath)
    // A run that is cut short leaves nothing pinned either.
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.once(signal, () => {
        rmSync(pinPath, { recursive: true, force: true })
        process.exit(1)
      })
    const maps = await PinnedMaps.open(
      new Pins(pinPath),
      objectFiles(OBJECTS),
      { ...LIMITS, flows },
      silent,
    )
    const installer = openInstaller(maps)
    const reconciler = new Reconciler(installer, {
      sweepIntervalMs,
      onProblems: (problems) => (scene.problems = problems),
      log: silent,
    })
    const scene: ScaleScene = new ScaleScene(pinPath, maps, installer, reconciler)
    return scene
  }

  /** Leaves the pins. */
  async close(): Promise<void> {
    await this.reconciler.close()
    this.maps.close()
  }

  async remove(): Promise<void> {
    await this.close()
    await detach(this.pinPath)
  }
}

export async function put(scene: ScaleScene, state: State): Promise<void> {
  scene.reconciler.apply(state)
  await scene.reconciler.settled(state.revision)
}
