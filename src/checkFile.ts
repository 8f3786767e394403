/**
 * What `fairlead check` tells: everything that can be known of a file without an agent.
 */
import { configOf, type Config } from './config.js'
import { FairleadError } from './errors.js'
import { Model } from './model/model.js'
import type { Problem, Snapshot, State } from './model/types.js'
import { parseFile } from './sources/file/parse.js'
import { problemOf, snapshotOf } from './sources/file/problems.js'
import { readBounded } from './sources/file/read.js'

export interface CheckResult {
  /** Absent when the `agent:` section, or the whole file, has a mistake. */
  readonly config?: Config
  readonly snapshot: Snapshot
  /** What the model makes of it, automatic VIPs included. */
  readonly state: State
  /** All there are; empty: the file is good. */
  readonly problems: readonly Problem[]
}

/** Does not throw for anything that is in the file, nor for its absence. */
export function checkFile(path: string): CheckResult {
  const source = 'file'
  const model = new Model({ sources: [source] })
  const fail = (problems: readonly Problem[]): CheckResult => {
    const snapshot = { networks: [], services: [], problems }
    return { snapshot, state: model.publish(source, snapshot), problems }
  }
  let text: string
  try {
    text = readBounded(path).text
  } catch (error) {
    if (!(error instanceof FairleadError)) throw error
    return fail([{ source, item: source, place: path, code: error.code, reason: error.message }])
  }
  const outcome = parseFile(path, text)
  if (!outcome.ok) return fail(outcome.mistakes.map((mistake) => problemOf('file', mistake)))
  const { file } = outcome
  const snapshot = snapshotOf(file)
  const state = model.publish(source, snapshot)
  try {
    return { config: configOf(path, file), snapshot, state, problems: state.problems }
  } catch (error) {
    if (!(error instanceof FairleadError)) throw error
    const agent = error.message.split('\n').map((line) => ({
      source,
      item: 'agent',
      code: error.code,
      reason: line,
    }))
    return { snapshot, state, problems: [...agent, ...state.problems] }
  }
}
