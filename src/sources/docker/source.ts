/** The Docker source: one engine's own containers and networks, as its events tell of them. */
import { sameData } from '../../model/diff.js'
import { serviceKey, type Snapshot } from '../../model/types.js'
import type { EngineView } from './engine.js'
import { snapshotOf, type DockerSettings } from './snapshot.js'

export interface DockerSourceOptions {
  readonly settings: DockerSettings
  readonly onSnapshot: (snapshot: Snapshot) => void
}

export class DockerSource {
  static readonly sourceName = 'docker'

  readonly #options: DockerSourceOptions
  #last: Snapshot = { networks: [], services: [], problems: [] }

  constructor(options: DockerSourceOptions) {
    this.#options = options
  }

  /** What the engine has; to be called with each look at it. */
  see(view: EngineView): void {
    this.#last = unchangedParts(this.#last, snapshotOf(view, this.#options.settings))
    this.#options.onSnapshot(this.#last)
  }
}

/** What has not changed keeps its identity, so that comparing it again costs nothing. */
export function unchangedParts(before: Snapshot, after: Snapshot): Snapshot {
  const services = new Map(before.services.map((spec) => [serviceKey(spec), spec]))
  return {
    ...after,
    networks: sameData(before.networks, after.networks) ? before.networks : after.networks,
    services: after.services.map((spec) => {
      const old = services.get(serviceKey(spec))
      return old !== undefined && sameData(old, spec) ? old : spec
    }),
  }
}
