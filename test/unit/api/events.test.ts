/** `GET /v1/events`: who watches is told, or told how much was not, and cannot hurt the agent. */
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ApiServer } from '../../../src/api/apiServer.js'
import type {
  FlowEvent,
  FlowEventListener,
  FlowEventRequest,
} from '../../../src/model/flowEvents.js'
import { until } from '../../lib/netns.js'
import { apiFixture } from './fixture.js'
import { Follower } from './follower.js'

const event: FlowEvent = {
  ...{ time: '2026-01-02T09:30:01.204518Z', kind: 'opened', path: 'tc', protocol: 'udp' },
  ...{ vip: { address: '10.0.0.9', port: 53 }, service: 'overlay1/vote', network: 'overlay1' },
}

async function listening(t: Test) {
  const folder = mkdtempSync(join(tmpdir(), 'fairlead-events-'))
  const socketPath = join(folder, 'api.sock')
  const watching = new Map<FlowEventListener, FlowEventRequest>()
  const subscribe = (request: FlowEventRequest, listener: FlowEventListener): (() => void) => {
    watching.set(listener, request)
    return () => void watching.delete(listener)
  }
  const server = new ApiServer({ ...apiFixture({ events: { subscribe } }).api, socketPath })
  await server.listen()
  t.teardown(async () => {
    await server.close()
    rmSync(folder, { recursive: true, force: true })
  })
  return { socketPath, watching }
}

t.test('what is asked for comes to the kernel side, and ends with who asked', async (t) => {
  const { socketPath, watching } = await listening(t)
  const query =
    'kind=opened,reset&service=overlay1/vote&client=10.0.0.0/24&vip=:53&sample=16&rate=7'
  const follower = await Follower.open(t, socketPath, `/v1/events?${query}`)
  await follower.next('watching')
  const [[listener, request] = []] = watching
  t.match(request, {
    filter: { kinds: ['opened', 'reset'], service: 'overlay1/vote', vip: { port: 53 } },
    ...{ oneIn: 16, rate: 7 },
  })
  listener?.event(event)
  t.same((await follower.next('flow')).data, event)
  follower.response.destroy()
  await until('nobody to watch', () => watching.size === 0)
})

t.test('what cannot be asked for is refused, and nobody watches', async (t) => {
  const { socketPath, watching } = await listening(t)
  for (const query of ['kind=odd', 'client=nonsense', 'rate=0', 'rate=1e9', 'sample=-1', 'odd=1']) {
    const { response } = await Follower.open(t, socketPath, `/v1/events?${query}`)
    t.equal(response.statusCode, 422, query)
  }
  t.equal(watching.size, 0)
})

t.test('who reads too slowly is told how many it missed, each counted once', async (t) => {
  const { socketPath, watching } = await listening(t)
  const slow = connect(socketPath)
  t.teardown(() => void slow.destroy())
  await once(slow, 'connect')
  slow.pause()
  slow.write('GET /v1/events HTTP/1.1\r\nhost: agent\r\n\r\n')
  const [listener] = await until('it to watch', () => watching.size > 0 && [...watching.keys()])
  const all = 20_000
  for (let at = 0; at < all; at++) listener?.event(event)
  listener?.lost(3)
  let text = ''
  slow.setEncoding('utf8').on('data', (part: string) => (text += part))
  slow.resume()
  const sum = (): number => {
    const lost = [...text.matchAll(/^data: \{"count":(\d+)\}/gm)]
    const told = text.match(/^event: flow$/gm)?.length ?? 0
    return lost.reduce((total, [, count]) => total + Number(count), told)
  }
  await until('all to be told or counted', () => sum() >= all + 3)
  t.equal(sum(), all + 3)
  t.match(text, /"count":\d{4}/, 'most were not kept for it')
  t.equal(watching.size, 1, 'it goes on watching')
})

t.test('those who watch are bounded', async (t) => {
  const { socketPath, watching } = await listening(t)
  const all = []
  for (let at = 0; at < 32; at++) all.push(await Follower.open(t, socketPath, '/v1/events'))
  t.equal(watching.size, 32)
  const refused = await Follower.open(t, socketPath, '/v1/events')
  t.equal(refused.response.statusCode, 503)
  all[0]?.response.destroy()
  await until('room', () => watching.size < 32)
  t.equal((await Follower.open(t, socketPath, '/v1/events')).response.statusCode, 200)
})
