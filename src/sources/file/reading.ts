/**
 * Reading the file into plain data. A large one is read in a thread of its own: ten thousand services
 * take seconds, and names are answered meanwhile.
 */
import { statSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { FairleadError, type ErrorCode } from '../../errors.js'
import type { Network } from '../../model/types.js'
import type { Mistake } from './document.js'
import { parseEntries, type Entry } from './parse.js'
import { readBounded } from './read.js'

const THREAD = new URL('./readThread.js', import.meta.url)
/** Takes some 20 ms; a thread takes five times that to start. */
const IN_PLACE_BYTES = 32 * 1024

export interface ReadTask {
  readonly path: string
  /** As they were when they last were good. */
  readonly networks: readonly Network[]
}

export interface FileReading {
  readonly signature: string
  /** Why the file as a whole is unusable. Empty: it is not. */
  readonly mistakes: readonly Mistake[]
  readonly networks: readonly Entry<Network>[]
  /** Each an Entry<ServiceSpec> as JSON: a text is handed over, and compared, in no time. */
  readonly services: readonly string[]
  /** Line and column of each entry of `services`, in turns. */
  readonly starts: Uint32Array
  /** The `agent:` section as it stands, and where. */
  readonly agent: unknown
  readonly agentPlace: string
}

/** What a thread answers. */
export type ReadAnswer =
  | { readonly reading: FileReading }
  | { readonly fault: { readonly code: ErrorCode; readonly message: string } }

/**
 * @param signal ends a reading that is under way; it is then refused
 * @throws FairleadError FILE
 */
export async function readFile(task: ReadTask, signal: AbortSignal): Promise<FileReading> {
  if (sizeOf(task.path) <= IN_PLACE_BYTES) return readInPlace(task)
  const answer = await readInThread(task, signal)
  if ('reading' in answer) return answer.reading
  throw new FairleadError(answer.fault.code, answer.fault.message)
}

/** @throws FairleadError FILE */
export function readInPlace({ path, networks: last }: ReadTask): FileReading {
  const { text, signature } = readBounded(path)
  const outcome = parseEntries(path, text, last)
  if (!outcome.ok) {
    const nothing = { networks: [], services: [], starts: new Uint32Array() }
    return { signature, mistakes: outcome.mistakes, ...nothing, agent: undefined, agentPlace: path }
  }
  const { networks, services, agent, yaml } = outcome.file
  return {
    signature,
    mistakes: [],
    networks,
    services: services.map((entry) => JSON.stringify(entry)),
    starts: yaml.startsOf('services'),
    agent,
    agentPlace: yaml.place(['agent']),
  }
}

function readInThread(task: ReadTask, signal: AbortSignal): Promise<ReadAnswer> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(THREAD, { workerData: task })
    const refuse = (cause?: Error) => {
      const why = cause?.message ?? 'its reading was ended'
      reject(new FairleadError('FILE', `${task.path}: cannot be read: ${why}`, { cause }))
    }
    const end = () => void worker.terminate()
    signal.addEventListener('abort', end)
    worker.once('message', resolve)
    worker.once('error', refuse)
    worker.once('exit', () => {
      signal.removeEventListener('abort', end)
      // Without effect, if it has answered.
      refuse()
    })
    if (signal.aborted) end()
  })
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0
}
