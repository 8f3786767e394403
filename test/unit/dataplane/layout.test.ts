import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { BpfObject } from 'libbpf-ts'
import t from 'tap'
import { FairleadError } from '../../../src/errors.js'
import { checkRecords, LAYOUT_VERSION, readConstants } from '../../../src/dataplane/layout.js'
import { Bench, kernelTest, OBJECT_DIR } from './bench.js'
import { network, state } from './fixtures.js'

t.test('the version is the one of maps.h', (t) => {
  const header = readFileSync(join(OBJECT_DIR, '../../bpf/maps.h'), 'utf8')
  t.equal(Number(/#define LAYOUT_VERSION (\d+)/.exec(header)?.[1]), LAYOUT_VERSION)
  t.end()
})

for (const file of ['tc.bpf.o', 'sock.bpf.o']) {
  t.test(`the records of ${file} are the ones that the agent binds`, (t) => {
    using object = BpfObject.open(join(OBJECT_DIR, file))
    t.doesNotThrow(() => checkRecords(object.types))
    const constants = readConstants(object.types)
    t.same(constants.paths, ['tc', 'sock', 'xdp'])
    t.equal(constants.dropReasons[0], 'none')
    t.ok(constants.events.includes('collision'))
    t.notOk(constants.events.includes('count'))
    t.end()
  })
}

t.test('a record without a field that the agent writes is refused by name', (t) => {
  using object = BpfObject.open(join(OBJECT_DIR, 'tc.bpf.o'))
  const { types } = object
  const renamed = new Proxy(types, {
    get: (_, property): unknown =>
      property === 'struct'
        ? (name: string) => types.struct(name === 'backend' ? 'service' : name)
        : Reflect.get(types, property),
  })
  let error: unknown
  try {
    checkRecords(renamed)
  } catch (caught) {
    error = caught
  }
  t.ok(error instanceof FairleadError && error.code === 'LAYOUT')
  t.match(String(error), /record backend of the BPF programs/)
  t.end()
})

kernelTest(t, 'pinned maps of another version are refused, and left alone', async (t, pinPath) => {
  const first = await Bench.open(pinPath)
  first.reconciler.apply(state(1, [network('n')], []))
  await first.reconciler.settled(1)
  first.maps.get('layout').set(0, { version: LAYOUT_VERSION + 1, incarnation: 5 })
  await first.close()
  const error: unknown = await Bench.open(pinPath).catch((caught: unknown) => caught)
  t.ok(error instanceof FairleadError && error.code === 'LAYOUT')
  t.match(String(error), /version 2, not 1/)
  t.match(String(error), /fairlead detach/)
})

kernelTest(t, 'pinned maps of another size are kept as they are', async (t, pinPath) => {
  const first = await Bench.open(pinPath, { limits: { services: 10 } })
  await first.close()
  const second = await Bench.open(pinPath, { limits: { services: 20 } })
  t.equal(second.maps.get('services').maxEntries, 10)
  t.equal(second.installer.ids.services.last, 10)
  await second.close()
})
