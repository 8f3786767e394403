/**
 * usage: fuzz.js [--count N] [--seed N] [--routed]
 *        fuzz.js --program from_container|to_container --replay HEX
 * Exits with 1 at the first packet that something is wrong with, and prints it.
 */
import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { describeFailure, Fuzzer, openWorld } from './fuzzer.js'
import type { Direction } from './packets.js'

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '1000000' },
    seed: { type: 'string', default: `${randomInt(2 ** 31)}` },
    routed: { type: 'boolean', default: false },
    program: { type: 'string', default: 'from_container' },
    replay: { type: 'string' },
  },
})

function replay(fuzzer: Fuzzer, program: Direction, packet: Buffer): number {
  const seen = fuzzer.observe(program, packet)
  const faults = fuzzer.judge(seen)
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

const dp = openWorld(!values.routed)
try {
  const fuzzer = new Fuzzer(dp)
  const program = values.program === 'to_container' ? 'to_container' : 'from_container'
  process.exitCode =
    values.replay === undefined
      ? fuzz(fuzzer, Number(values.seed), Number(values.count))
      : replay(fuzzer, program, Buffer.from(values.replay, 'hex'))
} finally {
  dp.close()
}
