/** What one container engine feeds: its own containers, and those of the swarm it is part of. */
import type { SocketOpener } from '../model/sockets.js'
import type { Snapshot } from '../model/types.js'
import { EngineApi } from './docker/api.js'
import { Engine, type Log } from './docker/engine.js'
import type { DockerSettings } from './docker/snapshot.js'
import { DockerSource } from './docker/source.js'
import { SwarmSource } from './swarm/source.js'
import type { Takeover } from './takeover.js'

const MOST_TOLD = 1_000

export interface EngineSettings extends DockerSettings {
  readonly socketPath: string
  /** Of this engine's own containers: with `labelled` no compose service without a label of ours. */
  readonly services: 'all' | 'labelled'
  /** The node has an edge, where a swarm's ports may be published. */
  readonly edge: boolean
  /** Tunnels may end there. */
  readonly tunnels: boolean
  /** The port by which managers' agents tell those of workers; 0: they do not. */
  readonly exchange: number
}

export interface EngineSourcesOptions {
  readonly settings: EngineSettings
  /** Opens sockets in the namespaces of containers. */
  readonly open: SocketOpener
  readonly publish: (source: string, snapshot: Snapshot) => void
  /** Why the engine cannot be followed; undefined once it can. What was known stays in force. */
  readonly onTrouble: (reason: string | undefined) => void
  readonly log: Log
}

export class EngineSources {
  /** In order of precedence. */
  static readonly sourceNames = [DockerSource.sourceName, SwarmSource.sourceName]

  readonly #engine: Engine
  readonly #swarm: SwarmSource

  constructor({ settings, open, publish, onTrouble, log }: EngineSourcesOptions) {
    const api = new EngineApi({ socketPath: settings.socketPath, onBadItem: once(log) })
    const docker = new DockerSource({
      settings: { ...settings, takeover: ofContainers(settings) },
      onSnapshot: (snapshot) => publish(DockerSource.sourceName, snapshot),
    })
    const { node, resolver, edge, tunnels, takeover, exchange } = settings
    const swarm = new SwarmSource({
      ...{ api, open, node, resolver, edge, tunnels, takeover, exchange, log },
      onSnapshot: (snapshot) => publish(SwarmSource.sourceName, snapshot),
    })
    this.#swarm = swarm
    this.#engine = new Engine(api, {
      onView: (view) => {
        docker.see(view)
        swarm.see(view)
      },
      onTrouble,
      log,
    })
  }

  start(): void {
    this.#engine.start()
  }

  /** Nothing is called after this. */
  async close(): Promise<void> {
    await this.#engine.close()
    await this.#swarm.close()
  }
}

/** Lists are asked for over and over: what is wrong with an item is told the first time. */
function once(log: Log): (reason: string) => void {
  const told = new Set<string>()
  return (reason) => {
    if (told.has(reason)) return
    if (told.size >= MOST_TOLD) told.clear()
    told.add(reason)
    log.warn({ reason }, 'left out')
  }
}

function ofContainers({ services, takeover }: EngineSettings): Takeover {
  return takeover.mode === 'all' ? { ...takeover, mode: services } : takeover
}
