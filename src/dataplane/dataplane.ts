/** The dataplane sink: keeps kernel maps and attachments as the newest state says. */
import { requireCapabilities } from '../host/capabilities.js'
import { ensurePinDirectory } from '../host/bpffs.js'
import { endSockets } from '../host/endSockets.js'
import { probeFeatures, type HostFeatures, type SocketEnding } from '../host/features.js'
import { lockDirectory, type Lock } from '../host/lock.js'
import type { Log } from '../host/log.js'
import type { Capturer } from '../model/capture.js'
import type { Explainer } from '../model/explain.js'
import type { WorkObserver } from '../model/observe.js'
import type { Readback } from '../model/readback.js'
import type { Problem, State } from '../model/types.js'
import { Attachments } from './attachments.js'
import type { EdgeOptions } from './edge.js'
import { KernelCapturer } from './capture.js'
import { tellEndings } from './endings.js'
import { Veths } from './veths.js'
import { KernelExplainer } from './explain.js'
import { KernelFlowEvents } from './flowEvents.js'
import type { Installer } from './install.js'
import { openInstaller } from './open.js'
import { PinnedMaps, type Limits } from './pinnedMaps.js'
import { OUTSIDE_NETWORK } from './outside.js'
import { Pins } from './pins.js'
import {
  DEFAULT_HANDSHAKES,
  DEFAULT_SNAT_PORTS,
  DEFAULT_STATELESS_ABOVE,
  DEFAULT_TIMERS,
  loadAbort,
  sweepKnobs,
  objectFiles,
  type Timers,
} from './programs.js'
import { KernelReadback } from './readback.js'
import { OrphanSockets } from './orphans.js'
import { Reconciler } from './reconciler.js'
import { Resolvers } from './resolvers.js'
import { Sweeper } from './sweep.js'
import type { SweepData, SweepResult } from './sweepThread.js'

export interface DataplaneOptions {
  /** Directory on bpffs, absolute; made if it is not there. */
  readonly pinPath: string
  /** cgroup v2 directory for the socket programs; absent: where it is mounted. */
  readonly cgroupPath?: string
  /** Where tc.bpf.o and sock.bpf.o are. */
  readonly objectDir: string
  readonly limits: Limits
  /** Name of this node, as backends have it; absent: none is local. */
  readonly node?: string
  /** CONFIG_HZ; absent: as the host tells. */
  readonly hz?: number
  readonly timers?: Partial<Timers>
  /** How long flows of a draining or removed backend go on, where the service does not say. */
  readonly drainSeconds?: number
  /** Absent: tcx where the kernel has it (6.6), else clsact. */
  readonly hook?: 'tcx' | 'clsact'
  /** How sockets of removed backends are ended; absent: as the host can. */
  readonly socketEnding?: SocketEnding
  /** Interfaces that lead outside; absent: none does. */
  readonly edge?: EdgeOptions
  /** Handshakes that are timed in a second on one CPU at most; 0: none. */
  readonly handshakes?: number
  /** False: containers are always reached by their bridge. */
  readonly redirectPeer?: boolean
  /** Default 30,000. */
  readonly sweepIntervalMs?: number
  /** Seed of the random algorithm; absent: drawn at each load. */
  readonly randomSeed?: bigint
  /** Everything that is not as the state asks, as a whole, whenever it changes. */
  readonly onProblems?: (problems: readonly Problem[]) => void
  /** Asked for with each report, the first of which comes after the first state. */
  readonly observer?: () => WorkObserver
  readonly log: Log
}

const SWEEP_INTERVAL_MS = 30_000
const RETRY_MS = 1_000

export class Dataplane {
  readonly readback: Readback
  readonly events: KernelFlowEvents
  readonly resolvers: Resolvers
  readonly explainer: Explainer
  readonly capturer: Capturer
  readonly features: HostFeatures
  readonly #maps: PinnedMaps
  readonly #networkName: (id: number) => string | undefined
  readonly #lock: Lock
  readonly #log: Log
  readonly #reconciler: Reconciler
  readonly #attachments: Attachments
  readonly #veths: Veths
  readonly #explainer: KernelExplainer
  readonly #capturer: KernelCapturer
  readonly #sweepData: SweepData
  readonly #observer: DataplaneOptions['observer']
  #sweeper: Sweeper | undefined
  readonly #orphans: OrphanSockets | undefined
  #state: State | undefined
  #following: Promise<void> | undefined
  #active = false
  /** When the attaching that is under way began, by performance.now(). */
  #attachingSince: number | undefined
  #retry: NodeJS.Timeout | undefined
  #done = -1
  #closed = false
  #waiting: { readonly revision: number; readonly resolve: () => void }[] = []

  /**
   * Takes over what an earlier agent pinned; changes nothing before the first state.
   *
   * @throws FairleadError CAPABILITY, HOST (no BPF file system, or another agent has the pins) or
   *         LAYOUT; BpfError
   */
  static async open(options: DataplaneOptions): Promise<Dataplane> {
    requireCapabilities()
    await ensurePinDirectory(options.pinPath)
    const lock = await lockDirectory(options.pinPath)
    try {
      return await Dataplane.#openLocked(options, lock)
    } catch (error) {
      lock.close()
      throw error
    }
  }

  static async #openLocked(options: DataplaneOptions, lock: Lock): Promise<Dataplane> {
    const features = await probeFeatures()
    const pins = new Pins(options.pinPath)
    const { objectDir, limits, log } = options
    const maps = await PinnedMaps.open(pins, objectFiles(objectDir), limits, log)
    try {
      const hz = options.hz ?? features.tick.hz
      const installer = openInstaller(maps, options.node, hz, options.drainSeconds)
      return new Dataplane(options, features, maps, lock, installer)
    } catch (error) {
      maps.close()
      throw error
    }
  }

  private constructor(
    options: DataplaneOptions,
    features: HostFeatures,
    maps: PinnedMaps,
    lock: Lock,
    installer: Installer,
  ) {
    this.#maps = maps
    this.#networkName = (id) => installer.ids.networks.keyOf(id)
    this.#lock = lock
    this.#log = options.log
    this.#observer = options.observer
    this.features = features
    this.resolvers = new Resolvers(maps.get('resolvers'), maps.get('resolving'))
    let mapProblems: readonly Problem[] = []
    const tell = () => options.onProblems?.([...mapProblems, ...this.#attachments.problems()])
    this.#reconciler = new Reconciler(installer, {
      sweepIntervalMs: options.sweepIntervalMs ?? SWEEP_INTERVAL_MS,
      log: options.log,
      awaitsOutside: options.edge !== undefined && maps.adopted,
      onProblems: (problems) => {
        mapProblems = problems
        tell()
      },
      onEndings: () => this.#orphans?.look(),
      onCycle: (seconds) => options.observer?.().reconciled(seconds),
    })
    const settings = {
      objectDir: options.objectDir,
      hz: options.hz ?? features.tick.hz,
      timers: { ...DEFAULT_TIMERS, ...options.timers },
      features,
      snatPorts: options.edge?.snatPorts ?? DEFAULT_SNAT_PORTS,
      statelessAbove: options.edge?.statelessAbove ?? DEFAULT_STATELESS_ABOVE,
      handshakes: options.handshakes ?? DEFAULT_HANDSHAKES,
      hook: options.hook ?? (features.tcx ? 'tcx' : 'clsact'),
      ...(options.randomSeed !== undefined && { randomSeed: options.randomSeed }),
    }
    this.#sweepData = {
      objectFile: `${options.objectDir}/sweep.bpf.o`,
      maps: maps.pins.maps,
      rodata: sweepKnobs(settings),
    }
    const ending = options.socketEnding ?? features.socketEnding
    if (ending !== 'none')
      this.#orphans = new OrphanSockets({
        load: () => loadAbort(settings, maps, ending === 'diag'),
        ...(ending === 'diag' && { end: endSockets }),
        namespaces: () => this.#attachments.socketNamespaces(),
        log: options.log,
      })
    this.#veths = new Veths({
      ...{ maps, hz: settings.hz, log: options.log },
      enabled: options.redirectPeer ?? true,
      jiffies: () => this.#jiffies(settings.hz),
    })
    this.#attachments = new Attachments({
      maps,
      settings,
      veths: this.#veths,
      cgroupPath: options.cgroupPath ?? features.cgroup2,
      networkId: (name) => installer.ids.networks.get(name),
      onScopes: (scopes) => this.#reconciler.setSockets(scopes),
      ...(options.edge && { edge: options.edge }),
      onOutside: (outside) => this.#reconciler.setOutside(outside),
      onProblems: tell,
      log: options.log,
    })
    this.#explainer = new KernelExplainer({
      ...{ maps, settings, installer },
      state: () => this.#state,
      hasEdge: options.edge !== undefined,
      sockets: (network) => this.#attachments.socketsOf(network),
      vethOf: (scope, address) => this.#veths.portOf(scope, address),
    })
    this.explainer = this.#explainer
    this.events = new KernelFlowEvents({
      ...{ maps, installer, hz: settings.hz },
      onError: (error) => options.log.warn({ err: error }, 'flows cannot be watched'),
    })
    this.#capturer = new KernelCapturer({
      ...{ maps, settings, installer, explainer: this.#explainer },
      state: () => this.#state,
      ports: (network) => this.#attachments.portsOf(network),
      byBridge: () => this.#veths.hold(),
    })
    this.capturer = this.#capturer
    this.readback = new KernelReadback({
      ...{ maps, installer, timers: settings.timers },
      clock: { hz: settings.hz, now: () => this.#jiffies(settings.hz) },
      attachments: () => this.#attachments.info(),
      reconcile: () => this.#reconciler.stats,
      features: features.flags,
    })
  }

  /** Returns at once; a state that is overtaken by a newer one is skipped. */
  apply(state: State): void {
    if (this.#closed) return
    this.#state = state
    this.#reconciler.apply(state)
    if (this.#active) return
    this.#active = true
    this.#following = this.#follow()
  }

  /**
   * Resolves when the kernel holds `revision` or a later one and what was there to be attached is
   * attached. What does not fit, or is not there yet, is not waited for; nor is a closed dataplane.
   */
  async settled(revision: number): Promise<void> {
    if (this.#closed || this.#done >= revision) return
    await new Promise<void>((resolve) => this.#waiting.push({ revision, resolve }))
  }

  /** The last revision that `settled` would not wait for: in the maps, and attached; 0 before the first. */
  get settledRevision(): number {
    return Math.max(0, this.#done)
  }

  /**
   * For how long the writing or attaching that is under way has been; 0 when nothing is. What fails and
   * is tried again has ended.
   */
  get busyMs(): number {
    const attaching =
      this.#attachingSince === undefined ? 0 : performance.now() - this.#attachingSince
    return Math.max(this.#reconciler.busyMs, attaching)
  }

  /** Rows written to the kernel since open. */
  get writes(): number {
    return this.#reconciler.writes
  }

  /** Closes every handle and leaves the pins: traffic goes on as it was. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    clearTimeout(this.#retry)
    await this.#reconciler.close()
    await this.#following
    clearTimeout(this.#retry)
    await this.#sweeper?.close()
    await this.#orphans?.close()
    await this.#attachments.close()
    this.#veths.close()
    await this.#capturer.close()
    await this.#explainer.close()
    for (const { resolve } of this.#waiting.splice(0)) resolve()
    this.resolvers.pause()
    this.events.close()
    this.#maps.close()
    this.#lock.close()
  }

  /** Attachments follow the maps: a program never runs before its rows are there. */
  async #follow(): Promise<void> {
    let state: State | undefined
    clearTimeout(this.#retry)
    try {
      while (!this.#closed && state !== this.#state) {
        state = this.#state
        if (state === undefined) break
        await this.#reconciler.settled(state.revision)
        if (this.#isClosed()) break
        await this.#timed(this.#attachments.apply(state))
        await this.#reconciler.idle()
        this.#finish(state.revision)
        await this.#timed(this.#finishTransition())
      }
      if (this.#attachments.unfinished || this.#maps.transition !== undefined) this.#retryLater()
    } catch (error) {
      this.#log.error({ err: error }, 'attaching failed, will be tried again')
      this.#retryLater()
    }
    this.#active = false
  }

  async #timed(work: Promise<void>): Promise<void> {
    this.#attachingSince = performance.now()
    try {
      await work
    } finally {
      this.#attachingSince = undefined
    }
  }

  /** While something could not be attached, an earlier agent's programs may still be there. */
  async #finishTransition(): Promise<void> {
    if (this.#maps.transition === undefined || this.#isClosed()) return
    if (this.#attachments.failed) return
    await this.#maps.finishTransition()
    await this.#attachments.reload()
    this.#log.info({}, 'all programs use the new maps')
  }

  #retryLater(): void {
    if (this.#closed) return
    this.#retry = setTimeout(() => this.#state && this.apply(this.#state), RETRY_MS)
  }

  /** Apart, because the field changes behind an await. */
  #isClosed(): boolean {
    return this.#closed
  }

  /** As the last sweep found it: no system call tells. */
  #jiffies(hz: number): number | undefined {
    const tick = this.#sweeper?.last?.tick
    if (tick === undefined) return undefined
    const since = Number(process.hrtime.bigint() - tick.ns) / 1e9
    return (tick.jiffies + Math.round(since * hz)) >>> 0
  }

  #swept(result: SweepResult): void {
    this.#observer?.().swept(result)
    this.#tellEndings(result)
  }

  #tellEndings({ endings }: SweepResult): void {
    if (endings.length === 0) return
    const namespaceOf = (id: number) => {
      if (id === OUTSIDE_NETWORK) return undefined
      const network = this.#state?.networks.get(this.#networkName(id) ?? '')
      return network === undefined ? null : network.attachment.namespace
    }
    void tellEndings(endings, namespaceOf, this.#attachments.tunnelEnds, this.#log)
  }

  #finish(revision: number): void {
    // Not earlier: what is pinned may still be of another layout.
    this.#sweeper ??= new Sweeper(this.#sweepData, (result) => this.#swept(result), this.#log)
    this.#done = revision
    const done = this.#waiting.filter((waiter) => waiter.revision <= revision)
    this.#waiting = this.#waiting.filter((waiter) => waiter.revision > revision)
    for (const { resolve } of done) resolve()
  }
}
