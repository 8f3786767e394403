/** `GET /v1/live`: what a follower is sent, and that followers cannot hurt the agent. */
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ApiServer } from '../../../src/api/apiServer.js'
import { changesSchema, liveRatesSchema, liveStateSchema } from '../../../src/api/liveSchema.js'
import { service, stateOf } from '../metrics/fixture.js'
import { until } from '../../lib/netns.js'
import { apiFixture } from './fixture.js'
import { Follower } from './follower.js'

async function listening(t: Test, intervalMs = 50) {
  const folder = mkdtempSync(join(tmpdir(), 'fairlead-live-'))
  const socketPath = join(folder, 'api.sock')
  const fixture = apiFixture({}, intervalMs)
  const server = new ApiServer({ ...fixture.api, socketPath })
  await server.listen()
  t.teardown(async () => {
    await server.close()
    rmSync(folder, { recursive: true, force: true })
  })
  return { ...fixture, server, socketPath }
}

t.test('a connection begins with all there is, and rates follow', async (t) => {
  const { socketPath, readback, live } = await listening(t)
  const follower = await Follower.open(t, socketPath)
  t.equal(follower.response.headers['content-type'], 'text/event-stream')
  const state = liveStateSchema.parse((await follower.next('state')).data)
  t.match(state, { node: 'node1', revision: { desired: 7, answering: 5 }, services: 2 })
  t.same(state.backends, { active: 4, draining: 0, down: 0 })
  const { changes } = changesSchema.parse((await follower.next('changes')).data)
  t.match(changes, [{ id: 1, kind: 'started', revision: 7 }])
  const quiet = liveRatesSchema.parse((await follower.next('rates')).data)
  t.equal(quiet.total.connections, 0)
  t.equal(quiet.total.active, 6)
  t.equal(quiet.backends, undefined)
  const [row] = readback.report.counters
  if (!row) throw new Error('the fixture has no counters')
  readback.report.counters = [
    { ...row, connections: row.connections + 30, bytesIn: row.bytesIn + 3000 },
    ...readback.report.counters.slice(1),
  ]
  readback.report.drops = readback.report.drops.map((drop) => ({ ...drop, count: drop.count + 7 }))
  const { data } = await follower.next('rates', (data) => {
    return liveRatesSchema.parse(data).total.connections > 0
  })
  const rates = liveRatesSchema.parse(data)
  t.match(rates.services, [{ service: 'overlay1/vote' }])
  t.ok(Math.abs(rates.total.connections * rates.seconds - 30) < 1, 'thirty, by the second')
  t.ok(Math.abs(rates.total.bytesIn * rates.seconds - 3000) < 1)
  t.equal(rates.drops.length, readback.report.drops.length)
  const ids = follower.text.match(/^id: \d+$/gm)?.map((line) => Number(line.slice(4))) ?? []
  t.ok(ids.every((id, at) => at === 0 || id >= (ids[at - 1] ?? 0)))
  t.equal(live.listeners, 1)
})

t.test('a state is sent when it is another one, changes when they come', async (t) => {
  const { socketPath, state, journal } = await listening(t)
  const follower = await Follower.open(t, socketPath)
  await follower.next('rates')
  t.equal(follower.events('state').length, 1, 'once')
  const weak = service({
    backends: [
      { address: '10.0.0.5', weight: 9, state: 'active' },
      { address: '10.0.0.6', weight: 1, state: 'down' },
    ],
  })
  journal.note({ ...stateOf([weak]), revision: state.revision + 1 })
  const { data } = await follower.next('changes', (data) => {
    return changesSchema.parse(data).changes.some(({ revision }) => revision === 8)
  })
  const kinds = changesSchema.parse(data).changes.map(({ kind }) => kind)
  t.same(kinds.toSorted(), ['backend-state', 'backend-weight', 'service-removed'])
})

t.test('backends of the service that is asked for', async (t) => {
  const { socketPath, readback } = await listening(t)
  const follower = await Follower.open(t, socketPath, '/v1/live?service=overlay1%2Fvote')
  const { backends } = liveRatesSchema.parse((await follower.next('rates')).data)
  t.same(backends?.map(({ backend }) => backend).toSorted(), ['', '10.0.0.5', '10.0.0.6'])
  t.equal(
    backends?.some(({ handshake }) => handshake),
    false,
    'none was timed',
  )
  readback.report.handshakes = readback.report.handshakes.map((row) => ({
    ...{ ...row, counts: row.counts.map((count, at) => count + (at === 3 ? 10 : 0)) },
  }))
  const { data } = await follower.next('rates', (data) => 'handshake' in Object(data))
  const { handshake } = liveRatesSchema.parse(data)
  t.ok(handshake && handshake.timed >= 10 && handshake.timed % 10 === 0)
  t.ok(handshake && handshake.medianSeconds > 0.0005 && handshake.medianSeconds <= 0.001)
  t.ok(handshake && handshake.p90Seconds > handshake.medianSeconds)
  const none = await Follower.open(t, socketPath, '/v1/live?service=a/b')
  t.same(liveRatesSchema.parse((await none.next('rates')).data).backends, [])
  const odd = await Follower.open(t, socketPath, '/v1/live?odd=1')
  t.equal(odd.response.statusCode, 422)
})

t.test('who comes back is sent everything again, and the newest rates at once', async (t) => {
  const { socketPath } = await listening(t, 60_000)
  const first = await Follower.open(t, socketPath)
  const { id } = await first.next('state')
  const again = await Follower.open(t, socketPath, '/v1/live', { 'last-event-id': String(id) })
  await again.next('state')
  await again.next('changes')
  t.pass()
})

t.test('the kernel is not read while nobody follows', async (t) => {
  const { socketPath, readback, live } = await listening(t, 10)
  t.equal(readback.reads, 0)
  const follower = await Follower.open(t, socketPath)
  await follower.next('rates')
  follower.response.destroy()
  await until('the follower to be gone', () => live.listeners === 0)
  const { reads } = readback
  await new Promise((resolve) => setTimeout(resolve, 100))
  t.equal(readback.reads, reads)
})

t.test('followers are bounded', async (t) => {
  const { socketPath, live } = await listening(t, 60_000)
  const all = []
  for (let at = 0; at < 32; at++) all.push(await Follower.open(t, socketPath))
  t.equal(live.listeners, 32)
  const refused = await Follower.open(t, socketPath)
  t.equal(refused.response.statusCode, 503)
  await until('the reason', () => refused.text.includes('"code":"BUSY"'))
  all[0]?.response.destroy()
  await until('room', () => live.listeners < 32)
  t.equal((await Follower.open(t, socketPath)).response.statusCode, 200)
})

t.test('who does not read is dropped, and the others go on', async (t) => {
  const { socketPath, readback, live } = await listening(t, 10)
  const [row] = readback.report.counters
  if (!row) throw new Error('the fixture has no counters')
  readback.report.counters = Array.from({ length: 500 }, (_, at) => ({
    ...{ ...row, service: `overlay1/s${at}`, active: at + 1 },
  }))
  const slow = connect(socketPath)
  slow.on('error', () => undefined)
  t.teardown(() => void slow.destroy())
  await once(slow, 'connect')
  slow.pause()
  slow.write('GET /v1/live HTTP/1.1\r\nhost: agent\r\n\r\n')
  await until('the slow one to follow', () => live.listeners === 1)
  const good = await Follower.open(t, socketPath)
  await until('the slow one to be dropped', () => live.listeners === 1)
  const seen = good.events('rates').length
  await until('more rates', () => good.events('rates').length > seen)
})

t.test('a kernel that cannot be read ends nothing', async (t) => {
  const { socketPath, readback } = await listening(t, 10)
  readback.failure = new Error('maps are gone')
  const follower = await Follower.open(t, socketPath)
  await until('a read', () => readback.reads > 2)
  readback.failure = undefined
  await follower.next('rates')
  t.pass()
})

t.test('a server that closes ends its streams', async (t) => {
  const { socketPath, server, live } = await listening(t)
  const follower = await Follower.open(t, socketPath)
  await follower.next('state')
  const ended = new Promise((resolve) => follower.response.once('close', resolve))
  await server.close()
  await ended
  await until('nobody to follow', () => live.listeners === 0)
  t.pass()
})
