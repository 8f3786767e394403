/**
 * What the guest's init starts: the verifier's word on each program, and packets through those of tc
 * and XDP. Prints one line of JSON for run.ts.
 */
import { openEdgeWorld } from '../fuzz/edgeWorld.js'
import { containerTargets, openWorld } from '../fuzz/containerWorld.js'
import { describeFailure, Fuzzer } from '../fuzz/fuzzer.js'
import { verifyAll, type KernelReport } from './verify.js'

export interface GuestReport extends KernelReport {
  readonly fuzz: { readonly packets: number; readonly translated: number; readonly failure: string }
}

const PACKETS = 2000
const EDGE_PACKETS = 500
const SEED = 61

function fuzz(): GuestReport['fuzz'] {
  const dp = openWorld(true)
  try {
    const fuzzer = new Fuzzer(dp, containerTargets(dp))
    const failure = fuzzer.run(SEED, PACKETS)
    const tally = fuzzer.tally()
    const translated = Object.values(tally.translated).reduce((sum, one) => sum + one, 0)
    return {
      packets: tally.packets,
      translated,
      failure: failure ? describeFailure(failure) : fuzzEdge(),
    }
  } finally {
    dp.close()
  }
}

/** The programs of a NIC; nothing has a route here. */
function fuzzEdge(): string {
  const world = openEdgeWorld(0)
  try {
    const failure = new Fuzzer(world.dp, world.targets, 'PATH_XDP').run(SEED, EDGE_PACKETS)
    return failure ? describeFailure(failure, '--edge') : ''
  } finally {
    world.close()
  }
}

/** A refused program must not hide what the verifier said of the others. */
function tryFuzz(): GuestReport['fuzz'] {
  try {
    return fuzz()
  } catch (error) {
    return { packets: 0, translated: 0, failure: String(error) }
  }
}

const report: GuestReport = { ...verifyAll(), fuzz: tryFuzz() }
console.log(`REPORT ${JSON.stringify(report)}`)
