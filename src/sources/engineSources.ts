/** What one container engine feeds: its own containers, and those of the swarm it is part of. */
import type { Snapshot } from '../model/types.js'
import { EngineApi } from './docker/api.js'
import { Engine, type Log } from './docker/engine.js'
import type { DockerSettings } from './docker/snapshot.js'
import { DockerSource } from './docker/source.js'

export interface EngineSettings extends DockerSettings {
  readonly socketPath: string
}

export interface EngineSourcesOptions {
  readonly settings: EngineSettings
  readonly publish: (source: string, snapshot: Snapshot) => void
  /** Why the engine cannot be followed; undefined once it can. What was known stays in force. */
  readonly onTrouble: (reason: string | undefined) => void
  readonly log: Log
}

export class EngineSources {
  /** In order of precedence. */
  static readonly sourceNames = [DockerSource.sourceName]

  readonly #engine: Engine

  constructor({ settings, publish, onTrouble, log }: EngineSourcesOptions) {
    const docker = new DockerSource({
      settings,
      onSnapshot: (snapshot) => publish(DockerSource.sourceName, snapshot),
    })
    this.#engine = new Engine(new EngineApi({ socketPath: settings.socketPath }), {
      onView: (view) => docker.see(view),
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
  }
}
