/**
 * Mutated packets through the programs of tc and XDP: no fault, known verdicts, right checksums,
 * every drop counted once. `npm run fuzz` runs as many as one likes; this is a short one of a fixed seed.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import t from 'tap'
import { containerTargets, openWorld } from '../fuzz/containerWorld.js'
import { describeFailure, Fuzzer } from '../fuzz/fuzzer.js'
import { faultsOf, type Observation } from '../fuzz/judge.js'
import { nextPacket } from '../fuzz/packets.js'
import { Random } from '../fuzz/random.js'
import { XDP } from '../lib/edgePath.js'
import { TC } from '../lib/kernel.js'
import { echo, tcp, udp } from '../lib/packet.js'

t.setTimeout(240_000)

const COUNT = 50_000
/** In a namespace with routes. */
const EDGE_COUNT = 16_000
const SEED = 20_240_229
const REASONS = ['NO_PORT', 'NO_FLOW', 'MALFORMED', 'PROTOCOL', 'SOURCE_DENIED', 'OVERLOADED']
const VERDICTS = { pass: TC.PASS, drop: TC.DROP, redirect: TC.REDIRECT }
const skip =
  process.geteuid?.() !== 0 && process.env['CI'] === undefined ? 'needs root' : (false as const)

/** What the kernel has complained about since it started. */
function complaints(): string[] {
  const log = execFileSync('dmesg', { encoding: 'utf8', maxBuffer: 1 << 26 })
  return log.match(/.*(?:BUG:|Oops|general protection|WARNING:|stack-protector).*/g) ?? []
}

for (const bridged of [true, false]) {
  const title = `${2 * COUNT} packets, backends behind ${bridged ? 'a bridge' : 'the stack'}`
  t.test(title, { skip, timeout: 100_000 }, (t) => {
    const before = complaints().length
    const dp = openWorld(bridged)
    t.teardown(() => dp.close())
    const fuzzer = new Fuzzer(dp, containerTargets(dp))
    const failure = fuzzer.run(SEED + (bridged ? 1 : 0), COUNT)
    t.equal(failure ? describeFailure(failure) : '', '')
    const { translated, counted, verdicts } = fuzzer.tally()
    t.ok((translated['from_container'] ?? 0) > COUNT / 20, 'packets were translated')
    t.ok((translated['to_container'] ?? 0) > COUNT / 400, 'replies were')
    for (const verdict of Object.values(VERDICTS))
      t.ok(verdicts[`from_container ${verdict}`], `verdict ${verdict}`)
    for (const event of ['ECHO', 'ARP', 'ND', 'REFUSED', 'COLLISION', 'AFFINITY_MOVED'])
      t.ok(counted[`EVENT_${event}`], event)
    for (const reason of REASONS) t.ok(counted[`DROP_${reason}`], reason)
    t.same(complaints().slice(before), [], 'the kernel has nothing to complain about')
    t.end()
  })
}

t.test(`${4 * EDGE_COUNT} packets at the edge`, { skip, timeout: 110_000 }, (t) => {
  const before = complaints().length
  const fuzz = new URL('../fuzz/fuzz.js', import.meta.url).pathname
  const args = [fuzz, '--edge', '--seed', `${SEED}`, '--count', `${EDGE_COUNT}`]
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
  t.equal(status, 0, stdout + stderr)
  for (const verdict of Object.values(XDP)) t.match(stdout, `"from_wire ${verdict}"`)
  for (const program of ['from_edge', 'to_edge', 'from_bridge'])
    for (const verdict of [TC.PASS, TC.REDIRECT]) t.match(stdout, `"${program} ${verdict}"`)
  for (const reason of ['PEER', 'NO_ROUTE', 'SOURCE_DENIED', 'OVERLOADED'])
    t.match(stdout, `"DROP_${reason}"`)
  for (const event of ['ICMP_ERROR', 'STATELESS', 'AFFINITY_MOVED'])
    t.match(stdout, `"EVENT_${event}"`)
  t.same(complaints().slice(before), [], 'the kernel has nothing to complain about')
  t.end()
})

t.test('the same seed makes the same packets', (t) => {
  const make = (seed: number) => {
    const random = new Random(seed)
    return Array.from({ length: 500 }, () => nextPacket(random, 'from_container').toString('hex'))
  }
  t.same(make(7), make(7))
  t.notSame(make(7), make(8))
  t.end()
})

t.test('the judge sees what is wrong', (t) => {
  const of = { src: '10.1.0.2', dst: '10.9.0.1', sport: 4000, dport: 80 }
  const six = { src: 'fd01::2', dst: 'fd09::1', sport: 4000, dport: 53 }
  const payload = Buffer.from('some payload')
  const now4 = { dst: '10.1.0.11', dport: 8080 }
  const now6 = { dst: 'fd01::11' }
  const judge = (before: Buffer, after: Buffer, more: Partial<Observation> = {}) =>
    faultsOf({ verdict: TC.PASS, before, after, drops: 0, events: [], ...more }, VERDICTS)
  const spoil = (frame: Buffer, at: number) => {
    const spoilt = Buffer.from(frame)
    spoilt.writeUInt16BE((spoilt.readUInt16BE(at) + 0x101) & 0xffff, at)
    return spoilt
  }
  const pairs = [
    [tcp({ ...of, payload }), tcp({ ...of, ...now4, payload })],
    [udp({ ...of, payload }), udp({ ...of, ...now4, payload })],
    [tcp({ ...six, payload }), tcp({ ...six, ...now6, payload })],
    [udp({ ...six, payload }), udp({ ...six, ...now6, payload })],
  ] as const
  for (const [before, after] of pairs) {
    t.same(judge(before, after), [])
    const v6 = before[12] === 0x86
    const check = (v6 ? 54 : 34) + (before[v6 ? 20 : 23] === 6 ? 16 : 6)
    t.same(judge(spoil(before, check), spoil(after, check)), [], 'wrong by as much as it was')
    t.same(judge(before, spoil(after, check)), ['layer 4 checksum'])
    if (!v6) t.match(judge(before, spoil(after, 24)), ['IPv4 checksum'])
    t.match(judge(before, spoil(after, after.length - 2)), [/^byte/, 'layer 4 checksum'])
    t.match(judge(before, after.subarray(0, -1)), ['another length'])
    t.match(judge(before, before, { verdict: TC.DROP }), [/0 drops were counted instead of 1/])
    t.match(judge(before, before, { verdict: TC.DROP, drops: 2 }), [/^2 drops/])
    t.match(judge(before, before, { drops: 1 }), [/^1 drops/])
    t.match(judge(before, before, { verdict: 1 }), ['verdict 1'])
  }
  const asked = echo({ src: '10.1.0.2', dst: '10.9.0.1' })
  const told = echo({ src: '10.9.0.1', dst: '10.1.0.2', reply: true })
  const answer = { verdict: TC.REDIRECT, events: ['ECHO'] }
  t.same(judge(asked, told, answer), [])
  t.same(judge(asked, spoil(told, 36), answer), ['layer 4 checksum'])
  t.same(judge(asked, spoil(told, 36), { ...answer, events: ['REFUSED'], drops: 1 }), [
    'layer 4 checksum',
  ])
  t.end()
})
