/** Reads the file once, and ends: what parsing it took goes with the thread. */
import { parentPort, workerData } from 'node:worker_threads'
import { FairleadError } from '../../errors.js'
import { readInPlace, type ReadAnswer, type ReadTask } from './reading.js'

parentPort?.postMessage(answer(workerData as ReadTask))

function answer(task: ReadTask): ReadAnswer {
  try {
    return { reading: readInPlace(task) }
  } catch (error) {
    if (!(error instanceof FairleadError)) throw error
    const { code, message } = error
    return { fault: { code, message } }
  }
}
