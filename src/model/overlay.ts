/** States that backends were found to be in, laid over what their source says of them. Pure. */
import type { Backend, BackendState, Service } from './types.js'

/** By address. */
export type BackendStates = ReadonlyMap<string, BackendState>

const BADNESS: Readonly<Record<BackendState, number>> = { active: 0, draining: 1, down: 2 }

/**
 * The worse state holds: who drains a backend by hand does not want a check to undo it, and one
 * that drains and is dead must not be fallen back on.
 *
 * @returns `service` itself if nothing differs
 */
export function overlay(service: Service, states: BackendStates | undefined): Service {
  if (states === undefined || states.size === 0) return service
  const { backends } = service
  const found = backends.map((backend): Backend => {
    const state = states.get(backend.address)
    if (state === undefined || BADNESS[state] <= BADNESS[backend.state]) return backend
    return { ...backend, state }
  })
  const same = found.every((backend, i) => backend === backends[i])
  return same ? service : { ...service, backends: found }
}
