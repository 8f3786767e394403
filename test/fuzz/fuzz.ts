/**
 * usage: fuzz.js [--containers] [--routed] [--edge] [--count N] [--seed N] [--record]
 *        fuzz.js [--routed | --edge] --program NAME --replay HEX
 * Packets for every program, N for each; or for those of containers with backends behind a bridge
 * (`--containers`) or behind the stack (`--routed`), or for those of a NIC (`--edge`), in a namespace
 * made for it. Exits with 1 after a packet that something is wrong with, and prints it. `--record`
 * writes what was run into docs/reference/fuzz.md.
 */
import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { holdXdp, ifindexOf, inEdgeWire, isInEdgeWire } from '../lib/edgeWire.js'
import { containerTargets, openWorld } from './containerWorld.js'
import { openEdgeWorld } from './edgeWorld.js'
import { describeFailure, Fuzzer } from './fuzzer.js'
import { record, type World, WORLDS } from './record.js'

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '1000000' },
    seed: { type: 'string', default: `${randomInt(2 ** 31)}` },
    containers: { type: 'boolean', default: false },
    routed: { type: 'boolean', default: false },
    edge: { type: 'boolean', default: false },
    record: { type: 'boolean', default: false },
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

function fuzz(fuzzer: Fuzzer, world: World): number {
  const [seed, count] = [Number(values.seed), Number(values.count)]
  const started = performance.now()
  const failure = fuzzer.run(seed, count)
  const seconds = (performance.now() - started) / 1000
  const tally = fuzzer.tally()
  console.log(`${world}, seed ${seed}: ${tally.packets} packets in ${seconds.toFixed(1)} s`)
  console.log(`left changed ${JSON.stringify(tally.translated)}`)
  console.log(`verdicts ${JSON.stringify(tally.verdicts)}`)
  console.log(`counted ${JSON.stringify(tally.counted)}`)
  if (failure) console.log(describeFailure(failure, `--${world}`))
  else if (values.record) record({ world, seed, count, seconds, changed: tally.translated })
  return failure ? 1 : 0
}

function work(fuzzer: Fuzzer, world: World): number {
  if (values.replay === undefined) return fuzz(fuzzer, world)
  const program = values.program ?? (world === 'edge' ? 'from_wire' : 'from_container')
  return replay(fuzzer, program, Buffer.from(values.replay, 'hex'))
}

function atContainers(world: World): number {
  const dp = openWorld(world === 'containers')
  try {
    return work(new Fuzzer(dp, containerTargets(dp)), world)
  } finally {
    dp.close()
  }
}

async function atEdge(): Promise<number> {
  const release = await holdXdp('eth0')
  const world = openEdgeWorld(ifindexOf('eth0'))
  try {
    return work(new Fuzzer(world.dp, world.targets, 'PATH_XDP'), 'edge')
  } finally {
    world.close()
    release()
  }
}

/** With the same arguments, of which the seed may have been drawn. */
const edgeArgs = [...process.argv.slice(2), '--seed', values.seed]

async function main(): Promise<number> {
  const named = WORLDS.filter((world) => values[world])
  const worlds = named.length
    ? named
    : values.replay === undefined
      ? WORLDS
      : ['containers' as const]
  let failed = 0
  for (const world of worlds)
    failed |= world === 'edge' ? await inEdgeWire(atEdge, edgeArgs) : atContainers(world)
  return failed
}

process.exitCode = isInEdgeWire() ? await atEdge() : await main()
