import t from 'tap'
import { Program } from '../index.js'
import { failsWith, loadBasic, makePinDirectory, skip } from './fixture.js'

const PACKET = new Uint8Array(64)

t.test('a test run: verdict, packet and context', { skip }, (t) => {
  const object = loadBasic(t)
  const ctx = new Uint8Array(192)
  const result = object.program('classify').testRun({ data: PACKET, ctx })
  t.equal(result.retval, 0)
  t.equal(result.data.length, 64)
  t.equal(result.ctx?.[8], 42, 'skb->mark')
  t.ok(result.durationNs >= 0)
  t.equal(object.program('jump').testRun({ data: PACKET }).retval, 77, 'a tail call')
  const grown = object.program('grow').testRun({ data: PACKET })
  t.equal(grown.retval, 3)
  t.equal(grown.data.length, 80, 'longer than what went in')
  const many = object.program('classify').testRun({ data: PACKET, repeat: 1000 })
  t.equal(many.retval, 0)
  t.equal(object.map<number, { runs: bigint }>('.bss').get(0)?.runs, 1001n)
  t.end()
})

t.test('a test run that cannot be', { skip }, (t) => {
  const object = loadBasic(t)
  const pass = object.program('pass')
  t.throws(() => pass.testRun({ data: new Uint8Array(5) }), failsWith('EINVAL'))
  t.throws(() => pass.testRun({ data: new Uint8Array(1 << 20) }), { name: 'BpfError' })
  t.throws(() => pass.testRun({ data: PACKET, dataOutSize: 10 }), failsWith('ENOSPC'))
  t.throws(() => object.program('connect4').testRun({ data: PACKET }), failsWith('ENOTSUPP'))
  for (const repeat of [0, -1, 1.5, 100_000_001, NaN, Infinity]) {
    t.throws(() => pass.testRun({ data: PACKET, repeat }), RangeError)
  }
  t.throws(() => pass.testRun({ data: PACKET, dataOutSize: 2 ** 30 }), RangeError)
  t.throws(() => pass.testRun({ data: new Uint8Array((16 << 20) + 1) }), RangeError)
  t.throws(() => pass.testRun({ data: 'x' as unknown as Uint8Array }), TypeError)
  t.throws(() => pass.testRun(null as unknown as object), TypeError)
  t.end()
})

t.test('what a program is', { skip }, (t) => {
  const program = loadBasic(t).program('classify')
  t.equal(program.name, 'classify')
  t.equal(program.type, 'sched_cls')
  t.ok(program.id > 0)
  t.ok(program.info().instructions > 0)
  t.end()
})

t.test('pins', { skip }, (t) => {
  const object = loadBasic(t)
  const program = object.program('second')
  const path = `${makePinDirectory(t)}/second`
  program.pin(path)
  t.throws(() => object.program('pass').unpin(path), failsWith('EINVAL'))
  const { id } = program
  object.close()
  const again = Program.openPinned(path)
  t.equal(again.id, id)
  t.equal(again.type, 'sched_cls')
  t.equal(again.testRun({ data: PACKET }).retval, 2)
  again.unpin(path)
  t.throws(() => Program.openPinned(path), failsWith('ENOENT'))
  again.close()
  again.close()
  t.throws(() => again.id, failsWith('EBADF'))
  t.end()
})
