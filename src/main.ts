/** The agent: wiring and signals, nothing else. */
import { release } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { pino, type Logger } from 'pino'
import pretty from 'pino-pretty'
import { ApiServer } from './api/apiServer.js'
import { refuseLive } from './api/claimSocket.js'
import { HttpServer } from './api/httpServer.js'
import { Journal } from './api/journal.js'
import { Live } from './api/live.js'
import type { ChangeView } from './api/liveSchema.js'
import type { ApiOptions } from './api/routes.js'
import { Token } from './api/token.js'
import { version } from './api/version.js'
import {
  type Config,
  type DockerConfig,
  type HttpConfig,
  type Overrides,
  readConfig,
} from './config.js'
import { Dataplane } from './dataplane/dataplane.js'
import { detach } from './dataplane/detach.js'
import { DnsServer } from './dns/server.js'
import { FairleadError } from './errors.js'
import { ipvsPresence } from './host/ipvs.js'
import { namespaceInode } from './host/namespaces.js'
import { Notifier, takeNotifierSettings } from './host/notify.js'
import { probeOpener } from './host/probes.js'
import { openListener } from './host/sockets.js'
import { Metrics } from './metrics/metrics.js'
import { formatListen, isLoopback } from './model/address.js'
import { Model } from './model/model.js'
import type { ChangeObserver, SnapshotNote } from './model/observe.js'
import type { Problem, Snapshot, State } from './model/types.js'
import { EngineSources } from './sources/engineSources.js'
import { FileSource } from './sources/file/source.js'
import { HealthSource } from './sources/health/source.js'
import { defaultTakeover } from './sources/takeover.js'
import { StateFile } from './stateFile.js'

/** How long names may wait for the kernel: a VIP should work before it is named. */
const kernelFirstMs = 2_000

/**
 * How long a first state may wait for an engine that does not answer: without its services, what an
 * earlier agent left for them would be taken down.
 */
const enginesFirstMs = 30_000

/**
 * What puts a state into the kernel or the names and has not ended after this time never will: such an
 * agent is of no use to its node, and its service manager's watchdog may restart it.
 */
const stuckAfterMs = 120_000

export interface AgentOptions {
  readonly configPath: string
  readonly overrides?: Overrides
  /** Remove everything from the kernel at the end, instead of leaving traffic flowing. */
  readonly detachOnExit?: boolean
  /** Where the BPF objects are; absent: beside the program. */
  readonly objectDir?: string
}

/** @param revision of the state in force, for each line */
function openLog({ log: { level, format } }: Config, revision: () => number): Logger {
  const options = { level, mixin: () => ({ revision: revision() }) }
  if (format === 'json') return pino(options)
  const colorize = process.stdout.isTTY
  return pino(options, pretty({ colorize, ignore: 'pid,hostname', singleLine: true }))
}

/** What sources and checks have not told of already. */
function logChanges(log: Logger, changes: readonly ChangeView[]): void {
  for (const { revision, kind, subject, backend, from, to } of changes)
    if (!kind.startsWith('problem')) log.info({ revision, subject, backend, from, to }, kind)
}

/** Problems of the sinks, as one more source each, so that they are seen where all others are. */
class SinkProblems {
  private readonly bySink = new Map<string, readonly Problem[]>()

  constructor(
    private readonly model: Model,
    private readonly log: Logger,
  ) {}

  report(sink: string, problems: readonly Problem[]): void {
    const before = this.bySink.get(sink) ?? []
    if (problems.length === 0 && before.length === 0) return
    for (const problem of problems)
      if (!before.some(({ reason }) => reason === problem.reason)) this.log.warn(problem, sink)
    this.bySink.set(sink, problems)
    this.model.publish(sink, { networks: [], services: [], problems })
  }
}

/**
 * Sends each state to the sinks, the newest only, the kernel before the names. The kernel is told at
 * once: it does not wait while names of an earlier state are prepared, or listeners opened.
 */
class Distributor {
  /** Revision that DNS has. The kernel may be behind, if that took too long. */
  named = 0
  private latest: State | undefined
  private running: Promise<void> | undefined
  private namingSince: number | undefined

  constructor(
    private readonly dataplane: Dataplane,
    private readonly dns: DnsServer,
    private readonly changes: ChangeObserver,
    /** A state is in the kernel and in DNS. */
    private readonly onAnswering: () => void,
    private readonly onError: (error: unknown) => void,
  ) {}

  /** What has been under way for too long, if anything has. */
  get stuck(): string | undefined {
    if (this.dataplane.busyMs > stuckAfterMs) return 'a state is not getting into the kernel'
    const since = this.namingSince ?? Infinity
    return performance.now() - since > stuckAfterMs ? 'names are not getting ready' : undefined
  }

  send(state: State): void {
    this.dataplane.apply(state)
    this.latest = state
    this.running ??= this.drain().finally(() => (this.running = undefined))
  }

  private async drain(): Promise<void> {
    for (let state = this.latest; state; state = this.latest) {
      this.latest = undefined
      const { revision } = state
      const settled = this.dataplane
        .settled(revision)
        .then(() => this.changes.reached('kernel', revision))
      // A kernel that refuses a row must not keep the other names from being answered.
      await Promise.race([settled, pause(kernelFirstMs, undefined, { ref: false })]).catch(
        this.onError,
      )
      this.namingSince = performance.now()
      await this.dns.apply(state).catch(this.onError)
      this.namingSince = undefined
      this.named = revision
      // Of both: a name that leads nowhere yet is no use.
      void settled.then(() => {
        this.changes.reached('dns', revision)
        this.onAnswering()
      })
    }
  }
}

function engineProblem(reason: string): Problem {
  const kept = 'what was last known stays in force'
  return { source: 'engine', item: 'engine', code: 'ENGINE', reason: `${reason}; ${kept}` }
}

function engineViews({ socketPath }: DockerConfig): { name: string; from: string }[] {
  return EngineSources.sourceNames.map((name) => ({ name, from: socketPath }))
}

function openPage(
  { listen, token, names }: HttpConfig & { readonly token: Token },
  options: ApiOptions,
  log: Logger,
): Promise<HttpServer> {
  if (!isLoopback(listen.host)) {
    const address = formatListen(listen)
    log.warn({ address }, 'the token and all answers cross the network in clear: put TLS in front')
  }
  return HttpServer.ofPage({ ...options, ...listen, token, names })
}

/** For the service manager's status line. */
function statusLine({ services, networks, problems }: State): string {
  const count = (number: number, noun: string) => `${number} ${noun}${number === 1 ? '' : 's'}`
  const told = problems.length === 0 ? '' : `; ${count(problems.length, 'problem')}`
  return `${count(services.size, 'service')} on ${count(networks.size, 'network')}${told}`
}

/** Resolves with the first signal that ends the agent. */
function endSignal(): Promise<string> {
  return new Promise((resolve) => {
    process.once('SIGTERM', resolve)
    process.once('SIGINT', resolve)
  })
}

/**
 * Runs until SIGTERM or SIGINT. SIGHUP reads the file again.
 *
 * @throws FairleadError before anything is attached: CONFIG, FILE, CAPABILITY, LAYOUT, HOST
 */
export async function runAgent(options: AgentOptions): Promise<void> {
  const supervisor = takeNotifierSettings()
  const { config, reading } = await readConfig(options.configPath, options.overrides)
  let revision = 0
  const log = openLog(config, () => revision)
  // From here on, so that what is begun is ended in order, and a reload asked for early ends nothing.
  const ended = endSignal()
  let reload = (): Promise<void> => Promise.resolve()
  const onError = (error: unknown): void => log.error({ err: error }, 'unexpected')
  process.on('SIGHUP', () => {
    reload().catch((error: unknown) => {
      // What is wrong with the file has been told as a problem.
      if (!(error instanceof FairleadError)) onError(error)
    })
  })
  // Before anything is touched that another agent of this node would be holding.
  await refuseLive(config.socketPath)
  const stateFile = await StateFile.open(config.statePath)
  const token = config.http && (await Token.read(config.http.tokenPath))
  const model = new Model({
    sources: [FileSource.sourceName, ...(config.docker ? EngineSources.sourceNames : [])],
    reporters: ['state', 'dataplane', 'dns', 'engine'],
    assignments: stateFile.vips,
  })
  const problems = new SinkProblems(model, log)
  if (stateFile.problem) problems.report('state', [stateFile.problem])

  const dataplane = await Dataplane.open({
    pinPath: config.pinPath,
    ...(config.cgroupPath !== undefined && { cgroupPath: config.cgroupPath }),
    objectDir: options.objectDir ?? join(import.meta.dirname, '../bpf'),
    limits: config.limits,
    node: config.nodeName,
    ...(config.edge && { edge: config.edge }),
    ...(config.drainSeconds !== undefined && { drainSeconds: config.drainSeconds }),
    ...(config.handshakes !== undefined && { handshakes: config.handshakes }),
    ...(config.redirectPeer !== undefined && { redirectPeer: config.redirectPeer }),
    sweepIntervalMs: config.sweepMs,
    onProblems: (found) => problems.report('dataplane', found),
    observer: () => metrics.work,
    log,
  })
  const { readback, events } = dataplane
  const shared = { readback, state: () => model.current, version, kernel: release() }
  const metrics: Metrics = new Metrics({
    ...shared,
    health: () => health,
    ...(config.metricsBackends !== undefined && { maxBackends: config.metricsBackends }),
  })
  const probes = probeOpener()
  const health: HealthSource = new HealthSource({
    opener: probes,
    onStates: (changes) =>
      metrics.changes.during('health', performance.now(), () => void model.setStates(changes)),
    observer: metrics.health,
    log,
  })
  const dns: DnsServer = new DnsServer({
    config: {
      hostListen: config.dns.listen.map(formatListen),
      ...(config.dns.networks && { hostNetworks: config.dns.networks }),
      upstreams: config.dns.upstreams.map(formatListen),
      timeoutMs: config.dns.timeoutMs,
      maxInFlight: config.dns.maxInFlight,
      ...(config.dns.domain !== undefined && { domain: config.dns.domain }),
    },
    open: openListener,
    identify: namespaceInode,
    containers: {
      redirect: dataplane.resolvers,
      openStream: (namespace) => probes.socket(namespace, 4),
    },
    observer: metrics.dns,
    onProblem: () => problems.report('dns', dns.problems()),
  })
  const notifier: Notifier = new Notifier(supervisor, {
    stuck: () => distributor.stuck,
    status: () => statusLine(model.current),
    log,
  })
  const answering = (): void => notifier.ready()
  const distributor = new Distributor(dataplane, dns, metrics.changes, answering, onError)
  const journal = new Journal({ health: () => health })
  journal.onChanges((changes) => logChanges(log, changes))
  let waiting = config.docker !== undefined
  const tell = (state: State): void => {
    if (waiting || state.revision === 0) return
    revision = state.revision
    log.info({ services: state.services.size }, 'new state')
    journal.note(state)
    metrics.changes.stated(state.revision)
    distributor.send(state)
    health.apply(state.networks, model.declared)
    stateFile.save(model.assignments).catch(onError)
  }
  const open = (): void => {
    if (!waiting) return
    waiting = false
    tell(model.current)
  }
  model.onState(tell)

  const publish = (name: string, snapshot: Snapshot, note: SnapshotNote): void => {
    metrics.changes.published(name, note.stale)
    metrics.changes.during(name, note.seenMs, () => void model.publish(name, snapshot))
  }
  const source = new FileSource(config.file, {
    onSnapshot: (snapshot, note) => publish(FileSource.sourceName, snapshot, note),
    log,
  })
  const ipvs = ipvsPresence()
  const takeover = config.docker && {
    mode: config.docker.takeover ?? defaultTakeover(ipvs !== 'absent'),
    names: config.docker.labelled,
  }
  const engine =
    takeover &&
    new EngineSources({
      settings: {
        ...config.docker,
        takeover,
        node: config.nodeName,
        edge: config.edge !== undefined,
        tunnels: config.edge !== undefined && config.edge.mode !== 'tc',
      },
      open: openListener,
      publish: (name, snapshot) => {
        publish(name, snapshot, { seenMs: performance.now(), stale: false })
        if (model.ready()) open()
      },
      onTrouble: (reason) => {
        for (const name of EngineSources.sourceNames)
          metrics.changes.current(name, reason === undefined)
        problems.report('engine', reason === undefined ? [] : [engineProblem(reason)])
      },
      log,
    })
  const answers = () => Math.min(distributor.named, dataplane.settledRevision)
  const told = { ...shared, node: config.nodeName, answering: answers, onError }
  const apiOptions: ApiOptions = {
    ...told,
    explainer: dataplane.explainer,
    events,
    capturer: dataplane.capturer,
    health,
    ipvs,
    ...(takeover && { takeover }),
    sources: [
      { name: FileSource.sourceName, from: config.file },
      ...(config.docker ? engineViews(config.docker) : []),
    ],
    metrics,
    ...{ journal, live: new Live({ ...told, journal }) },
    reload: () => notifier.reloading(() => source.reload()),
  }
  const api = new ApiServer({ ...apiOptions, socketPath: config.socketPath })
  const listeners: HttpServer[] = []
  if (config.metricsListen)
    listeners.push(HttpServer.ofMetrics({ ...config.metricsListen, metrics }))
  if (config.http && token)
    listeners.push(await openPage({ ...config.http, token }, apiOptions, log))

  await api.listen()
  for (const listener of listeners) await listener.listen()
  await source.start(reading)
  engine?.start()
  const patience = setTimeout(open, enginesFirstMs)
  reload = () => notifier.reloading(() => source.reload())
  const { nodeName: node, socketPath: socket } = config
  log.info({ node, socket, version, ...(takeover && { takeover: takeover.mode, ipvs }) }, 'running')

  const signal = await ended
  log.info({ signal }, 'ending')
  notifier.stopping()
  clearTimeout(patience)
  await engine?.close()
  health.close()
  const servers = [api, ...listeners].map((server) => server.close())
  await Promise.all([source.close(), ...servers, dns.close()])
  await dataplane.close()
  if (options.detachOnExit) await detach(config.pinPath)
  await notifier.close()
}
