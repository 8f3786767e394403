/** GET /v1/pcap by what it asks of a capture, and when that is closed. */
import t, { type Test } from 'tap'
import { newApp } from '../../../src/api/app.js'
import { PCAPNG } from '../../../src/api/operations.js'
import { addRoutes } from '../../../src/api/routes.js'
import { FairleadError } from '../../../src/errors.js'
import type { CapturedPacket, CaptureQuestion } from '../../../src/model/capture.js'
import { apiFixture } from './fixture.js'

const packet: CapturedPacket = {
  ...{ atNs: 1n, interface: 0, direction: 'in', bytes: 60, data: Uint8Array.of(1) },
  ...{ from: 'client', translated: false, protocol: 'tcp' },
}

function subject(t: Test, fails?: FairleadError) {
  const questions: CaptureQuestion[] = []
  let closed = 0
  const { api } = apiFixture({
    capturer: {
      capture: (question, onPacket) => {
        if (fails) return Promise.reject(fails)
        questions.push(question)
        // One that is there before the head is, and some more.
        onPacket(packet)
        setImmediate(() => [1, 2, 3].forEach(() => onPacket(packet)))
        return Promise.resolve({
          ...{ interfaces: [{ name: 'veth0' }], leftOut: () => 7 },
          close: () => {
            closed++
            return Promise.resolve()
          },
        })
      },
    },
  })
  const app = newApp()
  addRoutes(app, api, false)
  t.teardown(() => app.close())
  return { app, questions, closed: () => closed }
}

/** Types of the blocks of a pcapng. */
function blocksOf(file: Buffer): number[] {
  const types: number[] = []
  for (let at = 0; at < file.length; at += file.readUInt32LE(at + 4))
    types.push(file.readUInt32LE(at))
  return types
}

t.test('what is asked comes to the capture, and its packets to the reader', async (t) => {
  const { app, questions, closed } = subject(t)
  const query = 'service=Shop/Web&backend=10.0.0.9&client=10.0.0.0/31&snaplen=128&rate=5&count=3'
  const answer = await app.inject(`/v1/pcap?${query}`)
  t.equal(answer.statusCode, 200)
  t.equal(answer.headers['content-type'], PCAPNG)
  t.match(questions, [
    { service: 'shop/web', backend: '10.0.0.9', snapBytes: 128, packetsPerSecond: 5 },
  ])
  t.equal(String(questions[0]?.client), '10.0.0.0/31')
  t.same(blocksOf(answer.rawPayload), [0x0a0d0d0a, 1, 6, 6, 6, 5], 'three packets and no more')
  t.equal(answer.rawPayload.at(-16), 7, 'how many were left out')
  t.ok(closed() > 0)
})

t.test('headers alone, for a while, unless more is asked for', async (t) => {
  const { app, questions, closed } = subject(t)
  const answer = await app.inject('/v1/pcap?service=shop/web&seconds=0.1')
  t.same(questions, [{ service: 'shop/web', packetsPerSecond: 1000 }])
  t.same(blocksOf(answer.rawPayload), [0x0a0d0d0a, 1, 6, 6, 6, 6, 5])
  t.ok(closed() > 0, 'its time was over')
})

t.test('what cannot be is refused', async (t) => {
  const { app, questions } = subject(t)
  for (const wrong of ['snaplen=3', 'rate=0', 'client=odd', 'backend=odd', 'count=x', 'odd=1'])
    t.equal((await app.inject(`/v1/pcap?service=a/b&${wrong}`)).statusCode, 422, wrong)
  t.equal((await app.inject('/v1/pcap')).statusCode, 422)
  t.same(questions, [])
  const busy = subject(t, new FairleadError('BUSY', 'another capture runs'))
  t.equal((await busy.app.inject('/v1/pcap?service=a/b')).statusCode, 503)
  const { api } = apiFixture()
  const reading = newApp()
  addRoutes(reading, api, true)
  t.equal((await reading.inject('/v1/pcap?service=a/b')).statusCode, 404, 'not by TCP')
})
