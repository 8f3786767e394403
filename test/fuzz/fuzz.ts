/**
 * usage: fuzz.js [--count N] [--seed N] [--routed] [--edge]
 *        fuzz.js [--edge] --program NAME --replay HEX
 * Exits with 1 at the first packet that something is wrong with, and prints it. `--edge`: the
 * programs of a NIC, in a namespace made for it, instead of those of containers.
 */
import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { holdXdp, ifindexOf, inEdgeWire } from '../lib/edgeWire.js'
import { openEdgeWorld } from './edgeWorld.js'
import { describeFailure, Fuzzer, openWorld } from './fuzzer.js'

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '1000000' },
    seed: { type: 'string', default: `${randomInt(2 ** 31)}` },
    routed: { type: 'boolean', default: false },
    edge: { type: 'boolean', default: false },
    program: { type: 'string' },
    replay: { type: 'string' },
  },
})

function replay(fuzzer: Fuzzer, program: string, packet: Buffer): number {
  const target = fuzzer.target(program)
  const seen = fuzzer.observe(target, packet)
  const faults = fuzzer.judge(target, seen)
  console.log(faults.length ? `wrong: ${faults.join('; ')}` : 'nothing is wrong')
  console.log(`verdict ${seen.verdict}, events ${seen.events.join(' ') || 'none'}`)
  console.log(`in:  ${seen.before.toString('hex')}\nout: ${seen.after.toString('hex')}`)
  return faults.length ? 1 : 0
}

function fuzz(fuzzer: Fuzzer, seed: number, count: number): number {
  const started = performance.now()
  const failure = fuzzer.run(seed, count)
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  const { packets, verdicts, counted, translated } = fuzzer.tally()
  console.log(`seed ${seed}: ${packets} packets in ${seconds} s, ${translated} left changed`)
  console.log(`verdicts ${JSON.stringify(verdicts)}`)
  console.log(`counted ${JSON.stringify(counted)}`)
  if (failure) console.log(describeFailure(failure))
  return failure ? 1 : 0
}

function work(fuzzer: Fuzzer, program: string): number {
  return values.replay === undefined
    ? fuzz(fuzzer, Number(values.seed), Number(values.count))
    : replay(fuzzer, values.program ?? program, Buffer.from(values.replay, 'hex'))
}

function atContainers(): number {
  const dp = openWorld(!values.routed)
  try {
    return work(new Fuzzer(dp), 'from_container')
  } finally {
    dp.close()
  }
}

async function atEdge(): Promise<number> {
  const release = await holdXdp('eth0')
  const world = openEdgeWorld(ifindexOf('eth0'))
  try {
    return work(new Fuzzer(world.dp, world.targets, 'PATH_XDP'), 'from_wire')
  } finally {
    world.close()
    release()
  }
}

process.exitCode = values.edge ? await inEdgeWire(atEdge) : atContainers()
