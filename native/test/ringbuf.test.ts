import t from 'tap'
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { RingBuffer, type BpfObject } from '../index.js'
import { failsWith, loadBasic, OBJECT, skip } from './fixture.js'

interface Event {
  sequence: number
  addr: number
  text: string
}

const INDEX = fileURLToPath(new URL('../index.js', import.meta.url))
const PACKET = new Uint8Array(64)

function emit(object: BpfObject, repeat: number): void {
  object.program('emit').testRun({ data: PACKET, repeat })
}

async function until(condition: () => boolean): Promise<void> {
  const end = Date.now() + 10_000
  while (!condition() && Date.now() < end) await new Promise((done) => setTimeout(done, 5))
}

t.test('every record, once and in order', { skip }, async (t) => {
  const object = loadBasic(t)
  const seen: Event[] = []
  const codec = object.types.struct<Event>('event')
  const ring = new RingBuffer<Event>(object.map('ring'), (event) => seen.push(event), { codec })
  t.teardown(() => ring.close())
  for (let round = 1; round <= 10; round++) {
    emit(object, 5000)
    await until(() => seen.length >= 5000 * round)
  }
  t.equal(seen.length, 50_000)
  t.ok(seen.every((event, index) => event.sequence === index))
  t.same(seen[7], { sequence: 7, addr: 0x0a000001, text: 'event' })
})

t.test('bytes without a codec, and on demand', { skip }, (t) => {
  const object = loadBasic(t)
  const seen: Uint8Array[] = []
  const ring = new RingBuffer(object.map('ring'), (record) => seen.push(record))
  emit(object, 3)
  t.equal(ring.consume(), 3)
  t.equal(ring.consume(), 0)
  t.equal(seen.length, 3)
  t.equal(seen[0]?.length, 16)
  ring.close()
  ring.close()
  t.throws(() => ring.consume(), failsWith('EBADF'))
  emit(object, 3)
  t.end()
})

t.test('closed by its own callback', { skip }, async (t) => {
  const object = loadBasic(t)
  let seen = 0
  const ring = new RingBuffer(object.map('ring'), () => {
    seen++
    t.throws(() => ring.consume(), failsWith('EBUSY'))
    ring.close()
  })
  emit(object, 10)
  await until(() => seen > 0)
  await new Promise((done) => setTimeout(done, 20))
  t.equal(seen, 1)
})

t.test('not a ring buffer', { skip }, (t) => {
  const object = loadBasic(t)
  t.throws(() => new RingBuffer(object.map('smalls'), () => undefined), TypeError)
  t.throws(() => new RingBuffer(object.map('ring'), 5 as unknown as () => void), TypeError)
  t.throws(() => new RingBuffer({} as never, () => undefined), TypeError)
  object.close()
  t.throws(() => new RingBuffer(object.map('ring'), () => undefined), failsWith('EBADF'))
  t.end()
})

/** Exit code of a process that runs `body` with an object and a counter of records. */
async function exitCode(body: string): Promise<number | null> {
  const code = `
    import(${JSON.stringify(INDEX)}).then(({ BpfObject, RingBuffer }) => {
      const object = BpfObject.open(${JSON.stringify(OBJECT)})
      object.load()
      const emit = (repeat) => object.program('emit').testRun({ data: new Uint8Array(64), repeat })
      ${body}
    })`
  const child = spawn(process.execPath, ['-e', code], { stdio: 'ignore', timeout: 20_000 })
  return new Promise((done) => child.once('exit', done))
}

t.test('the life of a process', { skip }, async (t) => {
  t.equal(
    await exitCode(`const ring = new RingBuffer(object.map('ring'), () => {}); ring.unref()`),
    0,
    'unref lets it end',
  )
  t.equal(
    await exitCode(`let seen = 0
      process.on('uncaughtException', () => {
        if (++seen === 3) { ring.close(); process.exitCode = 3 }
      })
      const ring = new RingBuffer(object.map('ring'), () => { throw new Error('mine') })
      emit(3)`),
    3,
    'an exception in the callback is uncaught, and the next record comes',
  )
})

t.test('worker threads come and go with an open ring', { skip }, async (t) => {
  const code = `
    const { parentPort } = require('node:worker_threads')
    import(${JSON.stringify(INDEX)}).then(({ BpfObject, RingBuffer }) => {
      const object = BpfObject.open(${JSON.stringify(OBJECT)})
      object.load()
      new RingBuffer(object.map('ring'), () => parentPort.postMessage('record'))
      object.program('emit').testRun({ data: new Uint8Array(64) })
    })`
  for (let i = 0; i < 3; i++) {
    const worker = new Worker(code, { eval: true })
    t.equal(await new Promise((done) => worker.once('message', done)), 'record')
    t.equal(await worker.terminate(), 1)
  }
})
