/**
 * Which of an engine's services fairlead serves, and which are left to the engine. Pure.
 *
 * A service is told by its labels: `fairlead.enable`, or any other of ours. Where those are not known
 * (a swarm's, on workers) by its network's label, or by its name in the agent's file.
 */
import type { Takeover } from '../takeover.js'
import { enabled, labelled, type Labels } from './labels.js'

export interface Candidate {
  readonly name: string
  /** The network's name. */
  readonly network: string
  readonly labels: Labels
  readonly networkLabels: Labels
}

export function isTaken(candidate: Candidate, { mode, names }: Takeover): boolean {
  const said = enabled(candidate.labels) ?? enabled(candidate.networkLabels)
  if (mode === 'none' || said === false) return false
  if (mode === 'all' || said === true || labelled(candidate.labels)) return true
  const name = candidate.name.toLowerCase()
  return names.includes(name) || names.includes(`${candidate.network.toLowerCase()}/${name}`)
}
